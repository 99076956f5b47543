"""What has arrived, and whether the limit ended it."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.display.conftest import conn
from vastlab import _call
from vastlab._call import Arrived
from vastlab.errors import CorruptFileError, NodeTimeoutError
from vastlab.nodes.base import Step
from vastlab.table_slice import TableSlice

SIZES = st.lists(st.integers(1, 4), max_size=5)


def part(rows: int) -> TableSlice:
    (batch,) = conn(list(range(rows))).to_batches()
    return TableSlice(batch)


def stream(sizes, end=None):
    """Make slices of these sizes, and then do what `end` does."""

    async def parts():
        for size in sizes:
            yield part(size)
        if end is not None:
            await end()

    return parts


@given(SIZES, st.integers(0, 20))
async def test_the_limit_is_exact_where_more_events_follow(sizes, limit):
    """As many events as the limit are kept, and `limited` says whether there were more."""
    arrived = Arrived(limit)
    await arrived.take(stream(sizes), look=True)
    total = sum(sizes)
    assert arrived.events == (min(total, limit) if limit else total)
    assert arrived.limited == (0 < limit < total)
    tables = await arrived.tables()
    assert sum(table.num_rows for found in tables.values() for table in found) == arrived.events


@given(SIZES, st.integers(1, 20))
async def test_an_answer_that_ends_at_the_limit_was_ended_by_it(sizes, limit):
    """Where no look ahead is possible, a full answer may be incomplete."""
    arrived = Arrived(limit)
    await arrived.take(stream(sizes))
    assert arrived.limited == (limit <= sum(sizes))


async def forever() -> None:
    await asyncio.Event().wait()


async def late() -> None:
    raise NodeTimeoutError("no complete answer within 1 s")


async def damaged() -> None:
    raise CorruptFileError("a later file is damaged")


@pytest.mark.parametrize("end", [forever, late, damaged])
async def test_looking_further_costs_nothing_that_was_asked_for(end, monkeypatch):
    """Where the look takes too long or fails, the answer stands and the limit has ended it."""
    monkeypatch.setattr(_call, "_LOOK_AHEAD", 0.01)
    arrived = Arrived(3)
    await arrived.take(stream([3], end), look=True)
    assert (arrived.events, arrived.limited) == (3, True)


async def test_a_failure_before_the_limit_is_one():
    """What fails before enough has come fails the call, and what came is kept."""
    arrived = Arrived(4)
    with pytest.raises(CorruptFileError):
        await arrived.take(stream([3], damaged), look=True)
    assert (arrived.events, arrived.limited) == (3, False)


async def test_only_kept_events_count():
    """Slices of which nothing is kept fill no limit, and are no more of the same."""

    def big(each: TableSlice) -> TableSlice | None:
        return each if each.num_rows > 1 else None

    arrived = Arrived(2, big)
    await arrived.take(stream([1, 2, 1]), look=True)
    assert (arrived.events, arrived.limited) == (2, False)
    arrived = Arrived(2, big)
    await arrived.take(stream([1, 2, 1, 3]), look=True)
    assert (arrived.events, arrived.limited) == (2, True)


@given(SIZES, st.integers(1, 6))
async def test_a_limit_for_each_schema_is_exact(sizes, limit):
    """Each schema has its share, however their slices are mixed."""
    names = ("zeek.conn", "zeek.dns")

    async def parts():
        for number, size in enumerate(sizes):
            (batch,) = conn(list(range(size)), name=names[number % 2]).to_batches()
            yield TableSlice(batch)

    arrived = Arrived(limit, per_schema=True)
    await arrived.take(parts, look=True)
    tables = await arrived.tables()
    totals = {name: sum(sizes[i::2]) for i, name in enumerate(names)}
    assert {name: sum(map(len, found)) for name, found in tables.items()} == {
        name: min(total, limit) for name, total in totals.items() if total
    }
    assert arrived.limited == any(total > limit for total in totals.values())
    assert arrived.left_out == ()


async def test_other_schemas_are_counted_where_the_limit_ended_the_answer():
    """They are asked for without those that have arrived, and only then."""
    asked = []

    async def others(seen, seconds):
        assert 0 <= seconds <= _call._LOOK_AHEAD
        asked.append(seen)
        return {"zeek.dns": 7}

    arrived = Arrived(2)
    await arrived.take(stream([2, 1]), look=True, others=others)
    assert (arrived.left_out, asked) == ((("zeek.dns", 7),), [("zeek.conn",)])
    arrived = Arrived(3)
    await arrived.take(stream([2, 1]), look=True, others=others)
    assert (arrived.left_out, len(asked)) == ((), 1)
    arrived = Arrived(2)
    await arrived.take(stream([3]))
    assert arrived.left_out is None


async def test_the_share_is_that_of_the_limit():
    """With a limit the line has a bar, without one only a number."""
    for limit, share in ((10, 0.3), (0, None), (2, 1.0)):
        arrived = Arrived(limit)
        await arrived.take(stream([3]))
        assert arrived.step() == Step("", 3 if limit != 2 else 2, share)


async def test_tables_keep_their_schema():
    """What arrived comes out by schema name."""
    arrived = Arrived(0)
    await arrived.take(stream([2, 2]))
    (table,) = (await arrived.tables())["zeek.conn"]
    assert isinstance(table, pa.Table)
    assert table.num_rows == 4
