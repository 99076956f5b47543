"""Frames: exact values, types made for analysis, and addresses that answer questions."""

from __future__ import annotations

import ipaddress
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.errors import UsageError, VastlabWarning
from vastlab.frames import to_frames
from vastlab.types import Field, Kind, Schema, Type

TEN, LOCAL = arrow_st.V4_MAPPED + b"\x0a\0\0\x0a", bytes(15) + b"\1"
NINE = arrow_st.V4_MAPPED + b"\x0a\0\0\x09"


def table(rows: int = 0, /, **columns: tuple[Type, list[Any]]) -> pa.Table:
    """Make a table of columns that are given as a type and values."""
    schema = Schema("s", tuple(Field(name, type_) for name, (type_, _) in columns.items()))
    arrays = [arrow_st.array(type_, values) for type_, values in columns.values()]
    size = len(arrays[0]) if arrays else rows
    batch = arrow_arrays.record_batch(arrays, arrow_schema.to_arrow(schema), size)
    return pa.Table.from_batches([batch])


def frame(*tables: pa.Table, **how: Any) -> pd.DataFrame:
    return to_frames({"s": list(tables)}, **how)["s"]


def column(kind: Kind, *values: Any, **parts: Any) -> pd.Series:
    return frame(table(x=(Type(kind, **parts), list(values))))["x"]


# --- columns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_, values, dtype, expected",
    [
        (Type(Kind.BOOL), [True, None], "boolean", [True, pd.NA]),
        (Type(Kind.INT64), [-1, None], "Int64", [-1, pd.NA]),
        (Type(Kind.UINT64), [2**53 + 1, 2**64 - 1, None], "UInt64", [2**53 + 1, 2**64 - 1, pd.NA]),
        (Type(Kind.DOUBLE), [0.5], "float64", [0.5]),
        (Type(Kind.STRING), ["a"], "str", ["a"]),
        (Type(Kind.TIME), [1], "datetime64[ns, UTC]", [pd.Timestamp(1, tz="UTC")]),
        (Type(Kind.DURATION), [-1], "timedelta64[ns]", [pd.Timedelta(-1)]),
        (Type(Kind.IP), [TEN, LOCAL], "category", ["10.0.0.10", "::1"]),
        (Type(Kind.SUBNET), [(LOCAL, 128)], "category", ["::1/128"]),
        (Type(Kind.ENUM, labels=(("b", 1), ("a", 0))), ["a"], "category", ["a"]),
        (Type(Kind.BLOB), [b"\xff", None], "object", [b"\xff", None]),
        (Type(Kind.LIST, item=Type(Kind.IP)), [[TEN, None], None], "object", None),
        (Type(Kind.NULL), [None], "object", [None]),
    ],
)
def test_columns_have_types_for_analysis(type_, values, dtype, expected):
    """Each type has its dtype, with or without nulls, and exact values."""
    if expected is None:
        expected = [["10.0.0.10", None], None]
    got = frame(table(x=(type_, values)))["x"]
    assert got.dtype == dtype
    for one, other in zip(got, expected, strict=True):
        assert one is other or one == other
    empty = frame(table(x=(type_, [])))["x"]
    assert (empty.dtype, len(empty)) == (dtype, 0)
    nulls = frame(table(x=(type_, [None, None])))["x"]
    assert nulls.dtype == dtype
    assert nulls.isna().all()


def test_sorting_addresses_is_numeric():
    """Addresses and networks sort by value, not by text, and compare with text."""
    addresses = column(Kind.IP, TEN, NINE, None, LOCAL)
    assert addresses.sort_values().tolist()[:3] == ["::1", "10.0.0.9", "10.0.0.10"]
    assert (addresses == "10.0.0.9").tolist() == [False, True, False, False]
    networks = column(Kind.SUBNET, (TEN, 128), (NINE, 8), (NINE, 104), (NINE, 127), None)
    ordered = networks.sort_values().tolist()[:4]
    assert ordered == ["10.0.0.9/8", "10.0.0.9/8", "10.0.0.9/31", "10.0.0.10/32"]


def test_all_labels_are_categories():
    """Labels that never occur are there, in order of definition, whatever their keys."""
    labels = (("high", 7), ("low", 2), ("none", 9))
    series = column(Kind.ENUM, "low", None, labels=labels)
    assert series.cat.categories.tolist() == ["high", "low", "none"]
    assert series.cat.codes.tolist() == [1, -1]


