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
from matplotlib.ticker import MaxNLocator

from vastlab import _text
from vastlab._text import plural
from vastlab.display.tally import Flows, Histogram, Tally

_INK = "#808080"
# Told apart by people with any colour vision, and on white as on black.
_COLOURS = (
    "#4c8bd9", "#e08a2e", "#35a67c", "#c95fa3", "#8c7ae6", "#c2a21f", "#3fb0c4", "#d1605e",
    "#a0765b",
)  # fmt: skip
_GREYS = ("#a0a0a0", "#6e6e6e")  # for rests and nulls
_NO_EVENTS = "no events"
_LABEL_WIDTH = 40
_DOTS_PER_INCH = 110
_STEPS = 120
_UNITS = (
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "min"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
)


class Picture(Figure):
    """A figure that a notebook shows without further ado."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=_DOTS_PER_INCH, bbox_inches="tight")
        return out.getvalue()


def nothing(message: str = _NO_EVENTS) -> Picture:
    """Say that there is nothing to draw."""
    picture = Picture(figsize=(9, 1), facecolor="none", layout="constrained")
    axes = picture.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, color=_INK, ha="center", va="center", transform=axes.transAxes)
    return picture


def timeline(counted: Histogram, *, zone: tzinfo | None = None) -> Picture:
    """Draw events over time as stacked bars, one colour for each schema."""
    if not counted.series:
        return nothing("no events with a time" if counted.untimed else _NO_EVENTS)
    picture = Picture(figsize=(9, 3), facecolor="none", layout="constrained")
    axes = picture.add_subplot()
    _bars(axes, counted)
    _style_axes(axes)
    axes.set_ylabel(f"events per {_width(counted.width)}", color=_INK)
    axes.set_xlabel(_text.plain(str(zone or "UTC")), color=_INK)
    if counted.untimed:
        axes.set_title(f"{counted.untimed:,} events without a time", color=_INK, fontsize=9)
    return picture


def top(counted: Tally) -> Picture:
    """Draw how often values occur as horizontal bars, the most frequent on top."""
    if not counted.counts:
        return nothing("no events with a value")
    height = 0.8 + 0.24 * max(3, len(counted.counts))
    picture = Picture(figsize=(8, height), facecolor="none", layout="constrained")
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
    axes.set_facecolor("none")
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _title(axes, counted.field, counted.others, counted.in_others, "value")
    return picture


def graph(counted: Flows) -> Picture:
    """Draw who talks to whom: a wider line for more events, a larger dot for more partners."""
    if not counted.edges:
        return nothing("no events with both ends")
    picture = Picture(figsize=(9, 7), facecolor="none", layout="constrained")
    axes = picture.add_subplot()
    axes.set_axis_off()
    axes.margins(0.12)
    names = list(dict.fromkeys(name for edge in counted.edges for name in edge))
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
    # Above the dot, whose size is an area in square points.
    for name, place, above in zip(names, places, np.sqrt(sizes) / 2 + 3, strict=True):
        axes.annotate(
            _label(name), place, (0, above), textcoords="offset points",
            color=_INK, ha="center", fontsize=8, zorder=3,
        )  # fmt: skip
    _title(axes, "source (blue) to destination", counted.others, counted.in_others, "pair")
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
        list(places[ends]), linewidths=0.6 + 3 * weights, colors=_INK, alpha=0.5, zorder=1
    )
    axes.add_collection(lines)


def _title(axes: Axes, text: str, others: int, in_others: int, noun: str) -> None:
    left_out = f" · {plural(others, f'other {noun}')} with {plural(in_others, 'event')}"
    title = _label(text) + (left_out if others else "")
    axes.set_title(title, color=_INK, fontsize=9, loc="left")


def _bars(axes: Axes, counted: Histogram) -> None:
    left = dates.date2num(counted.edges)
    edges = np.append(left, left[-1] + counted.width / 86_400_000_000_000)
    floor = np.zeros(len(left), np.int64)
    colours, greys = iter(_COLOURS), iter(_GREYS)
    for name, counts in counted.series.items():
        colour = next(greys if name in counted.rest else colours)
        # One outline for a series: a patch for each bar takes fifty times as long to draw.
        axes.stairs(
            floor + counts, edges, baseline=floor, fill=True, color=colour, label=_label(name)
        )
        floor = floor + counts
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor=_INK, fontsize=9
    )


def _style_axes(axes: Axes) -> None:
    axes.set_facecolor("none")
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
    text = _text.cut(_text.plain(name), _LABEL_WIDTH) or "(no name)"
    # A dollar would begin mathematics, a leading underscore would hide the entry.
    hidden = "\N{ZERO WIDTH SPACE}" if text.startswith("_") else ""
    return hidden + text.replace("$", r"\$")


def _width(nanoseconds: int) -> str:
    for unit, word in _UNITS:
        if nanoseconds >= unit and nanoseconds % unit == 0:
            count = nanoseconds // unit
            return word if count == 1 else f"{count} {word}"
    return f"{nanoseconds:,} ns"
