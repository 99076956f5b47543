"""Partial results can be merged, and give what the whole gives."""

from __future__ import annotations

import ipaddress

import datafusion
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab import group_frames as frames
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.compile import groups as grouping
from vastlab.compile.groups import Groups
from vastlab.errors import UsageError
from vastlab.expression.aggregates import Summary
from vastlab.expression.taxonomy import Concept, Taxonomy
from vastlab.readers.text_columns import from_text
from vastlab.types import Field, Kind, Schema, Type

CONTEXT = datafusion.SessionContext()


def batch(name="x", **columns):
    """Return events of a schema."""
    events = pa.record_batch(columns)
    return events.replace_schema_metadata({"VAST:name:0": name})


def summarized(*batches, by=(), every=None, taxonomy=None, **aggregates):
    """Group batches, each as a partial result of its own."""
    summary = Summary.parse(by, every, aggregates)
    groups = Groups(summary, taxonomy)
    for events in batches:
        plain = convert.normalise(events)
        schema = arrow_schema.from_arrow(plain.schema)
        found = groups.grouping(schema, schema)
        if found is not None:
            flat = convert.flatten(plain)
            groups.add(schema, found.partial(CONTEXT.read_batch(flat)))
    return frames.to_frame(groups, summary, None, 0)


def addresses(*texts):
    """Return addresses as vastlab stores them."""
    type_ = arrow_schema.type_to_arrow(Type(Kind.IP))
    packed = [
        None if text is None else ipaddress.IPv6Address("::ffff:" + text).packed for text in texts
    ]
    return pa.ExtensionArray.from_storage(type_, pa.array(packed, pa.binary(16)))


ALL = {
    "events": "count()",
    "known": "count(n)",
    "total": "sum(n)",
    "mean": "mean(n)",
    "least": "min(n)",
    "most": "max(n)",
    "different": "count_distinct(n)",
    "values": "distinct(n)",
}


@given(st.dictionaries(st.text("abc", max_size=3), st.none() | st.integers(-9, 9), min_size=1))
def test_a_time_belongs_to_its_group(times):
    """Aggregates of times stand in the rows of their groups, whatever their order."""
    events = batch(k=list(times), t=pa.array(list(times.values()), pa.timestamp("ns")))
    found = summarized(events, by="k", first="min(t)", all="distinct(t)").set_index("k")
    for key, time in times.items():
        moments = [] if time is None else [pd.Timestamp(time, tz="UTC")]
        assert found.loc[key, "all"] == moments
        assert [each for each in [found.loc[key, "first"]] if each is not pd.NaT] == moments


@pytest.mark.parametrize("type_", [pa.int64(), pa.uint64(), pa.float64()])
def test_numbers(type_):
    """Null is no value; the groups of two batches are one."""
    parts = [
        batch(k=["a", "a", "b"], n=pa.array([1, 5, None], type_)),
        batch(k=["a", None], n=pa.array([5, 7], type_)),
    ]
    found = summarized(*parts, by="k", **ALL).set_index("k")
    assert found.loc["a"].tolist() == [3, 3, 11, 11 / 3, 1, 5, 2, [1, 5]]
    assert found.loc["b"][["events", "known", "different", "values"]].tolist() == [1, 0, 0, []]
    assert found.loc["b"][["total", "mean", "least", "most"]].isna().all()
    assert found[found.index.isna()]["total"].tolist() == [7]


def test_sums_do_not_overflow():
    """A sum beyond 64 bits is an exact integer."""
    signed = summarized(batch(n=[2**62, 2**62]), s="sum(n)")
    assert signed["s"].tolist() == [2**63]
    large = summarized(batch(n=pa.array([2**64 - 1, 2**64 - 1], pa.uint64())), s="sum(n)")
    assert large["s"].tolist() == [2**65 - 2]
    negative = summarized(batch(n=[-(2**62), -(2**62), -1]), s="sum(n)", m="mean(n)")
    assert negative["s"].tolist() == [-(2**63) - 1]
    assert negative["m"].tolist() == [(-(2**63) - 1) / 3]


