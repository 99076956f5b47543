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


def _on_a_terminal(folder: Path, args: list[str]) -> str:
    """Run the program with both of its outputs on a terminal; return all that arrives there."""
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
    process.wait()
    assert process.returncode in {0, 1, 2}
    return b"".join(parts).decode()


@pytest.mark.parametrize("name", _NAMES)
def test_terminal_gets_no_controls(commands, tmp_path, name):
    """Whatever a command has to say, colours and cursor movements in it are its own."""
    text = _on_a_terminal(tmp_path, commands[name])
    assert "red" in text or "src=x" in text, text
    assert "Traceback" not in text
    shown = _without_progress(text)
    assert hostile.controls(shown, coloured=True) == []


def _without_progress(text: str) -> str:
    """Leave out how a progress bar moves on a terminal."""
    for moves in ("\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[1A", "\r"):
        text = text.replace(moves, "")
    return text
