"""Literals in the order in which VAST tries them, and containers of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from vastlab.errors import ExpressionSyntaxError
from vastlab.expression._addresses import address
from vastlab.expression._faults import no_item, no_pair
from vastlab.expression._numbers import duration, exponent, number, plus
from vastlab.expression._quoted import pattern, string
from vastlab.expression._scan import Fault, blanks, continues, deeper, fault
from vastlab.expression._times import time
from vastlab.expression.literals import (
    Bool,
    ListLiteral,
    Literal,
    MapLiteral,
    Null,
    RecordLiteral,
)

_Item = TypeVar("_Item")
_Found = tuple[Literal | Fault, int] | None

_BEGINS_SCALAR = re.compile(r"[0-9@.:+_A-Fa-fNnIit-]")
_NAME = re.compile(r"([A-Za-z0-9_.]++):")
_WORDS = (("true", Bool(True)), ("false", Bool(False)))
_NULLS = ("null", "_")


def operand_literal(text: str, at: int, depth: int) -> _Found:
    """Find a literal that no field name continues.

    VAST's reading comes first; ``+4.2``, ``+5s`` and ``-1e5`` are ours.
    """
    for read in (literal, _added):
        found = read(text, at, depth)
        if found and not continues(text, found[1]):
            return found
        if found and text[at] in '"/':
            kind = "string" if text[at] == '"' else "pattern"
            raise fault(f"the {kind} ends before this", text, found[1], "an operator", "the end")
    return None


def literal(text: str, at: int, depth: int) -> _Found:
    """Find a literal as VAST does: the first kind that fits, and no second thought."""
    if _BEGINS_SCALAR.match(text, at):
        for read in _SCALARS:
            if found := read(text, at):
                return found
        return None
    for quoted in (string, pattern):
        if found := quoted(text, at):
            return found
    opens = _CONTAINERS.get(text[at : at + 1])
    return opens(text, at + 1, deeper(depth, text, at)) if opens else None


def _added(text: str, at: int, depth: int) -> _Found:
    return plus(text, at) or (exponent(text, at) if text[at : at + 1] in ("+", "-") else None)


def _word(text: str, at: int) -> _Found:
    for word, value in _WORDS:
        if text.startswith(word, at):
            return value, at + len(word)
    for word in _NULLS:
        if text.startswith(word, at):
            return Null(), at + len(word)
    return None


_SCALARS: tuple[Callable[[str, int], _Found], ...] = (time, duration, address, number, _word)


# --- containers -----------------------------------------------------------------------------


def _list(text: str, at: int, depth: int) -> tuple[ListLiteral, int]:
    items, end = _items(text, at, "]", "list", lambda where: _item(text, where, depth))
    return ListLiteral(items), end


def _map(text: str, at: int, depth: int) -> tuple[MapLiteral, int]:
    def pair(where: int) -> tuple[tuple[Literal, Literal], int]:
        key, end = _item(text, where, depth)
        end = blanks(text, end)
        if not text.startswith("->", end):
            raise no_pair(text, end)
        value, end = _item(text, blanks(text, end + 2), depth)
        return (key, value), end

    items, end = _items(text, at, "}", "map", pair)
    return MapLiteral(items), end


def _record(text: str, at: int, depth: int) -> tuple[RecordLiteral, int]:
    def named(where: int) -> tuple[tuple[str, Literal], int]:
        name = _NAME.match(text, where)
        if not name:
            raise fault("the record mixes named and unnamed fields", text, where, 'a name and ":"')
        value, end = _item(text, blanks(text, name.end()), depth)
        return (name[1], value), end

    def unnamed(where: int) -> tuple[tuple[str, Literal], int]:
        value, end = _item(text, where, depth)
        return ("", value), end

    if not _NAME.match(text, blanks(text, at)):
        fields, end = _items(text, at, ">", "record", unnamed)
        return RecordLiteral(fields), end
    try:
        fields, end = _items(text, at, ">", "record", named)
    except ExpressionSyntaxError as first:
        try:  # What looked like a name may begin an address: <2001:db8::1>.
            fields, end = _items(text, at, ">", "record", unnamed)
        except ExpressionSyntaxError as second:
            raise max(first, second, key=lambda error: error.position) from None
    return RecordLiteral(fields), end


_CONTAINERS: dict[str, Callable[[str, int, int], tuple[Literal, int]]] = {
    "[": _list,
    "{": _map,
    "<": _record,
}


def _items(
    text: str, at: int, closing: str, kind: str, read: Callable[[int], tuple[_Item, int]]
) -> tuple[tuple[_Item, ...], int]:
    """Read what stands between brackets; one comma may trail, also alone."""
    items: list[_Item] = []
    end = blanks(text, at)
    if text.startswith(",", end) and text.startswith(closing, blanks(text, end + 1)):
        end = blanks(text, end + 1)
    while not text.startswith(closing, end):
        item, end = read(end)
        items.append(item)
        end = blanks(text, end)
        if text.startswith(",", end):
            end = blanks(text, end + 1)
        elif not text.startswith(closing, end):
            raise fault(f"the {kind} is not closed", text, end, '","', f'"{closing}"')
    return tuple(items), end + 1


def _item(text: str, at: int, depth: int) -> tuple[Literal, int]:
    if text.startswith("/*", at):
        raise fault("comments cannot stand inside literals", text, at, "a value")
    found = plus(text, at) or exponent(text, at) or literal(text, at, depth)
    if not found:
        raise no_item(text, at)
    value, end = found
    if isinstance(value, Fault):
        raise fault(value.message, text, at, value.expected)
    return value, end
