"""Summaries of a connection: buckets in its time zone, top values and timelines."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vastlab
from vastlab.errors import UsageError, VastlabWarning
from vastlab.summary import _in_zone, engine_bucket, finer

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
HOURS = 3_600 * 10**9


def events_at(folder, times, **columns):
    """Make a database with one event at each time, and connect to it."""
    moments = pd.DatetimeIndex(times).tz_localize("UTC")
    table = pa.table({"ts": pa.array(moments), **columns})
    database = folder / "events.db"
    with vastlab.connect(database) as vast:
        vast.ingest(table, schema="my.events")
    return database


def test_a_day_begins_at_midnight_where_the_user_is(tmp_path):
    """Also on the days on which the clocks change."""
    times = ["2026-03-28 22:59", "2026-03-28 23:00", "2026-03-29 21:59", "2026-03-29 22:00"]
    with vastlab.connect(events_at(tmp_path, times), tz="Europe/Berlin") as vast:
        found = vast.summarize(every="1d")
    assert [str(time) for time in found["time"]] == [
        "2026-03-28 00:00:00+01:00",
        "2026-03-29 00:00:00+01:00",
        "2026-03-30 00:00:00+02:00",
    ]
    assert found["events"].tolist() == [1, 2, 1]


@given(
    moments=st.lists(st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1)), min_size=1),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "America/New_York", "UTC"]),
    hours=st.sampled_from([1, 2, 6, 24]),
)
def test_buckets_are_those_of_pandas(moments, zone, hours):
    """Where no clock changes in between, pandas says the same."""
    known = zoneinfo.ZoneInfo(zone)
    times = pd.DatetimeIndex(moments).as_unit("ns").tz_localize("UTC")
    local = times.tz_convert(known)
    expected = local.floor(f"{hours}h", ambiguous="NaT", nonexistent="NaT")
    found = _in_zone(times.asi8, hours * HOURS, known)
    for time, start, ours in zip(local, expected, found.tolist(), strict=True):
        if start is not pd.NaT and start.utcoffset() == time.utcoffset():
            assert ours == start.value


def test_the_engine_counts_in_parts_of_a_bucket():
    """A quarter of an hour is the same in all time zones."""
    assert engine_bucket(HOURS, None) == HOURS
    assert engine_bucket(HOURS, BERLIN) == HOURS // 4
    assert engine_bucket(7 * 10**9, BERLIN) == 10**9


@pytest.mark.parametrize(
    "last, every, expected",
    [
        (0, 24 * HOURS, HOURS // 2),
        (20 * 24 * HOURS, 24 * HOURS, 12 * HOURS),
        (59 * 24 * HOURS, 24 * HOURS, 24 * HOURS),
        (100 * 24 * HOURS, 24 * HOURS, 48 * HOURS),
        (0, 10**9, 10**9),
    ],
)
def test_a_timeline_has_at_most_sixty_buckets(last, every, expected):
    """As narrow as that allows."""
    times = pd.Series(pd.to_datetime([0, last], utc=True))
    assert finer(times, every) == expected
    assert finer(times[:0], every) == every


def test_a_timeline_chooses_its_buckets(tmp_path):
    """From seconds to days; an empty one is a frame too."""
    seconds = pd.date_range("2026-01-01 12:00", periods=50, freq="s")
    with vastlab.connect(events_at(tmp_path, seconds)) as vast:
        found = vast.timeline()
        assert (len(found), found["events"].sum()) == (50, 50)
        assert found["#type"].unique().tolist() == ["my.events"]
        assert len(vast.timeline("ts > 2027-01-01")) == 0
        assert vast.timeline(every="1d")["events"].tolist() == [50]


def test_the_top_values_are_not_null(tmp_path):
    """By events, or by an aggregate."""
    columns = {"name": ["a", "b", "b", None, None, None], "size": [50, 1, 2, 3, 4, 5]}
    with vastlab.connect(events_at(tmp_path, ["2026-01-01"] * 6, **columns)) as vast:
        assert vast.top("name").to_numpy().tolist() == [["b", 2], ["a", 1]]
        assert vast.top("name", n=1).to_numpy().tolist() == [["b", 2]]
        assert vast.top("name", by="sum(size)", n=0).to_numpy().tolist() == [["a", 50], ["b", 3]]
        assert vast.top("name", "size < 2").to_numpy().tolist() == [["b", 1]]


def test_a_limit_says_how_many_groups_are_left(tmp_path):
    """The largest groups are kept."""
    with vastlab.connect(events_at(tmp_path, ["2026-01-01"] * 3, n=[1, 2, 2])) as vast:
        found = vast.summarize(by="n", limit=1)
    assert found.to_numpy().tolist() == [[2, 2]]
    assert found.attrs["other_groups"] == 1


def test_wrong_names_are_one_clear_line(tmp_path):
    """A field that no schema has, and one aggregate given twice."""
    with vastlab.connect(events_at(tmp_path, ["2026-01-01"], size=[1])) as vast:
        with pytest.raises(UsageError, match=r"no schema has a field sizee: did you mean size\?"):
            vast.summarize(by="sizee")
        with pytest.raises(UsageError, match="no schema has a field byte"):
            vast.summarize(x="sum(byte)")
        with pytest.raises(UsageError, match="the aggregate 'x' is given twice"):
            vast.summarize(x="sum(size)", aggregates={"x": "count()"})
        with pytest.warns(VastlabWarning, match="no schema has a field nothing"):
            assert len(vast.summarize("nothing == 1", by="size")) == 0


def test_names_of_parameters_can_be_columns(tmp_path):
    """Aggregates may be given as one mapping."""
    with vastlab.connect(events_at(tmp_path, ["2026-01-01"], size=[7])) as vast:
        assert vast.summarize(aggregates={"limit": "sum(size)"})["limit"].tolist() == [7]
