"""Events per bucket."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.display.conftest import SECOND, START, conn, wide
from vastlab.display.tally import BUCKETS, NONE, SERIES, histogram

FAR = 9_000_000_000  # seconds; within what nanoseconds can hold, before and after 2009


@given(st.lists(st.integers(-FAR // 2, FAR // 2), min_size=1, max_size=20))
def test_every_event_is_counted_in_its_bucket(seconds):
    """No event is lost, none is counted twice, and each lies between its edges."""
    counted = histogram({"zeek.conn": [conn(seconds)]})
    counts = counted.series["zeek.conn"]
    assert counts.sum() == len(seconds)
    assert len(counts) <= BUCKETS
    for second in seconds:
        place = (START + second * SECOND - counted.start) // counted.width
        assert counts[place] > 0


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_narrow_spans_have_narrow_buckets(seconds):
    """A span of two seconds is not drawn in minutes."""
    assert histogram({"x": [conn(seconds)]}).width <= SECOND // 10


@pytest.mark.parametrize(
    "span, width",
    [(60, 1), (3600, 30), (86_400, 600), (7 * 86_400, 3600), (365 * 86_400, 7 * 86_400)],
)
def test_widths_are_what_people_count_in(span, width):
    """An hour is counted in half minutes, a week in hours, a year in weeks."""
    assert histogram({"x": [conn([0, span])]}).width == width * SECOND


def test_weeks_begin_on_monday():
    """Buckets of a week begin on Mondays at midnight."""
    counted = histogram({"x": [conn([0, 365 * 86_400])]})
    first = counted.edges[0].astype("datetime64[D]").item()
    assert first.weekday() == 0
    assert counted.start % (86_400 * SECOND) == 0


def test_edges_follow_the_zone():
    """In a zone, buckets of a day begin at its midnight."""
    counted = histogram({"x": [conn([0, 86_400 * 150])]}, zone=ZoneInfo("Asia/Kolkata"))
    assert counted.width == 86_400 * SECOND
    assert counted.edges[0] == np.datetime64("2009-11-18T00:00", "ns")
    assert counted.series["x"][0] == 1


def test_small_schemas_share_a_series():
    """Of many schemas the largest stand alone, and the rest together."""
    tables = {f"s{number:02}": [conn([0.0] * (number + 1))] for number in range(20)}
    series = histogram(tables).series
    assert len(series) == SERIES + 1
    assert next(iter(series)) == "s19"
    assert series["other (12)"].sum() == sum(range(1, 13))
    assert histogram(tables).rest == ("other (12)",)


def test_null_and_other_values_come_last():
    """However many they are, other values and events without one stand behind the frequent ones."""
    notes = [*"aab", *map(str, range(10)), *[None] * 9]
    counted = histogram({"x": [conn([0.0] * len(notes), notes)]}, by="note")
    assert list(counted.series) == ["a", *"012345", "other (5)", NONE]
    assert counted.rest == ("other (5)", NONE)


def test_names_of_the_rest_are_no_values():
    """A value or schema that is called like the rest is not mistaken for it."""
    counted = histogram({"x": [conn([0.0] * 3, [NONE, NONE, None])]}, by="note")
    assert {name: int(counts.sum()) for name, counts in counted.series.items()} == {
        NONE: 2,
        f"{NONE}#2": 1,
    }
    names = ["other (2)", *(f"s{number}" for number in range(9))]
    series = histogram({name: [conn([0.0] * 2)] for name in names}).series
    assert sum(int(counts.sum()) for counts in series.values()) == 20


def test_events_without_a_time_are_counted_apart():
    """What has no place on the axis is not forgotten."""
    counted = histogram({"a": [conn([0, None])], "b": [wide(1, 3, "x")]})
    assert counted.untimed == 4
    assert list(counted.series) == ["a"]


def test_nothing_to_count():
    """No events give no series."""
    assert histogram({}).series == {}
    assert len(histogram({"x": [conn([])]}).edges) == 0
