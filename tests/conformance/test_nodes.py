"""What every node promises, asked of each in turn."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from vastlab.errors import ExpressionSyntaxError, NodeTimeoutError, UsageError, VastlabWarning

CONN = {"C0", "C1", "C2", "C3"}
DNS = {"D0", "D2", "D9"}


async def found(stream):
    """Name the events: uids of connections as they are, those of lookups with a D."""
    answer = []
    async for part in stream:
        uids = part.to_pyarrow().column("uid").to_pylist()
        answer += uids if part.name == "zeek.conn" else [f"D{uid[1:]}" for uid in uids]
    return answer


EXPRESSIONS = {
    "": CONN | DNS,
    # fields, suffixes, qualified names
    "id.resp_p == 80": {"C0"},
    "resp_p == 80": {"C0"},
    "resp_p != 80": {"C1", "C2", "C3"},
    'zeek.conn.uid == "C0"': {"C0"},
    "conn.id.resp_p >= 80": {"C0", "C1"},
    'uid == "C0"': {"C0", "D0"},
    "no_such_field == 1": set(),
    "no_such_field != 1": set(),
    # types and aliases
    ":ip == 10.0.0.1": {"C0", "C2", "C3"},
    ":ip in 192.168.0.0/16": {"C0", "C1"},
    ":ip !in 10.0.0.0/8": set(),
    ":port == 0": {"C3"},
    ":timestamp < 2009-11-18T01:00": {"C0", "D0"},
    ":subnet == 10.1.0.0/16": {"C2"},
    "10.0.0.2": {"C1"},
    # meta
    '#type == "zeek.dns"': DNS,
    '#type != "zeek.dns"': CONN,
    "#type == /zeek.*/": CONN | DNS,
    "#import_time > 2020-01-01": CONN | DNS,
    # nulls
    "duration == null": {"C2"},
    "duration != null": {"C0", "C1", "C3"},
    "orig_bytes != 10": {"C1", "C3"},
    # numbers compare by value
    "orig_bytes > 1k": {"C1", "C3"},
    "orig_bytes == 9223372036854775808": {"C3"},
    "delta == 5": {"D9"},
    "delta < 0": {"D0"},
    "delta < 0.5": {"D0", "D2"},
    "score > 1": {"D0"},
    "score == 1.5": {"D0"},
    # times and durations
    "duration > 1s": {"C1", "C3"},
    "rtt < 0s": {"D9"},
    "ts >= 2009-11-18T03:00": {"C3", "D9"},
    # strings and patterns
    'query == "EXAMPLE.net"': {"D2"},
    "query == /.*\\.example\\..*/": {"D0"},
    '"example" in query': {"D0"},
    'query ni "example"': {"D0"},
    # bools and enums
    "local == true": {"C0", "C3"},
    'proto == "udp"': {"C2"},
    'proto in ["udp", "icmp"]': {"C2", "C3"},
    # lists
    "10.0.0.8 in answers": {"D0"},
    'tags ni "b"': {"C3"},
    "resp_p in [53, 443]": {"C1", "C2"},
    "resp_p !in [53, 443]": {"C0", "C3"},
    "orig_h in [10.0.0.2, 172.16.0.0/12]": {"C1", "C3"},
    # connectives
    'resp_p == 80 || proto == "icmp"': {"C0", "C3"},
    'resp_p == 80 && proto == "icmp"': set(),
    '! (resp_p == 80 || proto == "icmp")': {"C1", "C2"},
    "orig_h == 10.0.0.1 or resp_h == 10.0.0.1": {"C0", "C2", "C3"},
    'query == "EXAMPLE.net" || resp_p == 80': {"D2", "C0"},
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
async def test_an_expression_finds_the_same_events_everywhere(behind, expression):
    """Export and count agree with the expected events."""
    expected = EXPRESSIONS[expression]
    assert sorted(await found(behind.vast.export(expression))) == sorted(expected)
    assert await behind.vast.count(expression) == len(expected)


async def test_counts_are_by_schema(behind):
    """Schemas without a hit are left out."""
    assert await behind.vast.counts() == {"zeek.conn": 4, "zeek.dns": 3}
    assert await behind.vast.counts("resp_p == 80") == {"zeek.conn": 1}


async def test_events_keep_their_values_types_and_metadata(behind):
    """A batch comes back as it went in."""
    parts = [part.to_pyarrow() async for part in behind.vast.export(limit=0)]
    assert len(parts) == 2
    for answer, original in zip(parts, (behind.conn, behind.dns), strict=True):
        assert answer.schema.equals(original.schema, check_metadata=True)
        assert str(answer.to_pylist()) == str(original.to_pylist())


async def test_schemas_describe_the_events(behind):
    """Names and types are those of the events."""
    schemas = await behind.vast.schemas()
    assert set(schemas) == {"zeek.conn", "zeek.dns"}
    leaves = {leaf.name: str(leaf.type) for leaf in schemas["zeek.conn"].leaves}
    assert leaves["id.orig_h"] == "ip"
    assert leaves["ts"] == "timestamp"
    assert leaves["id.resp_p"] == "port"


@pytest.mark.parametrize("limit", [1, 4, 5, 7, 8])
async def test_a_limit_is_exact_and_repeats_itself(behind, limit):
    """The first events in the order of the export are returned."""
    behind.needs("order")
    whole = await found(behind.vast.export(limit=0))
    assert await found(behind.vast.export(limit=limit)) == whole[:limit]


async def test_an_export_is_in_order(behind):
    """Schemas by name, events by time."""
    behind.needs("order")
    assert await found(behind.vast.export()) == ["C0", "C1", "C2", "C3", "D0", "D2", "D9"]


async def test_bounds_are_half_open(behind, moment):
    """`since` is inside, `until` is not."""
    bounds = {"since": moment(1), "until": moment(3)}
    assert sorted(await found(behind.vast.export(**bounds))) == ["C1", "C2", "D2"]
    assert await behind.vast.counts(**bounds) == {"zeek.conn": 2, "zeek.dns": 1}


async def test_continuous_gives_what_arrives(behind):
    """Stored events are left out; the export ends at its limit."""
    stream = behind.vast.export("resp_p == 80", "continuous", 3)
    waiting = asyncio.ensure_future(found(stream))
    await behind.listens()
    behind.add(behind.conn_at(5, "C5", "C6"))
    behind.add(behind.conn_at(6, "C7", "C8"))
    assert await waiting == ["C5", "C6", "C7"]


async def test_unified_gives_everything_once(behind):
    """First what is stored, then what arrives."""
    answer = []
    async with aclosing(behind.vast.export("resp_p == 80", "unified", 3)) as stream:
        async for part in stream:
            answer += part.to_pyarrow().column("uid").to_pylist()
            if len(answer) == 1:
                behind.add(behind.conn_at(5, "C5", "C6"))
    assert answer == ["C0", "C5", "C6"]


async def test_a_timeout_ends_an_export(behind):
    """Waiting for events that never come ends with an error."""
    with pytest.raises(NodeTimeoutError):
        await found(behind.vast.export("", "continuous", timeout=0.05))


async def test_bad_arguments_are_usage_errors(behind):
    """Limit, mode and expression are looked at before the node is."""
    with pytest.raises(UsageError):
        behind.vast.export(limit=-1)
    with pytest.raises(UsageError):
        behind.vast.export(mode="later")
    with pytest.raises(ExpressionSyntaxError):
        behind.vast.export("resp_p ==")


async def test_an_unknown_name_is_a_warning(behind):
    """Nothing is found, and something is said."""
    with pytest.warns(VastlabWarning, match="resp_q"):
        assert await behind.vast.count("resp_q == 80") == 0


async def test_status_has_the_keys_of_vast(behind):
    """Version, system and catalogue are there, with what the node holds."""
    status = await behind.vast.status()
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
    behind.needs("own status")
    assert "vastlab" in status["version"]
    assert conn["event-time"]["min"] == "2009-11-18T00:00:00"


async def test_an_explanation_names_each_schema(behind):
    """What binds is shown as it is bound."""
    conn, dns = (await behind.vast.explain("resp_p == 80")).layouts
    assert conn.schema == "zeek.conn"
    assert dns.bound is None
    assert "id.resp_p == 80" in conn.bound


async def test_an_empty_answer_is_counted(behind):
    """Nothing found is 0, not an error."""
    assert await behind.vast.count("resp_p == 81") == 0
    assert await behind.vast.counts("resp_p == 81") == {}


@pytest.mark.parametrize("mode", ["historical", "unified"])
async def test_an_export_that_is_left_is_over(behind, mode):
    """Leaving the loop, or cancelling it, leaves nothing that runs."""
    async for part in behind.vast.export("", mode, 0):
        assert part.num_rows
        break
    following = asyncio.ensure_future(found(behind.vast.export("", "continuous", 0)))
    await behind.listens()
    following.cancel()
    await asyncio.wait([following])
    assert following.cancelled()
    assert await behind.vast.count() == 7


async def test_events_can_be_ingested(behind, tmp_path):
    """What is ingested is found at once."""
    behind.needs("ingest")
    path = tmp_path / "more.json"
    path.write_text('{"port": 80}\n{"port": 443}\n')
    report = await behind.vast.ingest(path, schema="more")
    assert report.events == {"more": 2}
    assert await behind.vast.counts("port == 443") == {"more": 1}
