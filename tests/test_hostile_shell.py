"""What attackers write, on a terminal: nothing of it acts, and nothing is hidden."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests import hostile
from tests.conftest import ROOT

_NAMES = tuple(hostile.commands(Path(), dict.fromkeys(("torn", "nothing", "missing"), Path())))


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("hostile")
    made = hostile.commands(hostile.database(folder), hostile.logs(folder))
    # Each database that a command makes is another's hostile input: one must be there before.
    _on_a_terminal(folder, made["a malformed line"])
    return made


def _on_a_terminal(folder: Path, args: list[str]) -> tuple[int, str]:
    """Run the program with both of its outputs on a terminal; return what arrives there."""
    leader, follower = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "XDG_CACHE_HOME": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "vastlab", *args],
        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    parts: list[bytes] = []
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(65536):
                parts.append(part)
        except OSError:  # how Linux says that the other side is closed
            pass
    return process.wait(), b"".join(parts).decode()


@pytest.mark.parametrize("name", _NAMES)
def test_terminal_gets_no_controls(commands, tmp_path, name):
    """Whatever a command has to say, colours and cursor movements in it are its own."""
    code, text = _on_a_terminal(tmp_path, commands[name])
    assert code == 0 if name in hostile.FINE else code in {0, 1, 2}
    assert "red" in text or "src=x" in text, text
    assert "Traceback" not in text
    assert hostile.controls(text, terminal=True) == []
