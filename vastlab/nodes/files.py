"""A node over files that this process reads with DataFusion."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import datafusion

from vastlab.expression.ast import Constant
from vastlab.nodes import plan, scan
from vastlab.nodes.base import Query
from vastlab.nodes.plan import Task
from vastlab.store.layout import Snapshot
from vastlab.table_slice import TableSlice

EXPORTED_AT_ONCE = 2  # each file in flight holds up to 100 MB
COUNTED_AT_ONCE = min(4, max(2, os.cpu_count() or 2))

_T = TypeVar("_T")


class FileNode:
    """What the embedded database and the archive of a node have in common.

    Parameters
    ----------
    path
        The folder.
    make_scan
        Makes the scan of one file.
    """

    def __init__(self, path: Path, make_scan: scan.MakeScan) -> None:
        self._path = path
        self._make_scan = make_scan
        self._pool = ThreadPoolExecutor(COUNTED_AT_ONCE, thread_name_prefix="vastlab-scan")
        # One thread, so that snapshots are taken in the order of the calls.
        self._snapshot_executor = ThreadPoolExecutor(1, thread_name_prefix="vastlab-snapshot")
        self._context: datafusion.SessionContext | None = None

    async def aclose(self) -> None:
        """End what runs and release the threads."""
        self._context = None
        self._pool.shutdown(wait=False)
        self._snapshot_executor.shutdown(wait=False)

    def _engine(self) -> datafusion.SessionContext:
        if self._context is None:
            self._context = scan.make_context()
        return self._context

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await scan.in_thread(self._pool, function)

    def _read(
        self, tasks: Iterable[Task], make_scan: scan.MakeScan | None = None
    ) -> AsyncGenerator[TableSlice, None]:
        make_scan = make_scan or self._make_scan
        return scan.export(self._engine(), self._pool, tasks, EXPORTED_AT_ONCE, make_scan)

    async def _count(self, query: Query, snapshot: Snapshot) -> dict[str, int]:
        """Count by schema; files of which every event matches are not read."""
        counts: Counter[str] = Counter()
        scans = []
        for task in plan.tasks(query, snapshot.layouts, snapshot.files):
            if task.bound == Constant(True):
                counts[task.file.schema_name] += task.file.rows
            else:
                scans.append(task)
        found = scan.count(self._engine(), self._pool, scans, COUNTED_AT_ONCE, self._make_scan)
        counts.update(await found)
        return {name: number for name, number in sorted(counts.items()) if number}
