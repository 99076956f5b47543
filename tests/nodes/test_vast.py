"""A VAST node through the program `vast`: nothing is lost, executed or left behind."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import threading
import time
from contextlib import aclosing

import pyarrow as pa
import pytest

from tests.nodes.fake_vast import alive, matching
from tests.vast_language import without_additions
from vastlab.compile import vast as compiler
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import (
    ClientNotFoundError,
    FormatError,
    NodeConnectionError,
    NodeError,
    NodeTimeoutError,
)
from vastlab.expression import parse
from vastlab.expression.ast import Constant
from vastlab.expression.taxonomy import Concept, Model, Taxonomy
from vastlab.nodes.base import ExportMode, Query
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.vast import VastNode
from vastlab.nodes.vast import client as module
from vastlab.nodes.vast import node as node_module
from vastlab.nodes.vast.indexes import Answer, Asked
from vastlab.nodes.vast.node import FittingBatches
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

CONTINUOUS, UNIFIED = ExportMode.CONTINUOUS, ExportMode.UNIFIED
SETTINGS = ["--connection-timeout=5s", "--connection-retry-delay=0s", "--console-verbosity=quiet"]
CONN_ADDRESS = pa.field("orig_h", pa.binary(16), metadata={"ARROW:extension:name": "vast.address"})
HOSTILE = [
    'query == "a \\"quoted\\" name"',
    'query == "two\\nlines"',
    "query\n==\n\"x\"",
    'query == "a | b"',
    'query == "-f /etc/passwd"',
    'query == "$(touch {path})"',
    'query == "`touch {path}`"',
    'query == "x\\" | shell \\"touch {path}"',
    'query == /| shell "touch x"/',
    '"--help"',
    '"-n"',
    "-42",
    "n == -42",
    'query == "help"',
    "query == \"\\\\\"",
]  # fmt: skip


@pytest.fixture
def server(server):
    """Run a node; at the end no program runs, and every text was VAST's own."""
    yield server
    server.close()
    assert not [call["pid"] for call in server.calls if alive(call["pid"])]
    with without_additions():
        for text in filter(None, server.queries):
            parse(text)


@pytest.fixture
def make_node(server):
    """Return a function that makes nodes."""
    return functools.partial(VastNode, NodeEndpoint("127.0.0.1", server.port), server.program)


@pytest.fixture
def node(make_node):
    """Return a node that speaks with the server."""
    return make_node()


@pytest.fixture
def filled(server, make_conn, make_dns):
    """Store connections and lookups in turn, so that layouts alternate."""
    server.add(make_conn(range(3)))
    server.add(make_dns(["a.example", "b.example"]))
    server.add(make_conn(range(3, 6)))
    return server


async def total(stream):
    """Count the events of an export."""
    return sum([part.num_rows async for part in stream])


def query(text="", mode=ExportMode.HISTORICAL, limit=0, **bounds):
    """Make a query from a text."""
    return Query(parse(text) if text else Constant(True), mode, limit, **bounds)


def argvs(server, *commands):
    """Return the arguments of the calls behind the settings that all have."""
    calls = [call["argv"] for call in server.calls]
    for argv in calls:
        if argv != ["version"]:
            assert argv[:4] == [f"--endpoint={server.endpoint}", *SETTINGS]
    return [argv[4:] for argv in calls if set(argv) & set(commands)]


# --- what is sent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked, argv",
    [
        (query(), ["export", "arrow"]),
        (query("n < 3", limit=2), ["export", "--max-events=2", "arrow"]),
        (query("n", CONTINUOUS, 1), ["export", "--continuous", "--max-events=1", "arrow"]),
        (query("n", UNIFIED, 1), ["export", "--unified", "--max-events=1", "arrow"]),
    ],
)
async def test_an_export_is_one_call(filled, node, make_conn, asked, argv):
    """Options stand before the format, the expression is one argument behind `where`."""
    stream = asyncio.ensure_future(total(node.export(asked)))
    if asked.mode is CONTINUOUS:
        await asyncio.to_thread(filled.wait_until_listening)
        filled.add(make_conn([1]))
    await stream
    (sent,) = argvs(filled, "export")
    words = sent[len(argv) :]
    assert sent[: len(argv)] == argv
    assert len(words) == (0 if asked == query() else 1)
    assert all(word.startswith("where ") for word in words)


async def test_questions_are_single_calls(filled, node):
    """Status and schemas have their own commands; a count is one export of one field."""
    await node.status()
    await node.schemas()
    await node.counts(query("query"))
    assert argvs(filled, "status") == [["status", "--detailed"], ["status"]]
    assert argvs(filled, "show") == [["show", "schemas"]] * 2
    assert argvs(filled, "export") == [["export", "arrow", "where (query != null) | select ts"]]


@pytest.mark.parametrize("version, words", [("3.1.0", "where n"), ("3.0.4", "n"), ("2.4.2", "n")])
async def test_where_is_for_clients_that_know_pipelines(filled, node, version, words):
    """Before 3.1, the expression stands alone."""
    filled.set_program(version=f'{{"VAST": "v{version}"}}')
    assert await total(node.export(query("n"))) == 6
    assert argvs(filled, "export")[-1][-1] == f"{words} != null"


