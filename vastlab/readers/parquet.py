"""Parquet files from other programs, with limits on what their metadata may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.types import EnumerationType
from vastlab.errors import FormatError

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_MAX_DEPTH = 16

Record = dict[int, Any]


def read_record(data: bytes, position: int = 0) -> tuple[Record, int]:
    """Parse a record of Thrift's compact protocol: its values by field number, and its end."""
    try:
        return _record(data, position, 0)
    except IndexError as error:
        raise ValueError("unexpected end of a record") from error


def _record(data: bytes, position: int, depth: int) -> tuple[Record, int]:
    if depth > _MAX_DEPTH:
        raise ValueError("the records are nested too deeply")
    values: Record = {}
    number = 0
    while head := data[position]:
        position += 1
        if head >> 4:
            number += head >> 4
        else:
            number, position = _integer(data, position)
        kind = head & 0xF
        if kind in (_TRUE, _FALSE):
            values[number] = kind == _TRUE
        else:
            values[number], position = _value(data, position, kind, depth)
    return values, position + 1


def _value(data: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, position)
    if kind == _BINARY:
        length, position = _varint(data, position)
        if position + length > len(data):
            raise ValueError("unexpected end of a string")
        return data[position : position + length], position + length
    if kind == _STRUCT:
        return _record(data, position, depth + 1)
    if kind in (_LIST, _SET):
        return _list(data, position, depth)
    if kind in (_BYTE, _TRUE, _FALSE):  # TRUE and FALSE have a byte in lists
        return data[position], position + 1
    if kind == _DOUBLE:
        return data[position : position + 8], position + 8
    raise ValueError(f"unknown type number {kind}")


def _list(data: bytes, position: int, depth: int) -> tuple[list[Any], int]:
    head, position = data[position], position + 1
    length, kind = head >> 4, head & 0xF
    if length == 0xF:
        length, position = _varint(data, position)
    if position + length > len(data):  # each element has at least one byte
        raise ValueError("unexpected end of a list")
    values = []
    for _ in range(length):
        value, position = _value(data, position, kind, depth + 1)
        values.append(value)
    return values, position


def _integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise ValueError("a number is too long")


_MAX_BATCH_BYTES = 256 << 20  # approximate
_MAX_ITEMS = 1 << 27  # in the lists of one row group
_MAX_BYTES, _MAX_RATIO = 4 << 30, 1_000  # of a decompressed row group
_MIN_ROWS = 1_024  # if only the size of the whole column is known
_HEADER_SIZE = 1 << 12
# Field numbers and values in Parquet's metadata.
_ROW_GROUPS, _COLUMNS, _CHUNK = 4, 1, 3
_BYTE_ARRAY, _FIXED = 6, 7
_DELTA = 7
_DICTIONARY_PAGE = 2
_PLAIN = 0
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 5: "lz4_raw", 6: "zstd", 7: "lz4_raw"}


@dataclass(frozen=True, slots=True)
class _Column:
    """The footer's description of one column in one row group."""

    type: int
    encodings: tuple[int, ...]
    codec: int
    values: int
    size: int
    compressed: int
    position: int

    @classmethod
    def of(cls, record: Record) -> _Column:
        places = [
            position for position in (_number(record, 11), _number(record, 9)) if position > 0
        ]
        return cls(
            type=_number(record, 1),
            encodings=tuple(record.get(2, ())),
            codec=_number(record, 4),
            values=_number(record, 5),
            size=_number(record, 6),
            compressed=_number(record, 7),
            position=min(places, default=0),
        )


def _number(record: Record, field: int) -> int:
    value = record.get(field, 0)
    if not isinstance(value, int):
        raise ValueError(f"field {field} of a record is not a number")
    return value


