"""How a query went, and how that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from vastlab import _text
from vastlab.display.preview import Summary, moment

_EXPRESSION_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """The question and the end of a query.

    Parameters
    ----------
    expression
        The final expression, with all parameters in their places.
    mode
        The export mode, in lower case.
    limit
        The most events that were asked for; 0 for all.
    elapsed
        Seconds.
    limit_reached
        Whether the limit ended the query: there may be more.
    partial
        Whether an interrupt or a failure ended it.
    origin
        Which endpoint was asked, where a file in the working folder chose it.
    chosen_from
        How many events had arrived, where only some of them are shown.
    newest_of
        How many events had arrived, where only the newest of them are kept.
    """

    expression: str = ""
    mode: str = "historical"
    limit: int = 0
    elapsed: float = 0.0
    limit_reached: bool = False
    partial: bool = False
    origin: str = ""
    chosen_from: int = 0
    newest_of: int = 0


def notes(outcome: Outcome, events: int) -> tuple[str, ...]:
    """Say what a reader must know before trusting the numbers.

    Examples
    --------
    >>> notes(Outcome(limit=100, limit_reached=True), 100)
    ('first 100 events (limit reached; -n 0 for all)',)
    """
    said = []
    arrived = outcome.chosen_from or events
    came = plural(arrived, "event")
    of = "of " if outcome.chosen_from else ""
    if outcome.newest_of:
        said.append(f"{of}the newest {arrived:,} of {plural(outcome.newest_of, 'event')}")
    elif outcome.partial:
        said.append(f"partial: stopped after {came}")
    if outcome.limit_reached:
        first = f"{of}the first" if of else "first"
        said.append(f"{first} {came} (limit reached; -n 0 for all)")
    if outcome.origin:
        said.append(outcome.origin)
    return tuple(said)


def totals(outcome: Outcome, summaries: Sequence[Summary]) -> str:
    """Count everything in one line."""
    events = sum(summary.events for summary in summaries)
    counted = f"{plural(events, 'event')} in {plural(len(summaries), 'schema')}"
    return f"{counted} · {outcome.elapsed:.2f} s" if outcome.elapsed else counted


def question(outcome: Outcome) -> str:
    """Show the expression, cut and neutralised."""
    text = _text.plain(_text.cut(outcome.expression, _EXPRESSION_WIDTH + 1))
    return _text.cut(text, _EXPRESSION_WIDTH)


def span(summary: Summary, zone: tzinfo | None = None) -> str:
    """Say from when to when; ``""`` where events have no time."""
    if summary.first is None or summary.last is None:
        return ""
    first, last = moment(summary.first, zone), moment(summary.last, zone)
    return first if first == last else f"{first} to {last}"


def plural(count: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> plural(1, "event"), plural(1200, "event")
    ('1 event', '1,200 events')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def most_first(summaries: Sequence[Summary]) -> list[Summary]:
    """Order summaries by their events, most first."""
    return sorted(summaries, key=lambda summary: (-summary.events, summary.name))
