from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import read_without_end
from vastlab.errors import CorruptFileError, DatabaseError, NodeError, UsageError
from vastlab.expression.ast import Constant, FieldExtractor, Operator, Predicate, TypeExtractor
from vastlab.expression.literals import IP, Double, String, UInt64
from vastlab.nodes import scan
from vastlab.nodes.base import ExportMode, Query, Step
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.store.database import Database
from vastlab.types import Kind, Type

PORT_BELOW_7 = Predicate(FieldExtractor("resp_p"), Operator.LT, UInt64(7))


@pytest.fixture
async def node(database):
    node = EmbeddedNode(database.path)
    yield node
    await node.aclose()


async def slices(node, query):
    return [part async for part in node.export(query)]


# --- what comes back ------------------------------------------------------------------------


async def test_an_export_goes_by_schema_and_event_time(node, numbers):
    """Schemas come in the order of names, files in that of their first event time."""
    parts = await slices(node, Query())
    assert [part.name for part in parts] == ["zeek.conn"] * 3 + ["zeek.dns"]
    conn = [n for part in parts[:3] for n in part.to_pyarrow().column("n").to_pylist()]
    assert conn == list(range(300))


async def test_events_come_back_as_they_were_stored(node, make_conn):
    """Records are nested again, with extension types and metadata, and no import time."""
    first = (await slices(node, Query()))[0].to_pyarrow()
    expected = make_conn(range(100))
    assert first.schema.equals(expected.schema, check_metadata=True)
    assert first.equals(expected)


async def test_an_expression_selects_rows(node, numbers):
    """Only events that match are exported and counted."""
    assert await numbers(node.export(Query(PORT_BELOW_7))) == list(range(7))
    assert await node.counts(Query(PORT_BELOW_7)) == {"zeek.conn": 7}


async def test_disjoint_arms_give_every_event_once(node, numbers, make_conn):
    """An `or` over addresses, read one part after the other, returns no event twice."""
    address = IP(make_conn([5]).column("id").field(0).storage[0].as_py())
    expr = Predicate(TypeExtractor(Type(Kind.IP)), Operator.EQ, address)
    assert await numbers(node.export(Query(expr))) == [5]
    assert await node.counts(Query(expr)) == {"zeek.conn": 1}


async def test_a_schema_without_the_field_has_no_events(node):
    """Where nothing binds, nothing is returned, also under negation."""
    expr = Predicate(FieldExtractor("query"), Operator.NE, String("a.example"))
    assert await node.counts(Query(expr)) == {"zeek.dns": 1}
    assert await node.counts(Query(Constant(False))) == {}


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 250, 300, 302])
async def test_a_limit_gives_the_first_events_of_the_whole(node, limit):
    """The limit is exact and takes the same events every time."""
    everything = [row for part in await slices(node, Query()) for row in rows(part)]
    limited = [row for part in await slices(node, Query(limit=limit)) for row in rows(part)]
    assert limited == everything[:limit]


def rows(part):
    return part.to_pyarrow().to_pylist()


async def test_bounds_select_by_event_time_half_open(node, numbers):
    """`since` is inside, `until` is not."""
    query = Query(since=98, until=103)
    conn = [part for part in await slices(node, query) if part.name == "zeek.conn"]
    assert [row["n"] for part in conn for row in rows(part)] == list(range(98, 103))
    assert await node.counts(query) == {"zeek.conn": 5}


@given(since=st.none() | st.integers(-5, 305), until=st.none() | st.integers(-5, 305))
def test_counting_agrees_with_exporting(since, until, tmp_path_factory):
    """For every pair of bounds, the counts are the numbers of exported events."""
    folder = tmp_path_factory.getbasetemp() / "counting"
    if not folder.exists():
        Database.create(folder).add([_numbers(range(300))])

    async def both():
        node = EmbeddedNode(folder)
        query = Query(PORT_BELOW_7, since=since, until=until)
        exported = sum(part.num_rows for part in await slices(node, query))
        counted = sum((await node.counts(query)).values())
        await node.aclose()
        return exported, counted

    exported, counted = asyncio.run(both())
    low, high = -5 if since is None else since, 305 if until is None else until
    assert exported == counted == len(range(max(low, 0), min(high, 7)))


