"""Reading of Parquet files with DataFusion, verified."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab._lazy import datafusion
from vastlab.arrow.types import record_batch
from vastlab.compile.datafusion import column_named
from vastlab.compile.summary import Bounds, Grouping
from vastlab.errors import CorruptFileError, NodeError, VastlabError
from vastlab.expression.ast import Constant, Expr
from vastlab.nodes import plan
from vastlab.nodes.counting import FileCounter, count_rows
from vastlab.nodes.engine import Engine, parquet
from vastlab.nodes.plan import Task
from vastlab.nodes.verification import Verification
from vastlab.readers.columns import restore
from vastlab.store.checksums import REPAIR, Stamp, stamp_of, verified
from vastlab.store.layout import DataFile, Layout
from vastlab.store.writer import order_column
from vastlab.table_slice import TableSlice
from vastlab.types import Paths, Schema, is_at, prune

_PIECE_BYTES = 4 << 20  # what one piece of work fetches at most, beyond its first batch
_PIECES_AHEAD = 2  # pieces of one file that wait for the consumer

Times = npt.NDArray[np.int64]
_T = TypeVar("_T")
_Task = TypeVar("_Task")


class _Stoppable(Protocol):
    def stop(self) -> None: ...


_Reader = TypeVar("_Reader", bound=_Stoppable)


class FileGoneError(CorruptFileError):
    """A file is not there any more; a newer generation may know why."""


class FileScan:
    """One file on its way through DataFusion; its methods run in a worker thread.

    Parameters
    ----------
    context
        The engine.
    task
        What to read.
    verify
        Whether what an answer depends on is compared with its checksums before it counts.
    """

    is_first = True
    """Whether its first events are awaited, so that its batches are small."""

    def __init__(self, context: Engine, task: Task, *, verify: bool = True) -> None:
        self._context = context
        self._task = task
        self._verify = verify and any(task.file.tail)
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._stopped = False
        self._budget = 0  # the first batch is passed on at once

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
        with self.search(frozenset()) as (verification, disjuncts):
            return sum(self._count(expr, verification) for expr in disjuncts)

    def _count(self, expr: Expr, verification: Verification | None) -> int:
        """Count what an expression finds; a verified file may be read in another way."""
        rest: int | Expr = expr
        if verification is not None:
            rest = FileCounter(self._context, self._task, verification).count(expr)
        if isinstance(rest, int):
            return rest
        is_pruned = verification is None or not verification.is_unpruned
        path = self._task.file.path
        return count_rows(self._context, self._task, rest, path, is_pruned=is_pruned)

    def compared(self) -> Iterator[tuple[Expr, list[pa.RecordBatch]]]:
        """Read what a small file is searched for, and the columns that this compares."""
        if self._stopped:
            return
        file, schema = self._task.file, self._task.layout.stored_schema
        with self.search(frozenset()) as (_, disjuncts):
            for expr in disjuncts:
                names = sorted(plan.columns(expr)) or [schema.names[-1]]
                fields = pa.schema([schema.field(name) for name in names])
                with pq.ParquetFile(file.path) as opened:
                    # A name also selects the columns that begin with it and a dot.
                    table = opened.read(names, use_threads=False).select(names)
                yield expr, [record_batch(b.columns, fields, len(b)) for b in table.to_batches()]

    def group(self, grouping: Grouping) -> Iterator[pa.Table]:
        """Group the events without making them."""
        if self._stopped:
            return
        file, used = self._task.file, grouping.columns
        with self.search(used) as (_, disjuncts):
            for expr in disjuncts:
                yield grouping.partial(self.found(expr), bounds_of(file, used), file.rows)

    def spans(self) -> list[tuple[int, int]]:
        """Return the bounds of the event time in parts of the file that can be read apart."""
        file = self._task.file
        if self._stopped:
            return []
        with self.search() as (verification, _):
            return [(file.first, file.last)] if verification is None else verification.spans()

    def times(self) -> Times:
        """Return the event times that a task finds which asks for some; in nanoseconds."""
        leaf = self._task.layout.schema.event_time
        found: list[Times] = []
        if leaf is None:
            return np.empty(0, np.int64)
        with self.search() as (verification, disjuncts):
            for expr in disjuncts:
                check = verification.times(expr) if verification else None
                column = column_named(leaf.column)
                for batch in self._frame(expr).select(column).execute_stream():
                    if self._stopped:
                        break
                    rows = batch.to_pyarrow()
                    if check is not None:
                        check(rows)
                    found.append(pc.cast(rows.column(0), pa.int64()).to_numpy())
        return np.concatenate([np.empty(0, np.int64), *found])

    def stop(self) -> None:
        """Let the piece at hand be the last one; from any thread."""
        self._stopped = True

    def _read(self) -> Iterator[pa.RecordBatch]:
        chosen = Chosen(self._task.layout, self._task.fields)
        with self.search(columns=chosen.columns) as (verification, disjuncts):
            for expr in disjuncts:
                check = verification.events(expr) if verification else None
                frame = chosen.of(self._frame(expr))
                if self._task.limit:
                    frame = frame.limit(self._task.limit)
                for batch in frame.execute_stream():
                    rows = batch.to_pyarrow()
                    if check is not None:
                        check(rows)
                    yield chosen.events(rows)

    @contextlib.contextmanager
    def search(
        self, used: frozenset[str] | None = None, columns: frozenset[str] | None = None
    ) -> Iterator[tuple[Verification | None, Iterable[Expr]]]:
        """Return the checks that go with a scan, and the expressions to scan for.

        At the end the file must still be there, and the same.

        Parameters
        ----------
        used
            As of `Verification.disjuncts`.
        columns
            As of `Verification`.
        """
        file = self._task.file
        with _errors(file):
            before = _check(file)
            if self._verify:
                verification = Verification(self._task, verified(file), columns)
                yield verification, verification.disjuncts(used)
            else:
                yield None, self._task.disjuncts
            if _check(file) != before and self._verify:
                # Writers touch files that they drop; anything else has changed the content.
                verified(file).verify_all()

    def found(self, expr: Expr, path: str = "") -> datafusion.DataFrame:
        """Return what an expression finds in the file, or in a folder of files of its layout."""
        return self._filtered(self._context.grouping, expr, path)

    def _frame(self, expr: Expr) -> datafusion.DataFrame:
        is_bulk = not self.is_first and not self._task.limit
        return self._filtered(self._context.bulk if is_bulk else self._context.usual, expr)

    def _filtered(
        self, context: datafusion.SessionContext, expr: Expr, path: str = ""
    ) -> datafusion.DataFrame:
        frame = parquet(context, path or self._task.file.path, self._task.layout.stored_schema)
        return frame if expr == Constant(True) else frame.filter(self._task.filters.of(expr))


class Chosen:
    """Some of the leaves of a layout, or all of them."""

    def __init__(self, layout: Layout, fields: Paths | None) -> None:
        self._layout = layout
        self.columns: frozenset[str] | None = None
        if fields is None:
            return
        schema = layout.schema
        self._schema = Schema(schema.name, prune(schema.fields, fields), schema.attributes)
        self._names = [leaf.column for leaf in schema.leaves if is_at(leaf.path, fields)]
        # The order of the rows is checked by the event time.
        self.columns = frozenset((*self._names, order_column(schema)))

    def of(self, frame: datafusion.DataFrame) -> datafusion.DataFrame:
        """Select the columns of a file's frame."""
        if self.columns is None:
            return frame
        return frame.select(*map(column_named, sorted(self.columns)))

    def events(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Turn rows into nested events."""
        if self.columns is None:
            return self._layout.events(rows)
        arrays = [rows.column(name) for name in self._names]
        # Without some fields, a column may be called by a shorter name.
        names = [leaf.column for leaf in self._schema.leaves]
        fields = [
            rows.schema.field(old).with_name(new)
            for old, new in zip(self._names, names, strict=True)
        ]
        chosen = record_batch(arrays, pa.schema(fields), rows.num_rows)
        return restore(chosen, self._schema)


def bounds_of(file: DataFile, columns: Iterable[str]) -> Bounds:
    """Return the bounds of columns of whole numbers and times that the manifest knows."""
    found = ((name, file.ranges.get(name)) for name in columns)
    return {
        name: (known.minimum, known.maximum)
        for name, known in found
        if known and isinstance(known.minimum, int) and isinstance(known.maximum, int)
    }


def _check(file: DataFile) -> Stamp:
    """Compare with the manifest: the engine takes a missing or empty file for no events."""
    try:
        found = os.stat(file.path)
    except FileNotFoundError:
        raise gone(file) from None
    except OSError as error:
        raise CorruptFileError(f"cannot read {file.path}: {error.strerror}") from error
    if found.st_size != file.size:
        raise CorruptFileError(
            f"a file of the database is damaged: {file.path} has {found.st_size} bytes instead of "
            f"{file.size}",
            hint=REPAIR,
        )
    return stamp_of(found)


def gone(file: DataFile) -> FileGoneError:
    """Return the error that says that a file is missing."""
    return FileGoneError(f"a file of the database is gone: {file.path}", hint=REPAIR)


@contextlib.contextmanager
def _errors(file: DataFile) -> Iterator[None]:
    """Name the file in whatever DataFusion raises."""
    try:
        yield
    except (VastlabError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise gone(file) from None
    except BaseException as error:
        reason = reason_of(error)
        _check(file)
        raise CorruptFileError(f"cannot read {file.path}: {reason}", hint=REPAIR) from error


def reason_of(error: BaseException) -> str:
    """Return one line that says why reading failed; raises any other error again.

    The engine raises plain Exceptions, and its panics derive from BaseException. A TypeError
    and its like are faults of vastlab, and must not be reported as a damaged file.
    """
    of_engine = type(error) is Exception or type(error).__name__ == "PanicException"
    if not of_engine and not isinstance(error, OSError | pa.ArrowException):
        raise error
    return " ".join(str(error).split())[:500]


# --- several files --------------------------------------------------------------------------


MakeScan = Callable[[Engine, Task], FileScan]


async def export(
    context: Engine,
    pool: Executor,
    tasks: Iterable[Task],
    in_flight: int,
    make_scan: MakeScan = FileScan,
) -> AsyncGenerator[TableSlice, None]:
    """Read files in order; later ones are read ahead once the first one is through.

    No file is read ahead that is not needed, as far as the limit of the tasks shows it.

    Parameters
    ----------
    context
        The engine.
    pool
        The worker threads.
    tasks
        The files.
    in_flight
        How many files are read at the same time.
    make_scan
        Makes the scan of one of them.
    """
    waiting = iter(tasks)
    pumps: deque[_Pump] = deque()
    width, certain, limit = 1, 0, 0
    try:
        while True:
            while len(pumps) < width and not (pumps and 0 < limit <= certain):
                if (task := next(waiting, None)) is None:
                    break
                limit = task.limit
                certain += task.file.rows if task.bound == Constant(True) else 0
                reader = make_scan(context, task)
                reader.is_first = width == 1
                pumps.append(_Pump(reader, pool))
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


async def run(
    context: Engine,
    pool: Executor,
    tasks: Iterable[_Task],
    in_flight: int,
    make_scan: Callable[[Engine, _Task], _Reader],
    work: Callable[[_Reader, _Task], _T],
) -> list[_T]:
    """Do some work with each file, several at the same time; the answers have the files' order."""
    answers: list[_T] = []
    waiting = iter(tasks)
    running: deque[tuple[_Reader, asyncio.Future[_T]]] = deque()
    try:
        while True:
            while len(running) < in_flight and (task := next(waiting, None)) is not None:
                reader = make_scan(context, task)
                running.append((reader, in_thread(pool, partial(work, reader, task))))
            if not running:
                return answers
            answers.append(await running[0][1])
            running.popleft()
    finally:
        for reader, answer in running:
            reader.stop()
            answer.cancel()


def in_thread(pool: Executor, function: Callable[[], _T]) -> asyncio.Future[_T]:
    """Start a function in a worker thread; the answer need not be awaited."""
    try:
        future: Future[_T] = pool.submit(function)
    except RuntimeError as error:
        if "after" not in str(error):  # "cannot schedule new futures after shutdown"
            raise NodeError(f"cannot start a worker thread: {error}") from error
        raise NodeError("the client was closed, or Python is about to exit") from None
    wrapped: asyncio.Future[_T] = asyncio.wrap_future(future)
    # The error of an answer that is not awaited any more is ignored.
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
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - the consumer raises it
                await self._pieces.put(error)
                return
            await self._pieces.put(slices)
            if not slices:
                return
