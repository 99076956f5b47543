"""A real Tenzir node: the same answers as the embedded one, and no trace of a query."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vastlab
from vastlab import demo
from vastlab.arrow.schema import name_of
from vastlab.client import VAST
from vastlab.compile import tql
from vastlab.endpoints import parse_endpoint
from vastlab.errors import NodeConnectionError, NodeError, UsageError
from vastlab.expression.ast import Column, Operator, Predicate
from vastlab.expression.literals import Duration, Time
from vastlab.nodes import own, process
from vastlab.nodes.tenzir import TenzirNode
from vastlab.nodes.tenzir import groups as tenzir_groups
from vastlab.nodes.tenzir.client import TenzirClient
from vastlab.table_slice import to_json_rows
from vastlab.types import Field, Kind, Schema, Type

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(process.find_tenzir() is None, reason="the package tenzir is not installed"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc"),
]
EVENTS = 60_000
HOSTILE = '"]) | shell "touch pwned" // \'`$(touch pwned)\n<socket>'


def tables():
    """Make events of awkward values, layouts and names."""
    types = pa.table({
        "ts": pa.array([1, 2, 3], pa.timestamp("ns")),
        "n": pa.array([None, -5, 2**63 - 1], pa.int64()),
        "u": pa.array([2**64 - 1, None, 0], pa.uint64()),
        "d": pa.array([1.5, None, float("nan")], pa.float64()),
        "dur": pa.array([1, None, -3], pa.duration("ns")),
        "s": pa.array([HOSTILE, None, ""], pa.string()),
        "b": pa.array([True, None, False]),
        "blob": pa.array([b"\0\xff", None, b""], pa.binary()),
        "nothing": pa.nulls(3, pa.string()),
        "no type": pa.nulls(3),
        "l": pa.array([[1, None], [], None], pa.list_(pa.int64())),
        "l of nulls": pa.array([[None], [], None], pa.list_(pa.string())),
        "l of r": pa.array(
            [[{"x": 1, "y": None}], [], None],
            pa.list_(pa.struct([("x", pa.int64()), ("y", pa.string())])),
        ),
        "r": pa.array(
            [{"a": None, "b": {"c": "x"}}, {"a": 1, "b": {"c": None}}, None],
            pa.struct([("a", pa.int64()), ("b", pa.struct([("c", pa.string())]))]),
        ),
        "e": pa.array([{}, {}, {}], pa.struct([])),
        HOSTILE: pa.array(["a", None, "b"]),
        "in": pa.array([1, 2, None], pa.int64()),
        "r.a": pa.array([1, 2, None], pa.int64()),
    })  # fmt: skip
    ip = pa.array([b"\0" * 10 + b"\xff\xff\x0a\0\0\x01", None], pa.binary(16))
    networks = pa.StructArray.from_arrays(
        [
            pa.array([b"\0" * 10 + b"\xff\xff\x0a\0\0\0", b"\x20\x01" + bytes(14)], pa.binary(16)),
            pa.array([8, 32], pa.uint8()),
        ],
        fields=[pa.field("address", pa.binary(16)), pa.field("length", pa.uint8())],
    )
    plain = pa.field("net", networks.type, metadata={"ARROW:extension:name": "vast.subnet"})
    net = pa.Table.from_arrays(
        [ip, networks],
        schema=pa.schema([
            pa.field("ip", ip.type, metadata={"ARROW:extension:name": "vast.address"}),
            plain,
        ]),
    )  # fmt: skip
    yield named("test.types", types)
    yield named("test.net", net)
    yield named("test.two", pa.table({"x": pa.array([1, 2], pa.int64())}))
    yield named("test.two", pa.table({"x": pa.array(["a", None]), "y": pa.array([1, 2])}))
    yield named(HOSTILE, pa.table({"x": pa.array([5, None], pa.int64())}))
    yield named("test.nulls", pa.table({"x": pa.nulls(2, pa.int64())}))


def named(name, table):
    return table.replace_schema_metadata({"VAST:name:0": name})


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """Give a node and a database the same awkward events."""
    database = str(tmp_path_factory.mktemp("awkward") / "events.db")
    with own.start_node(tmp_path_factory.mktemp("node")) as node:

        async def load():
            async with VAST(database) as embedded, VAST(node.endpoint, client="tenzir") as vast:
                for table in tables():
                    await embedded.ingest(table)
                    await vast.ingest(table)

        asyncio.run(load())
        yield database, node.endpoint


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """Start a node that holds demo events."""
    with own.start_node(tmp_path_factory.mktemp("demo")) as node:

        async def load():
            async with VAST(node.endpoint, client="tenzir") as vast:
                await vast.ingest([pa.Table.from_batches([b]) for b in demo.batches(EVENTS)])

        asyncio.run(load())
        yield node.endpoint


@pytest.fixture
def traceless(tmp_path, monkeypatch):
    """See to it that no process, thread or folder is left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    gc.collect()
    assert list(temporary.iterdir()) == []
    assert children() == []
    assert not [t for t in threading.enumerate() if t.name in {"vastlab-pump", "vastlab-streams"}]


