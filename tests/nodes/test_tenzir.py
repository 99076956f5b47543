"""A Tenzir node through a program of the tests that answers like `tenzir`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa
import pytest

from vastlab.arrow import schema as arrow_schema
from vastlab.client import VAST
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import NodeConnectionError, NodeError
from vastlab.expression import parse
from vastlab.expression.aggregates import Summary
from vastlab.expression.parameters import bind
from vastlab.nodes import process
from vastlab.nodes.base import ExportMode, Query
from vastlab.nodes.tenzir import TenzirNode
from vastlab.nodes.tenzir import client as tenzir_client
from vastlab.nodes.tenzir import node as tenzir_node
from vastlab.nodes.tenzir import passes as tenzir_passes
from vastlab.types import Field, Kind, Schema, Type

THINGS = Schema(
    "test.things",
    (Field("n", Type(Kind.INT64)), Field("who", Type(Kind.STRING)), Field("a", Type(Kind.IP))),
)
LAST = "2026-01-02T03:04:05.678000000Z"
PARTITION = {"schema": "test.things", "events": 7, "first": LAST, "last": LAST}
UNREACHABLE = "error: failed to connect to node: cannot_connect_to_node\n --> <input>:1:1\n"
CATALOG = "^schemas"
ENCLOSED = "vastlab_" + "f" * 16  # the program puts in what the pipeline says
MARK = "vastlab_" + "0" * 16 + "."
EXPORT = "^export"
PING = 'api "/ping"'


def described(name, **kinds):
    fields = [
        {"name": field, "type": {"name": None, "kind": kind, "attributes": [], "state": None}}
        for field, kind in kinds.items()
    ]
    return {"name": name, "kind": "record", "attributes": [], "state": {"fields": fields}}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


CATALOG_ANSWER = {
    "stdout": lines(described("test.things", n="int64", who="string", a="ip"), PARTITION)
}
PING_ANSWER = {"stdout": '{"version":"6.20.0"}\n'}


class Fake:
    """The program, what it answers, and what it was asked."""

    def __init__(self, folder):
        self.folder = folder
        self.program = folder / "tenzir"
        source = Path(__file__).with_name("fake_tenzir.py").read_text()
        self.program.write_text(f"#!{sys.executable} -S\n{source}")
        self.program.chmod(0o755)
        self.answer({})

    def answer(self, answers):
        known = {CATALOG: CATALOG_ANSWER, PING: PING_ANSWER} | answers
        (self.folder / "answers.json").write_text(json.dumps(list(known.items())))

    def stream(self, number, name="test.things", /, cut=None, **columns):
        """Write a stream as the node sends it: null fields are not in it."""
        batch = pa.RecordBatch.from_pydict(columns)
        schema = batch.schema.with_metadata({"TENZIR:name:0": name})
        path = self.folder / f"{number}.arrows"
        with pa.ipc.new_stream(str(path), schema) as writer:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
        if cut is not None:
            path.write_bytes(path.read_bytes()[:cut])
        return str(path)

    def catalog(self, answer=None):
        """Write the stream of a catalog that comes along with an export."""
        rows = (CATALOG_ANSWER if answer is None else answer)["stdout"].splitlines()
        return self.stream("catalog", ENCLOSED, rows=[json.dumps(rows)])

    def node(self, port=5158, **options):
        return TenzirNode(NodeEndpoint("127.0.0.1", port), self.program, **options)

    @property
    def calls(self):
        text = (self.folder / "calls.jsonl").read_text()
        # A call may just be writing its line.
        return [json.loads(line) for line in text.split("\n")[:-1]]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Make a fake, and see to it that nothing is left behind."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folder = tmp_path / "bin"
    folder.mkdir()
    before = {thread for thread in threading.enumerate() if thread.name.startswith("vastlab-")}
    fake = Fake(folder)
    yield fake
    assert list(temporary.iterdir()) == []
    after = {thread for thread in threading.enumerate() if thread.name.startswith("vastlab-")}
    assert after <= before
    shutil.rmtree(temporary)


@pytest.fixture
async def port():
    """Open a port that answers to a knock."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def two_exports(fake):
    """Wait until two exports have been started."""
    while len([call for call in fake.calls if "export" in call["pipeline"]]) < 2:
        await asyncio.to_thread(fake.folder.stat)


