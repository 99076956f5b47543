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

from tests.nodes.fake_vast import FakeVast, alive
from tests.vast_language import without_additions
from vastlab.config import NodeEndpoint
from vastlab.errors import (
    ClientNotFoundError,
    NodeConnectionError,
    NodeError,
    NodeTimeoutError,
)
from vastlab.expression import parse
from vastlab.expression.ast import Constant
from vastlab.nodes.base import ExportMode, Query
from vastlab.nodes.vast import VastNode
from vastlab.nodes.vast import node as module

CONTINUOUS, UNIFIED = ExportMode.CONTINUOUS, ExportMode.UNIFIED
SETTINGS = ["--connection-timeout=5s", "--connection-retry-delay=0s", "--console-verbosity=quiet"]
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
def server(tmp_path):
    """Run a node; at the end no program runs, and every text was VAST's own."""
    node = FakeVast(tmp_path / "bin")
    yield node
    node.close()
    assert not [call["pid"] for call in node.calls if alive(call["pid"])]
    with without_additions():
        for text in filter(None, node.queries):
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
    """Status, schemas and counts have their own commands; a count takes no `where`."""
    await node.status()
    await node.schemas()
    await node.counts(query("query"))
    assert argvs(filled, "status") == [["status", "--detailed"]]
    assert argvs(filled, "show") == [["show", "schemas"]] * 2
    assert argvs(filled, "count") == [["count", '#type == "zeek.dns" && query != null']]


@pytest.mark.parametrize("version, words", [("3.1.0", "where n"), ("3.0.4", "n"), ("2.4.2", "n")])
async def test_where_is_for_clients_that_know_pipelines(filled, node, version, words):
    """Before 3.1, the expression stands alone."""
    filled.set_program(version=f'{{"VAST": "v{version}"}}')
    assert await total(node.export(query("n"))) == 6
    assert argvs(filled, "export")[0][-1] == f"{words} != null"


async def test_a_child_gets_neither_our_input_nor_our_variables(filled, node, monkeypatch):
    """Standard input is empty, and no `VAST_*` variable changes what a call means."""
    monkeypatch.setenv("VAST_EXPORT__MAX_EVENTS", "1")
    monkeypatch.setenv("VAST_ENDPOINT", "127.0.0.1:1")
    reading, writing = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(reading, 0)  # a pipe that nobody closes: the program would wait for its end
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
    assert all(len(argv) == 2 for argv in argvs(filled, "count"))


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
    """Of several errors the last one is told, with everything before it attached."""
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
    """What is no list of schemas is said to be none."""
    with pytest.raises(NodeError, match="prints schemas in an unknown form"):
        module.parse_layouts(layouts.encode())


# --- live exports -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "n >= 0"])
async def test_unified_on_an_empty_node_goes_on(server, node, make_conn, text, monkeypatch):
    """The program ends at once where nothing is stored; nothing is lost, nothing comes twice."""
    monkeypatch.setattr(module, "_RETRY_SECONDS", (0.01,))
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


async def test_a_count_that_hangs_is_made_by_export(filled, node, monkeypatch):
    """Counting may wait for ever where nothing is a candidate; the answer is 0 all the same."""
    monkeypatch.setattr(module, "COUNT_SECONDS", 0.5)
    filled.faults.count_hangs = True
    assert await node.counts(query('uid != null || query == "nowhere" || n == 5')) == {
        "zeek.conn": 1
    }
    assert argvs(filled, "export")


async def test_a_count_that_the_node_does_not_survive_is_an_error(filled, node, monkeypatch):
    """A program that waits for a node that is gone is not waited for."""
    monkeypatch.setattr(module, "COUNT_SECONDS", 0.5)
    filled.faults.count_hangs = True
    waiting = asyncio.ensure_future(node.counts(query('query == "nowhere"')))
    await asyncio.to_thread(filled.wait_for_queries, 1)
    filled.kill()
    with pytest.raises(NodeError, match="is gone"):
        await waiting


# --- ends ---------------------------------------------------------------------------------------


async def test_a_limit_is_exact(filled, node):
    """So many events, and no more."""
    for limit in (1, 3, 4, 8):
        assert await total(node.export(query("", limit=limit))) == limit
    assert await total(node.export(query("", limit=9))) == 8


@pytest.mark.parametrize("how", ["break", "cancel"])
@pytest.mark.parametrize("deaf", [False, True])
async def test_leaving_an_export_ends_its_program(filled, node, how, deaf):
    """Within a second there is no program and no thread, though it ignores the polite signal."""
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
    """A version that is not understood is said, with what can be used."""
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
    """The node's own error is told."""
    server.faults.refuse_import = "type_clash: unsupported type"
    with pytest.raises(NodeError, match=r"unsupported type \[type_clash\]"):
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
    """A pipe that nobody closes blocks the program, and the environment changes it."""
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
