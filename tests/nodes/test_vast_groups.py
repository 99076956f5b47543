"""What a VAST node is asked for a summary: groups by plain fields, else events."""

from __future__ import annotations

import functools
import json

import pyarrow as pa
import pytest

from tests.nodes.fake_vast import alive
from tests.nodes.test_vast_recordings import ANSWERS, make_node
from vastlab import group_frames
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import NodeError
from vastlab.expression import parse
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Constant
from vastlab.nodes.base import Query
from vastlab.nodes.vast import VastNode

__all__ = ["make_node"]
INT = pa.int64()
BIG = 2**62


@pytest.fixture
def server(server):
    """Run a node; at the end no program runs."""
    yield server
    server.close()
    assert not [call["pid"] for call in server.calls if alive(call["pid"])]


@pytest.fixture
def node(server):
    """Return a node that speaks with the server."""
    return VastNode(NodeEndpoint("127.0.0.1", server.port), server.program)


def events(name="flow", **columns):
    """Make a batch of events."""
    schema = {"who": pa.string(), "n": INT, "more": pa.uint64(), "took": pa.duration("ns")}
    used = {column: type_ for column, type_ in schema.items() if column in columns}
    fields = [pa.field(column, type_) for column, type_ in used.items()]
    arrays = [pa.array(columns[column], type_) for column, type_ in used.items()]
    metadata = {"VAST:name:0": name}
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata))


async def summarized(node, *by, expression="", **aggregates):
    """Return a summary as rows."""
    asked = Summary.parse(by or ("who",), None, aggregates)
    expr = parse(expression) if expression else Constant(True)
    groups = await node.summarize(Query(expr), asked)
    frame = group_frames.to_frame(groups, asked, None, 0)
    return sorted(frame.itertuples(index=False, name=None), key=repr)


def pipelines(server):
    """Return what exports were asked for."""
    return [call["argv"][-1] for call in server.calls if "export" in call["argv"]]


async def test_the_node_groups_and_only_groups_come_back(server, node):
    """Keys and values may be null; batches of one group are one row."""
    server.add(events(who=["a", "b", None], n=[1, None, -7]))
    server.add(events(who=["a", "b", "a"], n=[2, None, 5]))
    found = await summarized(node, total="sum(n)", least="min(n)", known="count(n)")
    assert [tuple(None if each != each else each for each in row) for row in map(plain, found)] == [
        ("a", 8, 1, 3),
        ("b", None, None, 0),
        (None, -7, -7, 1),
    ]
    assert pipelines(server) == [
        'where (#type == "flow") | summarize sum(n), min(n), max(n), count(n) by who'
    ]


def plain(row):
    """Replace what pandas writes for null."""
    return tuple(None if str(each) in ("<NA>", "nan", "None", "NaT") else each for each in row)


@pytest.mark.parametrize("sign", [1, -1])
async def test_a_sum_that_wraps_around_is_added_here(server, node, sign):
    """The third value brings the sum back: no sign of it is in the node's answer."""
    server.add(events(who=["a"] * 4, n=[sign * BIG, sign * BIG, sign * BIG, -sign * BIG]))
    server.add(events("calm", who=["b"], n=[1]))
    assert await summarized(node, total="sum(n)") == [("a", sign * 2 * BIG), ("b", 1)]
    assert len(pipelines(server)) == 3


@pytest.mark.parametrize(
    "by, function",
    [
        ("who", "count()"),
        ("who", "count_distinct(n)"),
        ("id.orig_h", "sum(orig_bytes)"),
    ],
)
async def test_what_the_node_computes_otherwise_is_grouped_here(
    server, node, make_conn, by, function
):
    server.add(events(who=["a", "b"], n=[1, 2]))
    server.add(make_conn(range(3)))
    asked = Summary.parse((by,), None, {"x": function})
    await node.summarize(Query(Constant(True)), asked)
    assert not any("summarize" in text for text in pipelines(server))


