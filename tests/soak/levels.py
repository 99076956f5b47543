"""Repeat one scenario, and print how much memory and how many threads and files are left.

Run it with::

    python -m tests.soak.levels queries 10000
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa

import vastlab
from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

MAX_GAIN = 50.0  # MiB that a scenario may gain

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SMALL, _LARGE = 2_000, 1_500_000  # events

Step = Callable[[Path, int], None]


def resident() -> float:
    """Return the memory of this process in MiB, without what was freed already.

    Without trimming, 10,000 queries leave 30 to 80 MiB of freed memory in the arenas of glibc.
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / (1 << 20)


def left() -> dict[str, int]:
    """Return the numbers of threads, open files and child processes of this process."""
    return {
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "processes": len(multiprocessing.active_children()),
    }


# --- scenarios --------------------------------------------------------------------------------


def queries(folder: Path, number: int) -> None:
    """Run queries on one connection."""
    with vastlab.connect(str(folder / "small.db")) as connection:
        for turn in range(number):
            found = connection.query(f"id.orig_p > {turn % 1_000}", limit=10)
            assert len(found) > 0


def databases(folder: Path, number: int) -> None:
    """Open a database, count, and close it."""
    for _ in range(number):
        with vastlab.connect(str(folder / "small.db")) as connection:
            assert connection.count() == _SMALL


def dropped_exports(folder: Path, number: int) -> None:
    """Start an export, read its first slice, and drop it without closing it."""

    async def begin(client: VAST) -> None:
        async for _ in client.export("", limit=0):
            break

    async def main() -> None:
        async with VAST(str(folder / "small.db")) as client:
            for _ in range(number):
                await begin(client)
            gc.collect()
            await asyncio.sleep(0)

    asyncio.run(main())


def slow_consumer(folder: Path, number: int) -> None:
    """Read a large export slowly; the peak memory must stay constant."""
    peak = 0.0

    async def main() -> None:
        nonlocal peak
        async with (
            VAST(str(folder / "large.db")) as client,
            aclosing(client.export("", limit=0)) as slices,
        ):
            level, taken = 0.0, 0
            async for _ in slices:
                taken += 1
                await asyncio.sleep(0.01)  # the consumer is slow
                if taken == 20:
                    level = resident()
                if taken % 20 == 0:
                    peak = max(peak, resident() - level)
                if taken >= number:
                    break

    asyncio.run(main())
    assert peak < 2 * MAX_GAIN, f"a slow consumer saw {peak:.0f} MiB more after its 20th slice"


SCENARIOS: dict[str, Step] = {
    "queries": queries,
    "databases": databases,
    "dropped-exports": dropped_exports,
    "slow-consumer": slow_consumer,
}


def measure(name: str, number: int) -> dict[str, float]:
    """Run a scenario briefly to warm up, then in full; return what it gained."""
    step = SCENARIOS[name]
    with tempfile.TemporaryDirectory(prefix="vastlab-soak-") as folder:
        size = _LARGE if name == "slow-consumer" else _SMALL
        kind = "large.db" if name == "slow-consumer" else "small.db"
        database = Database.create(Path(folder, kind))
        database.add(demo.batches(size))
        step(Path(folder), min(number, 1_000))  # caches and allocators fill
        before, held = resident(), left()
        step(Path(folder), number)
        gained = {"mib": round(resident() - before, 1)}
        return gained | {what: count - held[what] for what, count in left().items()}


if __name__ == "__main__":
    gained = measure(sys.argv[1], int(sys.argv[2]))
    print(json.dumps(gained))
    sys.exit(int(gained["mib"] > MAX_GAIN))