class Limits:
    """Returns how many rows of a file to decode in one step."""

    def __init__(self, file: pa.NativeFile, metadata: pq.FileMetaData, footer: bytes) -> None:
        self._file = file
        self._metadata = metadata
        try:
            record, _ = read_record(footer)
            self._groups = [
                [_Column.of(chunk.get(_CHUNK, {})) for chunk in group.get(_COLUMNS, ())]
                for group in record.get(_ROW_GROUPS, ())
            ]
        except (ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"the footer is damaged: {error}") from error
        if len(self._groups) != metadata.num_row_groups:
            raise FormatError("the footer is damaged: its row groups cannot be read")

    def rows_at_once(self, group: int, max_rows: int) -> int:
        """Return how many rows of a row group to decode in one step; raises FormatError if none."""
        columns = self._groups[group]
        compressed, size = sum(c.compressed for c in columns), sum(c.size for c in columns)
        if size > _MAX_BYTES and size > _MAX_RATIO * compressed:
            raise FormatError(f"a row group of {compressed:,} bytes decompresses to {size:,}")
        rows = self._metadata.row_group(group).num_rows
        if max((column.values for column in columns), default=0) > max(_MAX_ITEMS, rows):
            raise FormatError(f"the lists of a row group hold more than {_MAX_ITEMS:,} values")
        step = max_rows
        for i, column in enumerate(columns):
            if column.type == _FIXED:
                step = min(step, _MAX_BATCH_BYTES // max(1, self._metadata.schema.column(i).length))
            elif column.type == _BYTE_ARRAY:
                step = min(step, self._rows_of_text(column, max_rows))
        return max(1, step)

    def _rows_of_text(self, column: _Column, max_rows: int) -> int:
        if column.size * max_rows <= _MAX_BATCH_BYTES:
            return max_rows
        rows = max_rows
        if _DELTA in column.encodings:  # each value may repeat the previous one
            rows = max(_MIN_ROWS, _MAX_BATCH_BYTES // column.size)
        return min(rows, _MAX_BATCH_BYTES // max(1, self._max_dictionary_value(column, max_rows)))

    def _max_dictionary_value(self, column: _Column, max_rows: int) -> int:
        """Return the size of the longest value in a dictionary, or of all if that is small."""
        self._file.seek(column.position)
        try:
            header, length = read_record(self._file.read(_HEADER_SIZE))
            kind, size, compressed = (_number(header, field) for field in (1, 2, 3))
        except ValueError as error:
            raise FormatError(f"the header of a page is damaged: {error}") from error
        if kind != _DICTIONARY_PAGE:
            return 0
        if size * max_rows <= _MAX_BATCH_BYTES:
            return size
        if size > _MAX_BATCH_BYTES:
            raise FormatError(
                f"a dictionary has {size:,} bytes; the maximum is {_MAX_BATCH_BYTES:,}"
            )
        self._file.seek(column.position + length)
        data = self._file.read(max(0, min(compressed, column.compressed)))
        if column.codec != _PLAIN:
            codec = pa.Codec(_CODECS.get(column.codec, str(column.codec)))
            data = codec.decompress(data, decompressed_size=size, asbytes=True)
        return _max_value_size(data)


def _max_value_size(values: bytes) -> int:
    """Return the size of the longest value; each value is preceded by its size."""
    longest = position = 0
    while position < len(values):
        size = int.from_bytes(values[position : position + 4], "little")
        longest = max(longest, size)
        position += 4 + size
    return longest


_MAGIC = b"PAR1"
_TAIL = 8  # the length of the footer, and the magic bytes
_ARROW = b"ARROW:schema"


def open_plain(source: pa.NativeFile) -> pq.ParquetFile:
    """Open a file so that its columns have the types of Parquet instead of Arrow's.

    pyarrow 26 aborts on columns of dictionaries without values, such as empty lists. It creates
    such columns only if the footer has a key that is hidden here.
    """
    footer, tail = _read_footer(source)
    # The footer has the keys after the column names.
    before, found, after = footer.rpartition(_ARROW)
    hidden = before + (found and b"HIDDEN:names") + after
    metadata = pq.read_metadata(pa.BufferReader(_MAGIC + hidden + tail))
    return pq.ParquetFile(source, metadata=metadata)


def _read_footer(source: pa.NativeFile) -> tuple[bytes, bytes]:
    """Return the footer, and the bytes after it."""
    source.seek(-_TAIL, os.SEEK_END)
    tail = source.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > source.size() - _TAIL:
        raise pa.ArrowInvalid("not a complete Parquet file")
    source.seek(-_TAIL - length, os.SEEK_END)
    return source.read(length), tail


def batches(
    file: pq.ParquetFile,
    rows: int,
    columns: list[str] | None = None,
    *,
    limits: Limits | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read a file in batches of at most `rows` rows; with limits, fewer if they need much memory.

    pyarrow 26 aborts when asked for a batch after the last one of a column of dictionaries, so each
    row group is left after its last row, and an empty one is skipped.
    """
    for group in range(file.metadata.num_row_groups):
        remaining = file.metadata.row_group(group).num_rows
        if remaining <= 0:
            continue
        step = rows if limits is None else limits.rows_at_once(group, rows)
        for batch in file.iter_batches(step, row_groups=[group], columns=columns):
            yield batch
            remaining -= batch.num_rows
            if remaining <= 0:
                break


# --- files of any origin ---------------------------------------------------------------------


class Reader:
    """Reads the batches of a file from an untrusted source.

    pyarrow 26 aborts if a column of dictionaries has fewer values than its footer declares. Such
    columns are read without their dictionaries, and the written types are restored here.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._source = source = pa.PythonFile(file, "r")
        self._file = pq.ParquetFile(source)
        self.leaves: int = self._file.metadata.num_columns
        self.metadata: dict[bytes, bytes] = self._file.metadata.metadata or {}
        self.schema: pa.Schema = self._file.schema_arrow
        self._plain = any(_has_dictionary(field.type) for field in self.schema)
        if self._plain:
            self._file = open_plain(source)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Read batches of at most `rows` rows, unchecked."""
        limits = Limits(self._source, self._file.metadata, _read_footer(self._source)[0])
        for batch in batches(self._file, rows, limits=limits):
            yield _restore_types(batch, self.schema) if self._plain else batch


def _has_dictionary(type_: pa.DataType) -> bool:
    type_ = arrow_arrays.storage_type_of(type_)
    if pa.types.is_map(type_):
        return _has_dictionary(type_.key_type) or _has_dictionary(type_.item_type)
    if pa.types.is_struct(type_):
        return any(_has_dictionary(type_.field(i).type) for i in range(type_.num_fields))
    if pa.types.is_nested(type_):
        return _has_dictionary(type_.value_type)
    return bool(pa.types.is_dictionary(type_))


def _restore_types(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if len(schema) != batch.num_columns:
        raise pa.ArrowInvalid("the footer does not match the columns of the file")
    columns = [_column(*pair) for pair in zip(batch.columns, schema, strict=True)]
    fields = [field for _, field in columns]
    return arrow_arrays.record_batch(
        [array for array, _ in columns], pa.schema(fields, schema.metadata), batch.num_rows
    )


def _column(array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Field]:
    """Restore the written type of a column, except for dictionaries."""
    type_ = field.type
    if isinstance(type_, EnumerationType):
        return array, field.with_type(array.type).with_metadata(
            {
                **(field.metadata or {}),
                "ARROW:extension:name": type_.NAME,
                "ARROW:extension:metadata": type_.__arrow_ext_serialize__(),
            }
        )
    if isinstance(type_, pa.BaseExtensionType):
        storage, _ = _column(array, field.with_type(type_.storage_type))
        return pa.ExtensionArray.from_storage(type_, storage), field
    if pa.types.is_dictionary(type_):
        return _column(array, field.with_type(type_.value_type))
    typed = _nested(array, type_)
    return typed, field.with_type(typed.type)


def _nested(array: pa.Array, type_: pa.DataType) -> pa.Array:
    mask = arrow_arrays.null_mask(array)
    if pa.types.is_struct(type_):
        parts = [_column(array.field(i), type_.field(i)) for i in range(type_.num_fields)]
        arrays, fields = [part for part, _ in parts], [field for _, field in parts]
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)
    if pa.types.is_map(type_):
        offsets, (keys, items) = arrow_arrays.list_parts(array)
        (keys, key), (items, item) = (
            _column(keys, type_.key_field),
            _column(items, type_.item_field),
        )
        return pa.MapArray.from_arrays(offsets, keys, items, type=pa.map_(key, item), mask=mask)
    if pa.types.is_nested(type_):
        offsets, (values,) = arrow_arrays.list_parts(array)
        values, item = _column(values, type_.value_field)
        return pa.ListArray.from_arrays(offsets, values, type=pa.list_(item), mask=mask)
    return array if array.type == type_ else array.cast(type_)
