"""What every node promises beside its answers, asked of each in turn."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from tests.conformance.cases import uids
from tests.conformance.events import connections
from tests.conformance.events import seven as seven_events
from vastlab.errors import ExpressionSyntaxError, NodeTimeoutError, UsageError, VastlabWarning


async def test_counts_are_by_schema(seven):
    """Schemas without a hit are left out."""
    assert await seven.client.counts() == {"zeek.conn": 4, "zeek.dns": 3}
    assert await seven.client.counts("resp_p == 80") == {"zeek.conn": 1}


async def test_events_keep_their_values_types_and_metadata(seven):
    """A batch comes back as it went in."""
    seven.needs("type names")
    parts = [part.to_pyarrow() async for part in seven.client.export(limit=0)]
    assert len(parts) == 2
    for answer, original in zip(parts, seven_events(), strict=True):
        assert answer.schema.equals(original.schema, check_metadata=True)
        assert str(answer.to_pylist()) == str(original.to_pylist())


async def test_schemas_describe_the_events(seven):
    """Names and types are those of the events."""
    seven.needs("type names")
    schemas = await seven.client.schemas()
    assert set(schemas) == {"zeek.conn", "zeek.dns"}
    leaves = {leaf.name: str(leaf.type) for leaf in schemas["zeek.conn"].leaves}
    assert leaves["id.orig_h"] == "ip"
    assert leaves["ts"] == "timestamp"
    assert leaves["id.resp_p"] == "port"


@pytest.mark.parametrize("limit", [1, 4, 5, 7, 8])
async def test_a_limit_is_exact_and_repeats_itself(seven, limit):
    """The first events in the order of the export are returned."""
    seven.needs("order")
    whole = await uids(seven.client.export(limit=0))
    assert await uids(seven.client.export(limit=limit)) == whole[:limit]


async def test_an_export_is_in_order(seven):
    """Schemas by name, events by time."""
    seven.needs("order")
    assert await uids(seven.client.export()) == ["C0", "C1", "C2", "C3", "D0", "D2", "D9"]


async def test_bounds_are_half_open(seven, moment):
    """`since` is inside, `until` is not."""
    bounds = {"since": moment(1), "until": moment(3)}
    assert sorted(await uids(seven.client.export(**bounds))) == ["C1", "C2", "D2"]
    assert await seven.client.counts(**bounds) == {"zeek.conn": 2, "zeek.dns": 1}


async def test_continuous_gives_what_arrives(fresh):
    """Stored events are left out; the export ends at its limit."""
    stream = fresh.client.export("resp_p == 80", "continuous", 3)
    waiting = asyncio.ensure_future(uids(stream))
    await fresh.listens()
    await fresh.add([connections(5, "C5", "C6")])
    await fresh.add([connections(6, "C7", "C8")])
    assert await waiting == ["C5", "C6", "C7"]


async def test_unified_gives_everything_once(fresh):
    """First what is stored, then what arrives."""
    answer = []
    async with aclosing(fresh.client.export("resp_p == 80", "unified", 3)) as stream:
        async for part in stream:
            answer += part.to_pyarrow().column("uid").to_pylist()
            if len(answer) == 1:
                await fresh.add([connections(5, "C5", "C6")])
    assert answer == ["C0", "C5", "C6"]


async def test_a_timeout_ends_an_export(seven):
    """Waiting for events that never come ends with an error."""
    with pytest.raises(NodeTimeoutError):
        await uids(seven.client.export("", "continuous", timeout=0.05))


async def test_bad_arguments_are_usage_errors(seven):
    """Limit, mode and expression are looked at before the node is."""
    with pytest.raises(UsageError):
        seven.client.export(limit=-1)
    with pytest.raises(UsageError):
        seven.client.export(mode="later")
    with pytest.raises(ExpressionSyntaxError):
        seven.client.export("resp_p ==")


async def test_an_unknown_name_is_a_warning(seven):
    """Nothing is found, and there is a warning."""
    with pytest.warns(VastlabWarning, match="resp_q"):
        assert await seven.client.count("resp_q == 80") == 0


async def test_status_has_the_keys_of_vast(seven):
    """Version, system and catalogue are there, with what the node holds."""
    seven.needs("status")
    status = await seven.client.status()
    assert status["version"]
    assert {
        "current-memory-usage",
        "peak-memory-usage",
        "database-path",
        "swap-space-usage",
        "in-memory-table-slices",
    } <= set(status["system"])
    conn = status["catalog"]["schemas"]["zeek.conn"]
    assert conn["num-events"] == 4
    seven.needs("own status")
    assert "vastlab" in status["version"]
    assert conn["event-time"]["min"] == "2009-11-18T00:00:00"


async def test_an_explanation_names_each_schema(seven):
    """What binds is shown as it is bound."""
    conn, dns = (await seven.client.explain("resp_p == 80")).layouts
    assert conn.schema == "zeek.conn"
    assert dns.bound is None
    assert "id.resp_p == 80" in conn.bound


async def test_an_empty_answer_is_counted(seven):
    """Nothing found is 0, not an error."""
    assert await seven.client.count("resp_p == 81") == 0
    assert await seven.client.counts("resp_p == 81") == {}


@pytest.mark.parametrize("mode", ["historical", "unified"])
async def test_an_export_that_is_left_is_over(seven, mode):
    """Leaving the loop, or cancelling it, leaves nothing that runs."""
    async for part in seven.client.export("", mode, 0):
        assert part.num_rows
        break
    following = asyncio.ensure_future(uids(seven.client.export("", "continuous", 0)))
    await seven.listens()
    following.cancel()
    await asyncio.wait([following])
    assert following.cancelled()
    assert await seven.client.count() == 7


async def test_events_can_be_ingested(fresh, tmp_path):
    """What is ingested is found at once."""
    fresh.needs("ingest")
    path = tmp_path / "more.json"
    path.write_text('{"port": 80}\n{"port": 443}\n')
    report = await fresh.client.ingest(path, schema="more")
    assert report.events == {"more": 2}
    assert await fresh.client.counts("port == 443") == {"more": 1}
