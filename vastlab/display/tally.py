"""Values of a result, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.compile.groups import Groups
from vastlab.compile.summary import origin
from vastlab.display.preview import in_zone
from vastlab.errors import UsageError
from vastlab.expression.aggregates import TIME, Aggregate, Function, Name, Summary
from vastlab.expression.ast import FieldExtractor, Meta, MetaExtractor
from vastlab.expression.parser import parse_field
from vastlab.expression.resolve import match
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.plan import group_batches
from vastlab.types import Field, Kind, Leaf, Schema, Type, unique

Numbers = npt.NDArray[np.int64]

# What Arrow cannot look up in a dictionary, or has there already with other labels in each batch.
_TEXT_FIRST = frozenset({Kind.SUBNET, Kind.ENUM, Kind.LIST, Kind.MAP, Kind.RECORD, Kind.NULL})
_NO_NUMBERS: Numbers = np.empty(0, np.int64)
_NO_TEXTS = pa.array([], pa.string())


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a field in one table, without nulls: ascending rows, and codes into `texts`.

    A list has several values in its row; `texts` may have duplicates.
    """

    rows: Numbers
    codes: Numbers
    texts: pa.StringArray

    def table(self) -> pa.Table:
        """Return the text of each value."""
        return pa.table({"value": self.texts.take(pa.array(self.codes))})


def named(field: str, schema: Schema) -> Sequence[Leaf]:
    """Return the fields that a name means: the end of a path, with or without the schema."""
    if "`" in field and (written := parse_field(field)) is not None:
        return match(written, schema)
    prefix = f"{schema.name}."
    if field.startswith(prefix):
        wanted = field.removeprefix(prefix)
        return [leaf for leaf in schema.leaves if wanted in (leaf.name, leaf.column)]
    exact = [leaf for leaf in schema.leaves if leaf.column == field]
    return exact or schema.leaves_by_suffix.get(field, ())


def values(table: pa.Table, leaf: Leaf) -> Values:
    """Return the values of a field, with each element of a list as a value."""
    top, place = _place(arrow_schema.from_arrow(table.schema), leaf)
    rows: list[Numbers] = []
    chunks: list[pa.Array] = []
    start, field = 0, None
    # Only the column that the field is in: the others may be many.
    for batch in table.select([top]).to_batches():
        flat = convert.flatten(convert.normalise(batch))
        field, column = flat.schema.field(place), flat.column(place)
        parents = np.arange(start, start + len(batch))
        if leaf.type.kind is Kind.LIST:
            inside, column = _elements(column)
            parents, field = parents[inside], field.type.value_field
        rows.append(parents[np.asarray(column.is_valid(), np.bool_)])
        chunks.append(column)
        start += len(batch)
    if field is None:
        return Values(_NO_NUMBERS, _NO_NUMBERS, _NO_TEXTS)
    return Values(np.concatenate(rows), *_coded(chunks, field, element(leaf.type).kind))


def _elements(lists: pa.Array) -> tuple[Numbers, pa.Array]:
    """Return what lists hold, and which of them holds it."""
    offsets, (elements,) = arrow_arrays.list_parts(lists)
    bounds = np.asarray(offsets, np.int64)
    sizes = bounds[1:] - bounds[:-1]
    parents = np.repeat(np.arange(len(lists)), sizes)
    # Arrow lets a null list hold something.
    is_there = np.repeat(np.asarray(lists.is_valid(), np.bool_), sizes)
    if is_there.all():
        return parents, elements
    return parents[is_there], elements.filter(pa.array(is_there))


def element(type_: Type) -> Type:
    """Return the type of what a list holds, and other types as they are."""
    return type_.item if type_.kind is Kind.LIST and type_.item is not None else type_


def _place(schema: Schema, leaf: Leaf) -> tuple[int, int]:
    """Find the column that a field is in, and its place among all that this column holds."""
    place = schema.leaves.index(leaf)
    for top, member in enumerate(schema.fields):
        inside = len(Schema("", (member,)).leaves)
        if place < inside:
            return top, place
        place -= inside
    raise IndexError(leaf)


