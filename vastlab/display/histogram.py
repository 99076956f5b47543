"""Events of a result over time, counted in buckets; long empty spans have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert
from vastlab.compile.summary import origin
from vastlab.display.preview import in_zone
from vastlab.display.tally import columns, counted, grouped
from vastlab.expression.aggregates import TIME, Name
from vastlab.expression.ast import Meta, MetaExtractor
from vastlab.types import Field, Kind, Schema, Type, unique

BUCKETS = 200
SERIES = 8
OTHER = "other"
NONE = "(none)"
_SECOND = 1_000_000_000
_EARLIEST = 1 - 2**63  # nanoseconds
# What people count time in; days and weeks begin at midnight, weeks on Monday.
_WIDTHS = (
    *(n * _SECOND // 1000 for n in (1, 10, 100)),
    *(n * _SECOND for n in (1, 5, 10, 30)),
    *(n * 60 * _SECOND for n in (1, 5, 10, 30)),
    *(n * 3600 * _SECOND for n in (1, 3, 6, 12)),
    *(n * 86400 * _SECOND for n in (1, 7, 28, 364, 1456, 2912)),
)
_BINS = 65_536
_MOST_CUTS = 3
_SHORT = 86400 * _SECOND  # the axis is not cut for a gap of a day
_FEW = 20  # events that have no shape to see

Counts = npt.NDArray[np.int64]
_NO_TIMES: Counts = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Span:
    """Some buckets in a row: when the first begins, in nanoseconds since 1970, and how many."""

    start: int
    buckets: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events per bucket, one series for each schema.

    Parameters
    ----------
    spans
        Where the buckets are, by the clock on the wall; between two spans there are no events.
    width
        The width of a bucket in nanoseconds.
    series
        Counts by name, largest series first; one for each bucket of all spans.
    untimed
        How many events have no time.
    rest
        Which of the last series are not a schema or value: the small ones together, and
        what has no value.
    """

    spans: tuple[Span, ...]
    width: int
    series: Mapping[str, Counts]
    untimed: int
    rest: tuple[str, ...] = ()

    @property
    def edges(self) -> npt.NDArray[np.datetime64]:
        """Where the buckets begin; the first one not before all times."""
        starts = (
            max(span.start + self.width * number, _EARLIEST)
            for span in self.spans
            for number in range(span.buckets)
        )
        return np.array([*starts], np.int64).astype("datetime64[ns]")

    @property
    def left_out(self) -> tuple[int, ...]:
        """How long the empty times between two spans are, in nanoseconds."""
        ends = [span.start + span.buckets * self.width for span in self.spans]
        return tuple(span.start - end for end, span in zip(ends, self.spans[1:], strict=False))


def histogram(
    tables: Mapping[str, Sequence[pa.Table]],
    *,
    zone: tzinfo | None = None,
    buckets: int = BUCKETS,
    by: str | None = None,
) -> Histogram:
    """Count events per bucket of their event time; edges follow the clock of the zone.

    `by` is a field whose values make the series, instead of the schemas; events without it count
    under `NONE`.
    """
    times, rest = _by_schema(tables, zone) if by is None else _by_value(tables, by, zone)
    total = sum(part.num_rows for parts in tables.values() for part in parts)
    timed = {name: values for name, values in times.items() if len(values)}
    untimed = total - sum(map(len, timed.values()))
    if not timed:
        return Histogram((), _SECOND, {}, untimed)
    parts = _occupied(timed.values())
    spans, width = _grid(parts, buckets)
    series, rest = _in_order(_bucketed(timed, spans, width), rest)
    return Histogram(spans, width, series, untimed, rest)