def test_nan_is_no_value():
    """Neither a sum nor a maximum is NaN because of one event."""
    found = summarized(batch(n=[1.0, np.nan]), s="sum(n)", m="max(n)", c="count(n)")
    assert found.to_numpy().tolist() == [[1.0, 1.0, 1]]


def test_spans_and_times():
    """Durations have sums and means; times have a first and a last."""
    events = batch(
        d=pa.array([1, 2, None], pa.duration("ns")), t=pa.array([5, 3, 4], pa.timestamp("ns"))
    )
    found = summarized(events, s="sum(d)", m="mean(d)", d="max(d)", first="min(t)", last="max(t)")
    assert [value.value for value in found.iloc[0]] == [3, 2, 2, 3, 5]
    with pytest.raises(UsageError, match="a sum of durations is too large"):
        summarized(batch(d=pa.array([2**62] * 3, pa.duration("ns"))), s="sum(d)")


def test_booleans():
    """Any and all look at the events that have a value."""
    found = summarized(
        batch(k=list("aabc"), b=[True, False, None, True]), by="k", x="any(b)", y="all(b)"
    )
    assert {row.k: (row.x, row.y) for row in found.iloc[:2].itertuples()} == {
        "a": (True, False),
        "c": (True, True),
    }


def test_addresses_are_keys_and_values():
    """They stay addresses, in their order."""
    events = batch(
        a=addresses("10.0.0.2", "9.0.0.1", None), b=addresses("1.1.1.1", "2.2.2.2", None)
    )
    found = summarized(events, by="a", x="max(b)", y="distinct(b)", z="count_distinct(b)")
    assert found["a"].tolist()[:2] == ["9.0.0.1", "10.0.0.2"] or found["a"].isna().any()
    by_key = {row.a: (row.x, row.y, row.z) for row in found.itertuples() if isinstance(row.a, str)}
    assert by_key == {
        "10.0.0.2": ("1.1.1.1", ["1.1.1.1"], 1),
        "9.0.0.1": ("2.2.2.2", ["2.2.2.2"], 1),
    }


def test_labels_and_networks_are_text():
    """The engine cannot compare them, so that they are grouped by their text."""
    labels = Type(Kind.ENUM, labels=(("tcp", 0), ("udp", 1)))
    schema = Schema("x", (Field("e", labels), Field("n", Type(Kind.SUBNET))))
    networks = from_text(pa.array(["10.0.0.0/8", "10.0.0.0/8", None]), Kind.SUBNET)
    events = pa.record_batch({"e": ["tcp", "udp", "tcp"], "n": networks})
    typed = convert.nest(events, schema)
    found = summarized(typed, by="e", x="distinct(n)", y="count_distinct(e)")
    assert {row.e: (row.x, row.y) for row in found.itertuples()} == {
        "tcp": (["10.0.0.0/8"], 1),
        "udp": (["10.0.0.0/8"], 1),
    }
    assert summarized(typed, by="n")["n"].tolist()[0] == "10.0.0.0/8"
    assert summarized(typed, x="count(e)", y="count(n)").to_numpy().tolist() == [[3, 2]]


def test_buckets_begin_before_1970_too():
    """A time is in the bucket that began last before it."""
    schema = Schema(
        "x", (Field("ts", Type(Kind.TIME, ("timestamp",))), Field("n", Type(Kind.INT64)))
    )
    events = convert.nest(
        pa.record_batch(
            {"ts": pa.array([-1, 1, 10**9, None], pa.timestamp("ns")), "n": [1, 2, 3, 4]}
        ),
        schema,
    )
    found = summarized(events, every="1s", s="sum(n)")
    assert [time.value for time in found["time"][:3]] == [-(10**9), 0, 10**9]
    assert found["time"].isna().tolist() == [False, False, False, True]
    assert found["s"].tolist() == [1, 2, 3, 4]


