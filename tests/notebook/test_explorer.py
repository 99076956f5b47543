"""The explorer without a browser: what a page sends is sent here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

import vastlab
from tests.display.test_html import check
from tests.notebook.conftest import send
from vastlab import errors
from vastlab.client import VAST
from vastlab.notebook import QueryBox
from vastlab.notebook.explorer import panel as panels

EVENTS = 1_050


def click(box: QueryBox, choice: str, row: int, label: str) -> None:
    """Choose something for a value of the table."""
    send(box.panel, do=choice, row=row, column=labels(box).index(label))
    box.wait()


def labels(box: QueryBox) -> list[str]:
    return [column["label"] for column in box.panel.table.view["columns"]]


def column(box: QueryBox, label: str) -> list[Any]:
    """Return the cells of a column that are shown."""
    place = labels(box).index(label)
    return [row[place] for row in box.panel.table.view["rows"]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> str:
    """Make a database of two schemas, one of them with many events."""
    folder = str(tmp_path_factory.mktemp("explored") / "some.db")
    times = pa.array([i * 10**9 for i in range(EVENTS)], pa.timestamp("ns", "UTC"))
    hosts = [f"h{i % 7}" if i % 5 else None for i in range(EVENTS)]
    with vastlab.connect(folder) as vast:
        vast.ingest(
            pa.table({"ts": times, "host": hosts, "size": range(EVENTS)}), schema="my.events"
        )
        vast.ingest(pa.table({"ts": times[:5], "name": list("abcde")}), schema="my.others")
    return folder


@pytest.fixture
def vast(stored) -> Iterator[vastlab.Connection]:
    with vastlab.connect(stored) as connection:
        yield connection


def test_the_first_page_costs_a_page(vast):
    """More is only asked for when it is looked at; then every event can be reached."""
    box = vast.explore(limit=10)
    table = box.panel.table
    assert [schema["label"] for schema in table.view["schemas"]] == [
        f"my.events ({EVENTS:,})",
        "my.others (5)",
    ]
    assert box.panel._shown["my.events"].pages.held == panels.PAGE
    assert (table.view["page"], table.view["pages"]) == (0, 11)
    seen = column(box, "size")
    for page in range(1, 11):
        send(box.panel, do="page", page=page)
        seen += column(box, "size")
    assert seen == [str(i) for i in range(EVENTS)]
    send(box.panel, do="page", page=10**9)
    assert table.view["page"] == 10
    assert box.result.num_rows == 10
    box.close()


def test_sort_and_filter_are_over_all_events(vast):
    """Not over the page that is shown."""
    box = vast.explore()
    send(box.panel, do="sort", column=labels(box).index("size"))
    send(box.panel, do="sort", column=labels(box).index("size"))
    assert column(box, "size")[0] == str(EVENTS - 1)
    send(box.panel, do="filter", column=labels(box).index("host"), text="h3")
    count = vast.count('host == "h3"')
    assert f"{count:,} events, filtered from {EVENTS:,}" in box.panel.table.view["note"]
    assert set(column(box, "host")) == {"h3"}
    send(box.panel, do="sort", column=labels(box).index("size"))
    send(box.panel, do="filter", column=labels(box).index("host"), text="")
    assert column(box, "size")[0] == "0"


def test_clicks_narrow_the_query_and_back_returns(vast):
    """What is shown is what the same query finds in Python, at every step."""
    box = vast.explore(limit=0)
    steps = [(box.expression, box.result.num_rows)]
    click(box, "only", 1, "host")
    assert box.expression == 'host == "h1"'
    steps.append((box.expression, box.result.num_rows))
    click(box, "not", 0, "size")
    assert box.expression == 'host == "h1" && (size != 1 || size == null)'
    for expression, rows in [*steps, (box.expression, box.result.num_rows)]:
        assert vast.query(expression, limit=0).num_rows == rows
    assert [question.expression for question in box.trail] == [text for text, _ in steps]
    for expression, rows in reversed(steps):
        box.back()
        box.wait()
        assert (box.expression, box.result.num_rows) == (expression, rows)
    box.back()
    assert box.trail == ()


def test_not_this_keeps_all_other_events(vast):
    """Also those of other schemas, and those without a value."""
    box = vast.explore(limit=0)
    value = column(box, "host")[1]
    click(box, "not", 1, "host")
    total = EVENTS + 5 - vast.count(f'host == "{value}"')
    assert box.result.num_rows == total


def test_a_pivot_looks_into_all_schemas(tmp_path):
    """A click on an identifier finds the events around it."""
    with vastlab.connect(str(tmp_path / "some.db")) as vast:
        vast.ingest(pa.table({"uid": ["C1", "C2"]}), schema="zeek.conn")
        vast.ingest(pa.table({"uid": ["C1", "C1", "C3"]}), schema="zeek.http")
        box = vast.explore()
        send(box.panel, do="schema", name="zeek.conn")
        click(box, "pivot", 0, "uid")
        assert dict(vast.counts(box.expression)) == {"zeek.http": 2, "zeek.conn": 1}
        box.close()


def test_a_brush_bounds_the_time(vast):
    """The bars that were dragged over, and no others."""
    box = vast.explore(limit=0)
    bars = box.panel.histogram.view["bars"]
    first, last = bars[2], bars[4]
    message = {"do": "brush", "first": first["slot"], "last": last["slot"]}
    box.panel.histogram._received(box.panel.histogram, message, [])
    box.wait()
    assert box.result.num_rows == sum(sum(bar["counts"]) for bar in bars[2:5])
    assert box.since < box.until
    assert f"--since {box.since}" in box.query


def test_the_line_of_a_query_reproduces_it(vast, shell):
    """In another cell, with all that the form says."""
    box = vast.explore(limit=0, since="1970-01-01T00:00:10", until="1970-01-01T00:01")
    click(box, "only", 2, "host")
    again = shell.run(box.query)
    assert again.num_rows == box.result.num_rows > 0
    assert again.expression == box.result.expression


def test_the_line_of_a_result_asks_for_the_same_events(vast, shell):
    """With the result's own expression and bounds, and what was narrowed since."""
    result = vast.query("size < 300", since="1970-01-01T00:00:10", limit=0)
    box = result.explore()
    click(box, "only", 2, "host")
    again = shell.run(box.query)
    assert again.num_rows == box.result.num_rows > 0


