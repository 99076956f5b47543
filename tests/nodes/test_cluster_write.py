"""What is written to a new database, here and by the workers of a real Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pickle
import shutil
import signal
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest

import vastlab
from tests import dask_cluster
from vastlab import cli, demo
from vastlab.arrow.schema import name_of
from vastlab.client import VAST
from vastlab.endpoints import parse_endpoint
from vastlab.errors import (
    DatabaseError,
    FormatError,
    LockedError,
    NodeError,
    UsageError,
    VastlabWarning,
)
from vastlab.nodes.cluster import errands, importing, writing
from vastlab.nodes.cluster.importing import Log
from vastlab.result import Result
from vastlab.store import compact, disk
from vastlab.store.bucket import Bucket
from vastlab.store.check import check
from vastlab.store.compact import CompactReport
from vastlab.store.database import Database
from vastlab.store.sources import FileSource

EVENTS = 1_000
FEW = ("zeek.conn", "zeek.dns")
SEARCH = "resp_p == 443 || dest_port == 443"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return dask_cluster.demo_database(tmp_path_factory.mktemp("cluster"), EVENTS)


@pytest.fixture(params=["here", "cluster"])
async def vast(request, path):
    """Return the database, read by this process or by a cluster."""
    endpoint = path if request.param == "here" else dask_cluster.endpoint(path)
    async with VAST(endpoint) as vast:
        yield vast


async def events(endpoint, *args, **options):
    """Return the events of each layout as text, in no order."""
    found = defaultdict(list)
    async with VAST(endpoint) as vast:
        async for part in vast.export(*args, limit=0, **options):
            batch = part.to_pyarrow()
            found[part.name, str(batch.schema)] += map(str, batch.to_pylist())
    return {key: sorted(rows) for key, rows in found.items()}


def as_shown(frame):
    """Return a frame as text, in an order that does not depend on that of equal times."""
    text = frame.astype(object).map(str)
    return text.sort_values(list(text.columns), ignore_index=True)


def damage(file: Path):
    """Overwrite some bytes."""
    content = bytearray(file.read_bytes())
    content[100:200] = bytes(100)
    file.write_bytes(content)


def generations(path: Path) -> int:
    """Return how many commits a database has."""
    return Database.open(path).snapshot().generation


# --- a query with `to` ----------------------------------------------------------------------


@pytest.mark.parametrize("few", [1 << 20, 100_000])
async def test_what_is_written_is_what_is_found(vast, path, tmp_path, monkeypatch, few):
    """All events, whether they pass through the client or not, in one generation."""
    monkeypatch.setattr(writing, "FEW_BYTES", few)
    counts = await vast.write(SEARCH, tmp_path / "hits.db")
    assert counts == await vast.counts(SEARCH)
    assert await events(tmp_path / "hits.db") == await events(path, SEARCH)
    assert generations(tmp_path / "hits.db") == 1
    assert os.listdir(tmp_path) == ["hits.db"]
    assert os.listdir(tmp_path / "hits.db" / "staging") == []


async def test_a_limit_holds_for_what_is_written(vast, tmp_path):
    """Also one for each schema, and nothing is a database, too."""
    query = vast.prepare(SEARCH, limit=7, per_schema=True)
    counts = await vast.counts(SEARCH)
    written = await vast.write(query, tmp_path / "few.db")
    assert written == {name: min(number, 7) for name, number in counts.items()}
    assert await vast.write('uid == "none"', tmp_path / "none.db") == {}
    assert await events(tmp_path / "none.db") == {}


async def test_a_place_that_holds_something_is_refused(vast, path, tmp_path):
    """An answer is not mixed with other events, and files are not overwritten."""
    (tmp_path / "note.txt").write_text("mine")
    for place, text in ((path, "not empty"), (tmp_path, "not empty"), ("10.0.0.1:5158", "written")):
        with pytest.raises(UsageError, match=text):
            await vast.write(SEARCH, place)
    with pytest.raises(UsageError, match="a file"):
        await vast.write(SEARCH, tmp_path / "note.txt")
    with pytest.raises(UsageError, match="yet to arrive"):
        await vast.write(vast.prepare(SEARCH, "unified"), tmp_path / "live.db")
    assert os.listdir(tmp_path) == ["note.txt"]
    assert generations(path) == 2


async def test_an_error_leaves_nothing(tmp_path):
    """Neither a database nor a staged file."""
    source = Database.create(tmp_path / "events.db")
    source.add(demo.batches(EVENTS))
    file = next(each for each in source.snapshot().files if each.schema_name == "zeek.conn")
    damage(Path(file.path))
    for endpoint in (source.path, dask_cluster.endpoint(source.path)):
        async with VAST(endpoint) as vast:
            with pytest.raises(DatabaseError, match=r"zeek\.conn"):
                await vast.write("", tmp_path / "out" / "all.db")
        assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("steps", [1, 4])
async def test_a_cancelled_query_leaves_nothing(vast, tmp_path, steps):
    """Neither at its beginning nor when some of it is written."""
    reported = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def report(_):
        loop.call_soon_threadsafe(reported.release)

    running = asyncio.ensure_future(vast.write("", tmp_path / "all.db", report=report))
    for _ in range(steps):
        await reported.acquire()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert os.listdir(tmp_path) == []


def test_a_worker_that_does_not_see_the_place_says_so(tmp_path):
    """The error names the folder."""
    errand = errands.Write(b"", str(tmp_path), str(tmp_path / "staging"), 0)
    with pytest.raises(NodeError, match=r"does not see the folder .*staging"):
        errand.run(None, "call")


async def test_an_object_store_can_be_the_place(vast, path, object_store):
    """What is written to a bucket passes through the client; an answer is not mixed there."""
    url = object_store.url()
    assert await vast.write(SEARCH, url) == await vast.counts(SEARCH)
    assert await events(url) == await events(path, SEARCH)
    with pytest.raises(UsageError, match="there is something at"):
        await vast.write(SEARCH, url)
    failed = object_store.url()
    with object_store.failing(refuse=-1, match="parquet"), pytest.raises(NodeError):
        await vast.write(SEARCH, failed)
    assert not [key for key in object_store.keys(failed) if "generations" in key]
    assert await vast.write(SEARCH, failed) == await vast.counts(SEARCH)


async def test_of_two_answers_in_one_bucket_only_one_is_written(path, object_store):
    """Also where both find nothing there: they are not mixed."""
    url = object_store.url()
    async with VAST(path) as vast:
        both = (vast.write("resp_p == 443", url), vast.write("resp_p == 53", url))
        found = await asyncio.gather(*both, return_exceptions=True)
        (counts,) = (each for each in found if isinstance(each, dict))
        (error,) = (each for each in found if not isinstance(each, dict))
        assert isinstance(error, UsageError | LockedError)
    async with VAST(url) as written:
        assert await written.counts() == counts
    assert [each.kind for each in check(Bucket(parse_endpoint(url)))] == []


def test_who_is_late_does_not_write_to_a_staging_folder(tmp_path, monkeypatch):
    """It is renamed before it is deleted, so that nothing stays."""
    removed = []

    def late(folder, **options):
        for file in Path(folder).glob("*"):
            file.unlink()
        with contextlib.suppress(FileNotFoundError):
            (staging / "late.parquet").write_bytes(b"")
        with contextlib.suppress(OSError):
            os.rmdir(folder)
        removed.append(folder)

    with disk.temporary_folder(tmp_path) as staging:
        (staging / "early.parquet").write_bytes(b"")
        monkeypatch.setattr(shutil, "rmtree", late)
    assert removed
    assert os.listdir(tmp_path) == []


# --- the result -----------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", [False, True])
def test_the_result_reads_what_was_written(path, tmp_path, cluster):
    """Frames, views and further questions are those of a result that was collected."""
    client = dask_cluster.client() if cluster else None
    with vastlab.connect(str(path), cluster=client) as connection:
        hits = connection.query(SEARCH, to=tmp_path / "hits.db")
        assert connection.last is hits
        plain = connection.query(SEARCH, limit=0)
        assert hits.names == plain.names
        assert hits.num_rows == plain.num_rows
        assert hits.summary().equals(plain.summary())
        assert hits.where("resp_p == 443").num_rows == plain.where("resp_p == 443").num_rows
        statement = "select count(*) as n from zeek.conn"
        assert hits.sql(statement).equals(plain.sql(statement))
    again = pickle.loads(pickle.dumps(hits))  # noqa: S301 - of this test
    for name in plain:
        assert as_shown(again[name]).equals(as_shown(plain[name]))
    assert "hits" not in hits._repr_html_()
    assert repr(hits).splitlines()[1:] == repr(plain).splitlines()[1:]


def test_a_view_reads_only_what_it_shows(path, tmp_path, monkeypatch):
    """No table is read as a whole."""
    with vastlab.connect(str(path)) as connection:
        hits = connection.query(SEARCH, to=tmp_path / "hits.db")
    monkeypatch.setattr("vastlab._stored.Stored.__getitem__", None)
    assert "zeek.conn" in hits._repr_html_()
    assert "of" in repr(hits.show("zeek.conn", n=2))


def test_a_result_says_that_its_database_was_changed(path, tmp_path):
    """It does not show events that the query has not found."""
    with vastlab.connect(str(path)) as connection:
        hits = connection.query(SEARCH, to=tmp_path / "hits.db")
    Database.open(tmp_path / "hits.db").add(demo.batches(100))
    with pytest.raises(DatabaseError, match="changed after the query"):
        hits["zeek.conn"]
    with pytest.raises(DatabaseError, match="changed after the query"):
        repr(hits)
    with pytest.raises(DatabaseError, match="changed after the query"):
        hits.where("resp_p == 53")
    shutil.rmtree(tmp_path / "hits.db")
    for ask in (repr, lambda hits: hits["zeek.conn"], lambda hits: hits.where("resp_p == 53")):
        with pytest.raises(DatabaseError, match=r"hits\.db, which is gone"):
            ask(hits)


def test_all_events_are_written_without_a_limit(path, tmp_path):
    """The usual limit is for what is looked at; one that is given is noted."""
    with vastlab.connect(str(path)) as connection:
        whole = connection.query("", to=tmp_path / "all.db")
        assert whole.num_rows == connection.count()
        assert not whole.limit_reached
        few = connection.query("", to=tmp_path / "few.db", limit=10)
        assert few.num_rows == 10
        assert few.limit_reached
        assert few.left_out is None


# --- Dask -----------------------------------------------------------------------------------


def test_dask_frames_are_the_frames(path, tmp_path, monkeypatch):
    """Workers read them, part by part; lists stay lists, and dtypes are as announced."""
    monkeypatch.setattr("vastlab._dask.ROW_GROUP_ROWS", 500)  # more parts than there are groups
    with vastlab.connect(str(path)) as connection:
        hits = connection.query("", to=tmp_path / "all.db")
        held = connection.query("", limit=0).dask()
    lazy = hits.dask()
    assert list(lazy) == list(hits)
    for name, frame in lazy.items():
        computed = frame.compute(scheduler="sync")
        assert computed.dtypes.equals(frame.dtypes)
        assert held[name].dtypes.equals(frame.dtypes)
        assert not any(computed.dtypes == "category")
        assert as_shown(computed).equals(as_shown(hits[name]))
    conn = lazy["zeek.conn"]
    assert conn.npartitions > 1
    with dask_cluster.client().as_current():
        totals = conn.groupby("id.resp_p")["orig_bytes"].sum().compute()
    assert totals[443] == hits["zeek.conn"].query("`id.resp_p` == 443")["orig_bytes"].sum()


def test_dask_frames_join_layouts(tmp_path):
    """A column has one type in all partitions: that of the frame of all events."""
    source = Database.create(tmp_path / "events.db")
    for port in (pa.array([1, 2], pa.uint64()), pa.array([0.5]), pa.array(["x"])):
        source.add([pa.record_batch({"port": port})], name="my.ports")
        source.add([pa.record_batch({"n": port, "more": port})], name="my.other")
    with vastlab.connect(str(source.path)) as connection:
        hits = connection.query("", to=tmp_path / "all.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VastlabWarning)  # of columns that became text
        for name, frame in hits.dask().items():
            computed = frame.compute(scheduler="sync")
            assert computed.dtypes.equals(hits[name].dtypes)
            assert as_shown(computed).equals(as_shown(hits[name]))


def test_a_damaged_partition_is_an_error(path, tmp_path):
    """Its file is named."""
    with vastlab.connect(str(path)) as connection:
        hits = connection.query('#type == "zeek.conn"', to=tmp_path / "hits.db")
    lazy = hits.dask()["zeek.conn"]
    for file in Database.open(tmp_path / "hits.db").snapshot().files:
        damage(Path(file.path))
    with pytest.raises(DatabaseError, match=r"damaged: .*parquet"):
        lazy.compute(scheduler="sync")


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    """It names the extra."""
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(UsageError, match=r'pip install "vastlab\[cluster\]"'):
        Result({"my.ports": [pa.table({"port": [80]})]}).dask()


# --- imports --------------------------------------------------------------------------------


@pytest.fixture
def logs(tmp_path):
    """Make a folder of logs: some with problems, one twice, one that is none."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(6):
        lines = [f'{{"n": {number}, "row": {row}, "mixed": {row}}}' for row in range(50)]
        (folder / f"app-{number}.json").write_text("\n".join([*lines, "no event", ""]))
    (folder / "app-5.json").write_text((folder / "app-4.json").read_text())
    (folder / "picture.png").write_bytes(b"\x89PNG\x00")
    return folder


