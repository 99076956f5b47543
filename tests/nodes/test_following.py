"""A node that follows a folder of logs gives each event once, or warns."""

from __future__ import annotations

import os

import pytest

from tests.store.following import append, json_line
from vastlab.expression.ast import Constant
from vastlab.nodes.base import ExportMode, Notice, Query, Step
from vastlab.nodes.embedded import EmbeddedNode


@pytest.fixture
def logs(tmp_path):
    """Make an empty folder."""
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.mark.parametrize("mode", [ExportMode.CONTINUOUS, ExportMode.UNIFIED])
async def test_a_node_follows_half_lines(logs, tmp_path, monkeypatch, mode):
    """An export gives the events of a line that came in two parts once, in both modes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(EmbeddedNode, "_poll_seconds", 0)
    path = logs / "other.json"
    path.write_text(json_line(1) + json_line(2) + '{"n": 3')
    os.utime(path, (0, 0))
    node = EmbeddedNode(logs)
    expected = [3, 4] if mode is ExportMode.CONTINUOUS else [1, 2, 3, 4]
    stream = node.export(Query(Constant(True), mode, limit=len(expected)))
    assert await node.counts(Query(Constant(True))) == {"other": 2}
    append(path, "}\n" + json_line(4))
    found = [row["n"] async for part in stream for row in part.to_pyarrow().to_pylist()]
    assert found == expected
    await node.aclose()


async def test_a_node_warns_of_what_may_repeat(logs, tmp_path, monkeypatch):
    """The warning names the file that was rewritten."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(EmbeddedNode, "_poll_seconds", 0)
    path = logs / "other.json"
    path.write_text(json_line(1) + json_line(2))
    node = EmbeddedNode(logs)
    reported: list[Step | Notice] = []
    query = Query(Constant(True), ExportMode.UNIFIED, limit=4)
    stream = node.export(query, reported.append)
    found = []

    async def collect():
        async for part in stream:
            found.extend(row["n"] for row in part.to_pyarrow().to_pylist())
            if len(found) == 2:
                path.write_text(json_line(2) + json_line(3))

    await collect()
    (notice,) = (item for item in reported if isinstance(item, Notice))
    assert "other.json was rewritten" in notice.text
    assert found == [1, 2, 2, 3]
    await node.aclose()
