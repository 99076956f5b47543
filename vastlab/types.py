"""VAST's type system: frozen values that know nothing of Arrow.

A `Schema` names one kind of event, such as ``zeek.conn``. Its `Schema.leaves` are the fields
that hold values: nested records are opened, lists are leaves. Expressions bind to leaves, and
the vastlab database has one column per leaf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from vastlab import _text

_SHOWN = 4  # fields in one line


class Kind(Enum):
    """The kind of a type; the value is the word of the language where it has one."""

    NULL = "null"
    BOOL = "bool"
    INT64 = "int64"
    UINT64 = "uint64"
    DOUBLE = "double"
    DURATION = "duration"
    TIME = "time"
    STRING = "string"
    BLOB = "blob"
    IP = "ip"
    SUBNET = "subnet"
    ENUM = "enum"
    LIST = "list"
    MAP = "map"
    RECORD = "record"


@dataclass(frozen=True, slots=True, repr=False)
class Type:
    """A type with the names and attributes that it carries.

    Parameters
    ----------
    kind
        What values look like.
    names
        The alias chain, outermost first: ``("port",)`` for a port, ``()`` for a plain type.
    attributes
        Hints such as ``("index", "hash")``; they have no effect on a query's result.
    labels
        ``(label, key)`` pairs in order of definition; enumerations only.
    item
        The type of the elements; lists only (and of a map's values).
    key
        The type of a map's keys.
    fields
        The fields of a record.

    Examples
    --------
    >>> str(Type(Kind.LIST, item=Type(Kind.UINT64, names=("port",))))
    'list<port>'
    """

    kind: Kind
    names: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, int], ...] = ()
    item: Type | None = None
    key: Type | None = None
    fields: tuple[Field, ...] = ()

    def __repr__(self) -> str:
        parts = (
            f"{part.name}={value!r}"
            for part in dataclasses.fields(self)[1:]
            if (value := getattr(self, part.name)) != part.default
        )
        return f"Type({', '.join([str(self.kind), *parts])})"

    def __str__(self) -> str:
        if self.names:
            return self.names[0]
        match self.kind:
            case Kind.LIST:
                return f"list<{self.item}>"
            case Kind.MAP:
                return f"map<{self.key}, {self.item}>"
            case Kind.RECORD:
                return f"record<{', '.join(map(str, self.fields))}>"
            case _:
                return str(self.kind.value)


@dataclass(frozen=True, slots=True, repr=False)
class Field:
    """A named member of a record.

    Examples
    --------
    >>> Field("ts", Type(Kind.TIME, names=("timestamp",)))
    Field('ts', Type(Kind.TIME, names=('timestamp',)))
    """

    name: str
    type: Type

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {self.type!r})"

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that holds values, with its way from the top of the event.

    Parameters
    ----------
    path
        The names of the records around it and its own, outermost first.
    type
        Never a record.
    column
        The name of its flat column: the dotted path, made unique within the schema.
    """

    path: tuple[str, ...]
    type: Type
    column: str

    @property
    def name(self) -> str:
        """The dotted path, ``id.orig_h``."""
        return ".".join(self.path)


@dataclass(frozen=True, repr=False)
class Schema:
    """One kind of event.

    Its representation is one line; as a text it names all its leaves.

    Parameters
    ----------
    name
        What ``#type`` sees, such as ``zeek.conn``.
    fields
        The top-level fields.
    attributes
        Hints of the event type; ``event-time`` names the field that `event_time` returns.
    layouts
        Where `Schema` describes everything that a node holds under one name: each of the
        layouts that were joined. Empty for a single layout.

    Examples
    --------
    >>> ts = Field("ts", Type(Kind.TIME, names=("timestamp",)))
    >>> host = Field("id", Type(Kind.RECORD, fields=(Field("orig_h", Type(Kind.IP)),)))
    >>> schema = Schema("zeek.conn", (ts, host))
    >>> [leaf.name for leaf in schema.leaves], schema.event_time.name
    (['ts', 'id.orig_h'], 'ts')
    >>> schema
    <Schema zeek.conn, 2 fields: ts, id.orig_h>
    >>> print(schema)
    zeek.conn
      ts         timestamp
      id.orig_h  ip
    """

    name: str
    fields: tuple[Field, ...]
    attributes: tuple[tuple[str, str], ...] = ()
    layouts: tuple[Schema, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        count = len(self.types_by_name)
        names = [*self.types_by_name][:_SHOWN] + ["..."] * (count > _SHOWN)
        number = f"{count} field{'s' * (count != 1)}"
        shown = f"{', '.join([self.name, number])}: {', '.join(names)}".removesuffix(": ")
        return f"<Schema {_text.plain(shown)}>"

    def __str__(self) -> str:
        shown = [(_text.plain(name), _text.plain(t)) for name, t in self.types_by_name.items()]
        width = max((len(name) for name, _ in shown), default=0)
        lines = (f"  {name:{width}}  {type_}" for name, type_ in shown)
        return "\n".join([_text.plain(self.name), *lines])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show all leaves in IPython; one line where the schema is one value of many."""
        printer.text(repr(self) if len(printer.stack) > 1 else str(self))

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The fields that hold values, in order of definition."""
        # The import time has a column of its own.
        taken: dict[str, int] = {"#import_time": 1}
        return tuple(
            Leaf(path, type_, unique(".".join(path), taken))
            for path, type_ in _walk(self.fields, ())
        )

    @cached_property
    def types_by_name(self) -> Mapping[str, str]:
        """The types of the leaves by their dotted paths, each path once.

        Where one layout has a field ``a.b`` and another a record ``a`` with a field ``b``, two
        leaves share a path.
        """
        found: dict[str, dict[str, None]] = {}
        for leaf in self.leaves:
            found.setdefault(leaf.name, {})[str(leaf.type)] = None
        return {name: " or ".join(types) for name, types in found.items()}

    @cached_property
    def leaves_by_suffix(self) -> Mapping[str, tuple[Leaf, ...]]:
        """The leaves by every end of their dotted paths: ``id.orig_h`` and ``orig_h``."""
        found: dict[str, list[Leaf]] = {}
        for leaf in self.leaves:
            parts = leaf.name.split(".")
            for start in range(len(parts)):
                found.setdefault(".".join(parts[start:]), []).append(leaf)
        return {suffix: tuple(leaves) for suffix, leaves in found.items()}

    @cached_property
    def event_time(self) -> Leaf | None:
        """The leaf that orders events; ``None`` means the import time.

        The attribute ``event-time`` decides; else the first top-level field of alias
        ``timestamp``; else the first top-level time.
        """
        times = [leaf for leaf in self.leaves if leaf.type.kind is Kind.TIME]
        named = dict(self.attributes).get("event-time")
        chosen = [leaf for leaf in times if leaf.name == named]
        top = [leaf for leaf in times if len(leaf.path) == 1]
        aliased = [leaf for leaf in top if "timestamp" in leaf.type.names]
        return next(iter((*chosen, *aliased, *top)), None)


def _walk(
    fields: tuple[Field, ...], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Type]]:
    for member in fields:
        path = (*above, member.name)
        if member.type.kind is Kind.RECORD:
            yield from _walk(member.type.fields, path)
        else:
            yield path, member.type


def by_name(schemas: Iterable[Schema]) -> dict[str, list[Schema]]:
    """Group layouts by the name of their schema."""
    groups: dict[str, list[Schema]] = {}
    for schema in schemas:
        groups.setdefault(schema.name, []).append(schema)
    return groups


def unique(name: str, taken: dict[str, int]) -> str:
    """Make a name that is not yet taken, and take it.

    A field "a.b" and a field b in a record a share one dotted path, and a record may have two
    fields of one name.
    """
    while name in taken:
        taken[name] += 1
        name = f"{name}#{taken[name]}"
    taken[name] = 1
    return name


Paths = frozenset[tuple[str, ...]]
"""Some of the leaves of a schema."""


def is_at(path: tuple[str, ...], paths: Paths) -> bool:
    """Whether a leaf is one of the paths, or inside of one, or above one."""
    return path in paths or any(
        wanted[: len(path)] == path or path[: len(wanted)] == wanted for wanted in paths
    )


def prune(
    fields: tuple[Field, ...], paths: Paths, above: tuple[str, ...] = ()
) -> tuple[Field, ...]:
    """Return the fields with those leaves only that `is_at` chooses."""
    kept = []
    for member in fields:
        path = (*above, member.name)
        if member.type.kind is not Kind.RECORD:
            if is_at(path, paths):
                kept.append(member)
        elif members := prune(member.type.fields, paths, path):
            kept.append(Field(member.name, dataclasses.replace(member.type, fields=members)))
    return tuple(kept)
