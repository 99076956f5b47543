"""Expressions as text for nodes up to VAST 3.1.

VAST compares a number only with fields of the type of its spelling: ``42`` with uint64, ``+42``
with int64, ``42.0`` with double. In vastlab numbers compare by value. The query therefore has one
comparison per type; in a schema only one of them applies, unless its matching fields have several
types: then ``#type`` separates the schemas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from vastlab.errors import ExpressionError
from vastlab.expression import checks
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Expr,
    FieldExtractor,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.literals import Double, Int64, ListLiteral, Literal, UInt64
from vastlab.expression.resolve import match
from vastlab.expression.rewrite import lower, map_predicates, normalise
from vastlab.types import Kind, Schema

__all__ = ["text", "to_vast"]

_KINDS = (Kind.UINT64, Kind.INT64, Kind.DOUBLE)
# The minimum of each type; every cell except NaN is at least this.
_MINIMUM: dict[Kind, Literal] = {
    Kind.UINT64: UInt64(0),
    Kind.INT64: Int64(-(2**63)),
    Kind.DOUBLE: Double(float("-inf")),
}


def text(expr: Expr, schemas: Iterable[Schema] = ()) -> str:
    """Write an expression so that VAST 3.1, with these schemas, answers as vastlab does."""
    return str(to_vast(expr, schemas))


def to_vast(expr: Expr, schemas: Iterable[Schema] = ()) -> Expr:
    """Return the tree that `text` writes."""
    return normalise(map_predicates(lower(expr), partial(_expand_types, tuple(schemas))))


def _expand_types(schemas: tuple[Schema, ...], predicate: Predicate) -> Expr:
    extractor, literal = predicate.extractor, predicate.literal
    if not isinstance(extractor, FieldExtractor | AliasExtractor):
        return predicate
    if "`" in str(extractor):
        raise ExpressionError(
            f"VAST has no syntax for the field name {extractor}",
            hint="query the type of the field instead, such as :time > 2023-05-24 or "
            ':string == "text"; a database, a log folder and a Tenzir node accept all names',
        )
    if isinstance(literal, ListLiteral) and predicate.operator.positive is Operator.IN:
        return _expand_list(schemas, predicate, literal)
    operator = predicate.operator
    comparable = operator in (Operator.EQ, Operator.NE) or operator.is_ordering
    if not comparable or not isinstance(literal, UInt64 | Int64 | Double):
        return predicate
    by_type = {
        kind: comparison
        for kind in _KINDS
        if (comparison := _in_type(predicate, kind, literal.value)) is not None
    }
    any_type = Or(tuple(by_type.values()))
    if not predicate.operator.is_negated:
        return any_type
    mixed = {
        schema.name: kinds
        for schema in schemas
        if len(kinds := {leaf.type.kind for leaf in match(extractor, schema)} & by_type.keys()) > 1
    }
    if not mixed:
        return any_type
    # A negation means that no matching field equals: all types are joined by "and".
    mixed_schemas = [
        And(
            (
                checks.of_schema(name),
                *(by_type[kind] for kind in _KINDS if kind in kinds),
            )
        )
        for name, kinds in mixed.items()
    ]
    other_schemas = And((*(checks.of_schema(name, Operator.NE) for name in mixed), any_type))
    return Or((*mixed_schemas, other_schemas))


def _expand_list(schemas: tuple[Schema, ...], predicate: Predicate, values: ListLiteral) -> Expr:
    """Compare with each number of a list: the index of a field has numbers of one type only."""
    extractor, negated = predicate.extractor, predicate.operator.is_negated
    numbers = [v for v in values.items if isinstance(v, UInt64 | Int64 | Double)]
    kinds = {leaf.type.kind for schema in schemas for leaf in match(extractor, schema)}
    # These kinds compare with numbers only in a list.
    if not numbers or kinds & {Kind.BOOL, Kind.ENUM}:
        return predicate
    equal = Operator.NE if negated else Operator.EQ
    single = [_expand_types(schemas, Predicate(extractor, equal, number)) for number in numbers]
    others = tuple(value for value in values.items if value not in numbers)
    if others:
        single.append(replace(predicate, literal=ListLiteral(others)))
    return And(tuple(single)) if negated else Or(tuple(single))


def _in_type(predicate: Predicate, kind: Kind, value: float) -> Predicate | None:
    """Write a comparison in the spelling of one type; None if no cell can satisfy it."""
    operator = predicate.operator
    if kind is Kind.DOUBLE and math.isnan(value):
        return replace(predicate, literal=Double(value))
    bound = checks.fold(kind, operator.positive, value)
    if isinstance(bound, bool):
        holds = bound is not operator.is_negated
        lowest = Predicate(predicate.extractor, Operator.GE, _MINIMUM[kind])
        return lowest if holds else None
    folded, literal = bound
    folded = folded.complement if operator.is_negated else folded
    return replace(predicate, operator=folded, literal=literal)
