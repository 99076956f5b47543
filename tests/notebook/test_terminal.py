"""The extension in IPython on a terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.conftest import ROOT
from vastlab.connection import connect

pytestmark = pytest.mark.full
PATIENCE = 60
_MOVES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|\r")
# The catalogue is fetched in the background; a first Tab may come too early for it.
_KNOWN = (
    "import time; from IPython.core.completer import provisionalcompleter\n"
    "def known(text):\n"
    "    with provisionalcompleter():\n"
    "        return [w.text for w in get_ipython().Completer.completions(text, len(text))]\n"
    "while 'id.resp_p' not in known('%vast id.'): time.sleep(0.1)\n"
)


class Terminal:
    """IPython on a terminal that is as wide as a table."""

    def __init__(self, folder: Path, database: Path) -> None:
        startup = folder / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "first.py").write_text(_LOAD)
        env = os.environ | {
            "IPYTHONDIR": str(folder),
            "VAST_ENDPOINT": str(database),
            "PYTHONPATH": str(ROOT),
            "PROMPT_TOOLKIT_NO_CPR": "1",  # the terminal does not answer where the cursor is
            "TERM": "xterm",
        }
        command = ["-m", "IPython", "--colors=nocolor", "--no-banner", "--no-confirm-exit"]
        self._program = pexpect.spawn(
            sys.executable, command, env=env, cwd=str(folder), dimensions=(200, 200),
            encoding="utf-8", timeout=PATIENCE,
        )  # fmt: skip
        self._program.delaybeforesend = None
        self.until(r"In \[1\]:")

    def type(self, keys: str) -> None:
        self._program.send(keys)

    def until(self, pattern: str) -> str:
        """Wait for something to be shown; return what was shown before it, without moves."""
        self._program.expect(pattern)
        return _MOVES.sub("", self._program.before)

    def close(self) -> None:
        # Asked politely, it may take longer on a busy machine than pexpect waits for.
        self._program.kill(signal.SIGKILL)
        self._program.wait()
        self._program.close()


_LOAD = f"get_ipython().run_line_magic('load_ext', 'vastlab')\nnumber = 1\n{_KNOWN}"


@pytest.fixture
def terminal(tmp_path, folder) -> Iterator[Terminal]:
    started = Terminal(tmp_path, folder)
    yield started
    started.close()


def test_tab_lists_what_fits(terminal):
    """Where several names fit, all of them are listed."""
    terminal.type("%vast id.")
    terminal.type("\t")
    terminal.until(r"id\.orig_h")
    terminal.until(r"id\.resp_p")


def test_tab_completes_in_a_line(terminal):
    """Where one name fits, it is put in: here that of a variable."""
    terminal.type("%vast -n 0 -o found id.resp_p == $num")
    terminal.type("\t")
    terminal.until("ber")
    terminal.type("\r")
    terminal.until("found = 2 events in 2 schemas")


def test_tab_completes_in_a_cell(terminal):
    """The body of a cell magic is waited for, and completed."""
    terminal.type("%%vast -n 0 -o found\r")
    terminal.until(r"\.\.\.:")
    terminal.type("res")
    terminal.type("\t")
    terminal.until("p_p")
    terminal.type(" >= 1\r\r\r")
    terminal.until("found = 6 events in 2 schemas")


def test_text_is_shown_whole(terminal, folder):
    """The text of a result arrives as it is, and an error is one line."""
    with connect(str(folder)) as vast:
        whole = repr(vast.query(limit=0))
    terminal.type("%vast -n 0\r")
    shown = terminal.until(r"In \[2\]:")
    assert _timeless(whole) in _timeless(shown)
    terminal.type("%vast resp_p ==\r")
    shown = terminal.until(r"In \[3\]:")
    assert "ExpressionSyntaxError: unexpected end of the expression" in shown
    assert "Traceback" not in shown


def _timeless(text: str) -> str:
    return re.sub(r"\d+\.\d+ s|\d+ ms", "", text)
