"""A shell with the extension loaded, and a small database to ask."""

from __future__ import annotations

import builtins
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.doubles import read_without_end
from vastlab import notebook
from vastlab.connection import Connection
from vastlab.notebook.explorer.panel import Panel


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    """Keep what tests ask out of the user's history."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "vastlab"


@pytest.fixture(scope="session")
def folder(small_database) -> Path:
    """Return a database of five connections and three lookups."""
    return small_database


@pytest.fixture
def logs(tmp_path, monkeypatch) -> Path:
    """Make a folder of logs, which is read without end."""
    read_without_end(monkeypatch)
    return tmp_path


def send(panel: Panel, **message: Any) -> None:
    """Send what the page of a panel sends after a click, and wait for what it starts."""
    version = panel.table.view["version"]
    panel.table._received(panel.table, {**message, "version": version}, [])
    panel.wait()


class Shell:
    """An IPython shell whose cells return their value and raise their errors."""

    def __init__(self, ip: InteractiveShell) -> None:
        self.ip = ip

    def run(self, cell: str) -> Any:
        """Run a cell."""
        done = self.ip.run_cell(cell)
        done.raise_error()
        return done.result

    @property
    def names(self) -> dict[str, Any]:
        return self.ip.user_ns


@pytest.fixture(scope="session")
def ip(tmp_path_factory) -> InteractiveShell:
    """Start the one shell that a process may have, without a history on disk."""
    config = Config()
    config.HistoryManager.enabled = False
    folder = tmp_path_factory.mktemp("ipython")
    return InteractiveShell.instance(ipython_dir=str(folder), colors="nocolor", config=config)


@pytest.fixture
def shell(ip, monkeypatch, folder) -> Iterator[Shell]:
    monkeypatch.setenv("VAST_ENDPOINT", str(folder))
    # An example that ran before in this process leaves its last value there, and IPython then
    # takes `_` for the user's.
    monkeypatch.delattr(builtins, "_", raising=False)
    # A connection of another test that is still open would be asked instead.
    monkeypatch.setattr(Connection, "newest", staticmethod(lambda: None))
    notebook.load_ipython_extension(ip)
    yield Shell(ip)
    notebook.unload_ipython_extension(ip)
    # Resetting collects garbage twice, which takes a second in a process of many tests.
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
    ip.reset(new_session=False)
