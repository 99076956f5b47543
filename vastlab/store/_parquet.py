"""Parquet files batch by batch, past the point where pyarrow ends the process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

_MAGIC = b"PAR1"
_TAIL = 8  # the length of the footer, and the magic bytes
_ARROW = b"ARROW:schema"


def open_plain(source: pa.NativeFile) -> pq.ParquetFile:
    """Open a file so that its columns have the types of Parquet and none of Arrow's.

    pyarrow 26 aborts on columns of dictionaries that hold no value, such as empty lists. It
    makes such columns only where the footer says so, under a key that is hidden here.
    """
    source.seek(-_TAIL, os.SEEK_END)
    tail = source.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > source.size() - _TAIL:
        raise pa.ArrowInvalid("no whole Parquet file")
    source.seek(-_TAIL - length, os.SEEK_END)
    footer = source.read(length)
    # The keys of the footer stand after the names of the columns.
    before, found, after = footer.rpartition(_ARROW)
    hidden = before + (found and b"HIDDEN:names") + after
    metadata = pq.read_metadata(pa.BufferReader(_MAGIC + hidden + tail))
    return pq.ParquetFile(source, metadata=metadata)


def batches(
    file: pq.ParquetFile, rows: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a file in batches of at most so many rows.

    pyarrow 26 aborts when it is asked for a batch after the last one of a column of
    dictionaries, so each row group is left when its rows are through, and an empty one is not
    begun.
    """
    for group in range(file.metadata.num_row_groups):
        left = file.metadata.row_group(group).num_rows
        if left <= 0:
            continue
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
            yield batch
            left -= batch.num_rows
            if left <= 0:
                break
