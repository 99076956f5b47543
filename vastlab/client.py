"""VAST: the asynchronous API.

One `VAST` speaks with one endpoint. It opens nothing before it is used, and every call may be
made from any event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from vastlab import _text
from vastlab.config import DEFAULT_SOURCE, Endpoint, Settings, resolve_endpoint
from vastlab.errors import (
    ExpressionSyntaxError,
    NodeConnectionError,
    NodeTimeoutError,
    UsageError,
    VastlabError,
    VastlabWarning,
)
from vastlab.expression import parse, parse_query
from vastlab.expression.ast import Expr, Predicate
from vastlab.expression.literals import Duration, RelativeTime, Time
from vastlab.expression.parameters import bind, to_literal
from vastlab.expression.rewrite import at, predicates
from vastlab.expression.suggest import suggest
from vastlab.expression.taxonomy import Taxonomy, load
from vastlab.nodes import open_node
from vastlab.nodes.base import Explanation, ExportMode, Node, Query, Step
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.store.ingest import IngestProgress, IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

__all__ = ["VAST", "ExportMode"]

Moment = str | date | timedelta | None  # a datetime is a date

_MOST = 2**63  # events
_SAID = 80  # characters
_TURNS = 3
_PATIENCE = 5.0  # seconds for a stream that was left to end what it runs
_REMEMBERED = 1000  # expressions that were looked at for slips

_T = TypeVar("_T")


class VAST:
    """An endpoint, and what can be asked of it.

    Parameters
    ----------
    endpoint
        ``"demo:"``, a folder, or ``"host:port"``. Without one: ``VAST_ENDPOINT``, then
        ``vast.endpoint`` in ``./vast.yaml`` and in the user's ``vast.yaml``, then
        ``127.0.0.1:5158``.
    taxonomy
        Concepts and models beside those that come with vastlab and those in the folder
        ``taxonomy`` beside the user's ``vast.yaml``: a `Taxonomy`, or a file or folder.
    client
        The program that reaches a node: ``vast``, ``tenzir``, or ``auto`` to find out, which
        is what happens unless ``vastlab.client`` in ``vast.yaml`` says otherwise.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> import pyarrow as pa
    >>> async def main(folder):
    ...     async with VAST(folder + "/my.db") as vast:
    ...         await vast.ingest(pa.table({"port": [80, 443]}), schema="my.ports")
    ...         async for events in vast.export("port < 100"):
    ...             print(events.name, events.num_rows)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    my.ports 1
    """

    def __init__(
        self,
        endpoint: str | os.PathLike[str] | None = None,
        *,
        taxonomy: Taxonomy | str | os.PathLike[str] | None = None,
        client: str | None = None,
    ) -> None:
        settings = Settings.load()
        self._client = client or settings.client
        self._endpoint = resolve_endpoint(endpoint, settings)
        self._source = "the argument" if endpoint is not None else settings.source
        self._taxonomy = _taxonomy(settings, taxonomy)
        self._node: Node | None = None
        self._checked: set[Expr] = set()
        self._complaint: str | None = None
        self._closing: set[asyncio.Event] = set()

    @property
    def endpoint(self) -> Endpoint:
        """What this client speaks with."""
        return self._endpoint

    @property
    def source(self) -> str:
        """Where the endpoint came from: ``the argument``, a variable, a file, ``the default``."""
        return self._source

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts and models that expressions may name."""
        return self._taxonomy

    def __repr__(self) -> str:
        return f"VAST({str(self._endpoint)!r})"

    async def __aenter__(self) -> VAST:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what runs and let go of threads and files; the client can be used again."""
        for _ in range(_TURNS):  # of the loop, until it closes what a `break` has left
            await asyncio.sleep(0)
        for closed in tuple(self._closing):
            # RuntimeError: it belongs to another loop.
            with contextlib.suppress(TimeoutError, RuntimeError):
                await asyncio.wait_for(closed.wait(), _PATIENCE)
        node, self._node = self._node, None
        if node is not None:
            await node.aclose()

    # --- queries ----------------------------------------------------------------------------

    def export(
        self,
        expression: str = "",
        mode: ExportMode | str = ExportMode.HISTORICAL,
        limit: int = 100,
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that match, batch by batch.

        Parameters
        ----------
        expression
            What to look for; everything by default.
        mode
            What is stored, what arrives after this call, or first the one and then the other.
        limit
            At most so many events; 0 for all.
        since, until
            Bounds of the event time, the second one exclusive: ISO text, a date or datetime
            (UTC if it has no zone), or a span back from now such as ``"2h"``.
        params
            Values for the ``$names`` in the expression.
        timeout
            Seconds that the whole export may take.

        Returns
        -------
        AsyncGenerator of TableSlice
            Schema by schema in the order of their names, and by event time within one.

        Raises
        ------
        UsageError
            A bad mode, limit, bound or timeout.
        ExpressionError
            An expression that cannot be run.
        NodeTimeoutError
            While iterating: the export took longer than `timeout`.
        """
        query = self._query(expression, since, until, params, as_mode(mode), as_limit(limit))
        seconds = _seconds(timeout)
        stream = self._open().export(query)
        return self._slices(query, stream, seconds)

    async def count(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        estimate: bool = False,
    ) -> int:
        """Return how many events match.

        Parameters
        ----------
        expression, since, until, params, timeout
            As in `export`.
        estimate
            As in PyVAST, where an upper bound will do; the number is exact all the same.
        """
        counts = await self.counts(
            expression, since=since, until=until, params=params, timeout=timeout
        )
        return sum(counts.values())

    async def counts(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, int]:
        """Return how many events match, by schema; schemas without any are left out.

        Parameters
        ----------
        expression, since, until, params, timeout
            As in `export`.
        """
        query = self._query(expression, since, until, params)
        return await _within(self._counts(query), _seconds(timeout))

    async def explain(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
    ) -> Explanation:
        """Say what a query means for each schema, and what would be read for it.

        Parameters
        ----------
        expression, since, until, params
            As in `export`.
        """
        query = self._query(expression, since, until, params)
        await self._warn(query)
        return await self._open().explain(query)

    async def status(
        self,
        timeout: float | None = None,
        retry_delay: float = 0.5,
        *,
        detailed: bool = True,
    ) -> dict[str, Any]:
        """Return the node's state under the keys of ``vast status``.

        Parameters
        ----------
        timeout
            Seconds that the answer may take. A node that does not run yet is asked again until
            then; without a timeout, or with 0, it is asked once.
        retry_delay
            Seconds between two attempts.
        detailed
            As in PyVAST; there is one answer, and it is the detailed one.
        """
        seconds = _seconds(timeout or None)
        deadline = time.monotonic() + (seconds or 0.0)
        while True:
            left = None if seconds is None else max(0.0, deadline - time.monotonic())
            try:
                return await _within(self._open().status(), left, seconds)
            except NodeConnectionError:
                if time.monotonic() + retry_delay >= deadline:
                    raise
                await asyncio.sleep(retry_delay)
                if time.monotonic() >= deadline:  # the sleep was longer than it should be
                    raise

    async def schemas(self) -> dict[str, Schema]:
        """Return what the node holds, by schema name."""
        return await self._open().schemas()

    async def ingest(
        self,
        source: object,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        force: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Add the events of files; a folder that does not exist becomes a database.

        Parameters
        ----------
        source
            A file, a folder, a pattern such as ``logs/*.gz``, an open binary file, an Arrow
            table or a frame, or several of them.
        schema
            The schema's name, for formats that do not tell.
        format
            The format, where it is not to be found out.
        strict
            Whether a malformed line is an error.
        force
            Whether files count that were ingested before.
        progress
            Called now and then from another thread.

        Returns
        -------
        IngestReport
            What was added, and what could not be read.
        """
        return await self._open().ingest(
            source, schema=schema, format=format, strict=strict, force=force, progress=progress
        )

    # --- inside -----------------------------------------------------------------------------

    def _open(self) -> Node:
        if self._node is None:
            named = self._source != DEFAULT_SOURCE
            self._node = open_node(self._endpoint, self._client, named=named)
        return self._node

    def _query(
        self,
        expression: str,
        since: Moment,
        until: Moment,
        params: Mapping[str, object] | None,
        mode: ExportMode = ExportMode.HISTORICAL,
        limit: int = 0,
    ) -> Query:
        if not isinstance(expression, str):
            raise UsageError(f"the expression is no text: {said(expression)}")
        now = time.time_ns()
        expr: Expr = at(bind(parse_query(expression), params or {}), now)
        bounds = (_instant("since", since, now), _instant("until", until, now))
        match bounds:
            case int(first), int(last) if first > last:
                raise UsageError(f"since {since} is after until {until}", hint="swap the two")
        return Query(expr, mode, limit, *bounds, self._taxonomy)

    async def _counts(self, query: Query) -> dict[str, int]:
        await self._warn(query)
        counts = await self._open().counts(query)
        self._tell_of_problems()
        return counts

    async def _slices(
        self, query: Query, stream: AsyncGenerator[TableSlice, None], timeout: float | None
    ) -> AsyncGenerator[TableSlice, None]:
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        closed = asyncio.Event()
        try:
            async with aclosing(stream):
                if query.mode is not ExportMode.HISTORICAL:  # the first event may never come
                    await _within(self._warn(query), left(), timeout)
                part = await _within(self._begin(query, stream), left(), timeout)
                self._tell_of_problems()
                while part is not None:
                    try:
                        yield part
                    except GeneratorExit:
                        self._closing.add(closed)
                        raise
                    part = await _within(anext(stream, None), left(), timeout)
        finally:
            self._closing.discard(closed)
            closed.set()

    async def _begin(
        self, query: Query, stream: AsyncGenerator[TableSlice, None]
    ) -> TableSlice | None:
        """Wait for the first events, and look for slips meanwhile: a node takes its time."""
        look = asyncio.ensure_future(self._warn(query))
        try:
            part = await anext(stream, None)
            await look
        finally:
            look.cancel()
            await asyncio.wait([look])
        return part

    async def _warn(self, query: Query) -> None:
        """Say what in an expression no schema of the node knows, once for each expression."""
        if query.expression in self._checked or not any(predicates(query.expression)):
            return
        schemas = await self._open().schemas()
        if schemas:
            if len(self._checked) >= _REMEMBERED:
                self._checked.clear()
            self._checked.add(query.expression)
        for line in suggest(query.expression, schemas.values(), query.taxonomy):
            self._tell(line)

    @property
    def _preparation(self) -> Step | None:
        return self._node.preparation if isinstance(self._node, EmbeddedNode) else None

    def _tell_of_problems(self) -> None:
        """Say what of a folder of logs could not be read, whenever that changes."""
        complaint = self._node.complaint if isinstance(self._node, EmbeddedNode) else None
        if complaint is not None and complaint != self._complaint:
            self._tell(complaint)
        self._complaint = complaint

    def _tell(self, line: str) -> None:
        warnings.warn(line, VastlabWarning, stacklevel=2)


def _taxonomy(settings: Settings, more: Taxonomy | str | os.PathLike[str] | None) -> Taxonomy:
    taxonomy = Taxonomy.default()
    folder = settings.user_folder and settings.user_folder / "taxonomy"
    if folder and folder.is_dir():
        taxonomy = taxonomy.merge(load(folder))
    if more is None:
        return taxonomy
    return taxonomy.merge(more if isinstance(more, Taxonomy) else load(Path(more)))


async def _within(answer: Awaitable[_T], seconds: float | None, allowed: float | None = None) -> _T:
    if seconds is None:
        return await answer
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        span = seconds if allowed is None else allowed
        raise NodeTimeoutError(
            f"no complete answer within {span:g} s", hint="allow more, or narrow the query"
        ) from None


def said(value: object) -> str:
    """Show a wrong argument, which may be a frame or a number of any length."""
    with contextlib.suppress(Exception):
        return _text.cut(" ".join(repr(value).split()), _SAID)
    return f"a {type(value).__name__}"


def as_mode(mode: ExportMode | str) -> ExportMode:
    """Return the mode of that name."""
    try:
        return ExportMode(mode)
    except ValueError:
        known = ", ".join(repr(known.value) for known in ExportMode)
        raise UsageError(f"unknown mode: {said(mode)}", hint=f"one of {known}") from None


def as_limit(limit: int) -> int:
    """Return a limit as a plain number, if it is one."""
    if isinstance(limit, bool) or not hasattr(limit, "__index__"):
        raise UsageError(f"the limit is no integer: {said(limit)}", hint="0 for all events")
    number = limit.__index__()
    if not 0 <= number <= _MOST:
        wrong = "negative" if number < 0 else "larger than any answer"
        raise UsageError(f"the limit is {wrong}: {said(number)}", hint="0 for all events")
    return number


def _seconds(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise UsageError(f"the timeout is no number of seconds above 0: {said(timeout)}")
    return timeout


# --- points in time -------------------------------------------------------------------------


def _instant(name: str, value: Moment, now: int) -> int | None:
    """Return nanoseconds since 1970; a span counts back from now."""
    if value is None:
        return None
    try:
        literal = _time_literal(value) if isinstance(value, str) else to_literal(value)
    except (VastlabError, ValueError):
        literal = None
    match literal:
        case Time(nanoseconds):
            return nanoseconds
        case RelativeTime(nanoseconds):
            return now + nanoseconds
        case Duration(nanoseconds):
            return now - nanoseconds
        case _:
            raise UsageError(
                f"{name} is no point in time: {said(value)}",
                hint='ISO text such as "2009-11-18T08:00", a date or datetime, or a span back '
                'from now such as "2h" or "1d"',
            )


def _time_literal(text: str) -> object:
    """Read a time as the language writes it, or as ISO 8601 does."""
    text = text.strip()
    try:
        expr = parse(f"bound >= {text}")
    except ExpressionSyntaxError:
        moment = datetime.fromisoformat(text)
        return to_literal(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return expr.literal if isinstance(expr, Predicate) else None