def children(*, only_exports=False):
    """Return the processes that speak with a node for us."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            argv = (folder / "cmdline").read_bytes()
            if parent != os.getpid() or b"--connection-retry-delay" not in argv:
                continue
            # The socket to which an export sends lies beside its query.
            query = Path(os.fsdecode(argv.split(b"\0")[-2]))
            if not only_exports or query.with_name("s").exists():
                found.append(int(folder.name))
    return found


async def rows(endpoint, expression, **options):
    async with VAST(endpoint) as vast:
        stream = to_json_rows(vast.export(expression, limit=0, **options))
        return sorted([json.dumps([row.name, row.data], sort_keys=True) async for row in stream])


# --- the same answers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "",
        '#type == "test.two"',
        "x == 5",
        "x != 5",
        "x == null",
        "y > 0",
        's == ""',
        "nothing == null",
        "n > 0",
        "u == 18446744073709551615",
        "d > 1.0",
        "dur < 0s",
        "1 in l",
        "in == 1",
        "ip in 10.0.0.0/8",
        "net in 10.0.0.0/7",
        "10.0.0.1 in net",
        "net == 10.0.0.0/8",
        '! (s == "")',
    ],
)
async def test_awkward_events_come_back_right(awkward, expression):
    """Whatever the values, layouts and names: the embedded node gives the same rows."""
    database, endpoint = awkward
    assert await rows(endpoint, expression) == await rows(database, expression)


async def test_counts_are_those_of_the_embedded_node(awkward):
    """Counts from metadata and counts by a scan agree with the embedded node's."""
    database, endpoint = awkward
    async with VAST(database) as embedded, VAST(endpoint) as vast:
        for expression in ("", "x == 5", '#type == "test.two"', "x == null", "n > 0"):
            assert await vast.counts(expression) == await embedded.counts(expression)


@pytest.mark.parametrize(
    "by, every, functions",
    [
        ((), None, ("count()", "count(x)", "count_distinct(x)", "max(y)")),
        (("x",), None, ("count()", "sum(y)")),
        (("#type", "s"), None, ("sum(n)", "sum(u)", "mean(d)", "min(dur)", "distinct(n)")),
        (("test.types.s",), "1h", ("count()", "any(b)", "all(b)", "sum(dur)", "mean(dur)")),
        (("#type", "ip"), None, ("distinct(ip)", "count(net)")),
        (("net",), None, ("max(ip)", "count()")),
        (("b", "`in`", "n"), "1ns", ("min(ts)", "max(ts)", "max(d)", "max(s)", "count(l)")),
        (("test.types.r.a",), None, ("count(c)", "distinct(r.b.c)")),
    ],
)
async def test_awkward_events_are_grouped_right(awkward, monkeypatch, by, every, functions):
    """Whatever the values, layouts and names: what the node groups is what is grouped here."""
    aggregates = {f"a{number}": text for number, text in enumerate(functions)}

    async def found(expression):
        async with VAST(awkward[1]) as vast:
            try:
                groups = await vast.summarize(expression, by=by, every=every, aggregates=aggregates)
            except UsageError as error:
                return str(error)
        rows = sorted(map(repr, groups.astype(object).itertuples(index=False)))
        return rows, groups.dtypes.to_dict(), groups.attrs

    for expression in ("", "x != 5", "x == null", '#type == "test.types" && n != 3'):
        by_node = await found(expression)
        with monkeypatch.context() as patch:
            patch.setattr(tenzir_groups, "_MOST_BRANCHES", 0)
            assert by_node == await found(expression)


