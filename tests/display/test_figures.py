"""Pictures."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from tests.display.conftest import conn
from vastlab.display import figures
from vastlab.display.histogram import SERIES, histogram
from vastlab.display.tally import Flows, Tally


def _drawn(tables, **how):
    return figures.timeline(histogram(tables), **how)


def test_a_timeline_is_a_png():
    """A notebook gets a picture without plotting anything itself."""
    png = _drawn({"zeek.conn": [conn([0, 1, 5])]})._repr_png_()
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize("year", [1680, 2116])
@pytest.mark.parametrize("microseconds", [0, 5, 15_000, 101_000])
def test_moments_far_from_now_are_drawn_without_a_warning(year, microseconds):
    """A wrong clock writes such times; matplotlib warns of scales as fine."""
    first = pd.Timestamp(year, 2, 20)
    times = [first, first + pd.Timedelta(microseconds, "us")]
    assert _drawn({"zeek.conn": [pa.table({"ts": pa.array(times)})]})._repr_png_()


def _luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first, second):
    """Return the contrast ratio of WCAG."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _pictures():
    tables = {f"s{n}": [conn([0.0, 1.0], ["a", None])] for n in range(12)}
    return [
        figures.timeline(histogram(tables)),
        figures.timeline(histogram(tables, by="note")),
        figures.top(Tally("f", {"a": 2, "b": 1}, 1, 1)),
        figures.graph(Flows({("a", "b"): 2, ("b", "c"): 1}, 1, 1)),
        figures.nothing(),
    ]


@pytest.mark.parametrize("number", range(5))
def test_text_and_marks_have_enough_contrast_in_any_theme(number):
    """Text has the contrast of WCAG AA to the picture's own background, and marks that of marks."""
    picture = _pictures()[number]
    picture._repr_png_()
    paper = picture.get_facecolor()
    assert paper[3] == 1, "or the page would shine through, whose colour nobody knows"
    texts = [text for text in picture.findobj(Text) if text.get_text()]
    assert texts
    assert min(_contrast(text.get_color(), paper) for text in texts) >= 4.5
    patches = [patch for axes in picture.axes for patch in axes.patches]
    assert all(_contrast(patch.get_facecolor()[:3], paper) >= 3 for patch in patches)


def test_a_cut_axis_says_what_is_left_out():
    """Nine years without events take no room; both ends have a scale of their own."""
    hour = [float(second) for second in range(0, 3600, 30)]
    years = 9 * 365 * 86_400
    picture = _drawn({"x": [conn([*hour, *(years + second for second in hour)])]})
    picture._repr_png_()
    first, second = picture.axes
    assert [text.get_text() for text in second.texts] == ["9 years without events"]
    drawn = sum(patch.get_data().values.sum() for axes in picture.axes for patch in axes.patches)
    assert drawn == 2 * len(hour)
    assert first.get_xlim()[1] - first.get_xlim()[0] < 0.1  # days


@pytest.mark.parametrize("starts", [(0, 500), (0, 500, 2000), (0, 90, 4000), (0, 40, 900, 30_000)])
@pytest.mark.parametrize("hours", [0.01, 1, 50])
def test_a_cut_axis_can_be_drawn_at_any_scale(starts, hours):
    """Whatever the spans are, matplotlib finds ticks for them."""
    seconds = [day * 86_400 + i * hours * 36 for day in starts for i in range(100)]
    picture = _drawn({"x": [conn(seconds)]})
    assert picture._repr_png_()


def test_marks_are_few_whatever_the_size():
    """However many schemas and events, there are less than 5,000 marks."""
    tables = {f"s{n}": [conn([float(i * i) for i in range(500)])] for n in range(30)}
    drawn = [len(patch.get_data().values) for patch in _drawn(tables).axes[0].patches]
    assert len(drawn) == SERIES + 1
    assert 0 < sum(drawn) < 5000


def test_series_stand_on_each_other():
    """Where one series ends another begins, and the topmost ends at the sum."""
    tables = {"a": [conn([0, 0, 5])], "b": [conn([5, 5], name="b")]}
    lower, upper = (patch.get_data() for patch in _drawn(tables).axes[0].patches)
    assert lower.values.sum() == 3
    assert (upper.baseline == lower.values).all()
    assert (upper.values - upper.baseline).sum() == 2


def test_only_null_and_other_values_are_grey():
    """Values have colours; other values and events without one are two different greys."""
    notes = [*"abcdefghi", *[None] * 20]
    counted = histogram({"x": [conn([0.0] * len(notes), notes)]}, by="note")
    colours = [patch.get_facecolor()[:3] for patch in figures.timeline(counted).axes[0].patches]
    assert [red == green == blue for red, green, blue in colours] == [False] * 7 + [True] * 2
    assert len(set(colours)) == 9


