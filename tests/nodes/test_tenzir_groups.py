"""What a Tenzir node is asked for a summary: groups where it can, else events."""

from __future__ import annotations

import asyncio
import datetime as dt

import pyarrow as pa
import pytest

from tests.nodes.test_tenzir import (
    CATALOG,
    EXPORT,
    MARK,
    PARTITION,
    described,
    fake,
    has_ended,
    lines,
)
from vastlab import group_frames
from vastlab.compile import groups as grouping
from vastlab.errors import NodeError, UsageError
from vastlab.expression import parse
from vastlab.expression.aggregates import Summary
from vastlab.nodes.base import Query

__all__ = ["fake"]
GROUPS = "vastlab_" + "e" * 16 + "_"  # the program puts in what the pipeline says
ASKED = "summarize o"
CALL = {"events": "count()", "total": "sum(n)"}


async def summarized(node, by=("who",), every=None, expression="n >= 0", **aggregates):
    asked = Summary.parse(by, every, aggregates or CALL)
    groups = await node.summarize(Query(parse(expression)), asked)
    return group_frames.to_frame(groups, asked, None, 0)


def groups_of(fake, number, who, events, high, low, branch=0):
    """Write groups as the node sends them."""
    columns = {"o0": pa.array(who, pa.string()), "o1": pa.array(events, pa.uint64())}
    columns |= {"o2": pa.array(events, pa.uint64())}
    columns |= {"o3": pa.array(high, pa.int64()), "o4": pa.array(low, pa.int64())}
    return fake.stream(number, f"{GROUPS}{branch}", **columns)


def pipelines(fake):
    return [call["pipeline"] for call in fake.calls if call["pipeline"].startswith("export")]


def shown(frame):
    return {row.who: (row.events, row.total) for row in frame.itertuples()}


async def test_the_node_groups_and_only_groups_come_back(fake):
    """One pipeline groups; partial results of the same group are one row."""
    first = groups_of(fake, 1, ["a", "b"], [5, 1], [1, None], [7, None])
    second = groups_of(fake, 2, ["a"], [2], [-1], [3])
    fake.answer({EXPORT: {"streams": [first, second]}})
    found = shown(await summarized(fake.node()))
    assert found["a"] == (7, 10)
    assert str(found["b"]) == "(1, <NA>)"
    (pipeline,) = pipelines(fake)
    assert 'if @name == "test.things" { this = {i0: who, ' in pipeline
    assert ASKED in pipeline


async def test_events_that_the_catalog_does_not_list_are_grouped_with_the_others(fake):
    """An event of a new layout comes as it is, and counts where it matches."""
    groups = groups_of(fake, 1, ["a"], [5], [0], [7])
    events = fake.stream(2, MARK + "test.things", n=[-1, 4], who=["a", "a"], new=[1, 2])
    fake.answer({EXPORT: {"streams": [groups, events]}})
    assert shown(await summarized(fake.node())) == {"a": (6, 11)}


@pytest.mark.parametrize("by, aggregate", [("who", "max(a)"), ("who", "min(who)"), ("f", "max(n)")])
async def test_what_the_node_computes_otherwise_is_computed_here(fake, by, aggregate):
    """Least texts and addresses, and fractions as keys: the events are exported, as ever."""
    kinds = {"n": "int64", "who": "string", "a": "ip", "f": "double"}
    events = fake.stream(1, n=[1, 1], who=["x", "y"], f=[0.5, 0.5])
    answer = {"stdout": lines(described("test.things", **kinds), PARTITION)}
    fake.answer({CATALOG: answer, EXPORT: {"streams": [events]}})
    found = await summarized(fake.node(), by, m=aggregate, events="count()")
    assert found["events"].sum() == 2
    assert not any(ASKED in pipeline for pipeline in pipelines(fake))


async def test_values_of_other_types_than_the_catalog_says_are_grouped_here(fake):
    """An answer that cannot be read is asked for again, as events."""
    wrong = fake.stream(
        1, GROUPS + "0", o0=pa.array([[1]]), o1=[5], o2=[5], o3=pa.array([0]), o4=pa.array([7])
    )
    events = fake.stream(2, n=[3], who=["a"])
    fake.answer({ASKED: {"streams": [wrong]}, EXPORT: {"streams": [events]}})
    assert shown(await summarized(fake.node())) == {"a": (1, 3)}


async def test_layouts_that_only_types_tell_apart_are_grouped_here(fake):
    """A null has no type, so that the node could not say which layout an event has."""
    both = described("test.two", x="int64"), described("test.two", x="string")
    apart = described("test.apart", x="int64"), described("test.apart", x="int64", y="string")
    partitions = [PARTITION | {"schema": name} for name in ("test.two", "test.apart")]
    fake.answer({CATALOG: {"stdout": lines(*both, *apart, *partitions)}, EXPORT: {}})
    await summarized(fake.node(), "x", expression='#type != "x"')
    (pipeline,) = pipelines(fake)
    assert 'if @name == "test.apart" and not (this.has("y")) {' in pipeline
    assert 'if @name == "test.apart" and (this.has("y")) {' in pipeline
    assert 'if @name == "test.two"' not in pipeline


