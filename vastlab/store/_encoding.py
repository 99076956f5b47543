"""How each column of a file is encoded, told from its first events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.store import _ranges
from vastlab.store.layout import Layout
from vastlab.types import Kind, Leaf

_IDENTIFIERS = frozenset({"community_id", "fuid", "ja3", "ja3s", "md5", "sha1", "sha256", "uid"})
_LONGEST_IDENTIFIER = 128
_FEWEST = 100
# So many rows tell whether values repeat. In a whole group, more of them do: four of five that
# are new in the sample are about one of two, and 97 of 100 about nine of ten.
_SAMPLE = 32_768
_REPEATING = 0.8
_UNIQUE = 0.97
_COUNTABLE = frozenset(
    {Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.TIME, Kind.DURATION, Kind.STRING, Kind.IP}
)


def options(layout: Layout, sample: pa.Table, group_rows: int) -> dict[str, Any]:
    """Choose bloom filters and dictionaries.

    Parameters
    ----------
    layout
        Of the file.
    sample
        Its first row group.
    group_rows
        The largest number of rows of a group.

    Returns
    -------
    dict
        Arguments for a Parquet writer.
    """
    distinct = {leaf.column: _distinct(leaf, sample) for leaf in layout.schema.leaves}
    filtered = [
        leaf.column
        for leaf in layout.schema.leaves
        if _wants_filter(leaf, sample, distinct[leaf.column])
    ]
    # A dictionary of more than half the values is written in vain: without it, files of
    # connections take half the time and a fifth less space.
    encoded = [
        path
        for field in layout.stored_schema
        if distinct.get(field.name, 0.0) < _REPEATING
        for path in _paths(field.name, field.type)
    ]
    filter_ = {"ndv": min(group_rows, max(1, sample.num_rows)), "fpp": 0.05}
    return {
        "use_dictionary": encoded or False,
        "bloom_filter_options": dict.fromkeys(filtered, filter_) or None,
    }


def _distinct(leaf: Leaf, sample: pa.Table) -> float:
    """Return which part of the values occurs for the first time; 0 where too few are there."""
    if leaf.type.kind not in _COUNTABLE:
        return 0.0
    values = _ranges.plain(sample.column(leaf.column).slice(0, _SAMPLE), leaf.type.kind)
    present = len(values) - values.null_count
    return pc.count_distinct(values).as_py() / present if present >= _FEWEST else 0.0


def _wants_filter(leaf: Leaf, sample: pa.Table, distinct: float) -> bool:
    """Choose addresses, and strings that look like identifiers."""
    if leaf.type.kind is Kind.IP:
        return True
    if leaf.type.kind is not Kind.STRING:
        return False
    if leaf.path[-1] in _IDENTIFIERS or ("index", "hash") in leaf.type.attributes:
        return True
    if distinct < _UNIQUE:
        return False
    longest = pc.max(pc.binary_length(sample.column(leaf.column))).as_py()
    return bool(longest <= _LONGEST_IDENTIFIER)


def _paths(name: str, type_: pa.DataType) -> Iterator[str]:
    """Yield what Parquet calls the parts of a column."""
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if pa.types.is_list(type_):
        yield from _paths(f"{name}.list.{type_.value_field.name}", type_.value_type)
    elif pa.types.is_struct(type_):
        for i in range(type_.num_fields):
            yield from _paths(f"{name}.{type_.field(i).name}", type_.field(i).type)
    else:
        yield name
