"""Events into a program's standard input, while its output is read."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.errors import ClientNotFoundError, FormatError, NodeConnectionError, NodeError
from vastlab.nodes.base import completed
from vastlab.nodes.process import Child, Completed
from vastlab.readers.problems import Problem
from vastlab.store.database import Database
from vastlab.store.ingest import IngestReport, ingest
from vastlab.store.snapshot import Snapshot

Send = Callable[[Iterator[pa.RecordBatch]], Awaitable[None]]


class FittingBatches(Protocol):
    """Fits events to what a node can store."""

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the events as the node can take them, and count what is lost."""
        ...

    def problems(self) -> Iterable[tuple[Problem, int]]:
        """Say what was lost, each with a number of values."""
        ...


async def upload(
    sources: Any,
    send: Send,
    make_fitting: Callable[[], FittingBatches] | None = None,
    **options: Any,
) -> IngestReport:
    """Read files as `vastlab.store.ingest.ingest` does, and send their events by layout.

    `make_fitting` makes what fits batches to the node. With `strict`, nothing is sent if an event
    does not fit. The `NodeError` of an incomplete upload says how much the node may have.
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
        if make_fitting is None:
            await _send_all(snapshot, send, lambda batch: batch)
            return report
        if options.get("strict"):
            await asyncio.to_thread(_check, snapshot, make_fitting())
        fitting = make_fitting()
        await _send_all(snapshot, send, fitting.fit)
    return _with_problems(report, fitting)


async def _send_all(
    snapshot: Snapshot, send: Send, fit: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> None:
    arrived: Counter[str] = Counter()
    for fingerprint, layout in snapshot.layouts.items():
        number = sum(f.rows for f in snapshot.files if f.fingerprint == fingerprint)
        try:
            await send(map(fit, _events(snapshot, fingerprint)))
        except NodeError as error:
            _tell(error, arrived, layout.schema.name, number)
            raise
        arrived[layout.schema.name] += number


def _tell(error: NodeError, arrived: Counter[str], name: str, number: int) -> None:
    """Let an error say how much of an ingest may have reached the node."""
    if isinstance(error, NodeConnectionError | ClientNotFoundError) and not arrived:
        return  # nothing has
    stored = [f"{events:,} events of {other} are stored" for other, events in arrived.items()]
    added = ", ".join([*stored, f"up to {number:,} events of {name} may be"])
    error.message = f"the ingest failed: {error.message}; {added}"
    error.hint = "what is stored is stored again when the same files are ingested once more"


def _check(snapshot: Snapshot, fitting: FittingBatches) -> None:
    """Raise for the first field of which values would be lost."""
    for fingerprint in snapshot.layouts:
        for batch in _events(snapshot, fingerprint):
            fitting.fit(batch)
    for problem, _ in fitting.problems():
        raise FormatError(
            problem.reason, path=problem.path, hint="without strict, it is sent as null"
        )


def _with_problems(report: IngestReport, fitting: FittingBatches) -> IngestReport:
    found = tuple(fitting.problems())
    return replace(
        report,
        problems=report.problems
        + tuple(replace(problem, reason=f"{problem.reason}; sent as null") for problem, _ in found),
        problem_count=report.problem_count + sum(number for _, number in found),
    )


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
    """Run a program that reads one Arrow stream of at least one batch from its standard input."""
    child = Child(argv, env, stdin=subprocess.PIPE)
    try:
        # Both at once: a program that prints before it has read everything would block.
        _, output = await asyncio.gather(
            asyncio.to_thread(_write, child, batches), asyncio.to_thread(_output, child)
        )
        returncode = await asyncio.to_thread(child.wait)
    finally:
        await completed(child.end)
    return Completed(returncode, output, child.stderr)


def _output(child: Child) -> bytes:
    with suppress(ValueError):  # closed when the child was ended
        return child.stdout.read()
    return b""


def _write(child: Child, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    faults: list[Exception] = []

    def sound() -> Iterator[pa.RecordBatch]:
        try:
            yield first
            yield from batches
        except Exception as error:  # noqa: BLE001 - raised below
            faults.append(error)
            child.end()  # before the end mark: the program must not take a part for everything

    # A program that ends early says why by its status and on its standard error.
    with (
        suppress(OSError, ValueError),
        child.stdin as pipe,
        pa.ipc.new_stream(pipe, first.schema) as writer,
    ):
        for batch in sound():
            writer.write_batch(batch)
    if faults:
        raise faults[0]