async def test_layouts_of_one_name_are_grouped_here(server, node):
    """The node would group each of them, and leave out one that lacks the field."""
    server.add(events(who=["a"], n=[1]))
    server.add(events(n=[1], more=[1]))
    assert await summarized(node, total="sum(n)") == [("a", 1)]
    assert not any("summarize" in text for text in pipelines(server))


async def test_other_schemas_are_grouped_beside_those_of_the_node(server, node, make_conn):
    server.add(events(who=["a"], n=[1]))
    server.add(events("other", who=["a", "b"], n=[10, 20]))
    server.add(events("other", who=["b"], n=[100], more=[2]))
    assert await summarized(node, total="sum(n)", expression='who != ""') == [("a", 11), ("b", 120)]
    assert pipelines(server) == [
        'where (#type == "flow" && who != "") | summarize sum(n), min(n), max(n), count(n) by who',
        'where #type != "flow" && who != ""',
    ]


@pytest.mark.parametrize("version", ["3.0.4", "2.4.2"])
async def test_an_older_node_knows_no_pipelines(server, node, version):
    server.set_program(version=f'{{"VAST": "v{version}"}}')
    server.add(events(who=["a", "a"], n=[1, 2]))
    assert await summarized(node, total="sum(n)") == [("a", 3)]
    assert not any("summarize" in text for text in pipelines(server))


async def test_a_node_that_dies_while_it_groups_is_an_error(server, node):
    server.add(events(who=["a"], n=[1]))
    server.faults.after, server.faults.end = 0, "stop"
    with pytest.raises(NodeError, match="gone"):
        await summarized(node, total="sum(n)")


async def test_a_recorded_answer_is_read(make_node, shared):
    """These are the groups that a real node found."""
    path = shared / "golden" / "export" / "e45_pipeline_summarize.arrow.stdout.bin"
    conn = {"record": [{"uid": "string"}, {"service": "string"}]}
    node = make_node({"export": path}, ANSWERS | {"show": json.dumps([{"zeek.conn": conn}])})
    summary = functools.partial(summarized, node, "service", known="count(uid)")
    rows = dict(map(plain, await summary(expression='#type == "zeek.conn"')))
    assert rows == {
        "smtp": 21, "ssl": 121, "ftp-data": 2, "http": 2386, None: 1863, "ftp": 2, "dns": 4067,
    }  # fmt: skip


async def test_an_answer_of_another_form_is_not_used(make_node, tmp_path):
    """A node that does not group returns the events, which are grouped here."""
    with pa.OSFile(str(tmp_path / "answer"), "wb") as file:
        batch = events(who=["a", "a"], n=[1, 2])
        with pa.ipc.new_stream(file, batch.schema) as stream:
            stream.write_batch(batch)
    flow = {"record": [{"who": "string"}, {"n": "int64"}]}
    shown = ANSWERS | {"show": json.dumps([{"flow": flow}])}
    node = make_node({"export": tmp_path / "answer"}, shown)
    assert await summarized(node, total="sum(n)") == [("a", 3)]


async def test_addresses_that_the_node_grouped_join_those_grouped_here(server, node):
    """One table has the groups of both."""
    address = pa.field("src", pa.binary(16), metadata={"ARROW:extension:name": "vast.address"})
    ips = pa.array([b"\0" * 15 + b"\1", b"\0" * 15 + b"\2"], pa.binary(16))
    for name, more in (("flow", []), ("other", []), ("other", [pa.field("x", INT)])):
        schema = pa.schema([address, pa.field("n", INT), *more], {"VAST:name:0": name})
        columns = [ips, pa.array([1, 2], INT), *[pa.array([0, 0], INT) for _ in more]]
        server.add(pa.RecordBatch.from_arrays(columns, schema=schema))
    found = await summarized(node, "src", total="sum(n)")
    assert [(str(src), total) for src, total in found] == [("::1", 3), ("::2", 6)]
    assert sum("summarize" in text for text in pipelines(server)) == 1
