"""A result as one HTML page: no script, nothing from elsewhere, every value escaped.

The policy of the page allows its own style sheet, by its digest, and pictures inside the page, so
that markup that got through all the same would neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo

from vastlab import _text
from vastlab._text import plural
from vastlab.display import preview
from vastlab.display.preview import Outcome, Preview, Summary, most_first

ROWS, COLUMNS = 100, 100
_QUESTION, _LONGEST_QUESTION = 300, 20_000  # characters
_MOST_BYTES = 16 << 20  # what a browser still opens at once
_MOST_QUESTIONS = 50

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #57606a; --page: #ffffff;
  --line: #d0d7de; --head: #f3f5f7; --note: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9aa4af; --page: #14181d;
  --line: #363d45; --head: #1f252c; --note: #e0a33a; } }
body { margin: 2em auto; padding: 0 1.5em; max-width: 110em; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2em 1.5em; }
dt { color: var(--faint); } dd { margin: 0; }
code, td { font-family: ui-monospace, monospace; font-size: .93em; overflow-wrap: anywhere; }
.note { border-left: 4px solid var(--note); padding: .1em .8em; }
.faint { color: var(--faint); font-size: .93em; }
.wide { overflow-x: auto; } img { max-width: 100%; }
table { border-collapse: collapse; } th { background: var(--head); text-align: left; }
th, td { border-bottom: 1px solid var(--line); padding: .2em .7em; white-space: nowrap; }
.right { text-align: right; } summary { cursor: pointer; }
section > details > summary { font-weight: 600; padding: .4em 0; }
@media print { details { break-inside: avoid-page; } }
"""


def page(
    outcome: Outcome,
    summaries: Sequence[Summary],
    previewer: Callable[[str], Preview],
    picture: bytes | None,
    zone: tzinfo | None = None,
) -> str:
    """Draw a result with the events that `previewer` gives for each schema.

    Parameters
    ----------
    outcome
        How the query went.
    summaries
        What there is of each schema.
    previewer
        Returns the first events of one schema.
    picture
        The events over time as PNG, if there is a picture.
    zone
        Where times are shown.
    """
    ordered = most_first(summaries)
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    body = "".join(
        [
            *_head(outcome, ordered, zone),
            *_picture(picture, zone),
            *_counts(ordered, zone),
            *_questions(outcome),
            "<section>",
            *_tables(ordered, previewer),
            "</section>",
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text.html(_text.cut(_asked(outcome.expression), 100))}</title>"
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _head(outcome: Outcome, summaries: Sequence[Summary], zone: tzinfo | None) -> Iterator[str]:
    events = sum(summary.events for summary in summaries)
    yield "<h1>Result of a query</h1>"
    for note in preview.notes(outcome, events):
        yield f'<p class="note">{_text.html(note)}</p>'
    facts = {
        "query": _question(outcome.expression),
        "since": _moment(outcome.since, zone),
        "until": _moment(outcome.until, zone),
        "endpoint": f"<code>{_text.html(outcome.endpoint)}</code>" if outcome.endpoint else "",
        "mode": "" if outcome.mode == "historical" else _text.html(outcome.mode),
        "asked": _moment(outcome.asked, zone),
        "found": _text.html(preview.totals(outcome, summaries)),
        "complete": "no, the query was stopped" if outcome.partial else _completeness(outcome),
        "times in": _text.html(str(zone or "UTC")),
    }
    rows = (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    yield f"<dl>{''.join(rows)}</dl>"


def _completeness(outcome: Outcome) -> str:
    return "no, the limit was reached" if outcome.limit_reached else "yes"


def _moment(nanoseconds: int | None, zone: tzinfo | None) -> str:
    return "" if nanoseconds is None else preview.moment(nanoseconds, zone)


def _picture(picture: bytes | None, zone: tzinfo | None) -> Iterator[str]:
    if picture is not None:
        where = _text.html(str(zone or "UTC"))
        data = base64.b64encode(picture).decode()
        yield "<h2>Over time</h2>"
        yield f'<img alt="events over time, in {where}" src="data:image/png;base64,{data}">'


def _counts(summaries: Sequence[Summary], zone: tzinfo | None) -> Iterator[str]:
    yield "<h2>Schemas</h2>"
    if not summaries:
        yield '<p class="faint">no events</p>'
        return
    rows = (
        f'<tr><td>{_name(summary)}</td><td class="right">{summary.events:,}</td>'
        f"<td>{_text.html(preview.span(summary, zone))}</td></tr>"
        for summary in summaries
    )
    head = '<tr><th>schema</th><th class="right">events</th><th>from and to</th></tr>'
    body = f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody>"
    yield f'<div class="wide"><table>{body}</table></div>'


def _questions(outcome: Outcome) -> Iterator[str]:
    """List the queries of the results before this one, oldest first."""
    if not outcome.earlier:
        return
    yield "<h2>Queries that led here</h2><ol>"
    asked = [*outcome.earlier, outcome.expression]
    for question in asked[-_MOST_QUESTIONS:]:
        yield f"<li>{_question(question)}</li>"
    yield "</ol>"


def _tables(summaries: Sequence[Summary], previewer: Callable[[str], Preview]) -> Iterator[str]:
    if summaries:
        yield "<h2>Events</h2>"
    room = _MOST_BYTES
    for number, summary in enumerate(summaries):
        table = _table(previewer(summary.name)) if room > 0 else ""
        room -= len(table.encode())
        if room < 0:
            left = plural(sum(s.events for s in summaries[number:]), "event")
            schemas = plural(len(summaries) - number, "schema")
            yield f'<p class="note">the page is full: {left} of {schemas} are left out</p>'
            return
        yield f"<details open><summary>{_name(summary)}</summary>{table}</details>"


def _table(shown: Preview) -> str:
    """Draw a preview, and say what is left out."""
    sides = [' class="right"' if column.right else "" for column in shown.columns]
    heads = "".join(
        f'<th{side} title="{_text.html(column.type)}">{_text.html(column.name)}</th>'
        for column, side in zip(shown.columns, sides, strict=True)
    )
    cells = (
        "".join(
            f"<td{side}>{_text.html(value or '')}</td>"
            for value, side in zip(row, sides, strict=True)
        )
        for row in shown.rows
    )
    rows = "".join(f"<tr>{row}</tr>" for row in cells)
    more = shown.summary.events - len(shown.rows)
    left = f"; {plural(more, 'event')} left out" if more > 0 else ""
    told = _text.html(preview.left_out(shown) + left)
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f'</div><p class="faint">{told}</p>'
    )


def _name(summary: Summary) -> str:
    return _text.html(_text.short(summary.name, preview.CELL_WIDTH)) or "(no name)"


def _asked(expression: str) -> str:
    return expression or "all events"


def _question(expression: str) -> str:
    """Draw an expression; a long one opens, up to a bound."""
    text = _text.plain(_text.cut(_asked(expression), _LONGEST_QUESTION))
    short = f"<code>{_text.html(_text.cut(text, _QUESTION))}</code>"
    if len(text) <= _QUESTION:
        return short
    return f"<details><summary>{short}</summary><code>{_text.html(text)}</code></details>"
