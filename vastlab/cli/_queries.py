"""The commands that ask: query, count, status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from vastlab.cli import _output
from vastlab.cli._arguments import endpoint_of, format_of, params_of
from vastlab.cli._client import Client, opened
from vastlab.cli._terminal import complain, console, progress
from vastlab.display.outcome import plural
from vastlab.table_slice import TableSlice

_WORD = re.compile(r"\w+")

_Slices = AsyncGenerator[TableSlice, None]


def query(args: Namespace) -> int:
    """Print the events that match."""
    format_ = format_of(args)

    async def run() -> None:
        async with opened(endpoint_of(args)) as vast:
            stream = vast.export(
                args.expression,
                args.mode,
                args.limit,
                since=args.since,
                until=args.until,
                params=params_of(args),
            )
            async with aclosing(stream):
                if format_ == "table":
                    asked = frozenset(_WORD.findall(args.expression))
                    sample = _output.Sample(args.limit or _output.ROWS, asked)
                    await table(vast, stream, args.limit, sample)
                    return
                found = 0
                # Where the events fill the terminal there is no place for a bar.
                shown = contextlib.nullcontext(_nothing) if sys.stdout.isatty() else None
                with shown or _counter(vast, args.limit) as counted:

                    def add(number: int) -> None:
                        nonlocal found
                        found += number
                        counted(number)

                    await _output.write(stream, format_, add)
                _tell_of_limit(found, args.limit)

    asyncio.run(run())
    return 0


async def table(vast: Client, stream: _Slices, limit: int, sample: _output.Sample) -> None:
    """Draw some of the events that a client exports, and say what there is beside them."""
    try:
        with _counter(vast, limit) as counted:
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


def _nothing(number: int) -> None:
    """Count no events."""


@contextlib.contextmanager
def _counter(vast: Client, limit: int) -> Iterator[Callable[[int], None]]:
    """Count events on a progress bar."""
    done = 0
    with progress("query", preparing=vast.preparing) as update:

        def counted(number: int) -> None:
            nonlocal done
            done += number
            update(done, limit)

        yield counted


def count(args: Namespace) -> int:
    """Print how many events match."""

    async def run() -> dict[str, int]:
        async with opened(endpoint_of(args)) as vast:
            with progress("count", preparing=vast.preparing):
                return await vast.counts(
                    args.expression, since=args.since, until=args.until, params=params_of(args)
                )

    counts = asyncio.run(run())
    if not args.schemas:
        sys.stdout.write(f"{sum(counts.values())}\n")
        return 0
    match format_of(args):
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
        async with opened(endpoint_of(args)) as vast:
            with progress("status", preparing=vast.preparing):
                return await vast.status()

    found = asyncio.run(run())
    if format_of(args) == "json":
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
