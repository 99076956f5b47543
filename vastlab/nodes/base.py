"""What every node can do, and what nodes have in common."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pyarrow as pa

from vastlab._lazy import pd
from vastlab._text import plain
from vastlab.compile.groups import Groups
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Constant, Expr, echo
from vastlab.expression.taxonomy import Taxonomy
from vastlab.store.file_table import Extent
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice
from vastlab.types import Paths, Schema

if TYPE_CHECKING:
    from vastlab.store.ingest import IngestReport

_EVERYTHING: Expr = Constant(True)


class ExportMode(Enum):
    """Which events an export returns.

    Examples
    --------
    >>> ExportMode("unified") is ExportMode.UNIFIED
    True
    """

    HISTORICAL = "historical"
    """What is stored."""
    CONTINUOUS = "continuous"
    """What arrives from now on."""
    UNIFIED = "unified"
    """First what is stored, then what arrives."""


@dataclass(frozen=True, slots=True)
class Query:
    """Everything that a node must know to answer.

    Parameters
    ----------
    expression
        Parsed, with parameters bound and relative times fixed.
    limit
        The largest number of events; 0 for all.
    since, until
        Bounds of the event time in nanoseconds; `until` is exclusive.
    asked
        The expression with parameters bound, and the rest as it was written.
    fields
        The leaves that are looked at; a node may leave out others. None for all.
    newest
        Whether the newest events of each schema come first, and the limit cuts the oldest.
    per_schema
        Whether the limit is one for each schema.
    """

    expression: Expr = _EVERYTHING
    mode: ExportMode = ExportMode.HISTORICAL
    limit: int = 0
    since: int | None = None
    until: int | None = None
    taxonomy: Taxonomy | None = None
    asked: Expr = _EVERYTHING
    fields: Paths | None = None
    newest: bool = False
    per_schema: bool = False

    @property
    def text(self) -> str:
        """What was asked, as it was written; made when it is shown, since lists may be long."""
        return echo(self.asked)

    @property
    def total(self) -> int:
        """The largest number of events of all schemas together; 0 for all."""
        return 0 if self.per_schema else self.limit

    @property
    def is_live(self) -> bool:
        """Whether arriving events are asked for."""
        return self.mode is not ExportMode.HISTORICAL

    @property
    def is_bounded(self) -> bool:
        """Whether the event time has a bound."""
        return self.since is not None or self.until is not None


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of a call.

    Parameters
    ----------
    doing
        What is being done; empty while events arrive.
    events
        The number of events so far; None if unknown.
    share
        The part of the work that is done, from 0 to 1; None if unknown.

    Examples
    --------
    >>> Step("reading 4 logs", events=9000, share=0.7).events
    9000
    """

    doing: str = ""
    events: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning that belongs to one call.

    Parameters
    ----------
    text
        One line.

    Examples
    --------
    >>> Notice("no field is called 'prot'").text
    "no field is called 'prot'"
    """

    text: str


Report = Callable[[Step | Notice], None]
"""Takes the progress and the warnings of one call; may be called from any thread."""


def ignore(item: Step | Notice) -> None:
    """Take progress and warnings, and do nothing with them."""


@dataclass(frozen=True, slots=True)
class LayoutPlan:
    """What a query does with one layout of one schema.

    Parameters
    ----------
    schema
        The schema's name.
    bound
        The expression as it is bound to the layout; ``None`` where nothing binds.
    files, all_files
        How many files would be read, of how many.
    row_groups, all_row_groups
        How many row groups of these files would be read, of how many.
    events
        The number of events in the files that would be read.
    filtered
        What a node is asked instead, where it cannot answer the expression for this schema and
        its events are filtered here; ``None`` where it can.
    """

    schema: str
    bound: str | None
    files: int
    all_files: int
    row_groups: int
    all_row_groups: int
    events: int
    filtered: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """How a node would answer a query.

    Parameters
    ----------
    expression
        The expression in its canonical form.
    layouts
        One plan for each layout that the node holds.

    Examples
    --------
    >>> plans = (
    ...     LayoutPlan("zeek.dns", None, 0, 1, 0, 0, 0),
    ...     LayoutPlan("zeek.conn", "id.resp_p == 22", 1, 3, 2, 4, 900),
    ... )
    >>> Explanation("resp_p == 22", plans)
    resp_p == 22
      zeek.conn: id.resp_p == 22
        reads 1 of 3 files, 2 of 4 row groups, 900 events
      nothing can match in zeek.dns
    """

    expression: str
    layouts: tuple[LayoutPlan, ...]

    def __repr__(self) -> str:
        matching = [plan for plan in self.layouts if plan.bound is not None]
        # What reads something comes first.
        lines = [_read(plan) for plan in sorted(matching, key=lambda plan: not plan.files)]
        others = dict.fromkeys(plan.schema for plan in self.layouts if plan.bound is None)
        if others:
            lines.append(f"  nothing can match in {plain(', '.join(others))}")
        return "\n".join([plain(self.expression), *lines])


def _read(plan: LayoutPlan) -> str:
    asked = ""
    if plan.filtered is not None:
        asked = (
            f"    the node's indexes cannot answer this: it is asked for {plain(plan.filtered)}, "
            "and the events are filtered here\n"
        )
    return (
        f"  {plain(plan.schema)}: {plain(str(plan.bound))}\n{asked}"
        f"    reads {plan.files} of {plan.all_files} files, "
        f"{plan.row_groups} of {plan.all_row_groups} row groups, {plan.events} events"
    )


class Node(Protocol):
    """What an endpoint connects to; a `Report` takes the progress and warnings of a call."""

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        ...

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        ...

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Group the events that match, where they are as far as possible."""
        ...

    async def span(self, query: Query, report: Report = ignore) -> int | None:
        """Return how long a time the answer covers at most, in nanoseconds; None if not known."""
        ...

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        ...

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        ...

    async def ingest(
        self,
        sources: Any,
        *,
        strict: bool = False,
        force: bool = False,
        progress: Any = None,
        **options: Any,
    ) -> IngestReport:
        """Add the events of files."""
        ...

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Return how the node would answer."""
        ...

    async def aclose(self) -> None:
        """End everything that runs and release all resources."""
        ...


class Limit:
    """Cuts an export at its largest number of events; 0 for all."""

    def __init__(self, limit: int) -> None:
        self._left = limit or math.inf

    @property
    def is_reached(self) -> bool:
        """Whether there is no room for another event."""
        return self._left <= 0

    def cut(self, part: TableSlice) -> TableSlice:
        """Count the events of a batch, and return those for which there is room."""
        room = self._left
        self._left -= part.num_rows
        return part if part.num_rows <= room else TableSlice(part.to_pyarrow().slice(0, int(room)))


class NoTimes:
    """A node that does not know the times of its events without reading them."""

    async def span(self, query: Query, report: Report = ignore) -> int | None:
        """Return the length of the bounds that the query has itself."""
        if query.since is None or query.until is None:
            return None
        return max(query.until - query.since, 1)


_T = TypeVar("_T")
_U = TypeVar("_U")


async def together(*questions: Coroutine[Any, Any, _T]) -> list[_T]:
    """Wait for all answers; where one fails, end the other questions before its error is raised."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def both(first: Coroutine[Any, Any, _T], second: Coroutine[Any, Any, _U]) -> tuple[_T, _U]:
    """Wait for two answers of different types, as `together` does."""
    answers: list[Any] = await together(first, second)
    return answers[0], answers[1]


