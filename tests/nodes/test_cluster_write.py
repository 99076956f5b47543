"""What is written to a new database, here and by the workers of a real Dask cluster."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest

import vastlab
from tests import dask_cluster
from vastlab import demo
from vastlab.client import VAST
from vastlab.errors import DatabaseError, NodeError, UsageError, VastlabWarning
from vastlab.nodes.cluster import errands, writing
from vastlab.result import Result
from vastlab.store.database import Database

EVENTS = 2_000
SEARCH = "resp_p == 443 || dest_port == 443"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Make a database with every schema of the demo, in two files for most of them."""
    path = tmp_path_factory.mktemp("cluster") / "events.db"
    database = Database.create(path)
    for seed in (1, 2):
        database.add(demo.batches(EVENTS, seed=seed))
    return path


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
            with pytest.raises(DatabaseError, match="damaged"):
                await vast.write("", tmp_path / "out" / "all.db")
        assert os.listdir(tmp_path / "out") == []


async def test_a_cancelled_query_leaves_nothing(vast, tmp_path):
    """Whenever it is cancelled."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    writing = asyncio.ensure_future(
        vast.write("", tmp_path / "all.db", report=lambda _: loop.call_soon_threadsafe(begun.set))
    )
    await begun.wait()
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled()
    assert os.listdir(tmp_path) == []


def test_a_worker_that_does_not_see_the_place_says_so(tmp_path):
    """The error names the folder."""
    errand = errands.Write(b"", str(tmp_path), str(tmp_path / "staging"), 0)
    with pytest.raises(NodeError, match=r"does not see the folder .*staging"):
        errand.run(None, "call")


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


def test_all_events_are_written_without_a_limit(path, tmp_path):
    """The usual limit is for what is looked at; one that is given is noted."""
    with vastlab.connect(str(path)) as connection:
        whole = connection.query("", to=tmp_path / "all.db")
        assert whole.num_rows == connection.count()
        assert not whole.limit_reached
        few = connection.query("", to=tmp_path / "few.db", limit=10)
        assert few.num_rows == 10
        assert few.limit_reached


# --- Dask -----------------------------------------------------------------------------------


def test_dask_frames_are_the_frames(path, tmp_path, monkeypatch):
    """Workers read them, part by part; lists stay lists, and dtypes are as announced."""
    monkeypatch.setattr("vastlab._dask.ROW_GROUP_ROWS", 1000)  # more parts than there are groups
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
