"""Workers and schedulers that die, hang or are stopped: the right answer, or one clear error."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, aclosing
from pathlib import Path

import dask
import pyarrow as pa
import pytest

import vastlab
from tests import dask_cluster
from vastlab import demo
from vastlab.client import VAST
from vastlab.errors import NodeConnectionError, NodeError, NodeTimeoutError
from vastlab.nodes.cluster import scanner, workers
from vastlab.store.database import Database
from vastlab.table_slice import TableSlice

pytestmark = pytest.mark.full

EVENTS = 200_000
CONNECTIONS = '#type == "zeek.conn"'
SEARCH = "uid == /C.*7.*/ || uid == /.*a.*b.*/"  # every file must be read for it
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Make a database with one large file for each schema."""
    database = Database.create(tmp_path_factory.mktemp("cluster") / "events.db")
    database.add(demo.batches(EVENTS))
    return database.path


@pytest.fixture
async def cluster(path):
    """Return the database behind a cluster, whose processes are started again by Dask."""
    dask_cluster.client().wait_for_workers(2, timeout=60)
    async with VAST(dask_cluster.endpoint(path)) as vast:
        yield vast


@pytest.fixture(scope="module")
def whole(path):
    """Return all connections, in their order."""

    async def ask():
        async with VAST(path) as vast:
            return [part.to_pyarrow() async for part in vast.export(CONNECTIONS, limit=0)]

    return pa.Table.from_batches(asyncio.run(ask()))


def reading() -> dict[str, int]:
    """Return the processes of the workers that have open scans."""

    def scans():
        return len(scanner._here().scans), os.getpid()

    found = dask_cluster.client().run(scans)
    return {worker: pid for worker, (number, pid) in found.items() if number}


async def until(condition, seconds=20.0):
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)  # processes of others tell no event


# --- workers --------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 4])
async def test_an_export_survives_a_worker_that_dies_in_a_file(cluster, whole, after):
    """No event is lost or comes twice, and their order stays."""
    found = []
    async with aclosing(cluster.export(CONNECTIONS, limit=0)) as parts:
        async for part in parts:
            if len(found) == after:
                (pid,) = (await asyncio.to_thread(reading)).values()
                os.kill(pid, signal.SIGKILL)
            found.append(part.to_pyarrow())
    assert pa.Table.from_batches(found).equals(whole, check_metadata=True)


@pytest.fixture
def hungry():
    """Return a client of workers with too little memory; the second one that dies is the last."""
    settings = {"preload": [str(HERE / "hungry_worker.py")], "memory_limit": "900MiB"}
    with (
        dask.config.set(dask_cluster.PATIENT | {"distributed.scheduler.allowed-failures": 1}),
        vastlab.local_cluster(2, silence_logs=50, **settings) as client,
    ):
        yield client


def test_too_little_memory_is_one_error(path, hungry, monkeypatch):
    """It says so, holds what had arrived, and the cluster can be used afterwards."""
    monkeypatch.setattr(workers, "MOST_LOSSES", 2)
    monkeypatch.setattr(workers, "WORKER_SECONDS", 120.0)
    with vastlab.connect(path, cluster=hungry) as vast:
        connections, whole = vast.count(CONNECTIONS), vast.count()
        with pytest.raises(NodeError, match=r"2 workers died .* too little memory"):
            vast.count('query == /.*a.*b.*/ || query == "x"')
        with pytest.raises(NodeError, match=r"2 workers were lost .* need more memory") as caught:
            vast.query(f'{CONNECTIONS} || #type == "zeek.dns"', limit=0)
        assert connections <= caught.value.partial.num_rows < whole
        assert 0 < vast.count(f"{CONNECTIONS} && uid == /C.*7.*/") < connections


@pytest.fixture
def stopped():
    """Stop processes by a signal, and let them go on at the end."""
    found = []

    def stop(pid):
        os.kill(pid, signal.SIGSTOP)
        found.append(pid)

    yield stop
    for pid in found:
        os.kill(pid, signal.SIGCONT)


async def test_what_a_worker_that_hangs_was_to_do_is_done_by_others(
    cluster, path, whole, stopped, monkeypatch
):
    """An export and a count take as much longer as the silence that is allowed."""
    patience = scanner.PATIENCE
    dask_cluster.client().run(lambda: vars(scanner).update(PATIENCE=1.0))
    expected = await cluster.counts(SEARCH)
    monkeypatch.setattr(workers, "SILENCE_SECONDS", 10.0)  # many times that
    monkeypatch.setattr(workers, "_CHECK_SECONDS", 0.5)
    found = []
    async with aclosing(cluster.export(CONNECTIONS, limit=0)) as parts:
        found.append((await anext(parts)).to_pyarrow())
        (pid,) = (await asyncio.to_thread(reading)).values()
        stopped(pid)
        counting = asyncio.ensure_future(cluster.counts(SEARCH))
        found += [part.to_pyarrow() async for part in parts]
    assert pa.Table.from_batches(found).equals(whole, check_metadata=True)
    assert await counting == expected
    os.kill(pid, signal.SIGCONT)
    await until(lambda: not reading())
    dask_cluster.client().run(lambda: vars(scanner).update(PATIENCE=patience))


