"""Checksums of all bytes of a data file, compared before the bytes are used."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from vastlab.errors import CorruptFileError
from vastlab.store import statistics
from vastlab.store.layout import DataFile, Layout
from vastlab.store.place import Place

BLOCK = 32  # bytes of a block of a Bloom filter; a value sets one bit in each of its eight words
_SALTS = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
_MASK = (1 << 32) - 1


@lru_cache(maxsize=4096)
def probe(value: bytes) -> tuple[int, int]:
    """Return the hash of a value for `block_at`, and the bits that it sets in that block."""
    hash_ = xxhash.xxh64_intdigest(value)
    bits = 0
    for word, salt in enumerate(_SALTS):
        bits |= 1 << (BLOCK * word + (((hash_ * salt) & _MASK) >> 27))
    return hash_, bits


def block_at(hash_: int, size: int) -> int:
    """Return the offset of the block of a hash in a filter of `size` bytes."""
    return (((hash_ >> 32) * (size // BLOCK)) >> 32) * BLOCK


REPAIR = "run `vastlab check` to check all files; add --repair to keep all intact events"
_MAGIC = b"VLCS"
_END = 8  # a length and magic bytes
_CHUNK = 1 << 18
_MAX_CACHED = 1024  # files
_TIMESTAMP_STEP = 2_000_000_000  # nanoseconds; within this time a changed file may keep its times

Stamp = tuple[int, int, int, int, int]


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A range of bytes, and its CRC-32."""

    offset: int
    length: int
    checksum: int


class Group(msgspec.Struct, frozen=True):
    """A row group, with the bounds of the sorted column."""

    rows: int
    first: int | None
    last: int | None
    nulls: int
    chunks: tuple[Span, ...]


class _Document(msgspec.Struct, frozen=True):
    """The checksums of a file, which are stored in it as JSON."""

    order: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    filters: tuple[tuple[int, str, int, int, int], ...]  # group, column, and the span
    others: tuple[Span, ...]
    replaces: tuple[str, ...]


# --- writing --------------------------------------------------------------------------------


def append(
    file: BinaryIO, schema: pa.Schema, order: str, replaces: Iterable[str] = ()
) -> tuple[int, str]:
    """Write the checksums into a complete Parquet file; return the size and digest of its tail."""
    size = file.seek(0, os.SEEK_END)
    metadata = pq.read_metadata(file)
    footer_start = size - _END - metadata.serialized_size
    file.seek(footer_start)
    footer = file.read()
    columns = [f.name for f in schema for _ in statistics.paths(f.name, f.type)]
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [list(_chunks(group)) for group in groups]
    filters = list(_filters(groups, columns))
    ranges = sorted([*(span for spans in chunks for span in spans), *(f[2:] for f in filters)])
    tail_start = max(offset + length for offset, length in ranges)
    document = _Document(
        order=order,
        columns=tuple(columns),
        groups=tuple(
            _group(group, columns.index(order), _spans(file, spans))
            for group, spans in zip(groups, chunks, strict=True)
        ),
        filters=tuple((*filter_, _crc(file, *filter_[2:])) for filter_ in filters),
        others=_spans(file, _gaps(ranges)),
        replaces=tuple(replaces),
    )
    text = msgspec.json.encode(document)
    file.seek(tail_start)
    index = file.read(footer_start - tail_start)
    tail = index + text + len(text).to_bytes(4, "little") + _MAGIC + footer
    file.seek(tail_start)
    file.write(tail)
    return len(tail), hashlib.sha256(tail).hexdigest()


def _chunks(group: Any) -> Iterator[tuple[int, int]]:
    for i in range(group.num_columns):
        chunk = group.column(i)
        pages = (chunk.dictionary_page_offset, chunk.data_page_offset)
        yield min(offset for offset in pages if offset is not None), chunk.total_compressed_size


def _filters(groups: list[Any], columns: list[str]) -> Iterator[tuple[int, str, int, int]]:
    for i, group in enumerate(groups):
        for k, name in enumerate(columns):
            chunk = group.column(k)
            if chunk.bloom_filter_offset is not None:
                yield i, name, chunk.bloom_filter_offset, chunk.bloom_filter_length


def _spans(file: BinaryIO, ranges: Iterable[tuple[int, int]]) -> tuple[Span, ...]:
    return tuple(Span(*span, _crc(file, *span)) for span in ranges)


def _group(group: Any, order: int, chunks: tuple[Span, ...]) -> Group:
    known = group.column(order).statistics
    first, last = (known.min_raw, known.max_raw) if known.has_min_max else (None, None)
    return Group(group.num_rows, first, last, known.null_count, chunks)


