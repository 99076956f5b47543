"""Bound expressions as TQL, the language of Tenzir nodes from version 6 on.

TQL has operators that start programs and write files. No text of a query is copied: names and
strings are quoted, all other literals are formatted from their values. Measured on Tenzir 6.20:

- a null cell satisfies no comparison, but ``x != v`` may keep it: a negated comparison starts
  with ``x != null``, and ``not`` is used only after such a guard;
- with bare paths the catalog can skip partitions, with a ``?`` after a name it cannot;
- numbers with an exponent and times before 1900 are syntax errors.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
from decimal import Decimal
from typing import assert_never

from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    Not,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    Null,
    Pattern,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.types import Kind

__all__ = ["condition", "constant", "path", "quote"]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_EXACT_INTEGER = 2**53  # doubles represent every integer up to this
_MIN_YEAR = 1900
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MAX_DOUBLE = sys.float_info.max
# Keywords: fields with these names are quoted.
_KEYWORDS = frozenset({
    "and", "as", "assert", "const", "data", "else", "false", "fn", "for", "given", "if", "in",
    "is", "let", "match", "meta", "not", "null", "or", "self", "super", "this", "true", "type",
    "use", "using", "where", "while", "with",
})  # fmt: skip


def condition(expr: Expr) -> str:
    """Write a bound expression as a TQL condition."""
    match expr:
        case Constant(value):
            return "true" if value else "false"
        case And(operands):
            return "(" + " and ".join(condition(operand) for operand in operands) + ")"
        case Or(operands):
            return "(" + " or ".join(condition(operand) for operand in operands) + ")"
        case Not(operand):
            return condition(_complement(operand))
        case Predicate():
            return _predicate(expr)
        case _:
            assert_never(expr)


def constant(literal: Literal) -> str:
    """Write a literal from its value."""
    match literal:
        case Bool(value):
            return "true" if value else "false"
        case Int64(value) | UInt64(value):
            return str(value)
        case Double(value):
            return _decimal(value)
        case Duration(nanoseconds):
            return _duration(nanoseconds)
        case Time(nanoseconds):
            return _time(nanoseconds)
        case String(text):
            return quote(text)
        case IP() | Subnet():
            return str(literal)
        case ListLiteral(items):
            return "[" + ", ".join(constant(item) for item in items) + "]"
        case _:
            # `fit` allows no other literals; fail rather than send a wrong query.
            raise TypeError(f"no TQL for {literal!r}")


def path(parts: tuple[str, ...]) -> str:
    """Write the path of a field."""
    if all(_IDENTIFIER.fullmatch(part) and part not in _KEYWORDS for part in parts):
        return ".".join(parts)
    return "this" + "".join(f"[{quote(part)}]" for part in parts)


def quote(text: str) -> str:
    """Write a string literal."""
    # An unpaired surrogate occurs in no event and cannot be encoded: U+FFFD replaces it.
    return json.dumps(_SURROGATE.sub("\ufffd", text), ensure_ascii=False)


def _complement(expr: Expr) -> Expr:
    """Push the complement of a row set, null rows included, into the comparisons."""
    match expr:
        case Constant(value):
            return Constant(not value)
        case And(operands):
            return Or(tuple(_complement(operand) for operand in operands))
        case Or(operands):
            return And(tuple(_complement(operand) for operand in operands))
        case Not(operand):
            return operand
        case Predicate(extractor, operator, literal):
            opposite = Predicate(extractor, operator.complement, literal)
            if isinstance(literal, Null) or not isinstance(extractor, Column):
                return opposite
            return Or((Predicate(extractor, Operator.EQ, Null()), opposite))
        case _:
            assert_never(expr)


def _predicate(predicate: Predicate) -> str:
    subject, operator, literal = predicate.extractor, predicate.operator, predicate.literal
    field = path(subject.leaf.path) if isinstance(subject, Column) else "@import_time"
    if isinstance(literal, Null):
        return f"{field} {operator.value} null"
    kind = subject.leaf.type.kind if isinstance(subject, Column) else Kind.TIME
    positive = _comparison(field, kind, operator.positive, literal)
    if not operator.is_negated:
        return positive
    if operator is Operator.NE and not isinstance(literal, Pattern | Double):
        # The catalog can use this form.
        return f"({field} != null and {_comparison(field, kind, operator, literal)})"
    return f"({field} != null and not {positive})"


def _comparison(field: str, kind: Kind, operator: Operator, literal: Literal) -> str:
    match literal:
        case Pattern() if kind is Kind.LIST:
            return f"any({field}.map(x => {_matches('x', literal)}))"
        case Pattern() if operator is Operator.IN:
            return f"{field}.match_regex({quote(_flags(literal) + literal.regex)})"
        case Pattern():
            return _matches(field, literal)
        case Double(value) if math.isnan(value):
            return "false"
        case Double(value) if math.isinf(value):
            return _infinite(field, operator, above=value > 0)
        case _ if operator is Operator.NI:
            return f"({constant(literal)} in {field})"
        case ListLiteral(items) if operator is Operator.IN and Subnet in literal.kinds:
            networks = [item for item in items if isinstance(item, Subnet)]
            rest = ListLiteral(tuple(item for item in items if not isinstance(item, Subnet)))
            parts: list[Literal] = [rest, *networks] if rest.items else [*networks]
            return "(" + " or ".join(f"{field} in {constant(item)}" for item in parts) + ")"
        case _ if operator is Operator.IN:
            return f"({field} in {constant(literal)})"
        case _:
            return f"{field} {operator.value} {constant(literal)}"


def _matches(subject: str, pattern: Pattern) -> str:
    anchored = rf"{_flags(pattern)}\A(?:{pattern.closed})\z"
    return f"{subject}.match_regex({quote(anchored)})"


def _flags(pattern: Pattern) -> str:
    return "(?i)" if pattern.ignore_case else ""


def _infinite(field: str, operator: Operator, *, above: bool) -> str:
    """Compare with an infinity, which TQL cannot write, by means of the largest double."""
    largest = _decimal(_MAX_DOUBLE if above else -_MAX_DOUBLE)
    beyond, within = (">", "<=") if above else ("<", ">=")
    is_infinite, is_less = f"{field} {beyond} {largest}", f"{field} {within} {largest}"
    match operator:
        case Operator.EQ:
            return is_infinite
        case Operator.LT | Operator.LE if not above:
            return is_infinite if operator is Operator.LE else "false"
        case Operator.GT | Operator.GE if above:
            return is_infinite if operator is Operator.GE else "false"
        case Operator.LT | Operator.GT:
            return is_less
        case _:
            return f"({is_less} or {is_infinite})"


def _decimal(value: float) -> str:
    digits = format(Decimal(repr(value)), "f")
    return digits if "." in digits else f"{digits}.0"


def _duration(nanoseconds: int) -> str:
    size = abs(nanoseconds)
    if size <= _MAX_EXACT_INTEGER:
        return f"{nanoseconds}ns"
    # The engine parses numbers as doubles; neither part needs rounding.
    high = (size - 1) // 2**32 * 2**32
    low = size - high
    return f"(-{high}ns - {low}ns)" if nanoseconds < 0 else f"({high}ns + {low}ns)"


def _time(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    moment = _EPOCH + datetime.timedelta(seconds=seconds)
    if moment.year < _MIN_YEAR:
        return f"(1970-01-01 + {_duration(nanoseconds)})"
    # The engine parses the fraction as a double and truncates it to nanoseconds: an extra half
    # nanosecond preserves the last digit.
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09}5Z"
