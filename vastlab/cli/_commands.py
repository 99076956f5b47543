"""What each command does."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, cast

from vastlab._text import plain
from vastlab.cli import _output
from vastlab.cli._terminal import complain, console, progress
from vastlab.client import VAST
from vastlab.config import DemoEndpoint, PathEndpoint, resolve_endpoint
from vastlab.display.outcome import plural
from vastlab.errors import UsageError
from vastlab.expression import parse_query
from vastlab.expression.parameters import names
from vastlab.nodes import demo as demo_node
from vastlab.nodes import own
from vastlab.store.check import check as check_database
from vastlab.store.database import Database, is_database
from vastlab.store.ingest import IngestProgress, IngestReport
from vastlab.table_slice import TableSlice

DEMO_EXPRESSION = "203.0.113.99"
_DEMO_ROWS = 3
_WORD = re.compile(r"\w+")
_PROBLEMS = 10  # malformed lines that are shown
_SKIPPED = 3  # files that are named
_NOT_RUNNING = 1  # the exit code where there is no node
_DAMAGED = 1  # the exit code where some files are damaged

_Slices = AsyncGenerator[TableSlice, None]


# --- query and count ------------------------------------------------------------------------


def query(args: Namespace) -> int:
    """Print the events that match."""
    format_ = _format(args)

    async def run() -> None:
        async with VAST(_endpoint(args)) as vast:
            stream = vast.export(
                args.expression,
                args.mode,
                args.limit,
                since=args.since,
                until=args.until,
                params=_params(args),
            )
            async with aclosing(stream):
                if format_ == "table":
                    sample = _output.Sample(asked=frozenset(_WORD.findall(args.expression)))
                    await _table(stream, args.limit, sample)
                    return
                found = 0
                with _counter(args.limit, quiet=sys.stdout.isatty()) as counted:

                    def add(number: int) -> None:
                        nonlocal found
                        found += number
                        counted(number)

                    await _output.write(stream, format_, add)
                _tell_of_limit(found, args.limit)

    asyncio.run(run())
    return 0


async def _table(stream: _Slices, limit: int, sample: _output.Sample) -> None:
    try:
        with _counter(limit) as counted:
            async for part in stream:
                counted(part.num_rows)
                sample.add(part)
    finally:
        # What arrived before an interrupt or a failure is shown, too.
        sample.draw(console())
    found = sum(sample.counts.values())
    _tell_of_limit(found, limit)
    if not found:
        complain("nothing matches", style="yellow")


def _tell_of_limit(found: int, limit: int) -> None:
    """Say that there may be more: a file with the first events looks like one with all."""
    if limit and found >= limit:
        complain(f"stopped after {plural(found, 'event')}; -n 0 for all", style="yellow")


@contextlib.contextmanager
def _counter(limit: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Count events on a progress bar; `quiet` where the events themselves fill the terminal."""
    if quiet:
        yield lambda number: None
        return
    done = 0
    with progress("query") as update:

        def counted(number: int) -> None:
            nonlocal done
            done += number
            update(done, limit)

        yield counted


def count(args: Namespace) -> int:
    """Print how many events match."""

    async def run() -> dict[str, int]:
        async with VAST(_endpoint(args)) as vast:
            with progress("count"):
                return await vast.counts(
                    args.expression, since=args.since, until=args.until, params=_params(args)
                )

    counts = asyncio.run(run())
    if not args.schemas:
        sys.stdout.write(f"{sum(counts.values())}\n")
        return 0
    match _format(args):
        case "table":
            _output.draw_counts(console(), counts.items())
        case "csv":
            write_line = _output.csv_line()
            for pair in ((_output.TYPE, "events"), *counts.items()):
                write_line(pair)
        case _:
            sys.stdout.write(json.dumps(counts) + "\n")
    return 0


def status(args: Namespace) -> int:
    """Print the state of a node or a database."""

    async def run() -> dict[str, Any]:
        async with VAST(_endpoint(args)) as vast:
            return await vast.status()

    found = asyncio.run(run())
    if _format(args) == "json":
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    schemas = found.get("catalog", {}).get("schemas", {})
    others = [pair for pair in _leaves(found) if not pair[0].startswith("catalog.schemas.")]
    _output.draw_pairs(console(), others)
    if schemas:
        numbers = ((name, facts["num-events"]) for name, facts in schemas.items())
        _output.draw_counts(console(), numbers)
    return 0


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


# --- import and check -----------------------------------------------------------------------


def import_(args: Namespace) -> int:
    """Add the events of files to a database."""

    async def run() -> IngestReport:
        async with VAST(_endpoint(args)) as vast:
            with progress("import", "bytes") as update:

                def watch(state: IngestProgress) -> None:
                    update(state.bytes_done, state.bytes_total)

                return await vast.ingest(
                    [_opened(file) for file in args.files],
                    schema=args.schema,
                    format=args.format,
                    strict=args.strict,
                    force=args.force,
                    progress=watch,
                )

    report = asyncio.run(run())
    _report(report)
    nothing = bool(report.problem_count) and not report.events
    return _DAMAGED if report.failed or nothing else 0


def _opened(file: str) -> str | BinaryIO:
    if file != "-":
        return file
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing is piped in", hint="zcat conn.log.gz | vastlab import -e DB -")
    # Unbuffered, so that whoever waits for the next bytes can be interrupted.
    return cast("BinaryIO", getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))


