"""Arrays and batches, taken apart and put together where Arrow's own ways lose something."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def storage_of(array: pa.Array) -> pa.Array:
    """Return the plain array behind an extension array, and other arrays as they are."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def storage_type_of(type_: pa.DataType) -> pa.DataType:
    """Return the plain type behind an extension type, and other types as they are."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def record_batch(arrays: list[pa.Array], schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    """Make a batch that keeps its length even without a column."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    rows = empty_records(num_rows, pa.struct([]))
    return pa.RecordBatch.from_struct_array(rows).replace_schema_metadata(schema.metadata)


def list_parts(lists: pa.Array) -> tuple[pa.Array, tuple[pa.Array, ...]]:
    """Return the offsets of lists or maps, from 0, and just the values that they reach.

    Without this, each slice of a long column would drag the values of the whole along; and
    `from_arrays` refuses a mask beside offsets that are a slice. Lists of other layouts are
    taken apart here too: a cast would lose the dictionaries of enumerations inside, and the
    next look at them end the process; and `flatten` cannot make empty extension arrays.
    """
    type_ = lists.type
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        values = lists.values.slice(lists.offset * size, len(lists) * size)
        return pa.array(np.arange(len(lists) + 1, dtype=np.int32) * np.int32(size)), (values,)
    inner = (lists.keys, lists.items) if pa.types.is_map(type_) else (lists.values,)
    if len(lists) == 0:
        return pa.array([0], pa.int32()), tuple(values.slice(0, 0) for values in inner)
    offsets = lists.offsets
    first, last = offsets[0].as_py(), offsets[len(offsets) - 1].as_py()
    if first or offsets.offset:
        offsets = pc.subtract(offsets, pa.scalar(first, offsets.type))
    return offsets.cast(pa.int32()), tuple(values.slice(first, last - first) for values in inner)


def null_mask(array: pa.Array) -> pa.Array | None:
    """Return what `from_arrays` takes as a mask; making it costs more than passing none."""
    return array.is_null() if array.null_count else None


def empty_records(num_rows: int, type_: pa.StructType) -> pa.Array:
    """Make records without fields."""
    return pa.Array.from_buffers(type_, num_rows, [None])
