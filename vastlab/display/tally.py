"""Values of a result, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.display.columns import named
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

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

    def counts(self) -> pa.Array:
        """Return how often each of the texts occurs."""
        return pa.array(np.bincount(self.codes, minlength=len(self.texts)), pa.int64())

    def without(self, rows: Numbers) -> Values:
        """Return the values of other rows than these."""
        others = ~np.isin(self.rows, rows)
        return Values(self.rows[others], self.codes[others], self.texts)


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


def tally(
    tables: Mapping[str, Sequence[pa.Table]],
    field: str,
    count: int,
    *,
    once_per: str | None = None,
    taxonomy: Taxonomy | None = None,
) -> Tally:
    """Count the values of a field, and the elements of lists, over all schemas.

    Events that share a value of the field `once_per` count once; those without one, each.
    """
    found = columns(tables, field, taxonomy)
    if once_per is None:
        return counted(field, [part for _, several in found for part in several], count)
    pairs: list[pa.Table] = []
    alone: list[Values] = []
    for (_, several), (_, keys) in zip(found, columns(tables, once_per, taxonomy), strict=True):
        for part in several:
            pairs += [_pairs(part, key) for key in keys[:1]]
            alone.append(part.without(keys[0].rows) if keys else part)
    values = _once(pairs)
    once = Values(np.arange(len(values)), np.arange(len(values)), values)
    return counted(field, [*alone, once], count)


def _once(pairs: Sequence[pa.Table]) -> pa.StringArray:
    """Return the first of two values for each different pair."""
    if not pairs:
        return _NO_TEXTS
    table = pa.concat_tables(pairs)
    _, first = _distinct([table["source"], table["target"]])
    return pa.chunked_array(table["source"]).take(pa.array(first)).combine_chunks()


def counted(field: str, found: Sequence[Values], count: int) -> Tally:
    """Count values that were already read."""
    parts = [pa.table({"value": part.texts, "count": part.counts()}) for part in found]
    kept, others, in_others = _most(parts, ["value"], count)
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
    tables: Mapping[str, Sequence[pa.Table]], field: str, taxonomy: Taxonomy | None = None
) -> list[tuple[pa.Table, list[Values]]]:
    """Return each table with what the fields of that name hold in it, often nothing.

    With a taxonomy, the name may be that of a concept.
    """
    is_concept = taxonomy is not None and field in taxonomy.concepts
    names = (field, *taxonomy.fields(field)) if taxonomy is not None and is_concept else (field,)
    found = [
        (table, [values(table, leaf) for leaf in _leaves(names, schema)])
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


def _leaves(names: Sequence[str], schema: Schema) -> list[Leaf]:
    return list(dict.fromkeys(leaf for name in names for leaf in named(name, schema)))


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
    """Count each two values that stand in one row."""
    low = np.searchsorted(first.rows, second.rows, "left")
    partners = np.searchsorted(first.rows, second.rows, "right") - low
    ends = np.cumsum(partners)
    nth = np.arange(partners.sum()) - np.repeat(ends - partners, partners)
    sources = first.codes[np.repeat(low, partners) + nth]
    targets = np.repeat(second.codes, partners)
    size = max(1, len(second.texts))
    pairs, counts = pa.array(sources * size + targets).value_counts().flatten()
    source, target = np.divmod(np.asarray(pairs), size)
    return pa.table(
        {
            "source": first.texts.take(pa.array(source)),
            "target": second.texts.take(pa.array(target)),
            "count": counts,
        }
    )


def _most(
    parts: Sequence[pa.Table], keys: list[str], count: int
) -> tuple[list[dict[str, Any]], int, int]:
    """Add up the counts of equal keys; return the largest, and how many others and in them."""
    if not parts:
        return [], 0, 0
    table = pa.concat_tables(parts)
    codes, first = _distinct([table[key] for key in keys])
    # Weights are added as floats, which are exact for any number of events that fits in memory.
    totals = np.bincount(codes, np.asarray(table["count"]), minlength=len(first)).astype(np.int64)
    added = table.select(keys).take(pa.array(first)).append_column("count", pa.array(totals))
    order = [("count", "descending"), *((key, "ascending") for key in keys)]
    kept = added.take(pc.select_k_unstable(added, min(count, len(added)), order)).to_pylist()
    in_others = int(totals.sum()) - sum(row["count"] for row in kept)
    return kept, len(added) - len(kept), in_others


def _distinct(keys: Sequence[pa.ChunkedArray]) -> tuple[Numbers, Numbers]:
    """Give equal rows of columns one number; return it for each row, and a row for each number.

    Several times as fast as the `group_by` of Arrow, which is made for more columns.
    """
    packed = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        encoded = key.combine_chunks().dictionary_encode()
        packed = packed * max(1, len(encoded.dictionary)) + np.asarray(encoded.indices, np.int64)
    encoded = pa.array(packed).dictionary_encode()
    codes = np.asarray(encoded.indices, np.int64)
    first = np.empty(len(encoded.dictionary), np.int64)
    first[codes] = np.arange(len(codes))
    return codes, first