async def ingested(endpoint, sources, **options):
    """Import some sources; return the report without what differs from run to run."""
    async with VAST(endpoint) as vast:
        report = await vast.ingest(sources, schema="my.app", **options)
    return dataclasses.replace(report, elapsed=0.0)


def _names(found):
    """Write what names logs; of two with one content, whichever is read first counts."""
    return sorted(str(each).replace("app-5.json", "app-4.json") for each in found)


@pytest.mark.parametrize("apart", [False, True])
async def test_workers_import_as_this_process_does(logs, tmp_path, monkeypatch, apart):
    """Events, problems and files are the same, and what was imported is skipped."""
    if apart:
        monkeypatch.setattr(importing, "_LEAST", 1)  # every file is a task
        monkeypatch.setattr(importing, "TARGET_SIZE", 1)  # and every task a commit
    path = tmp_path / "cluster.db"
    table = pa.table({"n": [1]})
    sources = [table, logs, tmp_path / "logs" / "app-0.json"]
    there = await ingested(dask_cluster.endpoint(path), sources)
    here = await ingested(tmp_path / "here.db", sources)
    assert there.events == here.events == {"my.app": 251}
    assert _names(there.files) == _names(here.files)
    assert len(there.skipped) == len(here.skipped) == 2
    assert there.failed == here.failed
    assert there.problem_count == here.problem_count
    assert _names(there.problems) == _names(here.problems)
    assert await events(path) == await events(tmp_path / "here.db")
    commits = generations(path)
    assert 1 < commits <= 6 if apart else commits == 1
    again = await ingested(dask_cluster.endpoint(path), logs)
    assert not again.files
    assert len(again.skipped) == 6
    with (logs / "app-0.json").open("a") as grown:
        grown.write('{"n": 0, "row": 50, "mixed": 50}\n')
    there = await ingested(dask_cluster.endpoint(path), logs / "app-0.json")
    here = await ingested(tmp_path / "here.db", logs / "app-0.json")
    assert _names(there.problems) == _names(here.problems)
    assert any("were added before it grew" in problem.reason for problem in there.problems)
    commits = generations(path)
    forced = await ingested(dask_cluster.endpoint(path), logs, force=True, atomic=True)
    assert forced.events == {"my.app": 301}
    assert generations(path) == commits + 1
    assert os.listdir(path / "staging") == []


