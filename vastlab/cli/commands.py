"""The commands of the command line."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, cast

from vastlab._text import plain, plural
from vastlab.cli import output
from vastlab.cli.arguments import endpoint_of, format_of, params_of
from vastlab.cli.output import Reporter, complain, console, progress
from vastlab.client import VAST
from vastlab.config import resolve_endpoint
from vastlab.endpoints import DemoEndpoint, NodeEndpoint, PathEndpoint
from vastlab.errors import UsageError
from vastlab.expression import parse_query
from vastlab.expression.ast import FieldExtractor
from vastlab.expression.rewrite import predicates
from vastlab.nodes import demo as demo_node
from vastlab.nodes import own
from vastlab.store.check import FaultKind
from vastlab.store.check import check as check_database
from vastlab.store.compact import compact as compact_database
from vastlab.store.database import Database, is_database
from vastlab.store.ingest import IngestProgress, IngestReport
from vastlab.store.repair import DAMAGED
from vastlab.store.repair import repair as repair_database
from vastlab.table_slice import TableSlice


def opened(endpoint: str | None) -> VAST:
    """Return a client; announce it where the demo database is about to be made."""
    client = VAST(endpoint)
    if isinstance(client.endpoint, DemoEndpoint) and not is_database(demo_node.path()):
        announce_demo(demo_node.EVENTS)
    return client


def announce_demo(events: int) -> None:
    """Announce that a demo database is made, also where no progress bar can be shown."""
    complain(f"making the demo database of {plural(events, 'event')}", style="dim")


_Slices = AsyncGenerator[TableSlice, None]


def query(args: Namespace) -> int:
    """Print the events that match."""
    format_ = format_of(args)
    reporter = Reporter()

    async def run() -> None:
        async with opened(endpoint_of(args)) as vast:
            stream = vast.export(
                args.expression,
                args.mode,
                args.limit,
                since=args.since,
                until=args.until,
                params=params_of(args),
                report=reporter,
            )
            async with aclosing(stream):
                if format_ == "table":
                    asked = frozenset(_named(args.expression))
                    sample = output.Sample(args.limit or output.ROWS, asked)
                    await table(reporter, stream, args.limit, sample)
                    return
                found = 0
                # Events and a progress bar cannot share a terminal.
                shown = contextlib.nullcontext(_nothing) if sys.stdout.isatty() else None
                with shown or _counter(reporter, args.limit) as counted:

                    def add(number: int) -> None:
                        nonlocal found
                        found += number
                        counted(number)

                    await output.write(stream, format_, add)
                _tell_of_limit(found, args.limit)

    asyncio.run(run())
    return 0


async def table(reporter: Reporter, stream: _Slices, limit: int, sample: output.Sample) -> None:
    """Draw some of the events that a client exports, and say what there is beside them."""
    try:
        with _counter(reporter, limit) as counted:
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


def _named(expression: str) -> Iterator[str]:
    """Return the names in the fields that an expression asks for."""
    for predicate in predicates(parse_query(expression)):
        if isinstance(predicate.extractor, FieldExtractor):
            yield from predicate.extractor.parts or predicate.extractor.name.split(".")


def _tell_of_limit(found: int, limit: int) -> None:
    """Say that there may be more: a file with the first events looks like one with all."""
    if limit and found >= limit:
        complain(f"stopped after {plural(found, 'event')}; -n 0 for all", style="yellow")


def _nothing(number: int) -> None:
    """Count no events."""


@contextlib.contextmanager
def _counter(reporter: Reporter, limit: int) -> Iterator[Callable[[int], None]]:
    """Count events on a progress bar."""
    done = 0
    with progress("query", reporter=reporter) as update:

        def counted(number: int) -> None:
            nonlocal done
            done += number
            update(done, limit)

        yield counted


def count(args: Namespace) -> int:
    """Print how many events match."""
    reporter = Reporter()

    async def run() -> dict[str, int]:
        async with opened(endpoint_of(args)) as vast:
            with progress("count", reporter=reporter):
                return await vast.counts(
                    args.expression,
                    since=args.since,
                    until=args.until,
                    params=params_of(args),
                    report=reporter,
                )

    counts = asyncio.run(run())
    if not args.schemas:
        sys.stdout.write(f"{sum(counts.values())}\n")
        return 0
    match format_of(args):
        case "table":
            output.draw_counts(console(), counts.items())
        case "csv":
            output.write_counts(counts)
        case _:
            sys.stdout.write(json.dumps(counts) + "\n")
    return 0


def status(args: Namespace) -> int:
    """Print the state of a node or a database."""
    reporter = Reporter()

    async def run() -> dict[str, Any]:
        async with opened(endpoint_of(args)) as vast:
            with progress("status", reporter=reporter):
                return await vast.status(report=reporter)

    found = asyncio.run(run())
    if format_of(args) == "json":
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    schemas = found.get("catalog", {}).get("schemas", {})
    others = [pair for pair in _leaves(found) if not pair[0].startswith("catalog.schemas.")]
    output.draw_pairs(console(), others)
    if schemas:
        numbers = ((name, facts["num-events"]) for name, facts in schemas.items())
        output.draw_counts(console(), numbers)
    return 0


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


DEMO_EXPRESSION = "203.0.113.99"
_DEMO_ROWS = 3
_PROBLEMS = 10  # malformed lines that are shown
_SKIPPED = 3  # files that are named
_DAMAGED = 1  # the exit code where some files are damaged


# --- demo ------------------------------------------------------------------------------------


def demo(args: Namespace) -> int:
    """Make the demo database, and show what is in it."""
    endpoint = _demo_database(args)
    out = console()

    async def run() -> None:
        async with opened(endpoint) as vast:
            out.print(f"What is in {plain(endpoint)}\n", soft_wrap=True)
            output.draw_counts(out, (await vast.counts()).items())
            out.print(f"\nWho spoke with {DEMO_EXPRESSION}?\n")
            counts = await vast.counts(DEMO_EXPRESSION)
            output.draw_counts(out, counts.items())
            out.print()
            async with aclosing(vast.export(DEMO_EXPRESSION, limit=0)) as stream:
                await table(Reporter(), stream, 0, output.Sample(_DEMO_ROWS))

    asyncio.run(run())
    for line in _next_steps(shlex.quote(endpoint)):
        out.print(plain(line), soft_wrap=True)
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
        events = demo_node.EVENTS if args.events is None else args.events
        announce_demo(events)
        with progress("demo") as update:
            demo_node.make(path, events, tell=update)
    return str(endpoint)


def _next_steps(endpoint: str) -> Iterator[str]:
    program = _program()
    yield "What to try next:"
    for command in (
        f"query -e {endpoint} '\"invoice-portal.example\"'",
        f"count -e {endpoint} --schemas 'orig_h == 10.1.4.17 && resp_p in [445, 3389]'",
        f"query -e {endpoint} -n 0 -f csv 'orig_bytes > 1Gi' > large.csv",
        f"lab -e {endpoint}",
    ):
        yield f"  {program} {command}"


def _program() -> str:
    """Return how this program was called, where its name alone would not be found."""
    called = Path(sys.argv[0])
    usual = shutil.which(called.name) is not None or called.name != "vastlab"
    return "vastlab" if usual else shlex.quote(str(called))


# --- import, check and compact --------------------------------------------------------------


def import_(args: Namespace) -> int:
    """Add the events of files to a database."""

    async def run() -> IngestReport:
        async with VAST(endpoint_of(args)) as vast:
            with progress("import", "bytes") as update:

                def watch(state: IngestProgress) -> None:
                    update(state.bytes_done, state.bytes_total)

                return await vast.ingest(
                    [_opened(file) for file in args.files],
                    schema=args.schema,
                    format=args.format,
                    strict=args.strict,
                    force=args.force,
                    infer=False if args.raw else None,
                    encoding=args.encoding,
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
    # Unbuffered, so that a wait for the next bytes can be interrupted.
    return cast("BinaryIO", getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))


def _report(report: IngestReport) -> None:
    if report.events:
        output.draw_counts(console(), report.events.items())
    elif not (report.skipped or report.failed or report.problem_count):
        complain("there are no events in it: nothing was added", style="yellow")
    if report.skipped:
        complain(_describe_skipped(report), style="yellow")
    problems = report.problems[:_PROBLEMS]
    for problem in problems:
        complain(plain(str(problem)), style="yellow")
    if rest := report.problem_count - len(problems):
        complain(f"and {plural(rest, 'more problem')}", style="yellow")
    for remark in report.remarks[:_PROBLEMS]:
        complain(plain(remark), style="yellow")
    if (rest := len(report.remarks) - _PROBLEMS) > 0:
        complain(f"and {plural(rest, 'more remark')}", style="yellow")
    if report.problem_count > 1:
        complain(f"{plural(report.problem_count, 'problem')} in all", style="yellow")


def _describe_skipped(report: IngestReport) -> str:
    skipped = [plain(path) for path in report.skipped]
    if len(skipped) == 1:
        return f"{skipped[0]} was added before; --force adds it again"
    named = ", ".join(Path(path).name for path in skipped[:_SKIPPED])
    more = f" and {len(skipped) - _SKIPPED:,} more" if len(skipped) > _SKIPPED else ""
    files = f"{len(skipped):,} of {len(skipped) + len(report.files) + len(report.failed):,} files"
    return f"{files} were added before: {named}{more}; --force adds them again"


def check(args: Namespace) -> int:
    """Read every byte of a database, and keep what is whole if that is asked for."""
    path = _database(args)
    if args.repair:
        return _repair(path)
    with progress("check", "files") as update:
        faults = check_database(path, progress=update)
    for fault in faults:
        complain(plain(str(fault)))
    broken = {fault.kind for fault in faults} - {FaultKind.LEFTOVER}
    if broken - {FaultKind.UNREADABLE}:
        complain(f"`{_program()} check --repair` keeps what is whole", style="yellow")
    if FaultKind.UNREADABLE in broken:
        hint = "what cannot be read may be whole: check the disk and the permissions"
        complain(hint, style="yellow")
    if broken:
        return _DAMAGED
    console().print(f"{plain(str(path))} is sound")
    return 0


def _repair(path: Path) -> int:
    with progress("repair", "files") as update:
        report = repair_database(path, progress=update)
    for note in report.notes:
        complain(plain(note), style="yellow")
    for moved in report.moved:
        complain(plain(f"moved to {path / DAMAGED}: {moved}"), style="yellow")
    for loss in report.losses:
        complain(plain(f"lost: {loss}"))
    if report.losses or report.notes:
        return _DAMAGED
    console().print(f"{plain(str(path))} is sound")
    return 0


def compact(args: Namespace) -> int:
    """Merge the small files of a database."""
    path = _database(args)
    with progress("compact", "files") as update:
        report = compact_database(Database.open(path), progress=update)
    for problem in report.problems:
        complain(plain(problem))
    before, after = plural(report.files_before, "file"), plural(report.files_after, "file")
    console().print(f"{plain(str(path))}: {before} before, {after} now")
    return _DAMAGED if report.problems else 0


def _database(args: Namespace) -> Path:
    endpoint = resolve_endpoint(endpoint_of(args))
    match endpoint:
        case PathEndpoint(path):
            return path
        case DemoEndpoint():
            return demo_node.path()
        case _:
            raise UsageError(f"{endpoint} is not a database on this machine")


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
    return _replace_process(command, environment)


def _replace_process(command: list[str], environment: Mapping[str, str]) -> int:
    """Turn into another program, so that signals reach it; on Windows wait for it."""
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter, no shell
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - as above


def _absolute(endpoint: str) -> str:
    """Spell an endpoint so that it means the same to a notebook in another folder."""
    match resolve_endpoint(endpoint):
        case PathEndpoint(path):
            return str(path.absolute())
        case NodeEndpoint() as node:
            return str(node)
        case _:
            return endpoint


COMMANDS: Mapping[str, Callable[[Namespace], int]] = {
    "demo": demo,
    "query": query,
    "count": count,
    "status": status,
    "import": import_,
    "check": check,
    "compact": compact,
    "node": node,
    "lab": lab,
}
