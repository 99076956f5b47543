"""One call of the blocking API: its progress, its warnings and the events that arrived."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Protocol

import pyarrow as pa

from vastlab._arguments import MOST
from vastlab._text import plural
from vastlab.display.preview import LeftOut, Outcome
from vastlab.endpoints import Endpoint, NodeEndpoint
from vastlab.errors import QueryInterrupted, UsageError, VastlabError, VastlabWarning
from vastlab.nodes.base import ExportMode, Notice, Query, Step
from vastlab.store.ingest import IngestProgress
from vastlab.table_slice import TableSlice, tables_of

_LOOK_AHEAD = 0.2  # seconds

# Counts what matches in other schemas than some, within at most some seconds; None where it cannot.
Others = Callable[[Iterable[str], float], Awaitable[Mapping[str, int] | None]]


class Call:
    """Takes what a client reports while one call runs.

    Warnings are issued by the thread that waits for the call, where the user's code stands.
    """

    def __init__(self) -> None:
        self._step = Step()
        self._notices: list[str] = []

    def __call__(self, item: Step | Notice) -> None:
        """Take a step or a notice; called from any thread."""
        match item:
            case Notice(text):
                self._notices.append(text)
            case Step():
                self._step = item

    def step(self, own: Step) -> Step:
        """Return what the node does before there can be events, or else the caller's own step."""
        return own if own.events or not self._step.doing else self._step

    def pop_warnings(self) -> list[str]:
        """Return the warnings that were not returned before."""
        taken, self._notices = self._notices, []
        return taken

    def warn(self) -> None:
        """Issue the warnings that were not issued yet."""
        for line in self.pop_warnings():
            warnings.warn(line, VastlabWarning, stacklevel=_depth())


def _depth() -> int:
    """Return how many calls up the code stands that called vastlab."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("vastlab."):
        depth, frame = depth + 1, frame.f_back
    return depth


def looks_ahead(endpoint: Endpoint | None, mode: ExportMode, limit: int) -> bool:
    """Whether to look for one more event after the limit: only this process does so cheaply.

    Events in memory have no endpoint.
    """
    is_local = not isinstance(endpoint, NodeEndpoint)
    return 0 < limit < MOST and mode is ExportMode.HISTORICAL and is_local


def asked_for(query: Query, limit: int) -> Outcome:
    """Return the outcome of a query that was not answered yet."""
    return Outcome(
        query.text,
        query.mode.value,
        limit,
        since=query.since,
        until=query.until,
        newest=query.newest,
        per_schema=query.per_schema,
    )


class Arrived:
    """Collects the slices of an answer up to a limit (0: all); `keep` filters each slice."""

    def __init__(
        self,
        limit: int,
        keep: Callable[[TableSlice], TableSlice | None] | None = None,
        *,
        per_schema: bool = False,
    ) -> None:
        self.events = 0
        self.limited = False
        """Whether the limit ended the answer: there are more events, or there may be."""
        self.left_out: LeftOut = ()
        """What the limit left out of other schemas; None where that was not counted."""
        self._limit = limit
        self._keep = keep
        self._per_schema = per_schema
        self._counts: Counter[str] = Counter()
        self._slices: list[TableSlice] = []
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the question."""
        return time.monotonic() - self._started

    def step(self) -> Step:
        """Return the progress of the answer."""
        known = self._limit and not self._per_schema
        share = min(1.0, self.events / self._limit) if known else None
        return Step("", self.events, share)

    async def take(
        self,
        ask: Callable[[], AsyncGenerator[TableSlice]],
        *,
        look: bool = False,
        others: Others | None = None,
    ) -> None:
        """Start an answer and collect it.

        Parameters
        ----------
        ask
            Starts it.
        look
            Whether to test for one more event after the limit.
        others
            Counts what there is of other schemas than some.
        """
        async with aclosing(ask()) as parts:
            while not self._is_full and (part := await anext(parts, None)) is not None:
                self._add(part)
            until = time.monotonic() + _LOOK_AHEAD
            if self._is_full and not self.limited:
                self.limited = not look or await self._has_more(parts)
        if self._per_schema:
            self.limited |= not look and self._limit in self._counts.values()
        elif self.limited:
            self.left_out = await _counted(others, self._counts, until - time.monotonic())

    async def tables(self) -> dict[str, list[pa.Table]]:
        """Return everything, by schema name."""
        return tables_of(part.to_pyarrow() for part in self._slices)

    def ended(self, asked: Outcome) -> Outcome:
        """Return the outcome of what was asked, now that it has ended."""
        return replace(
            asked,
            elapsed=self.elapsed,
            asked=time.time_ns() - int(self.elapsed * 1e9),
            limit_reached=not asked.partial and self.limited,
            left_out=self.left_out,
        )

    @property
    def _is_full(self) -> bool:
        return 0 < self._limit <= self.events and not self._per_schema

    def _add(self, part: TableSlice) -> None:
        kept = self._kept(part)
        if kept is None:
            return
        before = self._counts[kept.name] if self._per_schema else self.events
        over = before + kept.num_rows - self._limit
        if self._limit > 0 and over > 0:
            kept = TableSlice(kept.to_pyarrow().slice(0, kept.num_rows - over))
            self.limited = True
        if not kept.num_rows:
            return
        self._slices.append(kept)
        self._counts[kept.name] += kept.num_rows
        self.events += kept.num_rows

    def _kept(self, part: TableSlice) -> TableSlice | None:
        return part if self._keep is None else self._keep(part)

    async def _has_more(self, parts: AsyncGenerator[TableSlice]) -> bool:
        """Look for one more event for a short time: to find none may mean to read everything."""
        try:
            async with asyncio.timeout(_LOOK_AHEAD):
                async for part in parts:
                    if self._kept(part) is not None:
                        return True
        except (TimeoutError, VastlabError):
            return True
        return False


