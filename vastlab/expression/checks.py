"""Which operators and literals are compatible with which fields, and the form of bound trees.

In a bound tree, every predicate is over ``Column(leaf)`` and its literal has the type of the leaf.
A list has at least two distinct items, only with ``in`` and ``!in``; a field of lists is compared
only by ``ni``, ``!ni`` and with null. Comparisons with a constant result are `Constant`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from vastlab import _text
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    Extractor,
    Meta,
    MetaExtractor,
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
)
from vastlab.types import Kind, Leaf, Type

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
    """Convert a comparison with any number to the type of the cells.

    Returns the equivalent comparison, or the constant result for every non-null cell. Times and
    durations count nanoseconds.
    """
    if value != value:  # NaN; math.isnan() fails on integers beyond the doubles
        return False
    if kind is Kind.DOUBLE:
        return _fold_double(operator, value)
    if value in (math.inf, -math.inf):
        return _compare_out_of_range(operator, above=value > 0)
    return _fold_integer(kind, operator, value)


def exact(kind: Kind, value: float) -> Literal | None:
    """Return the literal of a kind that equals a number, or None."""
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
        return _compare_out_of_range(operator, above=whole > highest)
    return operator, _INTEGER_LITERAL[kind](whole)


def _fold_double(operator: Operator, value: float) -> tuple[Operator, Literal] | bool:
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf if value > 0 else -math.inf
    if nearest == value:
        return operator, Double(nearest)
    match operator:
        case Operator.EQ:
            return False
        case Operator.LT | Operator.LE:
            return (Operator.LT if nearest > value else Operator.LE), Double(nearest)
        case _:
            return (Operator.GE if nearest > value else Operator.GT), Double(nearest)


def _compare_out_of_range(operator: Operator, *, above: bool) -> bool:
    """Compare any cell with a number above, or below, the range of its type."""
    return operator in ((Operator.LT, Operator.LE) if above else (Operator.GT, Operator.GE))


_FALSE = Constant(False)
_DIRECT_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.BOOL: (Bool,),
    Kind.STRING: (String, Pattern),
    Kind.IP: (IP,),
    Kind.SUBNET: (Subnet,),
    Kind.TIME: (RelativeTime,),
}


def fit(leaf: Leaf, operator: Operator, literal: Literal) -> Expr | None:
    """Bind a comparison to a leaf; None if operator, literal and type are not compatible."""
    if isinstance(literal, Null):
        return _fit_null(leaf, operator)
    match operator.positive:
        case Operator.IN:
            bound = _fit_in(leaf, literal)
        case Operator.NI:
            bound = _fit_ni(leaf, literal)
        case positive:
            bound = _fit_comparison(leaf, positive, literal)
    return _negate(bound, leaf) if bound is not None and operator.is_negated else bound


def any_of(operands: Iterable[Expr]) -> Expr:
    """Join by ``or``, without duplicates and neutral operands."""
    unique = [e for e in dict.fromkeys(operands) if e != _FALSE]
    if Constant(True) in unique:
        return Constant(True)
    return Or(tuple(unique)) if len(unique) > 1 else (unique[0] if unique else _FALSE)


def all_of(operands: Iterable[Expr]) -> Expr:
    """Join by ``and``, without duplicates and neutral operands."""
    unique = [e for e in dict.fromkeys(operands) if e != Constant(True)]
    if _FALSE in unique:
        return _FALSE
    return And(tuple(unique)) if len(unique) > 1 else (unique[0] if unique else Constant(True))


def of_schema(name: str, operator: Operator = Operator.EQ) -> Predicate:
    """Compare the name of the schema."""
    return Predicate(MetaExtractor(Meta.TYPE), operator, String(name))


# --- null -----------------------------------------------------------------------------------


def _fit_null(leaf: Leaf, operator: Operator) -> Expr | None:
    match operator:
        case Operator.EQ | Operator.NE:
            return Predicate(Column(leaf), operator, Null())
        case Operator.NI | Operator.NOT_NI if leaf.type.kind is Kind.LIST:
            return _FALSE
        case _:
            return None


def _not_null(leaf: Leaf) -> Expr:
    return Predicate(Column(leaf), Operator.NE, Null())


def _negate(bound: Expr, leaf: Leaf) -> Expr:
    """Complement on the cells that are not null."""
    match bound:
        case Predicate(extractor, operator, literal):
            return Predicate(extractor, operator.complement, literal)
        case Or(operands):
            return all_of(_negate(operand, leaf) for operand in operands)
        case _:
            return _not_null(leaf)


# --- positive operators ---------------------------------------------------------------------


def _fit_comparison(leaf: Leaf, operator: Operator, literal: Literal) -> Expr | None:
    kind = leaf.type.kind
    number = _number(kind, literal)
    if number is not None:
        match fold(kind, operator, number):
            case (folded, value):
                return Predicate(Column(leaf), folded, value)
            case True:
                return _not_null(leaf)
            case _:
                return _FALSE
    match literal:
        case ListLiteral() if kind is Kind.LIST:
            return _FALSE  # nothing equals a list, and lists have no order
        case Pattern() if kind is Kind.STRING and operator is not Operator.EQ:
            return _FALSE
        case String(label) if kind is Kind.ENUM and label in dict(leaf.type.labels):
            return Predicate(Column(leaf), operator, literal)
        case _ if isinstance(literal, _DIRECT_TYPES.get(kind, ())):
            return Predicate(Column(leaf), operator, literal)
        case _:
            return None


def _fit_in(leaf: Leaf, literal: Literal) -> Expr | None:
    match leaf.type.kind, literal:
        case _, ListLiteral():
            return _fit_members(leaf, literal)
        case _, MapLiteral() | RecordLiteral():
            return _FALSE
        case (Kind.STRING, String() | Pattern()) | (Kind.IP | Kind.SUBNET, Subnet()):
            return Predicate(Column(leaf), Operator.IN, literal)
        case _:
            return None


def _fit_ni(leaf: Leaf, literal: Literal) -> Expr | None:
    match leaf.type.kind, literal:
        case (Kind.STRING, String()) | (Kind.SUBNET, IP() | Subnet()):
            return Predicate(Column(leaf), Operator.NI, literal)
        case Kind.LIST, _:
            element = _convert_element(leaf.type.item or Type(Kind.NULL), literal)
            return _FALSE if element is None else Predicate(Column(leaf), Operator.NI, element)
        case _:
            return None


def _fit_members(leaf: Leaf, literal: ListLiteral) -> Expr:
    """Bind ``in [...]``: equality with any element, and containment in a network."""
    what = leaf.type.kind, leaf.type.labels
    members = literal.cached(what, lambda: tuple(_members(leaf.type, literal)))
    return any_of(Predicate(Column(leaf), operator, value) for operator, value in members)


def _members(type_: Type, literal: ListLiteral) -> Iterator[tuple[Operator, Literal]]:
    """Convert list items to comparisons with cells of a type; a long list stays one comparison."""
    simple = frozenset(_DIRECT_TYPES.get(type_.kind, ())) - {Pattern}
    if literal.is_long and literal.kinds <= simple and not literal.kinds & {Subnet}:
        # What is derived from the list is derived once, for all that is bound to it.
        yield Operator.IN, literal
        return
    values: dict[Literal, None] = {}
    networks: dict[Literal, None] = {}
    patterns: dict[Literal, None] = {}
    for item in literal.items:
        if type_.kind in (Kind.IP, Kind.SUBNET) and isinstance(item, Subnet):
            networks[item] = None
            continue
        if type(item) in simple:  # the common case in long lists
            values[item] = None
            continue
        match _label(type_, item) or _convert_element(type_, item):
            case None:
                continue
            case Pattern() as pattern:
                patterns[pattern] = None
            case value:
                values[value] = None
    if type_.kind is Kind.IP and ListLiteral(tuple(networks)).is_long:
        values, networks = values | networks, {}
    yield from _equal_or_in(tuple(values))
    yield from ((Operator.IN, network) for network in networks)
    yield from ((Operator.EQ, pattern) for pattern in patterns)


def _equal_or_in(values: tuple[Literal, ...]) -> Iterator[tuple[Operator, Literal]]:
    match values:
        case ():
            return
        case (value,):
            yield Operator.EQ, value
        case _:
            yield Operator.IN, ListLiteral(values)


# --- values ---------------------------------------------------------------------------------


def _number(kind: Kind, literal: Literal) -> float | None:
    """Return the number in a literal that compares by value with cells of this kind."""
    match literal:
        case UInt64(value) | Int64(value) | Double(value) if kind in NUMERIC:
            return value
        case Time(value) if kind is Kind.TIME:
            return value
        case Duration(value) if kind is Kind.DURATION:
            return value
        case _:
            return None


def _convert_element(type_: Type, literal: Literal) -> Literal | None:
    """Return the value of a type that equals an element of a list.

    Only here do numbers, bools and the keys of enumerations compare with each other.
    """
    kind = type_.kind
    value = _number(kind, literal)
    if value is None and isinstance(literal, UInt64 | Int64 | Double | Bool):
        value = literal.value
        match kind:
            case Kind.BOOL:
                return Bool(bool(value)) if value in (0, 1) else None
            case Kind.ENUM:
                return next((String(label) for label, key in type_.labels if key == value), None)
    if value is not None and (kind in NUMERIC or isinstance(literal, Time | Duration)):
        return exact(kind, value)
    return literal if isinstance(literal, _DIRECT_TYPES.get(kind, ())) else None


def _label(type_: Type, literal: Literal) -> Literal | None:
    match literal:
        case String(label) if type_.kind is Kind.ENUM and label in dict(type_.labels):
            return literal
        case _:
            return None


class Problem(NamedTuple):
    """Why a comparison is refused, what is expected, and whether the operator is the cause."""

    message: str
    expected: str
    in_operator: bool = False
    hint: str | None = None


_MAX_NAMES, _MAX_NAME_LENGTH = 3, 60
_EXAMPLE_NAMES = ('"zeek.conn"', '"zeek.dns"')
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
    """Return why a comparison is refused, or None."""
    match extractor:
        case _ if isinstance(literal, Parameter):
            return None
        case MetaExtractor(Meta.TYPE) if not isinstance(literal, String | Pattern):
            return Problem(
                f"#type cannot be compared with {_DESCRIPTIONS[type(literal)]}",
                "a string or a pattern",
                hint=_schema_names_hint(operator, literal),
            )
        case MetaExtractor(Meta.IMPORT_TIME):
            return _import_time(operator, literal)
        case TypeExtractor(Type() as type_) if not _is_compatible(type_, operator, literal):
            return _mismatch(type_, operator, literal)
        case _:
            return None


def _schema_names_hint(operator: Operator, literal: Literal) -> str | None:
    """Suggest the comparisons that replace a list of schema names."""
    if not isinstance(literal, ListLiteral):
        return None
    names = [
        _text.cut(str(item), _MAX_NAME_LENGTH) for item in literal.items if isinstance(item, String)
    ]
    sign, connective = ("!=", " && ") if operator.is_negated else ("==", " || ")
    terms = [f"#type {sign} {name}" for name in names[:_MAX_NAMES] or _EXAMPLE_NAMES]
    return f"write {connective.join([*terms, '…'] if len(names) > _MAX_NAMES else terms)}"


def _import_time(operator: Operator, literal: Literal) -> Problem | None:
    if not isinstance(literal, Time | RelativeTime):
        message = f"#import_time cannot be compared with {_DESCRIPTIONS[type(literal)]}"
        return Problem(message, _EXAMPLES[Kind.TIME])
    if not operator.is_ordering:
        return Problem(
            f"#import_time does not support {operator.value}", "<, <=, > or >=", in_operator=True
        )
    return None


def _is_compatible(type_: Type, operator: Operator, literal: Literal) -> bool:
    positive = operator.positive
    match type_.kind, literal:
        case Kind.UINT64, Int64(value) | Double(value) if value < 0:
            return False  # an error, as in VAST
        case (Kind.MAP, MapLiteral()) | (Kind.RECORD, RecordLiteral() | ListLiteral()):
            return positive is not Operator.NI  # accepted as in VAST, although nothing matches
        case _:
            return fit(Leaf((), type_, ""), positive, literal) is not None


def _mismatch(type_: Type, operator: Operator, literal: Literal) -> Problem:
    kind = type_.kind
    spelled = f"{TypeExtractor(type_)} {operator.value}"
    message = f"{spelled} does not accept {_DESCRIPTIONS[type(literal)]}"
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
            return Problem(f"{spelled} is never true", "another operator", in_operator=True)
        case _:
            return Problem(message, _EXAMPLES.get(kind, "null"))


_DESCRIPTIONS: dict[type[Literal], str] = {
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
