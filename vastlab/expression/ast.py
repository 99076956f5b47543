"""The syntax tree of an expression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from vastlab.expression import literals
from vastlab.expression.literals import Literal, String, type_of
from vastlab.expression.tokens import format_path
from vastlab.types import Kind, Leaf, Type


class Operator(Enum):
    """A relational operator; the value is its canonical spelling."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"
    NOT_IN = "!in"
    NI = "ni"
    NOT_NI = "!ni"

    @property
    def flipped(self) -> Operator:
        """The operator that means the same with the operands exchanged."""
        return _FLIPPED[self]

    @property
    def complement(self) -> Operator:
        """The operator that holds on non-null cells where this one does not."""
        return _COMPLEMENT[self]

    @property
    def is_negated(self) -> bool:
        """Whether several matching fields join as a conjunction (specification, section 3)."""
        return self in _NEGATED

    @property
    def is_ordering(self) -> bool:
        """Whether the operator compares by order."""
        return self in _ORDERING

    @property
    def positive(self) -> Operator:
        """The operator itself, or the one that a negated operator negates."""
        return self.complement if self.is_negated else self


_NEGATED = frozenset({Operator.NE, Operator.NOT_IN, Operator.NOT_NI})
_ORDERING = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_FLIPPED = {
    Operator.EQ: Operator.EQ,
    Operator.NE: Operator.NE,
    Operator.LT: Operator.GT,
    Operator.LE: Operator.GE,
    Operator.GT: Operator.LT,
    Operator.GE: Operator.LE,
    Operator.IN: Operator.NI,
    Operator.NOT_IN: Operator.NOT_NI,
    Operator.NI: Operator.IN,
    Operator.NOT_NI: Operator.NOT_IN,
}
_COMPLEMENT = {
    Operator.EQ: Operator.NE,
    Operator.NE: Operator.EQ,
    Operator.LT: Operator.GE,
    Operator.GE: Operator.LT,
    Operator.GT: Operator.LE,
    Operator.LE: Operator.GT,
    Operator.IN: Operator.NOT_IN,
    Operator.NOT_IN: Operator.IN,
    Operator.NI: Operator.NOT_NI,
    Operator.NOT_NI: Operator.NI,
}


class Meta(Enum):
    """Metadata of an event."""

    TYPE = "#type"
    IMPORT_TIME = "#import_time"


@dataclass(frozen=True, slots=True)
class FieldExtractor:
    """A field, a dotted path or its last parts, or the name of a concept or model.

    `name` has no backticks. `parts` is empty unless a part of the path contains a dot.
    """

    name: str
    parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: tuple[str, ...]) -> FieldExtractor:
        """Create the extractor of a path."""
        has_dots = any("." in part for part in parts)
        return cls(".".join(parts), parts if has_dots else ())

    def __str__(self) -> str:
        return format_path(self.parts or tuple(self.name.split(".")))


@dataclass(frozen=True, slots=True)
class TypeExtractor:
    """``:ip``: every field of a built-in type. ``None`` is the type of a bare ``null``."""

    type: Type | None

    def __str__(self) -> str:
        return ":null" if self.type is None else f":{literals.type_name(self.type)}"


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
    """A leaf of one schema: the result of binding an extractor."""

    leaf: Leaf

    def __str__(self) -> str:
        return format_path(tuple(self.leaf.name.split(".")))


Extractor = FieldExtractor | TypeExtractor | AliasExtractor | MetaExtractor | Column


@dataclass(frozen=True, slots=True)
class Written:
    """How a comparison was written: the text of its literal, and whether that was on the left."""

    literal: Literal
    text: str
    is_first: bool


@dataclass(frozen=True, slots=True)
class Predicate:
    """A comparison; the extractor is on the left."""

    extractor: Extractor
    operator: Operator
    literal: Literal
    written: Written | None = field(default=None, compare=False, repr=False)

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
        return _text(self, str)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one operand holds; at least two."""

    operands: tuple[Expr, ...]

    def __str__(self) -> str:
        return _text(self, str)


@dataclass(frozen=True, slots=True)
class Not:
    """The complement of a row set, null rows included.

    A normalised tree has none: negations move into the operators. Resolved models can add one
    (specification, section 6).
    """

    operand: Expr

    def __str__(self) -> str:
        return _text(self, str)


@dataclass(frozen=True, slots=True)
class Constant:
    """Every row or no row, such as the empty expression."""

    value: bool

    def __str__(self) -> str:
        return "" if self.value else _NOTHING


Expr = Predicate | And | Or | Not | Constant

_NOTHING, _EVERYTHING = '#type == ""', '#type != ""'
_COMPOUND = (Kind.LIST, Kind.MAP, Kind.RECORD)


def _is_bare(predicate: Predicate) -> bool:
    """Whether a predicate is printed as its literal only: its type may have no spelling."""
    match predicate:
        case Predicate(TypeExtractor(type_), Operator.EQ | Operator.NE, literal):
            bare = type_ is None or type_.kind in _COMPOUND
            return bare and type_ == type_of(literal)
        case _:
            return False


def _spelling(predicate: Predicate) -> tuple[Operator, str]:
    """Return operator and value as printed; a string that quotes cannot hold becomes a pattern."""
    match predicate:
        case Predicate(TypeExtractor(Type(kind=Kind.LIST)), operator, literal):
            return operator, str(literal)
        case Predicate(_, Operator.NI | Operator.NOT_NI as operator, String(text)):
            if not literals.is_quotable(text):
                match_operator = Operator.NE if operator.is_negated else Operator.EQ
                anywhere = f"(?s:.*){literals.escaped(text)}(?s:.*)"
                return match_operator, literals.pattern(anywhere)
    return predicate.operator, str(predicate.literal)


def echo(expr: Expr) -> str:
    """Write an expression for its author: values as they were spelled, and on the same side.

    Examples
    --------
    >>> from vastlab.expression import parse
    >>> asked = parse('"example" in query and orig_bytes > 1Mi')
    >>> print(asked)
    query ni "example" && orig_bytes > 1048576
    >>> echo(asked)
    '"example" in query && orig_bytes > 1Mi'
    """
    return _text(expr, _echoed)


def _echoed(predicate: Predicate) -> str:
    written = predicate.written
    # The literal may have been replaced since, as a parameter is.
    if written is None or predicate.literal is not written.literal:
        return str(predicate)
    extractor, operator = predicate.extractor, predicate.operator
    if written.is_first:
        return f"{written.text} {operator.flipped.value} {extractor}"
    return f"{extractor} {operator.value} {written.text}"


def _text(expr: Expr, write: Callable[[Predicate], str]) -> str:
    match expr:
        case Predicate():
            return write(expr)
        case And(operands):
            return " && ".join(_inside(operand, write, Or) for operand in operands)
        case Or(operands):
            return " || ".join(_inside(operand, write) for operand in operands)
        case Not(operand):
            return f"!({_inside(operand, write)})"
        case Constant():
            return str(expr)
        case _:
            assert_never(expr)


def _inside(
    operand: Expr, write: Callable[[Predicate], str], looser: type[Expr] | tuple[()] = ()
) -> str:
    match operand:
        case Constant(True):
            return _EVERYTHING
        case _ if isinstance(operand, looser):
            return f"({_text(operand, write)})"
        case _:
            return _text(operand, write)