async def test_closing_does_not_wait_for_a_worker_that_hangs(path, whole, stopped, monkeypatch):
    """The answer came from others; the scan on the worker that hangs ends by itself, later."""
    kept = scanner.PATIENCE, scanner.ABANDONED
    monkeypatch.setattr(workers, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(workers, "_FAREWELL_SECONDS", 60.0)
    settings = {"PATIENCE": 0.5, "ABANDONED": 1.0}
    dask_cluster.client().wait_for_workers(2, timeout=60)
    dask_cluster.client().run(lambda: vars(scanner).update(settings))
    vast = VAST(dask_cluster.endpoint(path))
    number = 0
    async with aclosing(vast.export(CONNECTIONS, limit=0)) as parts:
        number += (await anext(parts)).num_rows
        (pid,) = (await asyncio.to_thread(reading)).values()
        stopped(pid)
        async for part in parts:
            number += part.num_rows
    assert number == len(whole)
    await asyncio.wait_for(vast.aclose(), 30)
    os.kill(pid, signal.SIGCONT)
    await until(lambda: not reading())
    settings = dict(zip(settings, kept, strict=True))
    dask_cluster.client().run(lambda: vars(scanner).update(settings))


def test_workers_that_all_hang_are_one_error(path, stopped, monkeypatch):
    """It holds what had arrived; once they go on, they are asked again."""
    dask_cluster.client().wait_for_workers(2, timeout=60)
    pids = dask_cluster.client().run(os.getpid).values()
    with vastlab.connect(dask_cluster.endpoint(path)) as vast:
        number = vast.count(CONNECTIONS)
        with monkeypatch.context() as patch, pytest.raises(NodeError) as caught:
            patch.setattr(workers, "SILENCE_SECONDS", 0.5)
            patch.setattr(workers, "WORKER_SECONDS", 0.5)
            patch.setattr(TableSlice, "__init__", stopping(pids, stopped))
            vast.query(CONNECTIONS, limit=0)
        assert "2 workers do not answer" in str(caught.value)
        assert 0 < caught.value.partial.num_rows < number
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert vast.query(CONNECTIONS, limit=0).num_rows == number
        asyncio.run(until(lambda: not reading()))


def stopping(pids, stop):
    """Return an initialiser of slices that stops processes when the first one is made."""
    original, left = TableSlice.__init__, list(pids)

    def made(self, *args, **options):
        while left:
            stop(left.pop())
        original(self, *args, **options)

    return made


async def test_no_workers_left_is_one_error(path, programs, monkeypatch):
    """An export and a count say so instead of waiting for ever."""
    monkeypatch.setattr(workers, "WORKER_SECONDS", 120.0)
    _, started, address = programs
    await until(lambda: answers(address), 60)
    async with VAST(f"dask://{address}/{path}") as vast:
        counting = asyncio.ensure_future(vast.count(SEARCH))
        async with aclosing(vast.export(CONNECTIONS, limit=0)) as parts:
            await anext(parts)
            monkeypatch.setattr(workers, "WORKER_SECONDS", 0.5)
            monkeypatch.setattr(workers, "_CHECK_SECONDS", 0.2)
            for process in started:
                process.kill()
            with pytest.raises(NodeError, match="no workers"):
                async for _ in parts:
                    pass
        with pytest.raises(NodeError, match="no workers"):
            await asyncio.wait_for(counting, 60)


# --- stopping -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow():
    """Return a client of workers that take a second for each file."""
    settings = {"preload": [str(HERE / "slow_worker.py")], "silence_logs": 50}
    with vastlab.local_cluster(2, **settings) as client:
        yield client


def working() -> bool:
    """Whether some worker reads for a call."""
    return bool(scanner._here()._readers)


async def test_a_count_that_is_cancelled_stops_the_workers(path, slow):
    """They do not read the file at hand to its end, nor any other."""
    slow.wait_for_workers(2, timeout=60)
    async with VAST(path, cluster=slow) as cluster:
        counting = asyncio.ensure_future(cluster.count(SEARCH))
        await until(lambda: any(slow.run(working).values()))
        counting.cancel()
        await asyncio.wait([counting])
        began = time.monotonic()
        await until(lambda: not any(slow.run(working).values()))
        assert time.monotonic() - began < 10
        with pytest.raises(NodeTimeoutError):
            await cluster.count(SEARCH, timeout=0.3)
        await until(lambda: not any(slow.run(working).values()))
        await until(lambda: not any(slow.processing().values()))


# --- the scheduler --------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path):
    """Start a scheduler and two workers without a nanny; return them and the address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"127.0.0.1:{port}"
    common = ["--host", "127.0.0.1", "--no-dashboard"]
    with ExitStack() as stack:

        def start(*arguments):
            command = [sys.executable, "-m", "dask", *arguments, *common]
            log = stack.enter_context((tmp_path / "log").open("ab"))
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        scheduler = start("scheduler", "--port", str(port))
        preload = ["--preload", str(HERE / "slow_worker.py")]
        few = ["--nthreads", "1", "--no-nanny"]
        started = [start("worker", f"tcp://{address}", *few, *preload) for _ in range(2)]
        yield scheduler, started, address


async def test_a_scheduler_that_dies_ends_a_count_with_an_error(path, programs, monkeypatch):
    """No number is taken for the whole."""
    monkeypatch.setattr(workers, "WORKER_SECONDS", 60.0)
    scheduler, _, address = programs
    await until(lambda: answers(address), 60)
    async with VAST(f"dask://{address}/{path}") as vast:
        seen = Counter()
        counting = asyncio.ensure_future(
            vast.count(SEARCH, report=lambda step: seen.update([step.doing]))
        )
        await until(lambda: any(doing.startswith("1 of") for doing in seen), 60)
        scheduler.kill()
        with pytest.raises(NodeConnectionError, match="scheduler is gone"):
            await asyncio.wait_for(counting, 60)


def answers(address: str) -> bool:
    """Whether something listens."""
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True
