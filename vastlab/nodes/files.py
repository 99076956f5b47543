"""A node over files that this process reads with DataFusion."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from vastlab.compile.groups import Groups
from vastlab.compile.summary import Grouping
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Constant, Or
from vastlab.nodes import newest, plan, scan, small_files
from vastlab.nodes.base import Limit, Query
from vastlab.nodes.counting import MOST_OPERANDS
from vastlab.nodes.engine import Engine
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import bounds_of
from vastlab.nodes.small_files import SmallFiles, are_small
from vastlab.nodes.together import FilesTogether, bundles
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice

EXPORTED_AT_ONCE = 2  # each file in flight holds up to 100 MB
COUNTED_AT_ONCE = min(4, max(2, os.cpu_count() or 2))

_T = TypeVar("_T")


def _count(reader: FilesTogether | SmallFiles | scan.FileScan, _: object) -> int:
    return reader.count()


class FileNode:
    """What the embedded database and the archive of a node have in common.

    Parameters
    ----------
    make_scan
        Makes the scan of one file.
    at_once
        How many files are read at the same time; None for what suits a disk.
    """

    def __init__(self, make_scan: scan.MakeScan, at_once: int | None = None) -> None:
        self._make_scan = make_scan
        self._counted_at_once = at_once or COUNTED_AT_ONCE
        self._exported_at_once = at_once or EXPORTED_AT_ONCE
        self._pool = ThreadPoolExecutor(self._counted_at_once, thread_name_prefix="vastlab-scan")
        # One thread, so that snapshots are taken in the order of the calls.
        self._snapshot_executor = ThreadPoolExecutor(1, thread_name_prefix="vastlab-snapshot")
        self._context: Engine | None = None

    async def aclose(self) -> None:
        """End what runs and release the threads."""
        self._context = None
        self._pool.shutdown(wait=False)
        self._snapshot_executor.shutdown(wait=False)

    def _engine(self) -> Engine:
        if self._context is None:
            self._context = Engine()
        return self._context

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await scan.in_thread(self._pool, function)

    def _read(
        self, tasks: Iterable[Task], make_scan: scan.MakeScan | None = None
    ) -> AsyncGenerator[TableSlice, None]:
        make_scan = make_scan or self._make_scan
        return scan.export(self._engine(), self._pool, tasks, self._exported_at_once, make_scan)

    async def _read_by_schema(
        self, query: Query, tasks: Iterable[Task], read: newest.Read
    ) -> AsyncGenerator[TableSlice, None]:
        """Read the files of one schema after the other, with the limit of a query for each."""
        for _, files in groupby(tasks, key=lambda task: task.file.schema_name):
            if query.newest:
                stream = newest.newest_first(list(files), query.limit, read, self._each)
            else:
                stream = read(files)
            limit = Limit(query.limit)
            async with aclosing(stream):
                async for part in stream:
                    yield limit.cut(part)
                    if limit.is_reached:
                        break

    async def _count(self, query: Query, snapshot: Snapshot) -> dict[str, int]:
        """Count by schema; files of which every event matches are not read."""
        counts: Counter[str] = Counter()
        scans = []
        for task in plan.tasks(query, snapshot.layouts, snapshot.files):
            if task.bound == Constant(True):
                counts[task.file.schema_name] += task.file.rows
            else:
                scans.append(task)
        parts = self._counted_together(scans)
        numbers = await scan.run(
            self._engine(), self._pool, parts, self._counted_at_once, self._counter, _count
        )
        for part, number in zip(parts, numbers, strict=True):
            counts[part[0].file.schema_name] += number
        return {name: number for name, number in sorted(counts.items()) if number}

    def _counted_together(self, tasks: list[Task]) -> list[list[Task]]:
        """Say which files are counted together."""
        # Conditions of which one is enough are looked at together, each in its own column.
        tasks = [
            replace(task, disjuncts=(task.bound,))
            if isinstance(task.bound, Or) and len(task.bound.operands) <= MOST_OPERANDS
            else task
            for task in tasks
        ]
        parts = list(small_files.bundles(tasks))
        alone = [part[0] for part in parts if len(part) == 1]
        together = bundles(alone, self._counted_at_once)
        return [part for part in parts if len(part) > 1] + together

    def _counter(
        self, engine: Engine, tasks: list[Task]
    ) -> FilesTogether | SmallFiles | scan.FileScan:
        if len(tasks) > 1 and are_small(tasks):
            return SmallFiles(engine, tasks, self._make_scan)
        return self._reader(engine, tasks)

    async def _group(self, query: Query, summary: Summary, snapshot: Snapshot) -> Groups:
        """Group the events of all files, layout by layout."""
        groups = Groups(summary, query.taxonomy)
        groupings: dict[str, Grouping] = {}
        tasks = []
        for task in plan.tasks(query, snapshot.layouts, snapshot.files):
            layout = task.file.fingerprint
            if (grouping := groups.grouping(layout, task.layout.schema)) is not None:
                groupings[layout] = grouping
                tasks.append(task)

        def work(reader: FilesTogether | scan.FileScan, part: Sequence[Task]) -> None:
            layout = part[0].file.fingerprint
            for partial in reader.group(groupings[layout]):
                groups.add(layout, partial)

        parts = self._grouped_together(tasks, groupings)
        at_once = self._counted_at_once
        await scan.run(self._engine(), self._pool, parts, at_once, self._reader, work)
        return groups

    def _grouped_together(
        self, tasks: list[Task], groupings: dict[str, Grouping]
    ) -> list[list[Task]]:
        """Say which files are grouped together: those whose sums are computed in the short way."""

        def is_plain(task: Task, rows: int) -> bool:
            grouping = groupings[task.file.fingerprint]
            return grouping.is_plain(bounds_of(task.file, grouping.columns), rows)

        return bundles(tasks, self._counted_at_once, is_plain)

    def _reader(self, engine: Engine, tasks: list[Task]) -> FilesTogether | scan.FileScan:
        if len(tasks) > 1:
            return FilesTogether(engine, tasks, self._make_scan)
        return self._make_scan(engine, tasks[0])

    async def _each(
        self, tasks: Iterable[Task], work: Callable[[scan.FileScan, Task], _T]
    ) -> list[_T]:
        return await scan.run(
            self._engine(), self._pool, tasks, self._counted_at_once, self._make_scan, work
        )
