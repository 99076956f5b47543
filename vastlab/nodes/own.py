"""A Tenzir node of one's own: started for a notebook, stopped with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
import weakref
from pathlib import Path

from vastlab._text import cut, plain
from vastlab.errors import LockedError, NodeError, UsageError
from vastlab.nodes import _programs
from vastlab.nodes._process import clean_environment
from vastlab.store.archive import is_archive
from vastlab.store.database import is_database

__all__ = ["OwnNode", "running_node", "start_node", "stop_node"]

START_SECONDS = 30.0
STOP_SECONDS = 15.0
_RECORD = "vastlab-node.json"
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
        stop_node(self.folder)


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
        The node does not start; its last words say why.
    """
    state = Path(folder).resolve()
    if (running := running_node(state)) is not None:
        raise LockedError(
            f"a node runs on {state} already, at {running.endpoint}",
            hint=f'use connect("{running.endpoint}"), or stop it',
        )
    _refuse_a_foreign_node(state)
    _refuse_other_files(state)
    state.mkdir(parents=True, exist_ok=True)
    endpoint = f"127.0.0.1:{_free_port()}"
    node = OwnNode(state, endpoint, _spawn(state, endpoint))
    (state / _RECORD).write_text(json.dumps({"pid": node.pid, "endpoint": endpoint}))
    try:
        _wait_until_it_answers(node.pid, state, endpoint)
    except BaseException:
        stop_node(state)
        raise
    if not detached:
        weakref.finalize(node, stop_node, state)
    return node


def stop_node(folder: str | os.PathLike[str]) -> bool:
    """Stop the node that `start_node` started on a folder.

    Parameters
    ----------
    folder
        The folder that was given to `start_node`.

    Returns
    -------
    bool
        Whether there was one.
    """
    state = Path(folder).resolve()
    running = running_node(state)
    if running is None:
        return False
    deadline = time.monotonic() + STOP_SECONDS
    _signal(running.pid, signal.SIGTERM)
    while _is_alive(running.pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _signal(running.pid, signal.SIGKILL)
    while _is_alive(running.pid):
        time.sleep(_POLL_SECONDS)
    (state / _RECORD).unlink(missing_ok=True)
    return True


def running_node(folder: str | os.PathLike[str]) -> OwnNode | None:
    """Return the node that `start_node` started on a folder, if it still runs.

    Parameters
    ----------
    folder
        The folder that was given to `start_node`.
    """
    state = Path(folder).resolve()
    try:
        record = json.loads((state / _RECORD).read_text())
        node = OwnNode(state, str(record["endpoint"]), int(record["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return node if _is_alive(node.pid) and _is_node(node.pid) else None


def _refuse_a_foreign_node(state: Path) -> None:
    try:
        pid = int((state / _LOCK).read_text())
    except (OSError, ValueError):
        return
    if _is_alive(pid) and _is_node(pid):
        raise LockedError(
            f"another node runs on {state} already (process {pid})",
            hint="connect to where it listens, or choose another folder",
        )


def _refuse_other_files(state: Path) -> None:
    """Protect a folder of logs, which would be taken for a node's from then on."""
    if not state.is_dir() or not any(state.iterdir()):
        return
    if is_database(state) or not ((state / _LOG).exists() or is_archive(state)):
        raise UsageError(
            f"the folder {plain(str(state))} holds other files than a node's",
            hint="choose an empty one for the node, and import the files into it",
        )


def _spawn(state: Path, endpoint: str) -> int:
    """Start the node in a session of its own, and return its process id."""
    engine = _programs.find_tenzir_engine()
    argv = (
        "tenzir-node",
        "--bare-mode",
        f"--endpoint={endpoint}",
        f"--state-directory={state}",
        "--console-verbosity=warning",
    )
    # Not subprocess: its objects want to be waited for, and a node may outlive us.
    with (state / _LOG).open("wb") as log, Path(os.devnull).open("rb") as nothing:
        streams = ((nothing, 0), (log, 1), (log, 2))
        actions = [(os.POSIX_SPAWN_DUP2, stream.fileno(), number) for stream, number in streams]
        return os.posix_spawn(engine, argv, clean_environment(), file_actions=actions, setsid=True)


def _wait_until_it_answers(pid: int, state: Path, endpoint: str) -> None:
    host, port = endpoint.split(":")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not _is_alive(pid):
            raise NodeError(
                f"the node on {state} ended while it started: {_last_words(state)}",
                hint=f"its log is {state / _LOG}",
            )
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(_POLL_SECONDS)
    raise NodeError(
        f"the node on {state} does not answer after {START_SECONDS:g} s",
        hint=f"its log is {state / _LOG}",
    )


def _last_words(state: Path) -> str:
    lines = (state / _LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return cut(said[-1], 200) if said else "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one of our own that has ended is reaped on the way."""
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_node(pid: int) -> bool:
    """Whether a process is what we started: its number may have come to another one."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # no /proc here: the number has to do
    return Path(os.fsdecode(argv.split(b"\0")[0])).name == "tenzir-node"
