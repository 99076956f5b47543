"""Every node returns the newest events first, and a limit for each schema, if it is asked to."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.events import connections
from vastlab.arrow import convert
from vastlab.table_slice import to_json_rows

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

EXPRESSIONS = ("", "resp_p < 100", ":ip in 10.0.0.0/8 || severity == 1", "orig_bytes > 1000")
NEVER = -(2**63)
ORDERS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)


class Exported(dict):
    """What was exported, by kind of node and expression; too much to print."""

    __repr__ = object.__repr__


@pytest.fixture(scope="session")
def exported():
    """Return what was exported before."""
    return Exported()


async def everything(node, exported, expression):
    """Return all events of each schema with their times, in the order of an export."""
    key = node.kind, expression
    if key not in exported:
        exported[key] = await timed(node.client.export(expression, limit=0))
    return exported[key]


async def timed(stream):
    """Return the time and the text of each event, by schema in the order of the answer."""
    found = defaultdict(list)
    async for part in stream:
        column = convert.event_times(part.to_pyarrow())
        count = part.num_rows
        times = [NEVER] * count if column is None else convert.nanoseconds(column, NEVER).tolist()
        texts = [repr(row.data) async for row in to_json_rows(of(part))]
        found[part.name] += zip(times, texts, strict=True)
    return dict(found)


async def of(part):
    """Yield one slice."""
    yield part


def newest(events, count):
    """Return the times of the newest events, which are the whole export reversed and cut."""
    return [time for time, _ in sorted(events, key=lambda event: event[0], reverse=True)][:count]


@ORDERS
@given(
    expression=st.sampled_from(EXPRESSIONS),
    limit=st.sampled_from([0, 1, 2, 7, 100, 1_000]),
    per_schema=st.booleans(),
)
async def test_the_newest_are_the_reverse_of_the_oldest(
    demo, exported, expression, limit, per_schema
):
    """Schema by schema, cut at the limit; no event is invented, and none is given twice."""
    whole = await everything(demo, exported, expression)
    options = {"limit": limit, "order": "newest", "per_schema": per_schema}
    answer = await timed(demo.client.export(expression, **options))
    left = limit or 10**9
    expected = {}
    for name in sorted(whole):
        if left > 0:
            expected[name] = newest(whole[name], left)
            left -= 0 if per_schema else len(expected[name])
    assert {name: [time for time, _ in events] for name, events in answer.items()} == expected
    assert list(answer) == sorted(answer)
    for name, events in answer.items():
        assert Counter(events) <= Counter(whole[name])


@ORDERS
@given(expression=st.sampled_from(EXPRESSIONS), limit=st.sampled_from([1, 3, 100, 1_000]))
async def test_a_limit_for_each_schema_leaves_none_out(demo, exported, expression, limit):
    """Each schema has as many events as it would have alone."""
    whole = await everything(demo, exported, expression)
    answer = await timed(demo.client.export(expression, limit=limit, per_schema=True))
    assert {name: len(events) for name, events in answer.items()} == {
        name: min(limit, len(events)) for name, events in whole.items()
    }
    for name, events in answer.items():
        assert Counter(events) <= Counter(whole[name])


async def test_what_a_limit_left_out_is_counted_where_that_is_quick(seven):
    """Other schemas than those that were seen, and none where a node would have to be asked."""
    query = seven.client.prepare("resp_p < 1000", limit=1)
    is_node = seven.kind in ("vast", "tenzir")
    assert await seven.client.left_out(query, ["zeek.dns"]) == (
        None
        if is_node
        else {"zeek.conn": (await seven.client.counts("resp_p < 1000"))["zeek.conn"]}
    )
    assert await seven.client.left_out(query, ["zeek.dns", "zeek.conn"]) == (
        None if is_node else {}
    )
    each = seven.client.prepare("resp_p < 1000", limit=1, per_schema=True)
    assert await seven.client.left_out(each, ["zeek.dns"]) == {}


async def test_the_newest_of_what_has_just_come_are_there(fresh):
    """Events of a file that is newer, and overlaps with others, are in their place."""
    await fresh.add([connections(2, "C8", "C9")])
    found = await timed(fresh.client.export('#type == "zeek.conn"', limit=0, order="newest"))
    times = [time for time, _ in found["zeek.conn"]]
    assert times == sorted(times, reverse=True)
    assert len(times) == 6
