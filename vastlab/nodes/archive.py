"""A folder of Parquet or Feather files as a node, such as the database folder of VAST or Tenzir.

It is read and never written to, also while its node runs, without the events that the node has not
written yet. Older segments (``.store``) are named in a warning. While a node merges files, old and
new ones may lie side by side; which of them count is asked of a node that `vastlab.start_node` runs
on the folder, and without one ``status()`` says that this is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from vastlab._text import plain, plural
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.compile.groups import Groups
from vastlab.compile.summary import Grouping
from vastlab.endpoints import NodeEndpoint, parse_endpoint
from vastlab.errors import CorruptFileError, DatabaseError, NodeError, UsageError
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Column, Constant, Expr, Meta, MetaExtractor, Operator, Predicate
from vastlab.expression.checks import all_of
from vastlab.expression.literals import Time
from vastlab.expression.rewrite import predicates
from vastlab.nodes import base, own, plan, process, scan
from vastlab.nodes.base import (
    Explanation,
    ExportMode,
    Limit,
    Notice,
    NoTimes,
    Query,
    Report,
    ignore,
)
from vastlab.nodes.engine import Engine
from vastlab.nodes.files import FileNode
from vastlab.nodes.ordering import newest_of
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import FileGoneError, FileScan, reason_of
from vastlab.nodes.tenzir import TenzirNode
from vastlab.store.archive import Archive, OpenFile, Part, Stamp, View, key
from vastlab.store.ingest import IngestReport
from vastlab.store.layout import DataFile
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_ROWS = 65_536  # events that are filtered at once: planning costs more than the filter
_SMALL = 8_192  # smaller batches are joined


class ArchiveScan(FileScan):
    """One file of an archive; its methods run in a worker thread.

    Files in `held` are already open; the scan takes its own out of it.
    """

    def __init__(self, context: Engine, task: Task, held: dict[str, OpenFile]) -> None:
        super().__init__(context, task)
        self._held = held
        self._columns = _columns(task.bound)

    def count(self) -> int:
        """Count the events without making them."""
        with self._reading():
            return sum(
                int(kept.true_count) for group in self._groups() for kept in self._kept(group)
            )

    def group(self, grouping: Grouping) -> Iterator[pa.Table]:
        """Group the events without making them."""
        with self._reading():
            for group in self._groups():
                frame = self._context.usual.read_batches([self._whole(part) for part in group])
                if self._task.bound != Constant(True):
                    frame = frame.filter(self._task.filters.of(self._task.bound))
                yield grouping.partial(frame)

    def _read(self) -> Iterator[pa.RecordBatch]:
        with self._reading():
            for group in self._groups():
                if self._task.bound == Constant(True):
                    yield from (part.events for part in group)
                else:
                    yield from _selected(group, self._kept(group))

    def _groups(self) -> Iterator[list[Part]]:
        """Group batches; the first one is passed on at once."""
        group: list[Part] = []
        rows, wanted = 0, 1
        with self._open() as file:
            for part in file.parts():
                if self._stopped:
                    return
                group.append(part)
                rows += part.events.num_rows
                if rows >= wanted:
                    yield group
                    group, rows, wanted = [], 0, _ROWS
            if group:
                yield group

    def _open(self) -> OpenFile:
        held = self._held.pop(self._task.file.path, None)
        return OpenFile(self._task.file, self._task.layout) if held is None else held

    def _kept(self, group: list[Part]) -> list[pa.BooleanArray]:
        """Say for each event of each batch whether it is wanted; null is no."""
        bound = self._task.filters.of(self._task.bound)
        frame = self._context.usual.read_batches([self._flat(part) for part in group])
        chunks = [
            batch.to_pyarrow().column(0)
            for batch in frame.select(bound.alias("kept")).execute_stream()
        ]
        whole = pa.chunked_array(chunks, pa.bool_()).combine_chunks().fill_null(False)
        kept, start = [], 0
        for part in group:
            kept.append(whole.slice(start, part.events.num_rows))
            start += part.events.num_rows
        return kept

    def _flat(self, part: Part) -> pa.RecordBatch:
        # Without a column a batch would lose its length on the way.
        return self._whole(part).select(self._columns or [arrow_schema.IMPORT_TIME])

    def _whole(self, part: Part) -> pa.RecordBatch:
        flat = convert.flatten(part.events)
        return flat.append_column(arrow_schema.IMPORT_TIME, part.import_time)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileGoneError(f"the node deleted {self._task.file.path}") from None
        except GeneratorExit:
            raise
        except BaseException as error:
            raise CorruptFileError(
                f"cannot read {self._task.file.path}: {reason_of(error)}",
                hint="copy the folder without this file to read the others",
            ) from error


def _columns(bound: Expr) -> list[str]:
    found: dict[str, None] = {}
    for part in predicates(bound):
        match part.extractor:
            case Column(leaf):
                found[leaf.column] = None
            case MetaExtractor():
                found[arrow_schema.IMPORT_TIME] = None
    return list(found)


def _selected(group: list[Part], kept: list[pa.BooleanArray]) -> Iterator[pa.RecordBatch]:
    chosen = [
        _filtered(part.events, mask)
        for part, mask in zip(group, kept, strict=True)
        if mask.true_count
    ]
    if len(chosen) > 1 and sum(batch.num_rows for batch in chosen) <= _SMALL:
        chosen = [pa.concat_batches(chosen)]
    yield from chosen


def _filtered(events: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    count = mask.true_count
    if count == len(mask):
        return events
    if not events.num_columns:
        return arrow_arrays.record_batch([], events.schema, count)
    return events.filter(mask)


POLL_SECONDS = 0.2
_HELD = 256  # files that an export keeps open, so that no node can delete them meanwhile
_ATTEMPTS = 5
_NAMED = 5  # files that a warning names

_T = TypeVar("_T")
_Start = tuple[Mapping[str, Stamp], Future[View]]  # the files at the call, and what they are


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the node of the folder says of the files that are there."""

    listing: Mapping[str, Stamp] | None = None
    live: frozenset[str] | None = None
    endpoint: str = ""
    silence: str = ""


