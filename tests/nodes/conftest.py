"""Small databases, and VAST nodes of the tests."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.nodes.fake_vast import FakeVast
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.expression import parse
from vastlab.nodes import plan, process
from vastlab.nodes.base import Query
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

TIME = Type(Kind.TIME, names=("timestamp",))
ENDPOINTS = Type(
    Kind.RECORD,
    fields=(
        Field("orig_h", Type(Kind.IP)),
        Field("resp_p", Type(Kind.UINT64, names=("port",))),
    ),
)
CONN = Schema(
    "zeek.conn", (Field("ts", TIME), Field("id", ENDPOINTS), Field("n", Type(Kind.INT64)))
)
DNS = Schema("zeek.dns", (Field("ts", TIME), Field("query", Type(Kind.STRING))))


def address(number):
    return b"\0" * 10 + b"\xff\xff" + (0x0A000000 + number).to_bytes(4, "big")


def conn_batch(numbers):
    """Make one connection for each number; the number is in every column."""
    numbers = list(numbers)
    rows = {
        "ts": pa.array(numbers, pa.timestamp("ns")),
        "id": pa.array(
            [{"orig_h": address(n), "resp_p": n} for n in numbers],
            pa.struct([("orig_h", pa.binary(16)), ("resp_p", pa.uint64())]),
        ),
        "n": pa.array(numbers, pa.int64()),
    }
    target = arrow_schema.to_arrow(CONN)
    arrays = [
        convert.convert(array, target.field(name), CONN.fields[i].type)
        for i, (name, array) in enumerate(rows.items())
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def dns_batch(queries, start=0):
    arrays = [
        pa.array(range(start, start + len(queries)), pa.timestamp("ns")),
        pa.array(queries, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema.to_arrow(DNS))


@pytest.fixture(scope="session")
def makers():
    """Return what makes batches of connections and of DNS queries."""
    return conn_batch, dns_batch


@pytest.fixture
def make_conn():
    return conn_batch


@pytest.fixture
def make_dns():
    return dns_batch


@pytest.fixture
def database(tmp_path):
    """Make three files of connections, in mixed order of time, and one of DNS."""
    database = Database.create(tmp_path / "db")
    database.add([conn_batch(range(200, 300))])
    database.add([conn_batch(range(100))])
    database.add([conn_batch(range(100, 200)), dns_batch(["a.example", "b.example", None])])
    return database


@pytest.fixture
def server(tmp_path):
    """Run a VAST node."""
    node = FakeVast(tmp_path / "bin")
    yield node
    node.close()


@pytest.fixture
def only_vast(server, monkeypatch):
    """Let `vast` be the only client that is found."""
    monkeypatch.setenv("PATH", f"{server.folder}:/bin:/usr/bin")
    monkeypatch.setattr(process, "_bundled", lambda *parts: None)


@pytest.fixture
def numbers():
    """Return a coroutine function that exports and returns the column `n`."""

    async def collect(stream):
        return [n async for part in stream for n in part.to_pyarrow().column("n").to_pylist()]

    return collect


def chosen(database, text='#type == "zeek.conn"'):
    """Return what a question reads of a database."""
    snapshot = database.snapshot()
    return list(plan.tasks(Query(parse(text)), snapshot.layouts, snapshot.files))


@pytest.fixture
def six_files(tmp_path):
    """Make six files of ten connections each, and one of DNS."""
    database = Database.create(tmp_path / "test.db")
    for number in range(6):
        database.add([conn_batch(range(number * 10, number * 10 + 10))])
    database.add([dns_batch(["a", "b"])])
    return database
