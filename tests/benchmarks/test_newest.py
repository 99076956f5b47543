"""The newest events of a large database beside the oldest ones."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.store import checksums
from vastlab.store.database import Database

EVENTS = 4_000_000
ROUNDS = 5
QUESTIONS = ("", '#type == "zeek.conn"', "resp_p == 53", ":ip == 203.0.113.66")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database.path


def exported(path, expression, order):
    """Return the CPU time, and how many events came."""

    async def ask():
        async with VAST(path) as vast:
            return sum([part.num_rows async for part in vast.export(expression, order=order)])

    checksums.forget()
    started = time.process_time()
    found = asyncio.run(ask())
    return time.process_time() - started, found


@pytest.mark.benchmark
@pytest.mark.parametrize("expression", QUESTIONS)
def test_newest(benchmark, path, expression):
    """The pairs are measured in turn, so that the load of the machine is the same for both."""
    orders = ("newest", "oldest")
    pairs = [[exported(path, expression, order) for order in orders] for _ in range(ROUNDS)]
    assert len({found for pair in pairs for _, found in pair}) == 1
    newest, oldest = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    print(f"\n{expression!r}: {newest:.3f} s CPU, oldest {oldest:.3f}, {newest / oldest:.2f} times")
    benchmark.pedantic(exported, (path, expression, "newest"), rounds=1)
