"""How a query went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vastlab.display.preview import Outcome, Summary, most_first, question


@given(st.text())
def test_the_question_is_short_and_harmless(expression):
    """However long or hostile an expression is, its display is one short line."""
    shown = question(Outcome(expression))
    assert len(shown) <= 200
    assert "\n" not in shown
    assert "\x1b" not in shown


@given(st.lists(st.tuples(st.text(max_size=2), st.integers(0, 3)), max_size=6))
def test_most_events_first_then_by_name(drawn):
    """Summaries are ordered by events, and by name where these are equal."""
    ordered = most_first([Summary(name, events, 1, None, None) for name, events in drawn])
    keys = [(-summary.events, summary.name) for summary in ordered]
    assert keys == sorted(keys)
