"""Types as they stand behind a colon: ``:ip``, ``:list<string>``, ``:port``.

A name that is no built-in word gives a type of kind null that carries the name. Attributes
(``#skip``) have no effect on a query and are dropped. Record algebra (``:a + b``), which
describes schemas and matches no field, gives a record marked `ALGEBRA`.
"""

from __future__ import annotations

import re

from vastlab.expression._scan import deeper, skip
from vastlab.types import Field, Kind, Type

ALGEBRA = (("$algebra", ""),)

_BUILT_IN = {
    "bool": Kind.BOOL,
    "int64": Kind.INT64,
    "uint64": Kind.UINT64,
    "double": Kind.DOUBLE,
    "duration": Kind.DURATION,
    "time": Kind.TIME,
    "string": Kind.STRING,
    "ip": Kind.IP,
    "subnet": Kind.SUBNET,
    "int": Kind.INT64,
    "count": Kind.UINT64,
    "real": Kind.DOUBLE,
    "addr": Kind.IP,
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.]++")
_QUOTED = re.compile(r'"((?>\\\\|\\"|[^"\x00-\x1f\x7f])*+)"')
_ATTRIBUTE = re.compile(
    r'#[A-Za-z0-9_.]++(?:=(?:"(?>\\"|[^"\x00-\x1f\x7f])*+"|[^\x00-\x20\x7f,>}]++))?+'
)
_FIELD_PATH = re.compile(r"[A-Za-z0-9_]++(?:\.[A-Za-z0-9_]++)*+")
_OPERATORS = ("+>", "+", "<+")
_Found = tuple[Type, int] | None


def type_name(text: str, at: int, depth: int) -> _Found:
    """Find a type."""
    found = _simple(text, at, depth)
    if not found:
        return None
    type_, end = found
    if type_.kind not in (Kind.LIST, Kind.ENUM):
        type_, end = _algebra(type_, text, end, depth)
    while attribute := _ATTRIBUTE.match(text, skip(text, end)):
        end = attribute.end()
    return type_, end


def _simple(text: str, at: int, depth: int) -> _Found:
    name = _IDENTIFIER.match(text, at)
    if not name:
        return None
    if kind := _BUILT_IN.get(name[0]):
        return Type(kind), name.end()
    compound = _COMPOUND.get(name[0])
    return (compound(text, name.end(), deeper(depth, text, at)) if compound else None) or (
        Type(Kind.NULL, names=(name[0],)),
        name.end(),
    )


def _enum(text: str, at: int, depth: int) -> _Found:
    labels: list[tuple[str, int]] = []
    end = _after("{", text, at)
    while end is not None and (label := _IDENTIFIER.match(text, end)):
        labels.append((label[0], len(labels)))
        end = skip(text, label.end())
        comma = _after(",", text, end)
        if comma is None:
            break
        end = comma
    if end is None or not labels or not text.startswith("}", end):
        return None
    return Type(Kind.ENUM, labels=tuple(labels)), end + 1


def _list(text: str, at: int, depth: int) -> _Found:
    start = _after("<", text, at)
    item = type_name(text, start, depth) if start is not None else None
    end = skip(text, item[1]) if item else at
    return (Type(Kind.LIST, item=item[0]), end + 1) if item and text.startswith(">", end) else None


def _record(text: str, at: int, depth: int) -> _Found:
    fields: list[Field] = []
    end = _after("{", text, at)
    while end is not None and (field := _field(text, end, depth)):
        fields.append(field[0])
        end = skip(text, field[1])
        comma = _after(",", text, end)
        if comma is None:
            break
        end = comma
    if end is None or not fields or not text.startswith("}", end):
        return None
    return Type(Kind.RECORD, fields=tuple(fields)), end + 1


_COMPOUND = {"enum": _enum, "list": _list, "record": _record}


def _field(text: str, at: int, depth: int) -> tuple[Field, int] | None:
    name = _IDENTIFIER.match(text, at) or _QUOTED.match(text, at)
    start = _after(":", text, skip(text, name.end())) if name else None
    found = type_name(text, start, depth) if start is not None else None
    if not name or not found:
        return None
    return Field(name[name.lastindex or 0], found[0]), found[1]


def _algebra(first: Type, text: str, at: int, depth: int) -> tuple[Type, int]:
    fields, end = [Field("", first)], at
    while step := _algebra_step(text, skip(text, end), depth):
        fields.append(step[0])
        end = step[1]
    if len(fields) == 1:
        return first, at
    return Type(Kind.RECORD, fields=tuple(fields), attributes=ALGEBRA), end


def _algebra_step(text: str, at: int, depth: int) -> tuple[Field, int] | None:
    for operator in _OPERATORS:
        start = _after(operator, text, at)
        operand = _algebra_operand(text, start, depth) if start is not None else None
        if operand:
            return Field(operator, operand[0]), operand[1]
    start = _after("-", text, at)
    path = _FIELD_PATH.match(text, start) if start is not None else None
    return (Field("-", Type(Kind.NULL, names=(path[0],))), path.end()) if path else None


def _algebra_operand(text: str, at: int, depth: int) -> _Found:
    name = _IDENTIFIER.match(text, at)
    if not name:
        return None
    if name[0] == "record" and (record := _record(text, name.end(), deeper(depth, text, at))):
        return record
    return Type(Kind.NULL, names=(name[0],)), name.end()


def _after(symbol: str, text: str, at: int) -> int | None:
    at = skip(text, at)
    return skip(text, at + len(symbol)) if text.startswith(symbol, at) else None
