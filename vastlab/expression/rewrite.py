"""Transformations of a tree that keep its meaning, and the normal form."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never

from vastlab.errors import ExpressionError
from vastlab.expression import checks, literals
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Column,
    Constant,
    Expr,
    Extractor,
    FieldExtractor,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    MapLiteral,
    Null,
    Parameter,
    Pattern,
    RecordLiteral,
    RelativeTime,
    String,
    Subnet,
    Time,
    UInt64,
    is_quotable,
    type_of,
)
from vastlab.types import Kind, Type

_MAY_BE_RELATIVE = frozenset({RelativeTime, ListLiteral, MapLiteral, RecordLiteral})
_NUMBERS: dict[Kind, type] = {Kind.INT64: Int64, Kind.UINT64: UInt64, Kind.DOUBLE: Double}


def any_field_equals(literal: Literal) -> Expr:
    """Expand a bare value: any field of its type that equals it."""
    predicate = Predicate(TypeExtractor(type_of(literal)), Operator.EQ, literal)
    if isinstance(literal, Subnet):
        inside = Predicate(TypeExtractor(Type(Kind.IP)), Operator.IN, literal)
        return Or((predicate, inside))
    return predicate


def typed(predicate: Predicate) -> Predicate:
    """Rewrite a comparison with a built-in type as VAST 3.1 accepts it.

    Numbers get the spelling of the type; ``:string in /regex/`` becomes a whole match.
    """
    if predicate.operator.is_negated:
        return _complement(typed(_complement(predicate)))
    match predicate:
        case Predicate(
            TypeExtractor(Type(kind=Kind.INT64 | Kind.UINT64 | Kind.DOUBLE as kind)),
            _,
            (Int64() | UInt64() | Double()) as number,
        ) if not isinstance(number, _NUMBERS[kind]):
            return _lower_number(predicate, kind, number.value)
        case Predicate(TypeExtractor(), Operator.IN, Pattern() as pattern):
            return _lower_search(predicate, pattern)
        case _:
            return predicate


def normalise(expr: Expr) -> Expr:
    """Move negations into the operators, flatten nested connectives, drop duplicate operands.

    Only for trees that are not bound: there a negation includes null rows.
    """
    return _normalise(expr, negated=False)


def at(expr: Expr, now_nanoseconds: int) -> Expr:
    """Replace the times that are relative to now; `now_nanoseconds` counts from 1970-01-01 UTC."""

    def fix(literal: Literal) -> Literal:
        match literal:
            case RelativeTime(offset):
                if not -(2**63) <= now_nanoseconds + offset < 2**63:
                    message = f"the time is out of range: {literal}"
                    raise ExpressionError(message, hint="the latest time is in the year 2262")
                return Time(now_nanoseconds + offset)
            case _:
                return literal

    return map_predicates(
        expr,
        lambda p: p if _is_fixed(p.literal) else replace(p, literal=_map_literal(p.literal, fix)),
    )


def _is_fixed(literal: Literal) -> bool:
    """Whether a list, which may be long, contains no time relative to now."""
    return isinstance(literal, ListLiteral) and not literal.kinds & _MAY_BE_RELATIVE


def map_literals(expr: Expr, change: Callable[[Literal], Literal]) -> Expr:
    """Replace every literal, also nested ones."""
    return map_predicates(expr, lambda p: replace(p, literal=_map_literal(p.literal, change)))


def _map_literal(literal: Literal, change: Callable[[Literal], Literal]) -> Literal:
    match literal:
        case ListLiteral(items):
            literal = ListLiteral(tuple(_map_literal(item, change) for item in items))
        case MapLiteral(items):
            pairs = (
                (_map_literal(key, change), _map_literal(value, change)) for key, value in items
            )
            literal = MapLiteral(tuple(pairs))
        case RecordLiteral(fields):
            named = ((name, _map_literal(value, change)) for name, value in fields)
            literal = RecordLiteral(tuple(named))
    return change(literal)


def map_predicates(expr: Expr, change: Callable[[Predicate], Expr]) -> Expr:
    """Replace every predicate and keep the rest of the tree."""
    match expr:
        case Predicate():
            return change(expr)
        case And(operands):
            return And(tuple(map_predicates(operand, change) for operand in operands))
        case Or(operands):
            return Or(tuple(map_predicates(operand, change) for operand in operands))
        case Not(operand):
            return Not(map_predicates(operand, change))
        case Constant():
            return expr
        case _:
            assert_never(expr)


def predicates(expr: Expr) -> Iterator[Predicate]:
    """Yield every predicate, from left to right."""
    match expr:
        case Predicate():
            yield expr
        case And(operands) | Or(operands):
            for operand in operands:
                yield from predicates(operand)
        case Not(operand):
            yield from predicates(operand)
        case Constant():
            return
        case _:
            assert_never(expr)


def literals_of(expr: Expr) -> Iterator[Literal]:
    """Yield every literal from left to right, each before the literals inside it."""
    for predicate in predicates(expr):
        yield from _nested_literals(predicate.literal)


def _nested_literals(literal: Literal) -> Iterator[Literal]:
    yield literal
    inner: Iterable[Literal] = ()
    match literal:
        case ListLiteral(items):
            inner = items
        case MapLiteral(items):
            inner = (part for pair in items for part in pair)
        case RecordLiteral(fields):
            inner = (value for _, value in fields)
    for part in inner:
        yield from _nested_literals(part)


# --- lowering -------------------------------------------------------------------------------


def lower(expr: Expr) -> Expr:
    """Rewrite the additions of vastlab in the language of VAST 3.1.

    Each network in a list becomes a membership test, ``in /regex/`` a whole match, and
    each string in a list an equality, which also compares labels of enumerations.
    """
    return normalise(map_predicates(expr, _lower))


def _lower(predicate: Predicate) -> Expr:
    if predicate.operator.is_negated:
        return Not(_lower(_complement(predicate)))
    _check_spelling(predicate)
    match predicate:
        case Predicate(MetaExtractor(), _, _):
            return predicate
        case Predicate(_, Operator.IN, ListLiteral(items)):
            return _lower_members(predicate, items)
        case Predicate(_, Operator.IN, Pattern() as pattern):
            return _lower_search(predicate, pattern)
        case _:
            return predicate


def _lower_members(predicate: Predicate, items: Sequence[Literal]) -> Expr:
    """Take networks and strings out of a list: the field may be an address or an enumeration."""
    extractor = predicate.extractor
    is_ip = extractor == TypeExtractor(Type(Kind.IP))
    if isinstance(extractor, TypeExtractor) and not is_ip:
        return predicate
    apart: list[Expr] = []
    rest: list[Literal] = []
    for item in items:
        match item:
            case Subnet():
                apart.append(Predicate(extractor, Operator.IN, item))
            case String() if not is_ip:
                apart.append(Predicate(extractor, Operator.EQ, item))
            case _:
                rest.append(item)
    if rest or not apart:
        apart.append(Predicate(extractor, Operator.IN, ListLiteral(tuple(rest))))
    return Or(tuple(apart))


def _lower_search(predicate: Predicate, pattern: Pattern) -> Predicate:
    anywhere = Pattern(f"(?s:.*)(?:{pattern.closed})(?s:.*)", pattern.ignore_case)
    return Predicate(predicate.extractor, Operator.EQ, anywhere)


def _lower_number(predicate: Predicate, kind: Kind, value: float) -> Predicate:
    # `in []` matches no cell, `!in []` every cell that is not null.
    match checks.fold(kind, predicate.operator, value):
        case (operator, literal):
            return Predicate(predicate.extractor, operator, literal)
        case True:
            return Predicate(predicate.extractor, Operator.NOT_IN, ListLiteral(()))
        case _:
            return Predicate(predicate.extractor, Operator.IN, ListLiteral(()))


def _check_spelling(predicate: Predicate) -> None:
    """Reject a comparison with a string that VAST cannot quote and no pattern can replace."""
    match predicate:
        case Predicate(_, operator, String(text)) if not is_quotable(text):
            if operator is Operator.IN or operator.is_ordering:
                message = f"VAST has no syntax for this string after {operator.value}: {text!r}"
                raise ExpressionError(message, hint="use ==, ni or a list instead")


# --- normal form ----------------------------------------------------------------------------


def _normalise(expr: Expr, *, negated: bool) -> Expr:
    match expr:
        case Predicate():
            return _complement(expr) if negated else expr
        case Constant(value):
            return Constant(value != negated)
        case Not(operand):
            return _normalise(operand, negated=not negated)
        case And(operands) | Or(operands):
            kind = And if isinstance(expr, And) != negated else Or
            return _join(kind, [_normalise(operand, negated=negated) for operand in operands])
        case _:
            assert_never(expr)


def _complement(predicate: Predicate) -> Predicate:
    return replace(predicate, operator=predicate.operator.complement)


def _join(kind: type[And] | type[Or], operands: list[Expr]) -> Expr:
    flat: dict[Expr, None] = {}
    neutral = Constant(kind is And)
    for operand in operands:
        if operand == Constant(kind is Or):
            return operand
        if operand != neutral:
            flat.update(
                dict.fromkeys(operand.operands if isinstance(operand, kind) else (operand,))
            )
    unique = tuple(flat)
    return kind(unique) if len(unique) > 1 else next(iter(unique), neutral)


def normal_form(expr: Expr) -> str:
    """Write a tree as an S-expression."""
    match expr:
        case Predicate(extractor, operator, literal):
            return _node(operator.value, _extractor(extractor), _literal(literal))
        case And(operands):
            return _node("and", *map(normal_form, operands))
        case Or(operands):
            return _node("or", *map(normal_form, operands))
        case Not(operand):
            return _node("not", normal_form(operand))
        case Constant(value):
            return _node("constant", "true" if value else "false")
        case _:
            assert_never(expr)


def _extractor(extractor: Extractor) -> str:
    match extractor:
        case FieldExtractor(name, parts):
            return _node("field", *map(_quoted, parts or (name,)))
        case TypeExtractor(type_):
            return _node("type", _type(type_))
        case AliasExtractor(name):
            return _node("alias", _quoted(name))
        case MetaExtractor(meta):
            return _node("meta", _quoted(meta.value))
        case Column(leaf):
            return _node("column", _quoted(leaf.column))
        case _:
            assert_never(extractor)


def _type(type_: Type | None) -> str:
    match type_:
        case None | Type(kind=Kind.NULL, names=()):
            return "none"
        case Type(names=(name, *_)):
            return _node("alias", _quoted(name))
        case Type(kind=Kind.LIST):
            return _node("list", _type(type_.item))
        case Type(kind=Kind.ENUM, labels=labels):
            return _node("enum", *(_quoted(label) for label, _ in labels))
        case Type(kind=Kind.RECORD, fields=fields):
            members = (_node(_quoted(field.name), _type(field.type)) for field in fields)
            return _node("algebra" if type_.attributes == literals.ALGEBRA else "record", *members)
        case _:
            return type_.kind.value


def _literal(literal: Literal) -> str:
    match literal:
        case Null():
            return "null"
        case Bool(value):
            return "true" if value else "false"
        case Int64(value):
            return _node("int", str(value))
        case UInt64(value):
            return _node("uint", str(value))
        case Double(value):
            return _node("real", repr(float(value)))
        case Duration(nanoseconds):
            return _node("duration", str(nanoseconds))
        case Time(nanoseconds):
            return _node("time", _quoted(_iso(nanoseconds)))
        case RelativeTime(nanoseconds):
            return _node("now", f"{nanoseconds:+}")
        case String(value):
            return _node("str", _quoted(value))
        case Pattern(regex, ignore_case):
            return _node("pat", _quoted(regex), '"i"' if ignore_case else '""')
        case IP():
            return _node("ip", _quoted(_ip(literal)))
        case Subnet(packed, length):
            return _node("net", _quoted(literals.subnet(packed, length).lower()))
        case ListLiteral(items):
            return _node("list", *map(_literal, items))
        case MapLiteral(items):
            return _node("map", *(_node(_literal(key), _literal(value)) for key, value in items))
        case RecordLiteral(fields):
            return _node("rec", *(_node(_quoted(name), _literal(v)) for name, v in fields))
        case Parameter(name):
            return _node("param", _quoted(name))
        case _:
            assert_never(literal)


def _node(*parts: str) -> str:
    return f"({' '.join(parts)})"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _iso(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".") + "Z" if rest else f"{whole}Z"


def _ip(address: IP) -> str:
    if address.mapped:
        tail = address.packed[12:]
        high, low = int.from_bytes(tail[:2]), int.from_bytes(tail[2:])
        return f"::ffff:{high:x}:{low:x}"
    if address.packed.startswith(literals.MAPPED):
        return literals.ip(address.packed)
    return str(ipaddress.IPv6Address(address.packed))
