"""The embedded node: a vastlab database, or a folder of logs, read in this process."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import datafusion

from vastlab.errors import DatabaseError, UsageError
from vastlab.expression.ast import Constant
from vastlab.nodes import _explain, _plan, _scan, _status
from vastlab.nodes._limit import limited
from vastlab.nodes.base import Explanation, ExportMode, Query, Step
from vastlab.store.database import Database, is_database
from vastlab.store.ingest import IngestProgress, IngestReport, ingest
from vastlab.store.layout import DataFile, Snapshot
from vastlab.store.log_folder import LogFolder
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

EXPORTED_AT_ONCE = 2  # each file in flight holds up to 100 MB
COUNTED_AT_ONCE = min(4, max(2, os.cpu_count() or 2))
POLL_SECONDS = 0.2
_ATTEMPTS = 3
_COMPARED = 1000  # names, which takes no time that one notices

_T = TypeVar("_T")


class Maker(Protocol):
    """Makes a database."""

    def __call__(
        self,
        target: Path,
        /,
        *,
        tell: Callable[[int, int], None],
        cancelled: threading.Event | None,
    ) -> None:
        """Make it there, telling how many events it has, and how many it is to have."""
        ...


class EmbeddedNode:
    """A folder that is read by DataFusion in this process.

    Parameters
    ----------
    path
        A vastlab database, a plain folder of logs, or a folder that `ingest` is to make.
    make
        Makes the database where it is missing; nothing can be ingested then.
    """

    def __init__(self, path: Path, *, make: Maker | None = None) -> None:
        self._path = path
        self._make = make
        self._pool = ThreadPoolExecutor(COUNTED_AT_ONCE, thread_name_prefix="vastlab-scan")
        # One thread looks at the folder, so that looks happen in the order of the calls.
        self._lookout = ThreadPoolExecutor(1, thread_name_prefix="vastlab-look")
        self._context: datafusion.SessionContext | None = None
        self._database: Database | None = None
        self._database_stamp = (0, 0)
        self._folder: LogFolder | None = None
        self._preparation: Step | None = None

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        start = self._generation() if query.mode is ExportMode.CONTINUOUS else None
        return limited(self._events(query, start), query.limit)

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        snapshot = await self._snapshot()
        for _ in range(_ATTEMPTS):
            try:
                return await self._counts(query, snapshot)
            except _scan.FileGoneError as error:
                snapshot = await self._newer(snapshot, error)
        raise DatabaseError(
            f"the database changes faster than it can be read: {self._path}", hint="try again"
        )

    async def schemas(self) -> dict[str, Schema]:
        """Return what the folder holds: for each name the union over its layouts."""
        return (await self._snapshot()).schemas()

    async def explain(self, query: Query) -> Explanation:
        """Say which files and row groups would be read."""
        snapshot = await self._snapshot()
        return await self._in_thread(partial(_explain.explain, query, snapshot))

    @property
    def complaint(self) -> str | None:
        """What could not be read of a folder of logs at the last look, in one line."""
        number = self._folder.problem_count if self._folder is not None else 0
        if self._folder is None or not number:
            return None
        first = next((str(problem) for problem in self._folder.problems), "")
        noun = "problem" if number == 1 else "problems"
        return f"{number} {noun} with the logs in {self._path} (status says more): {first}"

    @property
    def preparation(self) -> Step | None:
        """What is done at this moment before anything can be answered; None where nothing is."""
        return self._preparation

    async def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        return _status.report(await self._snapshot(), self._path)

    async def ingest(
        self,
        sources: Any,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        force: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Add the events of files; the database is made where there is none."""
        cancelled = threading.Event()
        work = partial(
            self._ingest,
            sources,
            schema=schema,
            format=format,
            strict=strict,
            force=force,
            progress=progress,
            cancelled=cancelled,
        )
        working = _scan.in_thread(self._pool, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([working])  # it tidies up first
            raise

    async def aclose(self) -> None:
        """End what runs and let the threads go."""
        self._context = self._database = self._folder = None
        self._pool.shutdown(wait=False)
        self._lookout.shutdown(wait=False)

    # --- the scan ---------------------------------------------------------------------------

    async def _events(
        self, query: Query, start: _Started | int | None
    ) -> AsyncGenerator[TableSlice, None]:
        if start is None:
            snapshot, stream, part = await self._begin(query)
            try:
                async with aclosing(stream):
                    while part is not None:
                        yield part
                        part = await anext(stream, None)
            except _scan.FileGoneError as error:
                await self._newer(snapshot, error)
                raise DatabaseError(
                    f"the database was rewritten while it was read: {self._path}",
                    hint="run the query again",
                ) from error
            start = snapshot.generation
        if query.mode is not ExportMode.HISTORICAL:
            generation = start if isinstance(start, int) else await start.answer()
            async with aclosing(self._arriving(query, generation)) as parts:
                async for part in parts:
                    yield part

    async def _begin(
        self, query: Query
    ) -> tuple[Snapshot, AsyncGenerator[TableSlice, None], TableSlice | None]:
        """Start reading; as long as nothing was read, one may start again elsewhere."""
        snapshot = await self._snapshot()
        while True:
            stream = self._read(query, snapshot, snapshot.files)
            try:
                return snapshot, stream, await anext(stream, None)
            except _scan.FileGoneError as error:
                snapshot = await self._newer(snapshot, error)

    async def _arriving(self, query: Query, generation: int) -> AsyncGenerator[TableSlice, None]:
        while True:
            (newest, files), snapshot = await self._look(partial(_arrivals, generation))
            if files:
                async with aclosing(self._read(query, snapshot, files)) as parts:
                    async for part in parts:
                        yield part
            generation = newest
            await asyncio.sleep(POLL_SECONDS)

    def _read(
        self, query: Query, snapshot: Snapshot, files: tuple[DataFile, ...]
    ) -> AsyncGenerator[TableSlice, None]:
        tasks = _plan.tasks(query, snapshot.layouts, files)
        return _scan.export(self._engine(), self._pool, tasks, EXPORTED_AT_ONCE)

    async def _counts(self, query: Query, snapshot: Snapshot) -> dict[str, int]:
        counts: dict[str, int] = {}
        scans = []
        for task in _plan.tasks(query, snapshot.layouts, snapshot.files):
            if task.bound == Constant(True):
                counts[task.file.schema_name] = (
                    counts.get(task.file.schema_name, 0) + task.file.rows
                )
            else:
                scans.append(task)
        found = await _scan.count(self._engine(), self._pool, scans, COUNTED_AT_ONCE)
        for name, number in found.items():
            counts[name] = counts.get(name, 0) + number
        return dict(sorted(counts.items()))

    def _engine(self) -> datafusion.SessionContext:
        if self._context is None:
            self._context = _scan.make_context()
        return self._context

    # --- the folder -------------------------------------------------------------------------

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await _scan.in_thread(self._pool, function)

    async def _look(self, at: Callable[[Database], _T]) -> _T:
        with _cancelling(threading.Event()) as cancelled:
            return await _scan.in_thread(self._lookout, lambda: at(self._open(cancelled)))

    async def _snapshot(self) -> Snapshot:
        return await self._look(lambda database: database.snapshot())

    async def _newer(self, snapshot: Snapshot, error: _scan.FileGoneError) -> Snapshot:
        """Return a newer snapshot, which explains why a file is gone, or raise."""
        newest = await self._snapshot()
        if newest.generation == snapshot.generation:
            raise error
        return newest

    def _generation(self) -> _Started | int:
        # Looking at a database takes no time, so that its state at the call counts. A folder
        # of logs may have to be read first.
        if is_database(self._path):
            return self._open().snapshot().generation
        cancelled = threading.Event()
        look = self._lookout.submit(lambda: self._open(cancelled).snapshot().generation)
        return _Started(look, cancelled)

    def _open(self, cancelled: threading.Event | None = None) -> Database:
        try:
            return self._prepared(cancelled)
        finally:
            self._preparation = None

    def _prepared(self, cancelled: threading.Event | None) -> Database:
        if self._make is not None and not is_database(self._path):
            self._make(self._path, tell=self._making, cancelled=cancelled)
        if is_database(self._path):
            # Kept, because it remembers the last snapshot; another one may stand there now.
            stamp = _stamp(self._path)
            if self._database is None or stamp != self._database_stamp:
                self._database, self._database_stamp = Database.open(self._path), stamp
            return self._database
        self._must_be_folder()
        if self._folder is None:
            self._folder = LogFolder(self._path)
        return self._folder.refresh(self._reading, cancelled=cancelled)

    def _making(self, made: int, of: int) -> None:
        self._preparation = Step("making the demo database", made, made / of)

    def _reading(self, how_far: IngestProgress) -> None:
        done, total = how_far.bytes_done, how_far.bytes_total
        logs = "1 log" if how_far.files_total == 1 else f"{how_far.files_total:,} logs"
        self._preparation = Step(
            f"reading {logs}",
            how_far.events,
            min(1.0, done / total) if done and total else None,
        )

    def _must_be_folder(self) -> None:
        if self._path.is_dir():
            return
        if self._path.exists():
            raise UsageError(
                f"{self._path} is a file, not a folder",
                hint="name its folder, or import the file into a database",
            )
        raise UsageError(
            f"no such folder: {self._path}",
            hint=_meant(self._path)
            or 'an endpoint is a folder such as "m57.db" (`vastlab import` makes it) or a '
            'node such as "localhost:5158"',
        )

    def _ingest(self, sources: Any, **options: Any) -> IngestReport:
        if self._make is not None:
            raise UsageError(f"{self._path} is read-only", hint="import into a folder of your own")
        is_new = not self._path.exists()
        database = self._open_for_writing()
        try:
            return ingest(database, sources, **options)
        except BaseException:
            if is_new:
                database.remove_empty()
            raise

    def _open_for_writing(self) -> Database:
        if is_database(self._path):
            return Database.open(self._path)
        if self._path.is_dir() and any(self._path.iterdir()):
            raise UsageError(
                f"{self._path} is a folder of logs, not a database",
                hint="it can be queried as it is; import into another folder",
            )
        if self._path.exists() and not self._path.is_dir():
            self._must_be_folder()
        return Database.create(self._path)


@dataclass(frozen=True, slots=True)
class _Started:
    """A look at the folder that began before anybody waits for it."""

    look: Future[int]
    cancelled: threading.Event

    async def answer(self) -> int:
        with _cancelling(self.cancelled):
            return await asyncio.wrap_future(self.look)


@contextlib.contextmanager
def _cancelling(cancelled: threading.Event) -> Iterator[threading.Event]:
    """Tell the thread to give up when nobody waits: it would read a large folder to its end."""
    try:
        yield cancelled
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _meant(path: Path) -> str | None:
    """Ask for the folder beside it whose name is close, or for the demo."""
    if path == Path("demo"):
        return "did you mean demo:?"
    beside: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        beside += (entry.name for entry in islice(entries, _COMPARED) if entry.is_dir())
    close = difflib.get_close_matches(path.name, beside, 1)
    return f"did you mean {str(path.with_name(close[0]))!r}?" if close else None


def _stamp(path: Path) -> tuple[int, int]:
    """Tell a database from another one that was made in its place."""
    found = (path / "manifest.json").stat()
    return found.st_ino, found.st_mtime_ns


def _arrivals(since: int, database: Database) -> tuple[tuple[int, tuple[DataFile, ...]], Snapshot]:
    return database.added(since), database.snapshot()
