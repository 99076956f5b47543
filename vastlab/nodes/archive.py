"""The folder of a VAST or Tenzir node as an endpoint: read directly, and never written to."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import datafusion

from vastlab._text import plain
from vastlab.config import NodeEndpoint, parse_endpoint
from vastlab.errors import DatabaseError, NodeError, UsageError, VastlabWarning
from vastlab.expression.ast import Constant, Meta, MetaExtractor, Predicate
from vastlab.expression.fit import all_of
from vastlab.expression.literals import Time
from vastlab.expression.operators import Operator
from vastlab.nodes import _plan, _programs, _scan, _status, own
from vastlab.nodes._archive_scan import ArchiveScan
from vastlab.nodes._limit import limited
from vastlab.nodes._plan import Task
from vastlab.nodes.base import Explanation, ExportMode, LayoutPlan, Query
from vastlab.nodes.tenzir import TenzirNode
from vastlab.store.archive import Archive, OpenFile, Stamp, View, key
from vastlab.store.ingest import IngestReport
from vastlab.store.layout import DataFile, Layout
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

EXPORTED_AT_ONCE = 2  # each file in flight holds up to 100 MB
COUNTED_AT_ONCE = min(4, max(2, os.cpu_count() or 2))
POLL_SECONDS = 0.2
_HELD = 256  # files that an export keeps open, so that no node can delete them meanwhile
_ATTEMPTS = 5
_NAMED = 5  # files that a warning names

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the node of the folder says of the files that are there."""

    listing: Mapping[str, Stamp] | None = None
    live: frozenset[str] | None = None
    endpoint: str = ""
    silence: str = ""


