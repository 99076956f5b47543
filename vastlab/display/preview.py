"""A result as text: its outcome, and a preview of each schema."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab import _text
from vastlab._lazy import pd
from vastlab._text import plural
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.display.columns import sensible
from vastlab.types import Kind, Schema

_EXPRESSION_WIDTH = 200
_NAMED = 5  # schemas that the limit left out


LeftOut = tuple[tuple[str, int], ...] | None
"""How many events a limit left out, by schema; None where that was not counted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The query of a result and how it ended.

    Parameters
    ----------
    limit
        The largest number of events; 0 for all.
    elapsed
        Seconds.
    partial
        Whether an interrupt or a failure ended it.
    origin
        The endpoint, where a file in the working folder chose it.
    chosen_from, newest_of
        The number of events that arrived, where only some, or only the newest, are kept.
    endpoint
        What was asked, without passwords.
    asked, since, until
        When the query began, and its bounds of the event time, in nanoseconds since 1970.
    earlier
        The expressions of the results that this one was made from, oldest first.
    newest, per_schema
        Whether the newest events came first, and whether the limit was one for each schema.
    left_out
        What matches in schemas of which the limit let no event through.
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
    endpoint: str = ""
    asked: int | None = None
    since: int | None = None
    until: int | None = None
    earlier: tuple[str, ...] = ()
    newest: bool = False
    per_schema: bool = False
    left_out: LeftOut = ()


def notes(outcome: Outcome, events: int) -> tuple[str, ...]:
    """Say what a reader must know before trusting the numbers."""
    parts = []
    arrived = outcome.chosen_from or events
    came = plural(arrived, "event")
    of = "of " if outcome.chosen_from else ""
    if outcome.newest_of:
        parts.append(f"{of}the newest {arrived:,} of {plural(outcome.newest_of, 'event')}")
    elif outcome.partial:
        parts.append(f"partial: stopped after {came}")
    if outcome.limit_reached:
        end = "newest" if outcome.newest else "first"
        if outcome.per_schema:
            came = f"{plural(outcome.limit, 'event')} of each schema"
        parts.append(f"{of}the {end} {came}" if of else f"{end} {came}")
        parts[-1] += " (limit reached; limit 0 for all)"
        if hidden := others_left_out(outcome.left_out):
            parts.append(hidden)
    if outcome.origin:
        parts.append(outcome.origin)
    return tuple(parts)


def others_left_out(left_out: LeftOut) -> str:
    """Say what the limit left out of other schemas; ``""`` where that is nothing."""
    if left_out is None:
        return "other schemas were not looked at"
    if not left_out:
        return ""
    ordered = sorted(left_out, key=lambda pair: (-pair[1], pair[0]))
    named = [f"{_name(name)} ({plural(count, 'event')})" for name, count in ordered[:_NAMED]]
    if rest := ordered[_NAMED:]:
        events = plural(sum(count for _, count in rest), "event")
        named.append(f"{plural(len(rest), 'more schema')} ({events})")
    return f"left out: {', '.join(named)}"


def totals(outcome: Outcome, summaries: Sequence[Summary]) -> str:
    """Count everything in one line."""
    events = sum(summary.events for summary in summaries)
    counted = f"{plural(events, 'event')} in {plural(len(summaries), 'schema')}"
    return f"{counted} · {outcome.elapsed:.2f} s" if outcome.elapsed else counted


def question(outcome: Outcome) -> str:
    """Show the expression, shortened and escaped."""
    return _text.short(outcome.expression, _EXPRESSION_WIDTH)


def bounds(outcome: Outcome, zone: tzinfo | None = None) -> str:
    """Say from when to when events were asked for; ``""`` where any time was."""
    named = (("since", outcome.since), ("until", outcome.until))
    return " ".join(f"{name} {moment(when, zone)}" for name, when in named if when is not None)


def span(summary: Summary, zone: tzinfo | None = None) -> str:
    """Say from when to when; ``""`` where events have no time."""
    if summary.first is None or summary.last is None:
        return ""
    first, last = moment(summary.first, zone), moment(summary.last, zone)
    return first if first == last else f"{first} to {last}"


