"""The newest events come first, and little more than them is read."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vastlab.arrow import convert
from vastlab.client import VAST
from vastlab.errors import UsageError
from vastlab.nodes import newest, ordering
from vastlab.nodes.base import Query
from vastlab.nodes.newest import Newest
from vastlab.nodes.scan import FileScan
from vastlab.store import writer
from vastlab.store.database import Database
from vastlab.table_slice import TableSlice

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

TIMES = st.lists(st.none() | st.integers(-3, 40), max_size=60)
NAME = {"VAST:name:0": "my.events"}


def events(times, *, wide=False, untimed=False):
    """Make events of one of three layouts."""
    columns = {} if untimed else {"ts": pa.array(times, pa.timestamp("ns"))}
    columns["n"] = pa.array(range(len(times)), pa.int64())
    if wide:
        columns["more"] = pa.array([str(time) for time in times])
    return pa.RecordBatch.from_pydict(columns).replace_schema_metadata(NAME)


async def exported(stream):
    """Return the times of an export; a missing one is None."""
    found = []
    async for part in stream:
        column = convert.event_times(part.to_pyarrow())
        found += [None] * part.num_rows if column is None else column.cast(pa.int64()).to_pylist()
    return found


def expected(times, limit):
    """Return the whole export reversed, the events without a time last, cut."""
    known = sorted((time for time in times if time is not None), reverse=True)
    return (known + [None] * (len(times) - len(known)))[: limit or None]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    files=st.lists(st.tuples(TIMES, st.sampled_from([{}, {"wide": True}, {"untimed": True}]))),
    limit=st.integers(0, 50),
    block=st.sampled_from([1, 3, 10, 1000]),
    bound=st.none() | st.integers(0, 30),
    verify=st.booleans(),
)
async def test_an_export_is_in_order(
    tmp_path_factory, monkeypatch, files, limit, block, bound, verify
):
    """Whatever files overlap, however many events share a time, and however large a block is."""
    monkeypatch.setattr(newest, "BLOCK", block)
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 7)
    path = tmp_path_factory.mktemp("newest") / "my.db"
    database = Database.create(path)
    whole = []
    for times, layout in files:
        database.add([events(times, **layout)])
        found = [None] * len(times) if layout.get("untimed") else times
        whole += [t for t in found if bound is None or (t is not None and t < bound)]
    text = "" if bound is None else f"ts < 1970-01-01T00:00:00.{bound:09}"
    async with VAST(path, verify=verify) as vast:
        answer = await exported(vast.export(text, limit=limit, order="newest"))
    assert answer == expected(whole, limit)


@settings(max_examples=60)
@given(st.lists(st.tuples(TIMES, st.booleans())), st.integers(1, 50))
def test_only_the_newest_are_kept(parts, most):
    """Of slices in any order; the layouts may differ."""
    kept = Newest(most)
    whole = []
    for times, wide in parts:
        kept.add(TableSlice(events(times, wide=wide)))
        whole += times
        assert sum(len(batch) for batch, _ in kept._parts) <= 2 * most
    answer = [time for part in kept.slices() for time in part.to_pyarrow()["ts"].cast(pa.int64())]
    assert [time.as_py() for time in answer] == expected(whole, most)


async def test_files_that_are_older_are_not_opened(tmp_path, make_conn, monkeypatch):
    """The manifest's times say which files can hold newer events than those found."""
    database = Database.create(tmp_path / "my.db")
    for start in (0, 400, 200, 600, 500):
        database.add([make_conn(range(start, start + 110))])
    opened = set()
    original = FileScan._frame

    def frame(scan, expr):
        opened.add(scan._task.file.first)
        return original(scan, expr)

    monkeypatch.setattr(FileScan, "_frame", frame)
    async with VAST(tmp_path / "my.db") as vast:
        answer = await exported(vast.export("", limit=105, order="newest"))
    assert answer == [*range(709, 609, -1), 609, 609, 608, 608, 607]
    assert opened == {600, 500}


async def test_row_groups_that_are_older_are_not_read(tmp_path, make_conn, monkeypatch):
    """The times of the last row group are enough where it holds all that is wanted."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 50)
    Database.create(tmp_path / "my.db").add([make_conn(range(1_000))])
    read = []
    original = FileScan.times

    def times(scan):
        found = original(scan)
        read.extend(found.tolist())
        return found

    monkeypatch.setattr(FileScan, "times", times)
    async with VAST(tmp_path / "my.db") as vast:
        answer = await exported(vast.export("n != 999", limit=40, order="newest"))
    assert answer == list(range(998, 958, -1))
    assert read == list(range(950, 999))


@pytest.mark.parametrize("limit", [0, 3, 200])
async def test_what_a_node_sends_is_put_in_order_here(tmp_path, monkeypatch, limit):
    """In memory, or in a temporary folder which is gone when the export has been left."""
    monkeypatch.setattr(ordering, "BLOCK", 10)
    monkeypatch.setattr(ordering, "_WRITTEN_AT_ONCE", 500)
    monkeypatch.setattr(ordering.tempfile, "tempdir", str(tmp_path))
    times = [(7 * number) % 61 for number in range(60)] + [None]
    asked = []

    async def node(query):
        asked.append(query)
        for start in range(0, len(times), 5):
            yield TableSlice(events(times[start : start + 5], wide=start % 2 == 0))

    query = Query(limit=limit, newest=True)
    assert await exported(ordering.newest_of(node, query)) == expected(times, limit)
    assert asked == [Query()]
    async with aclosing(ordering.newest_of(node, query)) as parts:
        assert (await anext(parts)).num_rows
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_export_leaves_no_folder(tmp_path, monkeypatch):
    """Also where events are being written at that moment: what writes them ends first."""
    monkeypatch.setattr(ordering, "BLOCK", 10)
    monkeypatch.setattr(ordering, "_WRITTEN_AT_ONCE", 1)
    monkeypatch.setattr(ordering.tempfile, "tempdir", str(tmp_path))
    begun, cancelled = threading.Event(), threading.Event()
    original = Database.add

    def add(database, batches):
        begun.set()
        assert cancelled.wait(10)
        original(database, batches)

    monkeypatch.setattr(Database, "add", add)

    async def node(query):
        yield TableSlice(events([1, 2, 3]))

    task = asyncio.ensure_future(exported(ordering.newest_of(node, Query(newest=True))))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    threading.Timer(0.1, cancelled.set).start()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["continuous", "unified"])
@pytest.mark.parametrize("option", [{"order": "newest"}, {"per_schema": True}])
def test_what_is_yet_to_arrive_has_no_order(tmp_path, mode, option):
    """It is an error at the call, and one line."""
    with pytest.raises(UsageError, match=f"the mode {mode} has no"):
        VAST(tmp_path).export("", mode, **option)


@pytest.mark.parametrize("order", ["Newest", "", None, ["newest"]])
def test_an_unknown_order_is_an_error(tmp_path, order):
    """The two orders are named."""
    with pytest.raises(UsageError, match="unknown order") as caught:
        VAST(tmp_path).export("", order=order)
    assert "'oldest' or 'newest'" in str(caught.value)


@pytest.mark.parametrize("per_schema", [5, "yes", None])
def test_a_limit_for_each_schema_is_yes_or_no(tmp_path, per_schema):
    """A number would be taken for the limit, which is another argument."""
    with pytest.raises(UsageError, match="per_schema must be True or False, got"):
        VAST(tmp_path).export("", per_schema=per_schema)
