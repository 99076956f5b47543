"""What a real VAST node printed, read again: no byte of it is lost or misunderstood."""

from __future__ import annotations

import json
import sys

import pytest

from vastlab.arrow import schema as arrow_schema
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import NodeConnectionError, NodeError
from vastlab.expression.ast import Constant
from vastlab.nodes.base import ExportMode, Query
from vastlab.nodes.vast import VastNode

REPLAY = """#!{python} -IS
import os, shutil, sys
command = next(word for word in sys.argv[1:] if not word.startswith("-"))
file = {files}.get(command)
if file is None:
    print({answers}.get(command, "{{}}"))
else:
    with open(file, "rb") as stdout:
        shutil.copyfileobj(stdout, sys.stdout.buffer)
    sys.stdout.flush()
    if command == "export":
        sys.stderr.write({stderr!r})
        sys.stderr.flush()
        status = {status}
        os.kill(os.getpid(), -status) if status < 0 else os._exit(status)
"""
ANSWERS = {
    "version": '"VAST": "v3.1.0"',
    "show": "[]",
    "status": '{"version": {"VAST": "v3.1.0"}}',
}


@pytest.fixture
def make_node(tmp_path):
    """Return a function that makes a node which prints files: one for each command."""

    def make(files, answers=ANSWERS, stderr="", status=0):
        program = tmp_path / "vast"
        files = {command: str(path) for command, path in files.items()}
        program.write_text(
            REPLAY.format(
                python=sys.executable, files=files, answers=answers, stderr=stderr, status=status
            )
        )
        program.chmod(0o755)
        return VastNode(NodeEndpoint("127.0.0.1", 5258), program)

    return make


@pytest.fixture
def replay(make_node):
    """Return a function that makes a node which prints a recording of an export."""

    def make(path, status=None, *, gone=False):
        (stdout,) = path.parent.glob(f"{path.stem}.stdout.*")
        if status is None:
            status = json.loads(path.read_text())["exit_code"]
        answers = ANSWERS | ({"status": "gone"} if gone else {})
        stderr = path.with_suffix(".stderr.txt").read_text()
        return make_node({"export": stdout}, answers, stderr, status)

    return make


async def exported(node, mode=ExportMode.HISTORICAL):
    """Collect what an export yields."""
    return [part.to_pyarrow() async for part in node.export(Query(Constant(True), mode))]


def cases(shared, folder, pattern):
    """List recordings of which the output was kept."""
    found = sorted((shared / "golden" / folder).glob(f"{pattern}.json"))
    return [path for path in found if [*path.parent.glob(f"{path.stem}.stdout.*")]]


async def test_every_recorded_export_is_read_whole(shared, replay):
    """As many rows arrive as were printed, with types that are VAST's."""
    summary = json.loads((shared / "golden" / "export" / "summary.json").read_text())
    rows = {case["case"]: case for case in summary}
    streams = json.loads((shared / "golden" / "arrow_streams.json").read_text())
    read = 0
    for path in cases(shared, "export", "*.arrow"):
        case = rows[path.stem.removesuffix(".arrow")]
        if case["arrow_exit"]:
            with pytest.raises(NodeError, match=r"!!|invalid option parameter"):
                await exported(replay(path))
            continue
        batches = await exported(replay(path))
        total = sum(batch.num_rows for batch in batches)
        assert total == min(case["json_rows_all"], case["max_events"]), path.stem
        runs = streams.get(f"export/{path.stem}.stdout.bin", [])
        assert bool(runs) == bool(batches)
        for batch in batches:
            schema = arrow_schema.from_arrow(batch.schema)
            assert batch.schema.equals(arrow_schema.to_arrow(schema), check_metadata=True)
        read += 1
    assert read >= 40


async def test_every_type_is_read(shared, replay):
    """The four events of all types arrive with the values that JSON shows."""
    (path,) = cases(shared, "types", "golden_types.arrow")
    (batch,) = await exported(replay(path))
    assert batch.num_rows == 4
    kinds = {str(leaf.type) for leaf in arrow_schema.from_arrow(batch.schema).leaves}
    assert {"bool", "int64", "uint64", "double", "duration", "time", "ip", "subnet"} <= kinds
    text = next(path.parent.glob("golden_types.json.stdout.*")).read_text().splitlines()
    for column in ("i", "u", "s"):
        recorded = [json.loads(line).get(column) for line in text]
        assert batch.column(column).to_pylist() == recorded