class ArchiveNode(NoTimes, FileNode):
    """A node's database folder that is read by DataFusion in this process.

    `live` returns the files that count; by default a node that vastlab started on this folder is
    asked, and without one all files count.
    """

    def __init__(self, path: Path, *, live: Collection[str] | None = None) -> None:
        super().__init__(partial(ArchiveScan, held={}))
        self._path = path
        self._archive = Archive(path)
        self._live = live
        self._answer = _Answer()
        self._reported = False

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; files that appear count from this call on.

        For the newest first, everything that matches is read: the files do not tell when their
        events happened.
        """
        if query.newest:
            return newest_of(lambda all_: self._events(all_, None, report), query)
        if query.mode is not ExportMode.CONTINUOUS:
            return self._events(query, None, report)
        start = self._archive.listing(), self._snapshot_executor.submit(self._archive.view)
        return self._events(query, start, report)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        return await self._retried(partial(self._count, query), report)

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Group the events in the engine."""
        return await self._retried(partial(self._group, query, summary), report)

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the folder holds: for each name the union over its layouts."""
        return (await self._view(report)).snapshot.schemas()

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say which files would be read."""
        view = await self._view(report)
        return plan.explain(query, view.snapshot)

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the node's state under the keys of VAST, and what to know of the files."""
        view = await self._view(report)
        state = base.describe(view.snapshot, self._path)
        for described in state["catalog"]["schemas"].values():
            del described["event-time"]  # that would want all events to be read
        return state | {
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

    # --- the scan ---------------------------------------------------------------------------

    async def _events(
        self, query: Query, start: _Start | None, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        limit = Limit(query.total)
        if start is None:
            view, tasks, held = await self._begin(query, report)
            read = partial(self._read, make_scan=partial(ArchiveScan, held=held.files))
            stream = self._read_by_schema(query, tasks, read) if query.per_schema else read(tasks)
            with closing(held):
                async with aclosing(stream) as parts:
                    async for part in parts:
                        yield limit.cut(part)
                        if limit.is_reached:
                            return
            arrivals = _Arrivals(view.snapshot.files, view.superseded)
        else:
            arrivals = _Arrivals(await _stored(start))
        while query.is_live:
            for task in arrivals.tasks(query, await self._look(None)):
                try:
                    async with aclosing(self._read([task])) as parts:
                        async for part in parts:
                            yield limit.cut(part)
                            if limit.is_reached:
                                return
                except scan.FileGoneError:
                    # It was merged at once: its events are in a file that is yet to be seen.
                    arrivals.forget(task.file)
            await asyncio.sleep(POLL_SECONDS)

    async def _begin(self, query: Query, report: Report) -> tuple[View, list[Task], _Held]:
        """Choose the files and open them: what a node deletes from now on can still be read."""
        for _ in range(_ATTEMPTS):
            view = await self._view(report)
            tasks = list(plan.tasks(query, view.snapshot.layouts, view.snapshot.files))
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
        raise self._too_many_changes() from last

    async def _retried(self, answer: Callable[[Snapshot], Awaitable[_T]], report: Report) -> _T:
        for _ in range(_ATTEMPTS):
            try:
                return await answer((await self._view(report)).snapshot)
            except scan.FileGoneError as error:
                last = error
        raise self._too_many_changes() from last

    def _too_many_changes(self) -> DatabaseError:
        return DatabaseError(
            f"the node changes its files faster than they can be read: {self._path}",
            hint="try again",
        )

    # --- the folder -------------------------------------------------------------------------

    async def _view(self, report: Report) -> View:
        live = self._live if self._live is not None else await self._ask()
        view = await self._look(live)
        self._report_losses(view, report)
        return view

    async def _look(self, live: Collection[str] | None) -> View:
        return await scan.in_thread(self._snapshot_executor, partial(self._archive.view, live))

    async def _ask(self) -> frozenset[str] | None:
        """Ask the node that vastlab started on this folder, if it runs, which files count."""
        running, listing = await self._in_thread(
            lambda: (own.running_node(self._archive.path), self._archive.listing())
        )
        program = process.find_tenzir()
        if running is None or program is None:
            self._answer = _Answer()
        elif self._answer.listing != listing or self._answer.endpoint != running.endpoint:
            self._answer = await _ask(running.endpoint, program, listing)
        return self._answer.live

    def _report_losses(self, view: View, report: Report) -> None:
        lost = [each for each in view.unreadable if each.is_loss]
        if self._reported or not lost:
            return
        self._reported = True
        named = ", ".join(f"{each.name} ({each.reason})" for each in lost[:_NAMED])
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        files = plural(len(lost), "file")
        line = f"the events of {files} in {self._path} are missing: {plain(named)}{more}"
        report(Notice(line))

    def _notes(self) -> Iterator[str]:
        if self._live is not None:
            yield "the caller says which files count"
        elif self._answer.live is not None:
            yield f"the node at {self._answer.endpoint} says which files count"
        else:
            yield (
                "no node says which files count: those that were rebuilt or superseded cannot "
                "be distinguished from the others"
            )
        if self._answer.silence:
            yield f"the node at {self._answer.endpoint} was asked: {self._answer.silence}"
        if self._archive.is_owned:
            yield "a node owns the folder: events that it has not written yet are not seen"


class _Arrivals:
    """Finds the files that appear.

    A file that a node merged from older ones holds events that were returned before. Of such a
    file only those events count that were imported after all events known of its layout.
    """

    def __init__(self, stored: Iterable[DataFile], superseded: Iterable[DataFile] = ()) -> None:
        self._arrived = list(stored)
        self._seen = {file.path for file in self._arrived}
        self._superseded = {file.path for file in superseded}
        self._newest: dict[str, int] = {}

    def tasks(self, query: Query, view: View) -> list[Task]:
        """Return what to read of the files that appeared since the last call."""
        for file in self._arrived:
            self._newest[file.fingerprint] = max(
                self._newest.get(file.fingerprint, 0), file.import_last
            )
        self._arrived = [file for file in view.snapshot.files if file.path not in self._seen]
        self._seen = {file.path for file in view.snapshot.files}
        tasks = plan.tasks(query, view.snapshot.layouts, self._arrived)
        merged = self._superseded | view.merged
        return [self._later(task) if task.file.path in merged else task for task in tasks]

    def forget(self, file: DataFile) -> None:
        """Do not count a file as read."""
        self._arrived.remove(file)

    def _later(self, task: Task) -> Task:
        """Leave out the events that were returned before."""
        last = self._newest.get(task.file.fingerprint)
        if last is None or task.file.import_first > last:
            return task
        later = Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.GT, Time(last))
        bound = all_of((task.bound, later))
        return replace(task, bound=bound, disjuncts=(bound,))


async def _stored(start: _Start) -> list[DataFile]:
    """Return what was stored, and complete, when the export was asked for."""
    listing, future = start
    view = await asyncio.wrap_future(future)
    # What was not whole at the call has another size by now, and counts as new.
    return [
        file
        for file in view.snapshot.files
        if file.path in listing and listing[file.path][0] == file.size
    ]


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
