"""Small databases and events for the tests of the store."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.store.following import Follower
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

SECOND = 1_000_000_000


@pytest.fixture
def database(tmp_path):
    """Make an empty database."""
    return Database.create(tmp_path / "test.db")


@pytest.fixture(scope="session")
def events():
    """Make a batch of events: ``events(times, name="zeek.conn")``, times in seconds."""

    def make(times, name="zeek.conn"):
        members = (
            Field("ts", Type(Kind.TIME, names=("timestamp",))),
            Field("uid", Type(Kind.STRING)),
            Field("id", Type(Kind.RECORD, fields=(Field("orig_h", Type(Kind.IP)),))),
            Field("bytes", Type(Kind.UINT64)),
        )
        schema = arrow_schema.to_arrow(Schema(name, members))
        nanoseconds = [None if t is None else int(t * SECOND) for t in times]
        addresses = pa.array(
            [bytes([0] * 15 + [i % 256]) for i in range(len(times))], pa.binary(16)
        )
        host = pa.ExtensionArray.from_storage(arrow_types.IP, addresses)
        columns = [
            pa.array(nanoseconds, pa.timestamp("ns")),
            pa.array([f"C{t}" for t in times], pa.string()),
            pa.StructArray.from_arrays([host], fields=list(schema.field("id").type)),
            pa.array(range(len(times)), pa.uint64()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    return make


@pytest.fixture
def logs(tmp_path):
    """Make a folder with one log that stays as it is."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "other.json").write_text('{"other": 1}\n')
    return tmp_path / "logs"


@pytest.fixture
def follower(logs, tmp_path):
    """Follow that folder from before the first log on."""
    return Follower(logs, tmp_path / "cache")
