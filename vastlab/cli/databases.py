"""Commands that make, fill and check databases: demo, import, check, compact."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

from cyclopts import Parameter

from vastlab._text import plain, plural
from vastlab.cli.app import DATABASES, app
from vastlab.cli.messages import complain, console
from vastlab.cli.options import Endpoint, LogFormat, Number
from vastlab.cli.queries import announce_demo, opened, table
from vastlab.errors import UsageError

if TYPE_CHECKING:
    from vastlab.store.ingest import IngestProgress, IngestReport
    from vastlab.store.place import Place

DEMO_EXPRESSION = "203.0.113.99"
_DEMO_ROWS = 3
_PROBLEMS = 10  # malformed lines that are shown
_SKIPPED = 3  # files that are named
_DAMAGED = 1  # the exit code where some files are damaged


@app.command(
    group=DATABASES,
    help_epilogue="""\
Examples:
  vastlab demo
  vastlab demo -e small.db --events 5000
""",
)
async def demo(
    *,
    events: Annotated[Number | None, Parameter(show_default=False)] = None,
    endpoint: Endpoint = None,
) -> int:
    """Make the demo database, and show what is in it.

    Parameters
    ----------
    events
        How many events, where -e names a new folder. [default: 200000]
    """
    from vastlab.cli import output  # here, as in all commands, since help does not need it
    from vastlab.cli.progress import Reporter

    endpoint = _demo_database(endpoint, events)
    out = console()
    async with opened(endpoint) as vast:
        out.print(f"What is in {plain(endpoint)}\n", soft_wrap=True)
        output.draw_counts(out, (await vast.counts()).items())
        out.print(f"\nWho spoke with {DEMO_EXPRESSION}?\n")
        output.draw_counts(out, (await vast.counts(DEMO_EXPRESSION)).items())
        out.print()
        async with aclosing(vast.export(DEMO_EXPRESSION, limit=0)) as stream:
            await table(Reporter(), stream, 0, output.Sample(_DEMO_ROWS))
    for line in _next_steps(shlex.quote(endpoint)):
        out.print(plain(line), soft_wrap=True)
    return 0


def _demo_database(named: str | None, events: int | None) -> str:
    """Return the endpoint of the demo events, and make them where they are missing."""
    from vastlab.cli.progress import progress
    from vastlab.config import resolve_endpoint
    from vastlab.endpoints import DemoEndpoint, PathEndpoint
    from vastlab.nodes import demo as demo_node
    from vastlab.store.database import is_database

    endpoint = resolve_endpoint("demo:" if named is None else named)
    match endpoint:
        case DemoEndpoint() if events is None:
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
        events = demo_node.EVENTS if events is None else events
        announce_demo(events)
        with progress("demo") as update:
            demo_node.make(path, events, progress=update)
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


def _known_options(type_: Any, files: Sequence[str | Path]) -> None:
    """Refuse unknown options: they count as files, since a ``-`` must."""
    for file in map(str, files):
        if file.startswith("-") and file != "-":
            raise ValueError(f"unknown option: {file}")


@app.command(
    group=DATABASES,
    name="import",
    help_epilogue="""\