async def rows(stream):
    return [row async for part in stream for row in part.to_pyarrow().to_pylist()]


# --- what is asked --------------------------------------------------------------------------


async def test_the_program_gets_typed_arguments_and_a_clean_environment(fake, monkeypatch):
    """Nothing of our environment changes the program's settings; its timeout is short."""
    monkeypatch.setenv("TENZIR_ENDPOINT", "elsewhere:1")
    monkeypatch.setenv("VAST_ENDPOINT", "elsewhere:2")
    monkeypatch.setenv("UNRELATED", "kept")
    assert await fake.node(5160).ping() == "6.20.0"
    (call,) = fake.calls
    assert "--endpoint=127.0.0.1:5160" in call["argv"]
    assert {"--bare-mode", "--connection-timeout=5s", "--color=never"} <= set(call["argv"])
    assert "UNRELATED" in call["env"]
    assert not [name for name in call["env"] if name.startswith(("VAST_", "TENZIR_"))]


async def test_queries_are_in_files_of_this_user_only(fake):
    """A pipeline is not an argument: these are short, and all users see them."""
    await fake.node().ping()
    (call,) = fake.calls
    assert call["argv"][-2] == "-f"
    assert not any("ping" in argument for argument in call["argv"])


@pytest.mark.parametrize(
    "text", ['" | shell "touch x"', "'", "`$(id)`", "a\nb", "<socket>", "\\", "-f", "🦆"]
)
async def test_text_of_a_query_stays_text(fake, text):
    """What stands in quotes arrives in quotes, and names no step of the pipeline."""
    fake.answer({EXPORT: {}})
    query = Query(bind(parse("who == $text"), {"text": text}))
    assert await rows(fake.node().export(query)) == []
    pipeline = next(call["pipeline"] for call in fake.calls if "export" in call["pipeline"])
    quoted = json.dumps(text, ensure_ascii=False)
    assert f"who == {quoted}" in pipeline
    assert "shell" not in pipeline.replace(quoted, "")


@pytest.mark.parametrize(
    "mode, source",
    [
        (ExportMode.HISTORICAL, "export |"),
        (ExportMode.CONTINUOUS, "export live=true |"),
        (ExportMode.UNIFIED, "export live=true, retro=true |"),
    ],
)
async def test_modes(fake, mode, source):
    """Each mode is the option of `export` that means the same."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    await rows(fake.node().export(Query(mode=mode, limit=1)))
    assert any(call["pipeline"].startswith(source) for call in fake.calls)


# --- what comes back ------------------------------------------------------------------------


async def test_events_come_in_the_layout_of_the_catalog(fake):
    """Fields that the node left out for want of values are there again, in their order."""
    streams = [fake.stream(1, n=[1]), fake.stream(2, who=["me"], n=[2])]
    fake.answer({EXPORT: {"streams": streams}})
    parts = [part async for part in fake.node().export(Query())]
    assert all(part.to_pyarrow().schema == arrow_schema.to_arrow(THINGS) for part in parts)
    found = sorted((row for part in parts for row in part.to_pyarrow().to_pylist()), key=str)
    assert [(row["n"], row["who"], row["a"]) for row in found] == [(1, None, None), (2, "me", None)]


@pytest.mark.parametrize("mode", list(ExportMode))
@pytest.mark.parametrize("name", ["test.new", "test.things"])
async def test_events_of_layouts_that_the_catalog_does_not_list_are_filtered_here(fake, name, mode):
    """What arrived a moment ago is found, too, and only where it matches."""
    stream = fake.stream(1, MARK + name, n=[1, 2], other=["x", "y"])
    fake.answer({EXPORT: {"streams": [stream]}})
    query = Query(parse('other == "y"'), mode, limit=1)
    async for part in fake.node().export(query):
        assert part.name == name
        assert part.to_pyarrow().to_pylist() == [{"n": 2, "other": "y"}]


async def test_a_limit_ends_the_program(fake):
    """No event more than asked for, and the program is gone when the last one is here."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1, 2, 3])], "sleep": 60}})
    assert [row["n"] for row in await rows(fake.node().export(Query(limit=2)))] == [1, 2]
    assert all(has_ended(call["pid"]) for call in fake.calls)


