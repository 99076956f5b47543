"""Commands that ask: query, count, status."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vastlab._lazy import leave_out, pd
from vastlab._text import plural
from vastlab.cli.app import ALONE, QUERIES, app
from vastlab.cli.messages import complain, console
from vastlab.cli.options import (
    NO_BOUNDS,
    Bounds,
    CountFormat,
    Endpoint,
    EventFormat,
    Expression,
    Mode,
    Number,
    StatusFormat,
    format_or_default,
)

if TYPE_CHECKING:
    from vastlab.cli.output import Sample
    from vastlab.cli.progress import Reporter
    from vastlab.client import VAST
    from vastlab.nodes.base import Query
    from vastlab.table_slice import TableSlice

_COUNTING_SECONDS = 0.2
_MOST_FACTS, _MOST_SCHEMAS = 20, 12  # lines of a status that fit on a screen
_FIRST_FACTS = ("version", "system", "catalog")


@app.command(
    group=QUERIES,
    help_epilogue="""\
Examples:
  vastlab query -e demo: 'resp_p == 443 && orig_bytes > 1Mi'
  vastlab query -e logs/ -n 0 -f csv --since 2h 10.1.4.17 > events.csv
  vastlab query -e logs/ --params-from iocs=iocs.txt ':ip in $iocs'
""",
)
async def query(
    expression: Expression = "",
    /,
    *,
    limit: Annotated[Number, Parameter(name=("--limit", "-n"))] = 100,
    newest: Annotated[bool, Parameter(name=("--newest", "-r"), negative=())] = False,
    per_schema: Annotated[bool, Parameter(negative=())] = False,
    bounds: Bounds = NO_BOUNDS,
    format_: EventFormat = None,
    mode: Mode = "historical",
    endpoint: Endpoint = None,
) -> int:
    """Print the events that match an expression.

    Parameters
    ----------
    limit
        At most N events; 0 for all.
    newest
        The newest events of each schema first.
    per_schema
        At most N events of each schema.
    """
    from vastlab.cli import output  # here, as in all commands, since help does not need it
    from vastlab.cli.progress import Reporter

    form = format_or_default(format_)
    reporter = Reporter()
    async with opened(endpoint) as vast:
        asked = vast.prepare(
            expression,
            mode,
            limit,
            **bounds.of(expression),
            order="newest" if newest else "oldest",
            per_schema=per_schema,
        )
        found: Counter[str] = Counter()
        async with aclosing(_counting(vast.run(asked, report=reporter), found)) as stream:
            if form == "table":
                rows = limit or output.ROWS
                sample = output.Sample(rows, expression, vast.taxonomy, newest=newest)
                await table(reporter, stream, asked.total, sample)
            else:
                # Events and a progress bar cannot share a terminal.
                shown = contextlib.nullcontext(lambda number: None) if sys.stdout.isatty() else None
                with shown or _counter(reporter, asked.total) as counted:
                    await output.write(stream, form, counted)
        await _tell_of_limit(vast, asked, found)
    if form == "table" and not found:
        complain("nothing matches", style="yellow")
    return 0


@app.command(
    group=QUERIES,
    help_epilogue="""\
Examples:
  vastlab count -e demo: '#type == "zeek.conn"'
  vastlab count -e demo: --schemas -f csv 203.0.113.66
  vastlab count -e demo: -p net=203.0.113.0/24 'resp_h in $net'
""",
)
async def count(
    expression: Expression = "",
    /,
    *,
    schemas: Annotated[bool, Parameter(name=("--schemas", "-s"))] = False,
    bounds: Bounds = NO_BOUNDS,
    format_: CountFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Print how many events match an expression.

    Parameters
    ----------
    schemas
        A number for each schema.
    """
    from vastlab.cli.progress import Reporter, progress

    reporter = Reporter()
    vast = opened(endpoint)
    if ALONE.get() and _is_database(vast):
        leave_out(pd)
    async with vast:
        with progress("count", reporter=reporter):
            counts = await vast.counts(
                expression,
                **bounds.of(expression),
                report=reporter,
            )
    if not schemas:
        sys.stdout.write(f"{sum(counts.values())}\n")
        return 0
    from vastlab.cli import output

    match format_or_default(format_):
        case "table":
            output.draw_counts(console(), counts.items())
        case "csv":
            output.write_counts(counts)
        case _:
            sys.stdout.write(json.dumps(counts) + "\n")
    return 0


