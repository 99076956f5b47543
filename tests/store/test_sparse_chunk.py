"""Of a column chunk, the pages without a wanted row are replaced, and nothing else changes."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.store import sparse_chunk


def written(**options):
    """Write a row group of 999 rows in many pages."""
    numbers = range(999)
    table = pa.table(
        {
            "whole": pa.array(numbers, pa.uint64()),
            "some": pa.array([None if i % 3 else i for i in numbers], pa.int64()),
            "text": pa.array([f"value {i % 50}" for i in numbers]),
            "distinct": pa.array([f"{i:08d}" * 9 for i in numbers]),
            "same": pa.array(["tcp"] * 999),
            "address": pa.array([bytes([i % 256] * 16) for i in numbers], pa.binary(16)),
            "flag": pa.array([i % 7 == 0 for i in numbers]),
            "times": pa.array(numbers, pa.timestamp("ns")),
            "list": pa.array([[i] * (i % 4) for i in numbers], pa.list_(pa.int64())),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, data_page_size=1, write_batch_size=100, **options)
    return table, sink.getvalue()


def replaced(data, wanted):
    """Replace what can be in all chunks, and return how many have become other bytes."""
    metadata = pq.read_metadata(io.BytesIO(data))
    group, made, changed = metadata.row_group(0), bytearray(data), 0
    for number in range(group.num_columns):
        column = group.column(number)
        pages = (column.dictionary_page_offset, column.data_page_offset)
        start = min(offset for offset in pages if offset is not None)
        chunk = memoryview(data)[start : start + column.total_compressed_size]
        if sparse_chunk.is_flat(metadata.schema, number):
            new = sparse_chunk.thinned(chunk, wanted, column.compression)
            assert len(new) == len(chunk)
            made[start : start + len(chunk)] = new
            changed += new != chunk
    return bytes(made), changed


WRITTEN = [
    written(),
    written(compression="zstd", use_dictionary=False),
    written(compression="none", data_page_version="2.0"),
    written(compression="zstd", write_page_checksum=True, write_page_index=True),
]


NEGATIVE = b"\x15\x00\x15\x00\x15\x0f\x2c\x15\x02\x00\x00"  # the size of a page, of one row


@given(which=st.integers(0, 3), rows=st.sets(st.integers(0, 998), min_size=1, max_size=5))
def test_wanted_rows_are_as_they_were(which, rows):
    """In every type, encoding and version of pages, whichever rows are wanted."""
    table, data = WRITTEN[which]
    wanted = np.array(sorted(rows))
    made, changed = replaced(data, wanted)
    assert changed >= 6
    found = pq.read_table(io.BytesIO(made), use_threads=False)
    assert found.num_rows == table.num_rows
    assert found.take(wanted).equals(table.take(wanted))
    assert found["distinct"].null_count >= 400


@pytest.mark.parametrize("chunk", [b"", b"\xff" * 99, b"\x15\x00" * 40, NEGATIVE])
def test_what_is_no_chunk_is_not_changed(chunk):
    """It is left to what decodes it to say what is wrong."""
    assert sparse_chunk.thinned(memoryview(chunk), np.array([1]), "ZSTD") == chunk