def test_a_value_is_copied_as_an_expression(vast):
    """The page gets the text, and the form stays as it is."""
    box = vast.explore()
    sent: list[Any] = []
    box.panel.table.send = lambda message: sent.append(message)
    click(box, "copy", 1, "host")
    assert sent == [{"copy": 'host == "h1"'}]
    assert box.expression == ""


def test_a_click_on_what_is_not_shown_any_more_does_nothing(vast):
    """Rows move when a table is sorted: an old click would choose another value."""
    box = vast.explore()
    old = box.panel.table.view["version"]
    send(box.panel, do="sort", column=2)
    message = {"do": "only", "row": 1, "column": 1, "version": old}
    box.panel.table._received(box.panel.table, message, [])
    box.wait()
    assert box.expression == ""


def test_an_error_dims_the_answer_before(vast):
    """It is not the answer to what the form says now; the next one is clear again."""
    box = vast.explore()
    box.expression = "size =="
    with pytest.raises(errors.ExpressionSyntaxError):
        box.run()
    assert box.panel.table.view["dimmed"]
    box.expression = "size == 4"
    box.run()
    assert not box.panel.table.view["dimmed"]


def test_an_event_is_shown_whole(vast):
    """Each field with its type; a click on its value narrows as well."""
    box = vast.explore()
    send(box.panel, do="event", row=3)
    assert ["size", "int64", "3"] in box.panel.event.view["rows"]
    names = [row[0] for row in box.panel.event.view["rows"]]
    message = {"do": "only", "row": names.index("size"), "column": 2}
    message["version"] = box.panel.event.view["version"]
    box.panel.event._received(box.panel.event, message, [])
    box.wait()
    assert box.expression == "size == 3"


