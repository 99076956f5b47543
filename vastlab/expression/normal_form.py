"""A tree as an S-expression, in which nothing of it is hidden."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime
from typing import assert_never

from vastlab.expression import printer
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
)
from vastlab.types import Kind, Type


def normal_form(expr: Expr) -> str:
    """Write a tree as an S-expression.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> normal_form(parse("!10.0.0.0/8"))
    '(and (!= (type subnet) (net "10.0.0.0/8")) (!in (type ip) (net "10.0.0.0/8")))'
    """
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
        case FieldExtractor(name):
            return _node("field", _quoted(name))
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
            return _node("net", _quoted(printer.subnet(packed, length).lower()))
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
    if address.packed.startswith(bytes(10) + b"\xff\xff"):
        return printer.ip(address.packed)
    return str(ipaddress.IPv6Address(address.packed))