def test_a_concept_joins_fields_and_schemas():
    """The first field that has a value is the key; a schema without any is left out."""
    taxonomy = Taxonomy({"who": Concept("who", fields=("x.a", "x.b", "y.c"))})
    found = summarized(
        batch("x", a=["p", None], b=["q", "q"]), batch("y", c=["p"]), batch("z", d=["p"]),
        by="who", taxonomy=taxonomy, first="min(who)",
    )  # fmt: skip
    assert found.to_numpy().tolist() == [["q", "q"], ["p", "p"]]
    assert found.attrs["left_out"] == {"z": "who"}


def test_layouts_of_different_types_are_joined():
    """Integers stay whole, numbers become doubles, all else becomes text."""
    small, large = batch("x", n=[1]), batch("y", n=pa.array([2], pa.uint64()))
    fraction, text = batch("z", n=[2.5]), batch("t", n=["1"])
    both = summarized(small, large, m="max(n)", s="sum(n)", v="distinct(n)", c="count(n)")
    assert both.to_numpy().tolist() == [[2, 3, [1, 2], 2]]
    three = summarized(small, large, fraction, m="max(n)", s="sum(n)", v="distinct(n)", a="mean(n)")
    assert three.to_numpy().tolist() == [[2.5, 5.5, [1.0, 2.0, 2.5], 5.5 / 3]]
    four = summarized(small, fraction, text, by="n", v="count_distinct(n)", c="count(n)")
    assert sorted(four["n"]) == ["1", "2.5"]
    assert four["c"].tolist() == [2, 1]
    with pytest.raises(UsageError, match="m: the values cannot be compared, they are"):
        summarized(small, text, m="max(n)")


def test_numbers_beyond_doubles_are_joined_exactly():
    """Signed and unsigned ones stay whole; beside fractions they are an error."""
    small, large = (
        batch("x", n=[1, -5]),
        batch("y", n=pa.array([2**53 + 1, 2**64 - 1], pa.uint64())),
    )
    found = summarized(small, large, m="max(n)", v="distinct(n)")
    assert found.to_numpy().tolist() == [[2**64 - 1, [-5, 1, 2**53 + 1, 2**64 - 1]]]
    assert sorted(summarized(small, large, by="n")["n"]) == [-5, 1, 2**53 + 1, 2**64 - 1]
    with pytest.raises(UsageError, match=r"whole numbers beyond 2\^53 and fractions"):
        summarized(batch("x", n=[2**53 + 1]), batch("y", n=[0.5]), by="n")


def test_names_of_types_do_not_matter():
    """A port of one schema is a number of another, a timestamp is a time."""
    port = Schema(
        "x", (Field("p", Type(Kind.UINT64, ("port",))), Field("t", Type(Kind.TIME, ("timestamp",))))
    )
    events = pa.record_batch(
        {"p": pa.array([1], pa.uint64()), "t": pa.array([5], pa.timestamp("ns"))}
    )
    other = batch("y", p=pa.array([1], pa.uint64()), t=pa.array([3], pa.timestamp("ns")))
    found = summarized(convert.nest(events, port), other, by="p", t="min(t)", d="distinct(t)")
    assert [found["p"].tolist(), found["t"][0].value, len(found["d"][0])] == [[1], 3, 2]


def test_a_field_that_one_schema_lacks_is_null_there():
    """Only fields to group by must be there."""
    both = batch("x", k=["a"], n=[1]), batch("y", k=["b"])
    found = summarized(*both, by="k", s="sum(n)", c="count(n)")
    assert found["k"].tolist() == ["a", "b"]
    assert found["c"].tolist() == [1, 0]
    functions = {"d": "count_distinct(n)", "l": "distinct(n)", "m": "min(n)", "x": "mean(n)"}
    only = summarized(batch("y", k=["b"]), by="k", s="sum(n)", c="count(n)", **functions)
    assert only["d"].tolist() == [0]
    assert only["l"].tolist() == [[]]
    assert only[["s", "m", "x"]].isna().all(axis=None)


