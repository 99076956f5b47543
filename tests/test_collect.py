"""Streams of slices as rows and as tables; each known fault of earlier clients is a test."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given

from tests import arrow_strategies as arrow_st
from tests.doubles import stream_of
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.ipc import read_streams
from vastlab.frames import to_frames
from vastlab.table_slice import TableSlice, VastRow, collect_pyarrow, to_json_rows
from vastlab.types import Field, Kind, Schema, Type

ONE, LAST = bytes(15) + b"\1", arrow_st.V4_MAPPED + b"\x0a\0\0\1"


async def rows(*batches: pa.RecordBatch) -> list[VastRow]:
    return [row async for row in to_json_rows(stream_of(batches))]


def batch_of(type_: Type, *values: object, name: str = "s") -> pa.RecordBatch:
    schema = Schema(name, (Field("x", type_),))
    column = arrow_st.array(type_, list(values))
    return arrow_arrays.record_batch([column], arrow_schema.to_arrow(schema), len(values))


async def only_column(type_: Type, *values: object) -> list[object]:
    return [row.data["x"] for row in await rows(batch_of(type_, *values))]


# --- rows -----------------------------------------------------------------------------------


def test_a_row_shows_itself_as_in_pyvast():
    """VastRow is a plain dataclass of name and data, and pickles."""
    row = VastRow("zeek.conn", {"uid": "C1"})
    assert repr(row) == "VastRow(name='zeek.conn', data={'uid': 'C1'})"
    assert [field.name for field in dataclasses.fields(VastRow)] == ["name", "data"]
    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - our own bytes


@given(arrow_st.tables())
async def test_every_row_is_json(pair):
    """All rows of all types pass through JSON without NaN, in order and complete."""
    schema, batch = pair
    got = await rows(batch)
    assert [row.name for row in got] == [schema.name] * batch.num_rows
    for row in got:
        assert json.loads(json.dumps(row.data, allow_nan=False)) == row.data


async def test_rows_come_before_the_stream_ends():
    """The rows of a slice are there before the next slice is asked for."""
    asked = []

    async def slow() -> AsyncIterator[TableSlice]:
        for i in range(3):
            asked.append(i)
            yield TableSlice(batch_of(Type(Kind.INT64), *range(2000)))

    events = to_json_rows(slow())
    for _ in range(2000):
        await anext(events)
    assert asked == [0]
    await anext(events)
    assert asked == [0, 1]
    await events.aclose()


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1500])
async def test_no_row_is_lost_between_chunks(count):
    """Slices of any size give all of their rows."""
    got = await only_column(Type(Kind.INT64), *range(count))
    assert got == list(range(count))


async def test_null_networks_lose_nothing():
    """A null network is None, and all other rows are there."""
    got = await only_column(Type(Kind.SUBNET), (LAST[:15] + b"\0", 120), None)
    assert got == ["10.0.0.0/24", None]


@pytest.mark.parametrize(
    "item, value, expected",
    [
        (Type(Kind.IP), LAST, "10.0.0.1"),
        (Type(Kind.BLOB), b"\xff", "/w=="),
        (Type(Kind.TIME), 10**9, "1970-01-01T00:00:01"),
        (Type(Kind.DURATION), 10**9, "0 days 00:00:01"),
        (Type(Kind.SUBNET), (bytes(16), 0), "::/0"),
        (Type(Kind.ENUM, labels=(("red", 7),)), "red", "red"),
    ],
)
async def test_items_of_lists_are_converted(item, value, expected):
    """Items of lists, and of lists of lists, look like the values outside of lists."""
    one = Type(Kind.LIST, item=item)
    assert await only_column(one, [value, None], None) == [[expected, None], None]
    two = Type(Kind.LIST, item=one)
    assert await only_column(two, [[value], None, []]) == [[[expected], None, []]]
    record = Type(Kind.RECORD, fields=(Field("y", item),))
    lists = Type(Kind.LIST, item=record)
    assert await only_column(lists, [(value,), None]) == [[{"y": expected}, None]]


async def test_maps_are_dictionaries():
    """A map is a dictionary with text for keys, not a list of pairs."""
    type_ = Type(Kind.MAP, key=Type(Kind.UINT64), item=Type(Kind.IP))
    assert await only_column(type_, [(80, LAST)], [], None) == [{"80": "10.0.0.1"}, {}, None]


async def test_a_schema_needs_no_metadata():
    """Events of a schema without a name have the empty name."""
    assert await rows(pa.RecordBatch.from_pydict({"x": [1]})) == [VastRow("", {"x": 1})]


async def test_events_without_fields_are_events():
    """Batches without a column still have their rows."""
    batch = arrow_arrays.record_batch([], pa.schema([]), 3)
    assert await rows(batch) == [VastRow("", {})] * 3


async def test_low_ipv6_addresses_stay_ipv6():
    """`::1` is not written as IPv4, alone or as a network."""
    assert await only_column(Type(Kind.IP), ONE) == ["::1"]
    assert await only_column(Type(Kind.SUBNET), (ONE, 128)) == ["::1/128"]


@pytest.mark.parametrize("length", [104, 8])
async def test_ipv4_networks_have_their_length(length):
    """10.0.0.0/8 is read from 96 + 8 as VAST stores it, and from 8 as PyVAST does."""
    network = (LAST[:13] + bytes(3), length)
    assert await only_column(Type(Kind.SUBNET), network) == ["10.0.0.0/8"]


async def test_no_number_is_lost():
    """Unsigned integers beside nulls keep their last bit; NaN and infinities are None."""
    large = 2**53 + 1
    assert await only_column(Type(Kind.UINT64), large, None) == [large, None]
    doubles = (math.nan, math.inf, -math.inf, 0.5, None)
    assert await only_column(Type(Kind.DOUBLE), *doubles) == [None, None, None, 0.5, None]


async def test_fields_of_one_name_are_kept():
    """Two fields with the same name are both in the row."""
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert (await rows(batch))[0].data == {"x": 1, "x#2": 2}


async def test_hostile_names_are_just_names():
    """Names with quotes, braces and code are keys like any other."""
    names = ["'", '"', "{x}", "\\", "\n", "__import__('os')", "a\0b", ""]
    batch = pa.RecordBatch.from_arrays([pa.array([i]) for i in range(len(names))], names=names)
    shown = [name.replace("\0", "\\x00") for name in names]  # no file can hold a NUL in a name
    assert (await rows(batch))[0].data == {name: i for i, name in enumerate(shown)}


async def test_every_type_as_vast_shows_it(shared: Path):
    """All types at once, recorded from VAST: values that PyVAST could not read."""
    path = shared / "golden" / "types" / "golden_types.arrow.stdout.bin"
    first, second, third, fourth = [row.data for row in await rows(*read_streams(path))]
    assert (first["a"], first["n"], first["e"]) == ("10.1.2.3", "10.1.0.0/16", "red")
    assert first["lsn"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert first["lr"] == [{"ip": "192.0.2.1", "note": "first"}]
    assert (second["u"], second["i"]) == (2**64 - 1, 2**63 - 1)
    assert (second["dur"], second["t"]) == (
        "-1 days +23:59:59.997000",
        "1969-12-31T23:59:59.999999999",
    )
    nulls = {"x": None, "deep": {"ip": None, "name": None}}
    assert third == {**dict.fromkeys(third), "r": nulls}
    assert fourth["la"] == ["198.51.100.1", None]


# --- tables ---------------------------------------------------------------------------------


async def test_tables_are_grouped_by_layout():
    """Batches of one layout become one table, in order of first arrival, without a copy."""
    a, b = batch_of(Type(Kind.INT64), 1, name="a"), batch_of(Type(Kind.INT64), 2, name="b")
    other = batch_of(Type(Kind.INT64, names=("port",)), 3, name="a")
    tables = await collect_pyarrow(stream_of([a, b, a, other]))
    assert {name: [t.num_rows for t in parts] for name, parts in tables.items()} == {
        "a": [2, 1],
        "b": [1],
    }
    held = tables["a"][0].column("x").chunk(0).buffers()[1]
    assert held.address == a.column(0).buffers()[1].address


async def test_names_that_differ_late_are_kept_apart():
    """Schemas whose names differ only after many characters are different schemas."""
    names = ["n" * 200 + tail for tail in ("1", "2")]
    batches = [batch_of(Type(Kind.INT64), i, name=name) for i, name in enumerate(names)]
    tables = await collect_pyarrow(stream_of(batches))
    assert list(tables) == names
    assert [tables[name][0].column("x").to_pylist() for name in names] == [[0], [1]]


async def test_labels_are_part_of_the_layout():
    """Enumerations with other labels never share a table."""
    types = [Type(Kind.ENUM, labels=((label, 0),)) for label in ("red", "blue")]
    batches = [batch_of(t, t.labels[0][0]) for t in types]
    tables = await collect_pyarrow(stream_of(batches))
    labels = [arrow_schema.from_arrow(t.schema).fields[0].type.labels for t in tables["s"]]
    assert labels == [type_.labels for type_ in types]


async def test_a_stream_ends_with_its_rows():
    """When the loop over rows ends early, no export keeps running."""
    ended = []

    async def endless():
        try:
            while True:
                yield TableSlice(pa.RecordBatch.from_pydict({"n": [1, 2]}))
        finally:
            ended.append(True)

    events = to_json_rows(endless())
    assert (await anext(events)).data == {"n": 1}
    await events.aclose()
    assert ended == [True]


async def test_nothing_gives_nothing():
    """An empty stream has no tables and no rows."""
    tables = await collect_pyarrow(stream_of([]))
    assert tables == {}
    assert tables["zeek.conn"] == []
    assert to_frames(tables)["zeek.conn"].empty
    assert await rows() == []
