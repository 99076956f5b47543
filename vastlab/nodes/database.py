"""A database as a node, wherever it is stored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from vastlab.compile.groups import Groups
from vastlab.errors import DatabaseError
from vastlab.expression.aggregates import Summary
from vastlab.nodes import base, plan, scan
from vastlab.nodes.arrivals import Arrivals, settled
from vastlab.nodes.base import (
    Explanation,
    ExportMode,
    Limit,
    Notice,
    Query,
    Report,
    Step,
    completed,
    ignore,
)
from vastlab.nodes.files import FileNode
from vastlab.nodes.first_types import FirstTypes
from vastlab.store.database import Database
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

if TYPE_CHECKING:
    from vastlab.store.compact import CompactReport
    from vastlab.store.ingest import IngestProgress, IngestReport

_ATTEMPTS = 3

_T = TypeVar("_T")


class DatabaseNode(FileNode, ABC):
    """A database, which a subclass opens.

    Parameters
    ----------
    name
        What messages call it.
    make_scan, at_once
        As in `FileNode`.
    """

    _poll_seconds = 0.2

    def __init__(self, name: str, make_scan: scan.MakeScan, at_once: int | None = None) -> None:
        super().__init__(make_scan, at_once)
        self._name = name

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        start = self._begin_continuous(report) if query.mode is ExportMode.CONTINUOUS else None
        return self._events(query, start, report)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        return await self._retried(partial(self._count, query), report)

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Group the events in the engine."""
        return await self._retried(partial(self._group, query, summary), report)

    async def span(self, query: Query, report: Report = ignore) -> int | None:
        """Return how long a time the files cover, by the manifest."""
        return plan.span(query, await self._snapshot(report))

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the folder holds: for each name the union over its layouts."""
        return (await self._snapshot(report)).schemas()

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say which files and row groups would be read."""
        snapshot = await self._snapshot(report)
        return await self._in_thread(partial(plan.explain, query, snapshot, self._row_groups))

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        return base.describe(await self._snapshot(report), self._name)

    async def ingest(
        self,
        sources: Any,
        *,
        strict: bool = False,
        force: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
        atomic: bool = False,
        **options: Any,
    ) -> IngestReport:
        """Add the events of files; the database is made where there is none.

        All events are added in one step, also if `atomic` is false.
        """
        cancelled = threading.Event()
        work = partial(
            self._ingest,
            sources,
            strict=strict,
            force=force,
            progress=progress,
            cancelled=cancelled,
            **options,
        )
        working = scan.in_thread(self._pool, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([working])  # it cleans up first
            raise

    async def compact(self, report: Report) -> CompactReport:
        """Merge the small files of the database; what was merged stays where it is cancelled."""
        from vastlab.store.compact import compact  # here, since most calls only read

        def show(done: int, of: int) -> None:
            report(Step("compacting", share=done / of))

        stop = threading.Event()
        return await completed(
            lambda: compact(self._compactable(), progress=show, is_stopped=stop.is_set), stop
        )

    # --- the scan ---------------------------------------------------------------------------

    async def _events(
        self, query: Query, start: Started | Arrivals | None, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        limit = Limit(query.total)
        if start is None:
            path, snapshot, stream, part = await self._begin(query, report)
            try:
                async with aclosing(stream):
                    while part is not None:
                        yield limit.cut(part)
                        if limit.is_reached:
                            return
                        part = await anext(stream, None)
            except scan.FileGoneError as error:
                await self._newer(snapshot, error)
                raise DatabaseError(
                    f"the database was rewritten while it was read: {self._name}",
                    hint="run the query again",
                ) from error
            start = Arrivals(path, snapshot)
        if not query.is_live:
            return
        arrivals = start if isinstance(start, Arrivals) else await start.answer()
        types = FirstTypes(report)
        while True:
            tasks = await self._arrived(query, arrivals, report)
            async with aclosing(self._read(tasks)) as parts:
                async for part in parts:
                    yield limit.cut(types.conform(part))
                    if limit.is_reached:
                        return
            await asyncio.sleep(self._poll_seconds)

    async def _begin(
        self, query: Query, report: Report
    ) -> tuple[str, Snapshot, AsyncGenerator[TableSlice, None], TableSlice | None]:
        """Start reading; as long as nothing was read, one may start again elsewhere."""
        path, snapshot = await self._look(state_of, report)
        self._report_problems(report)
        while True:
            files = settled(snapshot.files) if query.is_live else snapshot.files
            tasks = plan.tasks(query, snapshot.layouts, files)
            if query.newest or query.per_schema:
                stream = self._read_by_schema(query, tasks, self._read)
            else:
                stream = self._read(tasks)
            try:
                return path, snapshot, stream, await anext(stream, None)
            except scan.FileGoneError as error:
                path, snapshot = await self._newer(snapshot, error)

    async def _arrived(
        self, query: Query, arrivals: Arrivals, report: Report
    ) -> Iterator[plan.Task]:
        """Look for files that came since the last look."""
        snapshot, files, repeats = await self._look(arrivals.next)
        for line in repeats:
            report(Notice(line))
        return plan.tasks(query, snapshot.layouts, files)

    # --- the folder -------------------------------------------------------------------------

    async def _look(self, at: Callable[[Database], _T], report: Report = ignore) -> _T:
        with cancelling(threading.Event()) as cancelled:
            return await scan.in_thread(
                self._snapshot_executor, lambda: at(self._open(report, cancelled))
            )

    async def _snapshot(self, report: Report) -> Snapshot:
        return (await self._look(state_of, report))[1]

    async def _retried(self, answer: Callable[[Snapshot], Awaitable[_T]], report: Report) -> _T:
        """Answer from a snapshot, and from a newer one where files of it are gone."""
        snapshot = await self._snapshot(report)
        self._report_problems(report)
        for _ in range(_ATTEMPTS):
            try:
                return await answer(snapshot)
            except scan.FileGoneError as error:
                _, snapshot = await self._newer(snapshot, error)
        raise DatabaseError(
            f"the database changes faster than it can be read: {self._name}", hint="try again"
        )

    async def _newer(self, snapshot: Snapshot, error: scan.FileGoneError) -> tuple[str, Snapshot]:
        """Return a newer snapshot, which explains why a file is gone, or raise."""
        path, newest = await self._look(state_of)
        if newest.generation == snapshot.generation:
            raise error
        return path, newest

    # --- what differs -----------------------------------------------------------------------

    def _row_groups(self, task: plan.Task) -> tuple[int, int]:
        """Return how many row groups of a file would be read, of how many."""
        return plan.count_row_groups(task)

    def _report_problems(self, report: Report) -> None:
        """Report what could not be read of the sources, whenever that changes."""

    def _begin_continuous(self, report: Report) -> Started | Arrivals:
        """Take the state from which on events are new, before anything is awaited."""
        cancelled = threading.Event()
        look = self._snapshot_executor.submit(
            lambda: Arrivals(*state_of(self._open(report, cancelled)))
        )
        return Started(look, cancelled)

    @abstractmethod
    def _open(self, report: Report, cancelled: threading.Event | None = None) -> Database:
        """Open the database."""

    @abstractmethod
    def _compactable(self) -> Database:
        """Open the database if its files may be merged; blocks."""

    @abstractmethod
    def _ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first snapshot of a database, which is taken before it is awaited."""

    look: Future[Arrivals]
    cancelled: threading.Event

    async def answer(self) -> Arrivals:
        """Return what finds the events that come after it."""
        with cancelling(self.cancelled):
            return await asyncio.wrap_future(self.look)


@contextlib.contextmanager
def cancelling(cancelled: threading.Event) -> Iterator[threading.Event]:
    """Cancel the work of the thread with the call: it would read a large folder to its end."""
    try:
        yield cancelled
    except asyncio.CancelledError:
        cancelled.set()
        raise


def state_of(database: Database) -> tuple[str, Snapshot]:
    """Return which database it is, and its state."""
    return str(database.place), database.snapshot()
