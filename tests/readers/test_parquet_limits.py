"""The size of a decoded Parquet file is estimated from its footer, even if that is false."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vastlab.errors import FormatError
from vastlab.readers import parquet
from vastlab.readers.parquet import Limits

TEXTS = pa.table({"text": ["a", "bc", "def"] * 40, "n": range(120)})


@pytest.fixture
def data():
    sink = io.BytesIO()
    pq.write_table(TEXTS, sink)
    return sink.getvalue()


def limits_of(data, footer=None):
    source = pa.BufferReader(data)
    sound, _ = parquet._read_footer(source)
    return Limits(source, pq.read_metadata(source), sound if footer is None else footer)


@pytest.mark.parametrize("value", [0x00, 0x0C, 0x15, 0x7F, 0xFF])
def test_each_wrong_byte_of_a_footer_is_an_error_or_a_number_of_rows(data, value, monkeypatch):
    """No footer makes anything but an error of the format, with values of any type in it."""
    monkeypatch.setattr(parquet, "_MAX_BATCH_BYTES", 1)  # so that dictionaries are looked into
    footer, _ = parquet._read_footer(pa.BufferReader(data))
    damaged = 0
    for place in range(len(footer)):
        changed = footer[:place] + bytes([value]) + footer[place + 1 :]
        try:
            assert limits_of(data, changed).rows_at_once(0, 1000) >= 1
        except FormatError:
            damaged += 1
    assert damaged


def test_rows_are_fewer_where_their_values_are_long(data, monkeypatch):
    """One row may repeat the longest value of a dictionary."""
    assert limits_of(data).rows_at_once(0, 1000) == 1000
    monkeypatch.setattr(parquet, "_MAX_BATCH_BYTES", 30)
    assert limits_of(data).rows_at_once(0, 1000) == 10


def test_a_size_that_is_a_record_is_damage(data):
    """A field of another type than it has to be is an error that says which."""
    with pytest.raises(ValueError, match="field 6 of a record is not a number"):
        parquet._Column.of({6: {1: 2}})