async def test_leaving_and_cancelling_end_the_program(fake):
    """Whoever stops listening ends the program."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])], "sleep": 60}})
    async with aclosing(fake.node().export(Query())) as parts:
        await anext(parts)
    task = asyncio.ensure_future(rows(fake.node().export(Query())))
    await two_exports(fake)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(has_ended(call["pid"]) for call in fake.calls)


async def test_a_break_ends_the_program_with_its_client(fake, monkeypatch):
    """Whoever leaves a loop by `break` leaves nothing that outlives the client."""
    monkeypatch.setattr(process, "find_tenzir", lambda: fake.program)
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])], "sleep": 60}})
    async with VAST("127.0.0.1:5158", client="tenzir") as vast:
        async for _ in vast.export(limit=0):
            break
    assert all(has_ended(call["pid"]) for call in fake.calls)


async def test_the_second_export_does_not_ask_for_the_catalog(fake, tmp_path):
    """An export begins with the known catalog; the current one comes with the events."""
    node = fake.node()
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    await rows(node.export(Query()))
    flag = tmp_path / "bin" / "go"
    answer = {"streams": [fake.stream(1, n=[2]), fake.catalog()]}
    fake.answer({EXPORT: answer | {"wait_for": str(flag), "wait_at": 1}})
    task = asyncio.ensure_future(rows(node.export(Query())))
    await two_exports(fake)
    assert not task.done()  # nothing is returned before the catalog has confirmed it
    flag.touch()
    assert [row["n"] for row in await task] == [2]
    assert len(fake.calls) == 3


async def test_an_export_asks_again_where_the_catalog_is_old(fake, monkeypatch):
    """What came since would all have to be looked at."""
    monkeypatch.setattr(tenzir_node, "_LONGEST_KNOWN", 0)
    node = fake.node()
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    for _ in range(2):
        await rows(node.export(Query()))
    assert [call["pipeline"].split()[0] for call in fake.calls] == ["schemas", "export"] * 2


@pytest.mark.parametrize("limit", [0, 1])
async def test_an_export_begins_again_where_the_catalog_has_changed(fake, limit):
    """What was begun with an old catalog is dropped, and no event comes twice."""
    node = fake.node()
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    await rows(node.export(Query()))
    changed = {"stdout": lines(described("test.things", n="int64", more="string"), PARTITION)}
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1]), fake.catalog(changed)]}})
    assert await rows(node.export(Query(limit=limit))) == [{"n": 1, "more": None}]


async def test_the_catalog_comes_along_once(fake):
    """Events that were returned do not come again, whatever the catalog says by then."""
    node = fake.node()
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    await rows(node.export(Query()))
    first = {"streams": [fake.stream(1, n=[1]), fake.catalog()]}
    shutil.copy(fake.catalog({"stdout": ""}), other := str(fake.folder / "other.arrows"))
    fake.catalog()
    fake.answer({"head 5": first, EXPORT: {"streams": [other]}})
    assert [row["n"] for row in await rows(node.export(Query(limit=5)))] == [1]


@pytest.mark.parametrize("most_held", [0, 10])
async def test_an_export_asks_where_no_catalog_came_along(fake, monkeypatch, most_held):
    """An export does not wait endlessly for a catalog that is missing or late."""
    monkeypatch.setattr(tenzir_passes, "_MOST_HELD", most_held)
    node = fake.node()
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    for _ in range(2):
        assert [row["n"] for row in await rows(node.export(Query()))] == [1]
    assert [call["pipeline"].split()[0] for call in fake.calls] == [
        "schemas", "export", "export", "schemas", "export",
    ]  # fmt: skip


@pytest.mark.parametrize("most", [1, 2])
async def test_more_exports_than_programs_may_run_wait_for_their_turn(fake, most):
    """However few programs may run at once, all exports come to their end."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    node = fake.node(max_clients=most)
    for _ in range(2):
        found = await asyncio.gather(*(rows(node.export(Query())) for _ in range(4)))
        assert [len(each) for each in found] == [1, 1, 1, 1]