async def test_an_atomic_import_adds_all_or_nothing(logs, tmp_path, monkeypatch):
    """So does a strict one; the database appears with its events."""
    monkeypatch.setattr(importing, "_LEAST", 1)
    monkeypatch.setattr(importing, "TARGET_SIZE", 1)
    endpoint = dask_cluster.endpoint(tmp_path / "cluster.db")
    with pytest.raises(FormatError, match=r"app-\d\.json:51"):
        await ingested(endpoint, logs, strict=True)
    assert os.listdir(tmp_path) == ["logs"]
    await ingested(endpoint, logs, atomic=True)
    assert generations(tmp_path / "cluster.db") == 1


async def test_an_import_of_nothing_readable_is_an_error(logs, tmp_path):
    """As in this process; a node has no steps that could be one."""
    endpoint = dask_cluster.endpoint(tmp_path / "cluster.db")
    with pytest.raises(FormatError, match="picture"):
        await ingested(endpoint, logs / "picture.png")
    with pytest.raises(UsageError, match="leave out atomic"):
        await ingested("127.0.0.1:1", logs, atomic=True)


def test_logs_of_one_size_are_in_one_task_or_apart():
    """So that a content that occurs twice is noticed."""
    logs = [Log(FileSource(Path(str(number))), size) for number, size in enumerate([5, 7, 5, 9])]
    assert list(importing.portions(logs, 1)) == [[logs[0], logs[2], logs[1], logs[3]]]
    large = [Log(FileSource(Path(str(number))), 1 << 30) for number in range(3)]
    assert list(importing.portions(large, 4)) == [[log] for log in large]
    assert list(importing.portions([], 4)) == []


