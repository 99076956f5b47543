"""Pictures."""

from __future__ import annotations

import pytest

from tests.display.conftest import conn
from vastlab.display import figures
from vastlab.display.histogram import histogram


def _drawn(tables, **how):
    return figures.timeline(histogram(tables), **how)


def test_a_timeline_is_a_png():
    """A notebook gets a picture without plotting anything itself."""
    png = _drawn({"zeek.conn": [conn([0, 1, 5])]})._repr_png_()
    assert png.startswith(b"\x89PNG")


def test_a_timeline_has_no_background():
    """The page shines through, so that light and dark themes both work."""
    picture = _drawn({"zeek.conn": [conn([0, 1])]})
    assert picture.get_facecolor()[3] == 0
    assert picture.axes[0].get_facecolor()[3] == 0


def test_marks_are_few_whatever_the_size():
    """However many schemas and events, there are less than 5,000 marks."""
    tables = {f"s{n}": [conn([float(i * i) for i in range(500)])] for n in range(30)}
    assert 0 < len(_drawn(tables).axes[0].patches) < 5000


@pytest.mark.parametrize("name", ["$\\frac{", "_hidden", "a\x1bb", "x" * 500, "%s{}", ""])
def test_names_are_only_text(name):
    """Names that look like mathematics, controls or options are drawn as they are."""
    picture = _drawn({name: [conn([0, 1])]})
    assert picture._repr_png_()
    (label,) = [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    assert "\x1b" not in label
    assert len(label) <= 80


def test_nothing_to_draw_is_said():
    """An empty result has a picture that says so."""
    assert _drawn({}).axes[0].texts[0].get_text() == "no events"


def test_untimed_events_are_said():
    """Events that are not in the picture are counted above it."""
    assert "2 events without a time" in _drawn({"x": [conn([0, None, None])]}).axes[0].get_title()
