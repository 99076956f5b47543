"""The demo events: reproducible, whole, and as awkward as promised."""

from __future__ import annotations

import base64
import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastlab import demo
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.table_slice import TableSlice

_SCHEMAS = [
    "demo.asset",
    "suricata.alert",
    "suricata.flow",
    "suricata.http",
    "zeek.conn",
    "zeek.dns",
    "zeek.http",
]


def _tables(events: int, seed: int = 0) -> dict[str, pa.Table]:
    """Return flat tables of storage types, by schema."""
    parts: dict[str, list[pa.RecordBatch]] = {}
    for batch in demo.batches(events, seed):
        flat = convert.flatten(batch)
        plain = [arrow_arrays.storage_of(column) for column in flat.columns]
        named = pa.RecordBatch.from_arrays(plain, names=flat.schema.names)
        parts.setdefault(TableSlice(batch).name, []).append(named)
    return {name: pa.Table.from_batches(batches) for name, batches in parts.items()}


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Events enough for several blocks."""
    return _tables(80_000)


@settings(max_examples=30)  # each of them makes up to 3,000 events
@given(st.integers(0, 3_000), st.integers(0, 9))
def test_count_is_exact(events, seed):
    """As many events come as were asked for, whether or not the story fits in."""
    assert sum(batch.num_rows for batch in demo.batches(events, seed)) == events


def test_same_arguments_give_same_events():
    """Two runs agree in every value, and another seed gives others."""
    first, again, other = (list(demo.batches(40_000, seed)) for seed in (3, 3, 4))
    assert [b.serialize().to_pybytes() for b in first] == [
        b.serialize().to_pybytes() for b in again
    ]
    assert first[2]["uid"] != other[2]["uid"]


def test_batches_are_normal_form(tables):
    """Every batch is valid, has vastlab's own types, and one layout per schema."""
    layouts = {}
    for batch in demo.batches(40_000):
        batch.validate(full=True)
        assert convert.normalise(batch).schema.equals(batch.schema, check_metadata=True)
        schema = arrow_schema.from_arrow(batch.schema)
        assert layouts.setdefault(schema.name, schema) == schema
        assert schema.event_time is not None
    assert sorted(layouts) == _SCHEMAS == sorted(tables)


def test_batches_are_small():
    """Memory does not grow with the number of events."""
    some = itertools.islice(demo.batches(50_000_000), 12)
    assert max(batch.num_rows for batch in some) < 65_536


def test_each_schema_is_in_order_of_time(tables):
    """Event times never go back within a schema, and stay near the week."""
    for name, table in tables.items():
        column = "seen" if name == "demo.asset" else table.column_names[0]
        times = table[column].cast(pa.int64()).to_numpy()
        assert np.all(np.diff(times) >= 0), name
        assert times[0] >= demo.START
        assert times[-1] < demo.START + (demo.DAYS + 3) * 86_400 * 10**9


