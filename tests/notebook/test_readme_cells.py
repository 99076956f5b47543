"""The cells that the README shows run as they stand, on a folder of logs named as there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import ROOT

_TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_SAVED = "\n".join(re.findall(r"^```yaml\n(- name: .*?)^```$", _TEXT, re.MULTILINE | re.DOTALL))
_FORMS = re.compile(r"`(%vast_run [a-z][^`]+)`")
_BLOCKS = re.findall(r"^```ipython\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a home with `~/logs` in it, and work in a folder with the README's saved query."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "conn.log").write_text("".join(json.dumps(_conn(n)) + "\n" for n in range(50)))
    (tmp_path / "queries.yaml").write_text(_SAVED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _conn(number: int) -> dict[str, Any]:
    return {
        "_path": "conn", "ts": 1_772_500_000 + 3_600 * number, "uid": f"C{number}",
        "id.orig_h": "10.1.4.17", "id.orig_p": 50_000 + number, "id.resp_h": "192.0.2.1",
        "id.resp_p": (22, 443)[number % 2], "proto": "tcp", "orig_bytes": 2_000 + number,
    }  # fmt: skip


def _cells(block: str) -> list[str]:
    """Return the cells of a block: a cell magic with what follows, or single lines."""
    cells: list[str] = []
    for part in block.split("\n\n"):
        cells += [part] if part.startswith("%%") else part.splitlines()
    return cells


def test_the_first_cells_say_what_they_are_said_to(shell, home):
    """Events to the port, a timeline by day, and an explorer on everything."""
    load, use, ask, timeline, explore = _cells(_BLOCKS[0])
    shell.run(load)
    shell.run(use)
    found = shell.run(ask)
    assert found.num_rows == 25
    assert set(found.one()["id.resp_p"]) == {443}
    assert shell.run(timeline)["events"].sum() == 25
    box = shell.run(explore)
    try:
        assert box.result.num_rows == 50
    finally:
        box.close()


def test_the_other_cells_run(shell, home):
    """Cells of the later blocks, and the saved query in each way that it is asked."""
    shell.run("%load_ext vastlab")
    shell.run("%vast_use ~/logs")
    for block in _BLOCKS[1:]:
        for cell in _cells(block):
            shell.run(cell)
    assert shell.names["large"].num_rows == 50
    assert shell.names["newest"].num_rows == 5
    asked = _FORMS.findall(_TEXT)
    assert asked
    for line in asked:
        assert shell.run(line).num_rows == 25
