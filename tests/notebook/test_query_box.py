"""QueryBox without a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import ipywidgets as widgets
import pytest

from tests.display.conftest import conn
from tests.display.test_html import CONTROLS, check
from tests.notebook.conftest import send
from vastlab import errors, queries
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


def _click(box: QueryBox) -> None:
    """Click on Run, and wait for what that began."""
    _find(box, widgets.Button).click()
    box.wait()


def _status(box: QueryBox) -> str:
    return box.children[3].value


def _tabs(box: QueryBox) -> list[str]:
    return [schema["label"] for schema in box.panel.table.view["schemas"]]


def test_run_without_a_browser(box):
    """Setting traits and calling `run` is all it takes."""
    result = box.run()
    assert box.result is result
    assert result.num_rows == 6
    box.limit = 2
    assert box.run().limit_reached
    assert box.error == ""


def test_the_button_runs(box):
    """A click asks what the form says and shows a tab and a table for each schema."""
    _click(box)
    assert _tabs(box) == ["zeek.conn (4)", "zeek.dns (2)"]
    assert "id.resp_p" in [column["label"] for column in box.panel.table.view["columns"]]
    assert len(box.panel.table.view["rows"]) == 4


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
    _click(box)
    assert "unexpected end" in box.error
    assert "^" in box.error
    assert box.result is before
    assert box.panel.table.view["dimmed"]
    assert "<b>" in "".join(check(_status(box)).text)
    box.expression = "resp_p == 4"
    _click(box)
    assert (box.error, box.result.num_rows) == ("", 1)
    assert not box.panel.table.view["dimmed"]


def test_run_raises_for_programs(box):
    """`run` itself raises, so that a script notices."""
    box.expression = "resp_p =="
    with pytest.raises(errors.ExpressionSyntaxError):
        box.run()
    assert not _find(box, widgets.Button).disabled


def test_any_failure_stays_in_the_box(box, monkeypatch):
    """Even an unexpected error does not leave a callback."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("\x1b[31m<script>")

    monkeypatch.setattr(Connection, "start", broken)
    _click(box)
    assert "RuntimeError" in box.error
    assert "\x1b" not in box.error
    check(_status(box))


def test_bad_state_is_refused(box):
    """A mode that does not exist and a negative limit cannot be set."""
    for name, value in (("mode", "never"), ("limit", -1)):
        with pytest.raises(widgets.trait_types.traitlets.TraitError):
            setattr(box, name, value)


def test_nothing_found_has_no_tabs(box):
    """Without events the table is hidden and the numbers are shown."""
    box.run()
    box.expression = "resp_p == 99"
    box.run()
    assert _tabs(box) == []
    assert box.panel.layout.display == "none"
    assert "0 events" in _status(box)


def test_unknown_names_are_remarked_on(box):
    """What no schema knows is said in the box."""
    box.expression = "nope == 1"
    box.run()
    assert "no schema has a field nope" in "".join(check(_status(box)).text)


def test_tabs_of_hostile_events(tmp_path):
    """Names and values of events are only text in titles and tables."""
    evil = '\x1b<img src=x onerror="1">'
    Database.create(tmp_path / "db").add(conn([0], [evil], name=evil).to_batches())
    with Connection(str(tmp_path / "db")) as connection:
        box = QueryBox(connection)
        box.run()
    assert _tabs(box) == [r'\x1b<img src=x onerror="1"> (1)']
    assert r'\x1b<img src=x onerror="1">' in box.panel.table.view["rows"][0]
    assert "\x1b" not in "".join(map(str, box.panel.histogram.view.values()))


def test_answers_make_no_widgets(box):
    """A second answer fills the widgets of the first one, so that none is left behind."""
    made: list[widgets.Widget] = []
    widgets.Widget.on_widget_constructed(made.append)
    try:
        box.run()
        box.expression = "resp_p == 4"
        box.run()
    finally:
        widgets.Widget.on_widget_constructed(None)
    assert made == []
    assert _tabs(box) == ["zeek.conn (1)"]


def test_closing_closes_everything_inside(folder):
    """A box that is closed leaves no widget for the saved notebook, and closes twice."""
    box = QueryBox(str(folder))
    inside = [box]
    for widget in inside:
        inside += getattr(widget, "children", ())
    box.close()
    box.close()
    assert len(inside) > 10
    assert all(widget.comm is None for widget in inside)


def test_as_text(box):
    """Where there are no widgets, the form and its answer are text."""
    assert repr(box) == "QueryBox('resp_p >= 1', historical, limit 0)"
    box.run()
    assert "6 events in 2 schemas" in repr(box)


def test_stop_keeps_what_arrived(folder):
    """A query that waits for events ends on Stop, and its part is there."""
    with Connection(str(folder)) as connection:
        box = QueryBox(connection, expression="resp_p >= 0", mode="unified", limit=0)
        arrived = threading.Event()
        box.start()
        box.start()
        assert box.running
        assert _find(box, widgets.Button).description == "Stop"
        box.children[3].observe(lambda _: arrived.set(), "value")
        assert arrived.wait(60)
        _find(box, widgets.Button).click()
        box.wait()
        assert not box.running
        assert box.result.partial
        assert (box.error, _find(box, widgets.Button).description) == ("", "Run")
        assert "partial: stopped after" in _status(box)
        box.stop()


def test_the_status_says_what_is_read_first(logs):
    """While a folder of logs is read for the first time, the status says so, and how far it is."""
    with Connection(str(logs)) as connection:
        box = QueryBox(connection)
        told = threading.Event()
        box.children[3].observe(
            lambda change: "reading 4 logs · 9,000 events" in change["new"] and told.set(), "value"
        )
        box.start()
        assert told.wait(60)
        box.stop()
        box.wait()
        assert "partial: stopped after 0 events" in _status(box)


def test_a_limit_is_one_whatever_way_it_is_asked(box):
    """A click ends at the limit and says so, as a call does."""
    box.limit = 3
    _click(box)
    assert (box.result.num_rows, box.result.limit_reached) == (3, True)
    assert "limit reached" in _status(box)


def test_history_brings_an_expression_back(box):
    """The newest expression comes first, each one once, and choosing it fills the form."""
    for number in (1, 2, 1, 3, *range(4, 60)):
        box.expression = f"resp_p == {number}"
        box.run()
    assert box.history[0] == "resp_p == 59"
    assert len(box.history) == len(set(box.history)) == 50
    past = _find(box, widgets.Combobox)
    assert past.options == box.history
    past.value = "resp_p == 58"
    assert (box.expression, past.value) == ("resp_p == 58", "")


def test_history_outlives_the_form(box, folder):
    """Another form for the same endpoint, as in the next notebook, offers what was asked."""
    box.expression = "resp_p == 1 &&\n  resp_p > 0"
    box.run()
    later = QueryBox(str(folder))
    assert later.history[0] == box.expression
    past = _find(later, widgets.Combobox)
    past.value = "resp_p == 1 && resp_p > 0"
    assert later.expression == box.expression
    assert QueryBox("elsewhere").history == ()


def test_hostile_history_is_only_text(box):
    """What was asked is shown on one line without controls, and comes back as it was."""
    evil = 'note == "\x1b[31m\u202e<script>' + "x" * 1_000 + '"'
    box.expression = evil
    with pytest.raises(errors.ExpressionSyntaxError):
        box.run()
    past = _find(box, widgets.Combobox)
    (line,) = past.options
    assert len(line) <= 200
    assert not CONTROLS.search(line)
    past.value = line
    assert box.expression == evil


def test_many_schemas_are_all_reachable(tmp_path):
    """Each schema of many can be looked at."""
    database = Database.create(tmp_path / "db")
    for number in range(15):
        database.add(conn([number], name=f"s{number:02}").to_batches())
    with Connection(str(tmp_path / "db")) as connection:
        box = QueryBox(connection, limit=0)
        box.run()
        assert len(_tabs(box)) == 15
        for number in range(15):
            send(box.panel, do="schema", name=f"s{number:02}")
            assert f"08:00:{number:02}" in str(box.panel.table.view["rows"])
        box.expression = '#type == "s03" || #type == "s14"'
        box.run()
        assert _tabs(box) == ["s03 (1)", "s14 (1)"]
        assert box.panel.schema == "s14"


def _saved(box: QueryBox) -> list[widgets.Widget]:
    return list(box.children[2].children[1].children)


def _parameters(box: QueryBox) -> tuple[widgets.Text, ...]:
    return box.children[0].children[1].children


def test_an_expression_can_be_saved_and_chosen(box, tmp_path, monkeypatch):
    """What is saved under a name is in the file beside the notebook, and in the list."""
    monkeypatch.chdir(tmp_path)
    listed, name, save = _saved(box)
    box.expression = 'resp_p == $port && note != "x\'y: #"'
    save.click()
    assert "needs a name" in _status(box)
    name.value = "mine"
    save.click()
    assert "saved as mine" in "".join(check(_status(box)).text)
    assert queries.load()["mine"].expression == box.expression
    box.expression = ""
    assert _parameters(box) == ()
    assert listed.label == "saved queries"
    listed.value = "mine"
    assert (box.expression, listed.label) == (queries.load()["mine"].expression, "saved queries")
    (port,) = _parameters(box)
    assert port.description == "$port"
    name.value = "mine"
    save.click()
    assert "choose another name" in _status(box)


def test_parameters_have_fields(box, tmp_path, monkeypatch):
    """A saved query reads what is typed by its types; another expression, as values of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queries.yaml").write_text(
        "- name: some\n  expression: 'resp_p in $ports'\n"
        "  params: {ports: {type: list<int>, default: [4]}}\n"
    )
    box._saved.refresh()
    listed = _saved(box)[0]
    listed.value = "some"
    assert _parameters(box)[0].placeholder == "list<int> = [4]"
    _click(box)
    assert (box.error, box.result.num_rows, box.result.expression) == ("", 1, "resp_p in [4]")
    _parameters(box)[0].value = "1,2"
    assert box.run().expression == "resp_p in [1, 2]"
    box.expression = "resp_p == $port"
    _click(box)
    assert "$port" in box.error
    _parameters(box)[0].value = "4"
    _click(box)
    assert (box.error, box.result.expression) == ("", "resp_p == 4")


def test_a_broken_file_of_queries_is_said(folder, tmp_path, monkeypatch):
    """The form can be used where the saved queries cannot be read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queries.yaml").write_text("- name: [<b>\n")
    box = QueryBox(str(folder))
    assert "queries.yaml" in "".join(check(_status(box)).text)
    assert box.run().num_rows == 8


def test_the_limit_is_called_what_the_form_calls_it(box):
    """No hint of a form names an option of a magic."""
    box.limit = 2
    box.run()
    assert "limit 0 for all" in _status(box)
    assert "-n" not in _status(box)


def test_profiles_are_offered(tmp_path, monkeypatch, folder):
    """A profile of vast.yaml is another connection, with a history of its own."""
    text = f"vastlab:\n  profiles:\n    other:\n      endpoint: {folder}\n"
    (tmp_path / "vast").mkdir()
    (tmp_path / "vast" / "vast.yaml").write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    box = QueryBox("nowhere", expression="resp_p == 4")
    profiles = _find(box, widgets.Dropdown)
    assert [value for _, value in profiles.options] == ["", "other"]
    profiles.value = "other"
    _click(box)
    assert (box.error, box.result.num_rows) == ("", 1)
    assert box.history == ("resp_p == 4",)
    box.profile = ""
    assert box.history == ()
    box.close()
