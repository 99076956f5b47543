"""A result as widgets."""

from __future__ import annotations

import ipywidgets as widgets

from tests.display.conftest import conn
from vastlab.result import Result


def _result(count: int, note: str = "n") -> Result:
    return Result({f"s{n}": [conn([0] * (n + 1), [note] * (n + 1))] for n in range(count)})


def test_few_schemas_are_tabs():
    """Each schema has a tab with its safe view, largest first."""
    tabs = _result(3, "<script>\x1b").tabs()
    assert isinstance(tabs, widgets.Tab)
    assert tabs.titles == ("s2 (3)", "s1 (2)", "s0 (1)")
    assert "<script>" not in tabs.children[0].value
    assert "\x1b" not in tabs.children[0].value


def test_many_schemas_are_a_list_with_a_filter():
    """Above twelve schemas one chooses from a list that part of a name narrows."""
    words, listed, view = _result(300).tabs().children
    assert len(listed.options) == 300
    assert listed.value == "s299"
    assert "300 events" in view.value
    words.value = "S17"
    assert [value for _, value in listed.options] == [
        "s179",
        "s178",
        *(f"s{n}" for n in range(177, 169, -1)),
        "s17",
    ]
    listed.value = "s17"
    assert "18 events" in view.value
    words.value = "nothing"
    assert (listed.options, view.value) == ((), "")


def test_no_events_are_said():
    """An empty result has no tabs, and says so."""
    assert "no events" in Result({}).tabs().value
