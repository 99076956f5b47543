"""Events on their way to a node: read and checked here first, then sent as Arrow.

The files are read into a database of their own in a temporary folder. A malformed file is
found before anything is sent, and the readers are those of every other ingest.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.nodes._process import Child, Completed, finish
from vastlab.store.database import Database
from vastlab.store.ingest import IngestReport, ingest
from vastlab.store.layout import Snapshot

Send = Callable[[Iterator[pa.RecordBatch]], Awaitable[None]]


async def upload(sources: Any, send: Send, **options: Any) -> IngestReport:
    """Read files and hand their events on, one layout after the other.

    Parameters
    ----------
    sources, options
        As for `vastlab.store.ingest.ingest`.
    send
        Takes the batches of one layout.

    Returns
    -------
    IngestReport
        What was read, all of which was sent.
    """
    with tempfile.TemporaryDirectory(prefix="vastlab-") as folder:
        database = Database.create(Path(folder, "events"))
        cancelled = threading.Event()
        work = partial(ingest, database, sources, cancelled=cancelled, **options)
        reading = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            report = await asyncio.shield(reading)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([reading])
            raise
        snapshot = database.snapshot()
        for fingerprint in snapshot.layouts:
            await send(_events(snapshot, fingerprint))
    return report


def _events(snapshot: Snapshot, fingerprint: str) -> Iterator[pa.RecordBatch]:
    layout = snapshot.layouts[fingerprint]
    for file in snapshot.files:
        if file.fingerprint == fingerprint:
            with pq.ParquetFile(file.path) as parquet:
                for group in range(parquet.num_row_groups):
                    for batch in parquet.read_row_group(group).to_batches():
                        yield layout.events(batch)


async def feed(
    argv: tuple[str, ...], env: Mapping[str, str], batches: Iterator[pa.RecordBatch]
) -> Completed:
    """Run a program that reads one Arrow stream from its standard input.

    Parameters
    ----------
    argv, env
        As for `vastlab.nodes._process.Child`.
    batches
        Of one schema, at least one.
    """
    child = Child(argv, env, stdin=subprocess.PIPE)
    try:
        return await asyncio.to_thread(_write, child, batches)
    finally:
        await finish(child.end)


def _write(child: Child, batches: Iterator[pa.RecordBatch]) -> Completed:
    first = next(batches)
    try:
        with child.stdin as pipe, pa.ipc.new_stream(pipe, first.schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
    except (OSError, ValueError):
        pass  # the program ended early: its status and last words say why
    output = child.stdout.read()
    return Completed(child.wait(), output, child.stderr)
