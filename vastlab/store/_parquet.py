"""Parquet files batch by batch, past the point where pyarrow ends the process."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq


def batches(file: pq.ParquetFile, rows: int) -> Iterator[pa.RecordBatch]:
    """Read a file in batches of at most so many rows.

    pyarrow 26 aborts when it is asked for a batch after the last one of a column of
    dictionaries, so each row group is left when its rows are through, and an empty one is not
    begun.
    """
    for group in range(file.metadata.num_row_groups):
        left = file.metadata.row_group(group).num_rows
        if left <= 0:
            continue
        for batch in file.iter_batches(rows, row_groups=[group]):
            yield batch
            left -= batch.num_rows
            if left <= 0:
                break
