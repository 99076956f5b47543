"""Numbers compared by value, against exact arithmetic."""

from __future__ import annotations

import math
import operator as op

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.expression.ast import Operator
from vastlab.expression.checks import exact, fold
from vastlab.expression.literals import Double, Int64, Time, UInt64
from vastlab.types import Kind

COMPARE = {
    Operator.EQ: op.eq,
    Operator.LT: op.lt,
    Operator.LE: op.le,
    Operator.GT: op.gt,
    Operator.GE: op.ge,
}
EDGES = (0, 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, -(2**63), -(2**63) - 1)
INTEGERS = st.one_of(st.sampled_from(EDGES), st.integers(-(2**65), 2**65))
NUMBERS = st.one_of(INTEGERS, st.floats(), st.sampled_from(EDGES).map(float))
CELLS = {
    Kind.INT64: INTEGERS.filter(lambda v: -(2**63) <= v < 2**63),
    Kind.UINT64: INTEGERS.filter(lambda v: 0 <= v < 2**64),
    Kind.DOUBLE: st.one_of(st.floats(), st.sampled_from(EDGES).map(float)),
    Kind.TIME: INTEGERS.filter(lambda v: -(2**63) <= v < 2**63),
}


def value_of(literal):
    """Return the number in a literal."""
    return literal.nanoseconds if isinstance(literal, Time) else literal.value


@given(st.data(), st.sampled_from(list(CELLS)), st.sampled_from(list(COMPARE)), NUMBERS)
def test_fold_is_exact(data, kind, operator, value):
    """A folded comparison answers as exact arithmetic does, with a value of the cells' type."""
    near = [st.just(v) for v in nearby(kind, value)]
    cell = data.draw(st.one_of(CELLS[kind], *near))
    expected = COMPARE[operator](cell, value)
    match fold(kind, operator, value):
        case bool() as holds:
            assert holds is expected or (math.isnan(cell) and not expected)
        case (folded, literal):
            assert COMPARE[folded](cell, value_of(literal)) is expected


def nearby(kind, value):
    """Return cells next to a value, where the comparison turns."""
    if not math.isfinite(value):
        return []
    if kind is Kind.DOUBLE:
        middle = float(value)
        return [math.nextafter(middle, -math.inf), middle, math.nextafter(middle, math.inf)]
    low, high = (0, 2**64 - 1) if kind is Kind.UINT64 else (-(2**63), 2**63 - 1)
    return [v for v in (math.floor(value), math.ceil(value)) if low <= v <= high]


@pytest.mark.parametrize(
    "kind, operator, value, expected",
    [
        (Kind.INT64, Operator.EQ, 0.5, False),
        (Kind.INT64, Operator.LT, 5.5, (Operator.LE, Int64(5))),
        (Kind.INT64, Operator.GE, 5.5, (Operator.GE, Int64(6))),
        (Kind.INT64, Operator.GT, 2**63, False),
        (Kind.UINT64, Operator.GT, -1, True),
        (Kind.UINT64, Operator.EQ, -1, False),
        (Kind.UINT64, Operator.LE, math.inf, True),
        (Kind.DOUBLE, Operator.LT, 2**53 + 1, (Operator.LE, Double(2.0**53))),
        (Kind.DOUBLE, Operator.GE, 2**53 + 3, (Operator.GE, Double(2.0**53 + 4))),
        (Kind.DOUBLE, Operator.EQ, 2**53 + 1, False),
        (Kind.DOUBLE, Operator.LT, 10**400, (Operator.LT, Double(math.inf))),
        (Kind.DOUBLE, Operator.GT, -(10**400), (Operator.GT, Double(-math.inf))),
        (Kind.DOUBLE, Operator.LE, math.nan, False),
    ],
)
def test_fold(kind, operator, value, expected):
    """A value that the cells cannot hold decides the comparison, or moves to one they can."""
    assert fold(kind, operator, value) == expected


def test_exact():
    """Only a value that the type holds has a literal in it."""
    assert exact(Kind.UINT64, 5.0) == UInt64(5)
    assert exact(Kind.UINT64, 5.5) is None
    assert exact(Kind.INT64, math.nan) is None
