"""Frames that hold no events: the answer of `summarize`, counts by schema, concepts, models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, tzinfo
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from vastlab import _text, frames
from vastlab.arrow.schema import field_to_arrow
from vastlab.arrow.types import storage_type_of
from vastlab.compile.groups import Groups
from vastlab.compile.summary import origin
from vastlab.errors import UsageError
from vastlab.expression.aggregates import TIME, Aggregate, Function, Summary
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Type

_HOUR = 3_600 * 10**9  # nanoseconds
_DAY = 24 * _HOUR
_QUARTER = 900 * 10**9  # since 1972, the clocks of time zones differ by multiples of it
_HALF = 2**32
_SECOND = 10**9
_WIDTHS = [
    _SECOND * seconds
    for seconds in (1, 5, 15, 30, 60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400)
]
BUCKETS = 60
"""The largest number of buckets of a timeline whose width is not given."""
_WIDTHS_TRIED = 5  # a day, half an hour, half a minute, a second

_NO_TIME = int(np.iinfo(np.int64).min)


class GroupFrame(pd.DataFrame):
    """A frame of groups that is safe to look at: no text of events reaches a display as it is."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return "\n".join([pd.DataFrame.__repr__(self._plain()), *self._notes()])

    def _repr_html_(self) -> str | None:
        with pd.option_context("display.html.use_mathjax", False):
            html: str | None = self._plain()._repr_html_()  # type: ignore[operator]  # not in stubs
        notes = "<br>".join(map(_text.html, self._notes()))
        return f"{html}<p>{notes}</p>" if html and notes else html

    def _notes(self) -> list[str]:
        """Say what the frame does not show."""
        more = self.attrs.get("other_groups", 0)
        notes = [f"{_text.plural(more, 'more group')}: limit=0 returns all"] if more else []
        return notes + left_out_notes(self)

    def _plain(self) -> pd.DataFrame:
        shown = {_text.plain(str(name)): self[name].map(_plain) for name in self.columns}
        return pd.DataFrame(shown, index=self.index)


def left_out_notes(frame: pd.DataFrame) -> list[str]:
    """Name the schemas that were left out, a line for each field that they lack."""
    lacking: dict[str, list[str]] = {}
    for name, missing in frame.attrs.get("left_out", {}).items():
        lacking.setdefault(missing, []).append(name)
    return [
        _text.plain(f"left out, without {missing}: {', '.join(names)}")
        for missing, names in lacking.items()
    ]


class Counts(pd.Series):
    """Numbers by schema, shown as a table: of events, their type is of no interest."""

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Counts:
        """Make it of numbers by schema; most come first."""
        ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        index = pd.Index(list(ordered), name="schema", dtype="str")
        return cls(list(ordered.values()), index, "int64", "events")

    @property
    def _constructor(self) -> type[pd.Series]:
        return pd.Series

    def __repr__(self) -> str:
        if not len(self):
            return "no events"
        names = [_text.plain(str(name)) for name in self.index]
        numbers = [f"{number:,}" for number in self]
        width, room = max(map(len, names)), max(map(len, numbers))
        lines = (f"{n:{width}}  {c:>{room}}" for n, c in zip(names, numbers, strict=True))
        return "\n".join(lines)


def concept_frame(taxonomy: Taxonomy) -> pd.DataFrame:
    """Return the concepts, with the fields they stand for."""
    known = taxonomy.concepts
    rows = {name: (known[name].description, taxonomy.fields(name)) for name in known}
    return _by_name("concept", ("description", "fields"), rows)


def model_frame(taxonomy: Taxonomy) -> pd.DataFrame:
    """Return the models, with the concepts they consist of."""
    known = taxonomy.models
    rows = {name: (known[name].description, taxonomy.leaves(name)) for name in known}
    return _by_name("model", ("description", "concepts"), rows)


