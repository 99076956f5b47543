"""Every event that a real VAST node exported is found by the embedded node, too.

Counts are compared in `tests.test_golden`; here the events themselves are, field by field, with
times to the microsecond: the node read them from decimal text through doubles.
"""

from __future__ import annotations

import collections
import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.ipc import read_streams
from vastlab.client import VAST

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

LOGS = ("conn", "dns", "http")
NAMES = tuple(f"zeek.{log}" for log in LOGS)
MICROSECOND = 1_000


@pytest.fixture
async def logs(shared, tmp_path):
    """Keep the logs that the node had in a database."""
    client = VAST(tmp_path / "events.db")
    await client.ingest([shared / "data" / "zeek" / f"{log}.log.gz" for log in LOGS])
    await client.aclose()
    return client.endpoint.path


def flat_tables(batches) -> dict[str, pa.Table]:
    """Gather the events of the schemas that are at hand, in flat columns."""
    found = collections.defaultdict(list)
    for batch in batches:
        if arrow_schema.name_of(batch.schema) in NAMES:
            flat = convert.flatten(convert.normalise(batch))
            found[arrow_schema.name_of(batch.schema)].append(flat)
    return {name: pa.Table.from_batches(parts) for name, parts in found.items()}


def column(table: pa.Table, name: str) -> list:
    """Return comparable values."""
    array = table.column(name).combine_chunks()
    storage = arrow_arrays.storage_of(array)
    if pa.types.is_timestamp(storage.type) or pa.types.is_duration(storage.type):
        numbers = storage.cast(pa.int64()).to_pylist()
        return [None if n is None else round(n / MICROSECOND) for n in numbers]
    return [str(value) for value in storage.to_pylist()]


def events(table: pa.Table, names: list[str]) -> collections.Counter:
    """Count equal events, as far as these fields tell."""
    return collections.Counter(zip(*(column(table, name) for name in names), strict=True))


async def test_every_recorded_event_is_found(shared, logs):
    """Of every expression that was recorded, the answer holds the recorded events."""
    folder = shared / "golden" / "export"
    checked = 0
    async with VAST(logs) as client:
        for case in json.loads((folder / "summary.json").read_text()):
            path = folder / f"{case['case']}.arrow.stdout.bin"
            if case["arrow_exit"] or case["expr"].startswith("where "):
                continue
            recorded = flat_tables(read_streams(path)) if path.exists() else {}
            stream = client.export(case["expr"], limit=0)
            answer = flat_tables([part.to_pyarrow() async for part in stream])
            for name, table in recorded.items():
                compare(table, answer[name], case["expr"])
                checked += table.num_rows
    assert checked > 500


def compare(recorded: pa.Table, answer: pa.Table, text: str) -> None:
    """Hold the recorded events against the answer."""
    near = answer.filter(pc.is_in(answer.column("uid"), recorded.column("uid").combine_chunks()))
    common = [name for name in recorded.column_names if name in answer.column_names]
    common = [name for name in common if not isinstance(near.schema.field(name).type, pa.ListType)]
    assert len(common) > 10
    missing = events(recorded, common) - events(near, common)
    assert not missing, text
