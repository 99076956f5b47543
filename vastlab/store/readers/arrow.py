"""Arrow IPC: files, streams, and streams one after the other as VAST exports them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source

MAGIC = b"ARROW1"


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read an Arrow file or stream.

    Parameters
    ----------
    source
        The file.
    problems
        Not used: what is damaged raises, after the batches before it.
    schema
        The schema name; the metadata, or else the file's name, decides where there is none.

    Yields
    ------
    pyarrow.RecordBatch
        In vastlab's own form.

    Raises
    ------
    FormatError
        Where the data is damaged.
    """
    batches = _file(source) if source.peek(len(MAGIC)) == MAGIC else _streams(source)
    try:
        for batch in batches:
            name = schema or arrow_schema.name_of(batch.schema) or source.stem
            yield arrow_schema.normalise(batch, name)
    except (OSError, pa.ArrowException) as error:
        reason = source.damage or str(error).split("\n", 1)[0]
        raise FormatError(f"the Arrow data is damaged: {reason}", path=source.name) from error


def _file(source: Source) -> Iterator[pa.RecordBatch]:
    with source.seekable() as file:
        reader = pyarrow.ipc.open_file(pa.PythonFile(file, "r"))
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _streams(source: Source) -> Iterator[pa.RecordBatch]:
    file = pa.PythonFile(_Readable(source), "r")
    while source.peek(1):
        yield from pyarrow.ipc.open_stream(file)


class _Readable(io.RawIOBase):
    """A source as Arrow wants to see it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._source.read(size)
