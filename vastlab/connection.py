"""Connection: the asynchronous API for people who wait for the answer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import sys
import time
import warnings
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import AbstractContextManager
from datetime import datetime, tzinfo
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa

from vastlab import _loop, _text, errors
from vastlab.client import VAST, ExportMode
from vastlab.collect import collect_pyarrow
from vastlab.display.outcome import Outcome, plural
from vastlab.expression import parse_query
from vastlab.expression.literals import Time
from vastlab.expression.parameters import bind
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import Explanation
from vastlab.pivot import Pivot
from vastlab.queries import Queries
from vastlab.result import Result
from vastlab.store.ingest import IngestProgress, IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

__all__ = ["Connection", "connect"]

T = TypeVar("T")
Moment = str | datetime | None


class Progress(Protocol):
    """Shows how far a call is; used by the thread that waits, ten times a second."""

    def __call__(self, events: int, share: float | None) -> None:
        """Show so many events, and which share of the work is done where that is known."""
        ...


def connect(endpoint: str | None = None, *, tz: str | tzinfo | None = None) -> Connection:
    """Connect to a database, a folder of logs or a node.

    Parameters
    ----------
    endpoint
        ``demo:``, a folder, a ``file:`` URL or ``host:port``; if not given, the one from
        the environment variable ``VAST_ENDPOINT`` or from ``vast.yaml``.
    tz
        The time zone of displays, such as ``Europe/Berlin``; data stay in UTC.

    Returns
    -------
    Connection
        A context manager.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, connect(f"{folder}/my.db") as vast:
    ...     report = vast.ingest(pa.table({"port": [80, 443]}), schema="my.ports")
    ...     hits = vast.query("port < 100")
    >>> hits["my.ports"]["port"].tolist()
    [80]
    """
    return Connection(endpoint, tz=tz)


class Connection:
    """Blocking calls to one endpoint; safe in scripts, notebooks and threads.

    Parameters
    ----------
    endpoint, tz
        As in `connect`.

    Examples
    --------
    >>> vast = Connection("logs")
    >>> vast
    Connection('...logs')
    >>> vast.close()
    """

    progress: ClassVar[Callable[[], AbstractContextManager[Progress]] | None] = None
    """Makes a progress display for each query; the notebook extension puts one here."""

    def __init__(self, endpoint: str | None = None, *, tz: str | tzinfo | None = None) -> None:
        self._zone = _zone(tz)
        self._vast = _Client(endpoint)
        self._runner = _loop.background()
        self._exports: weakref.WeakSet[Generator[TableSlice]] = weakref.WeakSet()
        self._jobs: weakref.WeakSet[_loop.Job[Any]] = weakref.WeakSet()
        self._pid = os.getpid()
        self._closed = False
        self.last: Result | None = None
        """The newest result, also of a query that was interrupted or failed."""

    # --- queries ----------------------------------------------------------------------------

    def query(
        self,
        expression: str = "",
        *,
        limit: int = 100,
        mode: str | ExportMode = "historical",
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        quiet: bool = False,
    ) -> Result:
        """Ask for events and wait for all of them.

        Parameters
        ----------
        expression
            A VAST expression; empty for all events.
        limit
            At most so many events; 0 for all.
        mode
            ``historical``, ``continuous`` or ``unified``; the last two wait for new events
            until the limit, the end of the node or an interrupt.
        since, until
            Bounds of the event time, the second one exclusive: ISO text, a datetime, or a
            span back from now such as ``"2h"``.
        params
            Values for the ``$names`` of the expression.
        timeout
            Seconds that the query may take.
        quiet
            Whether to leave out the progress line that notebooks show.

        Returns
        -------
        Result
            One DataFrame for each schema.

        Raises
        ------
        QueryInterrupted
            On Ctrl-C or the kernel's interrupt; what had arrived is in ``.partial`` and
            in `last`.
        """
        ask = functools.partial(
            self._vast.export,
            expression,
            mode,
            limit,
            since=since,
            until=until,
            params=params,
            timeout=timeout,
        )
        outcome = Outcome(_final(expression, params), _mode_name(mode), limit)
        return self._answer(ask, outcome, quiet=quiet)

    def follow(self, question: Pivot, *, limit: int = 0) -> Result:
        """Ask what `Result.pivot` wants to know.

        Parameters
        ----------
        question
            What to look for, and what of it to keep.
        limit
            At most so many events; 0 for all.
        """
        ask = functools.partial(
            self._vast.export,
            question.expression,
            limit=0 if question.near else limit,
            since=_moment(question.since),
            until=_moment(question.until),
            params=question.params,
        )
        outcome = Outcome(_final(question.expression, question.params), limit=limit)
        return self._answer(ask, outcome, keep=question.keep)

    def _answer(
        self,
        ask: Callable[[], AsyncGenerator[TableSlice]],
        outcome: Outcome,
        *,
        keep: Callable[[TableSlice], TableSlice | None] | None = None,
        quiet: bool = False,
    ) -> Result:
        """Wait for all of an answer; whatever ends it, what has arrived is kept."""
        self._usable()
        arrived = _Arrived(keep, outcome.limit)
        partial = dataclasses.replace(outcome, partial=True)
        try:
            self._collect(arrived, ask, None if quiet else type(self).progress)
        except KeyboardInterrupt as interrupt:
            self.last = self._result(arrived, partial)
            if isinstance(interrupt.__context__, KeyboardInterrupt):
                raise  # the second one, while the first was being obeyed
            raise _interrupted(self.last) from None
        except errors.VastlabError as error:
            if arrived.events or isinstance(error, errors.NodeError | errors.QueryInterrupted):
                self._keep(error, self._result(arrived, partial))
            raise
        self.last = self._result(arrived, outcome)
        return self.last

    def export(
        self,
        expression: str = "",
        *,
        limit: int = 100,
        mode: str | ExportMode = "historical",
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Iterator[TableSlice]:
        """Ask for events and take them batch by batch, also more than memory holds.

        The arguments are those of `query`. The node works only as fast as its batches are
        taken, and stops when the iteration does.

        Returns
        -------
        Iterator[TableSlice]
            Closed by `close` at the latest.
        """
        self._usable()
        ask = functools.partial(
            self._vast.export,
            expression,
            mode,
            limit,
            since=since,
            until=until,
            params=params,
            timeout=timeout,
        )
        parts = self._runner.iterate(ask)
        self._exports.add(parts)
        return parts

    def start(self, work: Callable[[VAST], Coroutine[Any, Any, T]]) -> _loop.Job[T]:
        """Start work with the asynchronous client, on vastlab's own loop, and return at once.

        Parameters
        ----------
        work
            Makes the coroutine. What it calls runs in the loop's thread; `close` cancels it.
        """
        self._usable()
        job = self._runner.start(work(self._vast))
        self._jobs.add(job)
        return job

    def remarks(self) -> list[str]:
        """Take the warnings that no call has issued yet."""
        return self._vast.told()

    def count(self, expression: str = "", **bounds: Any) -> int:
        """Count the events that match.

        Parameters
        ----------
        expression
            As in `query`.
        bounds
            ``since``, ``until`` and ``params`` as in `query`.
        """
        return self._run(self._vast.count(expression, **bounds))

    def counts(self, expression: str = "", **bounds: Any) -> pd.Series[int]:
        """Count the events that match for each schema, most first.

        Parameters
        ----------
        expression, bounds
            As in `count`.
        """
        counts = self._run(self._vast.counts(expression, **bounds))
        ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        index = pd.Index(list(ordered), name="schema", dtype="str")
        return pd.Series(list(ordered.values()), index, "int64", "events")

    def explain(self, expression: str = "", **bounds: Any) -> Explanation:
        """Say how a query would be answered, without asking it.

        Parameters
        ----------
        expression, bounds
            As in `count`.
        """
        return self._run(self._vast.explain(expression, **bounds))

    # --- what is there ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        return self._run(self._vast.status())

    def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        return self._run(self._vast.schemas())

    def concepts(self) -> pd.DataFrame:
        """Return the concepts that expressions can name, with the fields they stand for."""
        taxonomy = self.taxonomy
        rows = [
            (concept.description, taxonomy.fields(name))
            for name, concept in sorted(taxonomy.concepts.items())
        ]
        index = pd.Index(sorted(taxonomy.concepts), name="concept", dtype="str")
        return pd.DataFrame(rows, index=index, columns=["description", "fields"])

    def models(self) -> pd.DataFrame:
        """Return the models that expressions can name, with the concepts they consist of."""
        taxonomy = self.taxonomy
        rows = [
            (model.description, taxonomy.leaves(name))
            for name, model in sorted(taxonomy.models.items())
        ]
        index = pd.Index(sorted(taxonomy.models), name="model", dtype="str")
        return pd.DataFrame(rows, index=index, columns=["description", "concepts"])

    def ingest(
        self,
        source: Any,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
    ) -> IngestReport:
        """Add the events of files to the database behind the endpoint.

        Parameters
        ----------
        source
            A path, a pattern, or several of them.
        schema
            The name of the events, where the files do not say.
        format
            The format, where it cannot be found out.
        strict
            Whether a line that cannot be read is an error instead of being counted.
        """
        seen: list[IngestProgress] = []
        call = self._vast.ingest(
            source, schema=schema, format=format, strict=strict, progress=seen.append
        )
        try:
            return self._watched(call, seen)
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt.__context__, KeyboardInterrupt):
                raise
            events = seen[-1].events if seen else 0
            raise errors.QueryInterrupted(
                f"the ingest was interrupted after reading {plural(events, 'event')}",
                hint="ask counts() what was added; the same call again adds what is missing",
            ) from None

    # --- life -------------------------------------------------------------------------------

    @property
    def queries(self) -> Queries:
        """The saved queries, each a method: ``vast.queries.beacons(host="10.1.4.17")``.

        They come from ``queries.yaml`` in the working folder and in that of the user's
        ``vast.yaml``. Besides its parameters each takes `query`'s arguments.
        """
        return Queries(self.query)

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts and models that expressions may name."""
        return self._vast.taxonomy

    @property
    def zone(self) -> tzinfo | None:
        """Where displays show times; None for UTC."""
        return self._zone

    @property
    def endpoint(self) -> str:
        """What is connected to, without user names and passwords."""
        return re.sub(r"//[^/@]*@", "//", str(self._vast.endpoint))

    def close(self) -> None:
        """End the exports that run and let go of everything held; twice is once."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        for parts in list(self._exports):
            # Another thread may be taking a batch at this moment; the node ends it below.
            with contextlib.suppress(ValueError):
                parts.close()
        for job in list(self._jobs):
            job.cancel()
        self._runner.run(self._vast.aclose())

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Connection({_text.plain(repr(self.endpoint))})"

    # --- inside -----------------------------------------------------------------------------

    def _usable(self) -> None:
        if self._closed:
            raise errors.UsageError("the connection is closed", hint="connect() again")
        if self._pid != os.getpid():
            # The engine's threads did not come along: every call would wait for ever.
            raise errors.UsageError(
                "the connection belongs to the process that was forked",
                hint="connect() in the child, and start it with the method 'spawn'",
            )

    def _run(
        self, coroutine: Coroutine[Any, Any, T], *, tick: Callable[[], None] | None = None
    ) -> T:
        try:
            self._usable()
        except errors.UsageError:
            coroutine.close()
            raise
        try:
            return self._runner.run(coroutine, tick=tick)
        finally:
            self._vast.warn()

    def _watched(
        self, call: Coroutine[Any, Any, IngestReport], seen: list[IngestProgress]
    ) -> IngestReport:
        progress = type(self).progress
        if progress is None:
            return self._run(call)
        with progress() as show:
            return self._run(call, tick=functools.partial(_ingest_tick, show, seen))

    def _collect(
        self,
        arrived: _Arrived,
        ask: Callable[[], AsyncGenerator[TableSlice]],
        progress: Callable[[], AbstractContextManager[Progress]] | None,
    ) -> None:
        if progress is None:
            self._run(arrived.take(ask))
            return
        with progress() as show:
            tick = functools.partial(_tick, show, arrived)
            self._run(arrived.take(ask), tick=tick)
            tick()

    def _result(self, arrived: _Arrived, outcome: Outcome) -> Result:
        told = dataclasses.replace(
            outcome,
            elapsed=time.monotonic() - arrived.started,
            origin=self._origin(),
            limit_reached=not outcome.partial and 0 < outcome.limit <= arrived.events,
        )
        tables = self._runner.run(arrived.tables())
        return Result(tables, told, zone=self._zone, source=self)

    def _origin(self) -> str:
        """Name the endpoint where a file beside the notebook chose it: it may be a stranger's."""
        file = Path(self._vast.source)
        if file.name != "vast.yaml" or file.parent.resolve() != Path.cwd():
            return ""
        return f"endpoint {self.endpoint} from {file}"

    def _keep(self, error: errors.VastlabError, partial: Result) -> None:
        self.last = partial
        if isinstance(error, errors.NodeError | errors.QueryInterrupted):
            error.partial = partial


