"""Arrow IPC: files, streams, and streams one after the other, as VAST writes them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.check import check
from vastlab.errors import FormatError

__all__ = ["read_streams", "write_streams"]

_FILE_MAGIC = b"ARROW1"
_CONTINUATION = b"\xff\xff\xff\xff"
_LARGEST_READ = 1 << 24


def read_streams(source: str | os.PathLike[str] | BinaryIO) -> Iterator[pa.RecordBatch]:
    """Read record batches from an Arrow IPC file or from concatenated IPC streams.

    Parameters
    ----------
    source
        A path, or anything with ``read(n)``: a pipe will do.

    Yields
    ------
    pyarrow.RecordBatch
        As they stand there, checked; the schema may change from batch to batch. Nothing for
        an empty source.

    Raises
    ------
    FormatError
        Where the bytes are no whole Arrow data; the message names the position. The last
        stream may lack its end mark, which VAST never writes: only then is a source that was
        cut between two messages no error.

    Examples
    --------
    >>> batch = pa.RecordBatch.from_pydict({"port": [80, 443]})
    >>> sink = io.BytesIO()
    >>> write_streams(sink, [batch, batch.rename_columns(["p"])])
    2
    >>> sink.seek(0)
    0
    >>> [part.schema.names for part in read_streams(sink)]
    [['port'], ['p']]
    """
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield from _read(_Source(file), os.fspath(source))
    else:
        yield from _read(_Source(source), None)


def write_streams(sink: BinaryIO, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as IPC streams, one for each run of equal schemas.

    Parameters
    ----------
    sink
        Anything with ``write``.
    batches
        Events of any schemas, in any order.

    Returns
    -------
    int
        The number of streams.
    """
    streams = 0
    writer: pa.RecordBatchStreamWriter | None = None
    schema: pa.Schema | None = None
    for batch in batches:
        if writer is None or not batch.schema.equals(schema, check_metadata=True):
            if writer is not None:
                writer.close()
            schema = batch.schema
            writer = pa.ipc.new_stream(sink, schema)
            streams += 1
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
    return streams


class _Source:
    """A binary file that can look ahead, reads in full, and knows its position."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ahead = b""
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end; without a size, all."""
        if size < 0:
            size = sys.maxsize
        data = self._take(size)
        self.position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """Return the next bytes and keep them; fewer only at the end."""
        if len(self._ahead) < size:
            self._ahead = self._take(size)
        return self._ahead[:size]

    def _take(self, size: int) -> bytes:
        parts, missing = [self._ahead[:size]], size - len(self._ahead)
        self._ahead = self._ahead[size:]
        # A damaged length may ask for any amount: never reserve it at once.
        while missing > 0 and (part := self._file.read(min(missing, _LARGEST_READ))):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _read(source: _Source, path: str | None) -> Iterator[pa.RecordBatch]:
    if source.peek(len(_FILE_MAGIC)) == _FILE_MAGIC:
        yield from _batches(source, path, _file_reader)
        return
    while start := source.peek(len(_CONTINUATION)):
        if start != _CONTINUATION:
            raise _damaged(source.position, path, "no Arrow stream begins there")
        yield from _batches(source, path, _stream_reader)


def _batches(
    source: _Source,
    path: str | None,
    open_reader: Callable[[_Source], Iterator[pa.RecordBatch]],
) -> Iterator[pa.RecordBatch]:
    reader: Iterator[pa.RecordBatch] | None = None
    while True:
        position = source.position
        try:
            if reader is None:
                reader = open_reader(source)
                continue
            batch = check(next(reader))
        except StopIteration:
            return
        except (pa.ArrowException, OSError, UnicodeDecodeError, FormatError) as error:
            raise _damaged(position, path, str(error)) from error
        yield batch


def _stream_reader(source: _Source) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_stream(source)
    arrow_schema.from_arrow(reader.schema)  # reads all names: they may be no UTF-8
    return iter(reader)


def _file_reader(source: _Source) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(io.BytesIO(source.read()))
    arrow_schema.from_arrow(reader.schema)
    return (reader.get_batch(i) for i in range(reader.num_record_batches))


def _damaged(position: int, path: str | None, reason: str) -> FormatError:
    return FormatError(
        f"damaged Arrow data in the message at byte {position}: {reason}",
        path=path,
        hint="the file may be cut off or still being written",
    )
