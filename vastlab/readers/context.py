"""The options and the state that a reader needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from vastlab.readers.inference import Inference
from vastlab.readers.problems import Problems
from vastlab.readers.schemas import SHIPPED, Schemas


@dataclass(frozen=True, slots=True)
class Context:
    """How to read one source.

    Parameters
    ----------
    problems
        Collects the lines and values that cannot be read.
    format, schema, infer, encoding, schemas
        See `ReadOptions`.
    inference
        The types of undeclared fields in the whole import.
    """

    problems: Problems
    format: str | None = None
    schema: str | None = None
    infer: bool = True
    encoding: str | None = None
    schemas: Schemas = SHIPPED
    inference: Inference = field(default_factory=Inference)
