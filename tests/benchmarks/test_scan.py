"""How fast a scan is, against pyarrow reading the same files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pyarrow.compute as pc
import pyarrow.dataset
import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

EVENTS = 2_000_000
ROUNDS = 3


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database


@pytest.fixture
def files(database):
    """Group the files by schema, as pyarrow wants them."""
    files: dict[str, list[str]] = {}
    for file in database.snapshot().files:
        files.setdefault(file.fingerprint, []).append(file.path)
    return files


def measured(function: Callable[[], int]) -> tuple[float, float, int]:
    """Return the best wall time, the best CPU time and the answer."""
    wall, cpu, answer = [], [], 0
    for _ in range(ROUNDS):
        started, used = time.perf_counter(), time.process_time()
        answer = function()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu), answer


def compare(what: str, mine: Callable[[], int], bare: Callable[[], int]) -> None:
    my_wall, my_cpu, my_answer = measured(mine)
    wall, cpu, answer = measured(bare)
    assert my_answer == answer
    print(
        f"\n{what}: {my_answer:,} events, vastlab {my_wall:.3f} s (CPU {my_cpu:.3f} s), "
        f"pyarrow {wall:.3f} s (CPU {cpu:.3f} s), "
        f"ratio {wall / my_wall:.2f} (CPU {cpu / my_cpu:.2f})"
    )


async def exported(path, expression):
    async with VAST(path) as vast:
        return sum([part.num_rows async for part in vast.export(expression, limit=0)])


async def counted(path, expression):
    async with VAST(path) as vast:
        return await vast.count(expression)


def bare(files, condition=None):
    found = 0
    for paths in files.values():
        dataset = pyarrow.dataset.dataset(paths)
        if condition is not None and "id.resp_p" not in dataset.schema.names:
            continue
        found += sum(batch.num_rows for batch in dataset.to_batches(filter=condition))
    return found


def bare_count(files, condition):
    datasets = (pyarrow.dataset.dataset(paths) for paths in files.values())
    return sum(
        dataset.count_rows(filter=condition)
        for dataset in datasets
        if "id.resp_p" in dataset.schema.names
    )


PORT = pc.field("id.resp_p") == 53


@pytest.mark.benchmark
def test_export_of_everything(benchmark, database, files):
    """Every event, batch by batch."""
    compare(
        "export everything",
        lambda: asyncio.run(exported(database.path, "")),
        lambda: bare(files),
    )
    benchmark.pedantic(lambda: asyncio.run(exported(database.path, "")), rounds=1)


@pytest.mark.benchmark
def test_export_of_a_selection(benchmark, database, files):
    """The events of one port."""
    compare(
        "export of one port",
        lambda: asyncio.run(exported(database.path, "id.resp_p == 53")),
        lambda: bare(files, PORT),
    )
    benchmark.pedantic(lambda: asyncio.run(exported(database.path, "resp_p == 53")), rounds=1)


@pytest.mark.benchmark
def test_count_of_a_selection(benchmark, database, files):
    """How many events of one port."""
    compare(
        "count of one port",
        lambda: asyncio.run(counted(database.path, "id.resp_p == 53")),
        lambda: bare_count(files, PORT),
    )
    benchmark.pedantic(lambda: asyncio.run(counted(database.path, "resp_p == 53")), rounds=1)


@pytest.mark.benchmark
def test_count_of_everything(benchmark, database, files):
    """The manifest knows it, and pyarrow reads the footers."""
    compare(
        "count everything",
        lambda: asyncio.run(counted(database.path, "")),
        lambda: sum(pyarrow.dataset.dataset(paths).count_rows() for paths in files.values()),
    )
    benchmark.pedantic(lambda: asyncio.run(counted(database.path, "")), rounds=1)
