"""The header lines of a Zeek log, and the schema that they give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vastlab.store.readers import _schemas
from vastlab.types import Kind, Type

_KINDS = {
    "bool": Kind.BOOL,
    "int": Kind.INT64,
    "count": Kind.UINT64,
    "counter": Kind.UINT64,
    "port": Kind.UINT64,
    "double": Kind.DOUBLE,
    "time": Kind.TIME,
    "interval": Kind.DURATION,
    "addr": Kind.IP,
    "subnet": Kind.SUBNET,
    "string": Kind.STRING,
    "pattern": Kind.STRING,
    "enum": Kind.STRING,
    "file": Kind.STRING,
    "func": Kind.STRING,
    "any": Kind.STRING,
}
_CONTAINER = re.compile(r"(?:set|table|vector|list)\[(.+)\]")
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")
_FORMAT = {"separator": "\t", "set_separator": ",", "empty_field": "(empty)", "unset_field": "-"}
_KNOWN = {*_FORMAT, "path", "open", "close", "start", "end", "fields", "types"}


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says about the lines that follow.

    Parameters
    ----------
    separator, set_separator, empty_field, unset_field
        How values are written.
    path
        The name of the log, ``conn``; ``None`` where the header does not say.
    types
        The columns, in order.
    """

    separator: str
    set_separator: str
    empty_field: str
    unset_field: str
    path: str | None
    types: dict[str, Type]


@dataclass(slots=True)
class HeaderParser:
    """Reads header lines one by one.

    After each line `header` is what is known: ``None`` as long as the columns are not.
    """

    header: Header | None = None
    _format: dict[str, str] = field(default_factory=lambda: dict(_FORMAT))
    _path: str | None = None
    _fields: tuple[str, ...] = ()

    def feed(self, line: bytes) -> Iterator[str]:
        """Take one line that starts with ``#``; yields what is wrong with it."""
        name, values = self._split(line)
        if name in ("separator", "fields"):
            self.header = None
        match name:
            case "fields":
                self._fields = values
            case "types":
                yield from self._types(values)
            case "path":
                self._path = values[0] if values and values[0] else None
            case "separator":
                # A new log begins, perhaps in the same file.
                self._format, self._path, self._fields = dict(_FORMAT), None, ()
                yield from self._set(name, values)
            case _ if name in _FORMAT:
                yield from self._set(name, values)
            case _ if name not in _KNOWN:
                yield f"unknown header line #{name[:40]}"

    def _split(self, line: bytes) -> tuple[str, tuple[str, ...]]:
        text = line[1:].decode("utf-8", "replace")
        if re.match(r"separator\b", text):
            name, _, value = text.partition(" ")
            return name, (_unescape(value),) if value else ()
        name, *values = text.split(self._format["separator"])
        return name.strip(), tuple(values)

    def _set(self, name: str, values: tuple[str, ...]) -> Iterator[str]:
        value = _unescape(values[0]) if values else ""
        if name == "separator" and len(value.encode()) > 1:
            yield f"the separator {value!r} is longer than one byte; a tab is assumed"
        elif value:
            self._format[name] = value
        else:
            yield f"#{name} has no value; {_FORMAT[name]!r} is assumed"

    def _types(self, types: tuple[str, ...]) -> Iterator[str]:
        if len(types) != len(self._fields):
            yield f"{len(types)} types for {len(self._fields)} fields"
        elif len(set(self._fields)) != len(self._fields) or "" in self._fields:
            yield "field names that are empty or not unique"
        elif types:
            pairs = dict(zip(self._fields, types, strict=True))
            typed = {name: column_type(name, text, self._path) for name, text in pairs.items()}
            self.header = Header(**self._format, path=self._path, types=typed)


def column_type(name: str, zeek_type: str, path: str | None) -> Type:
    """Return the type of a column, with the names and hints that Zeek's own schemas give it.

    Examples
    --------
    >>> str(column_type("x", "set[port]", None))
    'list<port>'
    """
    found = _plain_type(name, zeek_type)
    schema = _schemas.load("zeek").find(path) if path else None
    for leaf in schema.leaves if schema else ():
        if leaf.name == name and _same(leaf.type, found):
            return leaf.type
    return found


def _plain_type(name: str, zeek_type: str) -> Type:
    if container := _CONTAINER.fullmatch(zeek_type):
        return Type(Kind.LIST, item=_plain_type("", container.group(1)))
    kind = _KINDS.get(zeek_type, Kind.STRING)
    alias = "port" if zeek_type == "port" else ""
    if kind is Kind.TIME and name == "ts":
        alias = "timestamp"
    return Type(kind, (alias,) if alias else ())


def _same(one: Type, other: Type) -> bool:
    if one.item and other.item:
        return _same(one.item, other.item)
    return one.kind is other.kind and one.names == other.names


def _unescape(text: str) -> str:
    data = _HEX.sub(lambda match: bytes([int(match.group(1), 16)]), text.encode())
    return data.decode("utf-8", "replace")
