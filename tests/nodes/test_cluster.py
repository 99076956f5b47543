"""A database that is read by the workers of a real Dask cluster on this machine."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import wait
from contextlib import aclosing
from pathlib import Path

import pytest

import vastlab
from tests import dask_cluster
from vastlab import demo
from vastlab.client import VAST
from vastlab.errors import NodeConnectionError, NodeError, UsageError
from vastlab.nodes import plan
from vastlab.nodes.base import Query, Step
from vastlab.nodes.cluster import scanner
from vastlab.nodes.cluster.node import portions
from vastlab.nodes.cluster.payload import VERSIONS, Work, question, read_question
from vastlab.nodes.cluster.workers import Workers
from vastlab.store.database import Database

EVENTS = 5_000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return dask_cluster.demo_database(tmp_path_factory.mktemp("cluster"), EVENTS)


@pytest.fixture
async def cluster(path):
    """Return the database behind a cluster."""
    async with VAST(dask_cluster.endpoint(path)) as vast:
        yield vast


@pytest.fixture
async def embedded(path):
    """Return the same database in this process."""
    async with VAST(path) as vast:
        yield vast


async def events(vast, *args, **options):
    """Return the events of each schema in their order, as text: NaN is not equal to itself."""
    found = defaultdict(list)
    async for part in vast.export(*args, **options):
        batch = part.to_pyarrow()
        found[part.name, str(batch.schema)] += map(str, batch.to_pylist())
    return found


async def test_answers_are_those_of_the_embedded_database(cluster, embedded):
    """Events and their order, counts, summaries and explanations are the same."""
    whole = await events(embedded, limit=0)
    assert sum(map(len, whole.values())) == 2 * EVENTS
    assert await events(cluster, limit=0) == whole
    for text in ("", "resp_p == 443", "net.src.ip in 10.1.0.0/16", '"a" in uri'):
        assert await cluster.counts(text) == await embedded.counts(text)
        assert repr(await cluster.explain(text)) == repr(await embedded.explain(text))
    asked = {"by": ["#type", "net.src.ip"], "aggregates": {"n": "count()", "s": "sum(orig_bytes)"}}
    frame = await embedded.summarize("net.src.ip in 10.1.0.0/16", **asked)
    assert len(frame) > 1
    assert (await cluster.summarize("net.src.ip in 10.1.0.0/16", **asked)).equals(frame)
    nothing = await cluster.summarize("resp_p == 1", **asked)
    assert nothing.equals(await embedded.summarize("resp_p == 1", **asked))
    for options in (
        {"limit": 7},
        {"limit": 50, "order": "newest"},
        {"limit": 3, "per_schema": True},
    ):
        assert await events(cluster, **options) == await events(embedded, **options)


async def test_progress_counts_tasks_and_names_the_dashboard(cluster):
    """A count says how many of its tasks are done."""
    seen = []
    await cluster.counts("resp_p == 443 || uid == /C.*/", report=seen.append)
    link = dask_cluster.client().dashboard_link
    steps = [each for each in seen if isinstance(each, Step) and "task" in each.doing]
    assert steps[0].doing == f"0 of {len(steps) - 1} tasks, dashboard {link}"
    assert [each.share for each in steps] == sorted(each.share for each in steps)
    assert steps[-1].share == 1


async def test_the_status_describes_the_cluster(cluster):
    """It says how many workers there are, and where."""
    found = (await cluster.status())["cluster"]
    assert found["workers"] == 2
    assert found["scheduler"] in str(dask_cluster.client().scheduler.address)


@pytest.fixture
def damaged(tmp_path):
    """Make a database with some bytes of a file overwritten."""
    database = Database.create(tmp_path / "events.db")
    database.add(demo.batches(1_000))
    file = next(each for each in database.snapshot().files if each.schema_name == "zeek.conn")
    content = bytearray(Path(file.path).read_bytes())
    content[100:200] = bytes(100)
    Path(file.path).write_bytes(content)
    return database.path


async def test_a_damaged_file_is_an_error(damaged):
    """What a worker finds is raised here, under its own name."""
    async with VAST(dask_cluster.endpoint(damaged)) as vast:
        with pytest.raises(vastlab.errors.CorruptFileError, match="damaged"):
            await events(vast, limit=0)


async def test_other_versions_are_one_clear_error(cluster, monkeypatch):
    """It names the packages, and where to change them."""
    monkeypatch.setitem(VERSIONS, "datafusion", "54.0.0")
    with pytest.raises(NodeError, match=r"other versions.*datafusion \d+.*instead of .*54\.0\.0"):
        await cluster.counts("resp_p == 443")
    with pytest.raises(NodeError, match=r"tcp://.*other versions"):
        await events(cluster)


def open_scans() -> int:
    """Count the scans that the workers have begun and not ended."""
    return sum(dask_cluster.client().run(lambda: len(scanner._here().scans)).values())


def wait_until_no_scan_is_open():
    deadline = time.monotonic() + 60
    while open_scans():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("kept", [0, 1, 3])
async def test_an_export_that_is_left_leaves_no_scan(cluster, path, kept):
    """The workers end what they read, also where the connection is closed at once."""
    async with VAST(dask_cluster.endpoint(path)) as closed:
        for vast in (cluster, closed):
            async with aclosing(vast.export(limit=0)) as parts:
                for _ in range(kept):
                    await anext(parts)
    await asyncio.to_thread(wait_until_no_scan_is_open)


async def test_a_scan_that_is_stopped_before_a_worker_has_it_is_not_begun(cluster, monkeypatch):
    """The thread that asks for the first piece is so late that the stop comes before it."""
    asked, stopped = threading.Event(), threading.Event()

    def start(self, work):
        if work.__name__ == "pull" and not asked.is_set():
            asked.set()
            stopped.wait(60)
            pulling = original(self, work)
            wait([pulling], 60)
            return pulling
        return original(self, work)

    original = Workers.start
    monkeypatch.setattr(Workers, "start", start)
    reading = asyncio.ensure_future(anext(cluster.export(limit=0)))
    await asyncio.to_thread(asked.wait, 60)
    reading.cancel()
    await asyncio.wait([reading])
    stopped.set()
    await asyncio.to_thread(wait_until_no_scan_is_open)


async def test_a_scan_that_is_ended_is_no_whole_file(path):
    """Where a connection is closed during an export, the events do not look like all of them."""
    async with VAST(dask_cluster.endpoint(path)) as vast:
        parts = vast.export(limit=0)
        await anext(parts)
        await vast.aclose()
        with pytest.raises(NodeError):
            async for _ in parts:
                pass


async def test_a_scan_that_nobody_pulls_begins_again(cluster, embedded):
    """A worker drops it after a while; no event is lost or comes twice."""

    def drops_after(seconds):
        dask_cluster.client().run(lambda: vars(scanner).update(ABANDONED=seconds))

    asked = '#type == "zeek.conn"'
    kept = scanner.ABANDONED
    drops_after(0.0)
    try:
        assert await events(cluster, asked, limit=0) == await events(embedded, asked, limit=0)
    finally:
        drops_after(kept)


async def test_a_given_client_is_used_and_left_open(path):
    """`connect` and `VAST` take a client of the user's, also for the demo's folder."""
    client = dask_cluster.client()
    async with VAST(path, cluster=client) as vast:
        assert await vast.count("resp_p == 443") > 0
    with vastlab.connect(str(path), cluster=client) as connection:
        assert len(connection.query("resp_p == 443", limit=5)) > 0
    assert client.status == "running"


# --- without a cluster ----------------------------------------------------------------------


def test_a_question_of_other_versions_is_not_read():
    """The versions come first: the payload may be anything."""
    other = {**VERSIONS, "vastlab": "0.1"}
    assert scanner.run(other, b"no pickle", "call") == ("versions", dict(VERSIONS))
    assert asyncio.run(scanner.pull(other, "scan", b"no pickle", 0))[0] == "versions"


def test_whatever_a_task_raises_is_an_answer():
    """An OSError of a worker is not taken for one of the scheduler."""
    assert scanner.run(VERSIONS, b"no pickle", "call")[0] == "failed"


def test_tasks_come_back_as_they_were(path):
    """A worker gets the same files and expressions, and compiles each expression once."""
    snapshot = Database.open(path).snapshot()
    tasks = [
        task
        for task in plan.tasks(Query(), snapshot.layouts, snapshot.files)
        if task.file.schema_name == "zeek.conn"
    ]
    payload = question(Work.COUNT, tasks, verify=True)
    again = read_question(payload).tasks()
    assert [task.file for task in again] == [task.file for task in tasks]
    assert [task.bound for task in again] == [task.bound for task in tasks]
    assert len({id(task.filters) for task in again}) == 1
    assert not any(task.file.ranges for task in again)
    (first, *_) = read_question(pickle.dumps(read_question(payload))).tasks()
    assert first.filters is again[0].filters


def test_files_are_divided_by_bytes_and_layout(path):
    """Each file is in one task, and a task has files of one layout, in their order."""
    snapshot = Database.open(path).snapshot()
    tasks = list(plan.tasks(Query(), snapshot.layouts, snapshot.files))
    parts = list(portions(tasks, 2))
    assert [task for part in parts for task in part] == tasks
    assert all(len({task.file.fingerprint for task in part}) == 1 for part in parts)
    assert len(parts) < len(tasks)
    assert list(portions([], 2)) == []


async def test_no_scheduler_is_one_clear_error(path, monkeypatch):
    """It says where nothing answers."""
    monkeypatch.setattr("vastlab.nodes.cluster.workers.CONNECT_SECONDS", 0.3)
    with pytest.raises(NodeConnectionError, match=r"no Dask scheduler answers at 127\.0\.0\.1:1"):
        await VAST(f"dask://127.0.0.1:1/{path}").count("resp_p == 443")
    with pytest.raises(NodeConnectionError, match="no Dask scheduler answers"):
        await VAST(f"dask://127.0.0.1:1/{path}").count()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_server_that_is_not_dasks_is_one_clear_error(path, monkeypatch, said):
    """One that says nothing, and one that speaks HTTP, as a dashboard does."""
    monkeypatch.setattr("vastlab.nodes.cluster.workers.CONNECT_SECONDS", 1.0)

    async def answer(reader, writer):
        writer.write(said)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NodeConnectionError, match="no Dask scheduler answers"):
            await VAST(f"dask://127.0.0.1:{port}/{path}").count("resp_p == 443")


async def test_a_folder_of_logs_is_refused(tmp_path):
    """Its events are in the cache of this machine, which no worker sees."""
    (tmp_path / "conn.log").write_text("{}")
    with pytest.raises(UsageError, match=r"a cluster reads databases.*vastlab import"):
        await VAST(f"dask://127.0.0.1:1/{tmp_path}").count()
    with pytest.raises(UsageError, match="no such folder"):
        await VAST(f"dask://127.0.0.1:1/{tmp_path / 'none'}").count()
    with pytest.raises(UsageError, match=r"a slash of its own: dask://HOST:PORT//"):
        await VAST(f"dask://127.0.0.1:1{tmp_path}").count()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:5158", "dask://head:8786/db"])
async def test_a_given_cluster_reads_databases_only(endpoint, monkeypatch):
    """A node answers itself, and a scheduler is named once."""
    monkeypatch.setattr("vastlab.nodes.cluster.check_client", lambda client: client)
    with pytest.raises(UsageError, match="not read by a cluster"):
        await VAST(endpoint, cluster="a client").count()


async def test_something_else_than_a_client_is_refused(path):
    """The error says how to make one."""
    with pytest.raises(UsageError, match=r"distributed\.Client, got str.*local_cluster"):
        await VAST(path, cluster="127.0.0.1:8786").count()
    with pytest.raises(UsageError, match="workers=0"):
        vastlab.local_cluster(0)


def test_dask_is_not_imported_for_other_endpoints(path):
    """A script without a cluster does not pay for it."""
    script = (
        "import sys, vastlab\n"
        f"with vastlab.connect({str(path)!r}) as vast: vast.count('resp_p == 443')\n"
        "sys.exit(any(name in sys.modules for name in ('dask', 'distributed')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


async def test_without_dask_the_error_says_what_to_install(path, monkeypatch):
    """It names the extra."""
    for name in [name for name in sys.modules if name.startswith("vastlab.nodes.cluster")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r'pip install "vastlab\[cluster\]"'):
        await VAST(f"dask://127.0.0.1:8786/{path}").count()
    with pytest.raises(UsageError, match=r'pip install "vastlab\[cluster\]"'):
        vastlab.local_cluster(2)