def _by_name(
    name: str, columns: tuple[str, str], rows: Mapping[str, tuple[str, Any]]
) -> pd.DataFrame:
    index = pd.Index(sorted(rows), name=name, dtype="str")
    return pd.DataFrame([rows[key] for key in index], index=index, columns=list(columns))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _text.plain(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def without_null(found: pd.DataFrame, field: str, most: int) -> pd.DataFrame:
    """Return the first groups that have a value of a field; 0 for all."""
    kept = found[found[field].notna()].reset_index(drop=True)
    top = GroupFrame(kept.head(most) if most else kept)
    top.attrs = found.attrs
    return top


def engine_bucket(every: int, zone: tzinfo | None) -> int:
    """Return the buckets to compute in UTC, of which those of a time zone can be made."""
    return every if zone in (None, UTC) else gcd(every, _QUARTER)


async def in_few_buckets(
    group: Callable[[int], Awaitable[Groups]],
    summary: Summary,
    zone: tzinfo | None,
    span: int | None = None,
) -> pd.DataFrame:
    """Return the groups in the narrowest buckets of which few enough hold events.

    Parameters
    ----------
    group
        Returns the groups in buckets of a width, in nanoseconds.
    summary
        What is asked for, with buckets of any length.
    zone
        The time zone of the buckets.
    span
        How much time the events cover at most, in nanoseconds. Where it is known, they are first
        grouped as it suggests, and in most cases need not be grouped again: the coarser buckets,
        whose number shows which width is right, are made of the finer ones.
    """
    width, next_width, known = 0, _DAY, 0
    for _ in range(_WIDTHS_TRIED):
        if next_width == width:
            break
        width = next_width
        if not known or width % known:
            known = width if known or span is None else min(width, _width(span))
            groups = await group(engine_bucket(known, zone))
        next_width = _finer(await asyncio.to_thread(_starts, groups, width, zone), width)
    return await asyncio.to_thread(to_frame, groups, replace(summary, every=width), zone, 0)


def _width(covered: int) -> int:
    """Return the narrowest width of which few enough buckets cover a length of time."""
    wide = (width for width in _WIDTHS if -(-covered // width) <= BUCKETS)
    return next(wide, -(-covered // BUCKETS // _DAY) * _DAY)


def _starts(groups: Groups, every: int, zone: tzinfo | None) -> pd.Series[Any]:
    """Return the beginnings of the buckets that hold events, in nanoseconds since 1970."""
    table, _ = groups.result()
    moments = np.empty(0, np.int64) if table is None else np.unique(_moments(table))
    with _representable(zone):
        return pd.Series(_in_zone(moments[moments != _NO_TIME], every, zone))


def _finer(times: pd.Series[Any], every: int) -> int:
    """Return the narrowest width of which few enough buckets cover those that were found."""
    covered = times.nunique() * every  # long spans without events do not count
    return _width(covered) if covered else every


def to_frame(groups: Groups, summary: Summary, zone: tzinfo | None, limit: int) -> pd.DataFrame:
    """Return the groups, sorted by time, then by the first aggregate, descending.

    Parameters
    ----------
    groups
        What a node returned.
    summary
        What was asked for; the buckets of the groups may be shorter.
    zone
        The time zone of the buckets; UTC by default.
    limit
        The largest number of rows; 0 for all.
    """
    table, types = groups.result()
    if table is not None and not table.num_rows:
        table = None
    if table is None and not summary.by and not summary.every:
        table = pa.table({"n.sum": [0]})  # all events are one group, also where there are none
    if table is None:
        names = ([TIME] if summary.every else []) + [name.column for name in summary.by]
        empty = GroupFrame(columns=[*names, *(each.column for each in summary.aggregates)])
        empty.attrs = {"left_out": dict(sorted(groups.left_out.items()))}
        return empty
    if summary.every:
        with _representable(zone):
            moments = _moments(table)
            buckets = _in_zone(moments, summary.every, zone)
        if not np.array_equal(buckets, moments):
            place = table.schema.get_field_index(TIME)
            starts = pa.array(buckets, pa.int64(), mask=buckets == _NO_TIME)
            table = groups.merged([table.set_column(place, TIME, starts)])
    columns: dict[str, Any] = {}
    if summary.every:
        with _representable(zone):
            columns[TIME] = _times(_moments(table), zone or UTC)
    for number, name in enumerate(summary.by):
        columns[name.column] = _column(table, f"k{number}", types)
    for number, aggregate in enumerate(summary.aggregates):
        columns[aggregate.column] = _aggregate(table, f"a{number}", aggregate, types)
    frame = _ordered(pd.DataFrame(columns), summary)
    kept = GroupFrame(frame.head(limit) if limit else frame)
    kept.attrs = {"left_out": dict(sorted(groups.left_out.items()))}
    if summary.every:
        kept.attrs["every"] = pd.Timedelta(summary.every)
    if len(kept) < len(frame):
        kept.attrs["other_groups"] = len(frame) - len(kept)
    return kept


def _moments(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return the times of buckets in nanoseconds; `_NO_TIME` for null."""
    return np.asarray(table.column(TIME).fill_null(_NO_TIME).to_numpy(), np.int64)


def _times(nanoseconds: npt.NDArray[np.int64], zone: tzinfo) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(nanoseconds.view("M8[ns]")).tz_localize("UTC").tz_convert(zone)


@contextmanager
def _representable(zone: tzinfo | None) -> Iterator[None]:
    """Turn the error of pandas for a time near the end of all times into one line."""
    try:
        yield
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        raise UsageError(
            f"a time is outside the years that {zone or UTC} can be used in",
            hint="bound the times by since and until, or use UTC",
        ) from None


def _in_zone(
    times: npt.NDArray[np.int64], every: int, zone: tzinfo | None
) -> npt.NDArray[np.int64]:
    """Return the beginnings of the buckets in a time zone, in nanoseconds since 1970 in UTC.

    A bucket begins at a round time of the wall clock. Where the clock passes that time twice, a
    bucket of an hour or less begins both times, and a longer one the first time.
    """
    known = times != _NO_TIME
    if zone in (None, UTC):
        return np.where(known, times - (times - origin(every)) % every, times)
    index = _times(times[known], zone)
    wall = index.tz_localize(None).asi8
    local = pd.DatetimeIndex((wall - (wall - origin(every)) % every).view("M8[ns]"))
    summer = np.full(len(local), True)
    starts = local.tz_localize(zone, ambiguous=summer, nonexistent="shift_forward").asi8
    if every <= _HOUR:
        second = local.tz_localize(zone, ambiguous=~summer, nonexistent="shift_forward").asi8
        starts = np.where(second <= times[known], second, starts)
    found = np.full(len(times), _NO_TIME)
    found[known] = starts
    return found


def _column(table: pa.Table, name: str, types: dict[str, Type]) -> Any:
    """Convert keys and values as a frame of events would show them."""
    if name not in table.column_names:
        return np.full(table.num_rows, None)
    return _shown(table.column(name).combine_chunks(), types.get(name.partition(".")[0]))


def _shown(column: pa.Array, type_: Type | None) -> Any:
    if pa.types.is_decimal(column.type):
        return _integers([None if each is None else int(each) for each in column.to_pylist()])
    if type_ is not None:
        arrow = field_to_arrow(Field("x", type_)).type
        if isinstance(arrow, pa.BaseExtensionType) and column.type == storage_type_of(arrow):
            column = pa.ExtensionArray.from_storage(arrow, column)
    # Not a frame of events, which would be sorted by time.
    return frames.table_frame(pa.table({"x": column}))["x"].array


def _aggregate(table: pa.Table, name: str, aggregate: Aggregate, types: dict[str, Type]) -> Any:
    names = set(table.column_names)
    match aggregate.function:
        case Function.COUNT:
            if f"{name}.sum" not in names:
                return np.zeros(table.num_rows, np.int64)
            return table.column(f"{name}.sum").fill_null(0).to_numpy()
        case Function.SUM | Function.MEAN:
            return _total(table, name, aggregate, types)
        case Function.DISTINCT | Function.COUNT_DISTINCT:
            return _lists(table, f"{name}.list", aggregate.function, types)
        case function:
            return _column(table, f"{name}.{function.value}", types)


def _total(table: pa.Table, name: str, aggregate: Aggregate, types: dict[str, Type]) -> Any:
    """Put sums together that were computed in parts; there is none where no event has a value."""
    values = [
        _values(table, f"{name}.high.sum", _HALF),
        _values(table, f"{name}.low.sum"),
        _values(table, f"{name}.sum"),
    ]
    totals = [_sum(parts) for parts in zip(*values, strict=True)]
    is_span = name in types and types[name].kind is Kind.DURATION
    if aggregate.function is Function.MEAN:
        counts = _values(table, f"{name}.count.sum")
        means = [
            None if total is None or not count else total / count
            for total, count in zip(totals, counts, strict=True)
        ]
        return _spans(means) if is_span else np.array(means, float)
    if is_span:
        return _spans(totals)
    if f"{name}.sum" in table.column_names:
        return np.array(totals, float)
    return _integers(totals)


def _sum(parts: tuple[Any, ...]) -> Any:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _values(table: pa.Table, name: str, factor: int = 1) -> list[Any]:
    """Return a column as Python numbers, which have any size."""
    if name not in table.column_names:
        return [None] * table.num_rows
    values = table.column(name).to_pylist()
    return [None if each is None else each * factor for each in values]


def _spans(nanoseconds: list[Any]) -> Any:
    """Return spans of time; what pandas cannot hold is an error."""
    if any(each is not None and abs(each) >= 2**63 for each in nanoseconds):
        raise UsageError("a sum of durations is too large", hint="use mean() instead")
    return np.array([_NO_TIME if each is None else round(each) for each in nanoseconds]).view(
        "m8[ns]"
    )


def _integers(totals: list[Any]) -> Any:
    known = [total for total in totals if total is not None]
    lowest, highest = min(known, default=0), max(known, default=0)
    if lowest >= -(2**63) and highest < 2**63:
        return pd.array(totals, dtype="Int64")
    is_unsigned = lowest >= 0 and highest < 2**64
    return pd.array(totals, dtype="UInt64") if is_unsigned else np.array(totals, object)


def _lists(table: pa.Table, name: str, function: Function, types: dict[str, Type]) -> Any:
    counting = function is Function.COUNT_DISTINCT
    if name not in table.column_names:
        return np.zeros(table.num_rows, np.int64) if counting else _objects([[]] * table.num_rows)
    column = table.column(name).combine_chunks()
    sizes = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    if counting:
        return sizes
    shown = _shown(column.flatten(), types[name.partition(".")[0]])
    # Addresses are categories in the order of addresses.
    ranks = shown.codes if isinstance(shown, pd.Categorical) else shown
    values, places, ends = shown.tolist(), ranks.tolist(), np.cumsum(sizes)
    spans = zip((ends - sizes).tolist(), ends.tolist(), strict=True)
    return _objects(
        [[values[i] for i in sorted(range(*span), key=places.__getitem__)] for span in spans]
    )


def _objects(lists: list[Any]) -> Any:
    array = np.empty(len(lists), object)
    array[:] = lists
    return array


def _ordered(frame: pd.DataFrame, summary: Summary) -> pd.DataFrame:
    """Sort by time, then by the first aggregate, largest first, then by the keys."""
    orders = [(TIME, True)] if summary.every else []
    first = summary.aggregates[0]
    if first.function is not Function.DISTINCT:
        orders.append((first.column, False))
    orders += [(name.column, True) for name in summary.by]
    if not orders:
        return frame
    columns, ascending = [column for column, _ in orders], [upward for _, upward in orders]
    return frame.sort_values(columns, ascending=ascending, kind="stable", ignore_index=True)
