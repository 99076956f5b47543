"""Counting in many small files at once: to open each in the engine takes longer than to read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from vastlab.expression.ast import Constant, Expr
from vastlab.nodes.plan import Task
from vastlab.nodes.together import SeveralFiles

_SMALL = 8192  # rows of a file
_MOST_ROWS = 131_072  # that are in memory at once
_FEWEST = 4  # files


class SmallFiles(SeveralFiles):
    """Several small files, which are counted in memory."""

    def count(self) -> int:
        """Count the events of all files."""
        number = 0
        parts: dict[int, tuple[Expr, list[pa.RecordBatch]]] = {}
        for scan in self._scans:
            if self._stopped:
                return 0
            for expr, batches in scan.compared():
                # The files share their expressions, as `Filters` does.
                parts.setdefault(id(expr), (expr, []))[1].extend(batches)
        for expr, batches in parts.values():
            if expr == Constant(True):
                number += sum(map(len, batches))
            elif batches:
                frame = self._engine.usual.read_batches(batches)
                number += int(frame.filter(self._tasks[0].filters.of(expr)).count())
        return number


def is_small(task: Task) -> bool:
    """Whether a file is counted together with others like it."""
    return task.file.rows <= _SMALL and any(task.file.tail)


def are_small(tasks: Sequence[Task]) -> bool:
    """Whether files are counted in memory together."""
    return all(map(is_small, tasks)) and sum(task.file.rows for task in tasks) <= _MOST_ROWS


def bundles(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Put small files of one layout that follow each other together; others stay alone."""
    pending: list[Task] = []
    rows = 0
    for task in tasks:
        if pending and (
            not is_small(task)
            or task.filters is not pending[0].filters
            or rows + task.file.rows > _MOST_ROWS
        ):
            yield from _bundle(pending)
            pending, rows = [], 0
        if is_small(task):
            pending.append(task)
            rows += task.file.rows
        else:
            yield [task]
    yield from _bundle(pending)


def _bundle(tasks: list[Task]) -> Iterator[list[Task]]:
    if len(tasks) >= _FEWEST:
        yield tasks
    else:
        yield from ([task] for task in tasks)
