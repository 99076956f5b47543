"""Benchmarks compare answers before times, and say what was not asked."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.benchmarks import measure, revisions
from tests.benchmarks.measure import ABSENT, Elsewhere, Report


def test_programs_that_answer_otherwise_are_not_timed():
    """A wrong answer has no time."""
    report = Report()
    with pytest.raises(AssertionError, match="theirs answers otherwise"):
        report.add("table", "question", {"vastlab": lambda: 1, "theirs": lambda: 2})
    assert report.tables == {}


def test_the_table_names_what_is_absent():
    """Ratios are those of the others; another process says itself what it took."""
    report = Report()
    asks = {"vastlab": lambda: Elsewhere(1, 2.0), "theirs": lambda: Elsewhere(1, 3.0)}
    report.add("table", "a | b", asks | {"gone": ABSENT}, note="in order")
    assert r"| a \| b | 1 | 2,000.0 | 1.50 | absent | in order |" in report.text()


def test_numbers_are_written_where_the_variable_says(tmp_path, monkeypatch):
    """Without the variable, nothing is written."""
    report = Report()
    report.add("table", "question", {"vastlab": lambda: 1})
    measure.save(report.content())
    monkeypatch.setenv("VASTLAB_BENCH_JSON", str(tmp_path / "new" / "found.json"))
    measure.save(report.content())
    (row,) = json.loads((tmp_path / "new" / "found.json").read_text())["tables"]["table"]
    assert row["question"] == "question"


def test_two_versions_that_answer_otherwise_are_marked():
    """The least of the turns, their ratio, and both answers where they differ."""
    turns = [
        {"before": {"a": (before, 1), "b": (1.0, 1)}, "after": {"a": (0.5, 1), "b": (1.0, 2)}}
        for before in (1.0, 9.0, 1.0)
    ]
    same, other = revisions.compared(turns)
    assert same == ["a", "1,000.0", "500.0", "0.50", ""]
    assert other[-1] == "answers differ: {'before': 1, 'after': 2}"


def test_what_runs_on_after_an_answer_belongs_to_it():
    """Engines read ahead in threads, which the next one would pay for."""

    def ask():
        busy = threading.Thread(target=lambda: sum(range(20_000_000)))
        busy.start()
        return busy

    started = time.process_time()
    measured = measure.cpu(ask)
    assert measured > 0.9 * (time.process_time() - started)
    assert measured > 0.05
