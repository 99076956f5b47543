"""A shell with the extension loaded, and a small database to ask."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.display.conftest import conn
from vastlab import notebook
from vastlab.store.database import Database
from vastlab.store.ingest import IngestProgress
from vastlab.store.log_folder import LogFolder


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    """Keep what tests ask out of the history of whoever runs them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "vastlab"


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Make a database of five connections and three lookups."""
    path = tmp_path_factory.mktemp("databases") / "small.db"
    tables = (conn([4, 3, 2, 1, 0]), conn([0, 1, 2], name="zeek.dns"))
    Database.create(path).add(batch for table in tables for batch in table.to_batches())
    return path


@pytest.fixture
def logs(tmp_path, monkeypatch) -> Path:
    """Make a folder of logs that is read for as long as somebody waits for that."""

    def refresh(self, progress, *, cancelled):
        progress(IngestProgress("conn.log", 1, 4, 250, 1000, 9000))
        cancelled.wait()

    monkeypatch.setattr(LogFolder, "refresh", refresh)
    return tmp_path


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
    notebook.load_ipython_extension(ip)
    yield Shell(ip)
    notebook.unload_ipython_extension(ip)
    ip.reset(new_session=False)
