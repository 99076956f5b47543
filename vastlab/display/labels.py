"""Names beside the dots of a graph, none on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

PAPER, INK = "#ffffff", "#555555"  # seven to one
_SIZE = 8  # points
_POINTS = 72  # in an inch
# Away from the dot: above, below, beside; then around.
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
_STEPS = (0, 10, 22, 36)  # points

_Numbers = npt.NDArray[np.float64]


def place(axes: Axes, dots: _Numbers, sizes: _Numbers, names: Sequence[str]) -> int:
    """Write the name of each dot where it covers neither another name nor a dot.

    Those that come first have the best places; a line leads to a name that stands apart. Returns
    for how many there was no room.
    """
    figure = cast("Figure", axes.figure)
    scale = _POINTS / figure.dpi
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # or the limits of the axes are not known
    centres = axes.transData.transform(dots) * scale
    radii = np.sqrt(sizes) / 2
    width, height = (side * _POINTS for side in figure.get_size_inches())
    taken = np.column_stack([centres - radii[:, None], centres + radii[:, None]])
    left_out = 0
    for centre, radius, name, dot in zip(centres, radii, names, dots, strict=True):
        text = axes.annotate(
            name, dot, (0, 0), textcoords="offset points", color=INK, fontsize=_SIZE,
            ha="center", va="center", zorder=3,
            path_effects=[withStroke(linewidth=2, foreground=PAPER)],
        )  # fmt: skip
        box = text.get_window_extent(canvas.get_renderer())
        half = np.array([box.width, box.height]) * scale / 2 + 1
        found = _free(centre, radius, half, taken, (width, height))
        if found is None:
            text.remove()
            left_out += 1
            continue
        offset, is_apart = found
        _move(text, offset, is_apart=is_apart)
        taken = np.vstack([taken, [*(centre + offset - half), *(centre + offset + half)]])
    return left_out


def _free(
    centre: _Numbers,
    radius: float,
    half: _Numbers,
    taken: _Numbers,
    page: tuple[float, float],
) -> tuple[_Numbers, bool] | None:
    """Return the nearest free place, from the dot on, and whether it is apart from it."""
    for step in _STEPS:
        for direction in _DIRECTIONS:
            offset = np.array(direction) * (half + radius + 1 + step)
            low, high = centre + offset - half, centre + offset + half
            if (low < 0).any() or (high > page).any():
                continue
            meets = (taken[:, :2] < high) & (taken[:, 2:] > low)
            if not meets.all(axis=1).any():
                return offset, step > 0
    return None


def _move(text: Annotation, offset: _Numbers, *, is_apart: bool) -> None:
    text.set_position((float(offset[0]), float(offset[1])))
    if is_apart:
        axes = cast("Axes", text.axes)
        axes.annotate(
            "", text.xy, tuple(offset), textcoords="offset points", zorder=1.5,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.4},
        )  # fmt: skip
