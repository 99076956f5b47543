"""Summaries beside bare DataFusion, which groups the same files by the same columns."""

from __future__ import annotations

import asyncio
import statistics
import time

import datafusion
import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

EVENTS = 4_000_000
ROUNDS = 5
QUESTIONS = {
    "bytes by address": (
        {"by": "id.orig_h", "aggregates": {"bytes": "sum(orig_bytes)"}},
        'select "id.orig_h", sum(orig_bytes) from conn group by 1',
    ),
    "events by hour": (
        {"every": "1h", "aggregates": {"events": "count()"}},
        "select date_trunc('hour', ts), count(*) from conn group by 1",
    ),
    "peers by address": (
        {"by": "id.orig_h", "aggregates": {"peers": "count_distinct(id.resp_h)"}},
        'select "id.orig_h", count(distinct "id.resp_h") from conn group by 1',
    ),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database.path


def ours(path, options):
    async def ask():
        async with VAST(path) as vast:
            return len(await vast.summarize('#type == "zeek.conn"', **options))

    return asyncio.run(ask())


def bare(path, sql):
    context = datafusion.SessionContext(
        datafusion.SessionConfig({"datafusion.execution.target_partitions": "2"})
    )
    (folder,) = (path / "data" / "zeek.conn").iterdir()
    context.register_parquet("conn", str(folder))
    return sum(batch.num_rows for batch in context.sql(sql).collect())


def cpu(ask, *args):
    started = time.process_time()
    rows = ask(*args)
    return time.process_time() - started, rows


def our_timeline(path):
    async def ask():
        async with VAST(path) as vast:
            return await vast.timeline('#type == "zeek.conn"')

    return asyncio.run(ask())


@pytest.mark.benchmark
def test_timeline(benchmark, path):
    """One pass, beside one GROUP BY with buckets of the width that was found."""
    width = int(our_timeline(path).attrs["every"].total_seconds())
    sql = f"select date_bin(interval '{width} seconds', ts), count(*) from conn group by 1"
    pairs = [(cpu(our_timeline, path), cpu(bare, path, sql)) for _ in range(ROUNDS)]
    assert {len(mine[1]) for mine, _ in pairs} == {theirs[1] for _, theirs in pairs}
    mine, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    print(f"\ntimeline: {mine:.3f} s CPU, bare DataFusion {theirs:.3f}, ratio {mine / theirs:.2f}")
    benchmark.pedantic(our_timeline, (path,), rounds=1)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", QUESTIONS)
def test_summaries(benchmark, path, name):
    """The pairs are measured in turn, so that the load of the machine is the same for both."""
    options, sql = QUESTIONS[name]
    pairs = [(cpu(ours, path, options), cpu(bare, path, sql)) for _ in range(ROUNDS)]
    assert len({rows for pair in pairs for _, rows in pair}) == 1
    mine, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    print(f"\n{name}: {mine:.3f} s CPU, bare DataFusion {theirs:.3f}, ratio {mine / theirs:.2f}")
    benchmark.pedantic(ours, (path, options), rounds=1)
