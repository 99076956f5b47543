"""Which comparisons can never bind, so that a text with one of them is an error.

Fields and aliases are not checked: what they are is known only when they meet a schema.
"""

from __future__ import annotations

from typing import NamedTuple

from vastlab import _text
from vastlab.expression.ast import Extractor, Meta, MetaExtractor, TypeExtractor
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
from vastlab.expression.operators import Operator
from vastlab.types import Kind, Type


class Problem(NamedTuple):
    """Why a comparison is refused, what would fit, and whether the operator is to blame."""

    message: str
    expected: str
    in_operator: bool = False
    hint: str | None = None


_SPELLED, _WIDTH = 3, 60
_EXAMPLE_NAMES = ('"zeek.conn"', '"zeek.dns"')
_NUMBERS = (Int64, UInt64, Double)
_CONTAINERS = (ListLiteral, MapLiteral, RecordLiteral)
_SAME: dict[Kind, tuple[type, ...]] = {
    Kind.BOOL: (Bool,),
    Kind.INT64: _NUMBERS,
    Kind.UINT64: _NUMBERS,
    Kind.DOUBLE: _NUMBERS,
    Kind.DURATION: (Duration,),
    Kind.TIME: (Time, RelativeTime),
    Kind.STRING: (String, Pattern),
    Kind.IP: (IP,),
    Kind.SUBNET: (Subnet,),
    Kind.LIST: (ListLiteral,),
    Kind.MAP: (MapLiteral,),
    Kind.RECORD: (RecordLiteral, ListLiteral),
}
_EXAMPLES = {
    Kind.BOOL: "true or false",
    Kind.INT64: "a number such as +42",
    Kind.UINT64: "a number such as 42",
    Kind.DOUBLE: "a number such as 4.2",
    Kind.DURATION: "a duration such as 5s",
    Kind.TIME: "a time such as 2023-05-24 or 5m ago",
    Kind.STRING: 'a string such as "text"',
    Kind.IP: "an address such as 10.0.0.1",
    Kind.SUBNET: "a subnet such as 10.0.0.0/8",
    Kind.ENUM: "one of its labels as a string",
    Kind.LIST: "a list such as [1, 2]",
    Kind.MAP: "a map such as {1 -> 2}",
    Kind.RECORD: "a record such as <1, 2>",
    Kind.NULL: "null",
}


def problem(extractor: Extractor, operator: Operator, literal: Literal) -> Problem | None:
    """Say what is wrong with a comparison; ``None`` if it may bind.

    Examples
    --------
    >>> problem(TypeExtractor(Type(Kind.DURATION)), Operator.GT, UInt64(5)).expected
    'a duration such as 5s'
    """
    match extractor:
        case _ if isinstance(literal, Parameter):
            return None
        case MetaExtractor(Meta.TYPE) if not isinstance(literal, String | Pattern):
            return Problem(
                "#type is a text", "a string or a pattern", hint=_names(operator, literal)
            )
        case MetaExtractor(Meta.IMPORT_TIME):
            return _import_time(operator, literal)
        case TypeExtractor(Type() as type_) if not _is_compatible(type_, operator, literal):
            return _unfit(type_, operator, literal)
        case _:
            return None


def _names(operator: Operator, literal: Literal) -> str | None:
    """Spell out what somebody meant who gave a list of names."""
    if not isinstance(literal, ListLiteral):
        return None
    names = [_text.cut(str(item), _WIDTH) for item in literal.items if isinstance(item, String)]
    sign, connective = ("!=", " && ") if operator.is_negated else ("==", " || ")
    terms = [f"#type {sign} {name}" for name in names[:_SPELLED] or _EXAMPLE_NAMES]
    return f"write {connective.join([*terms, '…'] if len(names) > _SPELLED else terms)}"


def _import_time(operator: Operator, literal: Literal) -> Problem | None:
    if not isinstance(literal, Time | RelativeTime):
        return Problem("#import_time is a time", _EXAMPLES[Kind.TIME])
    if not operator.is_ordering:
        return Problem("#import_time can only be ordered", "<, <=, > or >=", in_operator=True)
    return None


def _is_compatible(type_: Type, operator: Operator, literal: Literal) -> bool:
    kind, positive = type_.kind, operator.positive
    match positive:
        case Operator.IN:
            return _is_inside(kind, literal)
        case Operator.NI:
            return _holds(kind, literal)
        case Operator.EQ if isinstance(literal, Null):
            return True
        case _:
            return _is_same(type_, literal)


def _is_inside(kind: Kind, literal: Literal) -> bool:
    match kind:
        case _ if isinstance(literal, _CONTAINERS):
            return True
        case Kind.STRING:
            return isinstance(literal, String | Pattern)
        case Kind.IP | Kind.SUBNET:
            return isinstance(literal, Subnet)
        case _:
            return False


def _holds(kind: Kind, literal: Literal) -> bool:
    match literal:
        case String():
            return kind in (Kind.STRING, Kind.LIST)
        case IP() | Subnet():
            return kind in (Kind.SUBNET, Kind.LIST)
        case _:
            return kind is Kind.LIST


def _is_same(type_: Type, literal: Literal) -> bool:
    match type_.kind, literal:
        case Kind.UINT64, Int64(value) | Double(value):
            return not value < 0  # a sign there is a mistake, in VAST as here
        case Kind.ENUM, String(label):
            return label in dict(type_.labels)
        case _:
            return isinstance(literal, _SAME.get(type_.kind, ()))


def _unfit(type_: Type, operator: Operator, literal: Literal) -> Problem:
    kind = type_.kind
    spelled = f"{TypeExtractor(type_)} {operator.value}"
    message = f"{spelled} does not take {_ARTICLES[type(literal)]}"
    match operator.positive:
        case Operator.IN if kind is Kind.STRING:
            return Problem(message, "a string, a pattern or a list")
        case Operator.IN if kind in (Kind.IP, Kind.SUBNET):
            return Problem(message, "a subnet or a list")
        case Operator.IN:
            return Problem(message, "a list")
        case Operator.NI if kind is Kind.STRING:
            return Problem(message, _EXAMPLES[Kind.STRING])
        case Operator.NI if kind is Kind.SUBNET:
            return Problem(message, "an address or a subnet")
        case Operator.NI:
            return Problem(f"{spelled} never holds", "another operator", in_operator=True)
        case _:
            return Problem(message, _EXAMPLES.get(kind, "null"))


_ARTICLES: dict[type[Literal], str] = {
    Null: "null",
    Bool: "a bool",
    Int64: "a signed number",
    UInt64: "a number",
    Double: "a real number",
    Duration: "a duration",
    Time: "a time",
    RelativeTime: "a time",
    String: "a string",
    Pattern: "a pattern",
    IP: "an address",
    Subnet: "a subnet",
    ListLiteral: "a list",
    MapLiteral: "a map",
    RecordLiteral: "a record",
}