def test_a_worker_that_does_not_find_a_log_says_so(tmp_path):
    """The file is not counted as one that is damaged."""
    errand = errands.Import((FileSource(tmp_path / "gone"),), (), "", str(tmp_path), {})
    with pytest.raises(NodeError, match=r"does not find the file .*gone"):
        errand.run(None, "call")


@pytest.mark.full
@pytest.mark.parametrize("work", ["import", "write"])
async def test_what_a_lost_worker_had_is_done_again(path, tmp_path, monkeypatch, work):
    """No event is lost or comes twice, and nothing of the lost worker stays."""
    monkeypatch.setattr(importing, "_LEAST", 1)
    monkeypatch.setattr("vastlab.nodes.cluster.node._LEAST", 1)
    monkeypatch.setattr(writing, "FEW_BYTES", 0)
    client = dask_cluster.client()
    client.wait_for_workers(2, timeout=60)
    killed = []

    def kill(_):
        if not killed:
            killed.append(1)
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    async with VAST(path) as here:
        whole = await here.counts()
    target = tmp_path / "new.db"
    if work == "write":
        async with VAST(dask_cluster.endpoint(path)) as vast:
            found = await vast.write("", target, report=lambda item: item.share and kill(item))
        expected = whole
    else:
        folder = tmp_path / "logs"
        folder.mkdir()
        for number in range(40):
            lines = "".join(f'{{"n": {number}, "row": {row}}}\n' for row in range(3000))
            (folder / f"{number}.json").write_text(lines)
        async with VAST(dask_cluster.endpoint(target)) as vast:
            found = (await vast.ingest(folder, schema="my.app", progress=kill)).events
        expected = {"my.app": 40 * 3000}
    assert killed
    assert found == expected
    async with VAST(target) as here:
        assert await here.counts() == expected
    assert os.listdir(target / "staging") == []