def test_no_events_are_no_groups():
    """All events are one group even where there are none."""
    assert summarized(by="k").columns.tolist() == ["k", "events"]
    assert summarized(every="1h").columns.tolist() == ["time", "events"]
    assert summarized()["events"].tolist() == [0]
    assert len(summarized(batch(k=pa.array([], pa.string())), by="k")) == 0
    left_out = summarized(batch("x", n=[1]), by="k")
    assert (len(left_out), left_out.attrs["left_out"]) == (0, {"x": "k"})
    assert summarized(batch("x", n=[1]), every="1h").attrs["left_out"] == {"x": "the event time"}


@pytest.mark.parametrize(
    "by, aggregate, message",
    [
        ("l", "count()", "by cannot be l, which is a list"),
        ((), "sum(s)", r"a: sum\(\) takes no string, which s is in x"),
        ((), "any(n)", r"a: any\(\) takes no int64"),
        ((), "distinct(l)", r"a: distinct\(\) takes no list"),
    ],
)
def test_what_cannot_be_grouped_is_an_error(by, aggregate, message):
    """It names the field, its type and the schema."""
    with pytest.raises(UsageError, match=message):
        summarized(batch("x", l=[[1]], s=["a"], n=[1]), by=by, a=aggregate)


def test_the_schema_is_a_key():
    """It has no column in the files."""
    found = summarized(batch("x", n=[1, 2]), batch("y", n=[1]), by="#type")
    assert found.to_numpy().tolist() == [["x", 2], ["y", 1]]


def test_names_with_quotes_are_names():
    """No name is read as SQL."""
    assert summarized(batch(**{'a"b': ["x", "x"]}), by='`a"b`')["events"].tolist() == [2]


def test_too_many_groups_are_one_clear_line(monkeypatch):
    """Groups count, and different values too; what is merged in time does not."""
    monkeypatch.setattr(grouping, "MAX_GROUPS", 10)
    monkeypatch.setattr(grouping, "_MERGED_ROWS", 5)
    same = [batch(n=[1, 2, 3])] * 9
    assert len(summarized(*same, by="n")) == 3
    with pytest.raises(UsageError, match="there are more than 10 groups or different values"):
        summarized(batch(n=list(range(11))), by="n")
    with pytest.raises(UsageError, match="more than 10 groups"):
        summarized(batch(n=list(range(11))), d="distinct(n)")
    with pytest.raises(UsageError, match="more than 10 groups"):
        summarized(batch("x", n=list(range(8))), batch("y", n=list(range(8, 16))), by="n")


def test_large_results_are_merged_on_the_way(monkeypatch):
    """What waits to be merged stays small."""
    monkeypatch.setattr(grouping, "_MERGED_ROWS", 4)
    parts = [batch(n=list(range(i, i + 4))) for i in range(20)]
    found = summarized(*parts, by="n")
    assert found["events"].sum() == 80


@given(
    parts=st.lists(
        st.lists(st.none() | st.integers(-(2**50), 2**50), min_size=1, max_size=8), max_size=4
    ),
    unsigned=st.booleans(),
    data=st.data(),
)
def test_small_sums_are_added_at_once_and_are_the_same(parts, unsigned, data):
    """Whatever parts are known to be small, also where their total is not."""
    type_ = pa.uint64() if unsigned else pa.int64()
    numbers = [[n if n is None or not unsigned else abs(n) for n in part] for part in parts]
    summary = Summary.parse("k", None, {"total": "sum(n)", "mean": "mean(n)", "events": "count()"})
    groups = Groups(summary, None)
    keyed: dict[int, list[int]] = {}
    for part in numbers:
        keys = data.draw(st.lists(st.integers(0, 2), min_size=len(part), max_size=len(part)))
        for key, number in zip(keys, part, strict=True):
            keyed.setdefault(key, []).extend([] if number is None else [number])
        events = batch(k=pa.array(keys), n=pa.array(part, type_))
        schema = arrow_schema.from_arrow(events.schema)
        known = [number for number in part if number is not None]
        bounds = {"n": (min(known), max(known))} if known and data.draw(st.booleans()) else {}
        frame = CONTEXT.read_batch(events)
        groups.add(schema, groups.grouping(schema, schema).partial(frame, bounds, len(part)))
    found = frames.to_frame(groups, summary, None, 0)
    totals = {
        key: None if pd.isna(total) else int(total)
        for key, total in zip(found["k"], found["total"], strict=True)
    }
    assert totals == {key: sum(values) if values else None for key, values in keyed.items()}
    means = dict(zip(found["k"], found["mean"], strict=True))
    for key, values in keyed.items():
        expected = sum(values) / len(values) if values else float("nan")
        assert means[key] == pytest.approx(expected, nan_ok=True)


