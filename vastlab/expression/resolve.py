"""Binding an expression to one schema.

Every extractor is replaced by the leaves that it matches, every literal is converted to the type
of the leaf, ``#type`` becomes a constant, and concepts and models are expanded by the taxonomy.
`resolve` is pure; the schema has an index of its names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.errors import ExpressionError, ParameterError
from vastlab.expression import checks
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Column,
    Constant,
    Expr,
    Extractor,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.checks import all_of, any_of, fit
from vastlab.expression.literals import (
    Literal,
    Null,
    Parameter,
    Pattern,
    RecordLiteral,
    RelativeTime,
    String,
    Time,
)
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

__all__ = ["match", "resolve"]

_EMPTY = Taxonomy()


def resolve(expr: Expr, schema: Schema, taxonomy: Taxonomy | None = None) -> Expr | None:
    """Bind an expression to a schema.

    Returns a tree of `Column` and ``#import_time`` predicates in the form that
    `vastlab.expression.checks` describes. Returns None if no part of the expression applies to
    this schema: then no event matches, nor the negation.
    """
    known = _EMPTY if taxonomy is None else taxonomy
    match expr:
        case Predicate():
            return _predicate(expr, schema, known)
        case And(operands):
            every = [resolve(operand, schema, known) for operand in operands]
            return all_of(e for e in every if e is not None) if None not in every else None
        case Or(operands):
            return _any_of_bound(resolve(operand, schema, known) for operand in operands)
        case Not(operand):
            return _complement(resolve(operand, schema, known))
        case Constant():
            return expr
        case _:
            assert_never(expr)


def match(extractor: Extractor, schema: Schema) -> tuple[Leaf, ...]:
    """Return the leaves of a schema that an extractor matches; metadata matches none."""
    match extractor:
        case FieldExtractor(name, ()):
            return _match_field(name, schema)
        case FieldExtractor(_, parts):
            return _match_path(parts, schema)
        case TypeExtractor(type_):
            return tuple(leaf for leaf in schema.leaves if _is_same_structure(type_, leaf.type))
        case AliasExtractor(name):
            return tuple(leaf for leaf in schema.leaves if name in leaf.type.names)
        case MetaExtractor():
            return ()
        case Column(leaf):
            return (leaf,)
        case _:
            assert_never(extractor)


# --- predicates -----------------------------------------------------------------------------


def _predicate(predicate: Predicate, schema: Schema, taxonomy: Taxonomy) -> Expr | None:
    if isinstance(predicate.literal, Parameter):
        name = predicate.literal.name
        raise ParameterError(f"the parameter ${name} has no value")
    match predicate.extractor:
        case MetaExtractor(Meta.TYPE):
            return _type_predicate(predicate, schema)
        case MetaExtractor(Meta.IMPORT_TIME):
            return _import_time_predicate(predicate)
        case FieldExtractor(name) if name in taxonomy.models:
            if isinstance(predicate.literal, RecordLiteral):
                return _model(name, predicate.literal, predicate.operator, schema, taxonomy)
        case FieldExtractor(name) if name in taxonomy.concepts:
            return _concept(predicate, name, schema, taxonomy)
    return _leaves(predicate, schema)


def _leaves(predicate: Predicate, schema: Schema) -> Expr | None:
    """Join the compatible matching leaves: no field equals, or any field does."""
    fitting = [
        bound
        for leaf in match(predicate.extractor, schema)
        if (bound := fit(leaf, predicate.operator, predicate.literal)) is not None
    ]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    return all_of(fitting) if predicate.operator.is_negated else any_of(fitting)


def _match_field(name: str, schema: Schema) -> tuple[Leaf, ...]:
    found = list(schema.leaves_by_suffix.get(name, ()))
    parts = schema.name.split(".")
    for start in range(len(parts)):
        rest = name.removeprefix(".".join(parts[start:]) + ".")
        if rest != name:
            # After the schema's name the complete path is required, as in VAST's catalog.
            found += [e for e in schema.leaves_by_suffix.get(rest, ()) if e.name == rest]
    return tuple(dict.fromkeys(found))


def _match_path(parts: tuple[str, ...], schema: Schema) -> tuple[Leaf, ...]:
    """Match part by part: a name that contains a dot never matches two names."""
    found = [leaf for leaf in schema.leaves if leaf.path[-len(parts) :] == parts]
    for length in range(1, len(parts)):
        if f".{schema.name}".endswith("." + ".".join(parts[:length])):
            found += [leaf for leaf in schema.leaves if leaf.path == parts[length:]]
    return tuple(dict.fromkeys(found))


def _is_same_structure(asked: Type | None, type_: Type) -> bool:
    """Whether two types are equal except for their names."""
    if asked is None or asked.kind is not type_.kind:
        return False
    match asked.kind:
        case Kind.LIST:
            anything = asked.item is None or asked.item.kind is Kind.NULL
            return anything or (
                type_.item is not None and _is_same_structure(asked.item, type_.item)
            )
        case Kind.ENUM:
            return asked.labels == type_.labels
        case Kind.RECORD:
            return len(asked.fields) == len(type_.fields) and all(
                _is_same_structure(a.type, b.type)
                for a, b in zip(asked.fields, type_.fields, strict=True)
            )
        case _:
            return True


# --- metadata -------------------------------------------------------------------------------


def _type_predicate(predicate: Predicate, schema: Schema) -> Expr | None:
    match predicate.literal:
        case String(text):
            holds = _compare_text(schema.name, predicate.operator.positive, text)
        case Pattern() as pattern:
            holds = _search(schema.name, predicate.operator.positive, pattern)
        case _:
            return None
    return Constant(holds is not predicate.operator.is_negated)


def _compare_text(name: str, operator: Operator, text: str) -> bool:
    match operator:
        case Operator.EQ:
            return name == text
        case Operator.IN:
            return name in text
        case Operator.NI:
            return text in name
        case _:
            pass
    left, right = name.encode(), text.encode()
    match operator:
        case Operator.LT:
            return left < right
        case Operator.LE:
            return left <= right
        case Operator.GT:
            return left > right
        case _:
            return left >= right


def _search(name: str, operator: Operator, pattern: Pattern) -> bool:
    match operator:
        case Operator.EQ:
            regex = rf"\A(?:{pattern.closed})\z"
        case Operator.IN:
            regex = pattern.regex
        case _:
            return False
    # Arrow's kernel is RE2: the syntax and the meaning that patterns have in VAST.
    found = pc.match_substring_regex(
        pa.scalar(name), pattern=regex, ignore_case=pattern.ignore_case
    )
    return bool(found.as_py())


def _import_time_predicate(predicate: Predicate) -> Expr | None:
    match predicate:
        case Predicate(extractor, operator, Time(moment)) if operator.is_ordering:
            match checks.fold(Kind.TIME, operator, moment):
                case (folded, value):
                    return Predicate(extractor, folded, value)
                case holds:
                    return Constant(holds)
        case Predicate(_, operator, RelativeTime()) if operator.is_ordering:
            return predicate
        case _:
            return None


# --- taxonomy -------------------------------------------------------------------------------


def _concept(predicate: Predicate, name: str, schema: Schema, taxonomy: Taxonomy) -> Expr | None:
    """Join the fields of a concept: always by ``or``, also for negated operators."""
    bound = _any_of_bound(
        _leaves(Predicate(FieldExtractor(field), predicate.operator, predicate.literal), schema)
        for field in taxonomy.fields(name)
    )
    return _leaves(predicate, schema) if bound is None else bound


def _model(
    name: str, record: RecordLiteral, operator: Operator, schema: Schema, taxonomy: Taxonomy
) -> Expr | None:
    leaves = taxonomy.leaves(name)
    restricted = _restrictions(name, leaves, record)
    if not record.fields:
        return None
    present = [
        _predicate(Predicate(FieldExtractor(leaf), Operator.NE, Null()), schema, taxonomy)
        for leaf in leaves
        if leaf not in restricted
    ]
    tests = [
        _predicate(Predicate(FieldExtractor(leaf), operator.positive, value), schema, taxonomy)
        for leaf, value in restricted.items()
    ]
    if None in present or None in tests:
        return None
    holds: Expr | None = all_of(e for e in tests if e is not None)
    if tests and operator.is_negated:
        holds = _complement(holds)
    return all_of(e for e in (*present, holds) if e is not None)


def _restrictions(name: str, leaves: tuple[str, ...], record: RecordLiteral) -> dict[str, Literal]:
    """Pair the leaves of a model with the values that a record requires."""
    fields = record.fields
    if all(field == "" for field, _ in fields):
        if fields and len(fields) != len(leaves):
            raise ExpressionError(
                f"the model {name} needs {len(leaves)} values, but the record has {len(fields)}",
                hint=f"in this order: {', '.join(leaves)}; _ matches any value",
            )
        named = dict(zip(leaves, (value for _, value in fields), strict=False))
    else:
        named = dict(fields)
    return {
        leaf: named[leaf] for leaf in leaves if leaf in named and not isinstance(named[leaf], Null)
    }


# --- connectives ----------------------------------------------------------------------------


def _any_of_bound(operands: Iterable[Expr | None]) -> Expr | None:
    bound = [operand for operand in operands if operand is not None]
    return any_of(bound) if bound else None


def _complement(bound: Expr | None) -> Expr | None:
    match bound:
        case Constant(value):
            return Constant(not value)
        case None:
            return None
        case _:
            return Not(bound)
