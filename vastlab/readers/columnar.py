"""Readers of Arrow streams, Feather files and Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, cast

import pyarrow as pa

from vastlab._text import first_line
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.ipc import check, read_streams
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.errors import FormatError
from vastlab.readers import columns, parquet, portable
from vastlab.readers.batch_check import MAX_FIELDS
from vastlab.readers.inference import Context
from vastlab.readers.source import Source

MAGIC = b"ARROW1"


def read_arrow(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read an Arrow file or stream, without checking the batches yet."""
    try:
        # `_Bounded` has the only method that is used.
        for batch in read_streams(cast("BinaryIO", _Bounded(source)), checked=False):
            yield arrow_schema.named(batch, context.schema, source.stem)
    except FormatError as error:
        reason = source.damage or error.message
        raise FormatError(reason, path=source.name, hint=error.hint) from error
    if source.damage:
        raise FormatError(source.damage, path=source.name)


class _Bounded:
    """The bytes of a source, with a limit on the compression ratio."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._count = 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end."""
        data = self._source.read(size)
        self._count += len(data)
        self._source.check_ratio(self._count)
        return data


_ROWS = 65_536


def read_parquet(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read a Parquet file, without checking the batches yet."""
    with source.seekable() as file:
        try:
            reader = parquet.Reader(file)
            if reader.leaves > MAX_FIELDS:
                raise FormatError(f"the events have more than {MAX_FIELDS:,} fields")
            restore = _restorer(reader)
            for batch in reader.batches(_ROWS):
                events = batch if restore is None else restore(check(batch))
                yield arrow_schema.named(events, context.schema, source.stem)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            reason = source.damage or first_line(error)
            raise FormatError(f"damaged Parquet data: {reason}", path=source.name) from error


def _restorer(reader: parquet.Reader) -> Callable[[pa.RecordBatch], pa.RecordBatch] | None:
    """Return what makes events of rows that vastlab wrote and no other program changed."""
    note = reader.metadata.get(columns.SCHEMA_KEY.encode())
    try:
        schema = None if note is None else columns.decode_schema(note.decode())
    except (ValueError, OSError, pa.ArrowException, FormatError):
        return None
    if schema is None:
        return None
    found = {field.name: field.type for field in reader.schema}
    found.pop(IMPORT_TIME, None)
    for target, restore in (
        (columns.exported_schema(schema), columns.restore),
        (portable.portable_schema(schema), portable.restore),
    ):
        if found == {field.name: field.type for field in target}:
            return partial(restore, schema=schema)
    return None
