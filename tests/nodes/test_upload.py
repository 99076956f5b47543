"""Events on their way to a node: all of them, one stream for each layout, or an error."""

from __future__ import annotations

import asyncio
import sys
import threading

import pyarrow as pa
import pytest

from vastlab import demo
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, NodeError
from vastlab.nodes import process, upload


class Node:
    """Takes what is sent to it."""

    def __init__(self):
        self.received = []

    async def take(self, batches):
        self.received.append(pa.Table.from_batches(batches))


async def test_every_layout_is_sent_on_its_own(make_conn, make_dns):
    """All events arrive, with their names and types, one layout after the other."""
    node = Node()
    tables = [make_conn(range(5)), make_dns(["a", None]), make_conn(range(5, 7))]
    report = await upload.upload([pa.Table.from_batches([t]) for t in tables], node.take)
    assert report.events == {"zeek.conn": 7, "zeek.dns": 2}
    by_name = {arrow_schema.name_of(table.schema): table for table in node.received}
    assert sorted(by_name["zeek.conn"]["n"].to_pylist()) == list(range(7))
    assert by_name["zeek.conn"].schema == make_conn([1]).schema
    assert by_name["zeek.dns"]["query"].to_pylist() == ["a", None]


async def test_demo_events_survive_the_way():
    """Events of every kind of type come out as they went in."""
    node = Node()
    batches = list(demo.batches(2000))
    await upload.upload([pa.Table.from_batches([batch]) for batch in batches], node.take)
    sent = {arrow_schema.name_of(table.schema): table.num_rows for table in node.received}
    made = {}
    for batch in batches:
        name = arrow_schema.name_of(batch.schema)
        made[name] = made.get(name, 0) + batch.num_rows
    assert sent == made


async def test_what_cannot_be_read_sends_nothing(tmp_path):
    """A file that is not a log is an error before anything is sent."""
    node = Node()
    (tmp_path / "odd.bin").write_bytes(bytes(range(256)))
    with pytest.raises(FormatError, match=r"odd\.bin"):
        await upload.upload(tmp_path / "odd.bin", node.take)
    assert node.received == []


async def test_a_refusal_ends_the_upload(make_conn, make_dns):
    """The node's own error is raised, and no more is sent."""
    asked = []

    async def refuse(batches):
        asked.append(1)
        raise NodeError("no space left")

    tables = [pa.Table.from_batches([t]) for t in (make_conn([1]), make_dns(["a"]))]
    with pytest.raises(NodeError, match="no space left"):
        await upload.upload(tables, refuse)
    assert asked == [1]


async def test_cancelling_ends_the_reading(make_conn):
    """A cancelled upload gives its files up before it returns."""
    reading, sent = threading.Event(), Node()

    def endless():
        while True:
            reading.set()
            yield pa.Table.from_batches([make_conn([1])])

    task = asyncio.ensure_future(upload.upload(endless(), sent.take))
    await asyncio.to_thread(reading.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sent.received == []


ENV = {"PATH": "/usr/bin:/bin"}


async def test_a_program_reads_one_whole_stream(make_conn):
    """What is fed into a program is an Arrow stream with its end mark."""
    code = "import sys; sys.stdout.write(str(len(sys.stdin.buffer.read())))"
    batches = [make_conn([1]), make_conn([2])]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    done = await upload.feed((sys.executable, "-c", code), ENV, iter(batches))
    assert done == process.Completed(0, str(sink.getvalue().size).encode(), "")


async def test_a_program_that_ends_early_tells_why(make_conn):
    """The message of the program is the error, not the broken pipe."""
    code = "import sys; sys.stderr.write('no'); sys.exit(4)"
    batches = (make_conn(range(10_000)) for _ in range(50))
    done = await upload.feed((sys.executable, "-c", code), ENV, batches)
    assert (done.returncode, done.stderr) == (4, "no")


async def test_a_program_may_print_before_it_has_read_everything(make_conn):
    """More than a pipe holds goes both ways at once."""
    code = "import sys\nsys.stdout.write('x' * 1_000_000)\nsys.stdin.buffer.read()"
    done = await upload.feed((sys.executable, "-c", code), {}, large(make_conn))
    assert (done.returncode, len(done.stdout)) == (0, 1_000_000)


async def test_events_that_cannot_be_read_are_an_error_and_no_end_of_the_stream(make_conn):
    """A fault of ours is raised, and the program never sees the part as a whole stream."""

    def batches():
        yield make_conn(range(3))
        raise pa.ArrowInvalid("damaged")

    code = "import sys, pyarrow as pa\nprint(pa.ipc.open_stream(sys.stdin.buffer).read_all())"
    with pytest.raises(pa.ArrowInvalid, match="damaged"):
        await upload.feed((sys.executable, "-c", code), {}, batches())


def large(make_conn):
    """Yield more than a pipe holds."""
    for _ in range(100):
        yield make_conn(range(2_000))