@given(
    times=st.lists(st.none() | st.integers(0, 2**62), min_size=1, max_size=8),
    every=st.sampled_from(["1s", "7m", "1h", "1d", "7d"]),
)
def test_buckets_of_times_after_1970_need_no_rule_for_those_before(times, every):
    """The bounds of a file only choose the way, and not the buckets."""
    summary = Summary.parse((), every, {})
    events = batch(ts=pa.array(times, pa.timestamp("ns")))
    schema = arrow_schema.from_arrow(events.schema)
    known = [time for time in times if time is not None]
    found = []
    for bounds in ({}, {"ts": (min(known), max(known))} if known else {}):
        groups = Groups(summary, None)
        partial = groups.grouping(schema, schema).partial(CONTEXT.read_batch(events), bounds)
        groups.add(schema, partial)
        found.append(frames.to_frame(groups, summary, None, 0))
    pd.testing.assert_frame_equal(*found)


def test_addresses_are_keys_and_values_as_they_are():
    """Also where an event has none, and a group has none at all."""
    parts = [
        batch(a=addresses("10.0.0.2", None, "10.0.0.2"), b=addresses("9.0.0.1", "8.0.0.1", None)),
        batch(a=addresses("10.0.0.1", "10.0.0.2"), b=addresses(None, "10.0.0.9")),
    ]
    found = summarized(*parts, by="a", events="count()", n="count_distinct(b)", b="distinct(b)")
    rows = {str(row.a): (row.events, row.n, row.b) for row in found.itertuples()}
    assert rows == {
        "10.0.0.2": (3, 2, ["9.0.0.1", "10.0.0.9"]),
        "10.0.0.1": (1, 0, []),
        "nan": (1, 1, ["8.0.0.1"]),
    }
    sliced = batch(a=addresses("1.1.1.1", "2.2.2.2", "3.3.3.3")).slice(1)
    assert summarized(sliced, by="a")["a"].tolist() == ["2.2.2.2", "3.3.3.3"]


@pytest.mark.parametrize("numbers", [["n"], ["n", "m"]])
def test_different_values_beside_other_aggregates(numbers):
    """Of one field they are found by grouping, of several by lists; the rest is the same."""
    events = batch(k=["a", "a", "a", "b"], n=[1, 2, 2, None], m=[5, 5, 5, 6], x=[0.5, 0.5, 1, 2])
    asked = {f"different_{name}": f"count_distinct({name})" for name in numbers}
    found = summarized(
        events,
        by="k",
        total="sum(n)",
        mean="mean(m)",
        least="min(x)",
        most="max(x)",
        halves="sum(x)",
        values="distinct(n)",
        **asked,
    ).set_index("k")
    rest = found.drop(columns=list(asked))
    assert rest.loc["a"].tolist() == [5, 5.0, 0.5, 1.0, 2.0, [1, 2]]
    assert rest.loc["b"].tolist()[1:] == [6.0, 2.0, 2.0, 2.0, []]
    assert found["different_n"].to_dict() == {"a": 2, "b": 0}
    if "m" in numbers:
        assert found["different_m"].to_dict() == {"a": 1, "b": 1}


def test_the_two_zeros_are_one_value():
    """A minus sign makes no other number of zero."""
    found = summarized(batch(x=[0.0, -0.0, 1.0]), n="count_distinct(x)")
    assert found["n"].tolist() == [2]


