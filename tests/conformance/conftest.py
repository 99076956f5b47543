"""One set of events, behind every kind of node.

What a node cannot do is data: `CANNOT` says why, and the test that asks for it is skipped
with that reason.
"""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from tests.nodes.fake_vast import FakeVast
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.client import VAST
from vastlab.nodes import process
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

_ORDER = "never: a node answers in its own order, and a limit takes what comes first"
_NAMES = "never: Tenzir keeps no names of types, and enumerations as text"
CANNOT = {
    ("logs", "ingest"): "never: a folder of logs is read as it is",
    ("vast", "order"): _ORDER,
    ("tenzir", "order"): _ORDER,
    ("vast", "own status"): "never: the status is the node's own",
    ("tenzir", "own status"): "never: the status is the node's own",
    ("vast", "start at the call"): "never: the program subscribes when it runs",
    ("tenzir", "start at the call"): "never: the program subscribes when it runs",
    ("tenzir", "type names"): _NAMES,
}

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


CONNS = [
    _conn(0, "C0", "10.0.0.1", 1024, "192.168.0.1", 80, "tcp", 0.5, 10, True, "10.0.0.0/8", ["a"]),
    _conn(1, "C1", "10.0.0.2", 1025, "192.168.0.1", 443, "tcp", 5, 2000, False, None, []),
    _conn(2, "C2", "10.0.0.1", 53, "8.8.8.8", 53, "udp", None, None, None, "10.1.0.0/16", None),
    _conn(3, "C3", "172.16.0.9", 0, "10.0.0.1", 0, "icmp", 60, 2**63, True, None, ["a", "b"]),
]
DNSS = [
    (0, "C0", "www.example.org", ["10.0.0.7", "10.0.0.8"], 0.01, 1.5, -1),
    (2, "C2", "EXAMPLE.net", [], None, float("nan"), 0),
    (4, "C9", None, None, -1, None, 5),
]


def _dns_rows() -> list[dict[str, object]]:
    return [
        {
            "ts": DAY + hour * HOUR,
            "uid": uid,
            "query": query,
            "answers": None if answers is None else [_address(text) for text in answers],
            "rtt": None if rtt is None else int(rtt * SECOND),
            "score": score,
            "delta": delta,
        }
        for hour, uid, query, answers, rtt, score, delta in DNSS
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


@dataclass(frozen=True)
class Behind:
    """A node with events, and how more of them get there."""

    kind: str
    vast: VAST
    add: Callable[[pa.RecordBatch], None]
    listens: Callable[[], Awaitable[None]]
    conn: pa.RecordBatch
    dns: pa.RecordBatch

    def needs(self, ability: str) -> None:
        """Skip the test where the node cannot do something."""
        if reason := CANNOT.get((self.kind, ability)):
            pytest.skip(reason)

    def conn_at(self, hour: int, *uids: str) -> pa.RecordBatch:
        """Make more connections."""
        rows = [CONNS[0] | {"uid": uid, "ts": DAY + hour * HOUR} for uid in uids]
        return batch(CONN, rows)


Made = tuple[VAST, Callable[[pa.RecordBatch], None], Callable[[], Awaitable[None]]]


def _embedded(folder: Path, stack: ExitStack) -> Made:
    database = Database.create(folder / "events.db")
    vast = VAST(database.path)
    return vast, lambda events: database.add([events]) and None, vast.count


def _logs(folder: Path, stack: ExitStack) -> Made:
    logs = folder / "logs"
    logs.mkdir()

    def add(events: pa.RecordBatch) -> None:
        # Written beside and moved, as a sensor that rotates its logs does.
        path = logs / f"{len(list(logs.iterdir()))}.arrow"
        beside = folder / "next.arrow"
        with pa.ipc.new_file(beside, events.schema) as writer:
            writer.write_batch(events)
        beside.rename(path)

    # The state counts that a folder of logs has when the export has looked at it.
    vast = VAST(logs)
    return vast, add, vast.count


def _vast(folder: Path, stack: ExitStack) -> Made:
    node = FakeVast(folder / "bin")
    stack.callback(node.close)
    environment = stack.enter_context(pytest.MonkeyPatch.context())
    environment.setenv("PATH", str(node.folder))
    listens = partial(asyncio.to_thread, node.wait_until_listening)
    return VAST(node.endpoint), node.add, listens


NODES = {"embedded": _embedded, "logs": _logs, "vast": _vast}


@pytest.fixture(params=NODES)
async def behind(request, tmp_path, monkeypatch):
    """Return each kind of node in turn, with the same events."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    # Else the client of an installed Tenzir would be asked, too.
    monkeypatch.setattr(process, "find_tenzir", lambda: None)
    with ExitStack() as stack:
        vast, add, listens = NODES[request.param](tmp_path, stack)
        conn, dns = batch(CONN, CONNS), batch(DNS, _dns_rows())
        for events in (conn, dns):
            add(events)
        yield Behind(request.param, vast, add, listens, conn, dns)
        await vast.aclose()


@pytest.fixture
def moment():
    """Return a function from an hour of the day of all events to a time."""
    start = dt.datetime(2009, 11, 18, tzinfo=dt.UTC)
    return lambda hour: start + dt.timedelta(hours=hour)


SHARES = {
    ("test_every_node_finds_the_same", "logs"): 4,
    ("test_every_node_finds_the_same", "vast"): 2,
    ("test_an_expression_finds_the_same_events_everywhere", "vast"): 4,
}
"""Of how many expressions one is asked in the default suite; the others are `full`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Ask slow nodes less in the default suite."""
    seen = collections.Counter()
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        key = (item.originalname, params.get("node", params.get("behind"))) if params else None
        if key in SHARES:
            if seen[key] % SHARES[key]:
                item.add_marker(pytest.mark.full)
            seen[key] += 1
