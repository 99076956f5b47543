"""The sets of events that every node of the suite holds."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from tests.conformance import recordings
from vastlab import demo
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.readers import read
from vastlab.types import Field, Kind, Schema, Type

Events = list[pa.RecordBatch | Path]
DEMO_EVENTS = 2_000
DEMO_BATCH = 128
PART = {"vast": 250}
"""How many recorded events of each batch a slow node holds, which evaluates them in Python."""

TIME = Type(Kind.TIME, names=("timestamp",))
PORT = Type(Kind.UINT64, names=("port",))
ENDPOINTS = Type(
    Kind.RECORD,
    fields=(
        Field("orig_h", Type(Kind.IP)),
        Field("orig_p", PORT),
        Field("resp_h", Type(Kind.IP)),
        Field("resp_p", PORT),
    ),
)
PROTO = Type(Kind.ENUM, labels=(("tcp", 0), ("udp", 1), ("icmp", 2)))
CONN = Schema(
    "zeek.conn",
    (
        Field("ts", TIME),
        Field("uid", Type(Kind.STRING)),
        Field("id", ENDPOINTS),
        Field("proto", PROTO),
        Field("duration", Type(Kind.DURATION)),
        Field("orig_bytes", Type(Kind.UINT64)),
        Field("local", Type(Kind.BOOL)),
        Field("network", Type(Kind.SUBNET)),
        Field("tags", Type(Kind.LIST, item=Type(Kind.STRING))),
    ),
)
DNS = Schema(
    "zeek.dns",
    (
        Field("ts", TIME),
        Field("uid", Type(Kind.STRING)),
        Field("query", Type(Kind.STRING)),
        Field("answers", Type(Kind.LIST, item=Type(Kind.IP))),
        Field("rtt", Type(Kind.DURATION)),
        Field("score", Type(Kind.DOUBLE)),
        Field("delta", Type(Kind.INT64)),
    ),
)
DAY = 1_258_502_400_000_000_000  # 2009-11-18T00:00:00Z
HOUR = 3_600_000_000_000
SECOND = 1_000_000_000


def _address(text: str) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + bytes(int(part) for part in text.split("."))


def _conn(hour, uid, orig, orig_p, resp, resp_p, proto, seconds, sent, local, network, tags):
    net = None
    if network is not None:
        base, length = network.split("/")
        net = {"address": _address(base), "length": 96 + int(length)}
    return {
        "ts": DAY + hour * HOUR,
        "uid": uid,
        "id": {
            "orig_h": _address(orig),
            "orig_p": orig_p,
            "resp_h": _address(resp),
            "resp_p": resp_p,
        },
        "proto": proto,
        "duration": None if seconds is None else int(seconds * SECOND),
        "orig_bytes": sent,
        "local": local,
        "network": net,
        "tags": tags,
    }


def _dns(hour, uid, query, answers, rtt, score, delta):
    return {
        "ts": DAY + hour * HOUR,
        "uid": uid,
        "query": query,
        "answers": None if answers is None else [_address(text) for text in answers],
        "rtt": None if rtt is None else int(rtt * SECOND),
        "score": score,
        "delta": delta,
    }


CONNS = [
    _conn(0, "C0", "10.0.0.1", 1024, "192.168.0.1", 80, "tcp", 0.5, 10, True, "10.0.0.0/8", ["a"]),
    _conn(1, "C1", "10.0.0.2", 1025, "192.168.0.1", 443, "tcp", 5, 2000, False, None, []),
    _conn(2, "C2", "10.0.0.1", 53, "8.8.8.8", 53, "udp", None, None, None, "10.1.0.0/16", None),
    _conn(3, "C3", "172.16.0.9", 0, "10.0.0.1", 0, "icmp", 60, 2**63, True, None, ["a", "b"]),
]
DNSS = [
    _dns(0, "C0", "www.example.org", ["10.0.0.7", "10.0.0.8"], 0.01, 1.5, -1),
    _dns(2, "C2", "EXAMPLE.net", [], None, float("nan"), 0),
    _dns(4, "C9", None, None, -1, None, 5),
]


def _plain(type_: Type) -> pa.DataType:
    """Return the type that Python values can be turned into."""
    match type_.kind:
        case Kind.IP:
            return pa.binary(16)
        case Kind.SUBNET:
            return pa.struct([("address", pa.binary(16)), ("length", pa.uint8())])
        case Kind.ENUM:
            return pa.string()
        case Kind.LIST:
            return pa.list_(_plain(type_.item))
        case Kind.RECORD:
            return pa.struct([(member.name, _plain(member.type)) for member in type_.fields])
        case _:
            return arrow_schema.type_to_arrow(type_)


def batch(schema: Schema, rows: list[dict[str, object]]) -> pa.RecordBatch:
    """Turn rows into a batch in vastlab's own form."""
    target = arrow_schema.to_arrow(schema)
    arrays = []
    for member in schema.fields:
        array = pa.array([row[member.name] for row in rows], _plain(member.type))
        field = pa.field(member.name, array.type)
        arrays.append(convert.convert(array, field, member.type))
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def connections(hour: int, *uids: str) -> pa.RecordBatch:
    """Make more connections to port 80."""
    return batch(CONN, [CONNS[0] | {"uid": uid, "ts": DAY + hour * HOUR} for uid in uids])


@functools.cache
def seven() -> Events:
    """Return four connections and three DNS lookups, written by hand."""
    return [batch(CONN, CONNS), batch(DNS, DNSS)]


@functools.cache
def demo_events() -> Events:
    """Return the demo's events in small batches."""
    return [
        part.slice(start, DEMO_BATCH)
        for part in demo.batches(DEMO_EVENTS)
        for start in range(0, part.num_rows, DEMO_BATCH)
    ]


@functools.cache
def recorded(rows: int | None = None) -> Events:
    """Return what the real node held and is at hand: its Zeek logs, and events of all types.

    With `rows`, at most that many events of each batch of the logs.
    """
    logs = recordings.logs()
    if rows is not None:
        logs = [part.slice(0, rows) for part in batches_of(logs)]
    return [*logs, *recordings.typed_events().values()]


def events_of(name: str, kind: str) -> Events:
    """Return a set of events as a node of this kind holds it."""
    match name:
        case "seven":
            return seven()
        case "demo":
            return demo_events()
        case _:
            return recorded(PART.get(kind))


def batches_of(events: Iterable[pa.RecordBatch | Path]) -> list[pa.RecordBatch]:
    """Read the logs among the events."""
    return [
        convert.normalise(part)
        for item in events
        for part in (read(item) if isinstance(item, Path) else [item])
    ]


def by_schema(batches: Iterable[pa.RecordBatch]) -> dict[str, list[pa.RecordBatch]]:
    """Group batches by the name of their schema."""
    found = collections.defaultdict(list)
    for part in batches:
        found[arrow_schema.name_of(part.schema)].append(part)
    return dict(found)


def without(part: pa.RecordBatch, kinds: Iterable[Kind]) -> pa.RecordBatch:
    """Leave out the fields of these kinds."""
    schema = arrow_schema.from_arrow(part.schema)
    return part.select([field.name for field in schema.fields if field.type.kind not in kinds])