@pytest.mark.parametrize(
    "asked, bounds, expected",
    [
        ({"s": "sum(n)"}, {"n": (-1, 2**53)}, True),
        ({"s": "sum(n)"}, {"n": (-(2**60), 0)}, False),
        ({"s": "sum(n)"}, {}, False),
        ({"s": "max(n)"}, {}, True),
    ],
)
def test_sums_are_plain_where_they_fit(asked, bounds, expected):
    """And where nothing is known, they may not."""
    schema = arrow_schema.from_arrow(batch(n=[1]).schema)
    found = Groups(Summary.parse((), None, asked), None).grouping(schema, schema)
    assert found.is_plain(bounds, 1000) is expected


@pytest.mark.parametrize("first, expected", [(0, True), (-1, False), (None, False)])
def test_buckets_are_plain_where_all_times_are_recent(first, expected):
    """Files with others are grouped on their own."""
    schema = arrow_schema.from_arrow(batch(ts=pa.array([1], pa.timestamp("ns"))).schema)
    found = Groups(Summary.parse((), "1h", {}), None).grouping(schema, schema)
    assert found.is_plain({} if first is None else {"ts": (first, 5)}, 1000) is expected


@pytest.mark.parametrize("by", ["a", "s", ()])
def test_where_nothing_is_found_there_are_no_groups(by):
    """Neither of addresses nor of networks, which are made of what the engine returns."""
    network = arrow_schema.type_to_arrow(Type(Kind.SUBNET))
    networks = pa.ExtensionArray.from_storage(network, pa.nulls(1, network.storage_type))
    plain = convert.normalise(batch(a=addresses("10.0.0.1"), s=networks))
    schema = arrow_schema.from_arrow(plain.schema)
    summary = Summary.parse(by, None, {"all": "distinct(a)", "nets": "distinct(s)"})
    groups = Groups(summary, None)
    frame = CONTEXT.read_batch(convert.flatten(plain)).filter(datafusion.col("a").is_null())
    groups.add(schema, groups.grouping(schema, schema).partial(frame))
    found = frames.to_frame(groups, summary, None, 0)
    assert found["all"].tolist() == ([] if by else [[]])


def test_groups_of_another_process_are_added_as_one_partial_result():
    """What is merged elsewhere gives what its parts give, and nothing where there is none."""
    summary = Summary.parse("k", None, {"total": "sum(n)"})
    parts = [batch(k=["a", "b"], n=[1, 2]), batch(k=["a"], n=[4])]
    elsewhere, here = Groups(summary, None), Groups(summary, None)
    schema = arrow_schema.from_arrow(convert.normalise(parts[0]).schema)
    for groups in (elsewhere, here):
        groups.grouping(schema, schema)
    assert elsewhere.partial(schema) is None
    for part in parts:
        flat = convert.flatten(convert.normalise(part))
        partial = elsewhere.grouping(schema, schema).partial(CONTEXT.read_batch(flat))
        elsewhere.add(schema, partial)
        assert elsewhere.partial(schema).num_rows == 2
    here.add(schema, elsewhere.partial(schema))
    found = frames.to_frame(here, summary, None, 0)
    assert found.to_dict("list") == {"k": ["a", "b"], "total": [5, 2]}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, 4]),
        pa.array([3, 4], pa.uint64()),
        pa.array([0.5, 1.5]),
        pa.array([True, False]),
        pa.array([1, 2], pa.timestamp("ns")),
        pa.array([1, 2], pa.duration("ns")),
        pa.array(["a", "b"]),
        addresses("10.0.0.1", "10.0.0.2"),
    ],
    ids=lambda values: str(values.type),
)
def test_a_key_that_is_null_throughout_a_layout_has_the_type_of_the_others(values):
    """Such as a field of JSON that one log never has a value for."""
    alone = summarized(batch(k=values), by="k")
    both = summarized(batch(k=values), batch(k=pa.nulls(3), other=[1, 2, 3]), by="k")
    assert both["k"].dtype == alone["k"].dtype
    rows = dict(zip(both["k"].dropna().map(str), both["events"][both["k"].notna()], strict=True))
    assert rows == dict.fromkeys(alone["k"].map(str), 1)
    assert both["events"][both["k"].isna()].tolist() == [3]