def test_columns_can_be_chosen(vast):
    """In the order of the schema."""
    box = vast.explore()
    box.panel._columns.value = ["size"]
    box.panel.wait()
    assert labels(box) == ["size"]
    assert "2 more columns" in box.panel.table.view["note"]


def test_a_result_is_explored_without_its_node(vast):
    """Its events are counted, paged and narrowed where they are."""
    result = vast.query("size < 300", limit=0)
    vast.close()
    box = result.explore()
    assert [schema["label"] for schema in box.panel.table.view["schemas"]] == ["my.events (300)"]
    assert sum(sum(bar["counts"]) for bar in box.panel.histogram.view["bars"]) == 300
    click(box, "only", 1, "host")
    assert box.result.num_rows == len(result.where('host == "h1"')["my.events"])
    box.close()


def test_a_table_that_would_be_too_large_says_so(vast, monkeypatch):
    """The kernel keeps a bounded number of events."""
    monkeypatch.setattr(panels, "_MOST_BYTES", 1)
    told: list[str] = []
    box = vast.explore()
    monkeypatch.setattr(box, "tell", told.append)
    send(box.panel, do="page", page=5)
    assert told
    assert told[0].endswith("of 1,050 events: narrow the query to see the others")


def test_what_a_page_without_widgets_shows(vast):
    """A saved notebook has the answer as text, and its chart and tables as a page."""
    box = vast.explore("size < 3")
    bundle = box.final_mime_bundle()
    assert "3 events in 1 schema" in bundle["text/plain"]
    drawn = check(bundle["text/html"])
    assert drawn.counts["table"] == 1
    assert drawn.counts["rect"] == len(box.panel.histogram.view["bars"]) == 3


def test_the_status_counts_what_matches(vast):
    """Of all schemas, and the result says which of them its limit hid."""
    box = vast.explore(limit=10)
    assert "1,055 events in 2 schemas match" in box._status.value
    assert "left out" not in box._status.value
    assert box.result.left_out == {"my.others": 5}
    assert vast.explore("size < 4").result.left_out == {}


@pytest.fixture
def counting(monkeypatch) -> threading.Event:
    """Let counts over time never come, and tell when they are asked for."""
    asked = threading.Event()

    async def endless(*_: Any, **__: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(VAST, "timeline", endless)
    return asked


def test_counting_can_be_stopped(vast, counting):
    """What had arrived is shown, and the form can be used again."""
    box = QueryBox(vast, limit=7)
    box.start()
    assert counting.wait(60)
    box.stop()
    box.wait()
    assert not box.running
    assert box.result.num_rows == 7
    assert "stopped before all that matches was counted" in box._status.value


def test_a_click_ends_the_query_that_runs(vast, counting, monkeypatch):
    """And asks the new one."""
    box = QueryBox(vast)
    box.start()
    assert counting.wait(60)
    monkeypatch.undo()
    click(box, "only", 1, "host")
    assert (box.expression, box.error) == ('host == "h1"', "")
    assert box.result.num_rows == vast.query('host == "h1"').num_rows


def test_a_chart_says_where_time_is_left_out(tmp_path):
    """Two days nine years apart are drawn by the hour, with a mark between them."""
    days = [datetime(year, 1, 1, hour, tzinfo=UTC) for year in (2017, 2026) for hour in range(24)]
    with vastlab.connect(str(tmp_path / "some.db")) as vast:
        vast.ingest(pa.table({"ts": days}), schema="my.events")
        view = vast.explore().panel.histogram.view
    assert len(view["bars"]) == 48
    assert view["slots"] == 50
    assert len(view["cuts"]) == 1
    assert 24 <= view["cuts"][0] < 26


def test_the_magic_explores(shell, stored):
    """With the options of a query; what makes no sense is refused."""
    box = shell.run(f"%vast --explore -e {stored} -n 7 size < 5")
    assert (box.limit, box.result.num_rows) == (7, 5)
    with pytest.raises(errors.UsageError, match="--explore shows what is stored"):
        shell.run("%vast --explore -m unified")
    with pytest.raises(errors.UsageError, match="--explore takes no --live"):
        shell.run("%vast --explore --live")
