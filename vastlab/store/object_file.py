"""Data files in an object store: parts of them are fetched, compared with checksums, and decoded.

Nothing is decoded that was not compared before, and no byte is fetched twice for one answer.
"""

from __future__ import annotations

import copy
import io
import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.arrow.types import record_batch
from vastlab.errors import CorruptFileError
from vastlab.store.bucket import Bucket
from vastlab.store.checksums import REPAIR, Span, VerifiedFile
from vastlab.store.layout import DataFile, Layout
from vastlab.store.sparse_chunk import Rows, is_flat, thinned

_WHOLE = 1 << 18  # bytes of a file that is rather fetched at once
_END = 1 << 16  # bytes that pyarrow reads to find the metadata
_AHEAD = 8 << 20  # bytes that are fetched before it is known that they are needed
_MAX_KNOWN = 256  # files whose ends are kept


class ObjectFile(VerifiedFile):
    """A data file in an object store.

    Parameters
    ----------
    file
        As the manifest describes it; it has checksums.
    bucket
        Where it is.
    verify
        Whether what is fetched is compared.
    """

    def __init__(self, file: DataFile, bucket: Bucket, *, verify: bool = True) -> None:
        self._file, self.tail = file, file.tail
        self._bucket, self._key = bucket, bucket.key(file.path)
        self._compares = verify
        self._filter_bytes: dict[Span, memoryview] = {}
        self._ahead: dict[Span, memoryview] = {}
        length = file.size if file.size <= _WHOLE else max(file.tail[0], min(_END, file.size))
        (end,) = bucket.ranges(self._key, [(file.size - length, length)])
        self._held = {file.size - length: end}
        self._take(bytes(end[len(end) - file.tail[0] :]))
        self.metadata = pq.read_metadata(self._source({}))

    def again(self) -> ObjectFile:
        """Return the same for another query, which holds nothing but the end of the file."""
        other = copy.copy(self)
        other._filter_bytes, other._ahead = {}, {}
        return other

    def fetch_ahead(self, groups: Iterable[int], names: Collection[str]) -> None:
        """Fetch columns of some row groups with one request, as far as they are small."""
        spans: list[Span] = []
        size = 0
        for group in groups:
            chunks = self.chunks(group, names)
            size += sum(span.length for span in chunks)
            if size > _AHEAD:
                break
            spans += (span for span in chunks if span not in self._ahead)
        self._ahead.update(zip(spans, self._fetch(spans), strict=True))

    def rows(
        self,
        group: int,
        names: Collection[str],
        wanted: Rows | None = None,
        *,
        layout: Layout,
    ) -> pa.RecordBatch:
        """Return columns of a row group as they are stored, in the order of the names.

        Where only some rows are wanted, others may be null.
        """
        spans = self.chunks(group, names)
        missing = [span for span in spans if span not in self._ahead]
        self._ahead.update(zip(missing, self._fetch(missing), strict=True))
        parts = {span.offset: self._ahead.pop(span) for span in spans}
        if wanted is not None:
            self._thin(parts, group, names, wanted)
        return _decoded(self._source(parts), self.metadata, group, names, layout)

    def _thin(
        self, parts: dict[int, memoryview], group: int, names: Collection[str], wanted: Rows
    ) -> None:
        described = self.metadata.row_group(group)
        for column, span in enumerate(self.groups[group].chunks):
            if self.columns[column] in names and is_flat(self.metadata.schema, column):
                codec = described.column(column).compression
                parts[span.offset] = thinned(parts[span.offset], wanted, codec)

    def verify_filters(self, columns: Collection[str] | None = None) -> None:
        """Fetch the Bloom filters of columns, and compare them; by default all columns."""
        wanted = [
            span for (_, name), span in self._filters.items() if columns is None or name in columns
        ]
        new = [span for span in wanted if span not in self._filter_bytes]
        self._filter_bytes.update(zip(new, self._fetch(new), strict=True))

    def _block(self, span: Span, start: int) -> bytes:
        return bytes(self._filter_bytes[span][start : start + 32])

    def _fetch(self, spans: list[Span]) -> list[memoryview]:
        """Fetch parts of the file, and compare them."""
        missing = [(span.offset, span.length) for span in spans if self._own(span) is None]
        fetched = iter(self._bucket.ranges(self._key, missing))
        parts = [own if (own := self._own(span)) is not None else next(fetched) for span in spans]
        if self._compares:
            for span, part in zip(spans, parts, strict=True):
                if len(part) != span.length or zlib.crc32(part) != span.checksum:
                    raise self._wrong(span)
        return parts

    def _own(self, span: Span) -> memoryview | None:
        """Return what is held of the file anyway."""
        for start, held in self._held.items():
            first = span.offset - start
            if first >= 0 and first + span.length <= len(held):
                return held[first : first + span.length]
        return None

    def _source(self, parts: Mapping[int, memoryview]) -> pa.NativeFile:
        return source(self._bucket, self._file, {**self._held, **parts})


