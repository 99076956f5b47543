"""Whether a file can hold an answer, from the extremes of its columns alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from vastlab.expression.ast import And, Column, Constant, Expr, MetaExtractor, Not, Or, Predicate
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    Null,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.operators import Operator
from vastlab.types import Kind

__all__ = ["Range", "may_match"]

_BITS = 128
# Extremes of these say nothing of a comparison: they count elements, or are ordered otherwise.
_OPAQUE = frozenset({Kind.LIST, Kind.MAP, Kind.RECORD, Kind.SUBNET, Kind.BLOB, Kind.NULL})


@dataclass(frozen=True, slots=True)
class Range:
    """What is known of a column's values in one file.

    Parameters
    ----------
    minimum, maximum
        Nanoseconds for times and durations, else the value itself, 16 bytes for an address;
        ``None`` if unknown. NaN counts for neither.
    null_count
        ``None`` if unknown.
    num_rows
        The number of rows.

    Examples
    --------
    >>> Range(1, 5, null_count=0, num_rows=100).maximum
    5
    """

    minimum: Any = None
    maximum: Any = None
    null_count: int | None = None
    num_rows: int | None = None

    @property
    def is_all_null(self) -> bool:
        """Whether no row has a value."""
        return self.null_count is not None and self.null_count == self.num_rows


def may_match(expr: Expr, statistics: Mapping[str, Range]) -> bool:
    """Say whether rows with such columns can satisfy a bound expression.

    Parameters
    ----------
    expr
        What `vastlab.expression.resolve.resolve` returned.
    statistics
        By column; columns that are missing may hold anything.

    Returns
    -------
    bool
        False only if no row can.

    Examples
    --------
    >>> from vastlab.types import Leaf, Type
    >>> port = Column(Leaf(("port",), Type(Kind.UINT64), "port"))
    >>> may_match(Predicate(port, Operator.EQ, UInt64(80)), {"port": Range(1024, 65535, 0, 9)})
    False
    """
    match expr:
        case Constant(value):
            return value
        case And(operands):
            return all(may_match(operand, statistics) for operand in operands)
        case Or(operands):
            return any(may_match(operand, statistics) for operand in operands)
        case Not(operand):
            return operand != Constant(True)
        case Predicate(MetaExtractor(meta), operator, literal):
            known = statistics.get(meta.value)
            return known is None or _may(Kind.TIME, known, operator, literal)
        case Predicate(Column(leaf), operator, literal):
            known = statistics.get(leaf.column)
            return known is None or _may(leaf.type.kind, known, operator, literal)
        case Predicate():
            return True
        case _:
            assert_never(expr)


def _may(kind: Kind, known: Range, operator: Operator, literal: Literal) -> bool:
    if kind in _OPAQUE:
        return True
    match operator, literal:
        case Operator.EQ, Null():
            return known.null_count is None or known.null_count > 0
        case Operator.NE, Null():
            return not known.is_all_null
        case _ if known.is_all_null:
            return False
        case Operator.IN, ListLiteral(items):
            return any(_may(kind, known, Operator.EQ, item) for item in items)
        case Operator.IN, Subnet(packed, length) if kind is Kind.IP:
            low = int.from_bytes(packed, "big")
            high = low | ((1 << (_BITS - length)) - 1)
            last = high.to_bytes(_BITS // 8, "big")
            return _reaches(known, at_least=packed) and _reaches(known, at_most=last)
        case _:
            return _may_compare(kind, known, operator, _value(literal))


def _may_compare(kind: Kind, known: Range, operator: Operator, value: Any) -> bool:
    if value is None or (kind is Kind.ENUM and operator is not Operator.EQ):
        return True
    match operator:
        case Operator.EQ:
            return _reaches(known, at_least=value) and _reaches(known, at_most=value)
        case Operator.LT:
            return _reaches(known, at_most=value) and known.minimum != value
        case Operator.LE:
            return _reaches(known, at_most=value)
        case Operator.GT:
            return _reaches(known, at_least=value) and known.maximum != value
        case Operator.GE:
            return _reaches(known, at_least=value)
        case Operator.NE:
            only = known.minimum is not None and known.minimum == known.maximum == value
            # Extremes leave NaN out, and NaN differs from every value.
            return kind is Kind.DOUBLE or not only
        case _:
            return True


def _reaches(known: Range, *, at_least: Any = None, at_most: Any = None) -> bool:
    """Whether some value may be at least, or at most, so large; unknown extremes may."""
    if at_least is not None:
        return not _is_below(known.maximum, at_least)
    return not _is_below(at_most, known.minimum)


def _is_below(a: Any, b: Any) -> bool:
    """Compare where both are known and of one sort; texts in the order of their bytes."""
    match a, b:
        case (int() | float(), int() | float()) | (bytes(), bytes()):
            return bool(a < b)
        case str(), str():
            return a.encode("utf-8", "surrogatepass") < b.encode("utf-8", "surrogatepass")
        case _:
            return False


def _value(literal: Literal) -> Any:
    match literal:
        case Bool(value) | Int64(value) | UInt64(value) | Double(value) | String(value):
            return value
        case Time(value) | Duration(value) | IP(value):
            return value
        case _:
            return None
