"""What it costs to compare what is read with its checksums, in a process that knows nothing."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.store import checksums
from vastlab.store.database import Database

EVENTS = 2_000_000
ROUNDS = 7


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database.path


async def exported(path, verify, expression, limit=0):
    async with VAST(path, verify=verify) as vast:
        return sum([part.num_rows async for part in vast.export(expression, limit=limit)])


async def counted(path, verify, expression):
    async with VAST(path, verify=verify) as vast:
        return await vast.count(expression)


def cpu(path, verify, ask, *args):
    checksums.forget()
    started = time.process_time()
    asyncio.run(ask(path, verify, *args))
    return time.process_time() - started


@pytest.mark.benchmark
@pytest.mark.parametrize(
    "ask, args",
    [
        (exported, ("",)),
        (exported, ("203.0.113.99",)),
        (exported, ('uid == "Cabsent"',)),
        (exported, ("", 100)),
        (exported, ("resp_p == 22", 100)),
        (counted, ("",)),
        (counted, ("resp_p == 445",)),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_verification(benchmark, path, ask, args):
    """The pairs are measured in turn, so that the load of the machine is the same for both."""
    pairs = [[cpu(path, verify, ask, *args) for verify in (False, True)] for _ in range(ROUNDS)]
    without, with_ = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(f"\n{ask.__name__} {args}: {without:.3f} s CPU without, ratio {with_ / without:.2f}")
    benchmark.pedantic(lambda: asyncio.run(ask(path, True, *args)), rounds=1)
