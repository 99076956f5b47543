"""Commands that start other programs: node, cluster, lab."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import subprocess
import sys
import threading
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
  vastlab cluster --workers 2 -e case.db
  vastlab count -e dask://127.0.0.1:8786/case.db 'resp_p == 443'
""",
)
def cluster(
    *,
    workers: Annotated[int, Parameter(metavar="N")] = 2,
    port: Annotated[int, Parameter(metavar="PORT")] = 0,
    endpoint: Endpoint = None,
) -> int:
    """Start a Dask cluster on this machine that reads a database.

    It prints the endpoint to use, and runs until Ctrl-C. Whoever reaches its port, which is open
    on this machine only, can run code as you.

    Parameters
    ----------
    workers
        How many processes.
    port
        Where the scheduler listens; by default a free port.
    """
    if not 0 <= port < 1 << 16:
        raise UsageError(f"a port is a number up to 65535, got {port}")
    place = _database(endpoint)
    from vastlab.nodes.local_cluster import local_cluster  # here, since help does not need it

    with local_cluster(workers, scheduler_port=port) as client:
        address = client.scheduler.address.partition("://")[2]
        sys.stdout.write(f"{plain(f'dask://{address}/{place}')}\n")
        sys.stdout.flush()
        complain(plain(f"dashboard: {client.dashboard_link}; Ctrl-C ends the cluster"), style="dim")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def _database(endpoint: str | None) -> Path | str:
    """Return where a database is, also the demo's."""
    from vastlab.config import resolve_endpoint
    from vastlab.endpoints import DemoEndpoint, ObjectStoreEndpoint, PathEndpoint
    from vastlab.nodes import demo
    from vastlab.store.database import is_database

    match named := resolve_endpoint(endpoint):
        case DemoEndpoint():
            if not is_database(demo.path()):
                demo.make(demo.path())
            return demo.path()
        case PathEndpoint(path) if is_database(path):
            return path.absolute()
        case ObjectStoreEndpoint(url):
            return url
        case _:
            raise UsageError(
                f"{named} is no database that a cluster could read",
                hint="name one with -e, or make one with `vastlab import`",
            )


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
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own interpreter, no shell


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
