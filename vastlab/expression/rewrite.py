"""Rewrites of whole trees: each pure, and each from a tree to a tree of the same meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from vastlab.errors import ExpressionError
from vastlab.expression import numeric, printer
from vastlab.expression.ast import (
    And,
    Constant,
    Expr,
    MetaExtractor,
    Not,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import (
    Double,
    Int64,
    ListLiteral,
    Literal,
    MapLiteral,
    Pattern,
    RecordLiteral,
    RelativeTime,
    String,
    Subnet,
    Time,
    UInt64,
    type_of,
)
from vastlab.expression.operators import Operator
from vastlab.types import Kind, Type

_NUMBERS: dict[Kind, type] = {Kind.INT64: Int64, Kind.UINT64: UInt64, Kind.DOUBLE: Double}


def alone(literal: Literal) -> Expr:
    """Spell out what a value alone asks for: any field of its type that equals it.

    Examples
    --------
    >>> print(alone(String("evil")))
    :string == "evil"
    """
    predicate = Predicate(TypeExtractor(type_of(literal)), Operator.EQ, literal)
    if isinstance(literal, Subnet):
        inside = Predicate(TypeExtractor(Type(Kind.IP)), Operator.IN, literal)
        return Or((predicate, inside))
    return predicate


def typed(predicate: Predicate) -> Predicate:
    """Write a comparison behind a built-in type as VAST 3.1 accepts it.

    Numbers get the spelling of the type, and ``:string in /regex/`` becomes a match of the
    whole text.

    Examples
    --------
    >>> number = Predicate(TypeExtractor(Type(Kind.INT64)), Operator.LT, Double(1.5))
    >>> print(typed(number))
    :int64 <= +1
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
    """Move negations into the operators, join nested connectives, drop repeated siblings.

    Only for trees that are not bound: there a negation covers null rows, too.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> a = parse("a < 1")
    >>> print(normalise(Not(Or((a, And((a, a)))))))
    a >= 1
    """
    return _normalise(expr, negated=False)


def at(expr: Expr, now_nanoseconds: int) -> Expr:
    """Fix the times that are relative to now.

    Parameters
    ----------
    expr
        Any tree.
    now_nanoseconds
        Now, since 1970-01-01 UTC.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> print(at(parse("ts > 1h ago"), 1_684_934_055_000_000_000))
    ts > 2023-05-24T12:14:15
    """

    def fix(literal: Literal) -> Literal:
        match literal:
            case RelativeTime(offset):
                if not -(2**63) <= now_nanoseconds + offset < 2**63:
                    message = f"the time is out of range: {literal}"
                    raise ExpressionError(message, hint="times end in the year 2262")
                return Time(now_nanoseconds + offset)
            case _:
                return literal

    return map_literals(expr, fix)


def map_literals(expr: Expr, change: Callable[[Literal], Literal]) -> Expr:
    """Replace every literal, also those inside others.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> print(map_literals(parse("a in [1, 2]"), lambda v: Int64(-1) if v == UInt64(1) else v))
    a in [-1, 2]
    """

    def inside(literal: Literal) -> Literal:
        match literal:
            case ListLiteral(items):
                literal = ListLiteral(tuple(map(inside, items)))
            case MapLiteral(items):
                literal = MapLiteral(tuple((inside(key), inside(value)) for key, value in items))
            case RecordLiteral(fields):
                literal = RecordLiteral(tuple((name, inside(value)) for name, value in fields))
        return change(literal)

    return map_predicates(expr, lambda p: replace(p, literal=inside(p.literal)))


def map_predicates(expr: Expr, change: Callable[[Predicate], Expr]) -> Expr:
    """Replace every predicate; nothing else of the tree changes.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> print(map_predicates(parse("a == 1 && b == 2"), Not))
    !(a == 1) && !(b == 2)
    """
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
    """Every predicate, from left to right.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> [str(p.extractor) for p in predicates(parse("a == 1 && (b || :ip)"))]
    ['a', 'b', ':ip']
    """
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


def literals(expr: Expr) -> Iterator[Literal]:
    """Every literal, from left to right, each before those inside it.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> [str(literal) for literal in literals(parse('a in ["x"] || 42'))]
    ['["x"]', '"x"', '42']
    """
    for predicate in predicates(expr):
        yield from _opened(predicate.literal)


def _opened(literal: Literal) -> Iterator[Literal]:
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
        yield from _opened(part)


# --- lowering -------------------------------------------------------------------------------


def lower(expr: Expr) -> Expr:
    """Write what only vastlab understands as VAST 3.1 does.

    Networks in lists become one membership test each, ``in /regex/`` becomes a match of the
    whole text, and texts in lists become equalities, which compare the labels of enumerations,
    too.

    Raises
    ------
    ExpressionError
        A text that VAST cannot quote is compared in a way that no pattern can express.

    Examples
    --------
    >>> from vastlab.expression.parser import parse
    >>> print(lower(parse("src_ip in [10.0.0.0/8, 192.168.0.0/16] && host in /evil/")))
    (src_ip in 10.0.0.0/8 || src_ip in 192.168.0.0/16) && host == /(?s:.*)(?:evil)(?s:.*)/
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


def _lower_members(predicate: Predicate, items: tuple[Literal, ...]) -> Expr:
    """Take networks and texts out of a list, where a field may be an address or an enumeration."""
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
    # No cell is in [], and every one that is not null is not.
    match numeric.fold(kind, predicate.operator, value):
        case (operator, literal):
            return Predicate(predicate.extractor, operator, literal)
        case True:
            return Predicate(predicate.extractor, Operator.NOT_IN, ListLiteral(()))
        case _:
            return Predicate(predicate.extractor, Operator.IN, ListLiteral(()))


def _check_spelling(predicate: Predicate) -> None:
    """Refuse the comparisons with a text that VAST cannot write and no pattern can replace."""
    match predicate:
        case Predicate(_, operator, String(text)) if not printer.is_quotable(text):
            if operator is Operator.IN or operator.is_ordering:
                message = f"VAST cannot write this text after {operator.value}: {text!r}"
                raise ExpressionError(message, hint="compare with ==, ni or a list")


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
            return _joined(kind, [_normalise(operand, negated=negated) for operand in operands])
        case _:
            assert_never(expr)


def _complement(predicate: Predicate) -> Predicate:
    return replace(predicate, operator=predicate.operator.complement)


def _joined(kind: type[And] | type[Or], operands: list[Expr]) -> Expr:
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
