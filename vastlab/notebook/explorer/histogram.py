"""Events over time, of which a span can be chosen with the mouse."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from vastlab import _text
from vastlab._text import plural
from vastlab.expression.aggregates import TIME

_HERE = Path(__file__).parent
# Told apart by people with any colour vision (after Okabe and Ito), on light and dark pages.
_COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#a6a01b"),
    "#8a8a8a",
)
_SERIES = len(_COLOURS) - 1
_OTHERS = "others"
_LEAST_CUT = 12  # buckets without events that are left out
_CUT = 2  # buckets of room for what is left out
_TICKS = 6
_LAST_TICK = 0.85
_NAME = 40  # characters
_WIDTH, _HEIGHT = 800, 90  # pixels of a picture without a script
_DAY = pd.Timedelta("1D")

NOTHING: dict[str, Any] = {
    "slots": 1,
    "highest": 1,
    "bars": [],
    "cuts": [],
    "ticks": [],
    "series": [],
    "note": "",
    "dimmed": False,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn timeline.

    Parameters
    ----------
    view
        What the page draws.
    starts, ends
        The time bounds of each slot; the second one is exclusive. NaT where time is left out.
    """

    view: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))
    starts: pd.DatetimeIndex = field(default_factory=lambda: pd.DatetimeIndex([]))
    ends: pd.DatetimeIndex = field(default_factory=lambda: pd.DatetimeIndex([]))

    def between(self, first: int, last: int) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """Return the bounds of the time from one slot to another; None where there is none."""
        chosen = slice(max(first, 0), max(last, 0) + 1)
        starts, ends = self.starts[chosen].dropna(), self.ends[chosen].dropna()
        return (starts[0], ends[-1]) if len(starts) else None


def draw(found: pd.DataFrame, zone: tzinfo | None) -> Chart:
    """Draw the answer of `timeline`: a bar for each bucket, the largest schemas apart."""
    timed = found.dropna(subset=[TIME]) if len(found) else found
    untimed = int(found["events"].sum()) - int(timed["events"].sum()) if len(found) else 0
    note = f"{plural(untimed, 'event')} without a time" if untimed else ""
    if not len(timed):
        return Chart({**NOTHING, "note": note})
    width: pd.Timedelta = found.attrs["every"]
    names = timed.groupby("#type")["events"].sum().sort_values(ascending=False, kind="stable").index
    shown = list(names[:_SERIES])
    series = timed["#type"].where(timed["#type"].isin(shown), other=None)
    table = timed.assign(series=series.fillna("")).pivot_table(
        index=TIME, columns="series", values="events", aggfunc="sum", fill_value=0
    )
    order = [*shown, *([""] if "" in table.columns else [])]
    counts = table[order].to_numpy()
    times = pd.DatetimeIndex(table.index)
    slots, starts, cuts = _placed(times, width)
    known = pd.Series(starts)
    # The bucket that follows, since a day may have 23 hours.
    ends = pd.DatetimeIndex(known.shift(-1).fillna(known + width).where(known.notna()))
    labels = [_label(name) for name in order]
    bars = [
        {"slot": int(slot), "counts": row.tolist(), "title": _title(time, row, labels)}
        for slot, time, row in zip(slots, times, counts, strict=True)
    ]
    totals = counts.sum(axis=0)
    legend = [
        {"label": f"{label} {total:,}", "color": _COLOURS[number if name else _SERIES]}
        for number, (name, label, total) in enumerate(zip(order, labels, totals, strict=True))
    ]
    length = _text.duration(width.as_unit("ns").value)
    facts = [f"{length} a bar", str(zone or UTC), *([note] if note else [])]
    view = {
        "slots": len(starts),
        "highest": int(counts.sum(axis=1).max()),
        "bars": bars,
        "cuts": cuts,
        "ticks": _ticks(starts, width),
        "series": legend,
        "note": " · ".join(map(_text.plain, facts)),
        "dimmed": False,
    }
    return Chart(view, starts, ends)


