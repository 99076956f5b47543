"""Numbers compared by value: what a comparison means in the type of the column.

A literal keeps the type of its spelling, a column has its own. The comparison is done exactly:
it becomes one with a value that the column's type holds, or, where no such value decides it,
true or false for every cell that is not null. NaN follows IEEE 754: no comparison with it holds
but ``!=``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from vastlab.expression.literals import Double, Duration, Int64, Literal, Time, UInt64
from vastlab.expression.operators import Operator
from vastlab.types import Kind

_INT64 = (-(2**63), 2**63 - 1)
_BOUNDS = {
    Kind.INT64: _INT64,
    Kind.UINT64: (0, 2**64 - 1),
    Kind.TIME: _INT64,
    Kind.DURATION: _INT64,
}
_INTEGER_LITERAL: dict[Kind, Callable[[int], Literal]] = {
    Kind.INT64: Int64,
    Kind.UINT64: UInt64,
    Kind.TIME: Time,
    Kind.DURATION: Duration,
}
NUMERIC = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE})


def fold(kind: Kind, operator: Operator, value: float) -> tuple[Operator, Literal] | bool:
    """Express a comparison with a number in the type of the cells.

    Parameters
    ----------
    kind
        The kind of the cells: a number, a time or a duration (both count nanoseconds).
    operator
        ``==`` or an ordering.
    value
        The number to compare with: any int or float.

    Returns
    -------
    tuple or bool
        The comparison that means the same on cells of this kind; or what every non-null cell
        answers.

    Examples
    --------
    >>> fold(Kind.INT64, Operator.LT, 5.5)
    (<Operator.LE: '<='>, Int64(value=5))
    >>> fold(Kind.UINT64, Operator.GT, -1), fold(Kind.INT64, Operator.EQ, 0.5)
    (True, False)
    """
    if value != value:  # NaN; math.isnan() fails on integers beyond the doubles
        return False
    if kind is Kind.DOUBLE:
        return _fold_double(operator, value)
    if value in (math.inf, -math.inf):
        return _beyond(operator, above=value > 0)
    return _fold_integer(kind, operator, value)


def exact(kind: Kind, value: float) -> Literal | None:
    """Return the literal of a kind that equals a number, where there is one.

    Examples
    --------
    >>> exact(Kind.INT64, 2.0), exact(Kind.DOUBLE, 2**53 + 1)
    (Int64(value=2), None)
    """
    match fold(kind, Operator.EQ, value):
        case (_, literal):
            return literal
        case _:
            return None


def _fold_integer(kind: Kind, operator: Operator, value: float) -> tuple[Operator, Literal] | bool:
    lowest, highest = _BOUNDS[kind]
    whole = math.floor(value)
    if whole != value:
        match operator:
            case Operator.EQ:
                return False
            case Operator.LT | Operator.LE:
                operator = Operator.LE
            case _:
                operator, whole = Operator.GE, whole + 1
    if not lowest <= whole <= highest:
        return _beyond(operator, above=whole > highest)
    return operator, _INTEGER_LITERAL[kind](whole)


def _fold_double(operator: Operator, value: float) -> tuple[Operator, Literal] | bool:
    nearest = _nearest(value)
    if nearest == value:
        return operator, Double(nearest)
    match operator:
        case Operator.EQ:
            return False
        case Operator.LT | Operator.LE:
            return (Operator.LT if nearest > value else Operator.LE), Double(nearest)
        case _:
            return (Operator.GE if nearest > value else Operator.GT), Double(nearest)


def _nearest(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _beyond(operator: Operator, *, above: bool) -> bool:
    """Compare any cell with a number above, or below, everything that it can be."""
    return operator in ((Operator.LT, Operator.LE) if above else (Operator.GT, Operator.GE))
