"""Pictures of results, drawn with matplotlib (the extra ``plots``).

A picture has no background and writes in grey, so that it can be read in light and dark themes.
"""

from __future__ import annotations

import io
from datetime import tzinfo

import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vastlab import _text
from vastlab.display.histogram import Histogram

_INK = "#808080"
# Told apart by people with any colour vision, and on white as on black.
_COLOURS = (
    "#4c8bd9", "#e08a2e", "#35a67c", "#c95fa3", "#8c7ae6", "#c2a21f", "#3fb0c4", "#d1605e",
    "#8a8a8a",
)  # fmt: skip
_LABEL_WIDTH = 40
_DOTS_PER_INCH = 110
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


def timeline(counted: Histogram, *, zone: tzinfo | None = None) -> Picture:
    """Draw events over time as stacked bars, one colour for each schema.

    Parameters
    ----------
    counted
        What to draw.
    zone
        Whose clock the axis shows.
    """
    picture = Picture(figsize=(9, 3), facecolor="none", layout="constrained")
    axes = picture.add_subplot()
    _bars(axes, counted)
    _dress(axes)
    axes.set_ylabel(f"events per {_width(counted.width)}", color=_INK)
    axes.set_xlabel(_text.plain(str(zone or "UTC")), color=_INK)
    if counted.untimed:
        axes.set_title(f"{counted.untimed:,} events without a time", color=_INK, fontsize=9)
    return picture


def _bars(axes: Axes, counted: Histogram) -> None:
    if not counted.series:
        axes.text(0.5, 0.5, "no events", color=_INK, ha="center", transform=axes.transAxes)
        return
    left = dates.date2num(counted.edges)
    width = counted.width / 86_400_000_000_000
    floor = np.zeros(len(left), np.int64)
    for (name, counts), colour in zip(counted.series.items(), _COLOURS, strict=False):
        label = _label(name)
        axes.bar(left, counts, width, floor, align="edge", color=colour, label=label)
        floor = floor + counts
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor=_INK, fontsize=9
    )


def _dress(axes: Axes) -> None:
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
