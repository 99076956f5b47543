"""SQL over the events of a node: the engine asks for them in a thread, the node sends them here."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from vastlab.compile.sql import Scan, Statement
from vastlab.errors import VastlabError
from vastlab.expression.ast import And, Expr
from vastlab.expression.checks import of_schema
from vastlab.expression.rewrite import normalise
from vastlab.nodes.base import Node, Query, Report, Step
from vastlab.table_slice import TableSlice
from vastlab.types import Paths, Schema

_T = TypeVar("_T")
_TICK = 0.1  # seconds


async def answer(
    node: Node, query: Query, text: str, params: Mapping[str, object], report: Report
) -> pa.Table:
    """Run a statement over the events that match a query.

    Only the schemas are read that the statement names; a database reads only its columns.
    """
    schemas = await node.schemas(report)
    scans = _Scans(node, query, report)
    running = Running(schemas, scans.batches, text, params)
    try:
        running.start()
        return await asyncio.wrap_future(running.done)
    finally:
        running.stop()
        await scans.close()


class Running:
    """A statement in a thread of its own, since those of a loop may be needed to send the events.

    Python does not wait for the thread at exit: the engine may be far from the next events, where
    a statement is stopped.

    Parameters
    ----------
    schemas, scan
        As `Statement` takes them.
    text, params
        As `Statement.run` takes them.
    """

    def __init__(
        self, schemas: Mapping[str, Schema], scan: Scan, text: str, params: Mapping[str, object]
    ) -> None:
        self.done: Future[pa.Table] = Future()
        """Has the answer; to cancel it does not stop the statement."""
        self._statement = Statement(schemas, scan)
        work = partial(self._work, text, params)
        self._thread = threading.Thread(target=work, name="vastlab-sql", daemon=True)

    def start(self) -> None:
        """Start the thread; `stop` must follow, whatever happens."""
        self._thread.start()

    def result(self) -> pa.Table:
        """Wait for the answer; Ctrl-C is heard."""
        # A signal just before a wait without end would be heard after it only.
        while not self.done.done():
            wait([self.done], _TICK)
        return self.done.result()

    def stop(self) -> None:
        """Let the statement end when it asks for the next events."""
        self._statement.stop()

    def _work(self, text: str, params: Mapping[str, object]) -> None:
        # InvalidStateError: the answer is not awaited any more.
        with contextlib.suppress(InvalidStateError):
            try:
                table = self._statement.run(text, params)
            except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
                self.done.set_exception(error)
            else:
                self.done.set_result(table)


class _Scans:
    """The exports behind the tables of one statement."""

    def __init__(self, node: Node, query: Query, report: Report) -> None:
        self._node = node
        self._query = query
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._streams: list[AsyncGenerator[TableSlice, None]] = []
        self._waiting: set[Future[Any]] = set()
        self._steps: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._events = 0

    def batches(self, name: str, fields: Paths) -> Iterator[pa.RecordBatch]:
        """Read the events of one schema; called from the engine's thread."""
        query = replace(self._query, expression=_of(name, self._query.expression), fields=fields)
        stream = self._wait(self._open(query))
        while (part := self._wait(self._next(stream))) is not None:
            self._events += part.num_rows
            self._report(Step("reading events", self._events))
            yield part.to_pyarrow()

    async def close(self) -> None:
        """End all exports, so that the engine ends, too."""
        self._closed = True
        for future in tuple(self._waiting):
            future.cancel()
        # A caller that is cancelled once more must not leave an export open.
        await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        steps = tuple(self._steps)
        for step in steps:
            step.cancel()
        if steps:  # a stream cannot be closed while it runs
            await asyncio.wait(steps)
        for stream in self._streams:
            with contextlib.suppress(VastlabError):
                await stream.aclose()

    async def _open(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        stream = self._node.export(query, self._report)
        self._streams.append(stream)
        return stream

    async def _next(self, stream: AsyncGenerator[TableSlice, None]) -> TableSlice | None:
        step: asyncio.Task[TableSlice | None] = asyncio.ensure_future(_anext(stream))
        self._steps.add(step)
        try:
            return await step
        finally:
            if step.done():
                self._steps.discard(step)

    def _wait(self, question: Coroutine[Any, Any, _T]) -> _T:
        if self._closed:
            question.close()
            raise VastlabError("the statement was stopped")
        future = asyncio.run_coroutine_threadsafe(question, self._loop)
        self._waiting.add(future)
        try:
            return future.result()
        except CancelledError:
            raise VastlabError("the statement was stopped") from None
        finally:
            self._waiting.discard(future)


async def _anext(stream: AsyncGenerator[TableSlice, None]) -> TableSlice | None:
    return await anext(stream, None)


def _of(name: str, expression: Expr) -> Expr:
    return normalise(And((of_schema(name), expression)))
