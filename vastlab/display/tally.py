"""Values counted in Arrow, so that a picture of millions of events has few marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema

_SOURCES = ("orig_h", "src_ip", "source_ip", "src")
_TARGETS = ("resp_h", "dest_ip", "dst_ip", "destination_ip", "dst")

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each value occurs, most often first.

    Parameters
    ----------
    field
        What was counted.
    counts
        The most frequent values.
    others, in_others
        How many other values there are, and how often they occur together.
    """

    field: str
    counts: Mapping[str, int]
    others: int
    in_others: int


@dataclass(frozen=True, slots=True)
class Flows:
    """Who talks to whom: events by source and destination, most first.

    Parameters
    ----------
    edges
        The pairs that have most events.
    others, in_others
        How many other pairs there are, and how many events they have.
    """

    edges: Mapping[tuple[str, str], int]
    others: int
    in_others: int


def tally(tables: Mapping[str, Sequence[pa.Table]], field: str, count: int) -> Tally:
    """Count the values of a field over all schemas; each element of a list counts.

    Parameters
    ----------
    tables
        The events of each schema.
    field
        Named as in an expression: by the end of its path, with its schema or without.
    count
        How many values to tell apart.

    Examples
    --------
    >>> ports = pa.table({"port": ["80", "443", "80"]})
    >>> tally({"my.ports": [ports]}, "port", 1)
    Tally(field='port', counts={'80': 2}, others=1, in_others=1)
    """
    parts = [texts for _, texts in columns(tables, field)]
    counted, others, in_others = _most(pa.chunked_array(parts, pa.string()), count)
    return Tally(field, counted, others, in_others)


def flows(
    tables: Mapping[str, Sequence[pa.Table]],
    taxonomy: Taxonomy,
    count: int,
    source: str | None = None,
    target: str | None = None,
) -> Flows:
    """Count the events between each two ends.

    Parameters
    ----------
    tables
        The events of each schema.
    taxonomy
        Its concepts say which addresses are the two ends.
    count
        How many pairs to tell apart.
    source, target
        The fields of the two ends, where it is not to be the addresses of a connection.
    """
    parts = []
    for name, layouts in tables.items():
        for table in layouts:
            schema = arrow_schema.from_arrow(table.schema, name)
            first = _end(schema, taxonomy, source, "net.src.ip", _SOURCES)
            second = _end(schema, taxonomy, target, "net.dst.ip", _TARGETS)
            if first is not None and second is not None:
                parts += [_pairs(batch, first, second) for batch in table.to_batches()]
    if not parts:
        raise UsageError(
            "no events of this result have a source and a destination",
            hint="name two fields: graph('id.orig_h', 'query')",
        )
    pairs = pa.concat_tables(parts).group_by(["source", "target"]).aggregate([([], "count_all")])
    ordered = pairs.sort_by([("count_all", "descending"), ("source", "ascending")])
    kept, rest = ordered.slice(0, count), ordered.slice(count)
    edges = {(row["source"], row["target"]): row["count_all"] for row in kept.to_pylist()}
    return Flows(edges, len(rest), pc.sum(rest["count_all"]).as_py() or 0)


def columns(
    tables: Mapping[str, Sequence[pa.Table]], field: str
) -> Iterator[tuple[tuple[str, int, Rows], pa.Array]]:
    """Return the values of a field as text, table by table, and where they stand.

    Parameters
    ----------
    tables, field
        As in `tally`.

    Yields
    ------
    tuple
        The schema, the number of its table and the rows; then the values.

    Raises
    ------
    UsageError
        No event has such a field.
    """
    known = False
    for name, layouts in tables.items():
        for number, table in enumerate(layouts):
            for leaf in named(field, arrow_schema.from_arrow(table.schema, name)):
                known = True
                start = 0
                for batch in table.to_batches():
                    rows, found = texts(_flat(batch), leaf)
                    yield (name, number, rows + start), found
                    start += len(batch)
    if not known and tables:
        raise UsageError(
            f"no events of this result have a field {field!r}",
            hint="fields are named as in an expression: 'resp_p', 'id.resp_p', 'zeek.conn.uid'",
        )


def named(field: str, schema: Schema) -> Sequence[Leaf]:
    """Return the fields of a schema that a name means.

    Parameters
    ----------
    field
        The end of a path, with the schema or without.
    schema
        Where to look.
    """
    prefix = f"{schema.name}."
    if field.startswith(prefix):
        wanted = field.removeprefix(prefix)
        return [leaf for leaf in schema.leaves if wanted in (leaf.name, leaf.column)]
    exact = [leaf for leaf in schema.leaves if leaf.column == field]
    return exact or schema.leaves_by_suffix.get(field, ())


def texts(flat: pa.RecordBatch, leaf: Leaf) -> tuple[Rows, pa.Array]:
    """Return the values of a field as text, elements of lists each on its own.

    Parameters
    ----------
    flat
        Events with flat columns.
    leaf
        The field.

    Returns
    -------
    tuple
        The row that each value stands in, and the values; nulls are left out.
    """
    index = flat.schema.names.index(leaf.column)
    column, field = flat.column(index), flat.schema.field(index)
    rows = np.arange(len(column))
    if leaf.type.kind is Kind.LIST:
        rows = np.asarray(pc.list_parent_indices(column), np.int64)
        column, field = pc.list_flatten(column), column.type.value_field
    found = render.text(column, field)
    return rows[np.asarray(found.is_valid(), np.bool_)], found.drop_null()


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    return arrow_schema.flatten(arrow_schema.normalise(batch))


def _end(
    schema: Schema, taxonomy: Taxonomy, field: str | None, concept: str, usual: Sequence[str]
) -> Leaf | None:
    if field is not None:
        return next(iter(named(field, schema)), None)
    known = taxonomy.fields(concept) if concept in taxonomy.concepts else ()
    by_concept = [leaf for leaf in schema.leaves if f"{schema.name}.{leaf.name}" in known]
    by_name = [leaf for leaf in schema.leaves if leaf.path[-1] in usual]
    return next(iter((*by_concept, *by_name)), None)


def _pairs(batch: pa.RecordBatch, first: Leaf, second: Leaf) -> pa.Table:
    flat = _flat(batch)
    parts = []
    for leaf, name in ((first, "source"), (second, "target")):
        rows, values = texts(flat, leaf)
        parts.append(pa.table({"row": pa.array(rows, pa.int64()), name: values}))
    return parts[0].join(parts[1], "row", join_type="inner").select(["source", "target"])


def _most(values: pa.ChunkedArray, count: int) -> tuple[dict[str, int], int, int]:
    counted = pa.Table.from_struct_array(values.value_counts())
    ordered = counted.sort_by([("counts", "descending"), ("values", "ascending")])
    kept, rest = ordered.slice(0, count), ordered.slice(count)
    most = dict(zip(kept["values"].to_pylist(), kept["counts"].to_pylist(), strict=True))
    return most, len(rest), pc.sum(rest["counts"]).as_py() or 0
