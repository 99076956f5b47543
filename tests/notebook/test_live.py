"""LiveView without a browser."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator

import ipywidgets as widgets
import pyarrow as pa
import pytest

from tests.display.conftest import conn
from tests.display.test_html import check
from vastlab import errors
from vastlab.connection import Connection
from vastlab.notebook import live
from vastlab.notebook.live import LiveView, Ring
from vastlab.store.database import Database
from vastlab.table_slice import TableSlice

_PATIENCE = 60


@pytest.fixture
def database(tmp_path) -> Database:
    """Make a database of two connections."""
    database = Database.create(tmp_path / "live.db")
    database.add(conn([0, 1]).to_batches())
    return database


@pytest.fixture
def vast(database, tmp_path) -> Iterator[Connection]:
    with Connection(str(tmp_path / "live.db")) as connection:
        yield connection
        live.stop_all()


def _until(true: Callable[[], bool]) -> None:
    """Wait for another thread."""
    pause, end = threading.Event(), time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end
        pause.wait(0.02)


def _find(view: LiveView, kind: type) -> widgets.Widget:
    todo = [view]
    while todo:
        widget = todo.pop(0)
        if isinstance(widget, kind):
            return widget
        todo += getattr(widget, "children", ())
    raise AssertionError(kind)


def test_begins_with_history_and_follows_new_events(vast, database):
    """What is stored comes first, what is added meanwhile follows, nothing twice."""
    view = LiveView(vast, "resp_p >= 0")
    tabs = _find(view, widgets.Tab)
    _until(lambda: tabs.titles == ("zeek.conn (2)",))
    database.add(conn([2, 3, 4], name="zeek.dns").to_batches())
    _until(lambda: view.events == 5)
    assert view.counts == {"zeek.dns": 3, "zeek.conn": 2}
    assert view.result().num_rows == 5
    assert not view.result().partial
    view.stop()
    assert not view.running
    assert tabs.titles == ("zeek.conn (2)", "zeek.dns (3)")
    assert "id.resp_p" in "".join(check(tabs.children[0].value).text)


def test_stop_is_idempotent_and_start_asks_anew(vast, database):
    """Stopping twice is stopping once; after that the view sees the past only when started."""
    view = LiveView(vast)
    _until(lambda: view.events == 2)
    view.stop()
    view.stop()
    database.add(conn([2]).to_batches())
    assert (view.running, view.events) == (False, 2)
    view.start()
    _until(lambda: view.events == 3)
    view.close()
    assert not view.running


def test_a_table_says_of_how_many_it_shows_the_newest(vast, database):
    """The number below the table and that of its tab are of the same events."""
    database.add(conn(range(500), name="zeek.dns").to_batches())
    view = LiveView(vast, mode="historical")
    tabs = _find(view, widgets.Tab)
    _until(lambda: not view.running and len(tabs.titles) == 2)
    captions = {}
    for number, title in enumerate(tabs.titles):
        view._views.chosen = title.split()[0]
        _until(lambda n=number: bool(tabs.children[n].value))
        captions[title] = check(tabs.children[number].value).text[-1]
    assert captions == {
        "zeek.dns (500)": "the newest 20 of 500 events, 4 columns",
        "zeek.conn (2)": "2 events, 4 columns",
    }


def test_the_newest_event_is_on_top(vast, database):
    """What came last is what one watches for."""
    database.add(conn(range(100, 150)).to_batches())
    view = LiveView(vast, mode="historical")
    tabs = _find(view, widgets.Tab)
    _until(lambda: not view.running and bool(tabs.children) and bool(tabs.children[0].value))
    times = re.findall(r"08:\d\d:\d\d", "".join(check(tabs.children[0].value).text))
    assert times[0] == "08:02:29"
    assert times == sorted(times, reverse=True)


def test_events_that_are_not_kept_are_counted_in_their_view(vast):
    """Where no event is kept, the view has the number and no failure."""
    view = LiveView(vast, mode="historical", rows=0)
    tabs = _find(view, widgets.Tab)
    _until(lambda: not view.running and bool(tabs.children) and bool(tabs.children[0].value))
    assert check(tabs.children[0].value).text[-1].startswith("the newest 0 of 2 events")
    assert all("Error" not in box.value for box in _htmls(view))


def test_the_status_says_what_is_read_first(logs):
    """While a folder of logs is read for the first time, the view says so, and how far it is."""
    with Connection(str(logs)) as connection:
        view = LiveView(connection)
        status = _htmls(view)[1]
        _until(lambda: "reading 4 logs · 9,000 events" in status.value)
        view.stop()
        assert "0 events in 0 schemas" in status.value


def test_the_limit_ends_it(vast):
    """A limit is a limit here too, and the view says so."""
    view = LiveView(vast, limit=1)
    _until(lambda: not view.running)
    assert view.events == 1
    assert view.result().limit_reached
    _until(lambda: any("limit reached" in box.value for box in _htmls(view)))


def _htmls(view: LiveView) -> list[widgets.HTML]:
    return [*view.children[:1], view.children[1].children[1]]


def test_the_button_stops_and_starts(vast):
    """One button does both, and says which."""
    view = LiveView(vast)
    button = _find(view, widgets.Button)
    assert button.description == "Stop"
    button.click()
    assert (view.running, button.description) == (False, "Start")
    button.click()
    assert (view.running, button.description) == (True, "Stop")


def test_at_most_four_run(vast):
    """A fifth view is refused until one of them stops, and a click says so."""
    views = [LiveView(vast) for _ in range(4)]
    with pytest.raises(errors.UsageError, match="4 live views"):
        LiveView(vast)
    fifth = LiveView(vast, start=False)
    _find(fifth, widgets.Button).click()
    assert "4 live views" in fifth.error
    assert any("4 live views" in box.value for box in _htmls(fifth))
    assert len(live.running()) == 4
    views[0].stop()
    fifth.start()
    assert fifth in live.running()
    live.stop_all()
    assert live.running() == ()
    assert not any(view.running for view in [*views, fifth])


def test_closing_the_connection_ends_it(vast):
    """A view does not outlive its connection, and says nothing wrong afterwards."""
    view = LiveView(vast)
    _until(lambda: view.events == 2)
    vast.close()
    _until(lambda: not view.running)
    view.stop()
    assert live.running() == ()


@pytest.mark.parametrize(
    "wrong",
    [{"expression": "resp_p =="}, {"mode": "never"}, {"limit": -1}, {"rows": -1}, {"limit": "x"}],
)
def test_a_slip_fails_at_once(vast, wrong):
    """What cannot be asked raises where it is written, and nothing runs."""
    with pytest.raises(errors.VastlabError):
        LiveView(vast, **wrong)
    assert live.running() == ()


def test_a_failure_is_shown(vast, monkeypatch):
    """An error of the node ends the view with its text, neutralised; what came is kept."""

    async def broken(*_: object, **__: object) -> object:
        for batch in conn([0]).to_batches():
            yield TableSlice(batch)
        raise errors.NodeError("\x1b[31m<script> is gone")

    monkeypatch.setattr(vast._vast, "export", broken)
    view = LiveView(vast)
    _until(lambda: not view.running)
    assert "<script> is gone" in view.error
    assert "\x1b" not in view.error
    assert view.result().num_rows == 1
    assert view.result().partial
    for shown in _htmls(view):
        check(shown.value)


def test_hostile_events_are_only_text(tmp_path):
    """Names and values of events neither run nor hide in a live view."""
    evil = '\x1b<img src=x onerror="1">'
    Database.create(tmp_path / "db").add(conn([0], [evil], name=evil).to_batches())
    with Connection(str(tmp_path / "db")) as connection:
        view = LiveView(connection, mode="historical")
        _until(lambda: not view.running and bool(_find(view, widgets.Tab).children))
        tabs = _find(view, widgets.Tab)
        _until(lambda: bool(tabs.children[0].value))
    assert "\x1b" not in tabs.titles[0]
    assert r"\x1b<img src=x" in "".join(check(tabs.children[0].value).text)


def test_memory_is_bounded():
    """However many events come, the newest are kept, and only they."""
    ring = Ring(10)
    big = pa.RecordBatch.from_pydict({"n": list(range(100_000))})
    for start in range(0, 100_000, 999):
        ring.add(TableSlice(big.slice(start, 999)))
    (kept,) = ring.newest().values()
    assert [n for batch in kept for n in batch.to_pydict()["n"]] == list(range(99_990, 100_000))
    assert sum(ring.counts().values()) == 100_000
    assert sum(batch.get_total_buffer_size() for batch in kept) < 10_000


def test_many_schemas_are_counted_and_few_kept():
    """More schemas than anybody looks at are counted only."""
    ring = Ring(1)
    for number in range(150):
        ring.add(TableSlice(next(iter(conn([0], name=f"s{number}").to_batches()))))
    assert len(ring.counts()) == 150
    assert len(ring.newest()) == 100
