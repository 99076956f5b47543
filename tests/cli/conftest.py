"""What the tests of the shell share: an empty folder, a small database, a cache of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from vastlab import cli
from vastlab.nodes import demo as demo_node


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Give a cache folder to these tests alone."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> str:
    """Make a small demo database."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    demo_node.make(path, 3_000)
    return str(path)


@pytest.fixture
def shell(cache, tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    return lambda *args: cli.run(args)
