"""A node's folder answers like any other endpoint, also while its node works on it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import uuid
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa
import pytest

from tests import archive_files
from vastlab import demo
from vastlab.client import VAST
from vastlab.endpoints import PathEndpoint
from vastlab.errors import CorruptFileError, UsageError
from vastlab.expression import parse
from vastlab.expression.ast import FieldExtractor, Operator, Predicate
from vastlab.expression.literals import UInt64
from vastlab.nodes import open_node, own, process
from vastlab.nodes.archive import ArchiveNode
from vastlab.nodes.base import ExportMode, Notice, Query
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.store.database import Database

_ZSTD = b"\x28\xb5\x2f\xfd"
PORT_BELOW_7 = Predicate(FieldExtractor("resp_p"), Operator.LT, UInt64(7))


@pytest.fixture
def folder(tmp_path, make_conn, make_dns):
    """Make the files of three imports of connections, in mixed formats, and one of DNS."""
    db = tmp_path / "vast.db"
    archive_files.add(db, make_conn(range(100, 200)), 2000, suffix="feather")
    archive_files.add(db, make_conn(range(100)), 1000, suffix="feather", prefix="TENZIR")
    archive_files.add(db, make_conn(range(200, 300)), 3000, suffix="feather")
    archive_files.add(db, make_dns(["a.example", "b.example", None]), 1500, suffix="parquet")
    return db


@pytest.fixture
async def node(folder):
    node = ArchiveNode(folder)
    yield node
    await node.aclose()


async def slices(node, query):
    return [part async for part in node.export(query)]


def merge(folder, old, batch, import_time):
    """Do as a node does that merges files: write the new one, then delete the old ones."""
    old = list(old)
    merged = archive_files.add(folder, batch, import_time, prefix="TENZIR", origin="rebuild")
    for path in old:
        path.unlink()
    return merged


# --- what comes back ------------------------------------------------------------------------


async def test_an_export_goes_by_schema_and_import_time(node, numbers):
    """Schemas come in the order of names, files in that of their import."""
    parts = await slices(node, Query())
    assert [part.name for part in parts] == ["zeek.conn"] * 3 + ["zeek.dns"]
    assert [n for p in parts[:3] for n in p.to_pyarrow().column("n").to_pylist()] == list(
        range(300)
    )


async def test_events_come_back_in_vastlabs_own_form(node, make_conn):
    """Names, types and metadata are those of VAST, also where Tenzir wrote them."""
    first = (await slices(node, Query()))[0].to_pyarrow()
    assert first.schema.equals(make_conn([]).schema, check_metadata=True)
    assert first.equals(make_conn(range(100)))


async def test_an_expression_selects_events(node, numbers):
    """Only events that match are exported and counted."""
    assert await numbers(node.export(Query(PORT_BELOW_7))) == list(range(7))
    assert await node.counts(Query(PORT_BELOW_7)) == {"zeek.conn": 7}
    assert await node.counts(Query()) == {"zeek.conn": 300, "zeek.dns": 3}


@pytest.mark.parametrize(
    "text",
    ["10.0.0.5", "id.orig_h in 10.0.0.0/28", "#import_time >= @0.000002", 'query ni "b"', "n != 5"],
)
async def test_the_embedded_node_gives_the_same_events(node, tmp_path, folder, text):
    """The same events in a vastlab database are found by the same expressions."""
    database = Database.create(tmp_path / "own.db")
    everything = [part.to_pyarrow() for part in await slices(node, Query())]
    database.add(everything)
    embedded = EmbeddedNode(database.path)
    query = Query(parse(text))
    mine = [r for part in await slices(node, query) for r in part.to_pyarrow().to_pylist()]
    if "#import_time" in text:  # there it is the time of the copy
        assert len(mine) == 200
    else:
        theirs = await slices(embedded, query)
        assert mine == [r for part in theirs for r in part.to_pyarrow().to_pylist()]
        assert mine
    assert sum((await node.counts(query)).values()) == len(mine)
    await embedded.aclose()


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 250, 300, 302])
async def test_a_limit_gives_the_first_events_of_the_whole(node, limit):
    """The limit is exact and takes the same events every time."""
    everything = [r for p in await slices(node, Query()) for r in p.to_pyarrow().to_pylist()]
    parts = await slices(node, Query(limit=limit))
    assert [r for p in parts for r in p.to_pyarrow().to_pylist()] == everything[:limit]


async def test_bounds_select_by_event_time(node, numbers):
    """`since` is inside, `until` is not, and they prune no file that has such events."""
    query = Query(Predicate(FieldExtractor("n"), Operator.GE, UInt64(0)), since=98, until=103)
    assert await numbers(node.export(query)) == list(range(98, 103))
    assert await node.counts(query) == {"zeek.conn": 5}


async def test_what_lies_below_a_null_is_null(tmp_path, make_conn):
    """Below null records and null events every field is null, to export as to count."""
    batch = make_conn(range(4))
    ids = batch.column("id")
    ids = pa.StructArray.from_arrays(
        ids.flatten(), fields=list(ids.type), mask=pa.array([False, True, False, False])
    )
    batch = batch.set_column(1, batch.schema.field("id"), ids)
    for suffix in archive_files.FORMATS:
        folder = tmp_path / suffix
        archive_files.add(folder, batch, absent={2}, suffix=suffix)
        node = ArchiveNode(folder)
        for text, found in (("resp_p == null", [1, None]), ("resp_p != null", [0, 3])):
            parts = await slices(node, Query(parse(text)))
            assert [n for p in parts for n in p.to_pyarrow().column("n").to_pylist()] == found
            assert await node.counts(Query(parse(text))) == {"zeek.conn": 2}
        await node.aclose()


@pytest.mark.parametrize("name", ["a[1]b", "*", "ü %20", "a#b", "a'b\"c"])
async def test_folders_with_any_name_can_be_read(tmp_path, name, make_conn):
    """Characters that mean something in patterns and URLs are names here."""
    archive_files.add(tmp_path / name, make_conn(range(10)))
    node = ArchiveNode(tmp_path / name)
    assert await node.counts(Query(PORT_BELOW_7)) == {"zeek.conn": 7}
    await node.aclose()


async def test_many_batches_keep_their_order(tmp_path, make_conn, numbers):
    """A file of many small batches gives its matches in order, gathered into few slices."""
    wrapped = [archive_files.wrap(make_conn(range(i, i + 100))) for i in range(0, 3000, 100)]
    (tmp_path / "archive").mkdir()
    archive_files.write(tmp_path / "archive" / f"{uuid.uuid4()}.feather", *wrapped)
    node = ArchiveNode(tmp_path)
    query = Query(parse("n in [5, 150, 1700, 2999]"))
    parts = await slices(node, query)
    assert [n for p in parts for n in p.to_pyarrow().column("n").to_pylist()] == [
        5, 150, 1700, 2999,
    ]  # fmt: skip
    assert len(parts) == 2
    assert await numbers(node.export(Query())) == list(range(3000))
    await node.aclose()


# --- what a node does meanwhile -------------------------------------------------------------


async def test_files_that_vanish_during_an_export_are_read_all_the_same(
    node, numbers, folder, make_conn
):
    """What is merged after the first event is neither lost nor returned twice."""
    answer = []
    async with aclosing(node.export(Query(parse("n >= 0")))) as stream:
        async for part in stream:
            answer += part.to_pyarrow().column("n").to_pylist()
            if len(answer) == 100:
                merge(folder, (folder / "archive").glob("*.feather"), make_conn(range(300)), 3000)
    assert answer == list(range(300))
    assert sorted(await numbers(node.export(Query(parse("n >= 0"))))) == list(range(300))


@pytest.mark.parametrize("ask", ["export", "counts"])
async def test_files_that_vanish_before_they_are_opened_are_looked_for_again(
    node, folder, make_conn, monkeypatch, ask
):
    """Where the folder changes between a look and the reading, one looks again."""
    look, merged = node._archive.view, []

    def view(live=None):
        found = look(live)
        if not merged:
            old = list((folder / "archive").glob("*.feather"))
            merged.append(merge(folder, old, make_conn(range(300)), 3000))
        return found

    monkeypatch.setattr(node._archive, "view", view)
    query = Query(parse("n < 250"))
    if ask == "counts":
        assert await node.counts(query) == {"zeek.conn": 250}
    else:
        assert sum(part.num_rows for part in await slices(node, query)) == 250


async def follow(node, query, then):
    """Export, and do something when the export has begun; `then` gets what came so far."""
    answer = []
    async with aclosing(node.export(query)) as stream:
        waiting = asyncio.ensure_future(anext(stream, None))
        while True:
            then(len(answer))
            part = await waiting
            if part is None:
                return answer
            answer += part.to_pyarrow().column("n").to_pylist()
            waiting = asyncio.ensure_future(anext(stream, None))


async def test_continuous_returns_what_appears_after_the_call(node, folder, make_conn, numbers):
    """Stored events are left out, also when the export is first iterated over later."""
    stream = node.export(Query(PORT_BELOW_7, ExportMode.CONTINUOUS, limit=3))
    await node.status()  # asked after the export has looked, by the same thread
    archive_files.add(folder, make_conn([1, 2, 400]), 4000)
    archive_files.add(folder, make_conn([3]), 5000, suffix="parquet")
    assert await numbers(stream) == [1, 2, 3]


async def test_a_file_that_is_whole_after_the_call_is_new(node, folder, make_conn, numbers):
    """What was half written at the call arrives when it is whole."""
    path = archive_files.add(folder, make_conn([1, 2]), 4000)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    stream = node.export(Query(PORT_BELOW_7, ExportMode.CONTINUOUS, limit=2))
    await node.status()  # asked after the export has looked, by the same thread
    path.write_bytes(content)
    assert await numbers(stream) == [1, 2]


async def test_merged_files_are_no_new_events(node, folder, make_conn):
    """Of a merged file only events count that were not yet returned."""

    def then(number):
        if number == 300:
            old = list((folder / "archive").glob("*.feather"))
            merge(folder, old, make_conn(range(300)), 3000)
            archive_files.add(folder, make_conn([500]), 4000, prefix="TENZIR", origin="ingest")
        if number == 301:
            archive_files.add(folder, make_conn([600]), 5000)

    query = Query(parse("n >= 0"), ExportMode.UNIFIED, limit=302)
    assert await follow(node, query, then) == [*range(300), 500, 600]


async def test_unified_gives_everything_once(node, folder, make_conn):
    """First what is stored, then what arrives."""

    def then(number):
        if number == 7:
            archive_files.add(folder, make_conn([1, 2]), 4000)

    query = Query(PORT_BELOW_7, ExportMode.UNIFIED, limit=9)
    assert await follow(node, query, then) == [*range(7), 1, 2]


async def test_the_caller_may_say_which_files_are_live(folder, make_conn):
    """Superseded files are not read, and status names them."""
    old = archive_files.add(folder, make_conn([1]), 4000)
    live = {path.as_uri() for path in (folder / "archive").iterdir()} - {old.as_uri()}
    node = ArchiveNode(folder, live=live)
    assert await node.counts(Query()) == {"zeek.conn": 300, "zeek.dns": 3}
    assert (await node.status())["archive"]["superseded"] == [old.name]
    await node.aclose()


# --- messages ------------------------------------------------------------------------------


async def test_status_says_what_cannot_be_known(node, folder):
    """Without a node, rebuilt files cannot be recognised; with its lock, something is missing."""
    status = await node.status()
    assert status["catalog"]["num-events"] == 303
    assert status["catalog"]["schemas"]["zeek.conn"]["num-partitions"] == 3
    assert "event-time" not in status["catalog"]["schemas"]["zeek.conn"]
    (note,) = status["archive"]["notes"]
    assert "rebuilt or superseded" in note
    (folder / "pid.lock").write_text("1")
    assert "not written yet" in (await node.status())["archive"]["notes"][1]


async def test_old_segments_are_named_and_warned_of(node, folder):
    """A query says once that events are missing, and status says which and why."""
    name = f"{str(uuid.uuid4()).upper()}.store"
    (folder / "archive" / name).write_bytes(b"old")
    reported: list[Notice] = []
    assert await node.counts(Query(), reported.append) == {"zeek.conn": 300, "zeek.dns": 3}
    (notice,) = reported
    assert name in notice.text
    assert await node.counts(Query(limit=0), reported.append) == {"zeek.conn": 300, "zeek.dns": 3}
    assert reported == [notice]
    assert "only VAST reads" in (await node.status())["archive"]["unreadable"][name]


async def test_a_file_that_is_not_whole_is_named_without_a_warning(node, folder):
    """A node may be writing it."""
    name = f"{uuid.uuid4()}.feather"
    (folder / "archive" / name).write_bytes(b"")
    assert await node.counts(Query()) == {"zeek.conn": 300, "zeek.dns": 3}
    assert list((await node.status())["archive"]["unreadable"]) == [name]


@pytest.mark.parametrize("suffix", archive_files.FORMATS)
async def test_damage_inside_a_file_names_it(tmp_path, suffix, make_conn):
    """What cannot be decompressed is an error, and no shorter answer."""
    path = archive_files.add(tmp_path, make_conn(range(5000)), suffix=suffix)
    # Neither format has checksums here, but no frame can be read without its first bytes.
    # The first frames are those of the import time.
    *head, rest = path.read_bytes().split(_ZSTD, 3)
    path.write_bytes(_ZSTD.join([*head, rest.replace(_ZSTD, bytes(4))]))
    node = ArchiveNode(tmp_path)
    with pytest.raises(CorruptFileError, match=path.name):
        await slices(node, Query(parse("n >= 0")))
    await node.aclose()


async def test_explain_names_the_files(node):
    """What binds is shown as it is bound, with the files that would be read."""
    conn, dns = (await node.explain(Query(PORT_BELOW_7, since=0))).layouts
    assert (conn.schema, conn.files, conn.all_files, conn.events) == ("zeek.conn", 3, 3, 300)
    assert (dns.bound, dns.files, dns.all_files) == (None, 0, 1)
    assert (await node.explain(Query(parse("#import_time > @0.0000025")))).layouts[0].files == 1


async def test_nothing_can_be_ingested(node, folder):
    """The folder belongs to its node, and the error says so."""
    with pytest.raises(UsageError, match="belongs to a VAST or Tenzir node"):
        await node.ingest(["conn.log"])


# --- how it is reached, and left ------------------------------------------------------------


async def test_a_folder_of_a_node_is_recognised(folder, make_conn):
    """Its path opens it, also that of `archive/`; a database of vastlab stays one."""
    for path in (folder, folder / "archive"):
        async with VAST(path) as vast:
            assert await vast.count("resp_p < 7") == 7
            assert set(await vast.schemas()) == {"zeek.conn", "zeek.dns"}
    database = Database.create(folder.parent / "own.db")
    (database.path / "archive").mkdir(exist_ok=True)
    assert isinstance(open_node(PathEndpoint(database.path)), EmbeddedNode)


async def test_nothing_stays_open_and_nothing_is_written(folder, make_conn):
    """After an export that was left early there is no open file, no thread, no change."""
    archive_files.add(folder, make_conn(range(50_000)), 9000)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    others = set(threading.enumerate())
    node = ArchiveNode(folder)
    async with aclosing(node.export(Query())) as stream:
        await anext(stream)
    async with aclosing(node.export(Query(PORT_BELOW_7))) as stream:
        await anext(stream)
    await node.aclose()
    node._pool.shutdown()
    node._snapshot_executor.shutdown()
    gc.collect()
    assert set(threading.enumerate()) <= others
    assert not [name for name in _open_files() if str(folder) in name]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def _open_files():
    found = Path("/proc/self/fd")
    if not found.is_dir():
        pytest.skip("this system does not list open files")
    names = []
    for each in found.iterdir():
        with contextlib.suppress(OSError):
            names.append(os.readlink(each))
    return names


# --- a real node ----------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.skipif(process.find_tenzir() is None, reason="the package tenzir is not installed")
async def test_a_real_state_folder_answers_as_the_embedded_node_does(tmp_path):
    """What a Tenzir node wrote is read while it runs and after, with the same events."""
    batches = list(demo.batches(5_000))
    database = Database.create(tmp_path / "own.db")
    database.add(batches)
    state = tmp_path / "state"
    with own.start_node(state) as running:
        async with VAST(running.endpoint) as vast:
            for batch in batches:
                await vast.ingest(pa.Table.from_batches([batch]))
        async with VAST(state) as vast:
            total = await vast.count()
            notes = (await vast.status())["archive"]["notes"]
            assert running.endpoint in notes[0]
            assert any("not written yet" in note for note in notes)
            assert total <= 5_000
    async with VAST(state) as vast, VAST(database.path) as embedded:
        for text in ("", "10.1.4.17", "resp_p == 53", '"invoice" in uri', "duration > 1s"):
            assert await vast.counts(text) == await embedded.counts(text)
            assert await _uids(vast, text) == await _uids(embedded, text)


async def _uids(vast, text):
    found = []
    async for part in vast.export(text, limit=0):
        batch = part.to_pyarrow()
        if "uid" in batch.schema.names:
            found += [(part.name, uid) for uid in batch.column("uid").to_pylist()]
    return sorted(found)
