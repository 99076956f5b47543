"""What each command does, by its name."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from vastlab._text import plain
from vastlab.cli import _databases, _queries
from vastlab.cli._arguments import endpoint_of
from vastlab.cli._terminal import complain
from vastlab.config import PathEndpoint, resolve_endpoint
from vastlab.errors import UsageError
from vastlab.nodes import own

_NOT_RUNNING = 1  # the exit code where there is no node


def node(args: Namespace) -> int:
    """Start a node that outlives this process, stop it, or tell where it listens."""
    match args.action:
        case "start":
            started = own.start_node(args.folder, detached=True)
            sys.stdout.write(f"{started.endpoint}\n")
            complain(
                plain(f"stop it with: vastlab node stop {shlex.quote(args.folder)}"), style="dim"
            )
            return 0
        case "stop":
            if own.stop_node(args.folder):
                return 0
        case _:
            if (running := own.running_node(args.folder)) is not None:
                sys.stdout.write(f"{running.endpoint}\n")
                return 0
    complain(plain(f"no node of vastlab's runs on {args.folder}"))
    return _NOT_RUNNING


def lab(args: Namespace) -> int:
    """Open the notebooks in JupyterLab."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError(
            "JupyterLab is not installed", hint="make lab, or pip install 'vastlab[lab,plots]'"
        )
    notebooks = Path(__file__).resolve().parents[2] / "notebooks"
    folder = notebooks if notebooks.is_dir() else Path.cwd()
    environment = dict(os.environ)
    if (endpoint := endpoint_of(args)) is not None:
        environment["VAST_ENDPOINT"] = _absolute(endpoint)
    environment.setdefault("VAST_ENDPOINT", "demo:")
    command = [sys.executable, "-m", "jupyterlab", str(folder), *args.arguments]
    return _become(command, environment)


def _become(command: list[str], environment: Mapping[str, str]) -> int:
    """Turn into another program, so that signals reach it; on Windows wait for it."""
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter, no shell
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - as above


def _absolute(endpoint: str) -> str:
    """Spell a folder so that a notebook in another folder finds it."""
    match resolve_endpoint(endpoint):
        case PathEndpoint(path):
            return str(path.absolute())
        case _:
            return endpoint


COMMANDS: Mapping[str, Callable[[Namespace], int]] = {
    "demo": _databases.demo,
    "query": _queries.query,
    "count": _queries.count,
    "status": _queries.status,
    "import": _databases.import_,
    "check": _databases.check,
    "node": node,
    "lab": lab,
}
