"""What every node can do, and what a query says to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from vastlab.expression.ast import Constant, Expr
from vastlab.expression.taxonomy import Taxonomy
from vastlab.store.ingest import IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_EVERYTHING: Expr = Constant(True)


class ExportMode(Enum):
    """Which events an export returns.

    Examples
    --------
    >>> ExportMode("unified") is ExportMode.UNIFIED
    True
    """

    HISTORICAL = "historical"
    """What is stored."""
    CONTINUOUS = "continuous"
    """What arrives from now on."""
    UNIFIED = "unified"
    """First what is stored, then what arrives."""


@dataclass(frozen=True, slots=True)
class Query:
    """Everything that a node must know to answer.

    Parameters
    ----------
    expression
        Which events: parsed, parameters bound, relative times fixed.
    mode
        Stored events, arriving events, or both.
    limit
        At most so many events; 0 for all.
    since, until
        Bounds of the event time in nanoseconds, the second one exclusive.
    taxonomy
        The concepts and models that the expression may name.
    """

    expression: Expr = _EVERYTHING
    mode: ExportMode = ExportMode.HISTORICAL
    limit: int = 0
    since: int | None = None
    until: int | None = None
    taxonomy: Taxonomy | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """How far work is that somebody waits for.

    Parameters
    ----------
    doing
        What is being done; empty where the events say it.
    events
        How many events there are so far; None where that cannot be known.
    share
        Which share of the work is done, where that is known.

    Examples
    --------
    >>> Step("reading 4 logs", events=9000, share=0.7).events
    9000
    """

    doing: str = ""
    events: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class LayoutPlan:
    """What a query does with one layout of one schema.

    Parameters
    ----------
    schema
        The schema's name.
    bound
        The expression as it is bound to the layout; ``None`` where nothing binds.
    files, all_files
        How many files would be read, of how many.
    row_groups, all_row_groups
        How many row groups of these files would be read, of how many.
    events
        The number of events in the files that would be read.
    """

    schema: str
    bound: str | None
    files: int
    all_files: int
    row_groups: int
    all_row_groups: int
    events: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a node would answer a query.

    Parameters
    ----------
    expression
        The expression in its canonical form.
    layouts
        One plan for each layout that the node holds.
    """

    expression: str
    layouts: tuple[LayoutPlan, ...]

    def __str__(self) -> str:
        return "\n".join([self.expression, *(_line(plan) for plan in self.layouts)])


def _line(plan: LayoutPlan) -> str:
    if plan.bound is None:
        return f"  {plan.schema}: nothing in it can match"
    return (
        f"  {plan.schema}: {plan.bound}\n"
        f"    reads {plan.files} of {plan.all_files} files, "
        f"{plan.row_groups} of {plan.all_row_groups} row groups, {plan.events} events"
    )


class Node(Protocol):
    """What stands behind an endpoint."""

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        ...

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        ...

    async def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        ...

    async def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        ...

    async def ingest(
        self,
        sources: Any,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        force: bool = False,
        progress: Any = None,
    ) -> IngestReport:
        """Add the events of files."""
        ...

    async def explain(self, query: Query) -> Explanation:
        """Say how the node would answer."""
        ...

    async def aclose(self) -> None:
        """End everything that runs and let go of everything held."""
        ...
