"""Asks one version of vastlab, in a process of its own; `revisions` starts it for two in turn.

Only the public API is used, so that older versions can be asked, too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

import vastlab
from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

TURNS = 3
COUNTS = {
    "count: everything": "",
    "count: one port": "id.resp_p == 53",
    "count: negation": "id.resp_p != 53",
    "count: one address": ":ip == 203.0.113.99",
    "count: absent uid": 'uid == "Cabsent"',
    "count: subnet": ":ip in 10.1.0.0/16",
    "count: substring, few distinct values": 'history ni "Sh"',
    "count: substring, all distinct": 'uid ni "ab1"',
    "count: regular expression": "history == /ShA.*/",
}


async def export(vast: VAST, expression: str, limit: int = 0) -> int:
    """Read events, and return how many there are."""
    return sum([part.num_rows async for part in vast.export(expression, limit=limit)])


async def frames(vast: VAST, expression: str) -> int:
    """Make frames of events."""
    tables = await vastlab.collect_pyarrow(vast.export(expression, limit=0))
    return sum(map(len, vastlab.to_frames(tables).values()))


async def rows(vast: VAST, expression: str, limit: int) -> int:
    """Make a row of each event."""
    return len([None async for _ in vastlab.to_json_rows(vast.export(expression, limit=limit))])


async def events_of(answer: Awaitable[Any]) -> int:
    """Return the events of a frame of groups."""
    return int((await answer)["events"].sum())


async def ingest(tables: list[pa.Table]) -> int:
    """Put events into a new database."""
    with tempfile.TemporaryDirectory() as folder:
        async with VAST(Path(folder) / "new.db") as vast:
            for table in tables:
                await vast.ingest(table)
            return await vast.count()


def questions(vast: VAST, tables: list[pa.Table]) -> Mapping[str, Callable[[], Awaitable[int]]]:
    """Return what is asked, each with an answer that two versions have to agree on."""
    # Each lambda has to keep an expression of its own.
    counts = {name: (lambda text=text: vast.count(text)) for name, text in COUNTS.items()}
    return counts | {
        "first 100 of a common predicate": lambda: export(vast, "resp_p == 53", 100),
        "all connections as Arrow": lambda: export(vast, '#type == "zeek.conn"'),
        "frames of dns events": lambda: frames(vast, '#type == "zeek.dns"'),
        "20,000 rows": lambda: rows(vast, '#type == "zeek.conn"', 20_000),
        "summary by address": lambda: events_of(
            vast.summarize('#type == "zeek.conn"', by="id.orig_h", events="count()")
        ),
        "ingest of Arrow tables": lambda: ingest(tables),
    }


async def ask(path: str) -> dict[str, tuple[float, int]]:
    """Return the least seconds of CPU of each question, and its answer."""
    found = {}
    tables = [pa.Table.from_batches([batch]) for batch in demo.batches(50_000)]
    async with VAST(path) as vast:
        for name, question in questions(vast, tables).items():
            answer, spent = await question(), []
            for _ in range(TURNS):
                started = time.process_time()
                await question()
                spent.append(time.process_time() - started)
            found[name] = (min(spent), answer)
    return found


def main() -> None:
    """Make the database of this version (``make PATH EVENTS``), or ask it (``ask PATH``)."""
    action, path, *rest = sys.argv[1:]
    if action == "make":
        Database.create(path).add(demo.batches(int(rest[0])))
        return
    print(json.dumps(asyncio.run(ask(path))))


if __name__ == "__main__":
    main()