@pytest.mark.parametrize("peak, shown", [(2_000, 2_048_000), (2_000_000, 2_000_000), (None, None)])
async def test_memory_is_shown_in_bytes(fake, peak, shown):
    """The peak comes in KiB from some versions: it is never below the present use."""
    usage = {"current_memory_usage": 1_500_000, "peak_memory_usage": peak}
    fake.answer({"metrics": {"stdout": lines(usage)}, "partitions": {}})
    system = (await fake.node().status())["system"]
    assert (system["current-memory-usage"], system["peak-memory-usage"]) == (1_500_000, shown)


# --- counts ---------------------------------------------------------------------------------


async def test_everything_is_counted_from_the_catalog(fake):
    """What is stored is known; only what came later is counted."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, name=["test.things"], events=[2])]}})
    assert await fake.node().counts(Query()) == {"test.things": 7 + 2}
    (scan,) = (call["pipeline"] for call in fake.calls if call["pipeline"].startswith("export"))
    assert f"@import_time > {LAST[:-1]}5Z" in scan


async def test_a_count_that_fails_ends_what_else_was_asked(fake):
    """One question may still run when another one fails."""
    never = str(fake.folder / "never")
    fake.answer({"summarize name": {"status": 3}, EXPORT: {"wait_for": never}})
    with pytest.raises(NodeError, match="status 3"):
        await fake.node().counts(Query(parse("n >= 0")))
    assert all(has_ended(call["pid"]) for call in fake.calls)


async def test_an_empty_node_counts_nothing(fake):
    """No events, no schemas, no error."""
    fake.answer({CATALOG: {}, EXPORT: {}})
    assert await fake.node().counts(Query()) == {}
    assert await fake.node().schemas() == {}


async def test_a_time_that_is_none_never_becomes_part_of_a_query(fake):
    """Not even the node itself is trusted with the text of a query."""
    bad = {"stdout": lines(described("x", n="int64"), PARTITION | {"last": '1) | shell "x"'})}
    fake.answer({CATALOG: bad})
    with pytest.raises(NodeError, match="no time"):
        await fake.node().counts(Query())
    assert len(fake.calls) == 1


# --- failures -------------------------------------------------------------------------------


async def test_nothing_answers(fake):
    """A node that is not there is named, with what works without one."""
    fake.folder.joinpath("answers.json").write_text(
        json.dumps([[".*", {"stderr": UNREACHABLE, "status": 1}]])
    )
    for call in (fake.node().ping(), fake.node().status(), rows(fake.node().export(Query()))):
        with pytest.raises(NodeConnectionError, match=r"nothing answers at 127.0.0.1:5158.*demo:"):
            await call


async def test_the_nodes_own_error_is_told(fake):
    """What the program says is wrong is in the error, and all of it in `stderr`."""
    output = "warning: odd\nerror: failed to parse regex: missing )\n --> <input>:1:2\n"
    fake.answer({EXPORT: {"stderr": output, "status": 1}})
    with pytest.raises(NodeError, match=r"failed to parse regex: missing \)") as caught:
        await rows(fake.node().export(Query()))
    assert caught.value.stderr == output


@pytest.mark.parametrize(
    "end, message", [({"status": 3}, "ended with status 3"), ({"signal": 9}, "ended by signal 9")]
)
@pytest.mark.parametrize("before", [0, 1])
async def test_an_end_without_a_message_is_an_error(fake, end, message, before):
    """A program that dies never passes for one that is done; what it sent is kept.

    Also where its events still wait for the catalog, as those of a second export do.
    """
    node = fake.node()
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    for _ in range(before):
        await rows(node.export(Query()))
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])], **end}})
    seen = []
    with pytest.raises(NodeError, match=message):
        async for part in node.export(Query()):
            seen.append(part.num_rows)  # noqa: PERF401 - what came before the error counts
    assert seen == [1]


async def test_a_stream_that_is_cut_short_is_an_error(fake):
    """Not even where the program says that all is well."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, cut=250, n=[1])]}})
    with pytest.raises(NodeError, match="cut short"):
        await rows(fake.node().export(Query()))