async def test_only_groups_leave_the_node(endpoint, monkeypatch):
    """The program gets one pipeline that groups, and sends no event."""
    asked, arrived = [], []
    stream = TenzirClient.stream

    async def watched(self, pipeline, *args, **options):
        asked.append(pipeline(""))
        async with aclosing(stream(self, pipeline, *args, **options)) as batches:
            async for batch in batches:
                arrived.append(batch)
                yield batch

    monkeypatch.setattr(TenzirClient, "stream", watched)
    async with VAST(endpoint) as vast:
        found = await vast.summarize(by=["#type", "net.proto"], sent="sum(orig_bytes)", n="count()")
    assert 0 < sum(found["n"]) <= EVENTS
    (pipeline,) = asked
    assert "summarize" in pipeline
    assert {name_of(batch.schema).rpartition("_")[0] for batch in arrived} == {
        re.search(r'@name = "(vastlab_[0-9a-f]+)_0"', pipeline)[1]
    }
    assert sum(batch.num_rows for batch in arrived) < EVENTS / 100


async def test_nothing_in_a_query_is_executed(awkward, tmp_path, monkeypatch):
    """A text is compared with, whatever commands it is made of."""
    monkeypatch.chdir(tmp_path)
    database, endpoint = awkward
    async with VAST(endpoint) as vast:
        assert await vast.count("s == $text", params={"text": HOSTILE}) == 1
        assert await vast.count("#type == $name", params={"name": HOSTILE}) == 2
        for text in ('" | shell "touch pwned', '"}}\n| shell "touch pwned" //', "$(touch pwned)"):
            assert await vast.count("s == $text", params={"text": text}) == 0
            found = await rows(endpoint, "$text in s", params={"text": text})
            assert found == await rows(database, "$text in s", params={"text": text})
    assert list(tmp_path.iterdir()) == []


async def test_demo_events_come_back_in_large_batches(endpoint):
    """All events, once, in batches that are worth their overhead."""
    async with VAST(endpoint) as vast:
        assert await vast.count() == EVENTS
        for _ in range(10):  # a pause of a busy machine ends a batch
            sizes = [part.num_rows async for part in vast.export(limit=0)]
            assert sum(sizes) == EVENTS
            if EVENTS / len(sizes) > 1024:
                return
    pytest.fail(f"{len(sizes)} batches of {EVENTS} events, ten times")


# --- modes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["continuous", "unified"])
async def test_events_that_arrive_are_returned(tmp_path, mode):
    """A live export sees new events, also of a schema that the node never had before."""
    with own.start_node(tmp_path) as node:
        async with VAST(node.endpoint) as vast:
            async with aclosing(vast.export("n >= 0", mode, 0)) as parts:
                first = asyncio.ensure_future(anext(parts))
                started = time.monotonic()
                number = 0
                while not first.done():  # until the export has begun, events are not seen
                    table = pa.table({"n": [number], "more": pa.array([None], pa.string())})
                    await vast.ingest(table, schema="test.live")
                    number += 1
                    assert time.monotonic() - started < 60
                part = await first
                assert part.name == "test.live"
                seen = part.to_pyarrow()["n"].to_pylist()
                while number - 1 not in seen:
                    seen += (await anext(parts)).to_pyarrow()["n"].to_pylist()
            # The node sends what is stored and what arrives side by side.
            begin = 0 if mode == "unified" else min(seen)
            assert sorted(seen) == list(range(begin, number))


