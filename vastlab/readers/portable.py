"""Parquet files that other programs read without vastlab, and vastlab as the same events.

Columns have no extension types: addresses, networks and labels are text, times carry UTC, maps are
lists of pairs. The file's metadata holds the schema from which `restore` makes the events again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.arrow import address, convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.arrow.plain import TEXT, item_of, plain_type, to_plain
from vastlab.errors import FormatError
from vastlab.readers import columns
from vastlab.types import Kind, Schema, Type

_PLACEHOLDER = pa.field("#empty", pa.bool_())  # Parquet cannot count rows without a column


def portable_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of the files that hold events of a schema."""
    fields = [pa.field(name, plain_type(type_, TEXT)) for name, type_ in _exported(schema)]
    return pa.schema(fields or [_PLACEHOLDER])


def open_writer(sink: Any, schema: Schema) -> pq.ParquetWriter:
    """Open a file for batches that `export` returns."""
    writer = pq.ParquetWriter(sink, portable_schema(schema), compression="zstd")
    writer.add_key_value_metadata({columns.SCHEMA_KEY: columns.encode_schema(schema)})
    return writer


def export(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Convert nested events in the form of `convert.normalise` to rows of a file."""
    arrays = [
        to_plain(array, type_, TEXT)
        for array, (_, type_) in zip(columns.export(batch, schema), _exported(schema), strict=True)
    ]
    filled = arrays or [pa.nulls(batch.num_rows, pa.bool_())]
    return pa.RecordBatch.from_arrays(filled, schema=portable_schema(schema))


def restore(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Convert rows of a file, with columns in any order, back to nested events.

    Raises
    ------
    FormatError
        Where text is no address or network, since then another program has changed the file.
    """
    names = [name for name, _ in _exported(schema)]
    arrays = []
    for name, type_ in _exported(schema):
        try:
            arrays.append(_from_plain(batch.column(name), type_))
        except ValueError as error:
            raise FormatError(f"in the column {name!r}, {error}") from None
    target = pa.schema([(n, array.type) for n, array in zip(names, arrays, strict=True)])
    return columns.restore(arrow_types.record_batch(arrays, target, batch.num_rows), schema)


def _exported(schema: Schema) -> list[tuple[str, Type]]:
    exported = columns.exported_schema(schema)
    fields = arrow_schema.from_arrow(exported).fields
    return [(name, field.type) for name, field in zip(exported.names, fields, strict=True)]


def _from_plain(array: pa.Array, type_: Type) -> pa.Array:
    target = arrow_schema.type_to_arrow(type_)
    match type_.kind:
        case Kind.IP | Kind.SUBNET:
            encoded = array.dictionary_encode()  # the same few addresses come again and again
            return _parsed(encoded.dictionary, type_).take(encoded.indices)
        case Kind.ENUM:
            return convert.convert(array, pa.field("labels", array.type), type_)
        case Kind.TIME:
            return array.cast(target)
        case Kind.LIST:
            offsets, (values,) = arrow_types.list_parts(array)
            return _list(array, offsets, _from_plain(values, item_of(type_)), target)
        case Kind.RECORD:
            members = [_from_plain(array.field(i), m.type) for i, m in enumerate(type_.fields)]
            return _record(array, members, target)
        case _:
            return array


def _parsed(texts: pa.StringArray, type_: Type) -> pa.Array:
    """Return the addresses or networks in texts without null."""
    matrix, lengths = address.parse(texts)
    is_network = type_.kind is Kind.SUBNET
    wrong = np.flatnonzero(lengths < 0 if is_network else lengths != 128)
    if wrong.size:
        what = "a network" if is_network else "an address"
        raise ValueError(f"{texts[int(wrong[0])].as_py()[:80]!r} is not {what}")
    packed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(texts), [None, pa.py_buffer(matrix.tobytes())]
    )
    addresses = pa.ExtensionArray.from_storage(arrow_types.IP, packed)
    if not is_network:
        return addresses
    fields = list(arrow_types.SUBNET.storage_type)
    parts = [addresses, pa.array(lengths.astype(np.uint8))]
    networks = pa.StructArray.from_arrays(parts, fields=fields)
    return pa.ExtensionArray.from_storage(arrow_types.SUBNET, networks)


def _list(like: pa.Array, offsets: pa.Array, values: pa.Array, type_: pa.DataType) -> pa.Array:
    mask = arrow_types.null_mask(like)
    return pa.ListArray.from_arrays(offsets, values, type=type_, mask=mask)


def _record(like: pa.Array, members: list[pa.Array], type_: pa.DataType) -> pa.Array:
    mask = arrow_types.null_mask(like)
    return pa.StructArray.from_arrays(members, fields=list(type_), mask=mask)