async def completed(work: Callable[[], _T], cancelled: Event | None = None) -> _T:
    """Do some work in a thread; a call that is cancelled tells it so, and waits for its end.

    What goes wrong with the work after that is not reported.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        if cancelled is not None:
            cancelled.set()
        await asyncio.wait([working])
        working.exception()
        raise


class SingleFlight(Generic[_T]):
    """Runs an operation once for all callers that wait for it at the same time.

    The operation is given a function to call as soon as its result may miss later changes: a
    later caller needs a new run.
    """

    def __init__(self, operation: Callable[[Callable[[], None]], Awaitable[_T]]) -> None:
        self._operation = operation
        self._shared: _Flight[_T] | None = None

    async def result(self) -> _T:
        """Return the result; the operation is cancelled when all its callers are."""
        flight = self._shared
        if flight is None or flight.loop is not asyncio.get_running_loop() or flight.task.done():
            flight = self._shared = _Flight(self._run)
        flight.callers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            if not flight.callers and not flight.task.done():
                self._close(flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])

    async def _run(self, flight: _Flight[_T]) -> _T:
        return await self._operation(lambda: self._close(flight))

    def _close(self, flight: _Flight[_T]) -> None:
        if self._shared is flight:
            self._shared = None


class _Flight(Generic[_T]):
    """One run of an operation."""

    def __init__(self, run: Callable[[_Flight[_T]], Coroutine[Any, Any, _T]]) -> None:
        self.loop = asyncio.get_running_loop()
        self.callers = 0
        self.task = self.loop.create_task(run(self))


_UNIT = 1024
_SHOWN = 10  # problems
_KEYS = {
    "VmRSS": "current-memory-usage",
    "VmHWM": "peak-memory-usage",
    "VmSwap": "swap-space-usage",
}


def describe(snapshot: Snapshot, path: object) -> dict[str, Any]:
    """Describe a database and the process that reads it.

    ``problems`` are the number and the first of those of the source files; ``remarks`` name fields
    that are text because of single values.
    """
    return {
        "version": {
            "vastlab": _own_version(),
            "Apache Arrow": pa.__version__,
            "DataFusion": metadata.version("datafusion"),
        },
        "system": {"database-path": str(path), "in-memory-table-slices": 0, **memory()},
        "catalog": {
            "num-events": sum(snapshot.counts.values()),
            "num-partitions": len(snapshot.files),
            "schemas": {name: _schema(each) for name, each in snapshot.files.extents().items()},
        },
        **_problems(snapshot),
        **({"remarks": list(snapshot.remarks[:_SHOWN])} if snapshot.remarks else {}),
    }


def _problems(snapshot: Snapshot) -> dict[str, Any]:
    number = sum(s.problem_count + bool(s.tail_problem) for s in snapshot.sources.values())
    first = [str(problem) for problem in snapshot.problems[:_SHOWN]]
    return {"problems": {"count": number, "first": first}} if number else {}


def memory() -> dict[str, int]:
    """Return the bytes that this process uses; 0 where the system does not tell."""
    usage = dict.fromkeys(_KEYS.values(), 0)
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return usage
    for line in lines.splitlines():
        name, _, value = line.partition(":")
        if name in _KEYS:
            usage[_KEYS[name]] = int(value.split()[0]) * _UNIT
    return usage


def _own_version() -> str:
    try:
        return metadata.version("vastlab")
    except metadata.PackageNotFoundError:
        return "not installed"


def _schema(extent: Extent) -> dict[str, Any]:
    return {
        "num-events": extent.events,
        "num-partitions": extent.files,
        "import-time": _span(extent.import_first, extent.import_last),
        "event-time": _span(extent.first, extent.last),
    }


def _span(first: int, last: int) -> dict[str, str]:
    return {"min": _text(first), "max": _text(last)}


def _text(nanoseconds: int) -> str:
    return str(pd.Timestamp(nanoseconds).isoformat())
