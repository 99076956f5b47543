"""Events of every type that a real VAST node exported come back from a database exactly."""

from __future__ import annotations

import json

import pytest

from vastlab.arrow.ipc import read_streams
from vastlab.client import VAST
from vastlab.table_slice import TableSlice, to_json_rows

GOLDEN = ("types/golden_types.arrow.stdout.bin", "types/golden_types.json.stdout.json")
ALL = ("export/e42_all_types.arrow.stdout.bin", "export/e42_all_types.json.stdout.ndjson")
RECORDED = [(*GOLDEN, "golden.types"), (*ALL, "all_types")]
DURATIONS = {"dur", "d"}
# The node's JSON cuts times to microseconds and writes durations its own way.
MICROSECONDS = len("2021-03-04T05:06:07.123456")


async def slices(path):
    """Iterate over a recorded export."""
    for batch in read_streams(path):
        yield TableSlice(batch)


async def rows(stream):
    """Collect an export as rows."""
    return [row async for row in to_json_rows(stream)]


def comparable(value, key=""):
    """Leave out what the node's JSON writes in another way."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in DURATIONS or not isinstance(v, str)}
        return {k: comparable(v, k) for k, v in kept.items()}
    if key == "t" and isinstance(value, str):
        return value[:MICROSECONDS].removesuffix(".000000")
    return value


@pytest.mark.parametrize("arrow,text,name", RECORDED, ids=[name for _, _, name in RECORDED])
async def test_recorded_events_of_every_type_come_back_exactly(shared, tmp_path, arrow, text, name):
    """What is ingested from a recorded export is exported again, value by value."""
    recorded = shared / "golden" / arrow
    expected = await rows(slices(recorded))
    assert {row.name for row in expected} == {name}
    async with VAST(tmp_path / "types.db") as vast:
        await vast.ingest(list(read_streams(recorded)))
        found = await rows(vast.export(f'#type == "{name}"', limit=0))
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    lines = (shared / "golden" / text).read_text(encoding="utf-8").splitlines()
    told = [comparable(json.loads(line)) for line in lines]
    assert sorted(map(repr, told)) == sorted(repr(comparable(row.data)) for row in found)
