"""Pictures of a result."""

from __future__ import annotations

import io
from datetime import tzinfo

import numpy as np
import numpy.typing as npt
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from vastlab import _text
from vastlab._text import plural
from vastlab.display import labels
from vastlab.display.histogram import Histogram, Span
from vastlab.display.tally import Flows, Tally

# A background of its own: no grey can be read on a white page and on a dark one alike.
_PAPER, _INK = labels.PAPER, labels.INK
# Told apart by people with any colour vision, and on paper.
_COLOURS = (
    "#2f75c9", "#cf7417", "#24916a", "#c04f98", "#7a66dd", "#a3860f", "#1f92a8", "#cf4f4d",
    "#8f6549",
)  # fmt: skip
_GREYS = ("#909090", "#5e5e5e")  # for rests and nulls
_NO_EVENTS = "no events"
_LABEL_WIDTH = 40
_DOTS_PER_INCH = 110
_STEPS = 120
_NARROW = 0.3  # of the picture: too little for a scale of time
_FAR, _SHORT = 70 * 365, 0.1 / 86_400  # days from 1970 where matplotlib has no such a fine scale


class Picture(Figure):
    """A figure that a notebook shows without further ado."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=_DOTS_PER_INCH, bbox_inches="tight")
        return out.getvalue()


def nothing(message: str = _NO_EVENTS) -> Picture:
    """Say that there is nothing to draw."""
    picture = Picture(figsize=(9, 1), facecolor=_PAPER, layout="constrained")
    axes = picture.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, color=_INK, ha="center", va="center", transform=axes.transAxes)
    return picture


def timeline(counted: Histogram, *, zone: tzinfo | None = None) -> Picture:
    """Draw events over time as stacked bars, one colour for each schema.

    Long times without events are left out; the axis is cut there, and says how long they are.
    """
    if not counted.series:
        return nothing("no events with a time" if counted.untimed else _NO_EVENTS)
    layout = ConstrainedLayoutEngine(wspace=0.03)
    picture = Picture(figsize=(9, 3), facecolor=_PAPER, layout=layout)
    every = sum(span.buckets for span in counted.spans)
    # None so narrow that its times could not be read.
    shares = [max(span.buckets, every / 8) for span in counted.spans]
    parts = picture.subplots(1, len(shares), sharey=True, squeeze=False, width_ratios=shares)[0]
    first = 0
    for axes, span, share in zip(parts, counted.spans, shares, strict=True):
        _bars(axes, counted, span, first)
        _style_axes(axes)
        _style_times(axes, share / sum(shares))
        first += span.buckets
    for axes, gap in zip(parts[1:], counted.left_out, strict=True):
        _cut(axes, gap)
    parts[0].set_ylabel(
        f"events per {_text.duration(counted.width).removeprefix('1 ')}", color=_INK
    )
    parts[-1].legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor=_INK, fontsize=9
    )
    picture.supxlabel(_text.plain(str(zone or "UTC")), color=_INK, fontsize="medium")
    if counted.untimed:
        parts[0].set_title(f"{counted.untimed:,} events without a time", color=_INK, fontsize=9)
    return picture


def top(counted: Tally, once_per: str | None = None) -> Picture:
    """Draw how often values occur as horizontal bars, the most frequent on top."""
    if not counted.counts:
        return nothing("no events with a value")
    height = 0.8 + 0.24 * max(3, len(counted.counts))
    picture = Picture(figsize=(8, height), facecolor=_PAPER, layout="constrained")
    axes = picture.add_subplot()
    counts = list(counted.counts.values())
    places = np.arange(len(counts))
    axes.barh(places, counts, color=_COLOURS[0], height=0.7)
    axes.set_yticks(places, [_label(value) for value in counted.counts])
    axes.set_ylim(max(3, len(counts)) - 0.5, -0.5)  # a single bar is as thin as three
    for place, count in zip(places, counts, strict=True):
        axes.annotate(
            f"{count:,}", (count, place), (4, 0), textcoords="offset points",
            color=_INK, va="center", fontsize=9,
        )  # fmt: skip
    axes.margins(x=0.12)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    once = f", once per {_label(once_per)}" if once_per else ""
    _title(axes, _label(counted.field) + once, counted.others, counted.in_others, "value")
    return picture


def graph(counted: Flows) -> Picture:
    """Draw who talks to whom: a wider line for more events, a larger dot for more partners."""
    if not counted.edges:
        return nothing("no events with both ends")
    names = list(dict.fromkeys(name for edge in counted.edges for name in edge))
    picture = Picture(figsize=(9, min(12, 5 + len(names) / 15)), facecolor=_PAPER)
    # Without a layout engine, which would move the dots after their labels were placed.
    axes = picture.add_axes((0.02, 0.02, 0.96, 0.93))
    axes.set_axis_off()
    axes.margins(0.12)
    number = {name: i for i, name in enumerate(names)}
    ends = np.array([[number[a], number[b]] for a, b in counted.edges])
    weights = np.sqrt(np.array(list(counted.edges.values()), float))
    places = spread(len(names), ends)
    _edges(axes, places, ends, weights / weights.max())
    partners = np.bincount(ends.ravel(), minlength=len(names))
    sizes = 20 + 180 * partners / partners.max()
    sources = np.isin(np.arange(len(names)), ends[:, 0])
    colours = [_COLOURS[0] if source else _COLOURS[1] for source in sources]
    axes.scatter(places[:, 0], places[:, 1], s=sizes, c=colours, zorder=2)
    order = np.argsort(-partners, kind="stable")
    unnamed = labels.place(axes, places[order], sizes[order], [_label(names[i]) for i in order])
    title = "source (blue) to destination"
    if unnamed:
        title += f" · {plural(unnamed, 'name')} left out for want of room"
    _title(axes, title, counted.others, counted.in_others, "pair")
    return picture


def spread(count: int, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Place connected dots near each other, the same each time; returns one (x, y) row per dot."""
    angles = 2 * np.pi * np.arange(count) / count
    # Not quite a circle, on which forces could cancel each other.
    places = np.column_stack([np.cos(angles), np.sin(angles)]) * (1 + 0.1 * angles[:, None])
    distance = 1 / np.sqrt(count)
    for step in np.linspace(0.2, 0.005, _STEPS):
        gaps = places[:, None] - places[None]
        lengths = np.maximum(np.hypot(gaps[..., 0], gaps[..., 1]), 1e-3)
        push = (gaps * (distance / lengths)[..., None] ** 2).sum(axis=1)
        along = places[ends[:, 1]] - places[ends[:, 0]]
        pull = along * np.hypot(along[:, 0], along[:, 1])[:, None] / distance
        np.add.at(push, ends[:, 0], pull)
        np.add.at(push, ends[:, 1], -pull)
        push -= 0.3 * places  # or what has no line to the others drifts away
        size = np.maximum(np.hypot(push[:, 0], push[:, 1]), 1e-9)
        places = places + push * (np.minimum(size, step) / size)[:, None]
    return np.asarray(places - places.mean(axis=0), np.float64)


