"""Several files in one plan of the engine: each plan takes longer than to read a small file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from vastlab.compile.summary import Bounds, Grouping
from vastlab.errors import VastlabError
from vastlab.expression.ast import Expr, Or
from vastlab.nodes.counting import FileCounter, count_rows
from vastlab.nodes.engine import Engine
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import MakeScan, bounds_of, reason_of
from vastlab.store.layout import DataFile

_MOST_ROWS = 1 << 22  # that are read at once, since one plan is not stopped
_MOST_FILES = 256  # that are checked before the first one is read

_T = TypeVar("_T")


class SeveralFiles:
    """Several files of one layout; its methods run in a worker thread.

    Parameters
    ----------
    engine
        The engine.
    tasks
        What to read. They share their filters, and hence their expressions.
    make_scan
        Makes the scan of one of them.
    """

    def __init__(self, engine: Engine, tasks: Sequence[Task], make_scan: MakeScan) -> None:
        self._engine = engine
        self._tasks = tasks
        self._scans = [make_scan(engine, task) for task in tasks]
        self._stopped = False

    def stop(self) -> None:
        """Read no other file; from any thread."""
        self._stopped = True
        for scan in self._scans:
            scan.stop()


class FilesTogether(SeveralFiles):
    """Several files, which are read in one plan."""

    def count(self) -> int:
        """Count the events without making them."""
        number = 0
        parts: dict[tuple[int, ...], _Rows] = {}
        with contextlib.ExitStack() as checks:
            for task, scan in zip(self._tasks, self._scans, strict=True):
                if self._stopped:
                    return 0
                verification, disjuncts = checks.enter_context(scan.search(frozenset()))
                for expr in disjuncts:
                    found: int | Expr = expr
                    if verification is not None:
                        found = FileCounter(self._engine, task, verification).count(expr)
                    if isinstance(found, int):
                        number += found
                        continue
                    rows = parts.setdefault(_identity(found), _Rows(found))
                    rows.files.append(task.file)
                    rows.is_pruned |= verification is None or not verification.is_unpruned
            counts = self._found(lambda: [self._counted(rows) for rows in parts.values()])
        if counts is None:
            return sum(scan.count() for scan in self._scans)  # one names what cannot be read
        return number + sum(counts)

    def group(self, grouping: Grouping) -> Iterator[pa.Table]:
        """Group the events without making them."""
        if self._stopped:
            return
        with contextlib.ExitStack() as checks:
            parts: dict[int, _Rows] = {}
            for task, scan in zip(self._tasks, self._scans, strict=True):
                _, disjuncts = checks.enter_context(scan.search(grouping.columns))
                for expr in disjuncts:
                    parts.setdefault(id(expr), _Rows(expr)).files.append(task.file)
            found = self._found(lambda: [self._grouped(grouping, rows) for rows in parts.values()])
        if found is not None:
            yield from found
            return
        for scan in self._scans:  # of which one names the file that cannot be read
            yield from scan.group(grouping)

    def _found(self, work: Callable[[], _T]) -> _T | None:
        """Read all files; None where the engine cannot."""
        try:
            return work()
        except VastlabError:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic is one, and all others are raised
            reason_of(error)
            return None

    def _counted(self, rows: _Rows) -> int:
        engine, task = self._engine, self._tasks[0]
        with engine.links.path_of([file.path for file in rows.files]) as path:
            return count_rows(engine, task, rows.expr, path, is_pruned=rows.is_pruned)

    def _grouped(self, grouping: Grouping, rows: _Rows) -> pa.Table:
        bounds = _common([bounds_of(file, grouping.columns) for file in rows.files])
        with self._engine.links.path_of([file.path for file in rows.files]) as path:
            frame = self._scans[0].found(rows.expr, path)
            return grouping.partial(frame, bounds, sum(file.rows for file in rows.files))


@dataclass(slots=True)
class _Rows:
    """An expression that is compared with the rows of some files."""

    expr: Expr
    files: list[DataFile] = field(default_factory=list)
    is_pruned: bool = False


def _identity(expr: Expr) -> tuple[int, ...]:
    """Tell expressions apart without comparing thousands of values; files share their parts."""
    return tuple(map(id, expr.operands)) if isinstance(expr, Or) else (id(expr),)


def _common(bounds: Sequence[Bounds]) -> Bounds:
    """Return bounds of all values in several files."""
    known = set(bounds[0]).intersection(*bounds[1:])
    return {
        name: (min(each[name][0] for each in bounds), max(each[name][1] for each in bounds))
        for name in known
    }


def bundles(
    tasks: Sequence[Task], at_once: int, is_plain: Callable[[Task, int], bool] | None = None
) -> list[list[Task]]:
    """Put files of one layout together.

    Parameters
    ----------
    tasks
        The files.
    at_once
        How many results are worked on at the same time.
    is_plain
        Whether a file can be read together with others, up to so many rows; None for all.
    """
    most = min(_MOST_ROWS, -(-sum(task.file.rows for task in tasks) // at_once))
    bundled: list[list[Task]] = []
    open_: dict[int, tuple[list[Task], int]] = {}
    for task in tasks:
        file = task.file
        is_alone = is_plain is not None and not is_plain(task, _MOST_ROWS)
        if is_alone or not any(file.tail) or file.rows > most:
            bundled.append([task])
            continue
        bundle, rows = open_.get(id(task.filters), ([], most + 1))
        if rows + file.rows > most or len(bundle) >= _MOST_FILES:
            bundle, rows = [], 0
            bundled.append(bundle)
        bundle.append(task)
        open_[id(task.filters)] = bundle, rows + file.rows
    return bundled
