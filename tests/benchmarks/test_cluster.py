"""Two workers of a Dask cluster beside the embedded database, on the same cores.

The CPU of the cluster is that of this process, the scheduler, the workers and what starts them,
less what they take at rest.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.benchmarks.measure import EVENTS, Elsewhere
from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

TABLE = f"A cluster: two workers, {EVENTS:,} events"
REST_SECONDS = 10
QUESTIONS = {
    "export of everything": ("", True),
    "export of connections": ('#type == "zeek.conn"', True),
    "count: regular expression, all distinct": ("uid == /C.*7.*a/", False),
    "count: an address in all columns": (":ip == 203.0.113.66", False),
    "count: subnet": ("id.resp_h in 203.0.113.0/24", False),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "events.db"
    Database.create(path).add(demo.batches(EVENTS))
    return path


class Cluster:
    """A cluster in processes of its own."""

    def __init__(self, path):
        command = (sys.executable, "-m", "vastlab", "cluster", "--workers", "2", "-e", str(path))
        self._program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.endpoint = self._program.stdout.readline().strip()
        started = psutil.Process(self._program.pid)
        self._processes = [started, *started.children(recursive=True), psutil.Process()]
        asyncio.run(answer(self.endpoint, "", is_export=True))
        before = self._spent()
        time.sleep(REST_SECONDS)
        self._at_rest = (self._spent() - before) / REST_SECONDS

    def close(self):
        self._program.send_signal(signal.SIGINT)
        self._program.wait()
        self._program.stdout.close()

    def ask(self, question, is_export):
        """Return an answer, and the seconds of CPU that it took."""
        before, began = self._spent(), time.monotonic()
        found = asyncio.run(answer(self.endpoint, question, is_export=is_export))
        rest = (time.monotonic() - began) * self._at_rest
        return Elsewhere(found, self._spent() - before - rest)

    def _spent(self):
        times = [process.cpu_times() for process in self._processes]
        return sum(each.user + each.system for each in times)


@pytest.fixture(scope="module")
def cluster(path):
    cluster = Cluster(path)
    yield cluster
    cluster.close()


async def answer(endpoint, question, *, is_export):
    async with VAST(endpoint) as vast:
        if not is_export:
            return await vast.count(question)
        return sum([part.num_rows async for part in vast.export(question, limit=0)])


async def first(endpoint):
    async with VAST(endpoint) as vast:
        await vast.count()  # connects
        began = time.perf_counter()
        stream = vast.export('#type == "zeek.conn"', limit=0)
        await anext(stream)
        taken = time.perf_counter() - began
        await stream.aclose()
        return taken


@pytest.mark.benchmark
@pytest.mark.parametrize("name", QUESTIONS)
def test_cluster(compare, cluster, path, name):
    question, is_export = QUESTIONS[name]
    asks = {
        "embedded": lambda: asyncio.run(answer(path, question, is_export=is_export)),
        "cluster": lambda: cluster.ask(question, is_export),
    }
    compare(TABLE, name, asks)


@pytest.mark.benchmark
def test_first_batch(compare, cluster, path):
    """Seconds on the wall, in turn."""
    asks = {
        "embedded": lambda: Elsewhere(0, asyncio.run(first(path))),
        "cluster": lambda: Elsewhere(0, asyncio.run(first(cluster.endpoint))),
    }
    compare(TABLE, "first batch, on the wall", asks)
