from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

from vastlab import endpoints, nodes
from vastlab.errors import DatabaseError, QueryInterrupted, UsageError
from vastlab.nodes import demo
from vastlab.nodes.base import Query, Step
from vastlab.store.database import Database, is_database

EVENTS = 3000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_place_names_the_revision(cache, monkeypatch):
    """Other events live in another folder, so an upgrade never shows old ones."""
    before = demo.path()
    monkeypatch.setattr(demo.demo, "REVISION", demo.demo.REVISION + 1)
    assert before.is_relative_to(cache)
    assert demo.path() != before


def test_a_database_that_is_made_is_complete(tmp_path):
    """It holds all events and nothing is left beside it."""
    demo.make(tmp_path / "d" / "demo.db", EVENTS)
    counts = Database.open(tmp_path / "d" / "demo.db").snapshot().counts
    assert sum(counts.values()) == EVENTS
    assert os.listdir(tmp_path / "d") == ["demo.db"]


def test_making_reports_progress(tmp_path):
    """The number of events grows to all of them."""
    reported: list[tuple[int, int]] = []
    demo.make(tmp_path / "demo.db", EVENTS, progress=lambda *how_far: reported.append(how_far))
    assert reported[-1] == (EVENTS, EVENTS)
    assert reported == sorted(reported)
    assert len(reported) > 1


def test_making_can_be_given_up(tmp_path):
    """Who does not wait for it any more finds nothing half made."""
    cancelled = threading.Event()
    with pytest.raises(QueryInterrupted):
        demo.make(
            tmp_path / "demo.db", EVENTS, progress=lambda *_: cancelled.set(), cancelled=cancelled
        )
    assert os.listdir(tmp_path) == []


async def test_a_node_says_that_it_makes_the_demo(cache, monkeypatch):
    """Only the first query reports that the database is made."""
    node = nodes.open_node(endpoints.DemoEndpoint())
    seen: list[Step] = []

    def batches(events):
        yield from demo_batches(EVENTS)

    demo_batches = demo.demo.batches
    monkeypatch.setattr(demo, "EVENTS", EVENTS)
    monkeypatch.setattr(demo.demo, "batches", batches)
    await node.counts(Query(), seen.append)
    assert {step.doing for step in seen[:-1]} == {"making the demo database"}
    assert seen[-2].events == EVENTS
    assert seen[-1] == Step()
    await node.aclose()


def test_two_processes_may_make_it_at_once(tmp_path):
    """Both succeed, and one database is there."""
    context = multiprocessing.get_context("spawn")
    target = tmp_path / "demo.db"
    makers = [context.Process(target=demo.make, args=(target, EVENTS)) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0]
    assert sum(Database.open(target).snapshot().counts.values()) == EVENTS
    assert os.listdir(tmp_path) == ["demo.db"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """The error says where, and how to choose another place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match=r"file.*XDG_CACHE_HOME"):
        demo.make(tmp_path / "file" / "demo.db", EVENTS)


def test_a_folder_in_its_place_is_named(tmp_path):
    """Something else that stands there is not touched."""
    target = tmp_path / "demo.db"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(DatabaseError, match=r"demo\.db"):
        demo.make(target, EVENTS)
    assert os.listdir(tmp_path) == ["demo.db"]
    assert os.listdir(target) == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    """When the events cannot be made, no half-made database stays."""

    def fail(events):
        raise RuntimeError

    monkeypatch.setattr(demo.demo, "batches", fail)
    with pytest.raises(RuntimeError):
        demo.make(tmp_path / "demo.db", EVENTS)
    assert os.listdir(tmp_path) == []


async def test_the_demo_endpoint_makes_its_database_on_first_use(cache, monkeypatch):
    """It is made when it is asked, not when it is opened, and is read-only."""
    monkeypatch.setattr(nodes.demo, "EVENTS", EVENTS)
    monkeypatch.setattr(nodes.demo, "make", _make_small)
    node = nodes.open_node(endpoints.DemoEndpoint())
    assert not is_database(demo.path())
    assert sum((await node.counts(Query())).values()) == EVENTS
    assert is_database(demo.path())
    with pytest.raises(UsageError, match="read-only"):
        await node.ingest("x.log")
    await node.aclose()


def _make_small(path, make=demo.make, **how):
    make(path, EVENTS, **how)