@app.command(
    group=QUERIES,
    help_epilogue="""\
Examples:
  vastlab status -e demo:
  vastlab status -e localhost:5158 -f json
""",
)
async def status(
    *,
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), negative=())] = False,
    format_: StatusFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Print the state of a node or a database.

    Parameters
    ----------
    verbose
        Everything, in a table of any length.
    """
    from vastlab.cli import output
    from vastlab.cli.progress import Reporter, progress

    reporter = Reporter()
    async with opened(endpoint) as vast:
        with progress("status", reporter=reporter):
            found = await vast.status(report=reporter)
    if format_or_default(format_) == "json":
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    schemas = found.get("catalog", {}).get("schemas", {})
    facts = [pair for pair in _leaves(found) if not pair[0].startswith("catalog.schemas.")]
    facts.sort(key=lambda pair: pair[0].partition(".")[0] not in _FIRST_FACTS)
    counts = {name: held["num-events"] for name, held in schemas.items()}
    output.draw_pairs(console(), facts, most=None if verbose else _MOST_FACTS)
    if counts:
        output.draw_counts(console(), counts.items(), most=None if verbose else _MOST_SCHEMAS)
    if not verbose and (len(facts) > _MOST_FACTS or len(counts) > _MOST_SCHEMAS):
        complain("-v shows everything", style="dim")
    return 0


def opened(endpoint: str | None) -> VAST:
    """Return a client; announce it where the demo database is about to be made."""
    from vastlab.client import VAST
    from vastlab.endpoints import DemoEndpoint
    from vastlab.nodes import demo
    from vastlab.store.database import is_database

    client = VAST(endpoint)
    if isinstance(client.endpoint, DemoEndpoint) and not is_database(demo.path()):
        announce_demo(demo.EVENTS)
    return client


def _is_database(vast: VAST) -> bool:
    """Whether all events are in a database by now, so that no reader of logs is needed."""
    from vastlab.endpoints import DemoEndpoint, PathEndpoint
    from vastlab.nodes import demo
    from vastlab.store.database import is_database

    match vast.endpoint:
        case DemoEndpoint():
            return is_database(demo.path())
        case PathEndpoint(path):
            return is_database(path)
        case _:
            return False


def announce_demo(events: int) -> None:
    """Announce that a demo database is made, also where no progress bar can be shown."""
    complain(f"making the demo database of {plural(events, 'event')}", style="dim")


async def _counting(
    stream: AsyncGenerator[TableSlice, None], found: Counter[str]
) -> AsyncGenerator[TableSlice, None]:
    """Count the events that are passed on, by schema."""
    async with aclosing(stream):
        async for part in stream:
            found[part.name] += part.num_rows
            yield part


async def table(
    reporter: Reporter, stream: AsyncGenerator[TableSlice, None], limit: int, sample: Sample
) -> None:
    """Draw some of the exported events, and count the others."""
    try:
        with _counter(reporter, limit) as counted:
            async for part in stream:
                counted(part.num_rows)
                sample.add(part)
    finally:
        # What arrived before an interrupt or a failure is shown, too.
        sample.draw(console())


async def _tell_of_limit(vast: VAST, asked: Query, found: Counter[str]) -> None:
    """Say that there may be more: a file with the first events looks like one with all."""
    from vastlab.display.preview import others_left_out

    most = max(found.values(), default=0) if asked.per_schema else found.total()
    if not asked.limit or most < asked.limit:
        return
    of_each = " of each schema" if asked.per_schema else ""
    line = f"stopped after {plural(most, 'event')}{of_each}; -n 0 for all"
    left_out = await vast.left_out(asked, found, _COUNTING_SECONDS)
    hidden = others_left_out(None if left_out is None else tuple(left_out.items()))
    complain(f"{line}; {hidden} (--per-schema)" if hidden else line, style="yellow")


@contextlib.contextmanager
def _counter(reporter: Reporter, limit: int) -> Iterator[Callable[[int], None]]:
    """Count events on a progress bar."""
    from vastlab.cli.progress import progress

    done = 0
    with progress("query", reporter=reporter) as update:

        def counted(number: int) -> None:
            nonlocal done
            done += number
            update(done, limit)

        yield counted


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
