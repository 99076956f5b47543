"""Summaries of a connection: buckets in its time zone, top values and timelines."""

from __future__ import annotations

import datetime as dt
import tempfile
import zoneinfo
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vastlab
from vastlab.arrow import schema as arrow_schema
from vastlab.compile.groups import Groups
from vastlab.display.histogram import histogram
from vastlab.display.tally import tally
from vastlab.errors import UsageError, VastlabWarning
from vastlab.expression.aggregates import Summary
from vastlab.expression.taxonomy import Taxonomy
from vastlab.group_frames import (
    GroupFrame,
    _finer,
    _in_zone,
    engine_bucket,
    in_few_buckets,
    to_frame,
)
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.plan import group_batches

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
    times = pd.Series(pd.to_datetime(range(0, last + 1, every), utc=True))
    assert _finer(times, every) == expected
    assert _finer(times[:0], every) == every


def test_long_spans_without_events_do_not_widen_the_buckets_of_a_timeline(tmp_path):
    """Two days nine years apart are shown by the hour, not by the month."""
    days = (pd.date_range(f"{year}-01-01", periods=24, freq="h") for year in (2017, 2026))
    hours = pd.DatetimeIndex([hour for day in days for hour in day])
    with vastlab.connect(events_at(tmp_path, hours)) as vast:
        found = vast.timeline()
    assert len(found) == 48
    assert found.attrs["every"] == pd.Timedelta("1h")


def test_a_timeline_chooses_its_buckets(tmp_path):
    """From seconds to days; an empty one is a frame too."""
    seconds = pd.date_range("2026-01-01 12:00", periods=50, freq="s")
    with vastlab.connect(events_at(tmp_path, seconds)) as vast:
        found = vast.timeline()
        assert (len(found), found["events"].sum()) == (50, 50)
        assert found["#type"].unique().tolist() == ["my.events"]
        assert len(vast.timeline("ts > 2027-01-01")) == 0
        assert vast.timeline(every="1d")["events"].tolist() == [50]


@pytest.mark.parametrize("zone", [None, BERLIN], ids=str)
@pytest.mark.parametrize(
    "freq, number, width",
    [("s", 50, "1s"), ("min", 3000, "1h"), ("7h", 60, "12h"), ("5D", 50, "24h"), ("D", 90, "48h")],
)
def test_a_timeline_of_a_database_takes_one_pass(tmp_path, monkeypatch, zone, freq, number, width):
    """The manifest knows the span, and coarser buckets are made of the first ones."""
    widths = []
    summarize = EmbeddedNode.summarize

    def counting(node, query, summary, report):
        widths.append(summary.every)
        return summarize(node, query, summary, report)

    monkeypatch.setattr(EmbeddedNode, "summarize", counting)
    times = pd.date_range("2026-01-01 12:00", periods=number, freq=freq)
    with vastlab.connect(events_at(tmp_path, times), tz=zone) as vast:
        found = vast.timeline()
        assert len(widths) == 1
        assert found.attrs["every"] == pd.Timedelta(width)
        pd.testing.assert_frame_equal(found, vast.timeline(every=width))


@given(
    days=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    step=st.sampled_from(["s", "min", "17min", "3h"]),
    zone=st.sampled_from([None, BERLIN]),
    has_span=st.booleans(),
)
async def test_a_timeline_is_the_same_whatever_is_known_of_its_span(days, step, zone, has_span):
    """What is grouped first changes the number of passes only."""
    day = pd.Timedelta("1D")
    starts = [pd.Timestamp("2026-03-10 22:30") + number * day for number in days]
    times = [time for start in starts for time in pd.date_range(start, periods=30, freq=step)]
    events = pa.record_batch({"ts": pa.array(times, pa.timestamp("ns"))})
    events = events.replace_schema_metadata({"VAST:name:0": "my.events"})
    schema = arrow_schema.from_arrow(events.schema)
    asked = Summary.parse("#type", dt.timedelta(days=1), {})

    async def group(width):
        groups = Groups(replace(asked, every=width), Taxonomy())
        group_batches(groups, schema, [events])
        return groups

    span = (max(times) - min(times)).value + 1 if has_span else None
    found = await in_few_buckets(group, asked, zone, span)
    every = found.attrs["every"].value
    fine = await group(engine_bucket(every, zone))
    pd.testing.assert_frame_equal(found, to_frame(fine, replace(asked, every=every), zone, 0))
    plain = await in_few_buckets(group, asked, zone)
    pd.testing.assert_frame_equal(found, plain)


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
        with pytest.raises(UsageError, match=r"no schema has a field sizee: did you mean size\?$"):
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


