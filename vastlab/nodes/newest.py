"""Events in the order of their time, the newest first.

Of files whose events are sorted, only what can hold the newest is read: first the times alone,
from the end, and then the events themselves. No more than a block of events is held in memory.
Events of the same time come in no particular order, and those without a time come last.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import pyarrow as pa

from vastlab.arrow import convert
from vastlab.expression.ast import Column, Operator, Predicate
from vastlab.expression.literals import Null, Time
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import FileScan, Times
from vastlab.table_slice import TableSlice

BLOCK = 131_072  # events that are put in order at once
_NO_TIME = int(np.iinfo(np.int64).min)
_MOST_PARTS = 64  # of files, whose times are read at once

Read = Callable[[Iterable[Task]], AsyncGenerator[TableSlice, None]]
Each = Callable[[Iterable[Task], Callable[[FileScan, Task], Any]], Awaitable[list[Any]]]


class Newest:
    """Keeps the newest events of one schema; at most twice that number is in memory.

    Parameters
    ----------
    most
        How many to keep.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[tuple[pa.RecordBatch, Times]] = []
        self._rows = 0

    def add(self, part: TableSlice) -> None:
        """Add some events."""
        batch = part.to_pyarrow()
        times = convert.event_times(batch)
        missing = np.full(len(batch), _NO_TIME, np.int64)
        keys = missing if times is None else convert.nanoseconds(times, _NO_TIME)
        self._parts.append((batch, keys))
        self._rows += len(batch)
        if self._rows > 2 * self._most:
            self._cut()

    def slices(self, above: int | None = None) -> Iterator[TableSlice]:
        """Return the events, the newest first; only those after a time, if it is given."""
        self._cut()
        keys = self._keys()
        order = np.argsort(keys, kind="stable")[::-1]
        if above is not None:
            order = order[keys[order] > above]
        yield from _taken([batch for batch, _ in self._parts], order)

    def _keys(self) -> Times:
        return np.concatenate([np.empty(0, np.int64), *(keys for _, keys in self._parts)])

    def _cut(self) -> None:
        if self._rows <= self._most:
            return
        kept = np.zeros(self._rows, np.bool_)
        kept[np.argsort(self._keys(), kind="stable")[self._rows - self._most :]] = True
        parts, start = [], 0
        for batch, keys in self._parts:
            mask = kept[start : start + len(batch)]
            start += len(batch)
            if mask.any():
                # A copy also where all are kept: what is sliced keeps all of its batch alive.
                parts.append((batch.take(pa.array(np.flatnonzero(mask))), keys[mask]))
        self._parts, self._rows = parts, self._most


def _taken(batches: Sequence[pa.RecordBatch], order: Times) -> Iterator[TableSlice]:
    """Return rows of several batches, numbered through, in an order; layouts may differ."""
    layouts: list[pa.Schema] = []
    tables: list[list[pa.RecordBatch]] = []
    layout_of, row_of = [], []
    for batch in batches:
        # Types are compared with their metadata: it holds the names of types.
        place = next(
            (i for i, each in enumerate(layouts) if each.equals(batch.schema, check_metadata=True)),
            len(layouts),
        )
        if place == len(layouts):
            layouts.append(batch.schema)
            tables.append([])
        start = sum(map(len, tables[place]))
        layout_of.append(np.full(len(batch), place))
        row_of.append(np.arange(start, start + len(batch)))
        tables[place].append(batch)
    if not len(order):
        return
    chosen, rows = np.concatenate(layout_of)[order], np.concatenate(row_of)[order]
    whole = [pa.Table.from_batches(parts) for parts in tables]
    edges = np.flatnonzero(np.diff(chosen)) + 1
    for run, places in zip(np.split(rows, edges), np.split(chosen, edges), strict=True):
        found = whole[int(places[0])].take(pa.array(run)).combine_chunks()
        yield from (TableSlice(batch) for batch in found.to_batches())


# --- files ----------------------------------------------------------------------------------


@dataclass(order=True, slots=True)
class _Part:
    """A part of a file by its bounds of the event time; the latest comes first."""

    key: tuple[int, int]  # the upper bound, negative, and the number of the file
    low: int = field(compare=False)
    is_opened: bool = field(compare=False)

    @property
    def high(self) -> int:
        """The upper bound, inclusive."""
        return -self.key[0]

    @property
    def number(self) -> int:
        """The number of the file."""
        return self.key[1]


async def newest_first(
    tasks: Sequence[Task], limit: int, read: Read, each: Each
) -> AsyncGenerator[TableSlice, None]:
    """Read the files of one schema, the newest events first.

    Parameters
    ----------
    tasks
        The files.
    limit
        How many events are wanted; 0 for all.
    read
        Reads the events of files.
    each
        Does some work with the scan of each file.
    """
    timed = [task for task in tasks if task.layout.schema.event_time is not None]
    frontier, left = _Frontier(timed, each), limit
    while True:
        block = min(left, BLOCK) if limit else BLOCK
        last, narrowed = await frontier.newest(block)
        found = Newest(block)
        async with aclosing(read(narrowed)) as parts:
            async for part in parts:
                found.add(part)
        is_final = last is None or (limit > 0 and left <= block)
        for part in found.slices(None if is_final else last):
            left -= part.num_rows
            yield part
        if last is None:
            break
        if is_final:
            return
        # There may be any number of events of one time.
        same = [task for task in timed if task.file.first <= last <= task.file.last]
        async with aclosing(read(_between(task, last, last) for task in same)) as parts:
            async for part in parts:
                left -= part.num_rows
                yield part
        if limit and left <= 0:
            return
        frontier.move(last)
    if limit and left <= 0:
        return
    async with aclosing(read(_without_time(tasks))) as parts:
        async for part in parts:
            yield part