def _numbers(numbers):
    numbers = list(numbers)
    names = {"VAST:name:0": "test"}
    schema = pa.schema([("ts", pa.timestamp("ns")), ("resp_p", pa.uint64())], names)
    return pa.RecordBatch.from_pydict({"ts": numbers, "resp_p": numbers}, schema)


async def test_events_without_an_event_time_are_bounded_by_import_time(tmp_path):
    """A schema without a time field uses the time of import."""
    schema = pa.schema([("resp_p", pa.uint64())], {"VAST:name:0": "timeless"})
    database = Database.create(tmp_path / "db")
    database.add([pa.RecordBatch.from_pydict({"resp_p": [1, 2]}, schema)])
    moment = database.snapshot().files[0].import_first
    node = EmbeddedNode(database.path)
    assert await node.counts(Query(since=moment, until=moment + 1)) == {"timeless": 2}
    assert await node.counts(Query(until=moment)) == {}
    await node.aclose()


@pytest.mark.parametrize("name", ["a[1]b", "*", "a?b", "ü %20", "a#b", "a{b,c}", "a'b\"c"])
async def test_folders_with_any_name_can_be_read(tmp_path, name, make_conn):
    """Characters that mean something in patterns and URLs are names here."""
    database = Database.create(tmp_path / name / "db")
    database.add([make_conn(range(10))])
    node = EmbeddedNode(database.path)
    assert await node.counts(Query(PORT_BELOW_7)) == {"zeek.conn": 7}
    await node.aclose()


async def test_an_empty_database_has_no_events(tmp_path):
    """Nothing is an answer, not an error."""
    node = EmbeddedNode(Database.create(tmp_path / "db").path)
    assert await slices(node, Query()) == []
    assert await node.counts(Query()) == {}
    assert await node.schemas() == {}
    assert (await node.status())["catalog"]["num-events"] == 0
    await node.aclose()


async def test_status_and_schemas_describe_the_database(node, database):
    """Names, numbers and spans come from the manifest."""
    status = await node.status()
    conn = status["catalog"]["schemas"]["zeek.conn"]
    assert (conn["num-events"], conn["num-partitions"]) == (300, 3)
    assert conn["event-time"] == {
        "min": "1970-01-01T00:00:00",
        "max": "1970-01-01T00:00:00.000000299",
    }
    assert status["system"]["database-path"] == str(database.path)
    assert {"vastlab", "Apache Arrow", "DataFusion"} <= set(status["version"])
    assert set(await node.schemas()) == {"zeek.conn", "zeek.dns"}


# --- what arrives ---------------------------------------------------------------------------


async def test_continuous_sees_only_what_arrives_after_the_call(node, database, numbers, make_conn):
    """What is added between the call and the first pull counts as arrived."""
    stream = node.export(Query(mode=ExportMode.CONTINUOUS, limit=4))
    database.add([make_conn([1000, 1001])])
    database.add([make_conn([1002, 1003, 1004])])
    assert await numbers(stream) == [1000, 1001, 1002, 1003]


async def test_unified_gives_what_is_stored_and_what_arrives_once(node, database, make_conn):
    """Nothing is lost or doubled between the two parts."""
    query = Query(PORT_BELOW_7, ExportMode.UNIFIED)
    found = []
    async with aclosing(node.export(query)) as stream:
        async for part in stream:
            found += [row["n"] for row in rows(part)]
            if len(found) == 7:
                database.add([make_conn([3, 4, 1000])])
            if len(found) == 9:
                break
    assert found == [*range(7), 3, 4]


async def test_unified_loses_and_doubles_nothing_while_others_write(node, database, make_conn):
    """Whatever is committed while an export begins is seen once."""

    def write():
        for number in range(1000, 1020):
            Database.open(database.path).add([make_conn([number])])

    expr = Predicate(FieldExtractor("n"), Operator.GE, Double(200.0))
    writer = asyncio.create_task(asyncio.to_thread(write))
    stream = node.export(Query(expr, ExportMode.UNIFIED, limit=120))
    found = [row["n"] async for part in stream for row in rows(part)]
    await writer
    assert sorted(found) == [*range(200, 300), *range(1000, 1020)]