Examples:
  vastlab import -e case.db logs/*.gz
  zcat conn.log.gz | vastlab import -e case.db -
""",
)
async def import_(
    files: Annotated[
        list[str | Path], Parameter(allow_leading_hyphen=True, validator=_known_options)
    ],
    /,
    *,
    format_: LogFormat = None,
    schema: str | None = None,
    encoding: Annotated[str | None, Parameter(metavar="NAME")] = None,
    raw: bool = False,
    strict: bool = False,
    force: bool = False,
    endpoint: Endpoint = None,
) -> int:
    """Add the events of log files to a database.

    Parameters
    ----------
    files
        Files, folders or patterns; - for standard input.
    schema
        The schema's name, where the format does not say.
    encoding
        The encoding of text, such as cp1252; UTF-8 by default.
    raw
        Leave text as it is: no addresses, times or numbers are read out of it.
    strict
        Stop at a malformed line or value, and add nothing.
    force
        Also add files that were added before.
    """
    from vastlab.cli.progress import progress
    from vastlab.client import VAST

    async with VAST(endpoint) as vast:
        with progress("import", "bytes") as update:

            def watch(state: IngestProgress) -> None:
                update(state.bytes_done, state.bytes_total)

            report = await vast.ingest(
                [_opened(file) for file in files],
                schema=schema,
                format=format_,
                strict=strict,
                force=force,
                infer=False if raw else None,
                encoding=encoding,
                progress=watch,
            )
    _report(report)
    nothing = bool(report.problem_count) and not report.events
    return _DAMAGED if report.failed or nothing else 0


def _opened(file: str | Path) -> str | Path | BinaryIO:
    if file != "-":
        return file
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing is piped in", hint="zcat conn.log.gz | vastlab import -e DB -")
    # Unbuffered, so that a wait for the next bytes can be interrupted.
    return cast("BinaryIO", getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))


def _report(report: IngestReport) -> None:
    from vastlab.cli import output

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
        return f"{skipped[0]} was left out, as its content was added before; --force adds it again"
    named = ", ".join(Path(path).name for path in skipped[:_SKIPPED])
    more = f" and {len(skipped) - _SKIPPED:,} more" if len(skipped) > _SKIPPED else ""
    files = f"{len(skipped):,} of {len(skipped) + len(report.files) + len(report.failed):,} files"
    reason = "as their content was added before; --force adds them again"
    return f"{files} were left out, {reason}: {named}{more}"


@app.command(
    group=DATABASES,
    help_epilogue="""\
Examples:
  vastlab check -e case.db
  vastlab check -e case.db --repair
""",
)
def check(*, repair: bool = False, endpoint: Endpoint = None) -> int:
    """Read every byte of a database, and name what is damaged.

    Parameters
    ----------
    repair
        Keep what is intact, move the rest to a folder inside the database, list the losses.
    """
    from vastlab.cli.progress import progress
    from vastlab.store.check import FaultKind
    from vastlab.store.check import check as check_database

    path = _place(endpoint)
    if repair:
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


def _repair(path: Path | Place) -> int:
    from vastlab.cli.progress import progress
    from vastlab.store.repair import DAMAGED
    from vastlab.store.repair import repair as repair_database

    with progress("repair", "files") as update:
        report = repair_database(path, progress=update)
    for note in report.notes:
        complain(plain(note), style="yellow")
    for moved in report.moved:
        complain(plain(f"moved to {path}/{DAMAGED}: {moved}"), style="yellow")
    for loss in report.losses:
        complain(plain(f"lost: {loss}"))
    if report.losses or report.notes:
        return _DAMAGED
    console().print(f"{plain(str(path))} is sound")
    return 0


@app.command(
    group=DATABASES,
    help_epilogue="""\
Examples:
  vastlab compact -e case.db
  vastlab compact -e dask://scheduler:8786//data/case.db
""",
)
async def compact(*, endpoint: Endpoint = None) -> int:
    """Merge the small files of a database into few."""
    from vastlab.cli.progress import Reporter, progress

    reporter = Reporter()
    async with opened(endpoint) as vast:
        with progress("compact", reporter=reporter):
            report = await vast.compact(report=reporter)
    for problem in report.problems:
        complain(plain(problem))
    before, after = plural(report.files_before, "file"), plural(report.files_after, "file")
    console().print(f"{plain(str(vast.endpoint))}: {before} before, {after} now")
    return _DAMAGED if report.problems else 0


def _place(named: str | None) -> Path | Place:
    """Return where a database is: its folder, or a place in an object store."""
    from vastlab._optional import import_optional
    from vastlab.config import resolve_endpoint
    from vastlab.endpoints import DemoEndpoint, ObjectStoreEndpoint, PathEndpoint
    from vastlab.nodes import demo as demo_node

    endpoint = resolve_endpoint(named)
    match endpoint:
        case PathEndpoint(path):
            return path
        case DemoEndpoint():
            return demo_node.path()
        case ObjectStoreEndpoint():
            place: Place = import_optional("vastlab.store.bucket", extra="cloud").Bucket(endpoint)
            return place
        case _:
            raise UsageError(f"{endpoint} is not a database on this machine")