def test_records_become_dotted_columns():
    """Records open into columns of dotted names; a null record makes them null."""
    record = Type(Kind.RECORD, fields=(Field("h", Type(Kind.IP)), Field("p", Type(Kind.UINT64))))
    source = table(id=(record, [(TEN, 80), None]), **{"id.h": (Type(Kind.BOOL), [True, None])})
    flat = frame(source)
    assert list(flat.columns) == ["id.h", "id.p", "id.h#2"]
    assert flat["id.p"].tolist() == [80, pd.NA]
    nested = frame(source, nested="dict")
    assert list(nested.columns) == ["id", "id.h"]
    assert nested["id"].tolist() == [{"h": "10.0.0.10", "p": 80}, None]


def test_other_forms_of_nesting_are_refused():
    """A wrong argument is one clear error."""
    with pytest.raises(UsageError, match="'deep'"):
        frame(table(), nested="deep")


@given(arrow_st.tables(), st.sampled_from(["flat", "dict"]))
def test_frames_show_what_rows_show(pair, nested):
    """Every column of any type has the values that its rows show, in order of event time."""
    schema, batch = pair
    got = frame(pa.Table.from_batches([batch]), nested=nested)
    shown = convert.flatten(batch) if nested == "flat" else batch
    assert (len(got), len(got.columns)) == (batch.num_rows, shown.num_columns)
    order = range(batch.num_rows)
    if schema.event_time is not None:
        times = convert.flatten(batch).column(schema.event_time.column).cast(pa.int64())
        stamps = [2**63 if stamp is None else stamp for stamp in times.to_pylist()]
        order = sorted(order, key=lambda i: stamps[i])
    fields = arrow_schema.from_arrow(shown.schema).fields
    for i, member in enumerate(fields):
        expected = render.to_python(render.render(shown.column(i), member.type))
        assert [_plain(x, member.type.kind) for x in got.iloc[:, i]] == [
            expected[row] for row in order
        ]


def _plain(value: Any, kind: Kind) -> Any:
    """Write a frame's value as rows do."""
    if isinstance(value, (list, dict)):
        return value
    if pd.isna(value) or (kind is Kind.DOUBLE and not np.isfinite(value)):
        return None
    match kind:
        case Kind.TIME:
            count = pa.array([value.value], pa.timestamp("ns"))
            return render.time_text(count)[0].as_py()
        case Kind.DURATION:
            return str(value)
        case Kind.BLOB:
            return render.render(pa.array([value]), Type(Kind.BLOB))[0].as_py()
        case _:
            return value


# --- several tables -------------------------------------------------------------------------


def test_layouts_are_joined():
    """Several layouts give the union of columns, sorted by event time, nulls where none is."""
    time, count = Type(Kind.TIME), Type(Kind.UINT64)
    one = table(ts=(time, [30, None, 10]), a=(count, [3, 9, 1]))
    two = table(ts=(time, [20, 10]), b=(Type(Kind.IP), [TEN, LOCAL]))
    three = table(
        c=(Type(Kind.SUBNET), [(TEN, 128)]), d=(Type(Kind.ENUM, labels=(("x", 0),)), ["x"])
    )
    got = frame(one, two, three)
    assert list(got.columns) == ["ts", "a", "b", "c", "d"]
    assert got["ts"].dropna().astype("int64").tolist() == [10, 10, 20, 30]
    assert got["a"].tolist() == [1, pd.NA, pd.NA, 3, 9, pd.NA]
    assert got["b"].tolist()[1:3] == ["::1", "10.0.0.10"]
    assert got["c"].tolist()[-1] == "10.0.0.10/32"
    assert got["d"].tolist()[-1] == "x"
    assert got["c"].isna().sum() == got["d"].isna().sum() == 5
    assert list(got.index) == list(range(6))


