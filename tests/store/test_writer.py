"""Files have what makes them quick to search, and keep what they claim."""

from __future__ import annotations

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.store import statistics, writer
from vastlab.types import Field, Kind, Schema, Type


@pytest.fixture
def parquet(database, events):
    """Write events that are not in order, and open the file."""
    database.add([events([3, None, 1, 2])])
    with pq.ParquetFile(database.snapshot().files[0].path) as file:
        yield file


def test_events_are_sorted_by_event_time(parquet):
    """Rows are in order of the event time, nulls last, and the file says so."""
    times = parquet.read(["ts"]).column("ts").cast(pa.int64()).to_pylist()
    assert times == [1_000_000_000, 2_000_000_000, 3_000_000_000, None]
    (order,) = parquet.metadata.row_group(0).sorting_columns
    assert (order.column_index, order.descending, order.nulls_first) == (0, False, False)


@pytest.mark.parametrize("rows, files", [(5, 1), (13, 1), (31, 2)])
def test_the_rest_of_a_large_write_is_no_small_file(database, events, monkeypatch, rows, files):
    """A file is closed at its size only if what is left fills half of another."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 1)
    database.add([events(range(rows))])
    (whole,) = database.snapshot().files
    groups = whole.size - whole.tail[0]  # the bytes of the row groups
    database.add([events(range(rows))], target_size=groups * 10 // rows)
    added = [file.rows for file in database.snapshot().files if file.path != whole.path]
    assert len(added) == files
    assert sum(added) == rows


def test_files_have_bloom_filters_and_indexes(parquet):
    """Addresses and identifiers have bloom filters; every column has a page index."""
    group = parquet.metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    filtered = {name for name, column in columns.items() if column.bloom_filter_offset is not None}
    assert filtered == {"uid", "id.orig_h"}
    assert all(column.has_column_index and column.has_offset_index for column in columns.values())
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_dictionaries_are_made_where_values_repeat(database):
    """Columns whose values repeat are encoded by dictionary, nested ones too; others are not."""
    text = Type(Kind.STRING)
    members = {
        "same": text,
        "other": text,
        "items": Type(Kind.LIST, item=text),
        "net": Type(Kind.SUBNET),
    }
    schema = Schema("x", tuple(Field(name, type_) for name, type_ in members.items()))
    values = {
        "same": ["a"] * 1000,
        "other": [str(i) for i in range(1000)],
        "items": [["a"]] * 1000,
        "net": pa.nulls(1000, arrow_types.SUBNET),
    }
    database.add([pa.RecordBatch.from_pydict(values, arrow_schema.to_arrow(schema))])
    group = pq.read_metadata(database.snapshot().files[0].path).row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    encoded = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert encoded == {c.path_in_schema for c in columns} - {"other"}


def test_identifiers_are_recognised_by_their_values(database):
    """Short strings that hardly repeat have a bloom filter, whatever their name."""
    values = {"key": [f"k{i}" for i in range(1000)], "kind": ["a", "b"] * 500}
    database.add([pa.RecordBatch.from_pydict(values)], name="x")
    group = pq.read_metadata(database.snapshot().files[0].path).row_group(0)
    filtered = [group.column(i).bloom_filter_offset is not None for i in range(2)]
    assert filtered == [True, False]


def test_a_schema_without_a_time_is_sorted_by_import_time(database):
    """Events without a time of their own keep the order in which they came."""
    schema = arrow_schema.to_arrow(Schema("plain", (Field("n", Type(Kind.INT64)),)))
    batches = [pa.RecordBatch.from_pydict({"n": [n, n + 1]}, schema) for n in (5, 1, 3)]
    database.add(batches)
    (file,) = database.snapshot().files
    table = pq.read_table(file.path)
    assert table.column("n").to_pylist() == [5, 6, 1, 2, 3, 4]
    assert (file.first, file.last) == (file.import_first, file.import_last)


def column(kind, values):
    """Make a batch with one column and an import time."""
    schema = Schema("x", (Field("a", Type(kind)),))
    if kind is Kind.IP:
        storage = pa.array(values, pa.binary(16))
        array = pa.ExtensionArray.from_storage(arrow_types.IP, storage)
    else:
        array = pa.array(values, arrow_schema.type_to_arrow(Type(kind)))
    times = pa.array([0] * len(values), pa.timestamp("ns"))
    return pa.RecordBatch.from_arrays([array, times], ["a", "#import_time"]), schema


INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    Kind.BOOL: st.booleans(),
    Kind.INT64: INT64,
    Kind.UINT64: st.integers(0, 2**64 - 1),
    Kind.DOUBLE: st.floats() | st.sampled_from([float("nan"), float("inf"), -0.0]),
    Kind.TIME: INT64,
    Kind.DURATION: INT64,
    Kind.STRING: st.text(st.characters(codec="utf-8", categories=("L", "Co", "So")), max_size=80)
    | st.text(st.sampled_from("a\ud7ff\ue000\U0010ffff"), min_size=60, max_size=70),
    Kind.IP: st.binary(min_size=16, max_size=16),
}


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.value)
@hypothesis.settings(max_examples=50)
@hypothesis.given(data=st.data())
def test_ranges_hold_every_value(data, kind):
    """Bounds are sound for all values of all parts, exact where they meet, and fit into JSON."""
    parts = data.draw(
        st.lists(st.lists(st.none() | VALUES[kind], min_size=1, max_size=4), min_size=1, max_size=3)
    )
    ranges = []
    for values in parts:
        batch, schema = column(kind, values)
        ranges.append(statistics.of(batch, schema))
    found = statistics.merge(ranges)["a"]
    values = [value for part in parts for value in part]
    present = [value for value in values if value is not None]
    assert (found.num_rows, found.null_count) == (len(values), len(values) - len(present))
    nan = any(value != value for value in present)
    if nan:
        assert found.minimum is None
        assert found.maximum is None
    for value in present:
        assert found.minimum is None or found.minimum <= value
        assert found.maximum is None or found.maximum >= value
    if found.minimum is not None and found.minimum == found.maximum:
        assert set(present) == {found.minimum}
    if kind in (Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION, Kind.IP) and present:
        assert (found.minimum, found.maximum) == (min(present), max(present))
