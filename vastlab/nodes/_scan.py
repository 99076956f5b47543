"""The scan: DataFusion over one Parquet file after the other, a few of them in flight.

DataFusion is called from worker threads only, and never through its asynchronous interface:
that one lets its own threads call into Python, and an interpreter that ends meanwhile aborts.
A worker does short pieces of work, each of which fetches the next few batches of one file, and
never waits for whoever consumes them. So a stopped scan ends with the piece at hand, and the
threads can be joined when the interpreter exits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import datafusion
import pyarrow as pa

from vastlab.errors import CorruptFileError, NodeError, VastlabError
from vastlab.expression.ast import Constant
from vastlab.nodes._plan import Task
from vastlab.store.layout import DataFile
from vastlab.table_slice import TableSlice

_SETTINGS = {
    "datafusion.execution.collect_statistics": "false",  # else planning opens every footer
    "datafusion.execution.target_partitions": "1",  # else the rows of a file lose their order
    "datafusion.execution.parquet.bloom_filter_on_read": "true",
    "datafusion.execution.parquet.pushdown_filters": "true",
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.execution.parquet.skip_metadata": "false",
}
_PIECE_BYTES = 4 << 20  # what one piece of work fetches at most, beyond its first batch
_PIECES_AHEAD = 2  # pieces of one file that wait for the consumer

_T = TypeVar("_T")


class FileGoneError(CorruptFileError):
    """A file is not there any more; a newer generation may know why."""


def make_context() -> datafusion.SessionContext:
    """Return a context with the settings that give right answers."""
    return datafusion.SessionContext(datafusion.SessionConfig(_SETTINGS))


class FileScan:
    """One file on its way through DataFusion; its methods run in a worker thread.

    Parameters
    ----------
    context
        Of `make_context`.
    task
        What to read.
    """

    def __init__(self, context: datafusion.SessionContext, task: Task) -> None:
        self._context = context
        self._task = task
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._stopped = False
        self._budget = 0  # somebody waits for the first batch, so it goes out alone

    def piece(self) -> list[TableSlice]:
        """Fetch the next batches; none at the end of the file."""
        if self._batches is None:
            self._batches = self._read()
        slices: list[TableSlice] = []
        fetched = 0
        while not self._stopped and fetched <= self._budget:
            batch = next(self._batches, None)
            if batch is None:
                break
            slices.append(TableSlice(batch))
            fetched += batch.nbytes
        self._budget = _PIECE_BYTES
        return slices

    def count(self) -> int:
        """Count the events without making them."""
        if self._stopped:
            return 0
        with _errors(self._task.file):
            return sum(frame.count() for frame in self._frames())

    def stop(self) -> None:
        """Let the piece at hand be the last one; from any thread."""
        self._stopped = True

    def _read(self) -> Iterator[pa.RecordBatch]:
        with _errors(self._task.file):
            for frame in self._frames():
                for batch in frame.execute_stream():
                    yield self._task.layout.events(batch.to_pyarrow())

    def _frames(self) -> Iterator[datafusion.DataFrame]:
        task = self._task
        _check(task.file)
        for arm in task.arms:
            # A missing file counts as an empty one when there is a schema.
            frame = self._context.read_parquet(
                "file://" + quote(task.file.path),
                schema=task.layout.stored_schema,
                skip_metadata=False,
            )
            if arm != Constant(True):
                frame = frame.filter(task.filters.of(arm))
            yield frame
        _check(task.file)


def _check(file: DataFile) -> None:
    """Compare with the manifest: the engine takes a missing or empty file for no events."""
    try:
        size = Path(file.path).stat().st_size
    except FileNotFoundError:
        raise FileGoneError(f"a file of the database is gone: {file.path}") from None
    except OSError as error:
        raise CorruptFileError(f"cannot read {file.path}: {error.strerror}") from error
    if size != file.size:
        raise CorruptFileError(
            f"a file of the database is damaged: {file.path} has {size} bytes instead of "
            f"{file.size}",
            hint="`vastlab check` looks at every file",
        )


@contextlib.contextmanager
def _errors(file: DataFile) -> Iterator[None]:
    """Name the file in whatever DataFusion raises."""
    try:
        yield
    except (VastlabError, GeneratorExit):
        raise
    except BaseException as error:
        reason = reason_of(error)
        _check(file)
        raise CorruptFileError(
            f"cannot read {file.path}: {reason}", hint="`vastlab check` looks at every file"
        ) from error


def reason_of(error: BaseException) -> str:
    """Say in a line why reading failed; what is no failure of that kind is raised again."""
    # Panics of the engine derive from BaseException, other failures are plain Exceptions.
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    return " ".join(str(error).split())[:500]


# --- several files --------------------------------------------------------------------------


async def export(
    context: datafusion.SessionContext,
    pool: Executor,
    tasks: Iterable[Task],
    in_flight: int,
    scan: Callable[[datafusion.SessionContext, Task], FileScan] = FileScan,
) -> AsyncGenerator[TableSlice, None]:
    """Read files in order; later ones are read ahead once the first one is through.

    Parameters
    ----------
    context
        Of `make_context`.
    pool
        The worker threads.
    tasks
        The files.
    in_flight
        How many files are read at the same time.
    scan
        Reads one of them.
    """
    waiting = iter(tasks)
    pumps: deque[_Pump] = deque()
    width = 1
    try:
        while True:
            while len(pumps) < width and (task := next(waiting, None)) is not None:
                pumps.append(_Pump(scan(context, task), pool))
            if not pumps:
                return
            while slices := await pumps[0].get():
                for part in slices:
                    yield part
            pumps.popleft()
            width = in_flight
    finally:
        for pump in pumps:
            await pump.stop()


async def count(
    context: datafusion.SessionContext,
    pool: Executor,
    tasks: Iterable[Task],
    in_flight: int,
    scan: Callable[[datafusion.SessionContext, Task], FileScan] = FileScan,
) -> dict[str, int]:
    """Count the events of files by schema name."""
    counts: dict[str, int] = {}
    waiting = iter(tasks)
    running: deque[tuple[Task, FileScan, asyncio.Future[int]]] = deque()
    try:
        while True:
            while len(running) < in_flight and (task := next(waiting, None)) is not None:
                reader = scan(context, task)
                running.append((task, reader, in_thread(pool, reader.count)))
            if not running:
                return counts
            task, _, answer = running[0]
            number = await answer
            running.popleft()
            if number:
                name = task.layout.schema.name
                counts[name] = counts.get(name, 0) + number
    finally:
        for _, reader, answer in running:
            reader.stop()
            answer.cancel()


def in_thread(pool: Executor, function: Callable[[], _T]) -> asyncio.Future[_T]:
    """Start a function in a worker thread; nobody has to wait for the answer."""
    try:
        future: Future[_T] = pool.submit(function)
    except RuntimeError:
        raise NodeError("the client was closed, or Python is about to exit") from None
    wrapped: asyncio.Future[_T] = asyncio.wrap_future(future)
    # An answer that nobody waits for any more is not worth a complaint.
    wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())
    return wrapped


class _Pump:
    """Fetches the pieces of one file, a few of them ahead of the consumer."""

    def __init__(self, scan: FileScan, pool: Executor) -> None:
        self._scan = scan
        self._pool = pool
        self._pieces: asyncio.Queue[Any] = asyncio.Queue(_PIECES_AHEAD)
        self._task = asyncio.get_running_loop().create_task(self._run())
        # A loop that dies with its thread when Python exits is nothing to complain of.
        self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own word

    async def get(self) -> list[TableSlice]:
        """Return the next piece; an empty one is the end."""
        piece = await self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        slices: list[TableSlice] = piece
        return slices

    async def stop(self) -> None:
        """Fetch nothing more; a piece at hand is not waited for."""
        self._scan.stop()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                slices = await in_thread(self._pool, self._scan.piece)
            except VastlabError as error:
                await self._pieces.put(error)
                return
            await self._pieces.put(slices)
            if not slices:
                return