class ArchiveNode:
    """A node's database folder that is read by DataFusion in this process.

    Parameters
    ----------
    path
        The folder with ``archive/``, or ``archive/`` itself.
    live
        The files that count, by name, path or URL; by default a node that vastlab started on
        this folder is asked, and without one all files count.
    """

    def __init__(self, path: Path, *, live: Collection[str] | None = None) -> None:
        self._path = path
        self._archive = Archive(path)
        self._live = live
        self._answer = _Answer()
        self._warned = False
        self._pool = ThreadPoolExecutor(COUNTED_AT_ONCE, thread_name_prefix="vastlab-scan")
        self._lookout = ThreadPoolExecutor(1, thread_name_prefix="vastlab-look")
        self._context: datafusion.SessionContext | None = None

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; files that appear count from this call on."""
        if query.mode is not ExportMode.CONTINUOUS:
            return limited(self._events(query), query.limit)
        listing = self._archive.listing()
        view = self._lookout.submit(self._archive.view)
        return limited(self._new_events(query, listing, view), query.limit)

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._counts(query, await self._view())
            except _scan.FileGoneError as error:
                last = error
        raise self._restless() from last

    async def schemas(self) -> dict[str, Schema]:
        """Return what the folder holds: for each name the union over its layouts."""
        return (await self._view()).snapshot.schemas()

    async def explain(self, query: Query) -> Explanation:
        """Say which files would be read."""
        view = await self._view()
        layouts = sorted(
            view.snapshot.layouts.values(), key=lambda each: (each.schema.name, each.fingerprint)
        )
        plans = tuple(_plan_layout(query, view, layout) for layout in layouts)
        return Explanation(str(query.expression), plans)

    async def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST, and what to know of the files."""
        view = await self._view()
        report = _status.report(view.snapshot, self._path)
        for described in report["catalog"]["schemas"].values():
            del described["event-time"]  # that would want all events to be read
        return report | {
            "archive": {
                "read-only": True,
                "unreadable": {each.name: each.reason for each in view.unreadable},
                "superseded": [os.path.basename(file.path) for file in view.superseded],
                "num-internal-partitions": view.internal,
                "notes": list(self._notes()),
            }
        }

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Raise `UsageError`: the folder belongs to a node."""
        raise UsageError(
            f"{self._path} belongs to a VAST or Tenzir node, and only that writes to it",
            hint="ingest into the node at its host:port, or into a folder of your own",
        )

    async def aclose(self) -> None:
        """End what runs and let the threads go."""
        self._context = None
        self._pool.shutdown(wait=False)
        self._lookout.shutdown(wait=False)

    # --- the scan ---------------------------------------------------------------------------

    async def _events(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        view, tasks, held = await self._begin(query)
        async with aclosing(self._read(tasks, held)) as parts:
            async for part in parts:
                yield part
        if query.mode is ExportMode.UNIFIED:
            stored = view.snapshot.files
            suspects = {file.path for file in view.superseded}
            async with aclosing(self._arriving(query, stored, suspects)) as parts:
                async for part in parts:
                    yield part

    async def _new_events(
        self, query: Query, listing: Mapping[str, Stamp], future: Future[View]
    ) -> AsyncGenerator[TableSlice, None]:
        view = await asyncio.wrap_future(future)
        # What was not whole at the call has another size by now, and counts as new.
        stored = [
            file
            for file in view.snapshot.files
            if file.path in listing and listing[file.path][0] == file.size
        ]
        async with aclosing(self._arriving(query, stored, set())) as parts:
            async for part in parts:
                yield part

    async def _begin(self, query: Query) -> tuple[View, list[Task], _Held]:
        """Choose the files and open them: what a node deletes from now on can still be read."""
        for _ in range(_ATTEMPTS):
            view = await self._view()
            tasks = list(_plan.tasks(query, view.snapshot.layouts, view.snapshot.files))
            held = _Held()
            try:
                await self._in_thread(partial(held.open, tasks[:_HELD]))
            except FileNotFoundError as error:
                last = error
                held.close()
                continue
            except BaseException:
                held.close()
                raise
            return view, tasks, held
        raise self._restless() from last

    async def _arriving(
        self, query: Query, stored: Iterable[DataFile], suspects: set[str]
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events of files that appear.

        A file that a node merged from older ones holds events that were returned before. Of
        such a one only those count that were imported after all events known of its layout.
        """
        seen = {file.path for file in stored}
        newest = _newest(stored)
        while True:
            view = await self._look(None)
            arrived = [file for file in view.snapshot.files if file.path not in seen]
            tasks = [
                _after(task, newest) if task.file.path in suspects | view.merged else task
                for task in _plan.tasks(query, view.snapshot.layouts, arrived)
            ]
            for task in tasks:
                try:
                    async with aclosing(self._read([task], _Held())) as parts:
                        async for part in parts:
                            yield part
                except _scan.FileGoneError:
                    # It was merged at once: its events are in a file that is yet to be seen.
                    arrived = [file for file in arrived if file.path != task.file.path]
            newest = _newest(arrived, newest)
            seen = {file.path for file in view.snapshot.files}
            await asyncio.sleep(POLL_SECONDS)

    async def _read(self, tasks: Iterable[Task], held: _Held) -> AsyncGenerator[TableSlice, None]:
        scan = partial(ArchiveScan, held=held.files)
        with closing(held):
            stream = _scan.export(self._engine(), self._pool, tasks, EXPORTED_AT_ONCE, scan)
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part

    async def _counts(self, query: Query, view: View) -> dict[str, int]:
        counts: dict[str, int] = {}
        scans = []
        for task in _plan.tasks(query, view.snapshot.layouts, view.snapshot.files):
            if task.bound == Constant(True):
                name = task.file.schema_name
                counts[name] = counts.get(name, 0) + task.file.rows
            else:
                scans.append(task)
        scan = partial(ArchiveScan, held={})
        found = await _scan.count(self._engine(), self._pool, scans, COUNTED_AT_ONCE, scan)
        for name, number in found.items():
            counts[name] = counts.get(name, 0) + number
        return {name: counts[name] for name in sorted(counts) if counts[name]}

    def _engine(self) -> datafusion.SessionContext:
        if self._context is None:
            self._context = _scan.make_context()
        return self._context

    def _restless(self) -> DatabaseError:
        return DatabaseError(
            f"the node changes its files faster than they can be read: {self._path}",
            hint="try again",
        )

    # --- the folder -------------------------------------------------------------------------

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await _scan.in_thread(self._pool, function)

    async def _view(self) -> View:
        live = self._live if self._live is not None else await self._ask()
        view = await self._look(live)
        self._warn(view)
        return view

    async def _look(self, live: Collection[str] | None) -> View:
        return await _scan.in_thread(self._lookout, partial(self._archive.view, live))

    async def _ask(self) -> frozenset[str] | None:
        """Ask the node that vastlab started on this folder, if it runs, which files count."""
        running, listing = await self._in_thread(
            lambda: (own.running_node(self._archive.path), self._archive.listing())
        )
        program = _programs.find_tenzir()
        if running is None or program is None:
            self._answer = _Answer()
        elif self._answer.listing != listing or self._answer.endpoint != running.endpoint:
            self._answer = await _ask(running.endpoint, program, listing)
        return self._answer.live

    def _warn(self, view: View) -> None:
        lost = [each for each in view.unreadable if each.is_loss]
        if self._warned or not lost:
            return
        self._warned = True
        named = ", ".join(f"{each.name} ({each.reason})" for each in lost[:_NAMED])
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        warnings.warn(
            f"the events of {len(lost)} files in {self._path} are missing: {plain(named)}{more}",
            VastlabWarning,
            stacklevel=2,
        )

    def _notes(self) -> Iterator[str]:
        if self._live is not None:
            yield "the caller says which files count"
        elif self._answer.live is not None:
            yield f"the node at {self._answer.endpoint} says which files count"
        else:
            yield (
                "no node says which files count: those that were rebuilt or superseded cannot "
                "be told from the others"
            )
        if self._answer.silence:
            yield f"the node at {self._answer.endpoint} was asked: {self._answer.silence}"
        if self._archive.is_owned:
            yield "a node owns the folder: events that it has not written yet are not seen"


