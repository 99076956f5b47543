"""VAST: the asynchronous API.

A `VAST` opens nothing before it is used, and every call may be made from any event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pandas as pd

from vastlab import _text
from vastlab.compile.groups import Groups
from vastlab.config import DEFAULT_SOURCE, Settings, resolve_endpoint
from vastlab.endpoints import Endpoint
from vastlab.errors import (
    ClientNotFoundError,
    ConfigError,
    ExpressionSyntaxError,
    NodeConnectionError,
    NodeTimeoutError,
    UsageError,
    VastlabError,
    VastlabWarning,
)
from vastlab.expression import parse, parse_query
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Expr, Meta, MetaExtractor, Operator, Predicate
from vastlab.expression.literals import Duration, Null, RelativeTime, Time
from vastlab.expression.parameters import bind, to_literal
from vastlab.expression.rewrite import at, predicates
from vastlab.expression.suggest import suggest
from vastlab.expression.taxonomy import Taxonomy, load
from vastlab.group_frames import GroupFrame, engine_bucket, finer, to_frame
from vastlab.nodes import open_node
from vastlab.nodes.base import (
    Explanation,
    ExportMode,
    Node,
    Notice,
    Query,
    Report,
    Step,
    both,
    together,
)
from vastlab.nodes.node_search import NodeSearch
from vastlab.readers import SCHEMAS, ReadOptions, load_schemas
from vastlab.readers.source import check_encoding
from vastlab.store.ingest import IngestProgress, IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

__all__ = ["VAST", "ExportMode"]

Moment = str | date | timedelta | None  # a datetime is a date

_NAME_ONE = (
    'name a folder of logs, a database, "demo:" or host:port: connect("folder"), or -e folder'
)
_MOST = 2**63  # events
_LONGEST_REPR = 80  # characters
_CLOSE_STEPS = 3
_CLOSE_TIMEOUT = 5.0  # seconds
_CHECKED_EXPRESSIONS = 1000
_WIDTHS_TRIED = 5  # a day, half an hour, half a minute, a second

_T = TypeVar("_T")


class VAST:
    """An endpoint, and what can be asked of it.

    Parameters
    ----------
    endpoint
        ``"demo:"``, a folder, ``"host:port"``, or ``"localhost"`` or an address alone, at port
        5158. Without one: ``VAST_ENDPOINT``, then
        ``vast.endpoint`` in ``./vast.yaml`` and in the user's ``vast.yaml``, then
        ``127.0.0.1:5158``.
    taxonomy
        Concepts and models in addition to those that come with vastlab and those in the folder
        ``taxonomy`` next to the user's ``vast.yaml``: a `Taxonomy`, or a file or folder.
    client
        The program that reaches a node: ``vast``, ``tenzir``, or ``auto`` to find out, which
        is what happens unless ``vastlab.client`` in ``vast.yaml`` says otherwise.
    infer
        Whether text of logs without a declared type may become addresses, times, numbers and
        so on; true unless ``vastlab.infer`` in ``vast.yaml`` says otherwise.
    encoding
        The encoding of logs, such as ``cp1252``; ``vastlab.encoding`` in ``vast.yaml`` by
        default, else UTF-8, or what a byte order mark says.
    verify
        Whether what is read of a database is compared with its checksums, so that damage is an
        error and never an answer; by default it is, unless ``vastlab.verify`` in the user's own
        ``vast.yaml`` is ``false``.

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
        infer: bool | None = None,
        encoding: str | None = None,
        verify: bool | None = None,
    ) -> None:
        settings = Settings.load()
        self._options = _read_options(settings, infer, encoding)
        self._client = client or settings.client
        self._verify = settings.verify if verify is None else verify
        self._endpoint = resolve_endpoint(endpoint, settings)
        self._source = "the argument" if endpoint is not None else settings.source
        self._taxonomy = _taxonomy(settings, taxonomy)
        self._opened: Node | NodeSearch | None = None
        self._checked: set[Expr] = set()  # expressions in which nothing is unknown
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
        """End what runs and release threads and files; the client can be used again."""
        for _ in range(_CLOSE_STEPS):  # the loop closes generators that a `break` has left
            await asyncio.sleep(0)
        for closed in tuple(self._closing):
            # RuntimeError: it belongs to another loop.
            with contextlib.suppress(TimeoutError, RuntimeError):
                await asyncio.wait_for(closed.wait(), _CLOSE_TIMEOUT)
        opened, self._opened = self._opened, None
        if opened is not None and not isinstance(opened, NodeSearch):
            await opened.aclose()

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
        report: Report | None = None,
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that match, batch by batch.

        Parameters
        ----------
        expression
            What to look for; everything by default.
        mode
            What is stored, what arrives after this call, or first the one and then the other.
        limit
            The largest number of events; 0 for all.
        since, until
            Bounds of the event time, the second one exclusive: ISO text, a date or datetime
            (UTC if it has no zone), or a span back from now such as ``"2h"``.
        params
            Values for the ``$names`` in the expression.
        timeout
            Seconds that the whole export may take.
        report
            Called with the progress and the warnings of this call, from any thread. By default,
            warnings are issued as Python warnings.

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
        query = self.prepare(
            expression, as_mode(mode), as_limit(limit), since=since, until=until, params=params
        )
        return self.run(query, timeout=timeout, report=report)

    def prepare(
        self,
        expression: str = "",
        mode: ExportMode = ExportMode.HISTORICAL,
        limit: int = 0,
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
    ) -> Query:
        """Parse an expression once, for `run`; the arguments are those of `export`."""
        if not isinstance(expression, str):
            raise UsageError(f"expression must be a text, got {shorten_repr(expression)}")
        now = time.time_ns()
        bound = bind(parse_query(expression), params or {})
        bounds = (_instant("since", since, now), _instant("until", until, now))
        match bounds:
            case int(first), int(last) if first > last:
                raise UsageError(f"since {since} is after until {until}", hint="swap the two")
        return Query(at(bound, now), mode, limit, *bounds, self._taxonomy, str(bound))

    def run(
        self, query: Query, *, timeout: float | None = None, report: Report | None = None
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that a query asks for, as `export` does."""
        seconds, report, opened = _seconds(timeout), report or _warn, self._open()
        # What this process reads itself is as it is at this moment.
        stream = None if isinstance(opened, NodeSearch) else opened.export(query, report)
        return self._slices(query, stream, seconds, report)

    async def count(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        estimate: bool = False,
        report: Report | None = None,
    ) -> int:
        """Return how many events match.

        Parameters
        ----------
        expression, since, until, params, timeout, report
            As in `export`.
        estimate
            Accepted for PyVAST, where an estimate is an upper bound; the number is always exact.
        """
        counts = await self.counts(
            expression, since=since, until=until, params=params, timeout=timeout, report=report
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
        report: Report | None = None,
    ) -> dict[str, int]:
        """Return how many events match, by schema; schemas without any are left out.

        Parameters
        ----------
        expression, since, until, params, timeout, report
            As in `export`.
        """
        query = self.prepare(expression, since=since, until=until, params=params)
        seconds, report = _seconds(timeout), report or _warn

        async def answer() -> dict[str, int]:
            node = await self._node()
            # A node is asked for its schemas and for the numbers at the same time.
            return (await both(node.counts(query, report), self._suggest(query, report)))[0]

        with self._naming():
            return await _within(answer(), seconds)

    async def summarize(
        self,
        expression: str = "",
        *,
        by: str | Iterable[str] = (),
        every: str | timedelta | None = None,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        limit: int = 0,
        tz: tzinfo | None = None,
        aggregates: Mapping[str, str] | None = None,
        timeout: float | None = None,
        report: Report | None = None,
        **named: str,
    ) -> pd.DataFrame:
        """Group the events that match, and compute aggregates of each group.

        A database computes them where the events are; a node sends its events, which are
        grouped here as they arrive.

        Parameters
        ----------
        expression, since, until, params, timeout, report
            As in `export`.
        by
            What the events of a group have in common: one or several fields, named as in an
            expression; a concept such as ``net.src.ip`` joins schemas. A schema without such a
            field is left out.
        every
            The length of buckets of the event time, such as ``"1h"``; weeks begin on Mondays.
        limit
            The largest number of groups; 0 for all.
        tz
            The time zone of the buckets; UTC by default.
        aggregates, named
            What is computed, by the name of its column: ``bytes="sum(orig_bytes)"``. The
            functions are count, sum, min, max, mean, count_distinct, distinct, any and all.
            Without any: ``events="count()"``.

        Returns
        -------
        pandas.DataFrame
            Sorted by time, then by the first aggregate, descending. ``attrs["left_out"]`` names
            the schemas of which events were left out, and the field that they lack.

        Raises
        ------
        UsageError
            An unknown function, an ambiguous field, a field of another type than the function
            takes, or too many groups.
        """
        if twice := sorted(named.keys() & (aggregates or {}).keys()):
            raise UsageError(f"the aggregate {twice[0]!r} is given twice")
        asked = Summary.parse(by, every, {**(aggregates or {}), **named})
        query = self.prepare(expression, since=since, until=until, params=params)
        seconds, rows, report = _seconds(timeout), as_limit(limit), report or _warn
        in_utc = replace(asked, every=engine_bucket(asked.every, tz)) if asked.every else asked

        async def answer() -> Groups:
            node = await self._node()
            grouped = node.summarize(query, in_utc, report)
            checked = together(self._suggest(query, report), self._check_fields(asked))
            return (await both(grouped, checked))[0]

        with self._naming():
            groups = await _within(answer(), seconds)
        return await asyncio.to_thread(to_frame, groups, asked, tz, rows)

    async def top(
        self,
        field: str,
        expression: str = "",
        *,
        n: int = 20,
        by: str = "events",
        **options: Any,
    ) -> pd.DataFrame:
        """Return the most frequent values of a field; null is no value, and ties sort by value.

        Parameters
        ----------
        field
            Named as in an expression.
        expression
            As in `export`.
        n
            The largest number of values; 0 for all.
        by
            What to rank by: ``"events"``, or an aggregate such as ``"sum(orig_bytes)"``.
        options
            ``since``, ``until``, ``params``, ``timeout`` and ``report`` as in `export`.
        """
        column = "count" if field.strip() == by == "events" else by  # a field may be called so
        aggregates = {column: "count()" if by == "events" else by}
        rows = as_limit(n)
        found = await self.summarize(
            expression, by=field, aggregates=aggregates, limit=rows and rows + 1, **options
        )
        kept = found[found[field.strip()].notna()].reset_index(drop=True)
        top = GroupFrame(kept.head(rows) if rows else kept)
        top.attrs = found.attrs
        return top

    async def timeline(
        self,
        expression: str = "",
        *,
        every: str | timedelta | None = None,
        by: str = "#type",
        **options: Any,
    ) -> pd.DataFrame:
        """Return how many events there are in each bucket of time, for each schema.

        Parameters
        ----------
        expression
            As in `export`.
        every
            The length of the buckets; by default, so that there are at most 60.
        by
            A field whose values are counted each on their own, instead of the schemas.
        options
            ``tz`` as in `summarize`; ``since``, ``until``, ``params``, ``timeout`` and
            ``report`` as in `export`.
        """
        if every is not None:
            return await self.summarize(expression, by=by, every=every, **options)
        found, width, next_width = pd.DataFrame(), 0, 86_400 * 10**9
        for _ in range(_WIDTHS_TRIED):
            if next_width == width:
                break
            width = next_width
            span = timedelta(microseconds=width // 1000)
            found = await self.summarize(expression, by=by, every=span, **options)
            next_width = finer(found["time"], width)
        return found

    async def explain(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        report: Report | None = None,
    ) -> Explanation:
        """Say what a query means for each schema, and what would be read for it.

        Parameters
        ----------
        expression, since, until, params, report
            As in `export`.
        """
        query = self.prepare(expression, since=since, until=until, params=params)
        report = report or _warn
        with self._naming():
            await self._suggest(query, report)
            return await (await self._node()).explain(query, report)

    async def status(
        self,
        timeout: float | None = None,
        retry_delay: float = 0.5,
        *,
        detailed: bool = True,
        report: Report | None = None,
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
            Accepted for PyVAST; the answer is always the detailed one.
        report
            As in `export`.
        """
        seconds = _seconds(timeout or None)
        deadline = time.monotonic() + (seconds or 0.0)
        while True:
            left = None if seconds is None else max(0.0, deadline - time.monotonic())
            try:
                with self._naming():
                    return await _within(self._status(report or _warn), left, seconds)
            except NodeConnectionError:
                if time.monotonic() + retry_delay >= deadline:
                    raise
                await asyncio.sleep(retry_delay)
                if time.monotonic() >= deadline:  # a long sleep
                    raise

    async def schemas(self, *, report: Report | None = None) -> dict[str, Schema]:
        """Return what the node holds, by schema name; `report` is that of `export`."""
        with self._naming():
            return await (await self._node()).schemas(report or _warn)

    async def ingest(
        self,
        source: object,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        force: bool = False,
        infer: bool | None = None,
        encoding: str | None = None,
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
            Whether a malformed line, or a value that does not fit its field, is an error.
        force
            Whether files count that were ingested before.
        infer, encoding
            As for the client, whose settings they replace.
        progress
            Called now and then from another thread.

        Returns
        -------
        IngestReport
            What was added, and what could not be read.
        """
        check_encoding(encoding)
        options = self._options.copy()
        if infer is not None:
            options["infer"] = infer
        if encoding is not None:
            options["encoding"] = encoding
        if schema is not None:
            options["schema"] = schema
        if format is not None:
            options["format"] = format
        with self._naming():
            return await (await self._node()).ingest(
                source, strict=strict, force=force, progress=progress, **options
            )

    # --- inside -----------------------------------------------------------------------------

    def _open(self) -> Node | NodeSearch:
        if self._opened is None:
            self._opened = open_node(
                self._endpoint, self._client, options=self._options, verify=self._verify
            )
        return self._opened

    async def _node(self) -> Node:
        opened = self._open()
        return await opened.node() if isinstance(opened, NodeSearch) else opened

    async def _status(self, report: Report) -> dict[str, Any]:
        return await (await self._node()).status(report)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Let an error say that no endpoint was named, where the default one was tried."""
        try:
            yield
        except (NodeConnectionError, ClientNotFoundError) as error:
            if self._source == DEFAULT_SOURCE:
                error.hint = f"no endpoint was named: {_NAME_ONE}"
            raise

    async def _slices(
        self,
        query: Query,
        stream: AsyncGenerator[TableSlice, None] | None,
        timeout: float | None,
        report: Report,
    ) -> AsyncGenerator[TableSlice, None]:
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        closed = asyncio.Event()
        try:
            with self._naming():
                if stream is None:
                    node = await _within(self._node(), left(), timeout)
                    stream = node.export(query, report)
                async with aclosing(stream):
                    if query.mode is not ExportMode.HISTORICAL:  # the first event may never come
                        await _within(self._suggest(query, report), left(), timeout)
                    part = await _within(self._begin(query, stream, report), left(), timeout)
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
        self, query: Query, stream: AsyncGenerator[TableSlice, None], report: Report
    ) -> TableSlice | None:
        """Wait for the first events, and check the names in the expression meanwhile."""
        check = asyncio.ensure_future(self._suggest(query, report))
        try:
            part = await anext(stream, None)
            await check
        finally:
            check.cancel()
            await asyncio.wait([check])
        return part

    async def _check_fields(self, asked: Summary) -> None:
        """Raise `UsageError` where a summary names a field that no schema has."""
        schemas = (await (await self._node()).schemas()).values()
        fields = (*asked.by, *(each.field for each in asked.aggregates))
        for name in fields if schemas else ():
            if name is None or name.extractor == MetaExtractor(Meta.TYPE):
                continue
            if not any(name.leaves(schema, self._taxonomy) for schema in schemas):
                named = Predicate(name.extractor, Operator.NE, Null())
                lines = suggest(named, schemas, self._taxonomy)
                raise UsageError(next(iter(lines), f"no schema has {name.column}"))

    async def _suggest(self, query: Query, report: Report) -> None:
        """Warn of names in an expression that no schema of the node knows."""
        if query.expression in self._checked or not any(predicates(query.expression)):
            return
        schemas = await (await self._node()).schemas(report)
        lines = suggest(query.expression, schemas.values(), query.taxonomy)
        for line in lines:
            report(Notice(line))
        if schemas and not lines:
            if len(self._checked) >= _CHECKED_EXPRESSIONS:
                self._checked.clear()
            self._checked.add(query.expression)


def _warn(item: Step | Notice) -> None:
    if isinstance(item, Notice):
        warnings.warn(item.text, VastlabWarning, stacklevel=2)


def _taxonomy(settings: Settings, more: Taxonomy | str | os.PathLike[str] | None) -> Taxonomy:
    taxonomy = Taxonomy.default()
    folder = settings.user_folder and settings.user_folder / "taxonomy"
    if folder and folder.is_dir():
        taxonomy = taxonomy.merge(load(folder))
    if more is None:
        return taxonomy
    return taxonomy.merge(more if isinstance(more, Taxonomy) else load(Path(more)))


def _read_options(settings: Settings, infer: bool | None, encoding: str | None) -> ReadOptions:
    check_encoding(encoding)
    try:
        check_encoding(settings.encoding)
    except UsageError as error:
        raise ConfigError(f"vastlab.encoding in vast.yaml: {error.message}") from None
    options = ReadOptions()
    if not (settings.infer if infer is None else infer):
        options["infer"] = False
    if encoding := encoding or settings.encoding:
        options["encoding"] = encoding
    if settings.user_folder:
        schemas = load_schemas([settings.user_folder / SCHEMAS])
        if schemas.own:
            options["schemas"] = schemas
    return options


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


def shorten_repr(value: object) -> str:
    """Return the text of a wrong argument, which may be a frame or a number of any length."""
    with contextlib.suppress(Exception):
        return _text.cut(" ".join(repr(value).split()), _LONGEST_REPR)
    return f"a {type(value).__name__}"


def as_mode(mode: ExportMode | str) -> ExportMode:
    """Return the mode of that name."""
    try:
        return ExportMode(mode)
    except ValueError:
        known = ", ".join(repr(known.value) for known in ExportMode)
        raise UsageError(f"unknown mode: {shorten_repr(mode)}", hint=f"one of {known}") from None


def as_limit(limit: int) -> int:
    """Return a limit as a plain number, if it is one."""
    if isinstance(limit, bool) or not hasattr(limit, "__index__"):
        raise UsageError(
            f"limit must be an integer, got {shorten_repr(limit)}", hint="0 for all events"
        )
    number = limit.__index__()
    if not 0 <= number <= _MOST:
        rule = "must not be negative" if number < 0 else f"must be at most {_MOST}"
        raise UsageError(f"limit {rule}, got {shorten_repr(number)}", hint="0 for all events")
    return number


def _seconds(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise UsageError(
            f"timeout must be a number of seconds above 0, got {shorten_repr(timeout)}"
        )
    return timeout


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
                f"{name} must be a point in time, got {shorten_repr(value)}",
                hint='ISO text such as "2009-11-18T08:00", a date or datetime, or a span back '
                'from now such as "2h" or "1d"',
            )


def _time_literal(text: str) -> object:
    """Read a time as the language writes it, or as ISO 8601 does."""
    try:
        expr = parse(f"bound >= {text.strip()}")
    except ExpressionSyntaxError:
        moment = datetime.fromisoformat(text.strip())
        return to_literal(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return expr.literal if isinstance(expr, Predicate) else None