@pytest.mark.parametrize("day, first", [("2026-03-28", 22), ("2026-10-24", 21)])
def test_no_bucket_is_split_where_the_clock_changes(tmp_path, day, first):
    """Buckets of six hours begin at midnight, six, noon and six, whatever the offset is."""
    hours = pd.date_range(f"{day} 23:00", periods=24, freq="h")
    with vastlab.connect(events_at(tmp_path, hours), tz="Europe/Berlin") as vast:
        found = vast.summarize(every="6h")
    assert {time.hour for time in found["time"]} <= {0, 6, 12, 18}
    assert len(found) <= 6
    assert found["events"].sum() == 24


def test_an_hour_that_comes_twice_is_two_buckets(tmp_path):
    """In one of an hour or less."""
    times = ["2026-10-25 00:30", "2026-10-25 01:30"]  # both are 02:30 in Berlin
    with vastlab.connect(events_at(tmp_path, times), tz="Europe/Berlin") as vast:
        assert vast.summarize(every="1h")["events"].tolist() == [1, 1]
        assert vast.summarize(every="2h")["events"].tolist() == [2]


@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
@pytest.mark.parametrize("every", ["1ms", "1h", "1d"])
def test_events_without_a_time_are_a_bucket_of_their_own(tmp_path, tz, every):
    """And change no other bucket."""
    moment = 1_772_617_932_123_000_001
    times = pa.array([moment, moment + 1_000_000, None], pa.timestamp("ns", "UTC"))
    with vastlab.connect(tmp_path / "a.db", tz=tz) as vast:
        vast.ingest(pa.table({"ts": times}), schema="my.events")
        found = vast.summarize(every=every)["time"]
        assert found.isna().tolist() == [False] * (len(found) - 1) + [True]
        assert found[0].value % 10**6 == 0
        assert len(vast.timeline("ts == null")) == 1


def test_weeks_begin_on_mondays(tmp_path):
    """Also two of them."""
    with vastlab.connect(events_at(tmp_path, ["2026-11-29", "2026-11-30"])) as vast:
        assert vast.summarize(every="7d")["time"].dt.day_name().tolist() == ["Monday", "Monday"]


@pytest.mark.parametrize("nanoseconds", [-(2**63) + 1, 2**63 - 1])
def test_times_at_the_end_of_all_times_are_no_other_times(tmp_path, nanoseconds):
    """A bucket that would begin before all times is null."""
    times = pa.array([nanoseconds], pa.timestamp("ns", "UTC"))
    with vastlab.connect(tmp_path / "a.db") as vast:
        vast.ingest(pa.table({"ts": times}), schema="my.events")
        found = vast.summarize(every="1d")["time"]
        assert found.isna().all() if nanoseconds < 0 else found[0].year == 2262


def test_a_time_that_a_zone_cannot_express_is_one_clear_line(tmp_path):
    """It lies hours before the end of all times."""
    times = pa.array([2**63 - 1], pa.timestamp("ns", "UTC"))
    with vastlab.connect(tmp_path / "a.db", tz="Asia/Tokyo") as vast:
        vast.ingest(pa.table({"ts": times}), schema="my.events")
        with pytest.raises(UsageError, match="a time is outside the years that Asia/Tokyo"):
            vast.summarize(every="1d")


def test_top_finds_values_beside_nulls(tmp_path):
    """NaN is null; a field may be called as the column of counts."""
    numbers = {"d": [float("nan")] * 3 + [None] * 3 + [1.0, 1.0, 2.0], "events": [1] * 9}
    with vastlab.connect(events_at(tmp_path, ["2026-01-01"] * 9, **numbers)) as vast:
        assert vast.top("d", n=1).to_numpy().tolist() == [[1.0, 2]]
        assert vast.top("events").columns.tolist() == ["events", "count"]
        assert vast.top("d").attrs["left_out"] == {}


