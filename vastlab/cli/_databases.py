"""The commands that make and check databases: demo, import, check."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, cast

from vastlab._text import plain
from vastlab.cli import _output
from vastlab.cli._arguments import endpoint_of
from vastlab.cli._client import opened, tell_of_demo
from vastlab.cli._queries import table
from vastlab.cli._terminal import complain, console, progress
from vastlab.client import VAST
from vastlab.config import DemoEndpoint, PathEndpoint, resolve_endpoint
from vastlab.display.outcome import plural
from vastlab.errors import UsageError
from vastlab.nodes import demo as demo_node
from vastlab.store.check import check as check_database
from vastlab.store.database import Database, is_database
from vastlab.store.ingest import IngestProgress, IngestReport

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
            _output.draw_counts(out, (await vast.counts()).items())
            out.print(f"\nWho spoke with {DEMO_EXPRESSION}?\n")
            counts = await vast.counts(DEMO_EXPRESSION)
            _output.draw_counts(out, counts.items())
            out.print()
            async with aclosing(vast.export(DEMO_EXPRESSION, limit=0)) as stream:
                await table(vast, stream, 0, _output.Sample(_DEMO_ROWS))

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
        tell_of_demo(events)
        with progress("demo") as update:
            demo_node.make(path, events, tell=update)
    return str(endpoint)


def _next_steps(endpoint: str) -> Iterator[str]:
    program = _program()
    yield "What to try next:"
    for said in (
        f"query -e {endpoint} '\"invoice-portal.example\"'",
        f"count -e {endpoint} --schemas 'orig_h == 10.1.4.17 && resp_p in [445, 3389]'",
        f"query -e {endpoint} -n 0 -f csv 'orig_bytes > 1Gi' > large.csv",
        f"lab -e {endpoint}",
    ):
        yield f"  {program} {said}"


def _program() -> str:
    """Return how this program was called, where its name alone would not be found."""
    called = Path(sys.argv[0])
    usual = shutil.which(called.name) is not None or called.name != "vastlab"
    return "vastlab" if usual else shlex.quote(str(called))


# --- import and check -----------------------------------------------------------------------


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
    elif not (report.skipped or report.failed or report.problem_count):
        complain("there are no events in it: nothing was added", style="yellow")
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
    endpoint = resolve_endpoint(endpoint_of(args))
    match endpoint:
        case PathEndpoint(path):
            return path
        case DemoEndpoint():
            return demo_node.path()
        case _:
            raise UsageError(f"{endpoint} is no database on this machine")