async def test_a_child_gets_neither_our_input_nor_our_variables(filled, node, monkeypatch):
    """Standard input is empty, and no `VAST_*` variable changes what a call means."""
    monkeypatch.setenv("VAST_EXPORT__MAX_EVENTS", "1")
    monkeypatch.setenv("VAST_ENDPOINT", "127.0.0.1:1")
    reading, writing = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(reading, 0)  # a pipe that stays open: the program would wait for its end
        assert await total(node.export(query())) == 8
        assert await node.counts(query()) == {"zeek.conn": 6, "zeek.dns": 2}
    finally:
        os.dup2(saved, 0)
        for number in (saved, reading, writing):
            os.close(number)
    assert {call["stdin"] for call in filled.calls} == {"null"}
    assert all(call["environment"] == {} for call in filled.calls)


async def test_a_long_expression_is_not_an_argument(filled, node):
    """A text longer than an argument can be is found all the same, also when counted."""
    names = " || ".join(f'query == "{number:0200}"' for number in range(600))
    asked = query(f'{names} || query == "a.example"')
    assert await total(node.export(asked)) == 1
    assert await node.counts(asked) == {"zeek.dns": 1}


@pytest.mark.parametrize("text", HOSTILE)
async def test_nothing_in_an_expression_is_executed(filled, node, tmp_path, text):
    """A text is one argument whatever is in it: no option, operator, pipe or command."""
    path = tmp_path / "touched"
    expr = parse(text.replace("{path}", str(path)))
    assert await total(node.export(Query(expr))) == 0
    assert await node.counts(Query(expr)) == {}
    assert not path.exists()
    assert all(len(argv) == 3 for argv in argvs(filled, "export"))
    assert not argvs(filled, "count")


# --- what comes back ----------------------------------------------------------------------------


async def test_alternating_layouts_arrive_whole(filled, node, make_conn, make_dns):
    """A layout that comes back after another one is another stream; the last has no end mark."""
    parts = [part.to_pyarrow() async for part in node.export(query())]
    expected = [make_conn(range(3)), make_dns(["a.example", "b.example"]), make_conn(range(3, 6))]
    for part, batch in zip(parts, expected, strict=True):
        assert part.equals(batch, check_metadata=True)


async def test_an_empty_node_has_nothing(server, node):
    """No event, no count, no schema, and a status."""
    assert await total(node.export(query())) == 0
    assert await node.counts(query()) == {}
    assert await node.schemas() == {}
    assert (await node.status())["catalog"]["num-events"] == 0


async def test_numbers_compare_by_value(filled, node):
    """A number is asked for in the spelling of each type, as the node compares types, too."""
    assert await node.counts(query("n < 2.5")) == {"zeek.conn": 3}
    assert await node.counts(query("resp_p != 2")) == {"zeek.conn": 5}


async def test_bounds_are_part_of_the_question(filled, node):
    """Each schema is asked by its own event time."""
    assert await node.counts(query(since=1, until=4)) == {"zeek.conn": 3, "zeek.dns": 1}
    assert await total(node.export(query("n", since=5))) == 1


async def test_bounds_hold_for_schemas_that_come_later(server, node, make_conn, make_dns):
    """What arrives is held against the bounds, also where the schema was not known."""
    server.add(make_conn([7]))
    stream = asyncio.ensure_future(total(node.export(query("", CONTINUOUS, 3, since=1, until=4))))
    await asyncio.to_thread(server.wait_until_listening)
    server.add(make_dns(["a", "b", "c"], start=2))
    server.add(make_conn([0, 3, 9]))
    assert await stream == 3


async def test_an_explanation_names_what_is_asked(filled, node):
    """The text for the node, and for each schema what it binds to."""
    explanation = await node.explain(query("n == 1"))
    assert explanation.expression == "n == 1 || n == +1 || n == 1.0"
    conn, dns = explanation.layouts
    assert (conn.bound, conn.all_files, conn.events, dns.bound) == ("n == +1", 2, 6, None)


async def test_a_chatty_program_is_heard_to_the_end(filled, node):
    """Whatever a program logs, it never blocks, and its last words are kept."""
    filled.set_program(noise=1_000_000, broken="!! system_error: no space left\n")
    with pytest.raises(NodeError, match=r"no space left \[system_error\]"):
        await total(node.export(query()))


async def test_the_last_error_counts(filled, node):
    """Of several errors the last one is the message, with everything before it attached."""
    filled.set_program(broken="[06:55:42.509] log\n!! a: first\n!! unspecified: b: !! c: d\n")
    with pytest.raises(NodeError, match=r"unspecified|b: !! c: d") as caught:
        await node.status()
    assert "first" not in str(caught.value)
    assert "first" in caught.value.stderr


async def test_an_error_without_words_is_an_error(filled, node):
    """The exit status alone decides."""
    filled.set_program(broken="[06:55:42.509] nothing special")
    with pytest.raises(NodeError, match="ended with 1, the answer is not complete"):
        await node.schemas()


