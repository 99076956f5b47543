"""A result as HTML: tables and trees, with every value escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo

from vastlab import _text
from vastlab._text import plural
from vastlab.display import preview
from vastlab.display.preview import (
    CELL_WIDTH,
    Outcome,
    Preview,
    Summary,
    bounds,
    most_first,
    notes,
    question,
    span,
    totals,
)

ROWS, COLUMNS = 10, 20
_PAGE = 190_000  # bytes; a notebook keeps every output
_FEWER_ROWS = (ROWS, 5, 2)

_FAINT = "opacity:.7;font-weight:normal"
_CODE = "background:none;padding:0;color:inherit;font-family:monospace"
_LINE = "border-top:1px solid rgba(128,128,128,.3);padding:.25em 0"
_NOTE = "border-left:3px solid #d9822b;padding:.1em .6em;margin:.3em 0"
_FAILURE = (
    "border-left:3px solid #d04437;padding:.1em .6em;margin:.3em 0;"
    "white-space:pre-wrap;font-family:monospace"
)
_SUMMARY = "cursor:pointer;padding:.15em 0"
_TABLE = "border-collapse:collapse;margin:.3em 0;font-size:.92em;line-height:normal"
_HEAD = "text-align:{};white-space:nowrap"
_CELL = "text-align:{};white-space:nowrap"

Previewer = Callable[[str, int, int], Preview]


class View:
    """The first events of one schema, with hostile text escaped; made by `Result.show`.

    Parameters
    ----------
    shown
        What to show.
    """

    def __init__(self, shown: Preview) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        return preview.table(self._shown)

    def _repr_html_(self) -> str:
        return f"<div>{table(self._shown)}</div>"


def overview(
    outcome: Outcome,
    summaries: Sequence[Summary],
    previewer: Previewer,
    zone: tzinfo | None = None,
) -> str:
    """Draw a result: a head line and one section that opens for each of the largest schemas.

    The page stays below 200 KB: rows, then whole previews are left out, and it says so.
    """
    ordered = most_first(summaries)
    shown, rest = ordered[: preview.SCHEMAS], ordered[preview.SCHEMAS :]
    head = _head(outcome, ordered, zone)
    tail = _faint(preview.others(rest)) if rest else ""
    for rows in _FEWER_ROWS:
        previews = [table(previewer(summary.name, rows, COLUMNS)) for summary in shown]
        if sum(map(_size, previews)) + len(shown) * 1_500 <= _PAGE:
            break
    return f"<div>{head}{''.join(_sections(shown, previews, zone))}{tail}</div>"


def _sections(
    summaries: Sequence[Summary], previews: Sequence[str], zone: tzinfo | None
) -> list[str]:
    room = _PAGE
    sections = []
    for number, (summary, body) in enumerate(zip(summaries, previews, strict=True)):
        section = _section(summary, body, zone, is_open=number == 0)
        if _size(section) > room:
            left_out = _faint("the page is full: result.show(name) shows this schema")
            section = _section(summary, left_out, zone, is_open=False)
        room -= _size(section)
        sections.append(section)
    return sections


def _head(outcome: Outcome, summaries: Sequence[Summary], zone: tzinfo | None) -> str:
    events = sum(summary.events for summary in summaries)
    remarks = "".join(map(note, notes(outcome, events)))
    asked = question(outcome)
    code = f' · <code style="{_CODE}">{_text.html(asked)}</code>' if asked else ""
    when = f" · {_text.html(bounds(outcome, zone))}" if bounds(outcome, zone) else ""
    where = f" · times in {_text.html(str(zone))}" if zone is not None else ""
    counted = _text.html(totals(outcome, summaries))
    rest = f"{code}{when}{where}"
    faint = f'<span style="{_FAINT}">{rest}</span>' if rest else ""
    return f'{remarks}<div style="padding:.25em 0"><b>{counted}</b>{faint}</div>'


def _section(summary: Summary, body: str, zone: tzinfo | None, *, is_open: bool) -> str:
    facts = [plural(summary.events, "event"), plural(summary.columns, "column")]
    if when := span(summary, zone):
        facts.append(when)
    name = _text.html(_text.short(summary.name, CELL_WIDTH))
    return (
        f'<details style="{_LINE}"{" open" if is_open else ""}>'
        f'<summary style="{_SUMMARY}"><b>{name}</b> '
        f'<span style="{_FAINT}">{_text.html(" · ".join(facts))}</span></summary>{body}</details>'
    )


def table(shown: Preview) -> str:
    """Draw a preview as a table, and say what it leaves out."""
    heads = "".join(
        f'<th title="{_text.html(column.type)}" style="{_HEAD.format(_side(column.right))}">'
        f"{_text.html(column.name)}</th>"
        for column in shown.columns
    )
    sides = [f'<td style="{_CELL.format(_side(column.right))}">' for column in shown.columns]
    body = "".join(
        "<tr>"
        + "".join(
            f"{side}{_text.html(value or '')}</td>" for side, value in zip(sides, row, strict=True)
        )
        + "</tr>"
        for row in shown.rows
    )
    return (
        f'<div style="overflow-x:auto"><table cellpadding="4" style="{_TABLE}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{_faint(preview.left_out(shown))}"
    )


def line(message: str) -> str:
    """Draw one line of text."""
    return f"<div>{_text.html(message)}</div>"


def note(message: str) -> str:
    """Draw one line that asks for attention."""
    return f'<div style="{_NOTE}">{_text.html(message)}</div>'


def failure(message: str) -> str:
    """Draw an error; whitespace is kept, so that a caret points at the right column."""
    lines = "<br>".join(map(_text.html, message.split("\n")))
    return f'<div style="{_FAILURE}">{lines}</div>'


def _size(markup: str) -> int:
    return len(markup.encode())


def _side(right: bool) -> str:
    return "right" if right else "left"


def _faint(message: str) -> str:
    return f'<div style="{_FAINT};font-size:.92em">{_text.html(message)}</div>'
