"""What a Tenzir node holds."""

from __future__ import annotations

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from vastlab._lazy import pd
from vastlab.compile import tql
from vastlab.errors import NodeError
from vastlab.expression.ast import Constant
from vastlab.nodes.base import Query
from vastlab.nodes.plan import bind
from vastlab.store.layout import union
from vastlab.types import Field, Kind, Schema, Type, by_name

QUESTION = (
    "schemas | merge { partitions | where not internal"
    # There are many old partitions: only their sum is asked for.
    ' | part = uuid if max_import_time > now() - 10min else ""'
    " | summarize schema, part, events=sum(events),"
    " first=min(min_import_time), last=max(max_import_time) }"
)
"""The query for the catalog of a node."""

# A node writes what its memory holds after half a minute by default; the rest
# is for clocks that differ.
_LONGEST_IN_MEMORY = 60 * 10**9  # nanoseconds
KINDS = {
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


@dataclass(frozen=True, slots=True)
class Stored:
    """The number of stored events of one schema, and the time of the last, in nanoseconds.

    Later events may be in memory only, where a node keeps them for half a minute; the catalog
    does not have their layout.
    """

    events: int
    last: int

    @classmethod
    def of(cls, parts: Iterable[Mapping[str, Any]], now: int) -> Stored:
        """Separate what is certainly stored from what may not be, at this time in nanoseconds.

        The layouts of a schema are written one by one, each half a minute after its first event:
        the last event of a written one may be later than events of another that are in memory.
        `parts` are partitions with the times of their first and last event.
        """
        spans = [(_time(part["first"]), _time(part["last"]), part["events"]) for part in parts]
        line = min(max(last for _, last, _ in spans), now - _LONGEST_IN_MEMORY)
        # No partition may lie on both sides: its events could not be separated.
        while crossing := [first for first, last, _ in spans if first <= line < last]:
            line = min(crossing) - 1
        return cls(sum(events for _, last, events in spans if last <= line), line)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The layouts that a node holds, without its metrics, and what is stored by schema name."""

    layouts: tuple[Schema, ...] = ()
    stored: Mapping[str, Stored] = field(default_factory=dict)
    _born: float = field(default_factory=time.monotonic, compare=False)

    @property
    def age(self) -> float:
        """The age of the catalog in seconds."""
        return time.monotonic() - self._born

    @classmethod
    def parse(cls, rows: Iterable[Mapping[str, Any]]) -> Catalog:
        """Read the answer to `QUESTION`."""
        layouts: dict[Schema, None] = {}
        parts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            if "state" not in row:
                parts[row["schema"]].append(row)
            elif not any(attribute["key"] == "internal" for attribute in row["attributes"]):
                layouts[Schema(row["name"], _fields(row["state"]))] = None
        now = time.time_ns()
        return cls(
            tuple(sorted(layouts, key=lambda layout: layout.name)),
            {name: Stored.of(alike, now) for name, alike in parts.items()},
        )

    @property
    def names(self) -> frozenset[str]:
        """The names of all schemas."""
        return frozenset(layout.name for layout in self.layouts)

    def schemas(self) -> dict[str, Schema]:
        """Return for each name the union over its layouts."""
        return {name: union(layouts) for name, layouts in sorted(by_name(self.layouts).items())}

    def whole(self, query: Query) -> frozenset[str]:
        """Return the names of which every event answers a query."""
        return frozenset(
            name
            for name, layouts in by_name(self.layouts).items()
            if name in self.stored
            and all(bind(query, layout) == Constant(True) for layout in layouts)
        )


@dataclass(frozen=True, slots=True)
class InlineCatalog:
    """The catalog as one event among those of an export.

    A separate program could ask for it, but then the first event would have to wait for two
    programs that share the processor.
    """

    name: str

    @classmethod
    def make(cls) -> InlineCatalog:
        """Choose a random name, so that no event can imitate a catalog."""
        return cls(f"vastlab_{secrets.token_hex(8)}")

    def step(self) -> str:
        """Write the step of a pipeline that adds the event."""
        return (
            f"merge {{ {QUESTION} | this = {{row: this.print_ndjson()}}"
            f" | summarize rows=collect(row) | this = {{rows: rows.print_ndjson()}}"
            f" | @name = {tql.quote(self.name)} }}"
        )

    def read(self, batch: pa.RecordBatch) -> Catalog:
        """Read the event."""
        try:
            rows = json.loads(batch.column("rows")[0].as_py())
            return Catalog.parse(json.loads(row) for row in rows)
        except (ValueError, KeyError, TypeError) as error:
            raise NodeError(f"the node's catalog cannot be read: {error!r}") from error


def _time(text: str) -> int:
    moment = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    if not isinstance(moment, pd.Timestamp):
        raise NodeError(f"the node names no time: {text!r}")
    return moment.value


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
            return Type(KINDS.get(kind, Kind.STRING), names)
