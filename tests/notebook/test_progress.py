"""The progress line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.display.test_html import Checker
from vastlab.nodes.base import Step
from vastlab.notebook import notes
from vastlab.notebook.notes import ProgressLine


@pytest.fixture
def page(monkeypatch) -> list[dict[str, str]]:
    """Collect what would be displayed in a notebook."""
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, bundle: dict[str, str], **_: Any) -> None:
            shown.append(bundle)

    def display(bundle: dict[str, str], **_: Any) -> Handle:
        shown.append(bundle)
        return Handle()

    monkeypatch.setattr(notes, "display", display)
    monkeypatch.setattr(notes, "_has_page", lambda: True)
    return shown


def test_short_calls_show_nothing(page):
    """Within the first moment nothing is displayed, and nothing remains."""
    with ProgressLine() as show:
        show(Step("", 5), 0.29)
    assert page == []


def test_long_queries_show_one_line_that_ends_static(page):
    """Later there is one display, with a bar, which ends as text without one."""
    with ProgressLine() as show:
        show(Step("", 500, 0.25), 2)
        show(Step("", 2000, 1.0), 4)
    assert [bundle["text/plain"] for bundle in page] == [
        "500 events · 250/s · 2.0 s",
        "2,000 events · 500/s · 4.0 s",
        "2,000 events · 500/s · 4.0 s",
    ]
    assert ["<progress" in bundle["text/html"] for bundle in page] == [True, True, False]
    Checker().feed(page[-1]["text/html"])


@pytest.mark.parametrize(
    "step, line",
    [
        (Step("counting"), "counting · 1.2 s"),
        (Step("", 0), "0 events · 1.2 s"),
        (Step("", 1, 0.01), "1 event · 1/s · 1.2 s"),
        (Step("reading 4 logs", 9000, 0.25), "reading 4 logs · 9,000 events · 7,500/s · 1.2 s"),
        (Step("reading a\x1b[31m\u202eb"), r"reading a\x1b[31m\u202eb · 1.2 s"),
    ],
)
def test_lines_read_well_whatever_is_known(page, step, line):
    """A line has what is done, the events and their rate, as far as known, and the time."""
    with ProgressLine() as show:
        show(step, 1.2)
    assert page[-1]["text/plain"] == line


def test_each_thing_that_is_done_has_its_own_rate(page):
    """The time that a folder was read first does not make the query slower."""
    with ProgressLine() as show:
        show(Step("reading 4 logs", 9000), 9)
        show(Step("", 100), 10)
    assert page[0]["text/plain"] == "reading 4 logs · 9,000 events · 1,000/s · 9.0 s"
    assert page[-1]["text/plain"] == "100 events · 100/s · 10.0 s"


def test_terminals_get_few_lines(monkeypatch, capsys):
    """Without a page a line is written ever more seldom, and no carriage return."""
    monkeypatch.setattr(notes, "_has_page", lambda: False)
    with ProgressLine() as show:
        for tenth in range(200):
            show(Step("", tenth), tenth / 10)
    captured = capsys.readouterr()
    assert 1 <= len(captured.err.strip().split("\n")) <= 6
    assert "\r" not in captured.err
    assert captured.out == ""