@pytest.mark.parametrize("events", [0, 3])
async def test_a_schema_is_left_out_where_it_has_events(fake, events):
    """Where a field is missing, the node only counts."""
    answer = fake.stream(1, GROUPS + "0", o0=pa.array([events], pa.uint64()))
    fake.answer({EXPORT: {"streams": [answer]}})
    found = await summarized(fake.node(), "nothing")
    assert len(found) == 0
    assert found.attrs["left_out"] == ({"test.things": "nothing"} if events else {})


@pytest.mark.parametrize("events", [0, 3])
async def test_a_wrong_type_is_an_error_where_there_are_events(fake, events):
    """As when the events are grouped here."""
    answer = fake.stream(1, GROUPS + "0", o0=pa.array([events], pa.uint64()))
    fake.answer({EXPORT: {"streams": [answer]}})
    if not events:
        assert len(await summarized(fake.node(), total="sum(who)")) == 0
        return
    with pytest.raises(UsageError, match="takes no string"):
        await summarized(fake.node(), total="sum(who)")


async def test_buckets_are_computed_by_the_node(fake):
    """The beginning of a bucket comes in nanoseconds."""
    answer = {"stdout": lines(described("test.things", n="int64", ts="time"), PARTITION)}
    hour = 3_600 * 10**9
    groups = fake.stream(1, GROUPS + "0", o0=[hour, 0], o1=[2, 1], o2=[2, 1])
    fake.answer({CATALOG: answer, EXPORT: {"streams": [groups]}})
    found = await summarized(fake.node(), (), "1h", events="count()")
    assert found["time"].tolist() == [
        dt.datetime(1970, 1, 1, hour, tzinfo=dt.UTC) for hour in (0, 1)
    ]
    assert found["events"].tolist() == [1, 2]


async def test_too_many_groups_are_one_error(fake, monkeypatch):
    """And the program that sends them is ended."""
    monkeypatch.setattr(grouping, "MAX_GROUPS", 3)
    who = list(map(str, range(9)))
    groups = groups_of(fake, 1, who, [1] * 9, [0] * 9, [1] * 9)
    fake.answer({EXPORT: {"streams": [groups], "sleep": 60}})
    with pytest.raises(UsageError, match="more than 3 groups"):
        await summarized(fake.node())
    assert all(has_ended(call["pid"]) for call in fake.calls)


@pytest.mark.parametrize(
    "end, message",
    [
        ({"status": 3}, "status 3: the answer is not complete"),
        ({"signal": 9}, "was ended by signal 9"),
        ({"status": 1, "stderr": "error: no memory\n --> <input>:1:1\n"}, "no memory"),
    ],
)
async def test_a_program_that_fails_is_one_error(fake, end, message):
    """Groups that came before make no answer."""
    groups = groups_of(fake, 1, ["a"], [5], [0], [7])
    fake.answer({EXPORT: {"streams": [groups], **end}})
    with pytest.raises(NodeError, match=message) as caught:
        await summarized(fake.node())
    assert "\n" not in str(caught.value)
    assert all(has_ended(call["pid"]) for call in fake.calls)


async def test_groups_that_are_cut_short_are_an_error(fake):
    """A stream that ends in the middle is not an answer."""
    groups = fake.stream(1, GROUPS + "0", cut=-90, o0=["a"], o1=[1], o2=[1], o3=[0], o4=[2])
    fake.answer({EXPORT: {"streams": [groups]}})
    with pytest.raises(NodeError, match="cut short"):
        await summarized(fake.node())


async def test_cancelling_ends_the_program(fake):
    """A summary that nobody waits for computes no more."""
    fake.answer({EXPORT: {"wait_for": str(fake.folder / "never")}})
    task = asyncio.ensure_future(summarized(fake.node()))
    while not (fake.folder / "calls.jsonl").exists() or not pipelines(fake):
        await asyncio.to_thread(fake.folder.stat)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(has_ended(call["pid"]) for call in fake.calls)


@pytest.mark.parametrize("is_same", [True, False])
async def test_the_known_catalog_is_used_until_the_present_one_arrives(fake, is_same):
    """A second summary asks no more; where the catalog has changed, it begins anew."""
    groups = groups_of(fake, 1, ["a"], [5], [0], [7])
    fake.answer({EXPORT: {"streams": [groups]}})
    node = fake.node()
    assert shown(await summarized(node)) == {"a": (5, 7)}
    kinds = {"n": "int64", "who": "string", "a": "ip"} | ({} if is_same else {"new": "ip"})
    answer = {"stdout": lines(described("test.things", **kinds), PARTITION)}
    fake.answer({CATALOG: answer, EXPORT: {"streams": [fake.catalog(answer), groups]}})
    assert shown(await summarized(node)) == {"a": (5, 7)}
    assert len(pipelines(fake)) == (2 if is_same else 3)
    assert sum(call["pipeline"].startswith("schemas") for call in fake.calls) == 1