def test_sensors_agree(tables):
    """Zeek's events share uids, and the community ids of Suricata's are Zeek's."""
    conn = tables["zeek.conn"]
    assert pc.count_distinct(conn["uid"]).as_py() == conn.num_rows
    for name in ("zeek.dns", "zeek.http"):
        assert pc.all(pc.is_in(tables[name]["uid"], value_set=conn["uid"].combine_chunks())).as_py()
    ids = conn["community_id"].combine_chunks()
    flows = tables["suricata.flow"]["flow_id"].combine_chunks()
    for name in ("suricata.alert", "suricata.flow", "suricata.http"):
        assert pc.all(pc.is_in(tables[name]["community_id"], value_set=ids)).as_py()
    assert pc.any(pc.is_in(tables["suricata.alert"]["flow_id"], value_set=flows)).as_py()


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_community_ids_follow_the_specification(tables, six):
    """A session's id is the digest of its ordered end points, in both versions of IP."""
    numbers = {"tcp": 6, "udp": 17, "icmp": 1}
    columns = ("id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "community_id")
    rows = zip(*(tables["zeek.conn"][name].to_pylist() for name in columns), strict=True)
    mapped = b"\0" * 10 + b"\xff\xff"
    checked = 0
    for orig_h, orig_p, resp_h, resp_p, proto, found in rows:
        if orig_h.startswith(mapped) == six or checked > 200:
            continue
        ends = sorted(
            (host if six else host[12:], port)
            for host, port in ((orig_h, orig_p), (resp_h, resp_p))
        )
        text = b"\0\0" + ends[0][0] + ends[1][0] + bytes([numbers[proto], 0])
        text += b"".join(port.to_bytes(2, "big") for _, port in ends)
        digest = hashlib.sha1(text, usedforsecurity=False).digest()
        assert found == "1:" + base64.b64encode(digest).decode()
        checked += 1
    assert checked > 100


def test_busy_days_and_quiet_nights(tables):
    """Working hours carry several times the traffic of the night and of the weekend."""
    times = tables["zeek.conn"]["ts"].cast(pa.int64()).to_numpy() - demo.START
    day, hour = np.divmod(times // (3600 * 10**9), 24)
    noon, night = (np.sum((day == 1) & (hour == at)) for at in (13, 3))
    assert noon > 4 * night
    assert np.sum((day == 1) & (hour == 13)) > 2 * np.sum((day == 5) & (hour == 13))


def test_few_hosts_make_most_traffic(tables):
    """Ten clients of 240 start more than a third of the connections."""
    counts = pc.value_counts(tables["zeek.conn"]["id.orig_h"].combine_chunks())
    top = sorted(counts.field("counts").to_pylist())[-10:]
    assert sum(top) > tables["zeek.conn"].num_rows / 3


_VICTIM = b"\0" * 10 + b"\xff\xff\x0a\x01\x04\x11"
_CONTROL = b"\0" * 10 + b"\xff\xff\xcb\x00\x71\x63"


def test_story_is_complete(tables):
    """Lure, beacon, lateral movement and exfiltration are there, in this order."""
    conn, dns = tables["zeek.conn"], tables["zeek.dns"]
    asked = dns.filter(pc.equal(dns["query"], "invoice-portal.example"))
    assert asked["id.orig_h"].to_pylist() == [_VICTIM]
    control = conn.filter(pc.equal(conn["id.resp_h"], pa.scalar(_CONTROL, pa.binary(16))))
    beacon = control.filter(pc.less(control["orig_bytes"], 1_000))
    gaps = np.diff(beacon["ts"].cast(pa.int64()).to_numpy()) / 60e9
    assert len(gaps) > 300
    assert abs(np.median(gaps) - 10) < 0.5
    assert gaps.max() < 12
    stolen = control.filter(pc.greater(control["orig_bytes"], 5_000_000_000))
    lateral = conn.filter(pc.is_in(conn["service"], value_set=pa.array(["smb", "rdp"])))
    assert set(lateral["id.orig_h"].to_pylist()) == {_VICTIM}
    firsts = [table["ts"][0].as_py() for table in (asked, beacon, lateral, stolen)]
    assert firsts == sorted(firsts)


def test_numbers_at_their_limits(tables):
    """Counters beyond the doubles, backward and sub-microsecond durations, IPv6 loopback."""
    conn, asset = tables["zeek.conn"], tables["demo.asset"]
    assert {2**53 + 1, 2**63, 2**64 - 1} <= set(conn["orig_bytes"].to_pylist())
    durations = set(conn["duration"].drop_null().cast(pa.int64()).to_pylist())
    assert {-1_000, 1, 999} <= durations
    assert b"\0" * 15 + b"\1" in conn["id.orig_h"].to_pylist()
    assert pc.any(pc.is_nan(asset["risk"])).as_py()
    assert pc.any(pc.is_inf(asset["risk"])).as_py()
    assert {-(2**63), 2**63 - 1} <= set(asset["drift"].to_pylist())
    assert pc.min(asset["installed"].cast(pa.int64())).as_py() < 0
    assert pc.any(pc.not_equal(pc.nanosecond(conn["ts"]), 0)).as_py()


def test_nulls_and_empties_everywhere(tables):
    """Null columns, null subnets, empty and null lists, lists with nulls, empty text."""
    asset = tables["demo.asset"]
    assert tables["zeek.http"]["info_code"].null_count == tables["zeek.http"].num_rows
    assert 0 < asset["network"].null_count < asset.num_rows
    for name in ("addresses", "networks", "open_ports", "labels", "scores"):
        values = asset[name].to_pylist()
        assert None in values
        assert [] in values
        assert any(None in value for value in values if value)
    assert any(None in value for value in tables["zeek.dns"]["answers"].to_pylist() if value)
    assert "" in tables["zeek.http"]["user_agent"].to_pylist()


@pytest.mark.parametrize("text", ["<script>", "\x1b[", "\u202e", "../../", "=HYPERLINK", "\x00"])
def test_hostile_text_is_in_every_text_of_an_attacker(tables, text):
    """Names, addresses of pages and user agents carry markup, escapes, controls and paths."""
    for name, column in (
        ("zeek.dns", "query"),
        ("zeek.http", "uri"),
        ("zeek.http", "user_agent"),
        ("suricata.http", "http.url"),
    ):
        assert any(text in value for value in pc.unique(tables[name][column]).to_pylist() if value)
