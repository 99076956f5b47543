"""The lab and nodes of one's own on the shell."""

from __future__ import annotations

import pytest

from tests.cli.program import one_line, start
from vastlab.cli import programs
from vastlab.nodes import process as _programs


def test_lab_starts_on_the_demo(shell, monkeypatch, tmp_path):
    """JupyterLab gets the notebooks, the demo by default, and folders as absolute paths."""
    started = []

    def become(command, environment):
        started.append((command, environment["VAST_ENDPOINT"]))
        return 0

    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(programs, "_replace_process", become)
    assert shell("lab") == 0
    assert shell("lab", "-e", "logs", "--", "--no-browser") == 0
    (first, demo), (second, logs) = started
    assert first[1:3] == ["-m", "jupyterlab"]
    assert demo == "demo:"
    assert second[-1] == "--no-browser"
    assert logs == str(tmp_path / "logs")


def test_lab_says_what_is_missing(shell, capfd, monkeypatch):
    """Without JupyterLab the error says how to get it."""
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    assert shell("lab") == 2
    assert "vastlab[lab" in one_line(capfd.readouterr().err)


@pytest.mark.parametrize("action", ["stop", "status"])
def test_no_node_runs(shell, capfd, tmp_path, action):
    """Without a started node there is a message, and the exit code is 1."""
    assert shell("node", action, str(tmp_path)) == 1
    assert "no node" in one_line(capfd.readouterr().err)


def test_node_cannot_start(shell, capfd, tmp_path, monkeypatch):
    """Where no engine is installed, the remedy is named."""
    monkeypatch.setattr(_programs, "_bundled", lambda *parts: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shell("node", "start", "state") == 2
    assert "vastlab[tenzir]" in one_line(capfd.readouterr().err)


@pytest.mark.full
@pytest.mark.skipif(_programs.find_tenzir() is None, reason="the package tenzir is not installed")
def test_node_start_status_stop(cache, tmp_path):
    """A node that the shell started answers until the shell stops it."""

    def node(action: str) -> tuple[int, str]:
        process = start(cache, tmp_path, "node", action, "state")
        out, _ = process.communicate(timeout=120)
        return process.returncode, out.decode()

    try:
        code, endpoint = node("start")
        assert code == 0
        assert node("status") == (0, endpoint)
        count = start(cache, tmp_path, "count", "-e", endpoint.strip())
        assert count.communicate(timeout=120)[0] == b"0\n"
    finally:
        assert node("stop") == (0, "")
    assert node("status") == (1, "")
