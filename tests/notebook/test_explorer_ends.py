"""The explorer at its limits: what is closed, cancelled, nameless or only a part."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

import vastlab
from tests.notebook.conftest import send
from tests.notebook.test_explorer import labels
from vastlab import errors
from vastlab.client import VAST
from vastlab.notebook import QueryBox, options
from vastlab.result import Result

EVENTS = 250


@pytest.fixture
def vast(tmp_path) -> Iterator[vastlab.Connection]:
    times = pa.array([i * 10**9 for i in range(EVENTS)], pa.timestamp("ns", "UTC"))
    with vastlab.connect(str(tmp_path / "some.db")) as connection:
        events = pa.table({"ts": times, "size": pa.array(range(EVENTS), pa.uint64())})
        connection.ingest(events, schema="my.events")
        connection.ingest(events.slice(0, 5), schema="my.others")
        yield connection


def test_a_click_does_not_open_what_is_closed(vast):
    """Pages that are here are shown, others are not asked for: an error says why."""
    box = vast.explore('#type == "my.events"')
    vast.close()
    send(box.panel, do="event", row=0)
    assert box.error == ""
    send(box.panel, do="page", page=1)
    assert "the connection is closed" in box.error
    box.close()


def test_to_close_a_connection_ends_what_a_click_began(vast, monkeypatch):
    """A page that is being loaded neither keeps the connection open nor outlives it."""
    box = vast.explore('#type == "my.events"')
    started, ended = [], []

    async def endless(*_: object) -> None:
        started.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    monkeypatch.setattr(box.panel, "turn", endless)
    box.panel._on_table({"version": box.panel._version, "do": "page", "page": 1})
    while not started:
        pass
    vast.close()
    assert ended
    box.close()


def test_clicks_that_wait_are_cancelled_without_a_warning(vast, monkeypatch):
    """Those that wait for the first one never begin, and Python has nothing to warn of."""
    box = vast.explore('#type == "my.events"')
    started = []

    async def endless(*_: object) -> None:
        started.append(True)
        await asyncio.Event().wait()

    monkeypatch.setattr(box.panel, "turn", endless)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            box.panel._on_table({"version": box.panel._version, "do": "page", "page": 1})
        box.panel._on_table({"version": box.panel._version, "do": "sort", "column": 0})
        while not started:
            pass
        box.panel.stop()
        gc.collect()
    assert started == [True]
    assert [str(each.message) for each in caught] == []
    box.close()


def test_a_schema_without_a_name_has_a_table():
    """Names are what files say; an empty one is one, too."""
    events = pa.table({"x": [1, 2]})
    box = Result({"": [events], "<b>": [events], "x" * 500: [events]}).explore()
    view = box.panel.table.view
    assert [schema["label"][:5] for schema in view["schemas"]] == [" (2)", "<b> (", "xxxxx"]
    assert view["rows"] == [["1"], ["2"]]
    assert box.error == ""
    box.close()


def test_the_line_of_a_narrowed_result_asks_for_the_same_events(vast):
    """Also the expression and the bounds of the result that is explored are in it."""
    found = vast.query("size > 10", since="1970-01-01T00:00:20", limit=0)
    box = found.explore("size < 30")
    assert box.query.endswith("size > 10 && size < 30")
    again = options.parse(box.query.removeprefix("%vast"))
    asked = vast.query(again.expression, limit=again.limit, since=again.since, until=again.until)
    assert asked.num_rows == box.result.num_rows == 10
    box.close()


def test_a_limit_that_leaves_nothing_out_is_not_reached(vast):
    """A box says the same of its answer as `query` does."""
    asked = '#type == "my.others"'
    assert not vast.query(asked, limit=5).limit_reached
    box = QueryBox(vast, expression=asked, limit=5)
    assert not box.run().limit_reached
    box.limit = 4
    assert box.run().limit_reached
    box.limit, box.expression = 255, ""
    assert not box.run().limit_reached
    box.close()


def test_an_endpoint_that_a_stranger_may_have_chosen_is_named(tmp_path, monkeypatch):
    """A box says it as `query` does, where a file beside the notebook chose the endpoint."""
    (tmp_path / "vast.yaml").write_text("vast:\n  endpoint: 'demo:'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    box = QueryBox(limit=1)
    assert "vast.yaml" in box.run().line()
    box.close()


def test_what_a_box_opened_is_closed_with_it(vast):
    """A connection that it was given stays open."""
    own, given = QueryBox(vast.endpoint), QueryBox(vast)
    (opened,) = [own._connection()]
    for box in (own, given):
        box.close()
    assert opened.closed
    assert not vast.closed


def test_profiles_show_times_as_the_connection_does(tmp_path, monkeypatch, vast):
    """To change the profile does not change the clock."""
    (tmp_path / "vast.yaml").write_text("vastlab:\n  profiles:\n    demo: {endpoint: 'demo:'}\n")
    monkeypatch.chdir(tmp_path)
    zone = ZoneInfo("Europe/Berlin")
    with vastlab.connect(vast.endpoint, tz=zone) as berlin:
        box = QueryBox(berlin, limit=1)
        box.profile = "demo"
        assert box.run().zone == zone
        box.close()


@pytest.mark.parametrize("choice", ["sort", "filter", "only", "event", "nothing"])
def test_a_wrong_message_raises_nothing(vast, choice):
    """What no page of ours sends is an error in the box at most."""
    box = vast.explore('#type == "my.events"')
    for number in (-(10**9), 10**9):
        send(box.panel, do=choice, row=number, column=number, text="x")
    assert not box.running
    send(box.panel, do="page", page=1)
    assert box.panel.table.view["page"] == 1
    box.close()


def test_a_span_until_now_means_one_time(vast, monkeypatch):
    """What is counted and the pages that are asked for later have the same bounds."""
    asked = []
    for name in ("timeline", "export"):
        original = getattr(VAST, name)

        def ask(self, *args, original=original, **options):
            asked.append(options["since"])
            return original(self, *args, **options)

        monkeypatch.setattr(VAST, name, ask)
    box = vast.explore('#type == "my.events"', since="100000d", limit=10)
    send(box.panel, do="page", page=1)
    assert len(asked) > 2
    assert len(set(asked)) == 1
    assert asked[0] != "100000d"
    send(box.panel, do="only", row=0, column=labels(box).index("size"))
    box.wait()
    assert box.since == "100000d"
    assert box.result.num_rows == 1
    box.close()


@pytest.mark.parametrize("choice", ["not", "pivot"])
def test_what_needs_all_schemas_waits_for_them(vast, monkeypatch, choice):
    """A click on the first events, before the others are known, loses none of them."""
    go_on = threading.Event()
    original = VAST.timeline

    async def timeline(self, *args, **options):
        await asyncio.to_thread(go_on.wait, 10)
        return await original(self, *args, **options)

    monkeypatch.setattr(VAST, "timeline", timeline)
    box = QueryBox(vast, limit=10)
    box.start()
    while not box.panel.table.view["rows"]:
        pass
    place = labels(box).index("size")
    send(box.panel, do=choice, row=0, column=place)
    assert "was not counted yet" in box.error
    go_on.set()
    box.wait()
    send(box.panel, do="not", row=0, column=place)
    box.wait()
    assert sum(box.panel.counts.values()) == EVENTS + 5 - 2
    box.close()


def test_an_answer_is_of_what_was_asked(tmp_path, monkeypatch, vast):
    """Also where another profile is chosen before it arrives."""
    (tmp_path / "vast.yaml").write_text("vastlab:\n  profiles:\n    demo: {endpoint: 'demo:'}\n")
    monkeypatch.chdir(tmp_path)
    box = QueryBox(vast, limit=1)
    original = VAST.run

    def run(self, query, **options):
        box.profile = "demo"
        return original(self, query, **options)

    monkeypatch.setattr(VAST, "run", run)
    assert box.run().source is vast
    box.close()


def test_explore_refuses_what_it_would_not_do(shell):
    """An option that has no effect is an error."""
    for option in ("--newest", "--per-schema"):
        with pytest.raises(errors.UsageError, match=option):
            shell.run(f"%vast -e demo: --explore {option} resp_p == 443")
