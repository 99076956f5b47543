"""A local Tenzir node: started for a notebook, stopped with it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import psutil

from vastlab._text import cut, plain
from vastlab.endpoints import as_path
from vastlab.errors import LockedError, NodeError, UsageError
from vastlab.nodes import process
from vastlab.nodes.process import clean_environment
from vastlab.store.archive import is_archive
from vastlab.store.database import is_database
from vastlab.store.disk import lock

__all__ = ["OwnNode", "running_node", "start_node", "stop_node"]

START_SECONDS = 30.0
STOP_SECONDS = 15.0
_RECORD = "vastlab-node.json"
_ENDPOINT = "vastlab-node.endpoint"  # written by the node
_STARTING = "vastlab-node.lock"  # held while a node starts
_LOG = "node.log"
_LOCK = "pid.lock"  # the node's own
_POLL_SECONDS = 0.05


class OwnNode:
    """A running node; a context manager that stops it.

    Parameters
    ----------
    folder
        Its state.
    endpoint
        Where it listens, ``"127.0.0.1:port"``.
    pid
        Its process.
    """

    def __init__(self, folder: Path, endpoint: str, pid: int) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.pid = pid

    def __repr__(self) -> str:
        return f"OwnNode({str(self.folder)!r}, endpoint={self.endpoint!r})"

    def __enter__(self) -> OwnNode:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the node and wait until it is gone; nothing happens to one that is."""
        _stop(self.folder, self.pid)


def start_node(folder: str | os.PathLike[str], *, detached: bool = False) -> OwnNode:
    """Start a Tenzir node on a free port of this machine.

    Parameters
    ----------
    folder
        Where it keeps its events; made where it is missing.
    detached
        Whether the node outlives this process; else it is stopped when Python exits.

    Returns
    -------
    OwnNode
        Once it answers.

    Raises
    ------
    ClientNotFoundError
        No Tenzir is installed.
    LockedError
        A node runs on this folder already.
    UsageError
        The folder holds something else than the events of a node.
    NodeError
        The node does not start; the message has the last line of its log.
    """
    state = as_path(folder, "the folder").resolve()
    _refuse_a_running_node(state)
    _refuse_other_files(state)
    state.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(state):
        _refuse_a_running_node(state)
        pid = _spawn(state)
        try:
            node = OwnNode(state, _wait_until_it_answers(pid, state), pid)
            (state / _RECORD).write_text(json.dumps({"pid": pid, "endpoint": node.endpoint}))
        except BaseException:
            _end(pid)
            raise
    if not detached:
        weakref.finalize(node, _stop, state, pid)
    return node


def stop_node(folder: str | os.PathLike[str]) -> bool:
    """Stop the node that `start_node` started on a folder; return whether there was one."""
    state = as_path(folder, "the folder").resolve()
    running = running_node(state)
    return running is not None and _stop(state, running.pid)


def _stop(state: Path, pid: int) -> bool:
    """Stop one node on a folder; a later one on the same folder is left alone."""
    running = running_node(state)
    if running is None or running.pid != pid:
        return False
    _end(pid)
    (state / _RECORD).unlink(missing_ok=True)
    return True


def _end(pid: int) -> None:
    """Terminate a process, and kill it where that takes too long."""
    with contextlib.suppress(psutil.NoSuchProcess):
        child = psutil.Process(pid)
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            child.kill()
            child.wait()


def running_node(folder: str | os.PathLike[str]) -> OwnNode | None:
    """Return the node that `start_node` started on a folder, if it still runs."""
    state = as_path(folder, "the folder").resolve()
    try:
        record = json.loads((state / _RECORD).read_text())
        node = OwnNode(state, str(record["endpoint"]), int(record["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return node if _is_node(node.pid) else None


def _refuse_a_running_node(state: Path) -> None:
    if (running := running_node(state)) is not None:
        raise LockedError(
            f"a node runs on {state} already, at {running.endpoint}",
            hint=f'use connect("{running.endpoint}"), or stop it',
        )
    try:
        pid = int((state / _LOCK).read_text())
    except (OSError, ValueError):
        return
    if _is_node(pid):
        raise LockedError(
            f"another node runs on {state} already (process {pid})",
            hint="connect to where it listens, or choose another folder",
        )


def _refuse_other_files(state: Path) -> None:
    """Protect a folder of logs, which would be taken for a node's from then on."""
    if not state.is_dir() or {path.name for path in state.iterdir()} <= {_STARTING}:
        return
    if is_database(state) or not ((state / _LOG).exists() or is_archive(state)):
        raise UsageError(
            f"the folder {plain(str(state))} holds other files than a node's",
            hint="choose an empty one for the node, and import the files into it",
        )


@contextlib.contextmanager
def _one_at_a_time(state: Path) -> Iterator[None]:
    """Wait until no other process starts a node on the same folder."""
    with (state / _STARTING).open("wb") as file:
        lock(file.fileno())
        yield


def _spawn(state: Path) -> int:
    """Start the node in a session of its own, on a port it chooses; return its process id."""
    engine = process.find_tenzir_engine()
    (state / _ENDPOINT).unlink(missing_ok=True)
    argv = (
        "tenzir-node",
        "--bare-mode",
        "--endpoint=127.0.0.1:0",
        f"--write-endpoint={state / _ENDPOINT}",
        f"--state-directory={state}",
        "--console-verbosity=warning",
    )
    # Not subprocess: its objects must be waited for, and a node may outlive this process.
    with (state / _LOG).open("wb") as log, Path(os.devnull).open("rb") as nothing:
        streams = ((nothing, 0), (log, 1), (log, 2))
        actions = [(os.POSIX_SPAWN_DUP2, stream.fileno(), number) for stream, number in streams]
        return os.posix_spawn(engine, argv, clean_environment(), file_actions=actions, setsid=True)


def _wait_until_it_answers(pid: int, state: Path) -> str:
    """Return where the node listens, once it does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not _is_alive(pid):
            raise NodeError(
                f"the node on {state} ended while it started: {_last_line(state)}",
                hint=f"its log is {state / _LOG}",
            )
        with contextlib.suppress(OSError, ValueError):
            host, port = (state / _ENDPOINT).read_text().split(":")
            with socket.create_connection((host, int(port)), 1):
                return f"{host}:{int(port)}"
        time.sleep(_POLL_SECONDS)
    raise NodeError(
        f"the node on {state} does not answer after {START_SECONDS:g} s",
        hint=f"its log is {state / _LOG}",
    )


def _last_line(state: Path) -> str:
    lines = (state / _LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    output = [line.strip() for line in lines if line.strip()]
    return cut(output[-1], 200) if output else "it printed nothing"


def _is_alive(pid: int) -> bool:
    """Whether a process runs; a child that has ended is reaped."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        child = psutil.Process(pid)
        if child.status() != psutil.STATUS_ZOMBIE:
            return True
        child.wait(0)
    return False


def _is_node(pid: int) -> bool:
    """Whether a node runs in a process: its number may belong to another program by now."""
    try:
        return _is_alive(pid) and Path(psutil.Process(pid).cmdline()[0]).name == "tenzir-node"
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, IndexError):
        return False
