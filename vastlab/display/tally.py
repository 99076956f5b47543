"""Values of a result, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.compile.groups import Groups
from vastlab.display.columns import named
from vastlab.errors import UsageError
from vastlab.expression.aggregates import Aggregate, Function, Name, Summary
from vastlab.expression.ast import FieldExtractor
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.plan import group_batches
from vastlab.types import Field, Kind, Leaf, Schema, Type

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
    schema, by = _texts(("source", "target"))
    found = grouped(((schema, part) for part in pairs if len(part)), by)
    return _NO_TEXTS if found is None else found.column("k0").combine_chunks()


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
    schema, by = _texts(keys)
    added = grouped([(schema, part) for part in parts if len(part)], by)
    if added is None:
        return [], 0, 0
    added = added.select([*(f"k{number}" for number in range(len(keys))), "n.sum"])
    added = added.rename_columns([*keys, "count"])
    order = [("count", "descending"), *((key, "ascending") for key in keys)]
    kept = added.take(pc.select_k_unstable(added, min(count, len(added)), order)).to_pylist()
    in_others = pc.sum(added["count"]).as_py() - sum(row["count"] for row in kept)
    return kept, len(added) - len(kept), in_others


def _texts(names: Sequence[str]) -> tuple[Schema, tuple[Name, ...]]:
    """Describe columns of text, and how to group by them."""
    schema = Schema("", tuple(Field(name, Type(Kind.STRING)) for name in names))
    return schema, tuple(Name(name, FieldExtractor(name)) for name in names)


_COUNT = Aggregate("count", Function.COUNT)


def grouped(
    parts: Iterable[tuple[Schema, pa.Table]], by: tuple[Name, ...], every: int = 0
) -> pa.Table | None:
    """Group rows as the events of a node are grouped; None where there are none."""
    groups = Groups(Summary(by, every, (_COUNT,)), None)
    for schema, table in parts:
        group_batches(groups, schema, table.to_batches())
    return groups.result()[0]
