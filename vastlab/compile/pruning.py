"""Pruning: whether a file can contain matching events, from its column statistics."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from vastlab.compile.datafusion import bounds, plain, sample
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.literals import ListLiteral, Literal, Null, Subnet
from vastlab.types import Kind

__all__ = ["OPPOSITE", "UNORDERED", "Range", "is_one_between", "may_match", "must_match"]

# Statistics of these kinds count elements or have another order.
UNORDERED = frozenset({Kind.LIST, Kind.MAP, Kind.RECORD, Kind.SUBNET, Kind.BLOB, Kind.NULL})


@dataclass(frozen=True, slots=True)
class Range:
    """Statistics of a column in one file; None means unknown.

    Parameters
    ----------
    minimum, maximum
        Nanoseconds for times and durations, 16 bytes for an address; NaN is ignored.
    may_contain
        The Bloom filter: whether a string in UTF-8, or the 16 bytes of an address, may be present.
    """

    minimum: Any = None
    maximum: Any = None
    null_count: int | None = None
    num_rows: int | None = None
    may_contain: Callable[[bytes], bool] | None = None

    @property
    def is_all_null(self) -> bool:
        """Whether no row has a value."""
        return self.null_count is not None and self.null_count == self.num_rows


def may_match(expr: Expr, statistics: Mapping[str, Range]) -> bool:
    """Return False only if no row with these statistics can satisfy a bound expression.

    Columns without statistics may contain anything.
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
            column = statistics.get(meta.value)
            return column is None or _may_match_column(Kind.TIME, column, operator, literal)
        case Predicate(Column(leaf), operator, literal):
            column = statistics.get(leaf.column)
            return column is None or _may_match_column(leaf.type.kind, column, operator, literal)
        case Predicate():
            return True
        case _:
            assert_never(expr)


def must_match(expr: Expr, statistics: Mapping[str, Range]) -> bool:
    """Return True only if every row with these statistics satisfies a bound expression."""
    match expr:
        case Constant(value):
            return value
        case And(operands):
            return all(must_match(operand, statistics) for operand in operands)
        case Or(operands):
            return any(must_match(operand, statistics) for operand in operands)
        case Not(operand):
            return not may_match(operand, statistics)
        case Predicate(MetaExtractor(meta), operator, literal):
            column = statistics.get(meta.value)
            return column is not None and _must_match_column(Kind.TIME, column, operator, literal)
        case Predicate(Column(leaf), operator, literal):
            column, kind = statistics.get(leaf.column), leaf.type.kind
            return column is not None and _must_match_column(kind, column, operator, literal)
        case Predicate():
            return False
        case _:
            assert_never(expr)


OPPOSITE = {
    Operator.EQ: Operator.NE,
    Operator.NE: Operator.EQ,
    Operator.LT: Operator.GE,
    Operator.LE: Operator.GT,
    Operator.GT: Operator.LE,
    Operator.GE: Operator.LT,
    Operator.NOT_IN: Operator.IN,
}


def _must_match_column(kind: Kind, column: Range, operator: Operator, literal: Literal) -> bool:
    if kind in UNORDERED:
        return False
    match operator, literal:
        case Operator.EQ, Null():
            return column.is_all_null
        case Operator.NE, Null():
            return column.null_count == 0
        # Doubles may be NaN, which no statistics know of.
        case _ if column.null_count != 0 or kind is Kind.DOUBLE:
            return False
        case Operator.IN, Subnet() if kind is Kind.IP:
            first, last = literal.extremes
            low, high = column.minimum, column.maximum
            return bool(low is not None and high is not None and first <= low and high <= last)
        case _ if operator in OPPOSITE:
            return not _may_match_column(kind, column, OPPOSITE[operator], literal)
        case _:
            return False


def _may_match_column(kind: Kind, column: Range, operator: Operator, literal: Literal) -> bool:
    if kind in UNORDERED:
        return True
    match operator, literal:
        case Operator.EQ, Null():
            return column.null_count is None or column.null_count > 0
        case Operator.NE, Null():
            return not column.is_all_null
        case _ if column.is_all_null:
            return False
        case Operator.IN, ListLiteral() if literal.is_long:
            return is_one_between(column.minimum, column.maximum, literal)
        case Operator.IN, ListLiteral(items):
            return any(_may_match_column(kind, column, Operator.EQ, item) for item in items)
        case Operator.IN, Subnet() if kind is Kind.IP:
            first, last = literal.extremes
            return _reaches(column, at_least=first) and _reaches(column, at_most=last)
        case _:
            return _may_compare(kind, column, operator, plain(literal))


def is_one_between(low: Any, high: Any, literal: ListLiteral) -> bool:
    """Return whether one of many values lies between two bounds; None is no bound."""
    try:
        if any((low is None or low <= x) and (high is None or x <= high) for x in sample(literal)):
            return True
        lows, highs = bounds(literal)  # to sort them takes long
        until = len(lows) if high is None else bisect_right(lows, high)
        return until > 0 and (low is None or bool(highs[until - 1] >= low))
    except TypeError:  # the statistics have another type
        return True


def _may_compare(kind: Kind, column: Range, operator: Operator, value: Any) -> bool:
    if value is None or (kind is Kind.ENUM and operator is not Operator.EQ):
        return True
    match operator:
        case Operator.EQ:
            within = _reaches(column, at_least=value) and _reaches(column, at_most=value)
            return within and _passes_bloom_filter(column, value)
        case Operator.LT:
            return _reaches(column, at_most=value) and column.minimum != value
        case Operator.LE:
            return _reaches(column, at_most=value)
        case Operator.GT:
            return _reaches(column, at_least=value) and column.maximum != value
        case Operator.GE:
            return _reaches(column, at_least=value)
        case Operator.NE:
            only = column.minimum is not None and column.minimum == column.maximum == value
            # Statistics ignore NaN, which differs from every value.
            return kind is Kind.DOUBLE or not only
        case _:
            return True


def _passes_bloom_filter(column: Range, value: Any) -> bool:
    match value:
        case str():
            value = value.encode("utf-8", "surrogatepass")
        case bytes():
            pass
        case _:
            return True
    return column.may_contain is None or column.may_contain(value)


def _reaches(column: Range, *, at_least: Any = None, at_most: Any = None) -> bool:
    """Whether a value may be at least, or at most, the given one; unknown statistics allow it."""
    if at_least is not None:
        return not _is_below(column.maximum, at_least)
    return not _is_below(at_most, column.minimum)


def _is_below(a: Any, b: Any) -> bool:
    """Compare known values of the same type; strings in the order of their bytes."""
    match a, b:
        case (int() | float(), int() | float()) | (bytes(), bytes()):
            return bool(a < b)
        case str(), str():
            return a.encode("utf-8", "surrogatepass") < b.encode("utf-8", "surrogatepass")
        case _:
            return False
