"""Pruning of many files at once: the rules of `vastlab.compile.pruning` as masks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.compile.datafusion import plain
from vastlab.compile.pruning import OPPOSITE, UNORDERED, is_one_between
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

__all__ = ["Bounds", "may_match", "must_match"]

Mask = npt.NDArray[np.bool_]


class Bounds(Protocol):
    """Statistics of a column in many files, one value for each."""

    @property
    def minimum(self) -> pa.Array:
        """As in `pruning.Range`; null where it is not known."""

    @property
    def maximum(self) -> pa.Array:
        """The same for the largest value."""

    @property
    def null_count(self) -> npt.NDArray[np.int64]:
        """The number of nulls; negative where a file has no statistics of the column."""

    @property
    def num_rows(self) -> npt.NDArray[np.int64]:
        """The number of events."""


def may_match(expr: Expr, statistics: Mapping[str, Bounds], size: int) -> Mask:
    """Return for each of `size` files what `pruning.may_match` returns."""
    if isinstance(expr, Not):
        return np.full(size, expr.operand != Constant(True))
    return _matched(expr, statistics, size, may_match, _may_match_column, unknown=True)


def must_match(expr: Expr, statistics: Mapping[str, Bounds], size: int) -> Mask:
    """Return for each of `size` files what `pruning.must_match` returns."""
    if isinstance(expr, Not):
        return ~may_match(expr.operand, statistics, size)
    return _matched(expr, statistics, size, must_match, _must_match_column, unknown=False)


def _matched(
    expr: And | Or | Predicate | Constant,
    statistics: Mapping[str, Bounds],
    size: int,
    match_operand: Callable[[Expr, Mapping[str, Bounds], int], Mask],
    match_column: Callable[[Kind, Bounds, Operator, Literal], Mask],
    *,
    unknown: bool,
) -> Mask:
    """Apply a rule to all columns of an expression; `unknown` is for those without bounds."""
    match expr:
        case Constant(value):
            return np.full(size, value)
        case And(operands):
            return _all((match_operand(each, statistics, size) for each in operands), size)
        case Or(operands):
            return ~_all((~match_operand(each, statistics, size) for each in operands), size)
        case Predicate(MetaExtractor(meta), op, literal):
            name, kind = meta.value, Kind.TIME
        case Predicate(Column(leaf), op, literal):
            name, kind = leaf.column, leaf.type.kind
        case Predicate():
            return np.full(size, unknown)
        case _:
            assert_never(expr)
    column = statistics.get(name)
    return np.full(size, unknown) if column is None else match_column(kind, column, op, literal)


def _all(masks: Iterable[Mask], size: int) -> Mask:
    joined = np.full(size, True)
    for mask in masks:
        joined &= mask
    return joined


def _must_match_column(kind: Kind, column: Bounds, op: Operator, literal: Literal) -> Mask:
    return (column.null_count >= 0) & _proves(kind, column, op, literal)


def _proves(kind: Kind, column: Bounds, op: Operator, literal: Literal) -> Mask:
    nothing = np.full(len(column.null_count), False)
    if kind in UNORDERED:
        return nothing
    match op, literal:
        case Operator.EQ, Null():
            return _is_all_null(column)
        case Operator.NE, Null():
            return _has_no_null(column)
        case _ if kind is Kind.DOUBLE:
            return nothing
        case Operator.IN, Subnet() if kind is Kind.IP:
            first, last = literal.extremes
            is_above = _compare(column.minimum, operator.ge, first, default=False)
            is_inside = is_above & _compare(column.maximum, operator.le, last, default=False)
            return _has_no_null(column) & is_inside
        case _ if op in OPPOSITE:
            may = _allows(kind, column, OPPOSITE[op], literal)
            return _has_no_null(column) & ~may
        case _:
            return nothing


def _may_match_column(kind: Kind, column: Bounds, op: Operator, literal: Literal) -> Mask:
    return (column.null_count < 0) | _allows(kind, column, op, literal)


def _allows(kind: Kind, column: Bounds, op: Operator, literal: Literal) -> Mask:
    if kind in UNORDERED:
        return np.full(len(column.null_count), True)
    match op, literal:
        case Operator.EQ, Null():
            return ~_has_no_null(column)
        case Operator.NE, Null():
            return ~_is_all_null(column)
        case Operator.IN, ListLiteral() if literal.is_long:
            may = _may_contain_any(column, literal)
        case Operator.IN, ListLiteral(items):
            may = np.full(len(column.null_count), False)
            for item in items:
                may |= _allows(kind, column, Operator.EQ, item)
        case Operator.IN, Subnet() if kind is Kind.IP:
            first, last = literal.extremes
            may = _reaches_up(column, first) & _reaches_down(column, last)
        case _:
            may = _may_compare(kind, column, op, plain(literal))
    return ~_is_all_null(column) & may


def _may_contain_any(column: Bounds, literal: ListLiteral) -> Mask:
    pairs = zip(column.minimum.to_pylist(), column.maximum.to_pylist(), strict=True)
    return np.array([is_one_between(low, high, literal) for low, high in pairs], np.bool_)


def _may_compare(kind: Kind, column: Bounds, op: Operator, value: Any) -> Mask:
    everything = np.full(len(column.null_count), True)
    if value is None or (kind is Kind.ENUM and op is not Operator.EQ):
        return everything
    match op:
        case Operator.EQ:
            return _reaches_up(column, value) & _reaches_down(column, value)
        case Operator.LT:
            return _compare(column.minimum, operator.lt, value, default=True)
        case Operator.LE:
            return _reaches_down(column, value)
        case Operator.GT:
            return _compare(column.maximum, operator.gt, value, default=True)
        case Operator.GE:
            return _reaches_up(column, value)
        case Operator.NE if kind is not Kind.DOUBLE:
            is_low = _compare(column.minimum, operator.eq, value, default=False)
            return ~(is_low & _compare(column.maximum, operator.eq, value, default=False))
        case _:
            return everything


def _reaches_up(column: Bounds, value: Any) -> Mask:
    return _compare(column.maximum, operator.ge, value, default=True)


def _reaches_down(column: Bounds, value: Any) -> Mask:
    return _compare(column.minimum, operator.le, value, default=True)


def _is_all_null(column: Bounds) -> Mask:
    answer: Mask = column.null_count == column.num_rows
    return answer


def _has_no_null(column: Bounds) -> Mask:
    answer: Mask = column.null_count == 0
    return answer


_COMPARISONS = {
    operator.lt: pc.less,
    operator.le: pc.less_equal,
    operator.eq: pc.equal,
    operator.ge: pc.greater_equal,
    operator.gt: pc.greater,
}
_MOST_EXACT = 1 << 53  # up to here, a double is as exact as an integer


def _compare(
    array: pa.Array, compare: Callable[[Any, Any], Any], value: Any, *, default: bool
) -> Mask:
    """Compare each value; the default stands for nulls, and for values that have no order."""
    match value:
        case str() if pa.types.is_string(array.type):
            return _compare_bytes(array, compare, value.encode("utf-8", "surrogatepass"), default)
        case bytes() if pa.types.is_fixed_size_binary(array.type):
            return _compare_bytes(array, compare, value, default)
        case int() | float() if pa.types.is_boolean(array.type):
            return _compare(array.cast(pa.int64()), compare, value, default=default)
        case int() | float() if _is_number(array.type) and value == value:
            return np.where(array.is_valid(), _compare_numbers(array, compare, value), default)
        case _:
            return np.full(len(array), default)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _compare_bytes(
    array: pa.Array, compare: Callable[[Any, Any], Any], value: bytes, default: bool
) -> Mask:
    found = _COMPARISONS[compare](array.cast(pa.binary()), pa.scalar(value, pa.binary()))
    answer: Mask = found.fill_null(default).to_numpy(zero_copy_only=False)
    return answer


def _compare_numbers(array: pa.Array, compare: Callable[[Any, Any], Any], value: Any) -> Mask:
    """Compare exactly, also integers with doubles; null is any number."""
    numbers = array.fill_null(0)
    if pa.types.is_floating(array.type):
        is_exact = isinstance(value, float) or abs(value) <= _MOST_EXACT
    else:
        is_exact = isinstance(value, int) or value.is_integer()
        value = int(value) if is_exact else value
    if is_exact:
        answer: Mask = compare(numbers.to_numpy(), value)
        return answer
    return np.array([compare(each, value) for each in numbers.to_pylist()], np.bool_)
