"""Commands that start other programs: node, lab."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vastlab._text import plain
from vastlab.cli.app import PROGRAMS, app
from vastlab.cli.messages import complain
from vastlab.cli.options import Endpoint, no_words
from vastlab.errors import UsageError

_NOT_RUNNING = 1  # the exit code where there is no node


@app.command(
    group=PROGRAMS,
    help_epilogue="""\
Examples:
  vastlab node start case17
  vastlab node stop case17
""",
)
def node(action: Literal["start", "stop", "status"], folder: Path, /) -> int:
    """Start or stop a Tenzir node of your own.

    The node outlives this command; `start` and `status` print where it listens.

    Parameters
    ----------
    action
        What to do.
    folder
        Where the node keeps its events.
    """
    from vastlab.nodes import own  # here, since help does not need it

    match action:
        case "start":
            started = own.start_node(folder, detached=True)
            sys.stdout.write(f"{started.endpoint}\n")
            complain(
                plain(f"stop it with: vastlab node stop {shlex.quote(str(folder))}"), style="dim"
            )
            return 0
        case "stop":
            if own.stop_node(folder):
                return 0
        case "status":
            if (running := own.running_node(folder)) is not None:
                sys.stdout.write(f"{running.endpoint}\n")
                return 0
    complain(plain(f"no node of vastlab's runs on {folder}"))
    return _NOT_RUNNING


@app.command(
    group=PROGRAMS,
    help_epilogue="""\
Examples:
  vastlab lab -e logs/
  vastlab lab -- --no-browser
""",
)
def lab(
    *arguments: Annotated[str, Parameter(completer=no_words)], endpoint: Endpoint = None
) -> int:
    """Open the notebooks in JupyterLab.

    The notebooks use what -e names, and the demo by default.

    Parameters
    ----------
    arguments
        For JupyterLab, behind --.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError(
            "JupyterLab is not installed", hint="make lab, or pip install 'vastlab[lab,plots]'"
        )
    notebooks = Path(__file__).resolve().parents[2] / "notebooks"
    folder = notebooks if notebooks.is_dir() else Path.cwd()
    environment = dict(os.environ)
    if endpoint is not None:
        environment["VAST_ENDPOINT"] = _absolute(endpoint)
    environment.setdefault("VAST_ENDPOINT", "demo:")
    command = [sys.executable, "-m", "jupyterlab", str(folder), *arguments]
    return _replace_process(command, environment)


def _replace_process(command: list[str], environment: Mapping[str, str]) -> int:
    """Turn into another program, so that signals reach it; on Windows wait for it."""
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter, no shell
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - as above


def _absolute(endpoint: str) -> str:
    """Spell an endpoint so that it means the same to a notebook in another folder."""
    from vastlab.config import resolve_endpoint
    from vastlab.endpoints import NodeEndpoint, PathEndpoint

    match resolve_endpoint(endpoint):
        case PathEndpoint(path):
            return str(path.absolute())
        case NodeEndpoint() as node:
            return str(node)
        case _:
            return endpoint