async def test_arriving_events_may_have_a_new_schema(node, database, make_dns):
    """A live export binds to schemas that did not exist when it began."""
    stream = node.export(Query(mode=ExportMode.CONTINUOUS, limit=1))
    schema = pa.schema([("x", pa.int64())], {"VAST:name:0": "new"})
    database.add([pa.RecordBatch.from_pydict({"x": [1]}, schema)])
    assert [part.name async for part in stream] == ["new"]


# --- stopping -------------------------------------------------------------------------------


async def test_a_stopped_export_leaves_no_task_behind(node):
    """Break, close and cancel end the pumps, and the threads go idle."""
    before = asyncio.all_tasks()
    async with aclosing(node.export(Query())) as stream:
        async for _ in stream:
            break
    assert asyncio.all_tasks() == before

    task = asyncio.create_task(slices(node, Query(mode=ExportMode.CONTINUOUS)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


async def test_stopping_does_not_wait_for_the_scan(node, monkeypatch):
    """A consumer that is cancelled returns while a worker is still busy."""
    started, release = threading.Event(), threading.Event()

    def busy(self):
        started.set()
        release.wait()
        return []

    monkeypatch.setattr(scan.FileScan, "piece", busy)
    task = asyncio.create_task(slices(node, Query()))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()


@pytest.mark.parametrize(
    "ask",
    [
        lambda node: node.counts(Query()),
        *(partial(lambda mode, node: slices(node, Query(mode=mode)), mode) for mode in ExportMode),
    ],
)
async def test_a_stopped_query_stops_reading_a_folder_of_logs(tmp_path, monkeypatch, ask):
    """The first reading of a large folder can be cancelled, for every call."""
    started, stopped = read_without_end(monkeypatch)
    node = EmbeddedNode(tmp_path)
    task = asyncio.ensure_future(ask(node))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(stopped.wait)
    await node.aclose()


async def test_a_node_says_how_far_a_folder_is_read(tmp_path, monkeypatch):
    """While a folder is read for the first time the node tells how far, and nothing afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "logs").mkdir()
    for number in range(3):
        (tmp_path / "logs" / f"{number}.json").write_text(f'{{"n": {number}}}\n')
    node = EmbeddedNode(tmp_path / "logs")
    seen: list[Step] = []
    assert sum((await node.counts(Query(), seen.append)).values()) == 3
    assert seen[0] == Step("reading 3 logs", 0, None)
    assert seen[-2:] == [Step("reading 3 logs", 3, 1.0), Step()]
    await node.aclose()


async def test_a_stopped_ingest_adds_nothing(tmp_path, monkeypatch):
    """The store is cancelled."""
    started, stopped = threading.Event(), threading.Event()

    def ingest(database, sources, *, cancelled, **options):
        started.set()
        cancelled.wait()
        stopped.set()

    monkeypatch.setattr("vastlab.store.ingest.ingest", ingest)
    node = EmbeddedNode(tmp_path / "new.db")
    task = asyncio.create_task(node.ingest("x.log"))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(stopped.wait)
    await node.aclose()


async def test_threads_end_with_the_node(database):
    """A closed node, and one that is forgotten, leave no thread."""

    def workers():
        return [
            t for t in threading.enumerate() if t.name.startswith(("vastlab-scan", "vastlab-look"))
        ]

    before = workers()
    node = EmbeddedNode(database.path)
    await node.counts(Query(PORT_BELOW_7))
    mine = [thread for thread in workers() if thread not in before]
    assert mine
    del node
    gc.collect()
    await asyncio.to_thread(lambda: [thread.join() for thread in mine])


async def test_a_closed_node_says_so(node):
    """An export that goes on after the node was closed ends with an error."""
    stream = node.export(Query(mode=ExportMode.CONTINUOUS))
    await node.aclose()
    with pytest.raises(NodeError, match="closed"):
        await anext(stream)


# --- damage ---------------------------------------------------------------------------------


@pytest.fixture
def data_file(database):
    return Path(database.snapshot().files[0].path)


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "long", "garbage"])
async def test_a_damaged_file_is_an_error_that_names_it(node, data_file, damage):
    """The engine would take some of these for a file without events."""
    content = data_file.read_bytes()
    changed = {
        "gone": None,
        "empty": b"",
        "short": content[:-10],
        "long": content + b"x",
        "garbage": b"\xff" * len(content),
    }[damage]
    if changed is None:
        data_file.unlink()
    else:
        data_file.write_bytes(changed)
    for answer in (slices(node, Query()), node.counts(Query(PORT_BELOW_7, since=0, until=400))):
        with pytest.raises(CorruptFileError, match=data_file.name):
            await answer


async def test_a_dropped_file_makes_the_query_start_again(node, database, numbers, monkeypatch):
    """When a newer generation has dropped a file before its scan, that generation counts."""
    old = database.snapshot()
    gone = old.files[0]
    database.commit(drop=[gone.path])
    os.unlink(gone.path)
    snapshots = iter([old])
    fresh = node._snapshot

    async def stale_first():
        return next(snapshots, None) or await fresh()

    monkeypatch.setattr(node, "_snapshot", stale_first)
    every_n = Query(Predicate(FieldExtractor("n"), Operator.GE, Double(0)))
    assert await numbers(node.export(every_n)) == list(range(100, 300))


async def test_a_file_dropped_in_mid_export_is_an_error(node, database, monkeypatch):
    """Half an answer is never passed off as a whole one."""
    dropped = database.snapshot().files[1]
    stream = node.export(Query())
    await anext(stream)
    database.commit(drop=[dropped.path])
    os.unlink(dropped.path)
    with pytest.raises(DatabaseError, match="rewritten"):
        async for _ in stream:
            pass


# --- folders --------------------------------------------------------------------------------


async def test_a_missing_folder_is_one_error_with_both_spellings(tmp_path):
    """The error shows how folders and nodes are written, and makes no folder."""
    path = tmp_path / "missing"
    node = EmbeddedNode(path)
    for answer in (slices(node, Query()), node.counts(Query()), node.status(), node.schemas()):
        with pytest.raises(UsageError, match=r"missing.*m57\.db.*localhost:5158"):
            await answer
    with pytest.raises(UsageError, match="missing"):
        await anext(node.export(Query(mode=ExportMode.CONTINUOUS)))
    assert not path.exists()
    await node.aclose()


async def test_a_database_may_be_made_anew_in_its_place(node, database, make_dns):
    """A node never answers from a database that was deleted."""
    assert await node.counts(Query()) == {"zeek.conn": 300, "zeek.dns": 3}
    generation = database.snapshot().generation
    shutil.rmtree(database.path)
    fresh = Database.create(database.path)
    for start in range(generation):
        fresh.add([make_dns(["a.example"], start)])
    assert await node.counts(Query()) == {"zeek.dns": generation}


async def test_a_file_is_no_folder(tmp_path):
    """A single file is refused with the way out."""
    path = tmp_path / "conn.log"
    path.write_text("x")
    node = EmbeddedNode(path)
    with pytest.raises(UsageError, match="is a file"):
        await node.counts(Query())
    await node.aclose()


async def test_a_slip_in_the_name_of_a_folder_is_noticed(tmp_path):
    """Who misspells a folder is asked whether the one beside it was meant; files are none."""
    (tmp_path / "m57.db").mkdir()
    (tmp_path / "notes.txt").touch()
    for name, hint in (("m75.db", r"did you mean '.*/m57\.db'"), ("notes.tx", "such as")):
        node = EmbeddedNode(tmp_path / name)
        with pytest.raises(UsageError, match=hint):
            await node.status()
        await node.aclose()
    node = EmbeddedNode(tmp_path / "no" / "such")
    with pytest.raises(UsageError, match="an endpoint is a folder"):
        await node.status()
    await node.aclose()
