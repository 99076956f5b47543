"""Expressions as text for nodes up to VAST 3.1.

VAST compares a number only with fields of the type that its spelling has: ``42`` with uint64,
``+42`` with int64, ``42.0`` with double. In vastlab numbers compare by value. What is sent
therefore asks for each type in turn; in a schema only one of them finds a field, unless its
matching fields have several types, which a guard by ``#type`` then sets apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from vastlab.expression import numeric
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Expr,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Or,
    Predicate,
)
from vastlab.expression.literals import Double, Int64, Literal, String, UInt64
from vastlab.expression.operators import Operator
from vastlab.expression.resolve import match
from vastlab.expression.rewrite import lower, map_predicates, normalise
from vastlab.types import Kind, Schema

__all__ = ["text"]

_KINDS = (Kind.UINT64, Kind.INT64, Kind.DOUBLE)
# What every cell of a type but NaN reaches.
_LOWEST: dict[Kind, Literal] = {
    Kind.UINT64: UInt64(0),
    Kind.INT64: Int64(-(2**63)),
    Kind.DOUBLE: Double(float("-inf")),
}


def text(expr: Expr, schemas: Iterable[Schema] = ()) -> str:
    """Write an expression so that VAST 3.1 answers as vastlab does.

    Parameters
    ----------
    expr
        A parsed expression, its parameters bound.
    schemas
        The layouts that the node holds.

    Returns
    -------
    str
        One line of VAST's language.

    Examples
    --------
    >>> from vastlab.expression import parse
    >>> text(parse("orig_bytes > 1Ki"))
    'orig_bytes > 1024 || orig_bytes > +1024 || orig_bytes > 1024.0'
    """
    return str(normalise(map_predicates(lower(expr), partial(_by_type, tuple(schemas)))))


def _by_type(schemas: tuple[Schema, ...], predicate: Predicate) -> Expr:
    extractor, literal = predicate.extractor, predicate.literal
    if not isinstance(extractor, FieldExtractor | AliasExtractor):
        return predicate
    if not isinstance(literal, UInt64 | Int64 | Double) or not _compares(predicate.operator):
        return predicate
    arms = {
        kind: arm for kind in _KINDS if (arm := _arm(predicate, kind, literal.value)) is not None
    }
    apart = Or(tuple(arms.values()))
    if not predicate.operator.is_negated:
        return apart
    mixed = {
        schema.name: kinds
        for schema in schemas
        if len(kinds := {leaf.type.kind for leaf in match(extractor, schema)} & arms.keys()) > 1
    }
    if not mixed:
        return apart
    # "No matching field equals": there every type has to agree.
    together = [
        And((_type(Operator.EQ, name), *(arms[kind] for kind in _KINDS if kind in kinds)))
        for name, kinds in mixed.items()
    ]
    elsewhere = And((*(_type(Operator.NE, name) for name in mixed), apart))
    return Or((*together, elsewhere))


def _compares(operator: Operator) -> bool:
    return operator in (Operator.EQ, Operator.NE) or operator.is_ordering


def _arm(predicate: Predicate, kind: Kind, value: float) -> Predicate | None:
    """Write a comparison in the spelling of one type; ``None`` where no cell can satisfy it."""
    operator = predicate.operator
    if kind is Kind.DOUBLE and math.isnan(value):
        return replace(predicate, literal=Double(value))
    bound = numeric.fold(kind, operator.positive, value)
    if isinstance(bound, bool):
        holds = bound is not operator.is_negated
        lowest = Predicate(predicate.extractor, Operator.GE, _LOWEST[kind])
        return lowest if holds else None
    folded, literal = bound
    folded = folded.complement if operator.is_negated else folded
    return replace(predicate, operator=folded, literal=literal)


def _type(operator: Operator, name: str) -> Predicate:
    return Predicate(MetaExtractor(Meta.TYPE), operator, String(name))