def _coded(chunks: list[pa.Array], field: pa.Field, kind: Kind) -> tuple[Numbers, pa.StringArray]:
    is_text = kind in _TEXT_FIRST
    plain = [
        render.text(chunk, field) if is_text else arrow_arrays.storage_of(chunk) for chunk in chunks
    ]
    encoded = pa.chunked_array(plain).dictionary_encode().chunks
    if not encoded:
        return _NO_NUMBERS, _NO_TEXTS
    codes = [np.asarray(chunk.indices.drop_null(), np.int64) for chunk in encoded]
    texts = encoded[0].dictionary  # all chunks have this one
    return np.concatenate(codes), texts if is_text else render.text(texts, field)


_SOURCES = ("orig_h", "src_ip", "source_ip", "src")
_TARGETS = ("resp_h", "dest_ip", "dst_ip", "destination_ip", "dst")


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each value occurs, most first; `others` more values occur `in_others` times."""

    field: str
    counts: Mapping[str, int]
    others: int
    in_others: int


@dataclass(frozen=True, slots=True)
class Flows:
    """Events by source and destination, most first; `others` more pairs have `in_others` events."""

    edges: Mapping[tuple[str, str], int]
    others: int
    in_others: int


def tally(tables: Mapping[str, Sequence[pa.Table]], field: str, count: int) -> Tally:
    """Count the values of a field, and the elements of lists, over all schemas."""
    return counted(
        field, [found for _, several in columns(tables, field) for found in several], count
    )


def counted(field: str, found: Sequence[Values], count: int) -> Tally:
    """Count values that were already read."""
    kept, others, in_others = _most([part.table() for part in found], ["value"], count)
    return Tally(field, {row["value"]: row["count"] for row in kept}, others, in_others)


def flows(
    tables: Mapping[str, Sequence[pa.Table]],
    taxonomy: Taxonomy,
    count: int,
    source: str | None = None,
    target: str | None = None,
) -> Flows:
    """Count the events between each two ends: the addresses of a connection, or these fields."""
    parts = []
    for name, layouts in tables.items():
        for table in layouts:
            schema = arrow_schema.from_arrow(table.schema, name)
            first = _end(schema, taxonomy, source, "net.src.ip", _SOURCES)
            second = _end(schema, taxonomy, target, "net.dst.ip", _TARGETS)
            if first is not None and second is not None:
                parts.append(_pairs(values(table, first), values(table, second)))
    if not parts:
        raise UsageError(
            "no events of this result have a source and a destination",
            hint="name two fields: graph('id.orig_h', 'query')",
        )
    kept, others, in_others = _most(parts, ["source", "target"], count)
    return Flows({(row["source"], row["target"]): row["count"] for row in kept}, others, in_others)


def columns(
    tables: Mapping[str, Sequence[pa.Table]], field: str
) -> list[tuple[pa.Table, list[Values]]]:
    """Return each table with what the fields of that name hold in it, often nothing."""
    found = [
        (table, [values(table, leaf) for leaf in named(field, schema)])
        for name, layouts in tables.items()
        for table in layouts
        for schema in [arrow_schema.from_arrow(table.schema, name)]
    ]
    if tables and not any(several for _, several in found):
        raise UsageError(
            f"no events of this result have a field {field!r}",
            hint="fields are named as in an expression: 'resp_p', 'id.resp_p', 'zeek.conn.uid'",
        )
    return found


def _end(
    schema: Schema, taxonomy: Taxonomy, field: str | None, concept: str, usual: Sequence[str]
) -> Leaf | None:
    if field is not None:
        return next(iter(named(field, schema)), None)
    known = taxonomy.fields(concept) if concept in taxonomy.concepts else ()
    by_concept = [leaf for leaf in schema.leaves if f"{schema.name}.{leaf.name}" in known]
    by_name = [leaf for leaf in schema.leaves if leaf.path[-1] in usual]
    return next(iter((*by_concept, *by_name)), None)


def _pairs(first: Values, second: Values) -> pa.Table:
    """Return each two values that stand in one row."""
    low = np.searchsorted(first.rows, second.rows, "left")
    partners = np.searchsorted(first.rows, second.rows, "right") - low
    ends = np.cumsum(partners)
    nth = np.arange(partners.sum()) - np.repeat(ends - partners, partners)
    sources = first.codes[np.repeat(low, partners) + nth]
    targets = np.repeat(second.codes, partners)
    return pa.table(
        {
            "source": first.texts.take(pa.array(sources)),
            "target": second.texts.take(pa.array(targets)),
        }
    )


def _most(
    parts: Sequence[pa.Table], keys: list[str], count: int
) -> tuple[list[dict[str, Any]], int, int]:
    """Count equal rows of texts; return the most frequent, and how many others and in them."""
    schema = Schema("", tuple(Field(key, Type(Kind.STRING)) for key in keys))
    by = tuple(Name(key, FieldExtractor(key)) for key in keys)
    added = grouped([(schema, part) for part in parts if len(part)], by)
    if added is None:
        return [], 0, 0
    added = added.select([*(f"k{number}" for number in range(len(keys))), "n.sum"])
    added = added.rename_columns([*keys, "count"])
    order = [("count", "descending"), *((key, "ascending") for key in keys)]
    kept = added.take(pc.select_k_unstable(added, min(count, len(added)), order)).to_pylist()
    in_others = pc.sum(added["count"]).as_py() - sum(row["count"] for row in kept)
    return kept, len(added) - len(kept), in_others


_COUNT = Aggregate("count", Function.COUNT)


def grouped(
    parts: Iterable[tuple[Schema, pa.Table]], by: tuple[Name, ...], every: int = 0
) -> pa.Table | None:
    """Group rows as the events of a node are grouped; None where there are none."""
    groups = Groups(Summary(by, every, (_COUNT,)), None)
    for schema, table in parts:
        group_batches(groups, schema, table.to_batches())
    return groups.result()[0]


BUCKETS = 200
SERIES = 8
OTHER = "other"
NONE = "(none)"
_SECOND = 1_000_000_000
# What people count time in; days and weeks begin at midnight, weeks on Monday.
_WIDTHS = (
    *(n * _SECOND // 1000 for n in (1, 10, 100)),
    *(n * _SECOND for n in (1, 5, 10, 30)),
    *(n * 60 * _SECOND for n in (1, 5, 10, 30)),
    *(n * 3600 * _SECOND for n in (1, 3, 6, 12)),
    *(n * 86400 * _SECOND for n in (1, 7, 28, 364, 1456, 2912)),
)

Counts = npt.NDArray[np.int64]
_NO_TIMES: Counts = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events per bucket, one series for each schema.

    Parameters
    ----------
    start
        The wall-clock time at which the first bucket begins, in nanoseconds since 1970.
    width
        The width of a bucket in nanoseconds.
    series
        Counts by name, largest series first.
    untimed
        How many events have no time.
    rest
        Which of the last series are not a schema or value: the small ones together, and
        what has no value.
    """

    start: int
    width: int
    series: Mapping[str, Counts]
    untimed: int
    rest: tuple[str, ...] = ()

    @property
    def edges(self) -> npt.NDArray[np.datetime64]:
        """Where the buckets begin."""
        count = len(next(iter(self.series.values()), ()))
        return (self.start + self.width * np.arange(count)).astype("datetime64[ns]")


