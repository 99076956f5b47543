"""What a Tenzir node holds, and the conditions to ask for it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vastlab.compile import tql
from vastlab.errors import NodeError
from vastlab.expression.ast import Constant
from vastlab.nodes._plan import bind
from vastlab.nodes.base import Query
from vastlab.store.layout import union
from vastlab.types import Field, Kind, Schema, Type

QUESTION = (
    "schemas | merge { partitions | where not internal"
    " | summarize schema, events=sum(events), last=max(max_import_time) }"
)
"""What a node is asked to tell its catalog."""

SHAPE = '@name + " " + type_id(this)'
"""What events must have in common to go into one stream; a type's id does not tell its name."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
_KINDS = {
    "null": Kind.NULL,
    "bool": Kind.BOOL,
    "int64": Kind.INT64,
    "uint64": Kind.UINT64,
    "double": Kind.DOUBLE,
    "duration": Kind.DURATION,
    "time": Kind.TIME,
    "string": Kind.STRING,
    "blob": Kind.BLOB,
    "ip": Kind.IP,
    "subnet": Kind.SUBNET,
    "enumeration": Kind.STRING,
    "secret": Kind.STRING,
}
# What TQL's `type_kind` says.
_KIND_NAMES = {kind: name for name, kind in _KINDS.items() if kind is not Kind.STRING} | {
    Kind.INT64: "int",
    Kind.UINT64: "uint",
    Kind.DOUBLE: "float",
    Kind.STRING: "string",
    Kind.LIST: "list",
    Kind.RECORD: "record",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """The events of one schema that are in partitions.

    Parameters
    ----------
    events
        How many.
    last
        When the last one came, as a TQL literal. Whatever came later may be in memory only,
        where a node has it for half a minute, and the catalog does not know its layout.
    """

    events: int
    last: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """The layouts that a node holds, and what is stored of them.

    Parameters
    ----------
    layouts
        Without those of the node's own metrics.
    stored
        By schema name.
    """

    layouts: tuple[Schema, ...] = ()
    stored: Mapping[str, Stored] = field(default_factory=dict)

    @classmethod
    def parse(cls, rows: Iterable[Mapping[str, Any]]) -> Catalog:
        """Read the answer to `QUESTION`."""
        layouts: dict[Schema, None] = {}
        stored = {}
        for row in rows:
            if "state" not in row:
                stored[row["schema"]] = Stored(row["events"], _time(row["last"]))
            elif not any(attribute["key"] == "internal" for attribute in row["attributes"]):
                layouts[Schema(row["name"], _fields(row["state"]))] = None
        return cls(tuple(sorted(layouts, key=lambda layout: layout.name)), stored)

    @property
    def names(self) -> frozenset[str]:
        """The names of all schemas."""
        return frozenset(layout.name for layout in self.layouts)

    def by_name(self) -> dict[str, tuple[Schema, ...]]:
        """Return the layouts of each name."""
        alike: dict[str, list[Schema]] = defaultdict(list)
        for layout in self.layouts:
            alike[layout.name].append(layout)
        return {name: tuple(layouts) for name, layouts in alike.items()}

    def schemas(self) -> dict[str, Schema]:
        """Return for each name the union over its layouts."""
        return {name: union(layouts) for name, layouts in sorted(self.by_name().items())}

    def whole(self, query: Query) -> frozenset[str]:
        """Return the names of which every event answers a query."""
        return frozenset(
            name
            for name, layouts in self.by_name().items()
            if name in self.stored
            and all(bind(query, layout) == Constant(True) for layout in layouts)
        )


def _time(text: str) -> str:
    # It becomes part of queries: never without a look at what it is.
    if not _TIME.fullmatch(text):
        raise NodeError(f"the node names no time: {text!r}")
    return text


def _fields(state: Mapping[str, Any]) -> tuple[Field, ...]:
    return tuple(Field(f["name"], _type(f["type"])) for f in state["fields"])


def _type(described: Mapping[str, Any]) -> Type:
    names = (described["name"],) if described.get("name") else ()
    match described["kind"]:
        case "record":
            return Type(Kind.RECORD, names, fields=_fields(described["state"]))
        case "list":
            return Type(Kind.LIST, names, item=_type(described["state"]["type"]))
        case kind:
            return Type(_KINDS.get(kind, Kind.STRING), names)


# --- conditions -----------------------------------------------------------------------------


def where(query: Query, layouts: Iterable[Schema]) -> str | None:
    """Write the condition of a query over all layouts; ``None`` where none can answer."""
    by_name: dict[str, list[Schema]] = defaultdict(list)
    for layout in layouts:
        by_name[layout.name].append(layout)
    guarded = [
        f"(@name == {tql.quote(name)} and {condition})"
        for name, alike in by_name.items()
        for condition in _conditions(query, alike)
    ]
    return f"({' or '.join(guarded)})" if guarded else None


def unknown(names: Iterable[str]) -> str:
    """Write the condition that holds for events of other schemas than these.

    The node's catalog leaves all partitions of these schemas out, so it costs nothing.
    """
    return (
        "("
        + (" and ".join(f"@name != {tql.quote(name)}" for name in sorted(names)) or "true")
        + ")"
    )


def later(name: str, stored: Stored) -> str:
    """Write the condition that holds for events of a schema that came after the stored ones."""
    return f"(@name == {tql.quote(name)} and @import_time > {stored.last})"


def any_of(conditions: Iterable[str | None]) -> str | None:
    """Join conditions; ``None`` if there is none."""
    return " or ".join(condition for condition in conditions if condition is not None) or None


def _conditions(query: Query, layouts: list[Schema]) -> list[str]:
    """Write one condition for all layouts of a name, or one each where they differ."""
    bound = [bind(query, layout) for layout in layouts]
    texts = [None if expr is None else tql.condition(expr) for expr in bound]
    if None not in texts and len(set(texts)) == 1:
        return [texts[0]] if texts[0] is not None else []
    return [
        f"({_guard(layout, layouts)} and {text})"
        for layout, text in zip(layouts, texts, strict=True)
        if text is not None
    ]


def _guard(layout: Schema, layouts: list[Schema]) -> str:
    """Tell a layout from the others of its name by its fields and their types."""
    mine = {leaf.path: leaf.type.kind for leaf in layout.leaves}
    others = [{leaf.path: leaf.type.kind for leaf in other.leaves} for other in layouts]
    tests = [_has(path) for path in sorted(mine) if any(path not in other for other in others)]
    foreign = sorted(set().union(*others) - mine.keys())
    tests += [f"not {_has(path)}" for path in foreign if not _inside(path, mine)]
    tests += [
        _is(path, kind)
        for path, kind in sorted(mine.items())
        if any(other.get(path, kind) is not kind for other in others)
    ]
    return " and ".join(tests) or "true"


def _has(path: tuple[str, ...]) -> str:
    """Write the test for a field; that of a missing record is null, so it counts as false."""
    steps = []
    for depth in range(len(path)):
        above = "this" + "".join(f"[{tql.quote(part)}]" for part in path[:depth])
        steps.append(f"{above}.has({tql.quote(path[depth])})")
    return f"({' and '.join(steps)})"


def _is(path: tuple[str, ...], kind: Kind) -> str:
    """Write the test for a field's type; a null passes for any."""
    subject = tql.path(path)
    return f"({subject} == null or type_kind({subject}) == {tql.quote(_KIND_NAMES[kind])})"


def _inside(path: tuple[str, ...], leaves: Container[tuple[str, ...]]) -> bool:
    # Below a field that is no record in this layout, `has` cannot be asked.
    return any(path[:depth] in leaves for depth in range(1, len(path)))
