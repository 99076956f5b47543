"""The lab and nodes of one's own on the shell."""

from __future__ import annotations

import os
import signal
import socket

import psutil
import pytest

from tests.cli.program import one_line, start
from vastlab import demo
from vastlab.cli import programs
from vastlab.nodes import process as _programs
from vastlab.store.database import Database


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


def test_a_cluster_needs_a_database(shell, capfd, tmp_path):
    """Logs and nodes are refused, with what to do."""
    (tmp_path / "logs").mkdir()
    for endpoint in ("logs", "127.0.0.1:5158"):
        assert shell("cluster", "-e", endpoint) == 2
        assert "vastlab import" in one_line(capfd.readouterr().err)


def test_a_cluster_reads_a_bucket():
    """What is in it is seen by the workers."""
    assert programs._database("s3://bucket/case.db") == "s3://bucket/case.db"


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_refused(shell, capfd, tmp_path, port):
    """Dask would take the rest of a division."""
    Database.create(tmp_path / "a.db")
    assert shell("cluster", f"--port={port}", "-e", str(tmp_path / "a.db")) == 2
    assert "up to 65535" in one_line(capfd.readouterr().err)


@pytest.mark.full
def test_a_port_that_is_in_use_is_one_clear_error(cache, tmp_path):
    """It is no fault of the program."""
    Database.create(tmp_path / "a.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(cache, tmp_path, "cluster", "--port", port, "-e", "a.db")
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 2
    assert "the cluster did not start: " in said
    assert "a fault of vastlab" not in said


@pytest.mark.full
def test_a_cluster_runs_until_ctrl_c(cache, tmp_path):
    """It prints an endpoint that answers, and ends quietly, with all processes.

    A terminal sends the interrupt to all of them.
    """
    Database.create(tmp_path / "a.db").add(demo.batches(1_000))
    process = start(
        cache, tmp_path, "cluster", "--workers", "1", "-e", "a.db", start_new_session=True
    )
    endpoint = process.stdout.readline().decode().strip()
    assert endpoint.startswith("dask://127.0.0.1:")
    count = start(cache, tmp_path, "count", "-e", endpoint, 'uid == /C.*/ || uid != "a"')
    assert int(count.communicate(timeout=120)[0]) > 0
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "dashboard" in one_line(said.decode())
    assert psutil.wait_procs(children, timeout=30)[1] == []


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
