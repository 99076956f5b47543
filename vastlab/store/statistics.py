"""Value ranges, Bloom filters and dictionaries of the columns of a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.store.layout import Layout, Range
from vastlab.types import Kind, Leaf, Schema

_LONGEST = 64
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_INTEGERS = frozenset({Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION})
_PRUNABLE = _INTEGERS | {Kind.BOOL, Kind.DOUBLE, Kind.STRING, Kind.IP}


def of(batch: pa.RecordBatch | pa.Table, schema: Schema) -> dict[str, Range]:
    """Compute the bounds of all columns of stored rows."""
    kinds = {leaf.column: leaf.type.kind for leaf in schema.leaves} | {IMPORT_TIME: Kind.TIME}
    return {
        name: _column_range(batch.column(name), kind, batch.num_rows)
        for name, kind in kinds.items()
    }


def merge(parts: Iterable[dict[str, Range]]) -> dict[str, Range]:
    """Merge the bounds of the parts of a file; each part has the same columns."""
    merged: dict[str, Range] = {}
    for part in parts:
        for name, new in part.items():
            merged[name] = _join(merged[name], new) if name in merged else new
    return merged


def _join(left: Range, right: Range) -> Range:
    nulls = left.null_count + right.null_count
    rows = left.num_rows + right.num_rows
    if left.null_count == left.num_rows:
        return Range(right.minimum, right.maximum, nulls, rows)
    if right.null_count == right.num_rows:
        return Range(left.minimum, left.maximum, nulls, rows)
    return Range(
        _choose(min, left.minimum, right.minimum),
        _choose(max, left.maximum, right.maximum),
        nulls,
        rows,
    )


def _choose(pick: Any, left: Any, right: Any) -> Any:
    return None if left is None or right is None else pick(left, right)


def _column_range(array: pa.Array | pa.ChunkedArray, kind: Kind, num_rows: int) -> Range:
    nulls = num_rows if kind is Kind.NULL else array.null_count
    if nulls == num_rows or kind not in _PRUNABLE:
        return Range(None, None, nulls, num_rows)
    minimum, maximum = _bounds(plain(array, kind), kind)
    return Range(minimum, maximum, nulls, num_rows)


def plain(array: pa.Array | pa.ChunkedArray, kind: Kind) -> pa.Array | pa.ChunkedArray:
    """Return the storage of extension types, and times as integers."""
    if isinstance(array, pa.ChunkedArray):
        return pa.chunked_array([plain(chunk, kind) for chunk in array.chunks])
    storage = arrow_arrays.storage_of(array)
    return storage.view(pa.int64()) if kind in (Kind.TIME, Kind.DURATION) else storage


def _bounds(array: pa.Array | pa.ChunkedArray, kind: Kind) -> tuple[Any, Any]:
    if kind is Kind.DOUBLE and pc.any(pc.is_nan(array)).as_py():
        return None, None
    extremes = pc.min_max(array)
    try:
        minimum, maximum = extremes["min"].as_py(), extremes["max"].as_py()
    except UnicodeDecodeError:
        return None, None
    if kind is Kind.DOUBLE and (math.isinf(minimum) or math.isinf(maximum)):
        return _finite(minimum), _finite(maximum)
    if kind is Kind.STRING:
        return minimum[:_LONGEST], upper_bound(maximum)
    return minimum, maximum


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def upper_bound(text: str) -> str | None:
    """Shorten a string to one that is not smaller, by increasing its last possible character."""
    if len(text) <= _LONGEST:
        return text
    for end in range(_LONGEST, 0, -1):
        code = ord(text[end - 1]) + 1
        if code in _SURROGATES:
            code = _SURROGATES.stop
        if code <= _LAST_CHARACTER:
            return text[: end - 1] + chr(code)
    return None


_IDENTIFIERS = frozenset({"community_id", "fuid", "ja3", "ja3s", "md5", "sha1", "sha256", "uid"})
_LONGEST_IDENTIFIER = 128
_FEWEST = 100
_SMALL = 1000  # rows; in fewer, the choice is not worth its cost
# Whether values repeat is estimated from this many rows. In a whole row group, more values repeat:
# 80 % distinct values in the sample are about 50 % in the group, and 97 % about 90 %.
_SAMPLE = 32_768
_REPEATING = 0.8
_UNIQUE = 0.97
_COUNTABLE = frozenset(
    {Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.TIME, Kind.DURATION, Kind.STRING, Kind.IP}
)


def options(layout: Layout, sample: pa.Table, group_rows: int) -> dict[str, Any]:
    """Choose Bloom filters and dictionaries by the first row group; returns writer arguments."""
    distinct = {leaf.column: _distinct(leaf, sample) for leaf in layout.schema.leaves}
    filtered = [
        leaf.column
        for leaf in layout.schema.leaves
        if _wants_filter(leaf, sample, distinct[leaf.column])
    ]
    # Dictionaries of mostly distinct values do not pay off: without them, writing connection logs
    # takes half the time and a fifth less space.
    encoded = [
        path
        for field in layout.stored_schema
        if distinct.get(field.name, 0.0) < _REPEATING
        for path in paths(field.name, field.type)
    ]
    filter_ = {"ndv": min(group_rows, max(1, sample.num_rows)), "fpp": 0.05}
    return {
        "use_dictionary": encoded or False,
        "bloom_filter_options": dict.fromkeys(filtered, filter_) or None,
    }


def _distinct(leaf: Leaf, sample: pa.Table) -> float:
    """Return the proportion of distinct values; 0 if there are too few values."""
    if leaf.type.kind not in _COUNTABLE or sample.num_rows < _SMALL:
        return 0.0
    values = plain(sample.column(leaf.column).slice(0, _SAMPLE), leaf.type.kind)
    present = len(values) - values.null_count
    return pc.count_distinct(values).as_py() / present if present >= _FEWEST else 0.0


def _wants_filter(leaf: Leaf, sample: pa.Table, distinct: float) -> bool:
    """Return whether a column has addresses, or strings that look like identifiers."""
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


def paths(name: str, type_: pa.DataType) -> Iterator[str]:
    """Yield the Parquet paths of the parts of a column."""
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if pa.types.is_list(type_):
        yield from paths(f"{name}.list.{type_.value_field.name}", type_.value_type)
    elif pa.types.is_struct(type_):
        for i in range(type_.num_fields):
            yield from paths(f"{name}.{type_.field(i).name}", type_.field(i).type)
    else:
        yield name
