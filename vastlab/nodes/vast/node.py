"""A VAST node, up to version 3, through the program `vast`: one process per query.

`vast` prints Arrow streams one after the other, the last one without an end mark. Only its exit
status tells a complete answer from the end of a node, and not even that when a node was stopped
in an orderly way: then a question decides whether somebody is still there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.arrow import convert
from vastlab.arrow.ipc import read_streams
from vastlab.compile import vast as compiler
from vastlab.config import NodeEndpoint
from vastlab.errors import (
    ClientNotFoundError,
    FormatError,
    NodeConnectionError,
    NodeError,
    NodeTimeoutError,
)
from vastlab.expression.ast import (
    And,
    Constant,
    Expr,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Or,
    Predicate,
)
from vastlab.expression.literals import String, Time
from vastlab.expression.operators import Operator
from vastlab.nodes import _upload
from vastlab.nodes._limit import limited
from vastlab.nodes._local import LocalFilter
from vastlab.nodes._plan import bind
from vastlab.nodes._process import Child, Completed, Slots, clean_environment, pump, run
from vastlab.nodes._together import together
from vastlab.nodes.base import Explanation, ExportMode, LayoutPlan, Query
from vastlab.nodes.vast.layouts import parse_layouts
from vastlab.store.ingest import IngestReport
from vastlab.store.layout import union
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

CONNECT_SECONDS = 5
IDLE_SECONDS = 3.0
COUNT_SECONDS = 5.0
MAX_CLIENTS = 4
_ANSWER_SECONDS = 60.0
_LONGEST_ARGUMENT = 100_000  # Linux allows 131,071 bytes
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
_ERROR = re.compile(r"^!! ([a-z_]+(?:::[a-z_]+)*)(?:: (.*))?$", re.MULTILINE)
_USAGE = re.compile(r"^error: (.*)$", re.MULTILINE)
_UNREACHABLE = "failed to connect to VAST node"
_LOST = ("caf::exit_reason::remote_link_unreachable", "remote_node_down")
_VERSION = re.compile(rb'"VAST": *"v?([0-9]+)\.([0-9]+)')
_OLDEST, _PIPELINES_SINCE, _TOO_NEW = (2, 0), (3, 1), (4, 0)


class VastNode:
    """A node that listens on a port.

    Parameters
    ----------
    endpoint
        Where it listens.
    program
        The program `vast`.
    max_clients
        How many processes may run at once; more wait.
    """

    def __init__(
        self, endpoint: NodeEndpoint, program: Path, *, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._endpoint = endpoint
        self._program = program
        self._slots = Slots(max_clients)
        self._version: tuple[int, ...] | None = None

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; a live export begins when it is iterated over."""
        return limited(self._events(query), query.limit)

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        schemas = await self._schemas()
        names = sorted({layout.name for layout in schemas if bind(query, layout) is not None})
        numbers = await together(*(self._count(query, name, schemas) for name in names))
        return {name: number for name, number in zip(names, numbers, strict=True) if number}

    async def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        by_name: dict[str, list[Schema]] = {}
        for layout in await self._schemas():
            by_name.setdefault(layout.name, []).append(layout)
        return {name: union(by_name[name]) for name in sorted(by_name)}

    async def status(self) -> dict[str, Any]:
        """Return what ``vast status --detailed`` says."""
        return self._object(await self._output("status", "--detailed"))

    async def explain(self, query: Query) -> Explanation:
        """Say what the query means for each schema; the node does not tell what it would read."""
        schemas = await self._schemas()
        held = (await self.status()).get("catalog", {}).get("schemas", {})
        plans = []
        for layout in schemas:
            bound, entry = bind(query, layout), held.get(layout.name, {})
            files = entry.get("num-partitions", 0)
            events = entry.get("num-events", 0)
            read = 0 if bound is None else files
            text = None if bound is None else str(bound)
            plans.append(LayoutPlan(layout.name, text, read, files, read, files, events))
        return Explanation(compiler.text(query.expression, schemas), tuple(plans))

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files: they are read here, and sent to the node as Arrow."""
        return await _upload.upload(sources, self._send, **options)

    async def aclose(self) -> None:
        """End nothing: every process ends with the call that it was started for."""

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        await self._client_version()
        # Never waits for a slot: it is asked while an export holds one.
        status = self._object(await self._call(("status",), CONNECT_SECONDS + 0.5))
        return str(status.get("version", {}).get("VAST", "unknown"))

    # --- the export -------------------------------------------------------------------------

    async def _events(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        attempts = 0
        while True:
            found = 0
            async with aclosing(self._attempt(query)) as parts:
                async for part in parts:
                    found += part.num_rows
                    yield part
            if query.limit and found >= query.limit:
                return
            # The program of a node that was stopped ends as if the answer was complete.
            await self._must_answer("")
            if query.mode is ExportMode.HISTORICAL:
                return
            # A live export never ends by itself while its node lives, but for one that begins
            # with history where nothing stored is a candidate. It has returned nothing, so that
            # it can be asked again until there is: what arrived meanwhile is history then.
            if found or query.mode is ExportMode.CONTINUOUS:
                raise self._gone("")
            await asyncio.sleep(_RETRY_SECONDS[min(attempts, len(_RETRY_SECONDS) - 1)])
            attempts += 1

    async def _attempt(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        schemas = await self._schemas()
        if query.mode is ExportMode.HISTORICAL:
            text = compiler.text(_with_bounds(query, schemas), schemas)
            async with aclosing(self._export(text, query)) as parts:
                async for part in parts:
                    yield part
            return
        # Bounds are written for schemas, and more of these may come: they are applied here.
        known = {layout.name for layout in schemas}
        bounded = not query.since is query.until is None
        within, whole = LocalFilter(replace(query, expression=Constant(True))), LocalFilter(query)
        asked = replace(query, limit=0) if bounded else query
        text = compiler.text(query.expression, schemas)
        async with aclosing(self._export(text, asked)) as parts:
            async for part in parts:
                kept = (within if part.name in known else whole).keep(part)
                if kept is not None:
                    yield kept

    async def _export(self, text: str, query: Query) -> AsyncGenerator[TableSlice, None]:
        async with self._slots.take():
            child = await self._start(text, query)
            stream = pump(
                lambda: _slices(child),
                child.end,
                idle=IDLE_SECONDS,
                on_idle=lambda: self._must_answer(child.stderr),
            )
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part
            if child.returncode:
                raise self._error(Completed(child.returncode, b"", child.stderr))

    async def _start(self, text: str, query: Query) -> Child:
        mode = {ExportMode.CONTINUOUS: ("--continuous",), ExportMode.UNIFIED: ("--unified",)}
        limit = (f"--max-events={query.limit}",) if query.limit else ()
        if text and await self._client_version() >= _PIPELINES_SINCE:
            text = f"where {text}"
        argv = (*self._argv(), "export", *mode.get(query.mode, ()), *limit, "arrow")
        if not _is_long(text):
            return Child((*argv, text) if text else argv, clean_environment())
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            return Child(argv, clean_environment(), stdin=file.fileno())

    async def _must_answer(self, stderr: str) -> None:
        """Give an export up whose node is gone: its program might wait for ever."""
        try:
            await self.ping()
        except NodeError as error:
            raise self._gone(stderr or error.stderr) from error

    def _gone(self, stderr: str) -> NodeError:
        return NodeError(
            f"the node at {self._endpoint} is gone; the export is not complete",
            hint="what came before is kept; start the node and run the query again",
            stderr=stderr,
        )

    # --- counting ---------------------------------------------------------------------------

    async def _count(self, query: Query, name: str, schemas: tuple[Schema, ...]) -> int:
        own = tuple(layout for layout in schemas if layout.name == name)
        expr = _all((_is_type(name), _with_bounds(query, own)))
        text = compiler.text(expr, own)
        if not _is_long(text):
            try:
                answer = await self._output("count", text, seconds=COUNT_SECONDS)
                return int(answer)
            except ValueError as error:
                raise NodeError(f"{self._program.name} prints no number: {answer!r}") from error
            except NodeTimeoutError:
                # Counting waits for ever where the node finds no partition to look at.
                await self._must_answer("")
        number = 0
        async with aclosing(self._export(text, Query(expr))) as parts:
            async for part in parts:
                number += part.num_rows
        await self._must_answer("")
        return number

    # --- questions to the node --------------------------------------------------------------

    async def _schemas(self) -> tuple[Schema, ...]:
        return parse_layouts(await self._output("show", "schemas") or b"[]")

    async def _client_version(self) -> tuple[int, ...]:
        if self._version is None:
            done = await run((str(self._program), "version"), clean_environment(), timeout=5)
            found = _VERSION.search(done.stdout)
            version = (0,) if found is None else tuple(int(part) for part in found.groups())
            if done.returncode or not _OLDEST <= version < _TOO_NEW:
                says = ".".join(map(str, version)) if found else "not which version it is"
                raise ClientNotFoundError(
                    f"{self._program} cannot be used: it says {says}",
                    hint="vastlab speaks with VAST through `vast` 2 or 3, with Tenzir through "
                    "`tenzir` from 6 on",
                    stderr=done.stderr,
                )
            self._version = version
        return self._version

    async def _output(self, *words: str, seconds: float = _ANSWER_SECONDS) -> bytes:
        async with self._slots.take():
            return await self._call(words, seconds)

    async def _call(self, words: tuple[str, ...], seconds: float) -> bytes:
        done = await run((*self._argv(), *words), clean_environment(), timeout=seconds)
        if done.returncode:
            raise self._error(done)
        return done.stdout

    async def _send(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Import batches of one layout."""
        argv = (*self._argv(), "import", "--blocking", "arrow")
        async with self._slots.take():
            done = await _upload.feed(argv, clean_environment(), batches)
        if done.returncode:
            raise self._error(done)

    def _argv(self) -> tuple[str, ...]:
        return (
            str(self._program),
            f"--endpoint={self._endpoint}",
            f"--connection-timeout={CONNECT_SECONDS}s",
            "--connection-retry-delay=0s",
            "--console-verbosity=quiet",
        )

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise NodeError(f"{self._program.name} prints no status: {answer[:80]!r}")
        return parsed

    def _error(self, done: Completed) -> NodeError:
        found = _ERROR.findall(done.stderr)
        if not found:
            ending = f"signal {-done.returncode}" if done.returncode < 0 else str(done.returncode)
            usage = _USAGE.search(done.stderr)
            said = f": {usage[1]}" if usage else ""
            return NodeError(
                f"{self._program.name} ended with {ending}, the answer is not complete{said}",
                stderr=done.stderr,
            )
        code, message = found[-1]
        if code in _LOST:
            return self._gone(done.stderr)
        if message.startswith(_UNREACHABLE):
            return NodeConnectionError(
                f"nothing answers at {self._endpoint}",
                hint='start the node; the endpoint "demo:" and any folder of logs work without one',
                stderr=done.stderr,
            )
        told = f"{message} [{code}]" if message else code
        return NodeError(f"the node at {self._endpoint}: {told}", stderr=done.stderr)


