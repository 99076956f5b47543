"""Parquet files for other programs: they read them without vastlab, and vastlab as before."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab import demo, readers
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.connection import connect
from vastlab.display.preview import sort_keys
from vastlab.errors import DatabaseError, FormatError, UsageError
from vastlab.readers import columns, portable
from vastlab.result import Result
from vastlab.types import Field, Kind, Schema, Type

NAMES = st.sampled_from(
    ("my.log", "a/b", "../x", "<b>", "ä", "=1+1", "~2", "my.log~2", 'q"', "NUL")
)
V4 = b"\0" * 10 + b"\xff\xff"
ADDRESSES = [V4 + bytes([10, 0, 0, 1]), None, b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"]
MOMENT = 1_772_600_767_123_456_000


def conn() -> pa.RecordBatch:
    """Make three connections with an address, a network, a label and times."""
    schema = Schema(
        "zeek.conn",
        (
            Field("ts", Type(Kind.TIME, names=("timestamp",))),
            Field("id", Type(Kind.RECORD, fields=(Field("orig_h", Type(Kind.IP)),))),
            Field("net", Type(Kind.SUBNET)),
            Field("proto", Type(Kind.ENUM, labels=(("tcp", 0), ("udp", 1)))),
            Field("took", Type(Kind.DURATION)),
            Field("peers", Type(Kind.LIST, item=Type(Kind.IP))),
        ),
    )
    rows: list[list[Any]] = [
        [MOMENT + 2, MOMENT, None],
        [(address,) for address in ADDRESSES],
        [(V4 + bytes([10, 0, 0, 0]), 104), None, (bytes(16), 0)],
        ["udp", "tcp", None],
        [5, None, -1],
        [ADDRESSES, [], None],
    ]
    arrays = [arrow_st.array(f.type, r) for f, r in zip(schema.fields, rows, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema.to_arrow(schema))


def result_of(*batches: pa.RecordBatch) -> Result:
    """Make a result of events, each with a layout of its own."""
    tables: dict[str, list[pa.Table]] = {}
    for batch in batches:
        name = arrow_schema.name_of(batch.schema)
        tables.setdefault(name, []).append(pa.Table.from_batches([batch]))
    return Result(tables)


def in_order(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return events as the file holds them: by time, and null records as records of nulls."""
    keys = sort_keys(pa.Table.from_batches([batch]))
    batch = batch.take(pa.array(np.argsort(keys, kind="stable")))
    return convert.nest(convert.flatten(batch), arrow_schema.from_arrow(batch.schema))


@pytest.fixture
def path(tmp_path) -> Path:
    """Write the connections."""
    result_of(conn()).to_parquet(tmp_path / "out", portable=True)
    return tmp_path / "out" / "zeek.conn.parquet"


# --- other programs -------------------------------------------------------------------------


