"""The expression tree: one closed union before and after it is bound to a schema.

A parsed tree holds `FieldExtractor`, `TypeExtractor`, `AliasExtractor` and `MetaExtractor`
operands. `vastlab.expression.resolve` replaces the first three by `Column` operands, one
predicate per matching leaf, so that compilers see `Column` and `MetaExtractor` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vastlab.expression.literals import Literal
from vastlab.expression.operators import Operator
from vastlab.types import Leaf, Type


class Meta(Enum):
    """What an event knows of itself beside its fields."""

    TYPE = "#type"
    IMPORT_TIME = "#import_time"


@dataclass(frozen=True, slots=True)
class FieldExtractor:
    """A field, a dotted path or the end of one, or the name of a concept or model."""

    name: str


@dataclass(frozen=True, slots=True)
class TypeExtractor:
    """``:ip``: every field of a built-in type. ``None`` is the type of the bare ``null``."""

    type: Type | None


@dataclass(frozen=True, slots=True)
class AliasExtractor:
    """``:port``: every field whose type carries this name."""

    name: str


@dataclass(frozen=True, slots=True)
class MetaExtractor:
    """``#type`` or ``#import_time``."""

    meta: Meta


@dataclass(frozen=True, slots=True)
class Column:
    """A leaf of one schema: what an extractor became when it was bound."""

    leaf: Leaf


Extractor = FieldExtractor | TypeExtractor | AliasExtractor | MetaExtractor | Column


@dataclass(frozen=True, slots=True)
class Predicate:
    """A comparison; the extractor stands on the left."""

    extractor: Extractor
    operator: Operator
    literal: Literal


@dataclass(frozen=True, slots=True)
class And:
    """All operands hold; at least two."""

    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one operand holds; at least two."""

    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The complement of a row set, null rows included.

    A normalised tree has none: negations move into the operators. Resolved models bring it
    back (specification, section 6).
    """

    operand: Expr


@dataclass(frozen=True, slots=True)
class Constant:
    """Every row or no row: the empty expression, and numbers that a column cannot hold."""

    value: bool


Expr = Predicate | And | Or | Not | Constant