@pytest.mark.parametrize("case", ["c01", "c03", "c05", "c10"])
async def test_live_exports_are_read_whole(shared, replay, case):
    """Streams that alternate arrive batch by batch."""
    (path,) = cases(shared, "continuous", f"{case}_*")
    recorded = json.loads(path.read_text())["streams"]
    batches = await exported(replay(path, 0))
    expected = [rows for stream in recorded for rows in stream["batch_rows"]]
    assert [batch.num_rows for batch in batches] == expected


@pytest.mark.parametrize("case", ["c04", "c07", "c09", "c12", "k02", "k03", "k04"])
async def test_an_export_that_ended_otherwise_is_an_error(shared, replay, case):
    """A timeout, a signal, a node that was killed or stopped: none of these is a whole answer."""
    (path,) = cases(shared, "continuous", f"{case}_*")
    batches = []
    with pytest.raises(NodeError) as caught:
        async for part in replay(path, gone=True).export(
            Query(Constant(True), ExportMode.CONTINUOUS)
        ):
            batches.append(part.to_pyarrow())  # noqa: PERF401 - what came first counts
    recorded = json.loads(path.read_text())["streams"]
    expected = [rows for stream in recorded for rows in stream["batch_rows"]]
    assert [batch.num_rows for batch in batches] == expected
    assert str(caught.value)


async def test_recorded_errors_are_reported(shared, replay):
    """The last line of a failed call is the message; a missing node has its own class."""
    checked = 0
    for path in cases(shared, "errors", "x*"):
        record = json.loads(path.read_text())
        lines = path.with_suffix(".stderr.txt").read_text().splitlines()
        final = [line for line in lines if line.startswith("!! ")]
        if record["exit_code"] != 1 or not final:
            continue
        with pytest.raises(NodeError) as caught:
            await exported(replay(path))
        if "failed to connect" in final[-1]:
            assert isinstance(caught.value, NodeConnectionError)
        else:
            assert final[-1].split(": ", 1)[1][:40] in str(caught.value)
        checked += 1
    assert checked >= 20


async def test_recorded_answers_are_understood(shared, make_node):
    """Status, schemas and counts of a node with events of every kind.

    The events of a pipeline that selects fields keep their number and the name of their schema.
    """
    folder = shared / "golden" / "introspect"
    selected = shared / "golden" / "export" / "e44_pipeline_head.arrow.stdout.bin"
    node = make_node({
        "status": folder / "status_detailed.stdout.txt",
        "show": folder / "show_schemas.stdout.txt",
        "version": folder / "version.stdout.txt",
        "export": selected,
    })  # fmt: skip
    assert await node.ping() == "v3.1.0"
    status = await node.status()
    assert status["catalog"]["num-events"] == 22187
    schemas = await node.schemas()
    assert set(schemas) == set(status["catalog"]["schemas"])
    leaves = {leaf.name: leaf.type for leaf in schemas["zeek.conn"].leaves}
    assert str(leaves["id.resp_p"]) == "port"
    labels = {leaf.name: leaf.type for leaf in schemas["all_types"].leaves}["e"].labels
    assert [label for label, _ in labels] == ["A", "B", "C"]
    assert dict(schemas["all_types"].attributes) == {"some": "attr", "top_level_key": "v"}
    assert await node.counts(Query(Constant(True))) == {"zeek.conn": 5}


async def test_an_empty_node_is_understood(shared, make_node):
    """No bytes are no events, and an empty list no schemas."""
    folder = shared / "golden" / "empty_node"
    assert (folder / "empty_export_arrow.stdout.bin").read_bytes() == b""
    node = make_node({
        "show": folder / "empty_show_schemas.stdout.bin",
        "status": folder / "empty_status.stdout.bin",
        "export": folder / "empty_export_arrow.stdout.bin",
    })  # fmt: skip
    assert await exported(node) == []
    assert await node.schemas() == {}
    assert await node.counts(Query(Constant(True))) == {}
    assert (await node.status())["catalog"]["num-events"] == 0