def most_first(summaries: Sequence[Summary]) -> list[Summary]:
    """Order summaries by their events, most first."""
    return sorted(summaries, key=lambda summary: (-summary.events, summary.name))


CELL_WIDTH = 80
RIGHT_ALIGNED = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.DURATION})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = np.iinfo(np.int64).max

Nanoseconds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Summary:
    """The size of one schema in a result, and its time bounds in nanoseconds since 1970."""

    name: str
    events: int
    columns: int
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a preview."""

    name: str
    type: str
    kind: Kind

    @property
    def right(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind in RIGHT_ALIGNED


@dataclass(frozen=True, slots=True)
class Preview:
    """The first events of a schema as text; cells are shortened, escaped, and None where null.

    `newest_of` is the number of events that arrived, where only the newest are kept.
    """

    summary: Summary
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...]
    newest_of: int = 0


def summarise(name: str, tables: Sequence[pa.Table]) -> Summary:
    """Count and bound the events of one schema."""
    bounds = [pc.min_max(times) for times in map(convert.event_times, tables) if times is not None]
    firsts = [low for b in bounds if (low := b["min"].cast(pa.int64()).as_py()) is not None]
    lasts = [high for b in bounds if (high := b["max"].cast(pa.int64()).as_py()) is not None]
    leaves = {leaf.column for table in tables for leaf in _described(table).leaves}
    return Summary(
        name,
        sum(table.num_rows for table in tables),
        len(leaves),
        min(firsts, default=None),
        max(lasts, default=None),
    )


def make_preview(
    name: str,
    tables: Sequence[pa.Table],
    *,
    rows: int,
    columns: int,
    zone: tzinfo | None = None,
    asked: Collection[str] = (),
    only: Sequence[str] | None = None,
    newest: bool = False,
) -> Preview:
    """Render the first events of one schema in event-time order, or the newest, latest first.

    The columns are the most telling ones, with those that were `asked` for, or `only` some.
    """
    parts = [_first_rows(table, rows, newest) for table in tables]
    names = sensible(name, parts, asked)[:columns] if only is None else only
    chosen = _columns(tables, names)
    texts = [_texts(part, chosen, zone) for part in parts]
    keys = [sort_keys(part, newest=newest) for part in parts]
    times = np.concatenate([np.empty(0, np.int64), *keys])
    merged = [row for part in texts for row in part]
    order = np.argsort(times, kind="stable")[:rows]
    return Preview(
        summarise(name, tables),
        tuple(chosen.values()),
        tuple(merged[i] for i in order),
    )


def summary_frame(summaries: Sequence[Summary]) -> pd.DataFrame:
    """Return one row for each schema, most events first."""
    ordered = most_first(summaries)

    def times(bounds: Sequence[int | None]) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(np.array(bounds, "datetime64[ns]"), tz="UTC")

    return pd.DataFrame(
        {
            "events": [summary.events for summary in ordered],
            "columns": [summary.columns for summary in ordered],
            "first": times([summary.first for summary in ordered]),
            "last": times([summary.last for summary in ordered]),
        },
        index=pd.Index([_text.plain(summary.name) for summary in ordered], name="schema"),
    )


def moment(nanoseconds: int, zone: tzinfo | None = None) -> str:
    """Write a time to the second."""
    time = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return f"{time.astimezone(zone or UTC):%Y-%m-%d %H:%M:%S}"


def in_zone(times: pa.Array | pa.ChunkedArray, zone: tzinfo | None) -> pa.Array | pa.ChunkedArray:
    """Turn UTC times into the wall-clock times of a zone."""
    if zone is None or zone is UTC:
        return times
    unit = times.type.unit
    aware = times.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, str(zone)))
    return pc.local_timestamp(aware)


def _described(table: pa.Table) -> Schema:
    return arrow_schema.from_arrow(table.schema)


def _first_rows(table: pa.Table, count: int, newest: bool) -> pa.Table:
    """Take the rows that come first in event-time order, or in its reverse."""
    count = min(count, table.num_rows)  # without a column, pyarrow slices more than there is
    keys = sort_keys(table, newest=newest)
    if bool(np.all(keys[1:] >= keys[:-1])):
        return table.slice(0, count)
    return table.take(pa.array(first_in_order(keys, count)))


def first_in_order(keys: Nanoseconds, count: int) -> Nanoseconds:
    """Return the positions of the smallest keys in order; the sort is stable."""
    if count < len(keys):
        bound = np.partition(keys, count)[count]
        candidates = np.flatnonzero(keys <= bound)
    else:
        candidates = np.arange(len(keys))
    order = np.argsort(keys[candidates], kind="stable")[:count]
    return np.asarray(candidates[order], np.int64)


def sort_keys(table: pa.Table, *, newest: bool = False) -> Nanoseconds:
    """Return the event times in nanoseconds since 1970; negative where the newest come first.

    What has no time comes last, with the largest value.
    """
    times = convert.event_times(table)
    if times is None:
        return np.full(table.num_rows, _LATEST)
    keys = convert.nanoseconds(times, _LATEST)
    return np.where(keys == _LATEST, _LATEST, -keys) if newest else keys


def _columns(tables: Sequence[pa.Table], names: Sequence[str]) -> dict[str, Column]:
    # Where layouts differ, the type is that of the first.
    types = {
        leaf.column: leaf.type for table in reversed(tables) for leaf in _described(table).leaves
    }
    return {name: Column(_cell(name), _cell(str(types[name])), types[name].kind) for name in names}


def _texts(
    table: pa.Table, chosen: dict[str, Column], zone: tzinfo | None
) -> list[tuple[str | None, ...]]:
    if table.num_rows == 0:
        return []
    flat = convert.flatten(table.combine_chunks().to_batches()[0])
    columns = [
        cells(flat.column(i), flat.schema.field(i), zone)
        if (i := flat.schema.get_field_index(name)) >= 0
        else [None] * flat.num_rows
        for name in chosen
    ]
    return list(zip(*columns, strict=True)) if columns else [()] * flat.num_rows


def cells(array: pa.Array, field: pa.Field, zone: tzinfo | None) -> list[str | None]:
    """Return a flat column as text that is safe to show; None where it is null."""
    if pa.types.is_timestamp(array.type):
        array = in_zone(array, zone)
    # Cut before the text leaves Arrow: a cell may hold megabytes.
    short = pc.utf8_slice_codeunits(render.text(array, field), 0, CELL_WIDTH + 1)
    if pa.types.is_timestamp(array.type):
        short = pc.replace_substring(short, "T", " ", max_replacements=1)
    elif pa.types.is_duration(array.type):
        short = pc.replace_substring_regex(short, "^0 days ", "")
    return [None if value is None else _cell(value) for value in short.to_pylist()]


def _cell(text: str) -> str:
    return _text.short(text, CELL_WIDTH)


SCHEMAS = 20


def overview(outcome: Outcome, summaries: Sequence[Summary], zone: tzinfo | None = None) -> str:
    """Describe a result: one line for each of the largest schemas, one for the rest."""
    ordered = most_first(summaries)
    events = sum(summary.events for summary in ordered)
    lines = [*notes(outcome, events), _head(outcome, ordered, zone)]
    lines += _aligned([_facts(summary, zone) for summary in ordered[:SCHEMAS]])
    if rest := ordered[SCHEMAS:]:
        lines.append(others(rest))
    if ordered:
        name = f'"{_name(ordered[0].name)}"'
        lines.append(f"result[{name}] is a DataFrame, result.show({name}) a safe view of it")
    return "\n".join(lines)


def line(outcome: Outcome, summaries: Sequence[Summary], zone: tzinfo | None = None) -> str:
    """Describe a result in one line."""
    events = sum(summary.events for summary in summaries)
    return " · ".join([*notes(outcome, events), _head(outcome, summaries, zone)])


def _head(outcome: Outcome, summaries: Sequence[Summary], zone: tzinfo | None) -> str:
    parts = (totals(outcome, summaries), question(outcome), bounds(outcome, zone))
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
    return _text.short(name, CELL_WIDTH)


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