class _Client(VAST):
    """Keeps warnings until the thread that waits can issue them, where the user's code is."""

    def __init__(self, endpoint: str | None) -> None:
        super().__init__(endpoint)
        self._told: list[str] = []

    def _tell(self, line: str) -> None:
        self._told.append(line)

    def told(self) -> list[str]:
        told, self._told = self._told, []
        if told:
            self._checked.clear()  # who asks the same again is warned again
        return told

    def warn(self) -> None:
        for line in self.told():
            warnings.warn(line, errors.VastlabWarning, stacklevel=_depth())


class _Arrived:
    """What has arrived of an answer so far; it outlives a query that fails."""

    def __init__(self, keep: Callable[[TableSlice], TableSlice | None] | None, limit: int) -> None:
        self.limit = limit
        self._keep = keep
        self.slices: list[TableSlice] = []
        self.events = 0
        self.started = time.monotonic()

    async def take(self, ask: Callable[[], AsyncGenerator[TableSlice]]) -> None:
        async with contextlib.aclosing(ask()) as parts:
            async for part in parts:
                kept = part if self._keep is None else self._keep(part)
                if kept is not None:
                    self._add(kept)
                if self._keep is not None and 0 < self.limit <= self.events:
                    return

    def _add(self, part: TableSlice) -> None:
        over = self.events + part.num_rows - self.limit
        if self._keep is not None and self.limit > 0 and over > 0:
            part = TableSlice(part.to_pyarrow().slice(0, part.num_rows - over))
        self.slices.append(part)
        self.events += part.num_rows

    async def tables(self) -> dict[str, list[pa.Table]]:
        async def again() -> AsyncIterator[TableSlice]:
            for part in self.slices:
                yield part

        return await collect_pyarrow(again())