def _edges(
    axes: Axes,
    places: npt.NDArray[np.float64],
    ends: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
) -> None:
    lines = LineCollection(
        list(places[ends]), linewidths=0.6 + 3 * weights, colors=_GREYS[0], alpha=0.7, zorder=1
    )
    axes.add_collection(lines)


def _title(axes: Axes, text: str, others: int, in_others: int, noun: str) -> None:
    left_out = f" · {plural(others, f'other {noun}')} with {plural(in_others, 'event')}"
    title = text + (left_out if others else "")
    axes.set_title(title, color=_INK, fontsize=9, loc="left")


def _bars(axes: Axes, counted: Histogram, span: Span, first: int) -> None:
    places = slice(first, first + span.buckets)
    left = dates.date2num(counted.edges[places])
    edges = np.append(left, left[-1] + counted.width / 86_400_000_000_000)
    floor = np.zeros(len(left), np.int64)
    colours, greys = iter(_COLOURS), iter(_GREYS)
    for name, counts in counted.series.items():
        colour = next(greys if name in counted.rest else colours)
        top = floor + counts[places]
        # One outline for a series: a patch for each bar takes fifty times as long to draw.
        axes.stairs(top, edges, baseline=floor, fill=True, color=colour, label=_label(name))
        floor = top
    axes.set_xlim(edges[0], edges[-1])


def _cut(axes: Axes, gap: int) -> None:
    """Say at the left edge of some axes how much time is left out before it."""
    axes.spines["left"].set(visible=True, color=_INK, linestyle=(0, (4, 3)))
    axes.tick_params(axis="y", left=False)
    axes.annotate(
        f"{_text.about(gap)} without events", (0, 0.5), (-5, 0), xycoords="axes fraction",
        textcoords="offset points", rotation=90, ha="right", va="center", color=_INK, fontsize=8,
    )  # fmt: skip


def _style_times(axes: Axes, share: float) -> None:
    first, last = axes.get_xlim()
    if share < _NARROW or (last - first < _SHORT and abs(first) > _FAR):
        axes.set_xticks([first], [f"{dates.num2date(first):%Y-%b-%d\n%H:%M}"], ha="left")
        return
    # At least this number of ticks, or matplotlib finds no interval for some spans.
    locator = dates.AutoDateLocator(minticks=2, maxticks=max(5, round(10 * share)))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _style_axes(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.get_offset_text().set_color(_INK)
    axes.grid(axis="y", color=_INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_INK)


def _label(name: str) -> str:
    text = _text.short(name, _LABEL_WIDTH) or "(no name)"
    # A dollar would begin mathematics, a leading underscore would hide the entry.
    hidden = "\N{ZERO WIDTH SPACE}" if text.startswith("_") else ""
    return hidden + text.replace("$", r"\$")