@pytest.mark.parametrize("layouts", ["{", "[1]", '[{"a": {"record": [{"b": "new_type"}]}}]'])
def test_unknown_layouts_are_an_error(layouts):
    """An answer that is not a list of schemas is an error."""
    with pytest.raises(NodeError, match="prints schemas in an unknown form"):
        module.parse_layouts(layouts.encode())


# --- what the node's indexes cannot answer -----------------------------------------------------


HASHED = {"VAST:attributes:0": '{ "index": "hash" }'}
FLOWS = pa.RecordBatch.from_pydict(
    {
        "ts": pa.array([-5, 0, 1, 2], pa.timestamp("ns")),
        "flow_id": pa.array([0, 5, 6, None], pa.uint64()),
        "uid": pa.array(["A", "B", "C", None]),
        "service": pa.array(["http", "dns", "http,dns", None]),
        "host": pa.array(["a", "b", "a", "c"]),
        "orig_bytes": pa.array([None, 1, 2, 3], pa.uint64()),
        "rtt": pa.array([-3, 5, None, 7], pa.duration("ns")),
        "size": pa.array([-1, 0, 1, None], pa.int64()),
        "score": pa.array([0.5, 1.5, None, 2.5]),
        "local_orig": pa.array([True, None, False, None]),
        "tags": pa.array([["x"], [], None, ["y", "x"]]),
        "skipped": pa.array(["a", "b", None, "a"]),
    },
    schema=pa.schema(
        [
            pa.field("ts", pa.timestamp("ns")),
            pa.field("flow_id", pa.uint64(), metadata=HASHED),
            pa.field("uid", pa.string(), metadata=HASHED),
            pa.field("service", pa.string()),
            pa.field("host", pa.string()),
            pa.field("orig_bytes", pa.uint64()),
            pa.field("rtt", pa.duration("ns")),
            pa.field("size", pa.int64()),
            pa.field("score", pa.float64()),
            pa.field("local_orig", pa.bool_()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("skipped", pa.string(), metadata={"VAST:attributes:0": '{ "skip": null }'}),
        ],
        metadata={"VAST:name:0": "test.flow"},
    ),
)
INDEXED = [
    "flow_id > 0", "flow_id != 5", "flow_id == 5", "flow_id in [5, 6]", "flow_id != 0.5",
    'uid > "A"', 'uid == /B|C/', '"B" in uid', 'uid == "B"', 'uid in ["A", "B"]', 'uid != /B/',
    'service in "http,dns"', 'service !in "http,dns"', "service == null", "! orig_bytes",
    'service < "h"', 'service != /http/', '"dns" in service', 'service !ni "dns"',
    "local_orig == null", "local_orig != true", "local_orig < true",
    "rtt < 6ns", "rtt >= -3ns", "rtt > 0s", "rtt != 5ns", "rtt >= 0s && rtt < 6ns",
    "ts < 1970-01-01", "ts > 1960-01-01", "! (ts > 1970-01-01)",
    "size in [1, -1]", "size !in [1, -1]", "score in [1.5, 0.5]", "orig_bytes in [1.0, 2]",
    "orig_bytes !in [1, 7]", "score != 1.5", "tags == null", 'tags !ni "x"', '"x" in tags',
    'skipped == "a"', "skipped != null",
    'service == "http" && flow_id > 0', 'service == "http" || flow_id > 0',
    'host == "a" || service == "a"', 'host == "a" && skipped == "a"', 'host != "a" && uid != "a"',
    'host == "http" || service == "http"', 'host == "b" && uid == "b"',
    "#import_time > 2020-01-01 && flow_id > 0", "#import_time < 2020-01-01 && flow_id > 0",
    "#import_time < 2020-01-01 || flow_id > 5", "#import_time > 2020-01-01 || flow_id > 5",
    '#type == "test.flow" && uid > "A"', '#type != "test.flow" || flow_id == null',
]  # fmt: skip


@pytest.fixture
async def embedded(tmp_path):
    """Return a node that has no such indexes, with the same events."""
    database = Database.create(tmp_path / "events.db")
    database.add([FLOWS])
    node = EmbeddedNode(database.path)
    yield node
    await node.aclose()


async def hosts(stream):
    """List the rows that an export finds."""
    parts = [part.to_pyarrow().to_pylist() async for part in stream]
    return sorted((row for rows in parts for row in rows), key=str)


@pytest.mark.parametrize("text", INDEXED)
async def test_an_index_does_not_hide_events(server, node, embedded, text):
    """What a node would answer with too little, or too much, is filtered here."""
    server.add(FLOWS)
    expected = await hosts(embedded.export(query(text)))
    assert await hosts(node.export(query(text))) == expected
    assert await node.counts(query(text)) == ({"test.flow": len(expected)} if expected else {})


async def test_most_of_these_are_wrong_without_the_filter(server, embedded):
    """The node of the tests has the indexes of a real one: the comparisons do fail there."""
    server.add(FLOWS)
    wrong = []
    for text in INDEXED:
        found = matching(parse(compiler.text(parse(text))), server.stored[0])
        expected = await hosts(embedded.export(query(text)))
        if sorted(found.to_pylist(), key=str) != expected:
            wrong.append(text)
    assert {"flow_id > 0", 'service in "http,dns"', "local_orig == null"} <= set(wrong)
    assert len(wrong) > len(INDEXED) / 2


def hashed(name, *fields):
    """Make a schema of texts and addresses, in a record ``id``, with hash indexes."""
    kinds = {"orig_h": Kind.IP, "resp_h": Kind.IP}
    members = tuple(
        Field(f, Type(kinds.get(f, Kind.STRING), attributes=(("index", "hash"),))) for f in fields
    )
    return Schema(name, (Field("id", Type(Kind.RECORD, fields=members)),))


@pytest.mark.parametrize(
    "text, answer",
    [
        ("a.pair == <10.0.0.1, 10.0.0.2>", Answer.EXACT),
        ("a.pair == <10.0.0.1, _>", Answer.EXACT),
        ("a.pair != <10.0.0.1, 10.0.0.2>", Answer.TOO_FEW),
        ("a.pair == <10.0.0.0/8, _>", Answer.EXACT),  # an address never equals a network
        ("a.src in 10.0.0.0/8", Answer.TOO_FEW),
        ("a.src == 10.0.0.1", Answer.EXACT),
        ('a.text == "x"', Answer.TOO_MANY),  # the catalog asks every text
        ('a.text != "x"', Answer.TOO_FEW),
    ],
)
def test_concepts_and_models_are_looked_at_by_their_fields(text, answer):
    """What a name of the taxonomy stands for decides whether the node can be asked."""
    taxonomy = Taxonomy(
        {
            "a.src": Concept("a.src", fields=("conn.id.orig_h",)),
            "a.dst": Concept("a.dst", fields=("conn.id.resp_h",)),
            "a.text": Concept("a.text", fields=("conn.id.s", "conn.id.t")),
        },
        {"a.pair": Model("a.pair", definition=("a.src", "a.dst"))},
    )
    schema = hashed("conn", "orig_h", "resp_h", "s", "t")
    asked = Asked(compiler.to_vast(parse(text), [schema]))
    assert asked.relaxed([schema], taxonomy)[1] is answer
    other = hashed("other", "s")
    assert asked.relaxed([other], taxonomy)[1] is Answer.EXACT


@pytest.mark.parametrize("text", ["flow_id > 0", 'uid > "A"', "service == null"])
async def test_a_limit_holds_after_the_filter(server, node, text):
    """The events that the node returned too many of do not count."""
    for _ in range(3):
        server.add(FLOWS)
    assert await total(node.export(query(text, limit=2))) == 2
    assert not [argv for argv in argvs(server, "export") if "--max-events=2" in argv]


async def test_bounds_hold_beside_the_filter(server, node, embedded):
    """Also an upper bound alone, of which times before 1970 are a part."""
    server.add(FLOWS)
    for bounds in ({"until": 1}, {"since": 0, "until": 2}, {"since": -9}):
        for text in ("", "flow_id > 0"):
            asked = query(text, **bounds)
            assert await hosts(node.export(asked)) == await hosts(embedded.export(asked))


async def test_what_arrives_is_filtered_too(server, node):
    """A live export of stored and new events finds them all, once."""
    server.add(FLOWS)
    stream = asyncio.ensure_future(total(node.export(query("flow_id > 0", UNIFIED, 4))))
    await asyncio.to_thread(server.wait_until_listening)
    server.add(FLOWS)
    assert await stream == 4


async def test_concepts_are_known_where_events_arrive(server, node):
    """A node knows no concepts there, nor does it of schemas that are new."""
    address = b"\0" * 10 + b"\xff\xff\x0a\0\0\x01"
    conn = pa.RecordBatch.from_pydict(
        {"id": pa.array([{"orig_h": address}], pa.struct([CONN_ADDRESS]))},
        schema=pa.schema(
            [pa.field("id", pa.struct([CONN_ADDRESS]))], metadata={"VAST:name:0": "zeek.conn"}
        ),
    )
    asked = Query(parse("net.src.ip == 10.0.0.1"), CONTINUOUS, 2, taxonomy=Taxonomy.default())
    stream = asyncio.ensure_future(total(node.export(asked)))
    await asyncio.to_thread(server.wait_until_listening)
    server.add(conn)
    server.add(conn)
    assert await stream == 2


async def test_other_conditions_narrow_what_is_filtered(filled, node):
    """The node is asked for everything of a schema only where nothing else narrows it."""
    filled.add(FLOWS)
    await hosts(node.export(query('host == "a" && flow_id > 0 && orig_bytes == 2')))
    assert argvs(filled, "export")[-1][-1] == (
        'where #type == "test.flow" && host == "a" && '
        "(orig_bytes == 2 || orig_bytes == +2 || orig_bytes == 2.0)"
    )


async def test_an_explanation_names_what_is_filtered(filled, node):
    """The explanation has what is sent for each schema."""
    filled.add(FLOWS)
    explanation = await node.explain(query("flow_id > 5 || n == 1"))
    by_name = {plan.schema: plan.filtered for plan in explanation.layouts}
    assert by_name == {
        "zeek.conn": None, "zeek.dns": None, "test.flow": '#type == "test.flow"'
    }  # fmt: skip
    assert (
        '    the node\'s indexes cannot answer this: it is asked for #type == "test.flow", '
        "and the events are filtered here"
    ) in repr(explanation).splitlines()


# --- what precedes the first row ---------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "n < 9", "flow_id > 0"])
async def test_schemas_and_events_are_asked_for_together(filled, node, text):
    """Of a node that is known, no answer is waited for before events are asked for."""
    await node.schemas()
    filled.asked.clear()
    filled.faults.together = frozenset({"show", "export"})
    assert await total(node.export(query(text, limit=1))) == (text != "flow_id > 0")


async def test_the_first_query_waits_for_no_other_program(filled, node):
    """Version, schemas and events are asked for at the same time."""
    filled.set_program(version_waits=True)
    filled.faults.together = frozenset({"show", "export"})
    assert await total(node.export(query(limit=2))) == 2


async def test_a_schema_that_is_new_is_not_missed(filled, node):
    """The schemas are asked for with every query: what was known before is but a guess."""
    assert await total(node.export(query("flow_id > 0"))) == 0
    filled.add(FLOWS)
    assert await total(node.export(query("flow_id > 0"))) == 2
    assert await node.counts(query("flow_id > 0")) == {"test.flow": 2}


async def test_those_who_ask_at_once_share_an_answer(filled, node):
    """One process says what the schemas are, also to a query that begins meanwhile."""
    await asyncio.gather(node.schemas(), node.schemas(), total(node.export(query())))
    assert len(argvs(filled, "show")) == 1


# --- live exports -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "n >= 0"])
async def test_unified_on_an_empty_node_goes_on(server, node, make_conn, text, monkeypatch):
    """The program ends at once where nothing is stored; nothing is lost, nothing comes twice."""
    monkeypatch.setattr(node_module, "_RETRY_SECONDS", (0.01,))
    stream = asyncio.ensure_future(total(node.export(query(text, UNIFIED, 4))))
    await asyncio.to_thread(server.wait_for_queries, 2)
    server.add(make_conn([1, 2]))
    await asyncio.to_thread(server.wait_until_listening)
    server.add(make_conn([3, 4]))
    assert await stream == 4


@pytest.mark.parametrize("mode", list(ExportMode))
@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_node_that_ends_is_an_error(filled, node, mode, end):
    """Killed or stopped: an export that is cut short never looks complete."""
    if mode is not CONTINUOUS:
        filled.faults.after, filled.faults.end = 1, end
    stream = asyncio.ensure_future(total(node.export(query("", mode, 8))))
    if mode is CONTINUOUS:
        await asyncio.to_thread(filled.wait_until_listening)
        filled.kill() if end == "kill" else filled.stop()
    with pytest.raises(NodeError, match="is gone; the export is not complete"):
        await stream


@pytest.mark.parametrize("mode", [CONTINUOUS, UNIFIED])
async def test_a_node_that_was_restarted_is_an_error(filled, node, mode):
    """A live export of a node that ended is over, though a new one answers: events may lack."""
    stream = asyncio.ensure_future(total(node.export(query("", mode))))
    await asyncio.to_thread(filled.wait_until_listening)
    filled.stop()
    filled.start()
    with pytest.raises(NodeError, match="is gone; the export is not complete"):
        await stream


async def test_a_stopped_node_at_the_limit_is_no_error(filled, node):
    """What is complete stays complete."""
    assert await total(node.export(query("", UNIFIED, 8))) == 8


@pytest.mark.parametrize(
    "end, message",
    [("cut", "cut short"), ("signal", "ended with signal 11, the answer is not complete")],
)
async def test_a_broken_answer_is_an_error(filled, node, end, message):
    """A message that is cut, and a program that is killed, end with an error."""
    filled.faults.after, filled.faults.end = 1, end
    with pytest.raises(NodeError, match=message):
        await total(node.export(query()))


async def test_a_silent_node_is_given_up(filled, make_node, monkeypatch):
    """A program that hangs without bytes is ended when the node does not answer either."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    filled.faults.after, filled.faults.end = 1, "hang"
    seen = []
    with pytest.raises(NodeError, match="is gone"):
        async for part in make_node().export(query()):
            seen.append(part)
            filled.faults.mute = True
    assert len(seen) == 1


# --- counting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["count_hangs", "count_is_short"])
async def test_a_count_does_not_depend_on_the_counter_of_the_node(filled, node, fault):
    """The node's own counter may leave events out, or never answer: the numbers are exact."""
    setattr(filled.faults, fault, True)
    assert await node.counts(query()) == {"zeek.conn": 6, "zeek.dns": 2}
    assert await node.counts(query('query == "nowhere"')) == {}
    assert await node.counts(query('uid != null || query == "nowhere" || n == 5')) == {
        "zeek.conn": 1
    }


async def test_a_count_is_one_export_whatever_the_number_of_schemas(server, node, make_dns):
    """Not one process for each schema, and no more of an event than one field."""
    for number in range(5):
        server.add(make_dns(["a", "b"]).replace_schema_metadata({"VAST:name:0": f"s{number}"}))
    assert await node.counts(query('query == "a"')) == {f"s{number}": 1 for number in range(5)}
    assert argvs(server, "export") == [["export", "arrow", 'where (query == "a") | select ts']]


@pytest.mark.parametrize("version", ["3.0.4", "2.4.2"])
async def test_a_count_of_an_older_node_is_one_too(filled, node, version):
    """Where the program knows no pipelines, whole events are counted."""
    filled.set_program(version=f'{{"VAST": "v{version}"}}')
    assert await node.counts(query("n < 2.5")) == {"zeek.conn": 3}
    assert argvs(filled, "export")[-1][-1] == "n <= 2 || n <= +2 || n < 2.5"


async def test_a_count_by_a_field_that_no_pipeline_can_name(server, node, make_dns):
    """Such events are counted whole."""
    odd = pa.record_batch({"a b": pa.array([1, 2, 3], pa.int64())}, metadata={"VAST:name:0": "odd"})
    server.add(odd)
    server.add(make_dns(["a"]))
    assert await node.counts(query()) == {"odd": 3, "zeek.dns": 1}


async def test_a_count_that_the_node_does_not_survive_is_an_error(filled, node):
    """The counts of a node that ended are not used."""
    filled.faults.after, filled.faults.end = 1, "stop"
    with pytest.raises(NodeError, match="is gone"):
        await node.counts(query())


# --- ends ---------------------------------------------------------------------------------------


async def test_a_limit_is_exact(filled, node):
    """So many events, and no more."""
    for limit in (1, 3, 4, 8):
        assert await total(node.export(query("", limit=limit))) == limit
    assert await total(node.export(query("", limit=9))) == 8


@pytest.mark.parametrize("how", ["break", "cancel"])
@pytest.mark.parametrize("deaf", [False, True])
async def test_leaving_an_export_ends_its_program(filled, node, how, deaf):
    """Within a second there is no program and no thread, though it ignores SIGTERM."""
    filled.set_program(deaf=deaf)
    arrived = asyncio.Event()

    async def follow():
        async with aclosing(node.export(query("", UNIFIED))) as stream:
            async for _ in stream:
                arrived.set()
                if how == "break":
                    break

    task = asyncio.ensure_future(follow())
    await arrived.wait()
    started = time.monotonic()
    if how == "cancel":
        task.cancel()
    await asyncio.wait([task])
    pid = filled.calls[-1]["pid"]
    assert not alive(pid)
    assert not [thread for thread in threading.enumerate() if thread.name == "vastlab-pump"]
    assert time.monotonic() - started < 5  # one second on a machine that does nothing else


async def test_only_so_many_programs_run_at_once(server, make_node, make_dns):
    """More calls than that wait for their turn, and all are answered."""
    for number in range(6):
        batch = make_dns(["a"])
        server.add(batch.replace_schema_metadata({"VAST:name:0": f"s{number}"}))
    node = make_node(max_clients=2)
    assert await node.counts(query("query")) == {f"s{number}": 1 for number in range(6)}
    assert server.most_running <= 2


# --- where nothing answers ----------------------------------------------------------------------


def listening():
    """Listen on a free port, and never say anything."""
    return socket.create_server(("127.0.0.1", 0))


async def test_an_unreachable_node_is_one_clear_error(server):
    """The error names the endpoint and what works without a node."""
    with listening() as listener:
        port = listener.getsockname()[1]
    node = VastNode(NodeEndpoint("127.0.0.1", port), server.program)
    for call in (node.ping, node.status, node.schemas, lambda: total(node.export(query()))):
        with pytest.raises(NodeConnectionError, match=f"nothing answers at 127.0.0.1:{port}"):
            await call()


async def test_something_else_behind_the_port_is_no_node(server, monkeypatch):
    """A server that never greets is given up after the connection timeout."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with listening() as listener:
        endpoint = NodeEndpoint("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(NodeConnectionError, match="nothing answers"):
            await VastNode(endpoint, server.program).ping()


async def test_a_node_that_says_nothing_is_given_up(server, node, monkeypatch):
    """A probe waits little longer than for a connection."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    server.faults.mute = True
    with pytest.raises(NodeTimeoutError, match="no answer within"):
        await node.ping()


@pytest.mark.parametrize(
    "settings",
    [
        {"version": '{"VAST": "v1.1.2"}'},
        {"version": '{"VAST": "v4.0.0"}'},
        {"version": "vast, a voice activity tool"},
        {"version": '{"VAST": "v3.1.0"}', "version_status": 1},
    ],
)
async def test_another_program_of_that_name_is_told(server, node, settings):
    """The error of an unknown version says which can be used."""
    server.set_program(**settings)
    with pytest.raises(ClientNotFoundError, match="cannot be used"):
        await node.ping()


@pytest.mark.parametrize("output", ["", "[]", "no JSON"])
async def test_an_answer_that_is_no_status_is_told(server, node, output, monkeypatch):
    """Words instead of a status are an error of the node, not of a parser."""
    monkeypatch.setattr(server, "_status", lambda: output)
    with pytest.raises(NodeError, match="prints no status"):
        await node.status()


# --- ingest -------------------------------------------------------------------------------------


async def test_events_are_sent_to_the_node(server, node, make_conn, make_dns):
    """Files become events of the node, one call for each layout."""
    tables = [pa.Table.from_batches([batch]) for batch in (make_conn(range(5)), make_dns(["a"]))]
    report = await node.ingest(tables)
    assert report.events == {"zeek.conn": 5, "zeek.dns": 1}
    assert await node.counts(query()) == {"zeek.conn": 5, "zeek.dns": 1}
    assert argvs(server, "import") == [["import", "--blocking", "arrow"]] * 2


async def test_an_import_that_fails_says_why(server, node, make_conn):
    """The node's own error is the message."""
    server.faults.refuse_import = "type_clash: unsupported type"
    with pytest.raises(NodeError, match=r"unsupported type \[type_clash\]"):
        await node.ingest([pa.Table.from_batches([make_conn(range(5))])])


NAN = float("nan")
RECORD = pa.struct([("x", pa.float64()), ("none", pa.null())])
UNSTORABLE = pa.RecordBatch.from_pydict(
    {
        "d": pa.array([1.5, NAN, None, NAN]),
        "l": pa.array([[NAN, 1.0], [], None, [None, NAN]]),
        "r": pa.array([{"x": NAN, "none": None}, {"x": 2.5}, None, {"x": None}], RECORD),
        "lr": pa.array([[{"x": NAN}], None, [], [{"x": 1.0}]], pa.list_(RECORD)),
        "n": pa.array([1, 2, 3, 4], pa.int64()),
        "nothing": pa.nulls(4),
        "nothings": pa.array([[None], [], None, []], pa.list_(pa.null())),
        "empty": pa.array([{}, {}, None, {}], pa.struct([])),
        "text": pa.nulls(4, pa.string()),
    },
).replace_schema_metadata({"VAST:name:0": "odd"})


async def test_a_number_that_is_none_does_not_reach_the_node(server, node):
    """NaN is null at any depth, and counted by field; the node lives, and keeps all else."""
    report = await node.ingest([pa.Table.from_batches([UNSTORABLE])])
    assert report.events == {"odd": 4}
    assert [str(problem) for problem in report.problems] == [
        f"odd: {field}: {values} NaN, which VAST cannot store; sent as null"
        for field, values in [
            ("d", "2 values are"), ("l", "2 values are"), ("lr.x", "1 value is"),
            ("r.x", "1 value is"),
        ]
    ]  # fmt: skip
    assert report.problem_count == 6
    (part,) = [part.to_pyarrow() async for part in node.export(query())]
    assert part.schema.names == ["d", "l", "r", "lr", "n", "text"]
    assert part.column("d").to_pylist() == [1.5, None, None, None]
    assert part.column("l").to_pylist() == [[None, 1.0], [], None, [None, None]]
    assert part.column("lr").to_pylist() == [[{"x": None}], None, [], [{"x": 1.0}]]
    assert [row["x"] for row in part.column("r").to_pylist()] == [None, 2.5, None, None]


def test_maps_are_fitted_like_lists():
    """A NaN in a map is null; an entry under NaN is left out, and so is a field without values."""
    maps = pa.array(
        [[("a", NAN), ("b", 1.0)], None, [], [("c", NAN)]], pa.map_(pa.string(), pa.float64())
    )
    keys = pa.array([[(NAN, 1), (2.0, 2)], [], None, [(NAN, 3)]], pa.map_(pa.float64(), pa.int64()))
    nothing = pa.array([[("a", None)], [], None, []], pa.map_(pa.string(), pa.null()))
    batch = pa.record_batch({"m": maps, "k": keys, "nothing": nothing})
    fitting = FittingBatches()
    assert fitting.fit(batch).to_pydict() == {
        "m": [[("a", None), ("b", 1.0)], None, [], [("c", None)]],
        "k": [[(2.0, 2)], [], None, []],
    }
    assert fitting.lost == {("", "m"): 2, ("", "k"): 2}
    assert FittingBatches().fit(batch.slice(3)).to_pydict() == {"m": [[("c", None)]], "k": [[]]}


async def test_a_slice_of_events_is_sent_without_what_lies_beside_it(server, node):
    """Nulls and lists keep their places where events are a part of larger arrays."""
    events = UNSTORABLE.slice(1, 2)
    fitting = FittingBatches()
    assert fitting.fit(events).to_pydict() == {
        "d": [None, None], "l": [[], None], "r": [{"x": 2.5}, None], "lr": [None, []],
        "n": [2, 3], "text": [None, None],
    }  # fmt: skip
    assert fitting.lost == {("odd", "d"): 1}


async def test_a_strict_ingest_sends_nothing_that_would_be_lost(server, node):
    """The first field that does not fit is an error, before anything is sent."""
    with pytest.raises(FormatError, match="odd: d: 2 values are NaN, which VAST cannot store"):
        await node.ingest([pa.Table.from_batches([UNSTORABLE])], strict=True)
    assert not argvs(server, "import")
    await node.ingest([pa.Table.from_batches([UNSTORABLE.select(["n"])])], strict=True)
    assert await node.counts(query()) == {"odd": 4}


@pytest.mark.parametrize(
    "text", ['{"a": null}\n', '{"a": {}}\n{"a": null}\n', '{"a": []}\n', "{}\n"]
)
async def test_events_without_a_value_are_events(server, node, tmp_path, text):
    """No column of them has a type, and the program that imports them survives."""
    path = tmp_path / "odd.json"
    path.write_text(text)
    report = await node.ingest(path, schema="odd")
    assert report.events == {"odd": len(text.splitlines())}
    assert await node.counts(query()) == report.events


async def test_an_import_that_kills_its_program_says_what_may_have_arrived(
    server, node, make_conn, make_dns, monkeypatch
):
    """The error speaks of the ingest: what is stored for sure, and what may be."""
    monkeypatch.setattr(FittingBatches, "fit", lambda self, batch: batch)
    nothing = pa.RecordBatch.from_pydict({"x": pa.nulls(3)}).replace_schema_metadata(
        {"VAST:name:0": "zz"}
    )
    with pytest.raises(NodeError) as caught:
        await node.ingest([pa.Table.from_batches([b]) for b in (make_conn(range(5)), nothing)])
    assert str(caught.value) == (
        "the ingest failed: vast ended with signal 11, it did not take all events; "
        "5 events of zeek.conn are stored, up to 3 events of zz may be "
        "(what is stored is stored again when the same files are ingested once more)"
    )


async def test_an_import_whose_node_ends_is_not_an_export(server, node, monkeypatch):
    """The error says that the node is gone, and how many events it may have."""
    monkeypatch.setattr(FittingBatches, "fit", lambda self, batch: batch)
    message = r"the ingest failed: the node at .* is gone; it did not .*; up to 4"
    with pytest.raises(NodeError, match=message):
        await node.ingest([pa.Table.from_batches([UNSTORABLE.select(["d"])])])


async def test_an_ingest_without_a_node_stored_nothing(server, node, make_conn):
    """Where nothing answers, the error says only that."""
    server.close()
    with pytest.raises(NodeConnectionError, match=r"^nothing answers at"):
        await node.ingest([pa.Table.from_batches([make_conn(range(5))])])


async def test_the_first_row_of_an_import_arrives_at_once(server, node, make_conn):
    """A continuous export that was started before an import sees it."""
    stream = node.export(query("", CONTINUOUS))
    first = asyncio.ensure_future(anext(stream))
    await asyncio.to_thread(server.wait_until_listening)
    await node.ingest([pa.Table.from_batches([make_conn(range(5))])])
    async with asyncio.timeout(3):
        assert (await first).num_rows == 5
    await stream.aclose()


# --- the fake itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv, error",
    [
        (["export", "arrow", "-42"], "invalid option parameter"),
        (["export", "arrow", "--", "-42"], "invalid option parameter"),
        (["export", "arrow", "--max-events=2", "n"], "invalid option parameter"),
        (["export", "--max-events", "2", "arrow"], "invalid option parameter"),
        (["export", "arrow", "a == 1", "b == 2"], "!! invalid_argument: spreading a query"),
        (["export", "arrow", "resp_h =="], "!! unspecified: failed to spawn 'spawn exporter'"),
        (["count", "where n"], "!! parse_error: failed to parse expression 'where n'"),
        (["--endpoint=here", "status"], "!! parse_error: invalid endpoint here"),
        (["export"], "error: missing subcommand after export"),
        (["nope"], "error: unrecognized subcommand"),
    ],
)
async def test_the_fake_refuses_what_vast_refuses(server, argv, error):
    """The fake follows the command line of the program that it stands for."""
    done = await module.run(
        (str(server.program), f"--endpoint={server.endpoint}", *argv), os.environ, timeout=30
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert error in done.stderr


def test_the_fake_has_the_trap_of_standard_input(server):
    """A pipe that stays open blocks the program, and the environment changes it."""
    argv = (str(server.program), f"--endpoint={server.endpoint}", "export", "arrow")
    reading, writing = os.pipe()
    child = module.Child(argv, os.environ, stdin=reading)
    os.write(writing, b"resp_h ==")
    assert child.returncode is None
    os.close(writing)
    os.close(reading)
    assert child.wait() == 1
    assert "failed to parse pipeline 'resp_h =='" in child.stderr
    child.end()


def test_the_fake_answers_as_recorded(server, shared):
    """The errors of the fake are those that were recorded of a real node."""
    folder = shared / "golden" / "errors"
    for case in ("x38_count_bad", "x39_count_pipeline", "x40_count_two_args", "x11_two_args"):
        recorded = json.loads((folder / f"{case}.json").read_text())["argv"]
        argv = (str(server.program), f"--endpoint={server.endpoint}", *recorded[2:])
        child = module.Child(argv, os.environ)
        assert child.wait() == 1
        last = (folder / f"{case}.stderr.txt").read_text().splitlines()[-1]
        assert child.stderr.splitlines()[-1] == last
        child.end()