class PlainFile:
    """A data file of vastlab 1.0, which only has Parquet's own checksums.

    Parameters
    ----------
    file
        As the manifest describes it.
    bucket
        Where it is.
    """

    def __init__(self, file: DataFile, bucket: Bucket) -> None:
        self._stream = source(bucket, file)
        self.metadata = pq.read_metadata(self._stream)

    def rows(
        self,
        group: int,
        names: Collection[str],
        wanted: Rows | None = None,
        *,
        layout: Layout,
    ) -> pa.RecordBatch:
        """Return columns of a row group as they are stored, in the order of the names."""
        return _decoded(self._stream, self.metadata, group, names, layout, compare=True)


class ObjectFiles:
    """The data files of one bucket, of which the ends of some are kept.

    Parameters
    ----------
    bucket
        Where they are.
    verify
        Whether what is fetched is compared with its checksums.
    """

    def __init__(self, bucket: Bucket, *, verify: bool = True) -> None:
        self.bucket = bucket
        self._verify = verify
        self._known: OrderedDict[str, tuple[str, ObjectFile]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, file: DataFile, identity: str) -> ObjectFile | PlainFile:
        """Return a file, whose `Entry.identity` is known."""
        if not any(file.tail):
            return PlainFile(file, self.bucket)
        with self._lock:
            known = self._known.get(file.path)
            if known is not None and known[0] == identity and known[1].tail == file.tail:
                self._known.move_to_end(file.path)
                return known[1].again()
        new = ObjectFile(file, self.bucket, verify=self._verify)
        with self._lock:
            self._known[file.path] = identity, new
            while len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return new.again()

    def identity(self, file: DataFile) -> str:
        """Compare the size of a file with the manifest, and return its `Entry.identity`."""
        found = self.bucket.stat(self.bucket.key(file.path))
        if found.size != file.size:
            raise CorruptFileError(
                f"a file of the database is damaged: {file.path} has {found.size} bytes instead of "
                f"{file.size}",
                hint=REPAIR,
            )
        return found.identity


def source(
    bucket: Bucket, file: DataFile, parts: Mapping[int, memoryview] | None = None
) -> pa.NativeFile:
    """Return a file for pyarrow, of which some parts are here already, by their positions."""
    return pa.PythonFile(_Parts(bucket, file, parts or {}), mode="r")


def _decoded(
    stream: pa.NativeFile,
    metadata: pq.FileMetaData,
    group: int,
    names: Collection[str],
    layout: Layout,
    *,
    compare: bool = False,
) -> pa.RecordBatch:
    # Without a buffer of its own, pyarrow reads each column as it was fetched.
    with pq.ParquetFile(
        stream, metadata=metadata, pre_buffer=False, page_checksum_verification=compare
    ) as parquet:
        # A name also selects the columns that begin with it and a dot.
        table = parquet.read_row_group(group, list(names), use_threads=False).select(list(names))
    schema = pa.schema([layout.stored_schema.field(name) for name in names])
    (batch,) = table.combine_chunks().to_batches() or [None]
    return record_batch(batch.columns, schema, table.num_rows)


class _Parts(io.RawIOBase):
    """A file of which some parts are here; others are fetched as they are asked for."""

    def __init__(self, bucket: Bucket, file: DataFile, parts: Mapping[int, memoryview]) -> None:
        self._bucket, self._key, self._size = bucket, bucket.key(file.path), file.size
        self._parts = dict(sorted(parts.items()))
        self._starts = list(self._parts)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Change the position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read bytes from the position on."""
        left = max(0, self._size - self._position)
        length = left if size < 0 else min(size, left)
        if not length:
            return b""
        found = self._part(self._position, length)
        self._position += length
        return bytes(found)

    def _part(self, position: int, length: int) -> memoryview:
        place = bisect_right(self._starts, position) - 1
        if place >= 0:
            start = self._starts[place]
            part = self._parts[start]
            if position + length <= start + len(part):
                return part[position - start : position - start + length]
        return self._bucket.ranges(self._key, [(position, length)])[0]
