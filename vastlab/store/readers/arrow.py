"""Arrow IPC: files, streams, and streams one after the other as VAST exports them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.ipc

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.check import check
from vastlab.arrow.ipc import read_streams
from vastlab.errors import FormatError
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source

MAGIC = b"ARROW1"


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read an Arrow file or stream; its metadata or its name tell the schema if need be.

    Damaged data raises after the batches before it.
    """
    is_file = source.peek(len(MAGIC)) == MAGIC
    # A source is no whole file object, but has the one method that is used.
    batches = _file(source) if is_file else read_streams(cast("BinaryIO", source))
    try:
        for batch in batches:
            name = schema or arrow_schema.name_of(batch.schema) or source.stem
            yield convert.normalise(batch, name)
    except FormatError as error:
        reason = source.damage or error.message
        raise FormatError(reason, path=source.name, hint=error.hint) from error
    if source.damage:
        raise FormatError(source.damage, path=source.name)


def _file(source: Source) -> Iterator[pa.RecordBatch]:
    with source.seekable() as file:
        try:
            reader = pyarrow.ipc.open_file(pa.PythonFile(file, "r"))
            for i in range(reader.num_record_batches):
                yield check(reader.get_batch(i))
        except (OSError, pa.ArrowException) as error:
            reason = str(error).split("\n", 1)[0]
            raise FormatError(f"damaged Arrow data: {reason}") from error
