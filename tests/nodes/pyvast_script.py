"""A script for PyVAST that does what was recorded of it; only its import says `vastlab`.

What it prints is what `test_pyvast` compares. It knows nothing of vastlab but the names that
PyVAST has, too.
"""

# ruff: noqa: T201, BLE001 - it prints what it finds, errors too

from __future__ import annotations

import asyncio
import os
import sys

import pandas as pd

from vastlab import VAST, ExportMode, collect_pyarrow, to_json_rows


async def rows(*arguments, **options):
    """Print how many rows there are, and the first three."""
    events = node().export(*arguments, **options)
    found = [row async for row in to_json_rows(events)]
    print("rows", len(found))
    for row in found[:3]:
        print(row)


async def default_limit(expression):
    """Print how many rows there are."""
    print("rows", len([row async for row in to_json_rows(node().export(expression))]))


async def seed():
    """Print ten rows."""
    async for row in to_json_rows(node().export("192.168.1.103", limit=10)):
        print(row)


async def collect(expression, limit):
    """Print what the tables are, and the schema of the first one."""
    tables = await collect_pyarrow(node().export(expression, limit=int(limit)))
    print(type(tables))
    for name, parts in tables.items():
        print(repr(name), type(parts).__name__, [part.shape for part in parts])
    first = next(iter(tables.values()))[0]
    print(first.schema.to_string(truncate_metadata=False, element_size_limit=1000))


async def pandas(expression, limit):
    """Print a frame's shape, the types of its columns, and its first three events."""
    tables = await collect_pyarrow(node().export(expression, limit=int(limit)))
    for name, parts in tables.items():
        frame = parts[0].to_pandas()
        print(name, frame.shape)
        print(frame.dtypes.to_string())
        with pd.option_context("display.width", 1000, "display.max_colwidth", 1000):
            print(frame.head(3).T.to_string())


async def count(*expression):
    """Print a number."""
    print(await node().count(*expression))


async def status(**options):
    """Print the keys of a node's state."""
    answer = await node().status(**options)
    print(*(() if options else (type(answer),)), list(answer))


async def leave(expression):
    """Leave an export at its first row."""
    async for row in to_json_rows(node().export(expression)):
        print("left", row.name)
        break


async def cancel(limit, seconds):
    """Cancel an export that never ends by itself."""
    task = asyncio.ensure_future(rows("", ExportMode.CONTINUOUS, int(limit)))
    await asyncio.wait([task], timeout=float(seconds))
    task.cancel()
    await asyncio.wait([task])
    print("cancelled", task.cancelled())


def node():
    """Speak with the node that the argument or the environment names."""
    return VAST(os.environ["EPX"]) if "EPX" in os.environ else VAST()


CASES = {
    "seed": seed,
    "rows": lambda expression, limit=100: rows(expression, limit=int(limit)),
    "default_limit": default_limit,
    "collect": collect,
    "pandas": pandas,
    "count": count,
    "status": status,
    "status_detailed": lambda: status(detailed=True),
    "status_timeout": lambda seconds=3: status(timeout=float(seconds)),
    "break": leave,
    "continuous": cancel,
}


async def main():
    """Do what the arguments say; an error is printed."""
    try:
        await CASES[sys.argv[1]](*sys.argv[2:])
    except Exception as error:
        print("EXC", type(error).__name__, error)


if __name__ == "__main__":
    asyncio.run(main())