class _Held:
    """Open files; a scan takes its own and closes it."""

    def __init__(self) -> None:
        self.files: dict[str, OpenFile] = {}

    def open(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self.files[task.file.path] = OpenFile(task.file, task.layout)

    def close(self) -> None:
        while self.files:
            self.files.popitem()[1].close()


async def _ask(endpoint: str, program: Path, listing: Mapping[str, Stamp]) -> _Answer:
    where = parse_endpoint(endpoint)
    if not isinstance(where, NodeEndpoint):
        return _Answer()
    node = TenzirNode(where, program)
    try:
        live = await node.stores()
    except NodeError as error:
        return _Answer(endpoint=endpoint, silence=str(error))
    finally:
        await node.aclose()
    keys = {key(name) for name in live}
    # A file that is not in the node's list may be on its way there: ask again next time.
    settled = all(key(path) in keys for path in listing)
    return _Answer(listing if settled else None, live, endpoint)


def _newest(files: Iterable[DataFile], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the last import time of each layout."""
    newest = dict(known or {})
    for file in files:
        newest[file.fingerprint] = max(newest.get(file.fingerprint, 0), file.import_last)
    return newest


def _after(task: Task, newest: Mapping[str, int]) -> Task:
    last = newest.get(task.file.fingerprint)
    if last is None or task.file.import_first > last:
        return task
    later = Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.GT, Time(last))
    bound = all_of((task.bound, later))
    return replace(task, bound=bound, arms=(bound,))


def _plan_layout(query: Query, view: View, layout: Layout) -> LayoutPlan:
    files = [f for f in view.snapshot.files if f.fingerprint == layout.fingerprint]
    tasks = list(_plan.tasks(query, view.snapshot.layouts, files))
    bound = _plan.bind(query, layout.schema)
    return LayoutPlan(
        schema=layout.schema.name,
        bound=None if bound is None else str(bound),
        files=len(tasks),
        all_files=len(files),
        row_groups=len(tasks),
        all_row_groups=len(files),
        events=sum(task.file.rows for task in tasks),
    )