# --- compaction -----------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", [False, True])
async def test_compaction_changes_no_answer(tmp_path, monkeypatch, cluster):
    """Small files are merged, those of one layout and span of time by one task each."""
    database = Database.create(tmp_path / "events.db")
    for seed in range(6):
        database.add(
            batch for batch in demo.batches(1_000, seed=seed) if name_of(batch.schema) in FEW
        )
    files = database.snapshot().files
    size = sum(file.size for file in files if file.schema_name == "zeek.conn")
    monkeypatch.setattr(compact, "TARGET_SIZE", size // 3)
    parts = compact.parts_of(database)
    assert sorted(file.path for part in parts for file in part) == sorted(f.path for f in files)
    assert sum(part[0].schema_name == "zeek.conn" for part in parts) > 1
    whole = await events(database.path)
    endpoint = dask_cluster.endpoint(database.path) if cluster else database.path
    async with VAST(endpoint) as vast:
        seen = []
        report = await vast.compact(report=seen.append)
        assert report == CompactReport(len(files), len(parts))
        assert seen
        layouts = {part[0].fingerprint for part in parts}
        assert await vast.compact() == CompactReport(len(parts), len(layouts))
    assert await events(database.path) == whole
    assert check(database.path) == []


def test_the_shell_compacts_on_a_cluster(tmp_path, capsys):
    """It says how many files there are now."""
    database = Database.create(tmp_path / "events.db")
    for seed in range(2):
        database.add(demo.batches(100, seed=seed))
    number = len(database.snapshot().files)
    assert cli.run(("compact", "-e", dask_cluster.endpoint(database.path))) == 0
    assert f"{number} files before, " in " ".join(capsys.readouterr().out.split())
    assert len(database.snapshot().files) < number


async def test_only_databases_are_compacted(tmp_path):
    """The error says what is wrong."""
    with pytest.raises(UsageError, match="cannot be merged"):
        await VAST("localhost:5158").compact()
    with pytest.raises(UsageError, match="not a database"):
        await VAST(tmp_path).compact()
