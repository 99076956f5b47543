"""Arrow streams from other programs: read message by message, and checked before use."""

from __future__ import annotations

import os
import struct
import sys
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.convert import LossCollector, dictionary_owners, list_owners
from vastlab.errors import FormatError

CONTINUATION = b"\xff\xff\xff\xff"
MAX_METADATA = 1 << 28  # bytes
MAX_BODY = 1 << 30  # bytes; larger messages are limited by MAX_RATIO
MAX_RATIO = 100
_DICTIONARY, _BATCH = 2, 3


class Bytes(Protocol):
    """A source of messages."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        ...

    def peek(self, size: int, /) -> bytes:
        """Return the next bytes without consuming them."""
        ...


class Messages:
    """One stream of messages as a file for pyarrow, which does not limit sizes when decompressing.

    At the end, `source` is positioned after the stream.
    """

    closed = False

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._ready: deque[bytes] = deque()
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        parts: list[bytes] = []
        while size > 0 and (self._ready or self._next()):
            part = self._ready.popleft()
            if len(part) > size:
                self._ready.appendleft(part[size:])
                part = part[:size]
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self) -> bool:
        """Read a message; a stream ends with an empty one, or where no other begins."""
        if self._ended or self._source.peek(len(CONTINUATION)) != CONTINUATION:
            return False
        start, length = self._source.read(4), self._source.read(4)
        size = int.from_bytes(length, "little", signed=True)
        if size > MAX_METADATA:
            raise pa.ArrowInvalid(f"the metadata of a message has {size:,} bytes")
        metadata = self._source.read(size) if size > 0 else b""
        self._ended = len(metadata) < max(1, size)
        body = b"" if self._ended else self._body(metadata)
        self._ready += (part for part in (start, length, metadata, body) if part)
        return True

    def _body(self, metadata: bytes) -> bytes:
        try:
            message = _Table.root(metadata)
            body = self._source.read(max(0, message.number("<q", 3)))
            size = _decompressed_size(message, body)
        except struct.error as error:
            raise pa.ArrowInvalid("the metadata of a message is damaged") from error
        if size > MAX_BODY and size > MAX_RATIO * len(body):
            raise pa.ArrowInvalid(
                f"a message of {len(body):,} bytes decompresses to {size:,}:"
                f" above {MAX_BODY >> 30} GiB, at most {MAX_RATIO} times the size is read"
            )
        return body


class _Table:
    """A FlatBuffers table; `struct.error` if it reaches outside of the data."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._fields = position - self._at("<i", position)
        self._size = self._at("<H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """Return the outermost table."""
        (position,) = struct.unpack_from("<I", data)
        return cls(data, position)

    def number(self, format_: str, index: int) -> int:
        """Return a number, 0 by default."""
        place = self._place(index)
        return self._at(format_, place) if place else 0

    def table(self, index: int) -> _Table | None:
        """Return a table inside."""
        place = self._place(index)
        return _Table(self._data, place + self._at("<I", place)) if place else None

    def pairs(self, index: int) -> list[tuple[int, int]]:
        """Return a vector of structs of two numbers."""
        place = self._place(index)
        if not place:
            return []
        start = place + self._at("<I", place)
        end = start + 4 + 16 * self._at("<I", start)
        if not 0 <= start < end <= len(self._data):
            raise struct.error
        return list(struct.iter_unpack("<qq", self._data[start + 4 : end]))

    def _place(self, index: int) -> int:
        entry = 4 + 2 * index
        offset = self._at("<H", self._fields + entry) if entry < self._size else 0
        return self._position + offset if offset else 0

    def _at(self, format_: str, position: int) -> int:
        if position < 0:
            raise struct.error
        return int(struct.unpack_from(format_, self._data, position)[0])


def _decompressed_size(message: _Table, body: bytes) -> int:
    """Add up the sizes that compressed buffers declare; 0 if none is compressed."""
    kind, header = message.number("<B", 1), message.table(2)
    if kind == _DICTIONARY and header is not None:
        header = header.table(1)
    if kind not in (_DICTIONARY, _BATCH) or header is None or header.table(3) is None:
        return 0
    sizes = (
        int.from_bytes(body[offset : offset + 8], "little", signed=True)
        for offset, length in header.pairs(2)
        if length >= 8 and offset >= 0
    )
    return sum(size for size in sizes if size > 0)


_SECONDS_PER_DAY = 86_400
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def check(batch: pa.RecordBatch, losses: LossCollector | None = None) -> pa.RecordBatch:
    r"""Validate a batch from a file or a pipe: invalid ones would crash pyarrow later.

    Returns the same batch, unless a string is not UTF-8: its invalid bytes are escaped as ``\xff``.
    With `losses`, values that their type forbids become null instead of an error.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowException:
        return _repair(batch, losses)
    return batch


def _repair(batch: pa.RecordBatch, losses: LossCollector | None) -> pa.RecordBatch:
    repair = _Repair(values=losses is not None)
    found = LossCollector() if losses is None else losses
    try:
        batch.validate()  # after this, access to the arrays inside is safe
        arrays = [
            repair.array(array, found.child(field.name))
            for array, field in zip(batch.columns, batch.schema, strict=True)
        ]
        fields = _with_types(list(batch.schema), arrays)
        schema = pa.schema(fields, batch.schema.metadata)
        repaired = arrow_arrays.record_batch(arrays, schema, batch.num_rows)
        repaired.validate(full=True)
    except pa.ArrowException as error:
        raise FormatError(f"the events are damaged: {error}") from error
    return repaired


def _with_types(fields: list[pa.Field], arrays: list[pa.Array]) -> list[pa.Field]:
    return [field.with_type(array.type) for field, array in zip(fields, arrays, strict=True)]


class _Repair:
    """Replaces invalid values; `values` includes types other than strings."""

    def __init__(self, *, values: bool) -> None:
        self._values = values

    def array(self, array: pa.Array, losses: LossCollector) -> pa.Array:
        """Return an array with all strings in UTF-8, and with valid values if requested."""
        match array:
            case pa.ExtensionArray():
                return pa.ExtensionArray.from_storage(array.type, self.array(array.storage, losses))
            case pa.StringArray() | pa.LargeStringArray() | pa.StringViewArray():
                return _repair_utf8(array, losses)
            case pa.DictionaryArray():
                inner = losses.child(owners=dictionary_owners(array.indices))
                dictionary = self.array(array.dictionary, inner)
                return pa.DictionaryArray.from_arrays(array.indices, dictionary, safe=False)
            case pa.StructArray() if array.type.num_fields:
                return self._struct(array, losses)
            case pa.MapArray():
                return self._map(array, losses)
            case pa.ListArray() | pa.LargeListArray() | pa.FixedSizeListArray():
                return self._list(array, losses)
            case _ if self._values:
                return _repair_values(array, losses)
            case _:
                return array

    def _struct(self, array: pa.StructArray, losses: LossCollector) -> pa.Array:
        fields = list(array.type)
        children = [
            self.array(array.field(i), losses.child(field.name)) for i, field in enumerate(fields)
        ]
        mask = arrow_arrays.null_mask(array)
        return pa.StructArray.from_arrays(children, fields=_with_types(fields, children), mask=mask)

    def _map(self, array: pa.MapArray, losses: LossCollector) -> pa.Array:
        offsets, (keys, items) = arrow_arrays.list_parts(array)
        owners = list_owners(offsets, array)
        keys = self.array(keys, losses.child("key", owners))
        items = self.array(items, losses.child("value", owners))
        mask = arrow_arrays.null_mask(array)
        return pa.MapArray.from_arrays(offsets, keys, items, type=array.type, mask=mask)

    def _list(self, array: pa.Array, losses: LossCollector) -> pa.Array:
        offsets, (values,) = arrow_arrays.list_parts(array)
        values = self.array(values, losses.child(owners=list_owners(offsets, array)))
        type_ = pa.list_(array.type.value_field.with_type(values.type))
        mask = arrow_arrays.null_mask(array)
        return pa.ListArray.from_arrays(offsets, values, type=type_, mask=mask)


def _repair_utf8(array: pa.Array, losses: LossCollector) -> pa.Array:
    plain = array.view(_BYTES[array.type])
    plain.validate(full=True)
    values: list[bytes | None] = plain.to_pylist()
    texts = [None if v is None else v.decode("utf-8", "backslashreplace") for v in values]
    changed = [t is not None and t.encode() != v for t, v in zip(texts, values, strict=True)]
    losses.add(r"strings that are not UTF-8 became escaped, such as \xff", pa.array(changed))
    return pa.array(texts, array.type)


_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def _repair_values(array: pa.Array, losses: LossCollector) -> pa.Array:
    """Replace values that their type does not allow."""
    type_ = array.type
    if pa.types.is_date64(type_):  # may contain times other than midnight
        return array.view(pa.timestamp("ms"))
    if pa.types.is_time(type_):
        width = pa.int32() if pa.types.is_time32(type_) else pa.int64()
        counts, end = array.view(width), _SECONDS_PER_DAY * _PER_SECOND[type_.unit]
        invalid = pc.or_(pc.less(counts, 0), pc.greater_equal(counts, end)).fill_null(False)
        losses.add("times outside of a day became null", invalid)
        return pc.if_else(invalid, pa.scalar(None, width), counts).view(type_)
    if pa.types.is_decimal(type_):
        return _repair_decimals(array, losses)
    return array


def _repair_decimals(array: pa.Array, losses: LossCollector) -> pa.Array:
    """Compare the numbers as integers: Python rejects those with too many digits."""
    type_ = array.type
    width, limit = type_.byte_width, 10**type_.precision
    data = array.buffers()[1].to_pybytes()[array.offset * width :]
    numbers = [
        int.from_bytes(data[i * width : (i + 1) * width], sys.byteorder, signed=True)
        for i in range(len(array))
    ]
    invalid = pc.and_(array.is_valid(), pa.array([abs(n) >= limit for n in numbers], pa.bool_()))
    losses.add("numbers with more digits than their type allows became null", invalid)
    return pc.if_else(invalid, pa.scalar(None, type_), array)


_FILE_MAGIC = b"ARROW1"
_FILE_HEAD = 8  # the magic bytes, padded
_MAX_READ = 1 << 24


def read_streams(
    source: str | os.PathLike[str] | BinaryIO, *, checked: bool = True
) -> Iterator[pa.RecordBatch]:
    """Read record batches from an Arrow IPC file or from concatenated IPC streams.

    The end mark of the last stream is optional, since VAST does not write it: a source that was cut
    between two messages is not an error. If not `checked`, the caller must check the batches.
    """
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield from _read(_Source(file), os.fspath(source), checked)
    else:
        yield from _read(_Source(source), None, checked)


class _Source:
    """A binary file that can look ahead, reads in full, and knows its position."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ahead = b""
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        data = self._take(size)
        self.position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """Return the next bytes and keep them; fewer only at the end."""
        if len(self._ahead) < size:
            self._ahead = self._take(size)
        return self._ahead[:size]

    def ends_with(self, end: bytes) -> bool:
        """Read the rest, and tell whether it has this end."""
        last = b""
        while part := self.read(_MAX_READ):
            last = (last + part)[-len(end) :]
        return last == end

    def _take(self, size: int) -> bytes:
        parts, missing = [self._ahead[:size]], size - len(self._ahead)
        self._ahead = self._ahead[size:]
        # A damaged length may be huge: do not allocate it at once.
        while missing > 0 and (part := self._file.read(min(missing, _MAX_READ))):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _read(source: _Source, path: str | None, checked: bool) -> Iterator[pa.RecordBatch]:
    if source.peek(len(_FILE_MAGIC)) == _FILE_MAGIC:
        # A file is a stream between its magic bytes and an index, which is not needed.
        source.read(_FILE_HEAD)
        yield from _batches(source, path, checked)
        if not source.ends_with(_FILE_MAGIC):
            raise _damaged(source.position, path, "the end of the file is missing")
        return
    while start := source.peek(len(CONTINUATION)):
        if start != CONTINUATION:
            raise _damaged(source.position, path, "no Arrow stream begins there")
        yield from _batches(source, path, checked)


def _batches(source: _Source, path: str | None, checked: bool) -> Iterator[pa.RecordBatch]:
    reader: Iterator[pa.RecordBatch] | None = None
    while True:
        position = source.position
        try:
            if reader is None:
                reader = _stream_reader(source)
                continue
            batch = next(reader)
            batch = check(batch) if checked else batch
        except StopIteration:
            return
        except (pa.ArrowException, OSError, UnicodeDecodeError, FormatError) as error:
            raise _damaged(position, path, str(error)) from error
        yield batch


def _stream_reader(source: _Source) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_stream(Messages(source))
    arrow_schema.from_arrow(reader.schema)  # fails if a name is not UTF-8
    return iter(reader)


def _damaged(position: int, path: str | None, reason: str) -> FormatError:
    return FormatError(
        f"damaged Arrow data in the message at byte {position}: {reason}",
        path=path,
        hint="the file may be cut off or still being written",
    )
