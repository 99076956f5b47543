"""Rows and frames against the plain way: `to_pylist`, which makes an object of each address."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests import arrow_strategies as arrow_st
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.frames import to_frames
from vastlab.table_slice import TableSlice, to_json_rows
from vastlab.types import Field, Kind, Schema, Type

pytestmark = pytest.mark.benchmark

ROWS = 65_536


def connections(rows: int = ROWS) -> pa.RecordBatch:
    """Make events like those of zeek.conn: skewed hosts, nulls, lists, an enum and a subnet."""
    random = np.random.default_rng(1)
    hosts = [arrow_st.V4_MAPPED + random.bytes(4) for _ in range(rows // 3)]
    hosts += [random.bytes(16) for _ in range(64)]
    labels = tuple((name, i) for i, name in enumerate(("tcp", "udp", "icmp")))
    port, number = Type(Kind.UINT64, names=("port",)), Type(Kind.UINT64)

    def some(values: list[Any], nulls: float = 0.1) -> list[Any]:
        picked = random.integers(0, len(values), rows).tolist()
        null = (random.random(rows) < nulls).tolist()
        return [None if no else values[i] for i, no in zip(picked, null, strict=True)]

    nets = [(host[:14] + b"\0\0", 112) for host in hosts[:200]]
    numbers = random.integers(0, 2**40, 5000).tolist()
    start = 1_258_531_221_486_539_000
    texts = [f"C{i:015x}" for i in range(rows)]
    ends = [some(hosts, 0), some([53, 80, 443, 50000], 0), some(hosts, 0), some([53, 80], 0)]
    columns: dict[str, tuple[Type, list[Any]]] = {
        "ts": (Type(Kind.TIME), [start + i * 1_000_037 for i in range(rows)]),
        "uid": (Type(Kind.STRING), texts),
        "id": (
            Type(
                Kind.RECORD,
                fields=(
                    Field("orig_h", Type(Kind.IP)),
                    Field("orig_p", port),
                    Field("resp_h", Type(Kind.IP)),
                    Field("resp_p", port),
                ),
            ),
            list(zip(*ends, strict=True)),
        ),
        "proto": (Type(Kind.ENUM, labels=labels), some(["tcp", "udp", "icmp"], 0)),
        "service": (Type(Kind.STRING), some(["dns", "http", "ssl"], 0.4)),
        "duration": (Type(Kind.DURATION), some([n * 1000 for n in numbers])),
        "net": (Type(Kind.SUBNET), some(nets)),
        "tunnel_parents": (Type(Kind.LIST, item=Type(Kind.STRING)), some([[], [], ["C1"]])),
        "local_orig": (Type(Kind.BOOL), some([True, False], 0.5)),
        "rate": (Type(Kind.DOUBLE), some([0.5, 1.25, 1e9])),
        "history": (Type(Kind.STRING), some(["ShADadFf", "Dd", "S"])),
    }
    for name in ("orig_bytes", "resp_bytes", "missed_bytes", "orig_pkts", "resp_pkts"):
        columns[name] = (number, some(numbers))
    schema = Schema("zeek.conn", tuple(Field(name, type_) for name, (type_, _) in columns.items()))
    arrays = [arrow_st.array(type_, values) for type_, values in columns.values()]
    return arrow_arrays.record_batch(arrays, arrow_schema.to_arrow(schema), rows)


def plain_value(value: Any, type_: Type) -> Any:
    """Convert one value as a straightforward program would."""
    match type_.kind:
        case _ if value is None:
            return None
        case Kind.IP | Kind.SUBNET:  # of ipaddress, which `to_pylist` makes
            return str(value)
        case Kind.TIME:
            return pd.Timestamp(value).isoformat()
        case Kind.DURATION:
            return str(pd.Timedelta(value))
        case Kind.LIST:
            return [plain_value(item, type_.item) for item in value]
        case Kind.RECORD:
            return {f.name: plain_value(value[f.name], f.type) for f in type_.fields}
        case _:
            return value


def plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    fields = arrow_schema.from_arrow(batch.schema).fields
    return [{f.name: plain_value(row[f.name], f.type) for f in fields} for row in batch.to_pylist()]


def our_rows(batch: pa.RecordBatch) -> int:
    async def main() -> int:
        async def stream() -> AsyncIterator[TableSlice]:
            yield TableSlice(batch)

        count = 0
        async for _ in to_json_rows(stream()):
            count += 1
        return count

    return asyncio.run(main())


def per_second(action: Callable[[], Any], rows: int, turns: int = 3) -> float:
    """Measure the best of some turns, in CPU time, as rows per second."""
    best = float("inf")
    for _ in range(turns):
        gc.collect()
        start = time.process_time()
        action()
        best = min(best, time.process_time() - start)
    return rows / best


@pytest.fixture(scope="module")
def batch() -> pa.RecordBatch:
    return connections()


def test_rows_per_second(benchmark, batch):
    """Rows should come at least fifteen times as fast as by the plain way."""
    small = batch.slice(0, 8192)
    plain = per_second(lambda: plain_rows(small), small.num_rows)
    ours = per_second(lambda: our_rows(batch), batch.num_rows, turns=5)
    print(f"\nto_json_rows: {ours:,.0f} rows/s, plain way {plain:,.0f}: {ours / plain:.1f} times")
    benchmark.pedantic(our_rows, (batch,), rounds=1)


def test_frame_rows_per_second(benchmark, batch):
    """Frames should come at least fifteen times as fast as by the plain way."""
    small = batch.slice(0, 8192)
    tables = {"zeek.conn": [pa.Table.from_batches([batch])]}
    plain = per_second(lambda: pd.json_normalize(plain_rows(small)), small.num_rows)
    ours = per_second(lambda: to_frames(tables), batch.num_rows, turns=5)
    print(f"\nto_frames: {ours:,.0f} rows/s, plain way {plain:,.0f}: {ours / plain:.1f} times")
    benchmark.pedantic(to_frames, (tables,), rounds=1)
