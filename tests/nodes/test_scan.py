from __future__ import annotations

import asyncio
import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest

from vastlab.errors import CorruptFileError, NodeError
from vastlab.expression.ast import Constant
from vastlab.nodes import plan
from vastlab.nodes.base import Query
from vastlab.nodes.engine import Engine
from vastlab.nodes.scan import FileGoneError, FileScan, export, in_thread, run


@pytest.fixture
def context():
    return Engine()


@pytest.fixture
def tasks(database):
    snapshot = database.snapshot()
    return list(plan.tasks(Query(), snapshot.layouts, snapshot.files))


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_a_scan_ends_with_an_empty_piece(context, tasks):
    """Pieces hold slices until the file is through."""
    scan = FileScan(context, tasks[0])
    first, second = scan.piece(), scan.piece()
    assert [part.num_rows for part in first] == [100]
    assert second == []


def test_the_first_batch_goes_out_alone(context, tmp_path, make_conn, database):
    """Somebody waits for it; later pieces are larger."""
    database.add([make_conn(range(1000, 51_000))])
    snapshot = database.snapshot()
    task = list(plan.tasks(Query(), snapshot.layouts, snapshot.files))[3]
    scan = FileScan(context, task)
    assert len(scan.piece()) == 1
    assert len(scan.piece()) > 1


async def test_batches_of_later_files_are_larger(context, pool, make_conn, database):
    """Nobody waits for their first events, and larger batches cost less."""
    database.add([make_conn(range(1000, 51_000))])
    snapshot = database.snapshot()
    task = list(plan.tasks(Query(), snapshot.layouts, snapshot.files))[3]
    async with aclosing(export(context, pool, [task, task], 2)) as stream:
        sizes = [part.num_rows async for part in stream]
    first = next(i for i in range(len(sizes)) if sum(sizes[: i + 1]) == 50_000)
    assert max(sizes[: first + 1]) < max(sizes[first + 1 :])


def test_a_stopped_scan_reads_nothing_more(context, tasks):
    """After `stop` every piece is empty and every count 0."""
    scan = FileScan(context, tasks[0])
    scan.stop()
    assert scan.piece() == []
    assert scan.count() == 0


def test_a_limited_scan_ends_with_its_last_event(context, tasks):
    """What nobody takes is not decoded."""
    scan = FileScan(context, dataclasses.replace(tasks[0], limit=7))
    assert [part.num_rows for part in scan.piece()] == [7]
    assert scan.piece() == []


async def test_a_file_beyond_the_limit_is_not_opened(context, pool, tasks):
    """It may even be gone, as long as the files before hold enough events for certain."""
    os.unlink(tasks[2].file.path)
    limited = [dataclasses.replace(task, limit=150) for task in tasks]
    async with aclosing(export(context, pool, limited, 3)) as stream:
        rows = 0
        while rows < 150:
            rows += (await anext(stream)).num_rows
        with pytest.raises(FileGoneError):
            await anext(stream)


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_file_is_looked_at_again_after_its_scan(context, tasks, damage):
    """A file that goes while it is read is an error that names it."""
    scan = FileScan(context, tasks[0])
    scan.piece()
    path = Path(tasks[0].file.path)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match=path.name):
        scan.piece()


async def numbers(context, pool, tasks):
    """Count the events of each file, two at a time."""
    return await run(context, pool, tasks, 2, FileScan, lambda scan, _: scan.count())


async def test_later_files_are_left_alone_until_the_first_is_through(context, pool, tasks):
    """A limit that the first file meets costs one file."""
    started = []

    def watched():
        for task in tasks:
            started.append(task)
            yield task

    async with aclosing(export(context, pool, watched(), 3)) as stream:
        await anext(stream)
        assert len(started) == 1
        await anext(stream)
        assert len(started) == 4


async def test_counting_sums_over_files_and_arms(context, pool, tasks):
    """Each disjunct of each file is counted once."""
    doubled = [
        dataclasses.replace(task, disjuncts=(Constant(True), Constant(True))) for task in tasks
    ]
    assert sum(await numbers(context, pool, tasks)) == 303
    assert sum(await numbers(context, pool, doubled)) == 606


async def test_a_failed_count_stops_the_others(context, pool, tasks):
    """The first error ends the count."""
    os.unlink(tasks[0].file.path)
    with pytest.raises(FileGoneError):
        await numbers(context, pool, tasks)


@pytest.mark.parametrize("error", [TypeError("ours"), KeyError("ours"), MemoryError("ours")])
async def test_an_export_ends_with_whatever_its_scan_raises(pool, tasks, monkeypatch, error):
    """A fault of vastlab is raised as what it is: never a hang, never a damaged file."""

    def fail(_):
        raise error

    monkeypatch.setattr(FileScan, "_read", fail)
    async with aclosing(export(Engine(), pool, tasks, 2)) as stream:
        with pytest.raises(type(error), match="ours"):
            await asyncio.wait_for(anext(stream), 60)


async def test_a_thread_that_cannot_start_is_not_a_closed_client(pool, monkeypatch):
    """The error has the message of the system."""

    def submit(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "submit", submit)
    with pytest.raises(NodeError, match="can't start new thread"):
        in_thread(pool, lambda: 1)


async def test_work_for_a_closed_pool_is_a_clear_error():
    """At interpreter exit no new work starts."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(NodeError, match="closed"):
        in_thread(pool, lambda: 1)


async def test_an_answer_that_nobody_waits_for_is_no_complaint(pool):
    """The error of a cancelled piece of work is dropped."""
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail():
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        raise ValueError

    answer = in_thread(pool, fail)
    answer.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await answer