def test_pandas_reads_text_and_times_without_vastlab(path):
    """A process that never imports vastlab sees addresses as text, and times in UTC."""
    code = (
        "import pandas, sys; f = pandas.read_parquet(sys.argv[1]);"
        "assert 'vastlab' not in sys.modules;"
        "f['peers'] = f['peers'].map(list, na_action='ignore');"
        "print(f.to_json(orient='split', date_unit='ns')); print(f['ts'].dtype)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
    text, dtype = done.stdout.decode().splitlines()
    assert dtype == "datetime64[ns, UTC]"
    found = json.loads(text)
    assert found["columns"] == ["ts", "id.orig_h", "net", "proto", "took", "peers"]
    assert found["data"][0][1:4] == [None, None, "tcp"]
    assert found["data"][1][1:4] == ["10.0.0.1", "10.0.0.0/8", "udp"]
    assert found["data"][1][5] == ["10.0.0.1", None, "2001:db8::1"]
    assert found["data"][2][1:4] == ["2001:db8::1", "::/0", None]


def test_polars_reads_text_and_times(path):
    """Polars has the same columns, with the zone of the times."""
    frame = pl.read_parquet(path)
    assert frame.schema["ts"] == pl.Datetime("ns", "UTC")
    assert frame.schema["took"] == pl.Duration("ns")
    assert frame["id.orig_h"].to_list() == [None, "10.0.0.1", "2001:db8::1"]
    assert frame["proto"].to_list() == ["tcp", "udp", None]
    assert frame["peers"].to_list()[1] == ["10.0.0.1", None, "2001:db8::1"]


def test_duckdb_reads_text_and_times(path):
    """DuckDB has the same columns, and compares times as instants."""
    rows = duckdb.execute(
        'select "id.orig_h", net, proto, peers, epoch_ns(ts) from read_parquet(?) order by ts',
        [str(path)],
    ).fetchall()
    assert rows[0] == (None, None, "tcp", [], MOMENT)
    assert rows[1][:4] == ("10.0.0.1", "10.0.0.0/8", "udp", ["10.0.0.1", None, "2001:db8::1"])
    types = duckdb.execute("describe select * from read_parquet(?)", [str(path)]).fetchall()
    assert types[0][1] == "TIMESTAMPTZ_NS"


@settings(max_examples=30)  # three programs read each of them
@given(arrow_st.tables(names=NAMES))
def test_all_programs_read_any_events(pair):
    """Whatever the types are, pandas, Polars and DuckDB find every row and the text columns."""
    schema, batch = pair
    with tempfile.TemporaryDirectory() as folder:
        result_of(batch).to_parquet(Path(folder, "out"), portable=True)
        (path,) = Path(folder, "out").iterdir()
        assert "ARROW:extension" not in str(pq.read_schema(path))
        pandas, polars = pd.read_parquet(path), pl.read_parquet(path)
        rows = duckdb.connect().read_parquet(str(path)).fetchall()
        assert len(pandas) == polars.height == len(rows) == batch.num_rows
        expected = convert.flatten(in_order(batch))
        for i, leaf in enumerate(schema.leaves):
            if leaf.type.kind in (Kind.IP, Kind.SUBNET, Kind.ENUM, Kind.STRING):
                wanted = render.text(expected.column(i), expected.schema.field(i)).to_pylist()
                assert polars[leaf.column].to_list() == wanted
                texts = pandas[leaf.column].astype(object)
                assert texts.where(texts.notna(), None).tolist() == wanted
                assert [row[i] for row in rows] == wanted


# --- vastlab --------------------------------------------------------------------------------


@given(arrow_st.tables(names=NAMES))
def test_files_bring_back_any_events(pair):
    """The same events come back, with their types, aliases, attributes and names."""
    _, batch = pair
    with tempfile.TemporaryDirectory() as folder:
        result_of(batch).to_parquet(Path(folder, "out"), portable=True)
        (path,) = Path(folder, "out").iterdir()
        found = list(readers.read(path))
    assert sum(part.num_rows for part in found) == batch.num_rows
    for part in found:
        assert arrow_st.same(part, in_order(batch))


def test_layouts_of_one_name_have_a_file_each(tmp_path):
    """A second layout is a second file, and hostile names stay inside and apart."""
    events = conn()
    other = events.select(["ts", "proto"])
    evil = [
        events.replace_schema_metadata({"VAST:name:0": name})
        for name in ("../../x", "zeek.conn~2", "ZEEK.conn", "con")
    ]
    result_of(events, other, *evil).to_parquet(tmp_path / "a" / "b", portable=True)
    paths = sorted(tmp_path.rglob("*.parquet"))
    assert {path.parent for path in paths} == {tmp_path / "a" / "b"}
    assert {"zeek.conn.parquet", "zeek.conn~2.parquet"} < {path.name for path in paths}
    assert len({path.name.lower() for path in paths}) == 6
    found = [arrow_schema.name_of(b.schema) for path in paths for b in readers.read(path)]
    assert sorted(found) == sorted(
        ["zeek.conn", "zeek.conn", "../../x", "zeek.conn~2", "ZEEK.conn", "con"]
    )


def test_the_folder_is_an_endpoint_and_can_be_ingested(tmp_path):
    """A folder of files answers like the database, and so does one that ingested them."""
    with connect("demo:") as vast:
        asked = "#type == /zeek.(conn|dns)|demo.*/ && 10.1.4.17"
        before = vast.query(asked, limit=0)
    before.to_parquet(tmp_path / "plain", portable=True)
    before.to_parquet(tmp_path / "exact")
    assert len(before) >= 2
    with connect(tmp_path / "copy.db") as copy:
        copy.ingest(tmp_path / "plain")
        ingested = copy.query(limit=0)
    with connect(tmp_path / "plain") as folder, connect(tmp_path / "exact") as database:
        exact = database.query(limit=0)
        for found in (folder.query(limit=0), ingested):
            assert list(found) == list(exact)
            for name in exact:
                pd.testing.assert_frame_equal(found[name], exact[name])
        assert folder.schemas() == database.schemas()
        assert folder.count(":ip in 10.1.4.0/24") == before.num_rows
        assert folder.count("10.1.4.17") == before.num_rows


def test_changed_columns_are_not_taken_for_the_old_ones(path):
    """A file that another program wrote again has the types that are in it."""
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["net"]), path)
    (batch,) = readers.read(path)
    (leaf,) = (leaf for leaf in arrow_schema.from_arrow(batch.schema).leaves if "orig" in leaf.name)
    assert (leaf.name, leaf.type.kind) == ("id.orig_h", Kind.STRING)


