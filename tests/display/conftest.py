"""Events to display."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pyarrow as pa
import pytest

from tests import arrow_strategies as arrow
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.types import Field, Kind, Schema, Type

START = 1_258_531_200_000_000_000  # 2009-11-18 08:00:00 UTC
SECOND = 1_000_000_000
CONN = Schema(
    "zeek.conn",
    (
        Field("ts", Type(Kind.TIME, names=("timestamp",))),
        Field(
            "id",
            Type(
                Kind.RECORD,
                fields=(
                    Field("orig_h", Type(Kind.IP)),
                    Field("resp_p", Type(Kind.UINT64, names=("port",))),
                ),
            ),
        ),
        Field("note", Type(Kind.STRING)),
    ),
)


def conn(
    seconds: Sequence[float | None],
    notes: Sequence[str | None] | None = None,
    name: str = "zeek.conn",
) -> pa.Table:
    """Make connections that began this many seconds after eight o'clock."""
    address = ipaddress.IPv6Address("::ffff:10.0.0.1").packed
    times = [None if s is None else START + int(s * SECOND) for s in seconds]
    hosts = [(address, number) for number in range(len(times))]
    texts = list(notes) if notes is not None else [f"n{i}" for i in range(len(times))]
    schema = Schema(name, CONN.fields)
    columns = [
        arrow.array(field.type, values)
        for field, values in zip(schema.fields, (times, hosts, texts), strict=True)
    ]
    batch = arrow_arrays.record_batch(columns, arrow_schema.to_arrow(schema), len(times))
    return pa.Table.from_batches([batch])


def wide(columns: int, rows: int, text: str, name: str = "wide") -> pa.Table:
    """Make a table of many columns that all say the same."""
    fields = tuple(Field(f"c{i}", Type(Kind.STRING)) for i in range(columns))
    schema = arrow_schema.to_arrow(Schema(name, fields))
    values = pa.array([text] * rows, pa.string())
    return pa.Table.from_batches([pa.RecordBatch.from_arrays([values] * columns, schema=schema)])


@pytest.fixture
def connections() -> pa.Table:
    """Three connections, not in order of time."""
    return conn([20, 0, 10])