def test_events_of_one_time_keep_their_order():
    """Sorting is stable, over batches too."""
    parts = [table(ts=(Type(Kind.TIME), [5, 4]), n=(Type(Kind.INT64), [i, i])) for i in range(3)]
    got = frame(pa.concat_tables(parts))
    assert got["n"].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    "left, right, dtype, expected",
    [
        ((Kind.INT64, -1), (Kind.DOUBLE, 0.5), "float64", [-1.0, 0.5]),
        ((Kind.UINT64, 1), (Kind.DOUBLE, 0.5), "float64", [1.0, 0.5]),
        ((Kind.UINT64, 2**63 - 1), (Kind.INT64, -1), "Int64", [2**63 - 1, -1]),
        ((Kind.UINT64, 2**64 - 1), (Kind.UINT64, 1), "UInt64", [2**64 - 1, 1]),
        ((Kind.NULL, None), (Kind.STRING, "a"), "str", [None, "a"]),
        ((Kind.NULL, None), (Kind.NULL, None), "object", [None, None]),
    ],
)
def test_numbers_widen(left, right, dtype, expected):
    """Numbers of different types become one that holds them, without a warning."""
    tables = [table(x=(Type(kind), [value])) for kind, value in (left, right)]
    got = frame(*tables)["x"]
    assert got.dtype == dtype
    assert [None if pd.isna(x) else x for x in got] == expected


@pytest.mark.parametrize(
    "left, right, expected",
    [
        ((Type(Kind.UINT64), 2**64 - 1), (Type(Kind.INT64), -1), [str(2**64 - 1), "-1"]),
        ((Type(Kind.STRING), "a"), (Type(Kind.IP), TEN), ["a", "10.0.0.10"]),
        ((Type(Kind.BOOL), True), (Type(Kind.INT64), 1), ["true", "1"]),
        (
            (Type(Kind.LIST, item=Type(Kind.BOOL)), [True]),
            (Type(Kind.BOOL), None),
            ["[true]", None],
        ),
        (
            (Type(Kind.ENUM, labels=(("x", 3),)), "x"),
            (Type(Kind.TIME), 0),
            ["x", "1970-01-01T00:00:00"],
        ),
    ],
)
def test_conflicts_become_text(left, right, expected):
    """What fits no common type becomes text, with one warning that names the column."""
    tables = [table(**{"a\x1b": (type_, [value])}) for type_, value in (left, right)]
    with pytest.warns(VastlabWarning, match=r"'a\\x1b' holds \w+ and \w+") as caught:
        got = frame(*tables)["a\x1b"]
    assert len(caught) == 1
    assert got.dtype == "str"
    assert sorted(str(x) for x in got.dropna()) == sorted(x for x in expected if x is not None)
    assert got.isna().sum() == expected.count(None)


def test_labels_of_all_layouts_are_joined():
    """Enumerations that grew have the labels of all layouts, each value its own."""
    small, large = (("x", 0), ("y", 1)), (("z", 0), ("x", 1))
    tables = [table(e=(Type(Kind.ENUM, labels=s), ["x", None])) for s in (small, large)]
    got = frame(*tables, table(f=(Type(Kind.BOOL), [True])))["e"]
    assert got.cat.categories.tolist() == ["x", "y", "z"]
    assert got.cat.codes.tolist() == [0, -1, 0, -1, -1]


def test_nothing_is_a_frame_too():
    """No tables, no rows and no columns give frames of that shape."""
    assert to_frames({}) == {}
    assert frame().shape == (0, 0)
    assert frame(table(3)).shape == (3, 0)
    assert frame(table(x=(Type(Kind.IP), []))).shape == (0, 1)
    assert frame(
        table(x=(Type(Kind.IP), [TEN])), pa.table({"y": pa.array([], pa.int64())})
    ).shape == (
        1,
        2,
    )


def test_frames_leave_their_tables_alone():
    """Changing a frame changes no table."""
    source = table(
        i=(Type(Kind.INT64), [1]), d=(Type(Kind.DOUBLE), [0.5]), b=(Type(Kind.BOOL), [True])
    )
    got = frame(source)
    got.loc[0, "i"], got.loc[0, "d"], got.loc[0, "b"] = 2, 1.5, False
    assert source.to_pylist() == [{"i": 1, "d": 0.5, "b": True}]


# --- the accessor ---------------------------------------------------------------------------


def texts() -> st.SearchStrategy[list[Any]]:
    """Draw addresses, networks, other text and nothing."""
    address = arrow_st.addresses().map(lambda packed: str(_address(packed)))
    network = arrow_st.networks().map(_network)
    return st.lists(st.one_of(address, network, st.none(), arrow_st.texts()), max_size=8)


