"""How fast a node's folder is read directly, against the node itself."""

from __future__ import annotations

import asyncio
import time

import pyarrow as pa
import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.nodes import own, process

EVENTS = 1_000_000
GOAL = 4.0


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if process.find_tenzir() is None:
        pytest.skip("the package tenzir is not installed")
    with own.start_node(tmp_path_factory.mktemp("benchmark") / "state") as node:
        tables: dict[str, list[pa.RecordBatch]] = {}
        for batch in demo.batches(EVENTS):
            tables.setdefault(str(batch.schema.metadata), []).append(batch)
        asyncio.run(_ingest(node.endpoint, tables))
        time.sleep(61)  # what is younger may be in memory only, and is looked at closely
        yield node


async def _ingest(endpoint, tables):
    async with VAST(endpoint) as vast:
        for batches in tables.values():
            await vast.ingest(pa.Table.from_batches(batches))


async def exported(endpoint, expression):
    async with VAST(endpoint) as vast:
        started = time.perf_counter()
        events = sum([part.num_rows async for part in vast.export(expression, limit=0)])
        return events, time.perf_counter() - started


@pytest.mark.benchmark
@pytest.mark.parametrize("expression", ["", "id.resp_p == 53", "10.1.4.17"])
@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
def test_export_from_the_folder_and_from_the_node(benchmark, running, expression):
    """The same events, in one run, from both."""
    direct = [asyncio.run(exported(running.folder, expression)) for _ in range(3)]
    node = [asyncio.run(exported(running.endpoint, expression)) for _ in range(2)]
    assert {events for events, _ in direct} == {events for events, _ in node}
    mine, theirs = min(s for _, s in direct), min(s for _, s in node)
    print(
        f"\nexport of {expression!r}: {direct[0][0]:,} events, folder {mine:.2f} s, "
        f"node {theirs:.2f} s, ratio {theirs / mine:.1f} (goal for everything: {GOAL:g})"
    )
    benchmark.pedantic(lambda: asyncio.run(exported(running.folder, expression)), rounds=1)