async def _counted(others: Others | None, seen: Iterable[str], seconds: float) -> LeftOut:
    found = None if others is None else await others(tuple(seen), max(seconds, 0.0))
    return None if found is None else tuple(found.items())


class Batches(Iterator[TableSlice]):
    """The batches of one export, which never looks whole where the connection was closed."""

    def __init__(self, parts: Generator[TableSlice]) -> None:
        self._parts = parts
        self._cut = False
        self._ended = False

    def __next__(self) -> TableSlice:
        try:
            return next(self._parts)
        except StopIteration:
            if self._cut and not self._ended:
                msg = "the connection was closed before the export ended"
                raise UsageError(msg, hint="connect() again") from None
            self._ended = True
            raise

    def close(self) -> None:
        """End the export; there are no more batches."""
        self._ended = True
        self._parts.close()

    def cut(self) -> None:
        """End the export, since its connection is closed."""
        self._cut = True
        # Another thread may be taking a batch at this moment; the node ends it then.
        with suppress(ValueError):
            self._parts.close()


class Progress(Protocol):
    """Shows the progress of a call; used by the waiting thread, ten times a second."""

    def __call__(self, step: Step, elapsed: float) -> None:
        """Show the progress; `elapsed` is in seconds."""
        ...


Display = Callable[[], AbstractContextManager[Progress]]


class Watch:
    """The progress display of one call; only calls of the main thread have one."""

    def __init__(self, display: Display | None, look: Callable[[], Step]) -> None:
        self._display = display if _is_main_thread() else None
        self._look = look
        self._show: Progress | None = None
        self._opened = ExitStack()
        self._started = time.monotonic()

    @property
    def tick(self) -> Callable[[], None] | None:
        """What to call while waiting; None where nothing is to be called."""
        return None if self._show is None else self._tick

    def __enter__(self) -> Watch:
        if self._display is not None:
            self._show = self._opened.enter_context(self._display())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._opened:
            if error is None and self._show is not None:
                self._tick()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time that passes: the caller does not wait."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - began

    def _tick(self) -> None:
        if self._show is not None:
            self._show(self._look(), time.monotonic() - self._started)


@contextmanager
def interruptible(interrupted: Callable[[], QueryInterrupted]) -> Iterator[None]:
    """Turn Ctrl-C into vastlab's own error; a second one, while that is made, goes through."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt.__context__, KeyboardInterrupt):
            raise  # the second one, while the first was handled
        raise interrupted() from None


def query_interrupted(events: int) -> QueryInterrupted:
    """Return the error of a query that was interrupted."""
    return QueryInterrupted(
        f"interrupted after {plural(events, 'event')}",
        hint="what had arrived is in .last of the connection",
    )


def ingest_interrupted(seen: Sequence[IngestProgress]) -> QueryInterrupted:
    """Return the error of an ingest that was interrupted; `seen` ends with its progress."""
    events = plural(seen[-1].events if seen else 0, "event")
    return QueryInterrupted(
        f"the ingest was interrupted after reading {events}",
        hint="a database has none of them; of a node, ask counts() what was added",
    )


def ingest_step(seen: Sequence[IngestProgress]) -> Step:
    """Return the progress of an ingest."""
    if not seen:
        return Step("", 0)
    newest = seen[-1]
    total = newest.bytes_total
    return Step("", newest.events, min(1.0, newest.bytes_done / total) if total else None)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