def test_groups_are_safe_to_look_at(tmp_path):
    """No text of an event reaches a terminal or a page as it is."""
    evil = "\x1b[31m\u202e<b>$x$"
    with vastlab.connect(events_at(tmp_path, ["2026-01-01"], s=[evil])) as vast:
        for found in (vast.top("s"), vast.summarize(every="1d", x="distinct(s)")):
            assert "\x1b" not in repr(found)
            assert "\u202e" not in repr(found)
            page = found._repr_html_()
            assert "<b>" not in page
            assert "\u202e" not in page
            assert "mathjax_ignore" in page or "tex2jax_ignore" in page
        assert vast.top("s")["s"].tolist() == [evil]


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from("abc") | st.none(), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_pictures_of_a_result_count_as_the_engine_does(rows):
    """A result's top and timeline have the numbers of `top` and `timeline` of its query."""
    seconds, notes, numbers = zip(*rows, strict=True)
    times = pa.array([second * 10**9 for second in seconds], pa.timestamp("ns"))
    events = pa.table({"ts": times, "note": pa.array(notes, pa.string()), "n": numbers})
    with tempfile.TemporaryDirectory() as folder, vastlab.connect(f"{folder}/my.db") as vast:
        vast.ingest(events, schema="my.events")
        tables = vast.query(limit=0).to_arrow()
        for field in ("note", "n"):
            top = vast.top(field, n=0)
            expected = dict(zip(top[field].astype(str), top["events"], strict=True))
            assert tally(tables, field, 100).counts == expected
        drawn = histogram(tables)
        line = vast.timeline(every=dt.timedelta(microseconds=drawn.width // 1000))
    found = {at: n for at, n in zip(drawn.edges, drawn.series["my.events"], strict=True) if n}
    assert found == dict(zip(line["time"].dt.tz_localize(None).array, line["events"], strict=True))


@pytest.mark.parametrize("largest", [7, 2**61, 2**63 - 1])
def test_a_sum_is_exact_whatever_the_largest_value(tmp_path, largest):
    """Files of small numbers are added in another way than those of large ones."""
    with vastlab.connect(str(tmp_path / "some.db")) as vast:
        for numbers in ([1, 2, -3], [largest, largest, -largest, largest], [None]):
            vast.ingest(pa.table({"n": pa.array(numbers, pa.int64())}), schema="my.numbers")
        found = vast.summarize(total="sum(n)", mean="mean(n)")
        assert int(found["total"][0]) == 2 * largest
        assert found["mean"][0] == pytest.approx(2 * largest / 7)


def test_fields_that_are_null_in_one_log_are_aggregated_over_the_others(tmp_path):
    """A log of JSON may have no value of a field; that is no reason for an error."""
    (tmp_path / "a.json").write_text('{"n": 3, "k": "x"}\n{"n": 4, "k": "x"}\n')
    (tmp_path / "b.json").write_text('{"n": null, "k": "x", "other": 1}\n')
    with vastlab.connect(tmp_path) as vast:
        found = vast.summarize(by="k", total="sum(n)", most="max(n)", known="count(n)")
        assert found.to_dict("list") == {"k": ["x"], "total": [7], "most": [4], "known": [2]}
        nothing = vast.summarize("other == 1", known="count(n)", total="sum(n)")
        assert nothing["known"].tolist() == [0]
        assert nothing["total"].isna().all()


@pytest.mark.parametrize(
    "named, message",
    [
        ({"field": 3}, "field must be a text, got int"),
        ({"field": "resp_p", "by": "nosuch"}, "by must be an aggregate, got 'nosuch'"),
        ({"field": "resp_p", "by": None}, "by must be an aggregate, got None"),
        ({"field": "resp_p", "n": -1}, "n must not be negative"),
    ],
)
def test_what_top_cannot_rank_is_named(named, message):
    """By the name of the argument."""
    with vastlab.connect("demo:") as vast, pytest.raises(UsageError, match=message):
        vast.top(**named)


def test_a_frame_says_what_it_does_not_show():
    """Groups beyond the limit, and schemas without the field; hostile names are escaped."""
    frame = GroupFrame({"host": ["a"]})
    frame.attrs = {"other_groups": 2, "left_out": {"x": "<b>", "y": "<b>", "\x1b[2J": "q"}}
    text, page = repr(frame), frame._repr_html_()
    assert text.splitlines()[2:] == [
        "2 more groups: limit=0 returns all",
        "left out, without <b>: x, y",
        "left out, without q: \\x1b[2J",
    ]
    assert "left out, without &lt;b&gt;: x, y" in page
    assert "\x1b" not in page + text
    assert "left out" not in repr(pd.concat([frame, frame]))
