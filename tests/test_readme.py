"""The README: its shell sessions print what it says (its Python sessions are doctests)."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from vastlab import cli

_README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ vastlab (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_SESSIONS = [
    match.groups()
    for block in _BLOCK.findall(_README.read_text(encoding="utf-8"))
    for match in _COMMAND.finditer(block)
]


@pytest.mark.parametrize("command, printed", _SESSIONS, ids=[command for command, _ in _SESSIONS])
def test_shell_session_is_true(capsys, monkeypatch, command, printed):
    """A command in the README prints what stands below it."""
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    assert cli.run(shlex.split(command)) == 0
    found = capsys.readouterr().out
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(printed, found, options), found


def test_there_are_sessions():
    """The README shows the shell at work."""
    assert len(_SESSIONS) >= 3