@contextlib.contextmanager
def writer(endpoint, name):
    """Start a program that imports lines from its input, and leaves them in the node's memory."""
    argv = [
        *(process.find_tenzir(), "--bare-mode", f"--endpoint={endpoint}"),
        f'from_stdin {{ read_ndjson }} | @name = "{name}" | import',
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as child:

        def write(row):
            child.stdin.write(json.dumps(row).encode() + b"\n")
            child.stdin.flush()

        yield write
        child.stdin.close()


PLAIN, KNOWN, NEW = {"x": 1}, {"x": 2, "tags": [7]}, {"x": 3, "tags": ["foo"]}


# The node lists a field when it writes it.
@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")
@pytest.mark.parametrize("listed", [(PLAIN,), (PLAIN, KNOWN)])
async def test_events_in_memory_are_found_and_counted(tmp_path, monkeypatch, listed):
    """While one layout of a schema is written, nothing of the others is missed, known or new."""
    seconds = {"TENZIR_ACTIVE_PARTITION_TIMEOUT": "8s"}
    monkeypatch.setattr(own, "clean_environment", lambda: os.environ | seconds)
    name = "test.memory"
    with own.start_node(tmp_path) as node:
        for row in listed:
            with writer(node.endpoint, name) as write:
                write(row)
        async with VAST(node.endpoint) as vast:

            async def stored():
                return (await vast.status())["catalog"]["schemas"][name]["num-events"]

            async def found(expression):
                return [row.data async for row in to_json_rows(vast.export(expression, limit=0))]

            with contextlib.ExitStack() as stack:
                first, *others = (
                    stack.enter_context(writer(node.endpoint, name)) for _ in range(3)
                )
                events = len(listed)
                steps = zip((first, *others, first), (PLAIN, KNOWN, NEW, PLAIN), strict=True)
                started = time.monotonic()
                for number, (write, row) in enumerate(steps):
                    # The first layout is to be written some seconds before the others.
                    while number == 1 and time.monotonic() < started + 5:
                        await vast.count()
                    write(row)
                    events += 1
                    while await vast.count() < events:
                        pass
                states = {await stored()}
                while max(states) < events:
                    assert await vast.counts() == {name: events}
                    states.add(await stored())
                    assert await vast.counts("x >= 2") == {name: len(listed) + 1}
                    states.add(await stored())
                    assert await found('tags ni "foo"') == [NEW]
                    states.add(await stored())
                    assert len(await found("x >= 1")) == events
                    states.add(await stored())
            # Some were written while others were not.
            assert any(len(listed) < state < events for state in states)


@given(
    st.lists(
        st.sampled_from([Kind.TIME, Kind.DURATION]).flatmap(
            lambda kind: st.tuples(st.just(kind), st.integers(-(2**63), 2**63 - 1))
        ),
        min_size=50,
        max_size=500,
    )
)
@settings(max_examples=5)
def test_times_and_spans_are_exact_to_the_nanosecond(values):
    """The engine reads each literal as the value that was written, whatever its digits."""
    rows = []
    for kind, value in values:
        literal = Time(value) if kind is Kind.TIME else Duration(value)
        column = Column(Schema("x", (Field("x", Type(kind)),)).leaves[0])
        text = tql.condition(Predicate(column, Operator.GT, literal)).removeprefix("x > ")
        rows.append(f"{{x: {text} - {'1970-01-01' if kind is Kind.TIME else '0ns'}}}")
    steps = "| n = x.count_nanoseconds() | this = {n: n} | write_ndjson"
    program = str(process.find_tenzir())
    with tempfile.NamedTemporaryFile("w", suffix=".tql") as file:
        file.write(f"from {', '.join(rows)} {steps}")
        file.flush()
        done = subprocess.run(
            [program, "--bare-mode", "-f", file.name], capture_output=True, check=True
        )
    found = [json.loads(line)["n"] for line in done.stdout.splitlines()]
    assert found == [value for _, value in values]


# --- no trace -------------------------------------------------------------------------------


async def test_a_limit_leaves_no_trace(endpoint, traceless):
    """The program is gone with the last event that was wanted."""
    async with VAST(endpoint) as vast:
        assert sum([part.num_rows async for part in vast.export(limit=10)]) == 10
        assert children() == []


async def test_leaving_a_loop_leaves_no_trace(endpoint, traceless):
    """Who stops listening ends the program within a second."""
    async with VAST(endpoint) as vast:
        async with aclosing(vast.export(limit=0)) as parts:
            await anext(parts)
            started = time.monotonic()
        assert children() == []
        assert time.monotonic() - started < 5  # goal: 1 s on a quiet machine


async def test_cancelling_leaves_no_trace(endpoint, traceless):
    """A cancelled task ends the program that it waits for."""
    async with VAST(endpoint) as vast:
        task = asyncio.ensure_future(anext(vast.export(mode="continuous")))
        while not children():
            await asyncio.to_thread(os.getpid)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert children() == []


def test_an_interrupt_leaves_no_trace(endpoint, traceless):
    """Ctrl-C ends the query and its program; the connection goes on."""
    with vastlab.connect(endpoint) as vast:

        def interrupt():
            while not children():
                threading.Event().wait(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        assert vast.count() == EVENTS  # the client is found before
        thread.start()
        with pytest.raises((KeyboardInterrupt, vastlab.errors.QueryInterrupted)):
            vast.query(mode="continuous", limit=0)
        thread.join()
        assert children() == []


def test_an_exit_leaves_no_trace(endpoint, tmp_path):
    """An interpreter that ends in the middle of an export takes its program along."""
    code = """
import os, sys, vastlab
parts = vastlab.connect(sys.argv[1]).export(limit=0)
next(parts)
for pid in filter(str.isdigit, os.listdir("/proc")):
    if os.path.exists(f"/proc/{pid}/stat"):
        if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1] == str(os.getpid()):
            print(pid)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        (sys.executable, "-c", code, endpoint),
        capture_output=True,
        timeout=120,
        env=environment,
        check=True,
    )
    pids = [int(word) for word in done.stdout.split()]
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert list(tmp_path.iterdir()) == []


# --- trouble --------------------------------------------------------------------------------


def test_a_node_that_is_killed_is_an_error_with_the_rows_so_far(tmp_path, traceless):
    """The death of a node ends an export within ten seconds, and what had come is kept."""
    with own.start_node(tmp_path / "state") as node, vastlab.connect(node.endpoint) as vast:
        vast.ingest(pa.table({"n": [1, 2, 3]}), schema="test.n")
        killer = threading.Timer(4, os.kill, (node.pid, signal.SIGKILL))
        killer.start()
        started = time.monotonic()
        with pytest.raises(NodeError, match="is gone") as caught:
            vast.query(mode="unified", limit=0)
        assert caught.value.partial["test.n"]["n"].tolist() == [1, 2, 3]
        assert time.monotonic() - started < 4 + 10
        killer.join()


def test_a_program_that_hangs_is_an_error(endpoint, traceless):
    """A program that was stopped is given up within ten seconds, while its node is well."""
    with vastlab.connect(endpoint) as vast:
        vast.count()

        def stop():
            while not (found := children(only_exports=True)):
                threading.Event().wait(0.01)
            threading.Event().wait(1)
            for pid in found:
                os.kill(pid, signal.SIGSTOP)

        thread = threading.Thread(target=stop)
        thread.start()
        started = time.monotonic()
        with pytest.raises(NodeError, match="hangs"):
            vast.query(mode="continuous", limit=0)
        assert time.monotonic() - started < 20
        thread.join()


async def test_a_program_that_is_killed_is_an_error(endpoint, traceless):
    """A signal from elsewhere never makes a short answer look like a whole one."""
    async with VAST(endpoint) as vast, aclosing(vast.export(mode="unified", limit=0)) as parts:
        await anext(parts)
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(NodeError, match=r"signal 9|cut short"):
            async for _ in parts:
                pass


async def test_no_more_programs_than_allowed(endpoint, traceless):
    """More exports than programs may run wait, and all come to their end."""
    node = TenzirNode(parse_endpoint(endpoint), process.find_tenzir(), max_clients=2)
    most = 0

    async def count(number):
        nonlocal most
        found = 0
        async with aclosing(node.export(vastlab.nodes.base.Query(limit=number))) as parts:
            async for part in parts:
                most = max(most, len(children()))
                found += part.num_rows
        return found

    assert await asyncio.gather(*map(count, range(1, 7))) == list(range(1, 7))
    assert 1 <= most <= 2


async def test_nothing_listens():
    """A port that is closed is one clear error, soon."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(NodeConnectionError, match=f"127.0.0.1:{port}"):
        await VAST(f"127.0.0.1:{port}", client="tenzir").count()
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_something_else_listens(greeting):
    """A port of another service is one clear error, soon."""

    async def serve(reader, writer):
        writer.write(greeting)
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    started = time.monotonic()
    with pytest.raises(NodeConnectionError, match=f"127.0.0.1:{port}"):
        await VAST(f"127.0.0.1:{port}", client="tenzir").count()
    assert time.monotonic() - started < 8
    server.close()