class _Frontier:
    """Finds the times of the newest events that were not returned yet."""

    def __init__(self, tasks: Sequence[Task], each: Each) -> None:
        self._tasks = tasks
        self._each = each
        self._spans: dict[int, list[tuple[int, int]]] = {}
        self._end: int | None = None

    def move(self, end: int) -> None:
        """Look only for events before a time from now on."""
        self._end = end

    async def newest(self, wanted: int) -> tuple[int | None, list[Task]]:
        """Return the time of the last wanted event, and what to read for it and all later ones.

        There is none where all events are fewer.
        """
        queue = [part for number in range(len(self._tasks)) for part in self._parts(number)]
        heapify(queue)
        newest = np.empty(0, np.int64)
        found: dict[int, tuple[int, int]] = {}
        width = 1
        while True:
            last = int(newest[0]) if len(newest) == wanted else _NO_TIME
            if not (parts := await self._next(queue, width, last)):
                break
            spans = _joined(parts)
            narrowed = [
                _between(self._tasks[n], max(low, last), high) for n, (low, high) in spans.items()
            ]
            answers = await self._each(narrowed, lambda reader, _: reader.times())
            for number, times in zip(spans, answers, strict=True):
                if len(times):
                    low, high = int(times.min()), int(times.max())
                    before = found.get(number, (low, high))
                    found[number] = min(low, before[0]), max(high, before[1])
            newest = np.sort(np.concatenate([newest, *answers]))[-wanted:]
            # Where few events match, many parts are read at once.
            width = min(2 * width, _MOST_PARTS)
        if len(newest) == wanted:
            last = int(newest[0])
            within = {n: (max(low, last), high) for n, (low, high) in found.items() if high >= last}
            return last, [_between(self._tasks[n], *span) for n, span in sorted(within.items())]
        return None, [_between(self._tasks[n], *span) for n, span in sorted(found.items())]

    async def _next(self, queue: list[_Part], width: int, last: int) -> list[_Part]:
        """Take the next parts that hold something after a time."""
        taken: list[_Part] = []
        while queue and len(taken) < width and queue[0].high > last:
            part = heappop(queue)
            if part.is_opened:
                taken.append(part)
                continue
            unopened = [part.number]
            while queue and not queue[0].is_opened and len(unopened) < width:
                unopened.append(heappop(queue).number)
            tasks = [self._tasks[number] for number in unopened]
            answers = await self._each(tasks, lambda reader, _: reader.spans())
            self._spans.update(zip(unopened, answers, strict=True))
            for number in unopened:
                for each in self._parts(number):
                    heappush(queue, each)
        return taken

    def _parts(self, number: int) -> Iterator[_Part]:
        """Divide what is wanted of a file."""
        file, spans = self._tasks[number].file, self._spans.get(number)
        end = None if self._end is None else self._end - 1
        if spans is None:
            high = file.last if end is None else min(file.last, end)
            if file.first <= high:
                yield _Part((-high, number), file.first, False)
            return
        # One part ends where the next one begins: both may have events of that time.
        lows = sorted({low for low, _ in spans})
        highs = [*(low - 1 for low in lows[1:]), *(high for _, high in spans[-1:])]
        for low, bound in zip(lows, highs, strict=True):
            high = bound if end is None else min(bound, end)
            if low <= high:
                yield _Part((-high, number), low, True)


def _joined(parts: Iterable[_Part]) -> dict[int, tuple[int, int]]:
    """Join the parts of each file, which follow each other."""
    spans: dict[int, tuple[int, int]] = {}
    for part in parts:
        low, high = spans.get(part.number, (part.low, part.high))
        spans[part.number] = min(low, part.low), max(high, part.high)
    return spans


def _between(task: Task, low: int, high: int) -> Task:
    """Return what finds the events between two times, both inclusive."""
    leaf = task.layout.schema.event_time
    if leaf is None:
        raise ValueError("a layout without an event time")
    after = Predicate(Column(leaf), Operator.GE, Time(low))
    return task.narrowed(after, Predicate(Column(leaf), Operator.LE, Time(high)))


def _without_time(tasks: Iterable[Task]) -> Iterator[Task]:
    """Return what finds the events that have no time."""
    for task in tasks:
        leaf = task.layout.schema.event_time
        if leaf is None:
            yield task
        elif (known := task.file.ranges.get(leaf.column)) is None or known.null_count:
            yield task.narrowed(Predicate(Column(leaf), Operator.EQ, Null()))
