"""The expression tree: one closed union before and after it is bound to a schema.

``str`` of a tree is its canonical text, which parses to an equal tree.

A parsed tree holds `FieldExtractor`, `TypeExtractor`, `AliasExtractor` and `MetaExtractor`
operands. `vastlab.expression.resolve` replaces the first three by `Column` operands, one
predicate per matching leaf, so that compilers see `Column` and `MetaExtractor` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vastlab.expression import printer
from vastlab.expression.literals import Literal, String, type_of
from vastlab.expression.operators import Operator
from vastlab.types import Kind, Leaf, Type


class Meta(Enum):
    """What an event knows of itself beside its fields."""

    TYPE = "#type"
    IMPORT_TIME = "#import_time"


@dataclass(frozen=True, slots=True)
class FieldExtractor:
    """A field, a dotted path or the end of one, or the name of a concept or model."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class TypeExtractor:
    """``:ip``: every field of a built-in type. ``None`` is the type of the bare ``null``."""

    type: Type | None

    def __str__(self) -> str:
        return ":null" if self.type is None else f":{printer.type_name(self.type)}"


@dataclass(frozen=True, slots=True)
class AliasExtractor:
    """``:port``: every field whose type carries this name."""

    name: str

    def __str__(self) -> str:
        return f":{self.name}"


@dataclass(frozen=True, slots=True)
class MetaExtractor:
    """``#type`` or ``#import_time``."""

    meta: Meta

    def __str__(self) -> str:
        return str(self.meta.value)


@dataclass(frozen=True, slots=True)
class Column:
    """A leaf of one schema: what an extractor became when it was bound."""

    leaf: Leaf

    def __str__(self) -> str:
        return self.leaf.name


Extractor = FieldExtractor | TypeExtractor | AliasExtractor | MetaExtractor | Column


@dataclass(frozen=True, slots=True)
class Predicate:
    """A comparison; the extractor stands on the left."""

    extractor: Extractor
    operator: Operator
    literal: Literal

    def __str__(self) -> str:
        if _is_bare(self):
            return f"{'!' if self.operator.is_negated else ''}{self.literal}"
        operator, value = _spelling(self)
        return f"{self.extractor} {operator.value} {value}"


@dataclass(frozen=True, slots=True)
class And:
    """All operands hold; at least two."""

    operands: tuple[Expr, ...]

    def __str__(self) -> str:
        return " && ".join(_inside(operand, Or) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one operand holds; at least two."""

    operands: tuple[Expr, ...]

    def __str__(self) -> str:
        return " || ".join(_inside(operand) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Not:
    """The complement of a row set, null rows included.

    A normalised tree has none: negations move into the operators. Resolved models bring it
    back (specification, section 6).
    """

    operand: Expr

    def __str__(self) -> str:
        return f"!({_inside(self.operand)})"


@dataclass(frozen=True, slots=True)
class Constant:
    """Every row or no row: the empty expression, and numbers that a column cannot hold."""

    value: bool

    def __str__(self) -> str:
        return "" if self.value else _NOTHING


Expr = Predicate | And | Or | Not | Constant

_NOTHING, _EVERYTHING = '#type == ""', '#type != ""'
_COMPOUND = (Kind.LIST, Kind.MAP, Kind.RECORD)


def _is_bare(predicate: Predicate) -> bool:
    """Whether a predicate came from a literal alone, and its type may have no text."""
    match predicate:
        case Predicate(TypeExtractor(type_), Operator.EQ | Operator.NE, literal):
            bare = type_ is None or type_.kind in _COMPOUND
            return bare and type_ == type_of(literal)
        case _:
            return False


def _spelling(predicate: Predicate) -> tuple[Operator, str]:
    """Spell operator and value; a text that quotes cannot hold is searched for by a pattern."""
    match predicate:
        case Predicate(TypeExtractor(Type(kind=Kind.LIST)), operator, literal):
            return operator, str(literal)
        case Predicate(_, Operator.NI | Operator.NOT_NI as operator, String(text)):
            if not printer.is_quotable(text):
                match_operator = Operator.NE if operator.is_negated else Operator.EQ
                anywhere = f"(?s:.*){printer.escaped(text)}(?s:.*)"
                return match_operator, printer.pattern(anywhere)
    return predicate.operator, str(predicate.literal)


def _inside(operand: Expr, looser: type[Expr] | tuple[()] = ()) -> str:
    match operand:
        case Constant(True):
            return _EVERYTHING
        case _ if isinstance(operand, looser):
            return f"({operand})"
        case _:
            return str(operand)
