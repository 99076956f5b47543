"""Values counted in Arrow, so that a picture of millions of events has few marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import schema as arrow_schema
from vastlab.display.values import Numbers, Values, named, values
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Leaf, Schema

_SOURCES = ("orig_h", "src_ip", "source_ip", "src")
_TARGETS = ("resp_h", "dest_ip", "dst_ip", "destination_ip", "dst")


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
    return counted(
        field, [found for _, several in columns(tables, field) for found in several], count
    )


def counted(field: str, found: Sequence[Values], count: int) -> Tally:
    """Count values that were read already.

    Parameters
    ----------
    field
        What they are called.
    found
        All of them.
    count
        How many to tell apart.
    """
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
    """Read the values of a field, table by table.

    Parameters
    ----------
    tables, field
        As in `tally`.

    Returns
    -------
    list of tuple
        Each table, and what it holds in each of the fields that the name means; often in none.

    Raises
    ------
    UsageError
        No event has such a field.
    """
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
