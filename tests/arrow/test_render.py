"""Rendered values: the same text as the standard library and pandas, value by value."""

from __future__ import annotations

import base64
import datetime
import gc
import ipaddress
import json
import math
import re
import threading
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Field, Kind, Schema, Type


def columns(kind: Kind) -> st.SearchStrategy[pa.Array]:
    """Draw columns of one kind, slices among them."""
    return st.integers(0, 12).flatmap(lambda size: arrow_st.arrays(Type(kind), size))


# --- the plain way, value by value ----------------------------------------------------------


def ip(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def subnet(value: dict[str, Any]) -> str:
    host, length = ip(value["address"]), value["length"]
    return str(ipaddress.ip_network((host, length - 96 if "." in host else length)))


def time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    whole = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    text = whole.isoformat()
    if rest % 1000:
        return f"{text}.{rest:09}"
    return f"{text}.{rest // 1000:06}" if rest else text


def value(raw: Any, type_: Type) -> Any:
    """Convert a value as the README describes it."""
    match type_.kind:
        case _ if raw is None:
            return None
        case Kind.IP:
            return ip(raw)
        case Kind.SUBNET:
            return subnet(raw)
        case Kind.TIME:
            return time(raw)
        case Kind.DURATION:
            return str(pd.Timedelta(raw, "ns"))
        case Kind.DOUBLE:
            return raw if math.isfinite(raw) else None
        case Kind.BLOB:
            return base64.b64encode(raw).decode()
        case Kind.LIST:
            return [value(item, type_.item) for item in raw]
        case Kind.RECORD:
            return {f.name: value(raw[f.name], f.type) for f in type_.fields}
        case _:
            return raw


# --- one kind each --------------------------------------------------------------------------


@given(columns(Kind.IP))
def test_addresses_are_written_as_ipaddress_does(array):
    """Every address has the text of `ipaddress`, v4-mapped ones that of IPv4."""
    expected = [None if raw is None else ip(raw) for raw in arrow_st.plain(array).to_pylist()]
    assert render.ip_text(array).to_pylist() == expected
    assert render.ip_text(array.storage).to_pylist() == expected


@given(columns(Kind.SUBNET))
def test_networks_are_written_as_ipaddress_does(array):
    """Every network has the text of `ipaddress`, and null networks stay null."""
    expected = [None if raw is None else subnet(raw) for raw in arrow_st.plain(array).to_pylist()]
    assert render.subnet_text(array).to_pylist() == expected


@pytest.mark.parametrize(
    "address, length, expected",
    [
        ("::1", 128, "::1/128"),
        ("::", 0, "::/0"),
        ("::ffff:10.0.0.0", 104, "10.0.0.0/8"),
        ("::ffff:10.0.0.0", 8, "10.0.0.0/8"),
        ("::ffff:0.0.0.0", 96, "0.0.0.0/0"),
        ("::ffff:10.0.0.0", 33, "::ffff:a00:0/33"),
        ("::ffff:10.0.0.0", 95, "::ffff:a00:0/95"),
        ("::10.0.0.0", 104, "::a00:0/104"),
        ("2001:db8::", 8, "2001:db8::/8"),
    ],
)
def test_lengths_are_read_in_both_conventions(address, length, expected):
    """Lengths of IPv4 networks are at most 32 in both conventions."""
    array = arrow_st.array(Type(Kind.SUBNET), [(ipaddress.IPv6Address(address).packed, length)])
    assert render.subnet_text(array).to_pylist() == [expected]


def test_networks_with_a_null_part_are_null():
    """A network without an address or without a length has no text."""
    storage = pa.array(
        [{"address": None, "length": 8}, {"address": bytes(16), "length": None}, None],
        pa.struct([("address", pa.binary(16)), ("length", pa.uint8())]),
    )
    assert render.subnet_text(storage).to_pylist() == [None, None, None]


@given(columns(Kind.TIME))
def test_times_are_iso_8601(array):
    """Times are formatted as by `datetime`, with 0, 6 or 9 digits after the second."""
    expected = [None if raw is None else time(raw) for raw in arrow_st.plain(array).to_pylist()]
    assert render.time_text(array).to_pylist() == expected


@given(columns(Kind.DURATION))
def test_durations_are_written_as_pandas_does(array):
    """Durations have the text of `pandas.Timedelta`."""
    expected = [
        None if raw is None else str(pd.Timedelta(raw, "ns"))
        for raw in arrow_st.plain(array).to_pylist()
    ]
    assert render.duration_text(array).to_pylist() == expected


@pytest.mark.parametrize("unit, count", [("s", 90), ("ms", 90_000), ("us", 90_000_000)])
def test_result_does_not_depend_on_unit(unit, count):
    """Equal durations and times have equal texts, whatever their unit and zone."""
    duration = render.duration_text(pa.array([count], pa.duration(unit)))
    assert duration.to_pylist() == ["0 days 00:01:30"]
    for zone in (None, "UTC", "Asia/Tokyo"):
        stamp = render.time_text(pa.array([count], pa.timestamp(unit, zone)))
        assert stamp.to_pylist() == ["1970-01-01T00:01:30"]


_UNITS = {"h": 3600e9, "m": 60e9, "s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}


@given(columns(Kind.DURATION))
def test_spans_are_read_exactly(array):
    """Spans are exact for pandas, and for readers that compute each part with doubles."""
    texts = render.span_text(array).to_pylist()
    for raw, text in zip(arrow_st.plain(array).to_pylist(), texts, strict=True):
        if raw is None:
            assert text is None
            continue
        assert pd.Timedelta(text).value == raw
        parts = re.findall(r"([0-9]+)([a-z]+)", text)
        total = sum(int(float(count) * _UNITS[unit]) for count, unit in parts)
        assert total == abs(raw)
        assert text == ("-" if raw < 0 else "") + "".join(map("".join, parts))


def test_spans_are_short():
    """A span has one unit, and a second part only where a double cannot hold it."""
    spans = {
        0: "0s",
        163_820_000: "163820us",
        -23_000_000: "-23ms",
        7_200 * 10**9: "2h",
        2**53 - 1: "9007199254740991ns",
        2**53 + 1: "2501h3599254740993ns",
        -(2**53) - 1: "-2501h3599254740993ns",
    }
    array = pa.array([*spans, None], pa.duration("ns"))
    assert render.span_text(array).to_pylist() == [*spans.values(), None]
    assert render.span_text(pa.array([5], pa.duration("s"))).to_pylist() == ["5s"]
    assert render.span_text(pa.array([], pa.duration("s"))).to_pylist() == []


# --- any kind -------------------------------------------------------------------------------

PLAIN_KINDS = tuple(kind for kind in Kind if kind is not Kind.MAP)


@given(arrow_st.tables(kinds=PLAIN_KINDS))
def test_rows_equal_simple_implementation(pair):
    """Rows equal a value-by-value conversion, at any depth, and JSON takes them."""
    schema, batch = pair
    rows = render.to_python(render.rows(batch))
    raw = [arrow_st.plain(column) for column in batch.columns]
    whole = [column.to_pylist() for column in raw]
    expected = [
        {f.name: value(column[i], f.type) for f, column in zip(schema.fields, whole, strict=True)}
        for i in range(batch.num_rows)
    ]
    assert rows == expected
    json.dumps(rows, allow_nan=False)


@given(arrow_st.tables())
def test_rows_survive_json(pair):
    """JSON without NaN takes the rows of any schema, maps included, and gives them back."""
    _, batch = pair
    rows = render.to_python(render.rows(batch))
    assert len(rows) == batch.num_rows
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_durations_are_written_as_asked_at_any_depth():
    """Spans replace the text of pandas in lists, records and maps, and in keys of maps."""
    second = pa.array([10**9], pa.duration("ns"))
    lists = pa.ListArray.from_arrays([0, 1], second)
    maps = pa.MapArray.from_arrays([0, 1], second, lists)
    columns = {"r": pa.StructArray.from_arrays([lists], names=["l"]), "m": maps}
    batch = pa.RecordBatch.from_pydict(columns)
    rows = render.to_python(render.rows(batch, durations=render.span_text))
    assert rows == [{"r": {"l": ["1s"]}, "m": {"1s": ["1s"]}}]
    (text,) = render.text(maps, batch.schema.field("m"), render.span_text).to_pylist()
    assert json.loads(text) == rows[0]["m"]
    (text,) = render.text(maps, batch.schema.field("m")).to_pylist()
    assert json.loads(text) == {"0 days 00:00:01": ["0 days 00:00:01"]}


def test_reserved_names_are_not_given():
    """A field of a reserved name is numbered at the top, and keeps its name inside records."""
    batch = pa.RecordBatch.from_pydict({"#type": [1], "r": [{"#type": 2}]})
    (row,) = render.to_python(render.rows(batch, reserved=["#type"]))
    assert row == {"#type#2": 1, "r": {"#type": 2}}


@given(arrow_st.tables(), st.data())
def test_rows_of_a_slice(pair, data):
    """A slice has the rows of the whole that it covers."""
    _, batch = pair
    start = data.draw(st.integers(0, batch.num_rows))
    rows = render.to_python(render.rows(batch))
    assert render.to_python(render.rows(batch.slice(start, 2))) == rows[start : start + 2]


def test_rows_of_each_kind_are_plain():
    """Networks and labels are text in rows, and what JSON cannot say of a double is None."""
    label = Type(Kind.ENUM, labels=(("red", 3), ("blue", 1)))
    columns = {
        "n": arrow_st.array(Type(Kind.SUBNET), [(bytes(16), 8), None]),
        "e": arrow_st.array(label, ["blue", None]),
        "d": pa.array([math.inf, 0.5]),
        "f": pa.array([1.5, None]),
    }
    assert render.to_python(render.rows(pa.RecordBatch.from_pydict(columns))) == [
        {"n": "::/8", "e": "blue", "d": None, "f": 1.5},
        {"n": None, "e": None, "d": 0.5, "f": None},
    ]


def test_maps_become_dictionaries():
    """Maps become dictionaries with string keys; duplicate keys are kept."""
    type_ = Type(Kind.MAP, key=Type(Kind.IP), item=Type(Kind.LIST, item=Type(Kind.INT64)))
    one, two = bytes(16), bytes(15) + b"\1"
    array = arrow_st.array(type_, [[(one, [1]), (two, None), (one, [2])], [], None])
    schema = arrow_schema.to_arrow(Schema("s", (Field("m", type_),)))
    batch = pa.RecordBatch.from_arrays([array], schema=schema)
    rows = [row["m"] for row in render.to_python(render.rows(batch))]
    assert rows == [{"::": [1], "::1": None, "::#2": [2]}, {}, None]


def test_fields_of_one_name_are_all_kept():
    """The second field of a name is numbered, at the top and in records."""
    inner = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    batch = pa.RecordBatch.from_arrays([inner, inner], names=["r", "r"])
    (row,) = render.to_python(render.rows(batch))
    assert row == {"r": {"x": 1, "x#2": 2}, "r#2": {"x": 1, "x#2": 2}}


def test_empty_records_keep_their_nulls():
    """A record without fields is an empty dictionary, or None where it is null."""
    array = pa.array([{}, None], pa.struct([]))
    batch = pa.RecordBatch.from_arrays([array], names=["r"])
    assert render.to_python(render.rows(batch)) == [{"r": {}}, {"r": None}]


@pytest.mark.parametrize(
    "array, expected",
    [
        (pa.array([1.0, 1.5, -0.0, 1e300, math.nan, None]), None),
        (pa.array([True, None]), ["true", None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([None]), [None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([[1.5, math.inf], [], None]), ["[1.5, null]", "[]", None]),
        (pa.array([{"ä": "é"}, None]), ['{"ä": "é"}', None]),
        (pa.array([b"\xff"]), ["/w=="]),
        (pa.array([0, None], pa.timestamp("ms")), ["1970-01-01T00:00:00", None]),
        (pa.array([], pa.timestamp("ns")), []),
        (pa.array([], pa.duration("ns")), []),
    ],
)
def test_any_column_has_a_text(array, expected):
    """Columns of every type are shown as text, containers as JSON."""
    if expected is None:
        expected = ["1.0", "1.5", "-0.0", "1e+300", "nan", None]
    field = pa.field("x", array.type)
    assert render.text(array, field).to_pylist() == expected
    chunked = pa.chunked_array([array, array])
    assert render.text(chunked, field).to_pylist() == expected * 2


@given(arrow_st.tables(min_fields=1))
def test_texts_cover_every_type(pair):
    """Every value of every type except null has a text."""
    _, batch = pair
    for field, column in zip(batch.schema, batch.columns, strict=True):
        texts = render.text(column, field)
        assert texts.type == pa.string()
        assert texts.is_null().to_pylist() == column.is_null().to_pylist()


# --- the collector --------------------------------------------------------------------------


def test_the_collector_is_paused_only_for_the_conversion():
    """Pauses nest, and an error ends them, too."""
    with pytest.raises(ZeroDivisionError), render.collector_paused():
        with render.collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    """What a caller chose is not changed."""
    gc.disable()
    try:
        with render.collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_comes_back_after_the_last_of_several_threads():
    """The first one to end does not switch it on for the others, nor the last one leave it off."""
    first_in, first_out = threading.Event(), threading.Event()

    def first() -> None:
        with render.collector_paused():
            first_in.set()
            first_out.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_in.wait(10)
    with render.collector_paused():
        first_out.set()
        thread.join()
        assert not gc.isenabled()
    assert gc.isenabled()