def _address(packed: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    whole = ipaddress.IPv6Address(packed)
    return whole.ipv4_mapped or whole


def _network(parts: tuple[bytes, int]) -> str:
    array = arrow_st.array(Type(Kind.SUBNET), [parts])
    return str(render.subnet_text(array)[0])


def _wide(text: Any) -> ipaddress.IPv6Network | None:
    """Read an address or network in the 128-bit space."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network):
        return network
    mapped = arrow_st.V4_MAPPED + network.network_address.packed
    return ipaddress.IPv6Network((mapped, 96 + network.prefixlen))


@given(texts(), st.lists(arrow_st.networks().map(_network), min_size=1, max_size=3))
def test_containment_is_that_of_ipaddress(values, networks):
    """`in_subnet` agrees with `ipaddress` in the 128-bit space, on text and on categories."""
    wide = [_wide(value) for value in values]
    inside = [_wide(network) for network in networks]
    expected = [w is not None and any(w.subnet_of(n) for n in inside if n) for w in wide]
    series = pd.Series(values, dtype="str", index=range(5, 5 + len(values)), name="h")
    for form in (series, series.astype("category"), series.astype(object)):
        got = form.ip.in_subnet(networks)
        assert got.tolist() == expected
        assert (got.dtype, got.name, list(got.index)) == (bool, "h", list(series.index))


@given(texts())
def test_versions_and_order(values):
    """Versions are those of `ipaddress`; the sort key orders by address, then text."""
    series = pd.Series(values, dtype="str")
    versions = []
    for value in values:
        try:
            versions.append(ipaddress.ip_network(value, strict=False).version)
        except ValueError:
            versions.append(None)
    got = series.ip.version
    assert got.dtype == "Int8"
    assert [None if pd.isna(x) else x for x in got] == versions

    def key(text: str) -> tuple[bool, int, int, str]:
        wide = _wide(text)
        if wide is None:
            return True, 0, 0, text.encode()
        whole = ipaddress.ip_interface(text).ip.packed
        packed = int.from_bytes(whole if len(whole) == 16 else arrow_st.V4_MAPPED + whole, "big")
        return False, packed, wide.prefixlen, text.encode()

    present = [value for value in values if value is not None]
    ordered = series.sort_values(key=lambda s: s.ip.sort_key).dropna().tolist()
    assert ordered == sorted(present, key=key)


@pytest.mark.parametrize(
    "text, private",
    [
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("192.168.9.9", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("8.8.8.8", False),
        ("::1", True),
        ("fd00::1", True),
        ("fe80::1", True),
        ("2001:db8::1", False),
        ("10.0.0.0/8", True),
        ("10.0.0.0/7", False),
        ("host", False),
        (None, False),
    ],
)
def test_private_addresses_are_known(text, private):
    """Private, loopback and link-local addresses of both versions are private."""
    assert pd.Series([text], dtype="str").ip.is_private.tolist() == [private]


def test_networks_are_given_in_any_form():
    """A network may be text, an object of `ipaddress`, or several of them."""
    hosts = column(Kind.IP, TEN, LOCAL, None)
    assert hosts.ip.in_subnet("10.0.0.0/8").tolist() == [True, False, False]
    assert hosts.ip.in_subnet(ipaddress.ip_network("::/0")).tolist() == [True, True, False]
    both = [ipaddress.ip_address("::1"), "10.0.0.10"]
    assert hosts.ip.in_subnet(both).tolist() == [True, True, False]
    assert hosts.ip.in_subnet([]).tolist() == [False, False, False]
    assert hosts[hosts.ip.in_subnet("10.0.0.0/8")].tolist() == ["10.0.0.10"]


def test_wrong_networks_are_an_error():
    """What is not a network is named in the error."""
    with pytest.raises(UsageError, match=r"'10\.0\.0\.0/99'"):
        column(Kind.IP, TEN).ip.in_subnet("10.0.0.0/99")


def test_numbers_have_no_addresses():
    """Columns that hold no text have no accessor, as pandas does it elsewhere."""
    with pytest.raises(AttributeError, match="text"):
        _ = pd.Series([1, 2]).ip
    assert not hasattr(pd.Series([1]), "ip")
    assert pd.Series([], dtype="str").ip.version.tolist() == []


def test_frames_warn_of_nothing():
    """Ordinary frames come without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame(table(x=(Type(Kind.INT64), [1])), table(x=(Type(Kind.INT64), [2])))
