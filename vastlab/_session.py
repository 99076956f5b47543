"""The node behind a client: opened at first use, its answers checked, awaited and closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from vastlab._arguments import as_seconds
from vastlab.config import DEFAULT_SOURCE, Settings, resolve_endpoint
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import (
    ClientNotFoundError,
    ConfigError,
    NodeConnectionError,
    NodeTimeoutError,
    UsageError,
    VastlabError,
    VastlabWarning,
)
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Expr, Meta, MetaExtractor, Operator, Predicate
from vastlab.expression.checks import all_of, of_schema
from vastlab.expression.literals import String
from vastlab.expression.rewrite import predicates
from vastlab.expression.suggest import suggest, whole_matches
from vastlab.expression.taxonomy import Taxonomy, load
from vastlab.nodes import open_node
from vastlab.nodes.base import ExportMode, Node, Notice, Query, Report, Step, both, ignore
from vastlab.nodes.node_search import NodeSearch
from vastlab.readers import SCHEMAS, ReadOptions, load_schemas
from vastlab.readers.source import check_encoding
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_NAME_ONE = (
    'name a folder of logs, a database, "demo:" or host:port: connect("folder"), or -e folder'
)
_CLOSE_STEPS = 3
_CLOSE_TIMEOUT = 5.0  # seconds
_CHECKED_EXPRESSIONS = 1000

_T = TypeVar("_T")


class Session:
    """What a client keeps between its calls; the parameters are those of `VAST`."""

    def __init__(
        self,
        endpoint: str | os.PathLike[str] | None,
        *,
        taxonomy: Taxonomy | str | os.PathLike[str] | None,
        client: str | None,
        cluster: Any,
        infer: bool | None,
        encoding: str | None,
        verify: bool | None,
    ) -> None:
        settings = Settings.load()
        self.read_options = _read_options(settings, infer, encoding)
        self.endpoint = resolve_endpoint(endpoint, settings)
        self.source = "the argument" if endpoint is not None else settings.source
        self.taxonomy = _taxonomy(settings, taxonomy)
        self._client = client or settings.client
        self._cluster = cluster
        self._verify = settings.verify if verify is None else verify
        self._opened: Node | NodeSearch | None = None
        self._checked: set[Expr] = set()  # expressions in which nothing is unknown
        self._closing: set[asyncio.Event] = set()

    async def close(self) -> None:
        """End what runs and release threads and files."""
        for _ in range(_CLOSE_STEPS):  # the loop closes generators that a `break` has left
            await asyncio.sleep(0)
        for closed in tuple(self._closing):
            # RuntimeError: it belongs to another loop.
            with contextlib.suppress(TimeoutError, RuntimeError):
                await asyncio.wait_for(closed.wait(), _CLOSE_TIMEOUT)
        opened, self._opened = self._opened, None
        if opened is not None and not isinstance(opened, NodeSearch):
            await opened.aclose()

    async def node(self) -> Node:
        """Return the node; find out first what kind it is, if need be."""
        opened = self._open()
        return await opened.node() if isinstance(opened, NodeSearch) else opened

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Let an error say that no endpoint was named, where the default one was tried."""
        try:
            yield
        except (NodeConnectionError, ClientNotFoundError) as error:
            if self.source == DEFAULT_SOURCE:
                error.hint = f"no endpoint was named: {_NAME_ONE}"
            raise

    def export(
        self, query: Query, timeout: float | None, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that a query asks for."""
        opened = self._open()
        # What this process reads itself is as it is at this moment.
        stream = None if isinstance(opened, NodeSearch) else opened.export(query, report)
        return self._slices(query, stream, timeout, report)

    async def ask(
        self,
        query: Query,
        question: Callable[[Node], Coroutine[Any, Any, _T]],
        timeout: float | None,
        report: Report,
        asked: Summary | None = None,
    ) -> _T:
        """Return what the node answers, and check the names in the query at the same time."""

        async def answer() -> _T:
            node = await self.node()
            return (await both(question(node), self.check(query, report, asked)))[0]

        seconds = as_seconds(timeout)
        with self.naming():
            return await within(answer(), seconds)

    async def left_out(
        self, query: Query, seen: Iterable[str], seconds: float | None
    ) -> dict[str, int] | None:
        """Count what a query finds in other schemas; None where a node would have to be asked."""
        if isinstance(self.endpoint, NodeEndpoint):
            return None
        conditions = (of_schema(name, Operator.NE) for name in seen)
        others = replace(query, expression=all_of((query.expression, *conditions)))

        async def answer() -> dict[str, int]:
            return await (await self.node()).counts(others, ignore)

        try:
            return await within(answer(), seconds)
        except VastlabError:
            return None

    async def status(
        self, timeout: float | None, retry_delay: float, report: Report
    ) -> dict[str, Any]:
        """Return the node's state; a node that does not run yet is asked again until the timeout.

        Without a timeout, or with 0, it is asked once.
        """
        seconds = as_seconds(timeout or None)

        async def answer() -> dict[str, Any]:
            return await (await self.node()).status(report)

        deadline = time.monotonic() + (seconds or 0.0)
        while True:
            left = None if seconds is None else max(0.0, deadline - time.monotonic())
            try:
                with self.naming():
                    return await within(answer(), left, seconds)
            except NodeConnectionError:
                if time.monotonic() + retry_delay >= deadline:
                    raise
                await asyncio.sleep(retry_delay)
                if time.monotonic() >= deadline:  # a long sleep
                    raise

    def options_of(
        self,
        schema: str | None = None,
        format: str | None = None,
        infer: bool | None = None,
        encoding: str | None = None,
    ) -> ReadOptions:
        """Return how to read logs; what is None is as for the client."""
        check_encoding(encoding)
        options = self.read_options.copy()
        if infer is not None:
            options["infer"] = infer
        if encoding is not None:
            options["encoding"] = encoding
        if schema is not None:
            options["schema"] = schema
        if format is not None:
            options["format"] = format
        return options

    async def check(self, query: Query, report: Report, asked: Summary | None = None) -> None:
        """Warn of names in an expression that no schema has.

        Such a name in what is asked of the events that match is a `UsageError`: there is
        nothing to group or to aggregate.
        """
        known = query.expression in self._checked or not any(predicates(query.expression))
        if known and asked is None:
            return
        schemas = (await (await self.node()).schemas(report)).values()
        if not known:
            lines = suggest(query.expression, schemas, query.taxonomy)
            for line in lines:
                report(Notice(line))
            if schemas and not lines:
                if len(self._checked) >= _CHECKED_EXPRESSIONS:
                    self._checked.clear()
                self._checked.add(query.expression)
        if asked is not None and schemas:
            _check_fields(asked, schemas, self.taxonomy)

    def _open(self) -> Node | NodeSearch:
        if self._opened is None:
            self._opened = open_node(
                self.endpoint,
                self._client,
                cluster=self._cluster,
                options=self.read_options,
                verify=self._verify,
            )
        return self._opened

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
            with self.naming():
                if stream is None:
                    node = await within(self.node(), left(), timeout)
                    stream = node.export(query, report)
                async with aclosing(stream):
                    if query.mode is not ExportMode.HISTORICAL:  # the first event may never come
                        await within(self.check(query, report), left(), timeout)
                    part = await within(self._begin(query, stream, report), left(), timeout)
                    while part is not None:
                        try:
                            yield part
                        except GeneratorExit:
                            self._closing.add(closed)
                            raise
                        part = await within(anext(stream, None), left(), timeout)
        finally:
            self._closing.discard(closed)
            closed.set()

    async def _begin(
        self, query: Query, stream: AsyncGenerator[TableSlice, None], report: Report
    ) -> TableSlice | None:
        """Wait for the first events, and check the names in the expression meanwhile."""
        check = asyncio.ensure_future(self.check(query, report))
        try:
            part = await anext(stream, None)
            await check
            if part is None:
                hint(query, report)
        finally:
            check.cancel()
            await asyncio.wait([check])
        return part


def hint(query: Query, report: Report) -> None:
    """Say what may be wrong with a query that found nothing."""
    for line in whole_matches(query.expression):
        report(Notice(line))


def warn(item: Step | Notice) -> None:
    """Issue a notice as a Python warning, where a call was given no `report`."""
    if isinstance(item, Notice):
        warnings.warn(item.text, VastlabWarning, stacklevel=2)


async def within(answer: Awaitable[_T], seconds: float | None, allowed: float | None = None) -> _T:
    """Await an answer for some seconds, of all that were allowed for the call."""
    if seconds is None:
        return await answer
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        span = seconds if allowed is None else allowed
        raise NodeTimeoutError(
            f"no complete answer within {span:g} s", hint="allow more, or narrow the query"
        ) from None


def _check_fields(asked: Summary, schemas: Iterable[Schema], taxonomy: Taxonomy) -> None:
    for name in (*asked.by, *(each.field for each in asked.aggregates)):
        if name is None or name.extractor == MetaExtractor(Meta.TYPE):
            continue
        field = replace(name, of_values=False)
        if not any(field.leaves(schema, taxonomy) for schema in schemas):
            named = Predicate(name.extractor, Operator.EQ, String(""))
            lines = suggest(named, schemas, taxonomy)
            raise UsageError(next(iter(lines), f"no schema has {name.column}"))


def _taxonomy(settings: Settings, more: Taxonomy | str | os.PathLike[str] | None) -> Taxonomy:
    taxonomy = Taxonomy.default()
    folder = settings.user_folder and settings.user_folder / "taxonomy"
    if folder and folder.is_dir():
        taxonomy = taxonomy.merge(load(folder))
    if more is None:
        return taxonomy
    return taxonomy.merge(more if isinstance(more, Taxonomy) else load(more))


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
