"""What grows with the events: the same questions of one, ten and a hundred times as many."""

from __future__ import annotations

import asyncio

import pytest

from tests.benchmarks.measure import EVENTS
from vastlab import demo
from vastlab.client import VAST
from vastlab.store import checksums
from vastlab.store.database import Database

SIZES = (EVENTS // 10, EVENTS, 10 * EVENTS)
TABLE = f"Growth: the CPU over that of {SIZES[0]:,} events"
QUESTIONS = {
    "needle, events": (":ip == 203.0.113.66", 0),
    "needle, count": (":ip == 203.0.113.66", None),
    "absent uid, count": ('uid == "Cabsent"', None),
    "first 100 of a common predicate": ("resp_p == 53", 100),
    "time range, count": ("ts >= 2026-03-03T06:00:00Z && ts < 2026-03-04T06:00:00Z", None),
}


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth")
    made = {}
    for size in SIZES:
        database = Database.create(folder / f"{size}.db")
        database.add(demo.batches(size))
        made[f"{size:,}"] = database.path
    return made


@pytest.mark.benchmark
@pytest.mark.parametrize("verified", [True, False], ids=["later", "first"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_growth(compare, databases, name, verified):
    """The first question of a process verifies what it reads; later ones know that."""
    expression, limit = QUESTIONS[name]

    async def answer(path):
        async with VAST(path) as vast:
            if limit is None:
                return await vast.count(expression)
            return sum([part.num_rows async for part in vast.export(expression, limit=limit)])

    def ask(path):
        if not verified:
            checksums.forget()
        return asyncio.run(answer(path))

    asks = {size: lambda path=path: ask(path) for size, path in databases.items()}
    when = "" if verified else ", first question"
    compare(TABLE, f"{name}{when}", asks, same=lambda *_: True)