def histogram(
    tables: Mapping[str, Sequence[pa.Table]],
    *,
    zone: tzinfo | None = None,
    buckets: int = BUCKETS,
    by: str | None = None,
) -> Histogram:
    """Count events per bucket of their event time; edges follow the clock of the zone.

    `by` is a field whose values make the series, instead of the schemas; events without it count
    under `NONE`.
    """
    times, rest = _by_schema(tables, zone) if by is None else _by_value(tables, by, zone)
    total = sum(part.num_rows for parts in tables.values() for part in parts)
    timed = {name: values for name, values in times.items() if len(values)}
    untimed = total - sum(map(len, timed.values()))
    if not timed:
        return Histogram(0, _SECOND, {}, untimed)
    first = min(int(values.min()) for values in timed.values())
    last = max(int(values.max()) for values in timed.values())
    start, width, count = _grid(first, last, buckets)
    series, rest = _in_order(_bucketed(timed, start, width, count), rest)
    return Histogram(start, width, series, untimed, rest)


def _by_schema(
    tables: Mapping[str, Sequence[pa.Table]], zone: tzinfo | None
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    return {
        name: np.concatenate([_NO_TIMES, *(_times(part, zone)[0] for part in parts)])
        for name, parts in tables.items()
    }, ()


def _by_value(
    tables: Mapping[str, Sequence[pa.Table]], field: str, zone: tzinfo | None
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    """Split the times by the values of a field: the frequent ones, the others, and none."""
    found = columns(tables, field)
    known = counted(field, [part for _, several in found for part in several], SERIES - 1)
    # A value may have the name of what is none.
    taken = dict.fromkeys(known.counts, 1)
    rest = (unique(f"{OTHER} ({known.others})", taken), unique(NONE, taken))
    labels = [*known.counts, *rest]
    frequent = pa.array(list(known.counts), pa.string())
    split: dict[str, list[Counts]] = {}
    for table, several in found:
        series = np.full(len(table), len(labels) - 1)
        for part in several:
            place = pc.fill_null(pc.index_in(part.texts, value_set=frequent), len(frequent))
            series[part.rows] = np.asarray(place, np.int64)[part.codes]
        moments, rows = _times(table, zone)
        chosen = series[rows]
        for number in np.flatnonzero(np.bincount(chosen)):
            split.setdefault(labels[number], []).append(moments[chosen == number])
    return {label: np.concatenate(parts) for label, parts in split.items()}, rest


def _times(table: pa.Table, zone: tzinfo | None) -> tuple[Counts, Counts]:
    """Return the wall-clock times of events, and the rows of those that have one."""
    times = convert.event_times(table)
    if times is None:
        return _NO_TIMES, _NO_TIMES
    rows = np.flatnonzero(times.is_valid())
    local = in_zone(times.drop_null(), zone).cast(pa.timestamp("ns")).cast(pa.int64())
    return np.asarray(local, np.int64), rows


def _grid(first: int, last: int, buckets: int) -> tuple[int, int, int]:
    """Choose the narrowest width that needs few enough buckets."""
    start, width, count = first, 1, 1
    for width in _WIDTHS:
        start = (first - origin(width)) // width * width + origin(width)
        count = (last - start) // width + 1
        if count <= buckets:
            break
    return start, width, count


_TIMED = Type(Kind.TIME, names=("timestamp",))
_SERIES = Name("#type", MetaExtractor(Meta.TYPE))


def _bucketed(times: Mapping[str, Counts], start: int, width: int, count: int) -> dict[str, Counts]:
    """Count the times of each series in buckets."""
    parts = (
        (Schema(name, (Field("time", _TIMED),)), pa.table({"time": values.view("M8[ns]")}))
        for name, values in times.items()
    )
    counts = {name: np.zeros(count, np.int64) for name in times}
    found = grouped(parts, (_SERIES,), width)
    if found is not None:
        # A bucket that would begin before all times has no beginning.
        found = found.set_column(0, "begin", found.column(TIME).fill_null(start))
        for row in found.select(["k0", "begin", "n.sum"]).to_pylist():
            counts[row["k0"]][(row["begin"] - start) // width] += row["n.sum"]
    return counts


def _in_order(
    counted: dict[str, Counts], rest: tuple[str, ...]
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    """Put the largest series first and the rest last; many small ones become part of the rest."""
    own = sorted(counted.keys() - set(rest), key=lambda name: (-int(counted[name].sum()), name))
    behind = tuple(name for name in rest if name in counted)
    names = [*own, *behind]
    if len(names) <= SERIES + 1:
        return {name: counted[name] for name in names}, behind
    kept, small = names[:SERIES], names[SERIES:]
    together = unique(f"{OTHER} ({len(small)})", dict.fromkeys(kept, 1))
    sums = np.sum([counted[name] for name in small], axis=0)
    return {**{name: counted[name] for name in kept}, together: sums}, (together,)
