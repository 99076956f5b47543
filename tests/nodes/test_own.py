"""A node of one's own starts on a free port and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vastlab.endpoints import parse_endpoint
from vastlab.errors import ClientNotFoundError, LockedError, NodeError, UsageError
from vastlab.nodes import own
from vastlab.nodes import process as _programs
from vastlab.nodes.tenzir import TenzirNode
from vastlab.store.database import Database

needs_tenzir = pytest.mark.skipif(
    _programs.find_tenzir() is None, reason="the package tenzir is not installed"
)


def is_gone(pid):
    """Whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.full
@needs_tenzir
def test_a_node_answers_until_it_is_stopped(tmp_path):
    """A started node answers at its endpoint; a stopped one is gone, with its record."""
    with own.start_node(tmp_path / "state") as node:
        client = TenzirNode(parse_endpoint(node.endpoint), _programs.find_tenzir())
        assert asyncio.run(client.ping()).startswith("6.")
        assert own.running_node(tmp_path / "state").endpoint == node.endpoint
        with pytest.raises(LockedError, match=node.endpoint):
            own.start_node(tmp_path / "state")
    assert is_gone(node.pid)
    assert own.running_node(tmp_path / "state") is None
    assert own.stop_node(tmp_path / "state") is False


@pytest.mark.full
@needs_tenzir
@pytest.mark.parametrize("detached", [False, True])
def test_a_node_ends_with_the_interpreter_unless_it_is_detached(tmp_path, detached):
    """A node that was started for a notebook goes with it; one of the shell stays."""
    start = f"start_node({str(tmp_path)!r}, detached={detached})"
    code = f"from vastlab.nodes.own import start_node; node = {start}; print(node.pid)"
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, check=True, timeout=120
    )
    try:
        assert is_gone(int(done.stdout)) is not detached
    finally:
        assert own.stop_node(tmp_path) is detached
    assert is_gone(int(done.stdout))


@pytest.mark.full
@needs_tenzir
def test_of_several_starts_on_one_folder_one_succeeds(tmp_path):
    """Processes that start a node at once get one node, and errors that name it."""
    code = (
        "import sys\nfrom vastlab.errors import LockedError\n"
        "from vastlab.nodes.own import start_node\n"
        "try:\n    print(start_node(sys.argv[1], detached=True).pid)\n"
        "except LockedError as error:\n    print(error)\n"
    )
    command = (sys.executable, "-c", code, str(tmp_path))
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = sorted(start.communicate(timeout=120)[0].strip() for start in starts)
    node = own.running_node(tmp_path)
    try:
        assert answers[0] == str(node.pid)
        assert all(f"a node runs on {tmp_path}" in text for text in answers[1:])
        assert all(node.endpoint in text for text in answers[1:])
    finally:
        own.stop_node(tmp_path)


@pytest.mark.full
@needs_tenzir
def test_a_node_that_died_takes_no_later_one_along(tmp_path):
    """The object of a node that is gone stops nothing, not even a new node on its folder."""
    first = own.start_node(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    with own.start_node(tmp_path) as second:
        first.stop()
        del first
        gc.collect()
        assert own.running_node(tmp_path).pid == second.pid


def test_without_tenzir_the_error_names_the_remedy(tmp_path, monkeypatch):
    """Where no Tenzir is installed, the error says how to get one, and nothing is made."""
    monkeypatch.setattr(_programs, "_bundled", lambda *parts: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClientNotFoundError, match=r"vastlab\[tenzir\]"):
        own.start_node(tmp_path / "state")
    assert own.running_node(tmp_path / "state") is None


@pytest.mark.parametrize("make", [lambda folder: (folder / "a.log").touch(), Database.create])
def test_no_node_takes_a_folder_of_logs_or_a_database(tmp_path, make):
    """What is in it would be read as a node's from then on: nothing is started or made there."""
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="holds other files than a node's"):
        own.start_node(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_node_that_cannot_start_says_why(tmp_path, monkeypatch):
    """What the program says before it ends is in the error, and its record is removed."""
    program = tmp_path / "engine"
    program.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(_programs, "find_tenzir_engine", lambda: program)
    with pytest.raises(NodeError, match="no space left"):
        own.start_node(tmp_path / "state")
    assert own.running_node(tmp_path / "state") is None


@pytest.mark.parametrize("record", ["", "{}", '{"pid": "x", "endpoint": 1}', "[1]"])
def test_a_damaged_record_is_no_running_node(tmp_path, record):
    """A record that cannot be read is like none."""
    (tmp_path / "vastlab-node.json").write_text(record)
    assert own.running_node(tmp_path) is None


def test_a_recycled_process_number_is_no_running_node(tmp_path):
    """A process of the recorded number that is something else is left alone."""
    record = {"pid": os.getpid(), "endpoint": "127.0.0.1:5158"}
    (tmp_path / "vastlab-node.json").write_text(json.dumps(record))
    assert own.running_node(tmp_path) is None
    assert own.stop_node(tmp_path) is False


@pytest.fixture
def other_node(tmp_path):
    """Run a program that looks like a node, on its folder."""
    program = tmp_path / "tenzir-node"
    program.symlink_to(Path("/bin/cat").resolve())
    pipe = subprocess.PIPE
    with subprocess.Popen((str(program),), stdin=pipe, stdout=pipe, bufsize=0) as process:
        try:
            process.stdin.write(b"here\n")
            assert process.stdout.readline() == b"here\n"  # it has its own name from now on
            yield process
        finally:
            process.kill()


def test_an_object_whose_node_died_leaves_its_successor_alone(tmp_path, other_node):
    """On the folder of a node that died another one runs: only that one's object stops it."""
    record = {"pid": other_node.pid, "endpoint": "127.0.0.1:5158"}
    (tmp_path / "vastlab-node.json").write_text(json.dumps(record))
    own.OwnNode(tmp_path, "127.0.0.1:5159", other_node.pid + 1).stop()
    assert not is_gone(other_node.pid)
    assert own.running_node(tmp_path).pid == other_node.pid
    own.running_node(tmp_path).stop()
    assert own.running_node(tmp_path) is None


def test_a_node_of_somebody_else_is_left_alone(tmp_path, other_node):
    """Two nodes on one folder would ruin it: the second one is refused."""
    (tmp_path / "pid.lock").write_text(f"{other_node.pid}\n")
    with pytest.raises(LockedError, match=f"process {other_node.pid}"):
        own.start_node(tmp_path)