def _is_long(text: str) -> bool:
    """Whether a text is too long for an argument: it is read from standard input then."""
    return len(text.encode()) > _LONGEST_ARGUMENT


def _slices(child: Child) -> Iterator[TableSlice]:
    """Read what a child prints to its end, and wait for that of the child."""
    try:
        for batch in read_streams(child.stdout):
            yield TableSlice(convert.normalise(batch))
    except FormatError as error:
        # Where the child failed, its own words say more than the place of the cut.
        with contextlib.suppress(OSError, ValueError):
            child.stdout.read()
        if not child.wait():
            raise NodeError(
                f"the node's answer was cut short: {error}", stderr=child.stderr
            ) from error
    child.wait()


def _with_bounds(query: Query, schemas: tuple[Schema, ...]) -> Expr:
    """Write the bounds of the event time into the expression, for each schema its own field."""
    if query.since is query.until is None:
        return query.expression
    arms = []
    for schema in schemas:
        leaf = schema.event_time
        subject = (
            MetaExtractor(Meta.IMPORT_TIME)
            if leaf is None
            else FieldExtractor(f"{schema.name}.{leaf.name}")
        )
        since = () if query.since is None else (Predicate(subject, Operator.GE, Time(query.since)),)
        until = () if query.until is None else (Predicate(subject, Operator.LT, Time(query.until)),)
        arms.append(_all((_is_type(schema.name), *since, *until)))
    bounds = Or(tuple(arms)) if len(arms) > 1 else next(iter(arms), Constant(False))
    return _all((query.expression, bounds))


def _is_type(name: str) -> Predicate:
    return Predicate(MetaExtractor(Meta.TYPE), Operator.EQ, String(name))


def _all(operands: tuple[Expr, ...]) -> Expr:
    kept = tuple(operand for operand in operands if operand != Constant(True))
    return And(kept) if len(kept) > 1 else kept[0]
