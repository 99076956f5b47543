"""Results as plain text, safe for any terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from vastlab import _text
from vastlab.display.outcome import Outcome, most_first, notes, plural, question, span, totals
from vastlab.display.preview import CELL_WIDTH, Preview, Summary

SCHEMAS = 20


def overview(outcome: Outcome, summaries: Sequence[Summary], zone: tzinfo | None = None) -> str:
    """Describe a result: one line for each of the largest schemas, one for the rest.

    Examples
    --------
    >>> print(overview(Outcome(), [Summary("zeek.conn", 2, 5, None, None)]))
    2 events in 1 schema
    zeek.conn  2 events  5 columns
    result["zeek.conn"] is a DataFrame, result.show("zeek.conn") a safe view of it
    """
    ordered = most_first(summaries)
    events = sum(summary.events for summary in ordered)
    lines = [*notes(outcome, events), totals(outcome, ordered)]
    lines += _aligned([_facts(summary, zone) for summary in ordered[:SCHEMAS]])
    if rest := ordered[SCHEMAS:]:
        lines.append(others(rest))
    if ordered:
        name = f'"{_name(ordered[0].name)}"'
        lines.append(f"result[{name}] is a DataFrame, result.show({name}) a safe view of it")
    return "\n".join(lines)


def line(outcome: Outcome, summaries: Sequence[Summary]) -> str:
    """Describe a result in one line."""
    events = sum(summary.events for summary in summaries)
    parts = [*notes(outcome, events), totals(outcome, summaries), question(outcome)]
    return " · ".join(part for part in parts if part)


def table(shown: Preview) -> str:
    """Draw a preview as aligned columns, and say what it leaves out."""
    header = [column.name for column in shown.columns]
    body = [[value or "" for value in row] for row in shown.rows]
    right = [column.right for column in shown.columns]
    lines = _aligned([header, *body], right) if header else []
    return "\n".join([_name(shown.summary.name), *lines, left_out(shown)])


def left_out(shown: Preview) -> str:
    """Say how much of the events a preview shows."""
    summary = shown.summary
    count = len(shown.rows)
    if count < shown.newest_of:
        rows = f"the newest {count:,} of {plural(shown.newest_of, 'event')}"
    else:
        rows = _part(count, summary.events, "event")
    return f"{rows}, {_part(len(shown.columns), summary.columns, 'column')}"


def others(rest: Sequence[Summary]) -> str:
    """Count the schemas that have no line of their own."""
    events = sum(summary.events for summary in rest)
    return f"and {plural(len(rest), 'more schema')} with {plural(events, 'event')}"


def _part(shown: int, total: int, noun: str) -> str:
    return plural(total, noun) if shown >= total else f"{shown:,} of {plural(total, noun)}"


def _facts(summary: Summary, zone: tzinfo | None) -> list[str]:
    return [
        _name(summary.name),
        plural(summary.events, "event"),
        plural(summary.columns, "column"),
        span(summary, zone),
    ]


def _name(name: str) -> str:
    return _text.cut(_text.plain(name), CELL_WIDTH)


def _aligned(rows: list[list[str]], right: Sequence[bool] = (False, True, True)) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = []
    for row in rows:
        cells = [
            text.rjust(width) if i < len(right) and right[i] else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        aligned.append("  ".join(cells).rstrip())
    return aligned
