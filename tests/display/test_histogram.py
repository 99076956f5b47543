"""Events per bucket."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.display.conftest import SECOND, START, conn, wide
from vastlab.display.histogram import BUCKETS, NONE, SERIES, histogram

FAR = 9_000_000_000  # seconds; within what nanoseconds can hold, before and after 2009


@given(st.lists(st.integers(-FAR // 2, FAR // 2), min_size=1, max_size=20))
def test_every_event_is_counted_in_its_bucket(seconds):
    """No event is lost, none is counted twice, and each lies between its edges."""
    counted = histogram({"zeek.conn": [conn(seconds)]})
    counts = counted.series["zeek.conn"]
    assert counts.sum() == len(seconds)
    assert len(counts) <= BUCKETS
    edges = counted.edges.astype(np.int64).tolist()
    for second in seconds:
        when = START + second * SECOND
        inside = [edge <= when < edge + counted.width for edge in edges]
        assert inside.count(True) == 1
        assert counts[inside.index(True)] > 0


@pytest.mark.parametrize("others", [[], [0], [2**63 - 1]])
def test_the_earliest_time_is_in_the_first_bucket(others):
    """The bucket would begin before all times."""
    times = pa.array([1 - 2**63, *others], pa.timestamp("ns"))
    counted = histogram({"zeek.conn": [pa.table({"ts": times})]})
    counts, edges = counted.series["zeek.conn"], counted.edges.astype(np.int64).tolist()
    assert (counts[0], counts.sum()) == (1, 1 + len(others))
    assert edges[0] == 1 - 2**63
    assert edges == sorted(edges)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_narrow_spans_have_narrow_buckets(seconds):
    """A span of two seconds is not drawn in minutes."""
    assert histogram({"x": [conn(seconds)]}).width <= SECOND // 10


def _busy(*starts, every=60):
    """Make an hour of events from each of these seconds on."""
    return {"x": [conn([start + second for start in starts for second in range(0, 3600, every)])]}


def test_a_gap_of_years_has_no_buckets():
    """Two busy hours nine years apart are both seen in minutes, and what is between is known."""
    years = 9 * 365 * 86_400
    counted = histogram(_busy(0, years))
    assert counted.width <= 60 * SECOND
    assert len(counted.spans) == 2
    assert counted.left_out[0] == pytest.approx(years * SECOND, rel=0.01)
    assert counted.series["x"].sum() == 120


def test_gaps_of_different_lengths_are_left_out():
    """Where the widest gap is left out, the next one may be most of what is left."""
    assert len(histogram(_busy(0, 3 * 86_400, 9 * 365 * 86_400)).spans) == 3


@pytest.mark.parametrize(
    "starts",
    [
        [hour * 3600 for hour in range(24 * 7)],
        [(day * 24 + hour) * 3600 for day in range(7) for hour in range(9)],
        [0, 20 * 3600],
    ],
)
def test_nights_are_drawn(starts):
    """What is empty for less than a day, or again and again, belongs to the picture."""
    assert len(histogram(_busy(*starts)).spans) == 1


def test_a_few_events_are_drawn_where_they_are():
    """Single events far apart have no shape that a cut would show."""
    assert len(histogram({"x": [conn([0, 86_400 * 300, 86_400 * 900])]}).spans) == 1


@given(st.lists(st.integers(-FAR // 2, FAR // 2), min_size=1, max_size=6), st.integers(10, 300))
def test_spans_follow_each_other(starts, every):
    """Wherever the axis is cut, buckets are in order, apart, few, and hold all events."""
    tables = _busy(*starts, every=every)
    counted = histogram(tables)
    edges = counted.edges.astype(np.int64)
    assert (np.diff(edges) >= counted.width).all()
    assert all(gap > 0 for gap in counted.left_out)
    assert len(edges) == sum(span.buckets for span in counted.spans) <= BUCKETS
    assert counted.series["x"].sum() == tables["x"][0].num_rows


@pytest.mark.parametrize("ends", [(-(2**63), 2**63 - 1), (2**63 - 1, 2**63 - 1)])
def test_times_may_be_as_far_apart_as_can_be(ends):
    """The first and the last moment that VAST can hold are counted."""
    times = pa.array(ends, pa.int64()).cast(pa.timestamp("ns"))
    counted = histogram({"x": [pa.table({"ts": times})]})
    assert counted.series["x"].sum() == 2


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
    assert counted.spans[0].start % (86_400 * SECOND) == 0


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
