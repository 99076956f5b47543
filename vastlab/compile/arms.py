"""Splitting a disjunction so that an engine reads less.

Statistics and bloom filters rule row groups out for ``a == X``, not for ``a == X || b == X``.
As one scan for ``a == X`` and one for ``b == X && !(a == X)`` both are ruled out, and no event
is found twice.
"""

from __future__ import annotations

from vastlab.expression.ast import And, Column, Expr, Not, Or, Predicate
from vastlab.expression.fit import all_of
from vastlab.expression.literals import Null, Subnet
from vastlab.expression.operators import Operator
from vastlab.types import Kind

__all__ = ["arms"]

_MOST = 8


def arms(expr: Expr) -> tuple[Expr, ...]:
    """Split a bound expression into disjoint ones whose union it is.

    Parameters
    ----------
    expr
        What `vastlab.expression.resolve.resolve` returned.

    Returns
    -------
    tuple of Expr
        Several, at most eight, if the expression asks for addresses in different columns, of
        which one is enough; else the expression itself. Every event is in one arm at most.

    Examples
    --------
    >>> from vastlab.expression.literals import IP
    >>> from vastlab.types import Field, Schema, Type
    >>> schema = Schema("conn", (Field("a", Type(Kind.IP)), Field("b", Type(Kind.IP))))
    >>> a, b = (Predicate(Column(e), Operator.EQ, IP(bytes(16))) for e in schema.leaves)
    >>> arms(Or((a, b))) == (a, And((b, Not(a))))
    True
    """
    operands = expr.operands if isinstance(expr, And) else (expr,)
    for i, operand in enumerate(operands):
        if isinstance(operand, Or):
            groups = _groups(operand)
            if 1 < len(groups) <= _MOST:
                rest = operands[:i] + operands[i + 1 :]
                return tuple(all_of((*rest, *arm)) for arm in _disjoint(groups))
    return (expr,)


def _groups(expr: Or) -> list[Expr]:
    """Gather the operands by the column that rules row groups out; none if one has no such."""
    groups: dict[str, list[Expr]] = {}
    for operand in expr.operands:
        column = _needle(operand)
        if column is None:
            return []
        groups.setdefault(column, []).append(operand)
    return [Or(tuple(group)) if len(group) > 1 else group[0] for group in groups.values()]


def _needle(expr: Expr) -> str | None:
    match expr:
        case Predicate(Column(leaf), Operator.EQ | Operator.IN, literal):
            selective = leaf.type.kind is Kind.IP and not isinstance(literal, Null | Subnet)
            return leaf.column if selective else None
        case And(operands):
            return next((c for c in map(_needle, operands) if c is not None), None)
        case _:
            return None


def _disjoint(groups: list[Expr]) -> list[tuple[Expr, ...]]:
    return [(group, *(Not(other) for other in groups[:i])) for i, group in enumerate(groups)]