async def test_warnings_are_no_errors(fake):
    """The error output of a program that succeeds is ignored."""
    output = "warning: event does not have field\nerror: not really\n"
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])], "stderr": output}})
    assert len(await rows(fake.node().export(Query()))) == 1


async def test_a_live_export_that_ends_by_itself_is_an_error(fake):
    """Events may go on to arrive: the end of the program is the end of the node."""
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])]}})
    with pytest.raises(NodeError, match="gone"):
        await rows(fake.node().export(Query(mode=ExportMode.CONTINUOUS)))


@pytest.mark.parametrize(
    "ask",
    [
        lambda node: rows(node.export(Query())),
        lambda node: node.counts(Query()),
        lambda node: node.summarize(Query(), Summary.parse("who", None, {})),
    ],
)
async def test_a_node_that_is_gone_is_noticed(fake, monkeypatch, ask):
    """The program would never end: a closed port ends the query."""
    monkeypatch.setattr(tenzir_client, "IDLE_SECONDS", 0.05)
    gone = {"stderr": UNREACHABLE, "status": 1}
    stream = fake.stream(1, name=["x"], events=[1])
    fake.answer({PING: gone, EXPORT: {"streams": [stream], "sleep": 60}})
    with pytest.raises(NodeError, match="is gone"):
        await ask(fake.node(1))
    assert all(has_ended(call["pid"]) for call in fake.calls)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells run times")
async def test_a_program_that_hangs_is_given_up(fake, monkeypatch, port):
    """A program that does not run at all while its node answers is ended."""
    monkeypatch.setattr(tenzir_client, "IDLE_SECONDS", 0.3)
    fake.answer({EXPORT: {"streams": [fake.stream(1, n=[1])], "sleep": 60}})
    with pytest.raises(NodeError, match="hangs"):
        await rows(fake.node(port).export(Query()))
    assert all(has_ended(call["pid"]) for call in fake.calls)


# --- ingest ---------------------------------------------------------------------------------


async def test_ingest_sends_arrow(fake, tmp_path):
    """Events go to the program's standard input as one Arrow stream of their schema."""
    received = tmp_path / "bin" / "received.arrows"
    fake.answer({"from_stdin": {"stdin_to": str(received)}})
    report = await fake.node().ingest(pa.table({"n": [1, 2, 3]}), schema="test.numbers")
    assert report.events == {"test.numbers": 3}
    table = pa.ipc.open_stream(received.read_bytes()).read_all()
    assert table["n"].to_pylist() == [1, 2, 3]
    assert arrow_schema.name_of(table.schema) == "test.numbers"


async def test_after_an_ingest_the_catalog_is_asked_again(fake, tmp_path):
    """What was added may have a layout of its own."""
    node = fake.node()
    fake.answer({
        "from_stdin": {"stdin_to": str(tmp_path / "bin" / "received")},
        EXPORT: {"streams": [fake.stream(1, n=[1])]},
    })  # fmt: skip
    await rows(node.export(Query()))
    await node.ingest(pa.table({"n": [1]}), schema="test.numbers")
    await rows(node.export(Query()))
    started = [call["pipeline"].split()[0] for call in fake.calls]
    assert started == ["schemas", "export", "from_stdin", "schemas", "export"]


async def test_an_ingest_that_the_node_refuses_is_its_error(fake):
    """The error of a refusal is the node's own message."""
    fake.answer({"from_stdin": {"stderr": "error: no space left\n", "status": 1}})
    with pytest.raises(NodeError, match="no space left"):
        await fake.node().ingest(pa.table({"n": [1, 2, 3]}), schema="test.numbers")
