"""Bounds of columns, for skipping files that cannot hold an answer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.store.layout import Range
from vastlab.types import Kind, Schema

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
    """Join the bounds of the parts of a file; each part has the same columns."""
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
    """Leave extension types behind, and times as the integers they are."""
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
    """Shorten a string to one that is not less: the last character that can grows by one."""
    if len(text) <= _LONGEST:
        return text
    for end in range(_LONGEST, 0, -1):
        code = ord(text[end - 1]) + 1
        if code in _SURROGATES:
            code = _SURROGATES.stop
        if code <= _LAST_CHARACTER:
            return text[: end - 1] + chr(code)
    return None
