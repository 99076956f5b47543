"""The progress line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.display.test_html import Checker
from vastlab.notebook import progress
from vastlab.notebook.progress import ProgressLine


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


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

    monkeypatch.setattr(progress, "display", display)
    monkeypatch.setattr(progress, "_has_page", lambda: True)
    return shown


def test_short_queries_show_nothing(clock, page):
    """Within the first moment nothing is displayed, and nothing remains."""
    with ProgressLine() as show:
        clock.now += 0.29
        show(5, None)
    assert page == []


def test_long_queries_show_one_line_that_ends_static(clock, page):
    """Later there is one display, with a bar, which ends as text without one."""
    with ProgressLine() as show:
        clock.now += 2
        show(500, 0.25)
        clock.now += 2
        show(2000, 1.0)
    assert [bundle["text/plain"] for bundle in page] == [
        "500 events · 250/s · 2.0 s",
        "2,000 events · 500/s · 4.0 s",
        "2,000 events · 500/s · 4.0 s",
    ]
    assert ["<progress" in bundle["text/html"] for bundle in page] == [True, True, False]
    Checker().feed(page[-1]["text/html"])


def test_terminals_get_few_lines(clock, monkeypatch, capsys):
    """Without a page a line is written ever more seldom, and no carriage return."""
    monkeypatch.setattr(progress, "_has_page", lambda: False)
    with ProgressLine() as show:
        for tenth in range(200):
            clock.now += 0.1
            show(tenth, None)
    captured = capsys.readouterr()
    assert 1 <= len(captured.err.strip().split("\n")) <= 6
    assert "\r" not in captured.err
    assert captured.out == ""