def _occupied(times: Iterable[Counts]) -> list[tuple[int, int]]:
    """Find the first and last times between long gaps, of which the widest leave out most."""
    series = list(times)
    first = min(int(values.min()) for values in series)
    last = max(int(values.max()) for values in series)
    bin_width = (last - first) // _BINS + 1
    bins = np.zeros(_BINS, np.bool_)
    for values in series:
        bins[_places(values, first, bin_width)] = True
    filled = np.flatnonzero(bins)
    empty = np.diff(filled) - 1
    is_dense = sum(map(len, series)) >= _FEW
    count = _long(empty, len(bins), _SHORT // bin_width) if is_dense else 0
    after = np.sort(np.argsort(empty, kind="stable")[::-1][:count])
    # The first bin behind each gap; times are told apart by it.
    cuts = [first + int(filled[place + 1]) * bin_width for place in after]
    lows, highs = [first, *cuts], [last] * (len(cuts) + 1)
    for number, cut in enumerate(cuts):
        lows[number + 1] = min(int(v[v >= cut].min()) for v in series if v.max() >= cut)
        highs[number] = max(int(v[v < cut].max()) for v in series if v.min() < cut)
    return list(zip(lows, highs, strict=True))


def _long(gaps: Counts, whole: int, short: int) -> int:
    """Say how many of the widest gaps to leave out: a few that are most of the time."""
    widest = [gap for gap in np.sort(gaps)[::-1][:_MOST_CUTS].tolist() if gap > short]
    cut = 0
    for count in range(1, len(widest) + 1):
        if sum(widest[cut:count]) > 0.75 * whole:
            whole -= sum(widest[cut:count])
            cut = count
    return cut


def _places(values: Counts, start: int, width: int) -> Counts:
    """Return in which bucket each time is; two times may be further apart than a number holds."""
    apart = values.view(np.uint64) - np.uint64(start % 2**64)
    return np.asarray(apart // np.uint64(width), np.int64)


_TIMED = Type(Kind.TIME, names=("timestamp",))
_SERIES = Name("#type", MetaExtractor(Meta.TYPE))


def _bucketed(times: Mapping[str, Counts], spans: Sequence[Span], width: int) -> dict[str, Counts]:
    """Count the times of each series in the buckets of all spans."""
    parts = (
        (Schema(name, (Field("time", _TIMED),)), pa.table({"time": values.view("M8[ns]")}))
        for name, values in times.items()
    )
    starts = np.array([span.start for span in spans])
    firsts = np.cumsum([0, *(span.buckets for span in spans)])
    counts = {name: np.zeros(firsts[-1], np.int64) for name in times}
    found = grouped(parts, (_SERIES,), width)
    if found is not None:
        for name, begin, events in zip(
            *(found[column].to_pylist() for column in ("k0", TIME, "n.sum")), strict=True
        ):
            # A bucket that would begin before all times has no beginning.
            number = 0 if begin is None else int(np.searchsorted(starts, begin, "right")) - 1
            after = 0 if begin is None else (begin - spans[number].start) // width
            counts[name][firsts[number] + after] += events
    return counts


def _by_schema(
    tables: Mapping[str, Sequence[pa.Table]], zone: tzinfo | None
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    return {
        name: np.concatenate([_NO_TIMES, *(_times(part, zone)[0] for part in parts)])
        for name, parts in tables.items()
    }, ()


def _by_value(
    tables: Mapping[str, Sequence[pa.Table]], field: str, zone: tzinfo | None
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    """Split the times by the values of a field: the frequent ones, the others, and none."""
    found = columns(tables, field)
    known = counted(field, [part for _, several in found for part in several], SERIES - 1)
    # A value may have the name of what is none.
    taken = dict.fromkeys(known.counts, 1)
    rest = (unique(f"{OTHER} ({known.others})", taken), unique(NONE, taken))
    labels = [*known.counts, *rest]
    frequent = pa.array(list(known.counts), pa.string())
    split: dict[str, list[Counts]] = {}
    for table, several in found:
        series = np.full(len(table), len(labels) - 1)
        for part in several:
            place = pc.fill_null(pc.index_in(part.texts, value_set=frequent), len(frequent))
            series[part.rows] = np.asarray(place, np.int64)[part.codes]
        moments, rows = _times(table, zone)
        chosen = series[rows]
        for number in np.flatnonzero(np.bincount(chosen)):
            split.setdefault(labels[number], []).append(moments[chosen == number])
    return {label: np.concatenate(parts) for label, parts in split.items()}, rest


def _times(table: pa.Table, zone: tzinfo | None) -> tuple[Counts, Counts]:
    """Return the wall-clock times of events, and the rows of those that have one."""
    times = convert.event_times(table)
    if times is None:
        return _NO_TIMES, _NO_TIMES
    rows = np.flatnonzero(times.is_valid())
    local = in_zone(times.drop_null(), zone).cast(pa.timestamp("ns")).cast(pa.int64())
    return np.asarray(local, np.int64), rows


def _grid(parts: Sequence[tuple[int, int]], buckets: int) -> tuple[tuple[Span, ...], int]:
    """Choose the narrowest width that needs few enough buckets."""
    spans, width = _spans(parts, _WIDTHS[-1]), _WIDTHS[-1]
    for width in _WIDTHS:
        spans = _spans(parts, width)
        if sum(span.buckets for span in spans) <= buckets:
            break
    return spans, width


def _spans(parts: Sequence[tuple[int, int]], width: int) -> tuple[Span, ...]:
    spans: list[Span] = []
    for first, last in parts:
        start = (first - origin(width)) // width * width + origin(width)
        if spans and start <= spans[-1].start + spans[-1].buckets * width:
            start = spans.pop().start  # a gap of less than a bucket
        spans.append(Span(start, (last - start) // width + 1))
    return tuple(spans)


def _in_order(
    counted: dict[str, Counts], rest: tuple[str, ...]
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    """Put the largest series first and the rest last; many small ones become part of the rest."""
    own = sorted(counted.keys() - set(rest), key=lambda name: (-int(counted[name].sum()), name))
    behind = tuple(name for name in rest if name in counted)
    names = [*own, *behind]
    if len(names) <= SERIES + 1:
        return {name: counted[name] for name in names}, behind
    kept, small = names[:SERIES], names[SERIES:]
    together = unique(f"{OTHER} ({len(small)})", dict.fromkeys(kept, 1))
    sums = np.sum([counted[name] for name in small], axis=0)
    return {**{name: counted[name] for name in kept}, together: sums}, (together,)