def _tick(show: Progress, arrived: _Arrived) -> None:
    share = min(1.0, arrived.events / arrived.limit) if arrived.limit else None
    show(arrived.events, share)


def _ingest_tick(show: Progress, seen: list[IngestProgress]) -> None:
    if seen:
        newest = seen[-1]
        seen[:-1] = []
        total = newest.bytes_total
        show(newest.events, min(1.0, newest.bytes_done / total) if total else None)


def _depth() -> int:
    """Return how many calls up the code stands that called vastlab."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("vastlab."):
        depth, frame = depth + 1, frame.f_back
    return depth


def _interrupted(partial: Result) -> errors.QueryInterrupted:
    return errors.QueryInterrupted(
        f"interrupted after {plural(partial.num_rows, 'event')}",
        hint="what had arrived is kept in .last of the connection",
        partial=partial,
    )


def _final(expression: str, params: Mapping[str, object] | None) -> str:
    """Return the canonical text with all values in their places."""
    if not isinstance(expression, str):
        raise errors.UsageError(f"the expression is no text: {expression!r}")
    return str(bind(parse_query(expression), params or {}))


def _mode_name(mode: str | ExportMode) -> str:
    return mode.value if isinstance(mode, ExportMode) else str(mode).lower()


def _moment(nanoseconds: int | None) -> str | None:
    """Write a time as the language does, since a datetime is not exact enough."""
    return None if nanoseconds is None else str(Time(nanoseconds))


def _zone(tz: str | tzinfo | None) -> tzinfo | None:
    if tz is None or isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        raise errors.UsageError(
            f"no such time zone: {tz!r}", hint='use a name such as "Europe/Berlin"'
        ) from error
