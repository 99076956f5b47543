"""What a Tenzir node holds: its layouts, the conditions to ask them, and how answers align."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.compile import tql
from vastlab.expression.ast import Meta, MetaExtractor, Predicate
from vastlab.expression.literals import Time
from vastlab.expression.operators import Operator
from vastlab.nodes._plan import bind
from vastlab.nodes.base import Query
from vastlab.types import Field, Kind, Leaf, Schema, Type

_ROWS = 8_192
_ROWS_HELD = 65_536
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


def parse_schemas(text: bytes) -> tuple[Schema, ...]:
    """Read the answer to ``schemas | write_ndjson``: one layout a line, without internal ones."""
    layouts = []
    for line in text.splitlines():
        described = json.loads(line)
        if not any(attribute["key"] == "internal" for attribute in described["attributes"]):
            layouts.append(Schema(described["name"], _fields(described["state"])))
    return tuple(dict.fromkeys(layouts))


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


def unknown(layouts: Iterable[Schema]) -> str:
    """Write the condition that holds for events of schemas that the catalog does not know."""
    names = dict.fromkeys(layout.name for layout in layouts)
    # An internal event is one of the node about itself; `export` leaves those out.
    return " and ".join(["true", *(f"@name != {tql.quote(name)}" for name in names)])


def since_import(nanoseconds: int) -> str:
    """Write the condition that events arrived at a time or later."""
    arrived = MetaExtractor(Meta.IMPORT_TIME)
    return tql.condition(Predicate(arrived, Operator.GE, Time(nanoseconds)))


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
    """Tell a layout from the others of its name by the fields that it has and has not."""
    mine = {leaf.path for leaf in layout.leaves}
    others = [{leaf.path for leaf in other.leaves} for other in layouts]
    tests = [_has(path) for path in sorted(mine) if any(path not in paths for paths in others)]
    foreign = sorted(set().union(*others) - mine)
    tests += [f"not {_has(path)}" for path in foreign if not _inside(path, mine)]
    return " and ".join(tests) or "true"


def _has(path: tuple[str, ...]) -> str:
    """Write the test for a field; that of a missing record is null, so it counts as false."""
    steps = []
    for depth in range(len(path)):
        above = "this" + "".join(f"[{tql.quote(part)}]" for part in path[:depth])
        steps.append(f"{above}.has({tql.quote(path[depth])})")
    return f"({' and '.join(steps)})"


def _inside(path: tuple[str, ...], leaves: set[tuple[str, ...]]) -> bool:
    # Below a field that is no record in this layout, `has` cannot be asked.
    return any(path[:depth] in leaves for depth in range(1, len(path)))


# --- answers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Aligner:
    """Brings batches without their null fields back into the layouts of the catalog.

    Parameters
    ----------
    layouts
        The layouts, by name.
    """

    layouts: Mapping[str, tuple[Schema, ...]]

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> Aligner:
        """Group layouts by name, the smallest first: the least is added to a batch."""
        by_name: dict[str, list[Schema]] = defaultdict(list)
        for layout in sorted(layouts, key=lambda layout: len(layout.leaves)):
            by_name[layout.name].append(layout)
        return cls({name: tuple(alike) for name, alike in by_name.items()})

    def align(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add the fields that are missing, as nulls, and restore the order."""
        own = arrow_schema.from_arrow(batch.schema)
        have = {leaf.path: leaf.type for leaf in own.leaves}
        for layout in self.layouts.get(own.name, ()):
            if _covers(layout, have):
                return _widen(batch, own, layout)
        return arrow_schema.normalise(batch)


def _covers(layout: Schema, have: Mapping[tuple[str, ...], Type]) -> bool:
    known = {leaf.path: leaf.type for leaf in layout.leaves}
    return all(path in known and _fits(type_, known[path]) for path, type_ in have.items())


def _fits(arrived: Type, known: Type) -> bool:
    if arrived.kind is Kind.NULL or arrived.kind is known.kind:
        if arrived.kind is Kind.LIST and arrived.item is not None and known.item is not None:
            return _fits(arrived.item, known.item)
        return True
    return False


def _widen(batch: pa.RecordBatch, own: Schema, layout: Schema) -> pa.RecordBatch:
    flat = arrow_schema.flatten(arrow_schema.normalise(batch))
    columns = {leaf.path: flat.column(leaf.column) for leaf in own.leaves}
    target = arrow_schema.flat_schema(layout)
    arrays = [
        _column(columns.get(leaf.path), field, leaf, batch.num_rows)
        for leaf, field in zip(layout.leaves, target, strict=True)
    ]
    wide = arrow_schema.record_batch(arrays, target, batch.num_rows)
    return arrow_schema.nest(wide, layout)


def _column(array: pa.Array | None, field: pa.Field, leaf: Leaf, num_rows: int) -> pa.Array:
    if array is None or pa.types.is_null(array.type):
        return pa.nulls(num_rows, field.type)
    if array.type == field.type:
        return array
    # A list whose elements are all null arrives as a list of nothing.
    return arrow_schema.convert(array, pa.field(field.name, array.type), leaf.type)


class Coalescer:
    """Joins batches of one layout: the node sends at most 1,024 rows at a time."""

    def __init__(self) -> None:
        self._held: dict[bytes, list[pa.RecordBatch]] = defaultdict(list)
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take a batch, and return what has become large enough."""
        key = batch.schema.serialize().to_pybytes()
        alike = self._held[key]
        alike.append(batch)
        self._rows += batch.num_rows
        if sum(part.num_rows for part in alike) >= _ROWS:
            yield self._join(key)
        elif self._rows >= _ROWS_HELD:
            yield from self.flush()

    def flush(self) -> Iterator[pa.RecordBatch]:
        """Return everything that is held."""
        for key in tuple(self._held):
            yield self._join(key)

    def _join(self, key: bytes) -> pa.RecordBatch:
        alike = self._held.pop(key)
        self._rows -= sum(part.num_rows for part in alike)
        return pa.concat_batches(alike) if len(alike) > 1 else alike[0]
