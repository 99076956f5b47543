"""QueryBox without a browser."""

from __future__ import annotations

from collections.abc import Iterator

import ipywidgets as widgets
import pytest

from tests.display.conftest import conn
from tests.display.test_html import check
from vastlab import errors
from vastlab.connection import Connection
from vastlab.notebook import QueryBox
from vastlab.store.database import Database


@pytest.fixture
def box(folder) -> Iterator[QueryBox]:
    with Connection(str(folder)) as connection:
        yield QueryBox(connection, expression="resp_p >= 1", limit=0)


def _find(box: QueryBox, kind: type) -> widgets.Widget:
    todo = [box]
    while todo:
        widget = todo.pop(0)
        if isinstance(widget, kind):
            return widget
        todo += getattr(widget, "children", ())
    raise AssertionError(kind)


def test_run_without_a_browser(box):
    """Setting traits and calling `run` is all it takes."""
    result = box.run()
    assert box.result is result
    assert result.num_rows == 6
    box.limit = 2
    assert box.run().limit_reached
    assert box.error == ""


def test_the_button_runs(box):
    """A click asks what the form says and shows a tab for each schema."""
    _find(box, widgets.Button).click()
    tabs = _find(box, widgets.Tab)
    assert tabs.titles == ("zeek.conn (4)", "zeek.dns (2)")
    for child in tabs.children:
        assert "id.resp_p" in "".join(check(child.value).text)


def test_form_and_traits_are_one(box):
    """What is typed is in the traits, and what is set is in the form."""
    _find(box, widgets.Textarea).value = "resp_p == 2"
    _find(box, widgets.ToggleButtons).value = "unified"
    _find(box, widgets.BoundedIntText).value = 7
    assert (box.expression, box.mode, box.limit) == ("resp_p == 2", "unified", 7)
    box.expression, box.mode, box.limit = "x == 1", "historical", 9
    assert _find(box, widgets.Textarea).value == "x == 1"
    assert _find(box, widgets.ToggleButtons).value == "historical"
    assert _find(box, widgets.BoundedIntText).value == 9


def test_a_click_shows_errors_and_raises_none(box):
    """An error is shown in the box, keeps the result before it, and can be put right."""
    box.run()
    before = box.result
    box.expression = 'note == "<b>" && resp_p =='
    _find(box, widgets.Button).click()
    assert "ends too early" in box.error
    assert "^" in box.error
    assert box.result is before
    assert "<b>" in "".join(check(_find(box, widgets.HTML).value).text)
    box.expression = "resp_p == 4"
    _find(box, widgets.Button).click()
    assert (box.error, box.result.num_rows) == ("", 1)


def test_run_raises_for_programs(box):
    """`run` itself raises, so that a script notices."""
    box.expression = "resp_p =="
    with pytest.raises(errors.ExpressionSyntaxError):
        box.run()
    assert not _find(box, widgets.Button).disabled


def test_any_failure_stays_in_the_box(box, monkeypatch):
    """Even an error that nobody expected does not leave a callback."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("\x1b[31m<script>")

    monkeypatch.setattr(Connection, "query", broken)
    _find(box, widgets.Button).click()
    assert "RuntimeError" in box.error
    assert "\x1b" not in box.error
    check(_find(box, widgets.HTML).value)


def test_bad_state_is_refused(box):
    """A mode that does not exist and a negative limit cannot be set."""
    for name, value in (("mode", "never"), ("limit", -1)):
        with pytest.raises(widgets.trait_types.traitlets.TraitError):
            setattr(box, name, value)


def test_nothing_found_has_no_tabs(box):
    """Without events the tabs are hidden and the numbers are shown."""
    box.expression = "resp_p == 99"
    box.run()
    assert _find(box, widgets.Tab).children == ()
    assert "0 events" in _find(box, widgets.HTML).value


def test_unknown_names_are_remarked_on(box):
    """What no schema knows is said in the box."""
    box.expression = "nope == 1"
    box.run()
    assert "no schema has a field nope" in "".join(check(_find(box, widgets.HTML).value).text)


def test_tabs_of_hostile_events(tmp_path):
    """Names and values of events are only text in titles and tabs."""
    evil = '\x1b<img src=x onerror="1">'
    Database.create(tmp_path / "db").add(conn([0], [evil], name=evil).to_batches())
    with Connection(str(tmp_path / "db")) as connection:
        box = QueryBox(connection)
        box.run()
    tabs = _find(box, widgets.Tab)
    assert "\x1b" not in tabs.titles[0]
    assert r"\x1b<img src=x" in "".join(check(tabs.children[0].value).text)


def test_old_tabs_are_closed(box):
    """A second answer leaves no widget of the first one behind."""
    box.run()
    old = _find(box, widgets.Tab).children
    box.run()
    assert all(child.comm is None for child in old)