def as_html(chart: Chart) -> str:
    """Draw a chart without a script, for a page that has no widgets; empty without events."""
    view = chart.view
    if not view["bars"]:
        return ""
    scale, unit = _HEIGHT / view["highest"], _WIDTH / view["slots"]
    shapes = []
    for bar in view["bars"]:
        top = float(_HEIGHT)
        for count, series in zip(bar["counts"], view["series"], strict=True):
            top -= count * scale
            if count:
                shapes.append(
                    f'<rect x="{bar["slot"] * unit:.2f}" y="{top:.2f}" width="{unit * 0.9:.2f}" '
                    f'height="{count * scale:.2f}" fill="{series["color"]}"/>'
                )
    legend = "".join(
        f'<span style="color:{series["color"]}">■</span> {_text.html(series["label"])} &nbsp; '
        for series in view["series"]
    )
    first, last = chart.starts.dropna()[0], chart.ends.dropna()[-1]
    span = _text.html(f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}")
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="events over time">'
        f"{''.join(shapes)}</svg>"
        f'<div style="font-size:.92em">{span} · {_text.html(view["note"])}<br>{legend}</div>'
    )


class Histogram(anywidget.AnyWidget):
    """Bars that the page draws; `chosen` is called with the bounds of a span."""

    _esm = _HERE / "histogram.js"
    _css = _HERE / "explorer.css"
    view = traitlets.Dict(NOTHING).tag(sync=True)

    def __init__(self, chosen: Callable[[pd.Timestamp, pd.Timestamp], None]) -> None:
        super().__init__()
        self._chosen = chosen
        self.chart = Chart()
        """What is drawn."""
        self.on_msg(self._received)

    def show(self, chart: Chart) -> None:
        """Draw a chart."""
        self.chart = chart
        self.view = chart.view

    def _received(self, _: Any, message: Any, __: Any) -> None:
        match message:
            case {"do": "brush", "first": int(first), "last": int(last)}:
                if (span := self.chart.between(first, last)) is not None:
                    self._chosen(*span)


def _placed(
    times: pd.DatetimeIndex, width: pd.Timedelta
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], pd.DatetimeIndex, list[int]]:
    """Return the slot of each time, the time of each slot, and the slots of what is left out."""
    slots, cuts = [0], list[int]()
    starts: list[Any] = [times[0]]
    for before, time in itertools.pairwise(times):
        missing = max(0, round((time - before) / width) - 1)
        if missing > max(_LEAST_CUT, len(times) // 5):
            cuts.append(len(starts) + _CUT // 2 - 1)
            starts += [pd.NaT] * _CUT
        else:
            starts += [before + width * (i + 1) for i in range(missing)]
        slots.append(len(starts))
        starts.append(time)
    return np.array(slots), pd.DatetimeIndex(starts), cuts


def _ticks(starts: pd.DatetimeIndex, width: pd.Timedelta) -> list[dict[str, Any]]:
    """Label a few slots, so that labels do not overlap."""
    known = np.flatnonzero(starts.notna())
    places = known[:: max(1, -(-len(known) // _TICKS))]
    if len(places) > 1 and places[-1] > _LAST_TICK * len(starts):  # there is no room for its text
        places = places[:-1]
    days = starts[known].normalize().nunique()
    if width >= _DAY:
        form = "%Y-%m-%d"
    elif days > 1:
        form = "%Y-%m-%d %H:%M"
    else:
        form = "%H:%M:%S" if width < pd.Timedelta("1min") else "%H:%M"
    return [{"slot": int(place), "text": starts[place].strftime(form)} for place in places]


def _title(time: pd.Timestamp, counts: Any, labels: list[str]) -> str:
    lines = [f"{label}: {count:,}" for label, count in zip(labels, counts, strict=True) if count]
    return "\n".join([f"{time:%Y-%m-%d %H:%M:%S}", plural(int(counts.sum()), "event"), *lines])


def _label(name: str) -> str:
    return _text.short(name, _NAME) if name else _OTHERS