def test_text_that_is_no_address_is_an_error(path):
    """Values that another program changed are named, and not made null without a word."""
    table = pq.read_table(path)
    hosts = pa.array(["10.0.0.1", "<script>", None])
    schema = arrow_schema.from_arrow(conn().schema)
    with portable.open_writer(path, schema) as writer:
        writer.write_table(table.set_column(1, "id.orig_h", hosts))
    assert columns.SCHEMA_KEY.encode() in pq.read_metadata(path).metadata
    with pytest.raises(FormatError, match="'<script>' is not an address"):
        list(readers.read(path))


def test_writing_is_atomic(tmp_path, monkeypatch):
    """Nothing is overwritten, and where writing fails nothing is left."""
    result = result_of(conn())
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        result.to_parquet(tmp_path, portable=True)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vastlab.readers.portable.pq.ParquetWriter", fail)
    with pytest.raises(DatabaseError, match="No space left on device"):
        result.to_parquet(tmp_path / "case", portable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


# --- Polars ---------------------------------------------------------------------------------


def test_to_polars_keeps_the_zone():
    """Times are instants in UTC, alone and in lists, as in frames."""
    moments = pa.array([0, None, MOMENT], pa.timestamp("ns"))
    table = pa.table(
        {"ts": moments, "all": pa.array([[0], None, []], pa.list_(pa.timestamp("ns")))}
    )
    frame = Result({"x": [table]}).to_polars()["x"]
    assert frame.schema["ts"] == pl.Datetime("ns", "UTC")
    assert frame.schema["all"] == pl.List(pl.Datetime("ns", "UTC"))
    assert frame["ts"].to_list()[0] == datetime(1970, 1, 1, tzinfo=UTC)
    assert frame["ts"].dt.epoch("ns").to_list() == [0, None, MOMENT]


def test_to_polars_of_the_demo_has_the_times_of_frames():
    """Each time column has the zone and the values that the frame has."""
    batches = list(demo.batches(300))
    result = result_of(*batches)
    for name, frame in result.to_polars().items():
        for column, type_ in frame.schema.items():
            if isinstance(type_, pl.Datetime):
                assert type_.time_zone == "UTC"
                wanted = result[name][column].dropna().array.asi8
                assert sorted(frame[column].drop_nulls().dt.epoch("ns")) == sorted(wanted)