def _gaps(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    end = 0
    for offset, length in ranges:
        if offset > end:
            yield end, offset - end
        end = offset + length


# --- reading --------------------------------------------------------------------------------


class VerifiedFile:
    """A data file with checksums; raises `CorruptFileError` if its tail is damaged."""

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self.tail = file.tail
        self._done: set[Span] = set()
        with self._open() as stream:
            self.stamp = stamp_of(os.fstat(stream.fileno()))
            self._take(self._tail(stream))
            self._compare(stream, self.others)

    def _take(self, tail: bytes) -> None:
        """Take over the checksums in the last bytes, which are compared first."""
        if hashlib.sha256(tail).hexdigest() != self.tail[1]:
            raise self._damaged("its metadata")
        document = _decode(_document(tail))
        self.order, self.columns, self.groups = document.order, document.columns, document.groups
        self.replaces, self.others = frozenset(document.replaces), document.others
        self._filters = {(group, name): Span(*span) for group, name, *span in document.filters}

    def chunks(self, group: int, columns: Collection[str]) -> list[Span]:
        """Return where the columns of a row group are."""
        spans = zip(self.columns, self.groups[group].chunks, strict=True)
        return [span for name, span in spans if name in columns]

    def verify(self, groups: Iterable[int], columns: Collection[str] | None = None) -> None:
        """Compare the column chunks of row groups with their checksums; by default all columns."""
        self._verify(
            span
            for group in groups
            for name, span in zip(self.columns, self.groups[group].chunks, strict=True)
            if columns is None or name in columns
        )

    def verify_filters(self, columns: Collection[str] | None = None) -> None:
        """Compare the Bloom filters of columns with their checksums; by default all columns."""
        self._verify(
            span for (_, name), span in self._filters.items() if columns is None or name in columns
        )

    def verify_all(self) -> None:
        """Compare every byte with its checksum."""
        self.verify(range(len(self.groups)))
        self.verify_filters()

    def has_filter(self, group: int, column: str) -> bool:
        """Return whether a column of a row group has a Bloom filter."""
        return (group, column) in self._filters

    def may_contain(self, group: int, column: str, value: bytes) -> bool:
        """Return whether a value may occur, by its Bloom filter; call `verify_filters` before."""
        span = self._filters[group, column]
        hash_, bits = probe(value)
        size = 1 << (span.length.bit_length() - 1)  # a power of two, after a short header
        block = self._block(span, span.length - size + block_at(hash_, size))
        return int.from_bytes(block, "little") & bits == bits

    def _block(self, span: Span, start: int) -> bytes:
        """Return a block of a Bloom filter."""
        with self._open() as stream:
            stream.seek(span.offset + start)
            return stream.read(BLOCK)

    def _open(self) -> BinaryIO:
        try:
            return open(self._file.path, "rb", buffering=0)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(error) from error

    def _tail(self, stream: BinaryIO) -> bytes:
        """Return the last bytes, with the checksums."""
        length, _ = self.tail
        try:
            stream.seek(self._file.size - length)
            return stream.read(length)
        except OSError as error:
            raise self._unreadable(error) from error

    def _verify(self, spans: Iterable[Span]) -> None:
        if new := [span for span in spans if span not in self._done]:
            with self._open() as stream:
                self._compare(stream, new)
            self._done.update(new)

    def _compare(self, stream: BinaryIO, spans: Iterable[Span]) -> None:
        for span in spans:
            try:
                found = _crc(stream, span.offset, span.length)
            except OSError as error:
                raise self._unreadable(error) from error
            if found != span.checksum:
                raise self._wrong(span)

    def _wrong(self, span: Span) -> CorruptFileError:
        return self._damaged(f"{span.length} bytes at position {span.offset}")

    def _damaged(self, what: str) -> CorruptFileError:
        msg = f"a file of the database is damaged: {self._file.path}: wrong checksum of {what}"
        return CorruptFileError(msg, hint=REPAIR)

    def _unreadable(self, error: OSError) -> CorruptFileError:
        msg = f"cannot read {self._file.path}: {error.strerror}"
        return CorruptFileError(msg, hint="check the disk and the permissions")


def tail_of(path: Path) -> tuple[int, str]:
    """Find the tail of a file without the manifest; ``(0, "")`` if it has no checksums."""
    data = path.read_bytes()
    text = _document(data)
    if not text:
        return 0, ""
    document = _decode(text)
    ends = [span.offset + span.length for group in document.groups for span in group.chunks]
    ends += [offset + length for _, _, offset, length, _ in document.filters]
    tail = data[max(ends) :]
    return len(tail), hashlib.sha256(tail).hexdigest()


def replaced_by(path: Path) -> frozenset[str]:
    """Return the names of the files that a file replaces, without comparing it."""
    text = _document(path.read_bytes())
    return frozenset(_decode(text).replaces) if text else frozenset()


def _document(tail: bytes) -> bytes:
    """Return the JSON with the checksums, from the last bytes of a file."""
    end = len(tail) - _END - int.from_bytes(tail[-_END:-4], "little") - _END
    if end < 0 or tail[end + 4 : end + _END] != _MAGIC:
        return b""
    size = int.from_bytes(tail[end : end + 4], "little")
    return tail[max(0, end - size) : end]


def _decode(text: bytes) -> _Document:
    try:
        return msgspec.json.decode(text, type=_Document)
    except msgspec.DecodeError as error:
        raise ValueError(f"its checksums cannot be read: {error}") from error


_known: OrderedDict[str, VerifiedFile] = OrderedDict()
_lock = threading.Lock()


def verified(file: DataFile) -> VerifiedFile:
    """Open a file, or return it from the cache, with the parts that were already compared."""
    stamp = stamp_of(os.stat(file.path))
    with _lock:
        known = _known.get(file.path)
        if known is not None and known.stamp == stamp and known.tail == file.tail:
            _known.move_to_end(file.path)
            return known
    new = VerifiedFile(file)
    if time.time_ns() - max(new.stamp[-2:]) < _TIMESTAMP_STEP:
        return new
    with _lock:
        _known[file.path] = new
        while len(_known) > _MAX_CACHED:
            _known.popitem(last=False)
    return new


def forget() -> None:
    """Clear the cache, so that everything is compared again."""
    with _lock:
        _known.clear()


def stamp_of(found: os.stat_result) -> Stamp:
    """Return values that differ after a file was changed or replaced."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _crc(stream: BinaryIO, offset: int, length: int) -> int:
    stream.seek(offset)
    buffer = memoryview(bytearray(min(length, _CHUNK)))
    checksum = 0
    while length:
        size = stream.readinto(buffer[: min(length, _CHUNK)])  # type: ignore[attr-defined]  # it is an open file
        if not size:
            break
        checksum = zlib.crc32(buffer[:size], checksum)
        length -= size
    return checksum


# A damaged file can make pyarrow raise any of these.
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError)


@contextlib.contextmanager
def at_hand(file: DataFile, place: Place) -> Iterator[DataFile]:
    """Return a data file as one of this machine; errors name it as the manifest does."""
    with place.at_hand(place.key(file.path)) as path:
        try:
            yield replace(file, path=str(path))
        except CorruptFileError as error:
            error.message = error.message.replace(str(path), file.path)
            raise


def read(file: DataFile, layout: Layout) -> Iterator[pa.RecordBatch]:
    """Compare a file with its checksums, then read it by row groups."""
    verify_all(file)
    with _damage(file), open_parquet(file) as parquet:
        for group in range(parquet.num_row_groups):
            yield from rows_of(parquet, group, layout)


def read_part(file: DataFile, layout: Layout, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Read the row groups that begin between two rows; only these are compared."""
    with _damage(file), open_parquet(file) as parquet:
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        firsts = itertools.accumulate(sizes[:-1], initial=0)
        groups = [group for group, first in enumerate(firsts) if start <= first < stop]
        if any(file.tail):
            verified(file).verify(groups)
        if groups:
            yield from rows_of(parquet, groups, layout)


@contextlib.contextmanager
def _damage(file: DataFile) -> Iterator[None]:
    """Name the file that cannot be read."""
    try:
        yield
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptFileError(f"cannot read {file.path}: {reason}", hint=REPAIR) from error


def verify_all(file: DataFile) -> None:
    """Compare all bytes of a file with their checksums, if it has any."""
    try:
        size = Path(file.path).stat().st_size
        if size != file.size:
            msg = f"a file of the database is damaged: {file.path} has {size} bytes instead of "
            raise CorruptFileError(f"{msg}{file.size}", hint=REPAIR)
        if any(file.tail):
            VerifiedFile(file).verify_all()
    except OSError as error:
        raise CorruptFileError(f"cannot read {file.path}: {error.strerror}", hint=REPAIR) from error


def open_parquet(file: DataFile) -> pq.ParquetFile:
    """Open a file; Parquet's own checksums are compared if it has no others."""
    return pq.ParquetFile(file.path, page_checksum_verification=not any(file.tail))


def rows_of(
    parquet: pq.ParquetFile, groups: int | Iterable[int], layout: Layout
) -> Iterator[pa.RecordBatch]:
    """Read row groups in the form that `vastlab.readers.columns.store` returned."""
    wanted = [groups] if isinstance(groups, int) else list(groups)
    for batch in parquet.read_row_groups(wanted).to_batches():
        yield pa.RecordBatch.from_arrays(batch.columns, schema=layout.stored_schema)
