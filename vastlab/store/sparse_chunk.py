"""Column chunks of Parquet files of which only some rows are wanted.

Parquet decodes a chunk page by page, some 20,000 rows each. Pages without a wanted row are replaced
by one of nulls, which takes next to nothing to decode, so that the rows keep their numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.readers.parquet import read_record

Rows = npt.NDArray[np.int64]

_LONGEST = 1 << 10  # bytes of the header of a page
# Field numbers and values in the header of a page.
_TYPE, _SIZE, _DATA, _DATA_2 = 1, 3, 5, 8
_NUMBER = 1
_DICTIONARY = 2


def is_flat(schema: pq.ParquetSchema, column: int) -> bool:
    """Return whether a page of nulls can stand for any page of a column."""
    described = schema.column(column)
    return bool(described.max_repetition_level == 0 and described.max_definition_level == 1)


def thinned(chunk: memoryview, wanted: Rows, codec: str) -> memoryview:
    """Return a chunk of the same length in which other rows than those wanted may be null.

    Parameters
    ----------
    chunk
        A chunk of a column that `is_flat`; what is no chunk is returned as it is.
    wanted
        The numbers of rows, in order.
    codec
        How its pages are compressed.
    """
    try:
        made = b"".join(_pages(chunk, wanted.tolist(), codec))
    except (ValueError, LookupError, TypeError):  # which pyarrow tells better
        return chunk
    return memoryview(made.ljust(len(chunk), b"\0")) if len(made) < len(chunk) else chunk


def _pages(chunk: memoryview, wanted: list[int], codec: str) -> Iterator[bytes | memoryview]:
    position = first = skipped = 0
    while position < len(chunk):
        header, size = read_record(bytes(chunk[position : position + _LONGEST]))
        end = position + size + header[_SIZE]
        count = 0
        if header[_TYPE] != _DICTIONARY:
            count = (header.get(_DATA) or header[_DATA_2])[_NUMBER]
        if count and bisect_left(wanted, first) == bisect_left(wanted, first + count):
            skipped += count
        else:
            if skipped:
                yield _nulls(skipped, codec)
            yield chunk[position:end]
            skipped = 0
        if header[_SIZE] < 0 or count < 0:
            raise ValueError("a negative size")
        first += count
        position = end
    if skipped:
        yield _nulls(skipped, codec)


@lru_cache(maxsize=64)
def _nulls(count: int, codec: str) -> bytes:
    """Return a page of nulls: a run of the definition level 0, and no values."""
    run = _varint(count << 1) + b"\0"
    levels = len(run).to_bytes(4, "little") + run
    body = levels
    if codec != "UNCOMPRESSED":
        body = pa.compress(levels, codec=codec.lower(), asbytes=True)
    header = b"".join(
        (
            b"\x15" + _varint(0),  # a data page
            b"\x15" + _varint(len(levels) << 1),
            b"\x15" + _varint(len(body) << 1),
            b"\x2c\x15" + _varint(count << 1),
            b"\x15\x00\x15\x06\x15\x06\x00\x00",  # plain values, levels as runs
        )
    )
    return header + body


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))