@pytest.mark.parametrize("name", ["$\\frac{", "_hidden", "a\x1bb", "x" * 500, "%s{}", ""])
def test_names_are_only_text(name):
    """Names that look like mathematics, controls or options are drawn as they are."""
    picture = _drawn({name: [conn([0, 1])]})
    assert picture._repr_png_()
    (label,) = [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    assert "\x1b" not in label
    assert len(label) <= 80


def test_nothing_to_draw_is_said():
    """An empty result has a picture that says so, and has no axes."""
    for seconds, text in (([], "no events"), ([None], "no events with a time")):
        axes = _drawn({"x": [conn(seconds)]}).axes[0]
        assert axes.texts[0].get_text() == text
        assert not axes.axison


def test_untimed_events_are_said():
    """Events that are not in the picture are counted above it."""
    assert "2 events without a time" in _drawn({"x": [conn([0, None, None])]}).axes[0].get_title()


_HOSTILE = ["$\\frac{", "_hidden", "a\x1bb", "x" * 500, "%s{}", "", "<script>"]


def _bars_of(counts):
    axes = figures.top(Tally("f", counts, 0, 0)).axes[0]
    return axes.patches, axes.get_ylim()


def test_frequent_values_are_bars():
    """Each value has a bar and its number; controls and mathematics are only text."""
    counted = Tally("f$x", {name: 7 - i for i, name in enumerate(_HOSTILE)}, 2, 3)
    picture = figures.top(counted)
    assert picture._repr_png_().startswith(b"\x89PNG")
    axes = picture.axes[0]
    assert len(axes.patches) == len(_HOSTILE)
    assert "2 other values with 3 events" in axes.get_title("left")
    assert not [t for t in axes.get_yticklabels() if "\x1b" in t.get_text()]


def test_a_single_bar_is_as_wide_as_one_of_three():
    """One value alone does not fill the picture with its bar."""
    (alone,), (low, high) = _bars_of({"a": 1})
    (first, *_), (bottom, top) = _bars_of({"a": 3, "b": 2, "c": 1})
    assert alone.get_height() / (low - high) == first.get_height() / (bottom - top)


def test_a_graph_has_few_marks():
    """The largest graph stays far below 5,000 marks, and hostile names are only text."""
    names = [*_HOSTILE, *(f"h{i}" for i in range(200))]
    pairs = [(names[i % len(names)], names[(i * 7 + 1) % len(names)]) for i in range(500)]
    picture = figures.graph(Flows({pair: i + 1 for i, pair in enumerate(pairs)}, 0, 0))
    assert picture._repr_png_()
    axes = picture.axes[0]
    lines, dots = axes.collections
    assert len(lines.get_segments()) + len(dots.get_offsets()) + len(axes.texts) < 5000


@pytest.mark.parametrize("count", [3, 40, 200])
def test_names_in_a_graph_do_not_overlap(count):
    """No name covers another; those without room are counted in the title."""
    pairs = [(f"host-{i % 7}", f"server-{i}.some-long-domain.example") for i in range(count)]
    picture = figures.graph(Flows({pair: i + 1 for i, pair in enumerate(pairs)}, 0, 0))
    picture._repr_png_()
    axes = picture.axes[0]
    renderer = picture.canvas.get_renderer()
    names = [text for text in axes.texts if text.get_text()]
    # Without the arrow to its dot, which an annotation counts to its box.
    boxes = [Text.get_window_extent(text, renderer) for text in names]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
    left_out = re.search(r"(\d+) names? left out", axes.get_title("left"))
    dots = len({name for pair in pairs for name in pair})
    assert len(names) + (int(left_out[1]) if left_out else 0) == dots
    assert count > 3 or not left_out


@pytest.mark.parametrize(
    "pairs", [[(0, 0)], [(0, 1)], [(0, 1), (2, 3)], [(i, 0) for i in range(9)]]
)
def test_dots_do_not_fall_together(pairs):
    """Every dot has a place of its own, the same each time."""
    ends = np.array(pairs)
    count = int(ends.max()) + 1
    places = figures.spread(count, ends)
    assert np.isfinite(places).all()
    assert len({tuple(place) for place in places.round(3)}) == count
    assert (places == figures.spread(count, ends)).all()


def test_empty_pictures_say_so():
    """Events without what is to be drawn give a picture that says so."""
    for picture, text in (
        (figures.top(Tally("x", {}, 0, 0)), "no events with a value"),
        (figures.graph(Flows({}, 0, 0)), "no events with both ends"),
    ):
        assert picture.axes[0].texts[0].get_text() == text
        assert not picture.axes[0].axison