def _report(report: IngestReport) -> None:
    if report.events:
        _output.draw_counts(console(), report.events.items())
    if report.skipped:
        complain(_said_of_skipped(report), style="yellow")
    problems = report.problems[:_PROBLEMS]
    for problem in problems:
        complain(plain(str(problem)), style="yellow")
    if rest := report.problem_count - len(problems):
        complain(f"and {plural(rest, 'more problem')}", style="yellow")
    if report.problem_count > 1:
        complain(f"{plural(report.problem_count, 'problem')} in all", style="yellow")


def _said_of_skipped(report: IngestReport) -> str:
    skipped = [plain(path) for path in report.skipped]
    if len(skipped) == 1:
        return f"{skipped[0]} was added before; --force adds it again"
    named = ", ".join(Path(path).name for path in skipped[:_SKIPPED])
    more = f" and {len(skipped) - _SKIPPED:,} more" if len(skipped) > _SKIPPED else ""
    files = f"{len(skipped):,} of {len(skipped) + len(report.files) + len(report.failed):,} files"
    return f"{files} were added before: {named}{more}; --force adds them again"


def check(args: Namespace) -> int:
    """Read every page of a database."""
    path = _database(args)
    with progress("check", "files") as update:
        problems = check_database(Database.open(path), progress=update)
    for problem in problems:
        complain(plain(problem))
    if problems:
        return _DAMAGED
    console().print(f"{plain(str(path))} is sound")
    return 0


def _database(args: Namespace) -> Path:
    endpoint = resolve_endpoint(_endpoint(args))
    match endpoint:
        case PathEndpoint(path):
            return path
        case DemoEndpoint():
            return demo_node.path()
        case _:
            raise UsageError(f"{endpoint} is no database on this machine")


# --- demo and lab ---------------------------------------------------------------------------


def demo(args: Namespace) -> int:
    """Make the demo database, and show what is in it."""
    endpoint = _demo_database(args)
    out = console()

    async def run() -> None:
        async with VAST(endpoint) as vast:
            out.print(f"What is in {plain(endpoint)}\n", soft_wrap=True)
            _output.draw_counts(out, (await vast.counts()).items())
            out.print(f"\nWho spoke with {DEMO_EXPRESSION}?\n")
            counts = await vast.counts(DEMO_EXPRESSION)
            _output.draw_counts(out, counts.items())
            out.print()
            async with aclosing(vast.export(DEMO_EXPRESSION, limit=0)) as stream:
                await _table(stream, 0, _output.Sample(_DEMO_ROWS))

    asyncio.run(run())
    for line in _next_steps(str(endpoint)):
        out.print(line, soft_wrap=True)
    return 0


def _demo_database(args: Namespace) -> str:
    """Return the endpoint of the demo events, and make them where they are missing."""
    endpoint = resolve_endpoint(getattr(args, "endpoint", "demo:"))
    match endpoint:
        case DemoEndpoint() if args.events is None:
            path = demo_node.path()
        case PathEndpoint(path):
            pass
        case DemoEndpoint():
            raise UsageError("--events wants a database of its own", hint="name it: -e FOLDER")
        case _:
            raise UsageError(f"the demo events want a folder, not {endpoint}")
    if not is_database(path):
        if path.exists():
            raise UsageError(f"{path} holds something else", hint="name one that does not exist")
        with progress("making the demo database"):
            demo_node.make(path, demo_node.EVENTS if args.events is None else args.events)
    return str(endpoint)


def _next_steps(endpoint: str) -> Iterator[str]:
    yield "What to try next:"
    yield f"  vastlab query -e {endpoint} '\"invoice-portal.example\"'"
    yield f"  vastlab count -e {endpoint} --schemas 'orig_h == 10.1.4.17 && resp_p in [445, 3389]'"
    yield f"  vastlab query -e {endpoint} -n 0 -f csv 'orig_bytes > 1Gi' > large.csv"
    yield f"  vastlab lab -e {endpoint}"


# --- a node of one's own --------------------------------------------------------------------


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
        raise UsageError("JupyterLab is not installed", hint="pip install 'vastlab[lab,plots]'")
    notebooks = Path(__file__).resolve().parents[2] / "notebooks"
    folder = notebooks if notebooks.is_dir() else Path.cwd()
    environment = dict(os.environ)
    if (endpoint := _endpoint(args)) is not None:
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


# --- options --------------------------------------------------------------------------------


def _endpoint(args: Namespace) -> str | None:
    return getattr(args, "endpoint", None)


def _params(args: Namespace) -> dict[str, object]:
    """Return the values of the expression's parameters."""
    params: dict[str, object] = dict(args.param)
    asked = names(parse_query(args.expression)) if params else ()
    for name in params:
        if name not in asked:
            # A shell replaces $names in double quotes, and often by nothing.
            raise UsageError(
                f"the expression has no ${name}", hint="put the expression in single quotes"
            )
    return params


def _format(args: Namespace) -> str:
    return args.format or ("table" if sys.stdout.isatty() else "json")


COMMANDS: Mapping[str, Callable[[Namespace], int]] = {
    "demo": demo,
    "query": query,
    "count": count,
    "status": status,
    "import": import_,
    "check": check,
    "node": node,
    "lab": lab,
}
