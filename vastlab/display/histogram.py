"""Events per bucket of time: counted in Arrow and numpy, so that a picture has few marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.display.preview import event_times, in_zone
from vastlab.display.tally import columns, counted
from vastlab.types import unique

BUCKETS = 200
SERIES = 8
OTHER = "other"
NONE = "(none)"
_SECOND = 1_000_000_000
# What people count time in; days and weeks begin at midnight, weeks on Monday.
_WIDTHS = (
    *(n * _SECOND // 1000 for n in (1, 10, 100)),
    *(n * _SECOND for n in (1, 5, 10, 30)),
    *(n * 60 * _SECOND for n in (1, 5, 10, 30)),
    *(n * 3600 * _SECOND for n in (1, 3, 6, 12)),
    *(n * 86400 * _SECOND for n in (1, 7, 28, 364)),
)
_MONDAY = 4 * 86400 * _SECOND  # 1970-01-05

Counts = npt.NDArray[np.int64]
_NO_TIMES: Counts = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events per bucket, one series for each schema.

    Parameters
    ----------
    start
        The wall-clock time at which the first bucket begins, in nanoseconds since 1970.
    width
        The width of a bucket in nanoseconds.
    series
        Counts by name, largest series first.
    untimed
        How many events have no time.
    rest
        Which of the series, the last ones, are no schema or value: the small ones together, and
        what has no value.
    """

    start: int
    width: int
    series: Mapping[str, Counts]
    untimed: int
    rest: tuple[str, ...] = ()

    @property
    def edges(self) -> npt.NDArray[np.datetime64]:
        """Where the buckets begin."""
        count = len(next(iter(self.series.values()), ()))
        return (self.start + self.width * np.arange(count)).astype("datetime64[ns]")


def histogram(
    tables: Mapping[str, Sequence[pa.Table]],
    *,
    zone: tzinfo | None = None,
    buckets: int = BUCKETS,
    by: str | None = None,
) -> Histogram:
    """Count events per bucket of their event time.

    Parameters
    ----------
    tables
        The events of each schema.
    zone
        Whose clock the edges follow; UTC if not given.
    buckets
        At most so many.
    by
        A field whose values make the series, instead of the schemas; events without it count
        under `NONE`.
    """
    times, rest = _by_schema(tables, zone) if by is None else _by_value(tables, by, zone)
    total = sum(part.num_rows for parts in tables.values() for part in parts)
    timed = {name: values for name, values in times.items() if len(values)}
    untimed = total - sum(map(len, timed.values()))
    if not timed:
        return Histogram(0, _SECOND, {}, untimed)
    first = min(int(values.min()) for values in timed.values())
    last = max(int(values.max()) for values in timed.values())
    start, width, count = _grid(first, last, buckets)
    counts = {
        name: np.bincount((values - start) // width, minlength=count).astype(np.int64)
        for name, values in timed.items()
    }
    series, rest = _in_order(counts, rest)
    return Histogram(start, width, series, untimed, rest)


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
    times = event_times(table)
    if times is None:
        return _NO_TIMES, _NO_TIMES
    rows = np.flatnonzero(times.is_valid())
    local = in_zone(times.drop_null(), zone).cast(pa.timestamp("ns")).cast(pa.int64())
    return np.asarray(local, np.int64), rows


def _grid(first: int, last: int, buckets: int) -> tuple[int, int, int]:
    """Choose the narrowest width that needs few enough buckets."""
    for width in _WIDTHS:
        origin = _MONDAY if width > 86400 * _SECOND else 0
        start = (first - origin) // width * width + origin
        count = (last - start) // width + 1
        if count <= buckets:
            return start, width, count
    width = -(-(last - first + 1) // buckets)
    return first, width, (last - first) // width + 1


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
