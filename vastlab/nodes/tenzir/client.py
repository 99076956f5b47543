"""The `tenzir` program: pipelines in, Arrow streams out."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab._text import cut
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.compile import tql
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import NodeConnectionError, NodeError, NodeTimeoutError
from vastlab.nodes import upload
from vastlab.nodes.base import completed
from vastlab.nodes.process import (
    Child,
    Completed,
    Pump,
    Slots,
    StreamServer,
    clean_environment,
    run,
    start,
)
from vastlab.types import Kind, Leaf, Schema, Type

_ROWS = 8_192
_ROWS_HELD = 65_536


@dataclass(frozen=True, slots=True)
class Aligner:
    """Brings batches without their null fields back into the layouts of the catalog."""

    layouts: Mapping[str, tuple[Schema, ...]]

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> Aligner:
        """Group layouts by name, the smallest first: the least is added to a batch."""
        by_name: dict[str, list[Schema]] = defaultdict(list)
        for layout in sorted(layouts, key=lambda layout: len(layout.leaves)):
            by_name[layout.name].append(layout)
        return cls({name: tuple(alike) for name, alike in by_name.items()})

    def align(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add the fields that are missing, as nulls, and restore the order."""
        plain = convert.normalise(batch)
        own = arrow_schema.from_arrow(plain.schema)
        arrays = convert.flatten(plain).columns
        columns = {
            leaf.path: (leaf.type, array)
            for leaf, array in zip(own.leaves, arrays, strict=True)
            if array.null_count < len(array)
        }
        for layout in self.layouts.get(own.name, ()):
            if layout == own:
                return plain
            if _covers(layout, columns):
                return _widen(plain, columns, layout)
        return plain


_Columns = Mapping[tuple[str, ...], tuple[Type, pa.Array]]


def _covers(layout: Schema, columns: _Columns) -> bool:
    known = {leaf.path: leaf.type for leaf in layout.leaves}
    return all(path in known and _fits(type_, known[path]) for path, (type_, _) in columns.items())


def _fits(arrived: Type, known: Type) -> bool:
    if arrived.kind is Kind.NULL:
        return True
    if arrived.kind is not known.kind:
        return False
    if arrived.item is not None and known.item is not None:
        return _fits(arrived.item, known.item)
    if arrived.kind is Kind.RECORD:  # within a list
        types = {field.name: field.type for field in known.fields}
        return all(
            field.name in types and _fits(field.type, types[field.name]) for field in arrived.fields
        )
    return True


def _widen(batch: pa.RecordBatch, columns: _Columns, layout: Schema) -> pa.RecordBatch:
    target = convert.flat_schema(layout)
    arrays = [
        _column(columns.get(leaf.path), field, leaf, batch.num_rows)
        for leaf, field in zip(layout.leaves, target, strict=True)
    ]
    return convert.nest(arrow_arrays.record_batch(arrays, target, batch.num_rows), layout)


def _column(
    column: tuple[Type, pa.Array] | None, field: pa.Field, leaf: Leaf, num_rows: int
) -> pa.Array:
    if column is None:
        return pa.nulls(num_rows, field.type)
    array = column[1]
    if array.type == field.type:
        return array
    # A list whose elements are all null arrives as a list of nothing.
    return convert.convert(array, pa.field(field.name, array.type), leaf.type)


class Coalescer:
    """Joins batches of one layout: the node sends at most 1,024 rows at a time."""

    def __init__(self, rows: int | None = None) -> None:
        self._enough = min(_ROWS, rows or _ROWS)
        self._held: dict[bytes, list[pa.RecordBatch]] = defaultdict(list)
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take a batch, and return what has become large enough."""
        key = batch.schema.serialize().to_pybytes()
        alike = self._held[key]
        alike.append(batch)
        self._rows += batch.num_rows
        if sum(part.num_rows for part in alike) >= self._enough:
            yield self._join(key)
        elif self._rows >= _ROWS_HELD:
            yield from self.flush()

    def flush(self) -> Iterator[pa.RecordBatch]:
        """Return all batches that are held."""
        for key in tuple(self._held):
            yield self._join(key)

    def _join(self, key: bytes) -> pa.RecordBatch:
        alike = self._held.pop(key)
        self._rows -= sum(part.num_rows for part in alike)
        return pa.concat_batches(alike) if len(alike) > 1 else alike[0]


Pipeline = Callable[[str], str]

CONNECT_SECONDS = 5
IDLE_SECONDS = 2.0
_ANSWER_SECONDS = 60.0
_IDLES_PER_PING = 10
_LATE_ANSWERS = 2
_STALLED_LOOKS = 2
_DIAGNOSTIC = re.compile(r"^error: (.*)$", re.MULTILINE)
_UNREACHABLE = ("failed to connect to node", "failed to get node endpoint")
_AGAIN = "what came before is kept; run the query again"


class TenzirClient:
    """Runs `tenzir` against one node."""

    def __init__(self, endpoint: NodeEndpoint, program: Path, max_clients: int) -> None:
        self._endpoint = endpoint
        self._program = program
        self._slots = Slots(max_clients)

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        try:
            return await self._ping()
        except NodeTimeoutError as error:
            raise NodeConnectionError(
                f"what listens at {self._endpoint} does not answer as a Tenzir node does",
                hint="check the port; a node that is just being started takes a moment",
                stderr=error.stderr,
            ) from error

    async def _ping(self) -> str:
        # Never waits for a slot: it is asked while an export holds one.
        answer = await self._run('api "/ping" | write_ndjson', CONNECT_SECONDS + 0.5)
        return str(json.loads(answer)["version"])

    async def ask(
        self, pipeline: str, timeout: float | None = _ANSWER_SECONDS
    ) -> list[dict[str, Any]]:
        """Run a pipeline when there is a free slot, and return its rows."""
        async with self._slots.take():
            output = await self._run(f"{pipeline} | write_ndjson", timeout)
        return [json.loads(line) for line in output.splitlines()]

    async def _run(self, pipeline: str, timeout: float | None) -> bytes:
        """Run a pipeline at once, and return what it prints."""
        with tempfile.TemporaryDirectory(prefix="vastlab-") as folder:
            argv = (*self._argv(), *_from_file(pipeline, Path(folder)))
            done = await run(argv, clean_environment(), timeout=timeout)
        if done.returncode:
            raise self._error(done)
        return done.stdout

    async def send(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Import batches of one layout."""
        argv = (*self._argv(), "from_stdin { read_feather } | import")
        async with self._slots.take():
            done = await upload.feed(argv, clean_environment(), batches)
        if done.returncode:
            raise self._error(done, "it did not take all events")

    async def stream(
        self, pipeline: Pipeline, rows: int | None = None, urgent: str | None = None
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Run a pipeline when a slot is free, and return the batches that it sends.

        `pipeline` writes its text around the step that sends events; batches of the schema `urgent`
        are passed on at once.
        """
        async with self._slots.take():
            server = StreamServer(urgent)
            try:
                send = f"to_unix_socket {tql.quote(str(server.path))} {{ write_feather }}"
                argv = (*self._argv(), *_from_file(pipeline(send), server.folder))
                child = await start(argv, clean_environment())
                watchdog = _Watchdog(self, child)
                batches = Pump(
                    lambda: _coalesced(server, rows),
                    _closing(child, server),
                    idle=IDLE_SECONDS,
                    on_idle=watchdog.look,
                )
                try:
                    async with aclosing(batches):
                        async for batch in batches:
                            watchdog.heard()
                            yield batch
                except NodeError as error:
                    error.stderr = error.stderr or child.stderr
                    raise
                if child.returncode:
                    raise self._error(Completed(child.returncode, b"", child.stderr))
            finally:
                await completed(server.close)

    def _argv(self) -> tuple[str, ...]:
        return (
            str(self._program),
            "--bare-mode",
            f"--endpoint={self._endpoint}",
            f"--connection-timeout={CONNECT_SECONDS}s",
            "--connection-retry-delay=0s",
            "--color=never",
            "--console-verbosity=quiet",
        )

    def _error(self, done: Completed, outcome: str = "the answer is not complete") -> NodeError:
        found = _DIAGNOSTIC.search(done.stderr)
        if found is None:
            return NodeError(
                f"{self._program.name} {_ending(done.returncode)}: {outcome}",
                hint=_AGAIN,
                stderr=done.stderr,
            )
        if found[1].startswith(_UNREACHABLE):
            return NodeConnectionError(
                f"nothing answers at {self._endpoint}",
                hint='start the node; the endpoint "demo:" and any folder of logs work without one',
                stderr=done.stderr,
            )
        return NodeError(f"the node at {self._endpoint}: {cut(found[1], 500)}", stderr=done.stderr)

    async def is_there(self, *, thoroughly: bool) -> bool | None:
        """Whether its port is open or, `thoroughly`, a query answered; None if it is slow."""
        try:
            if thoroughly:
                await self._ping()
            else:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, writer = await asyncio.open_connection(
                        self._endpoint.host, self._endpoint.port
                    )
                writer.close()
        except (NodeTimeoutError, TimeoutError):
            return None
        except (NodeError, OSError):
            return False
        return True

    def gone(self, stderr: str) -> NodeError:
        """Return the error that says that the node is gone."""
        return NodeError(
            f"the node at {self._endpoint} is gone: the answer is not complete",
            hint="what came before is kept; start the node and run the query again",
            stderr=stderr,
        )


class _Watchdog:
    """Ends a silent export whose node is gone or whose program hangs.

    The program does not notice that its node was killed. Silence alone is not enough, because
    events may be rare; but a program that is alive uses the processor now and then.
    """

    def __init__(self, client: TenzirClient, child: Child) -> None:
        self._client = client
        self._child = child
        self._idles = 0
        self._unanswered = 0
        self._stalled = 0
        self._run_time: int | None = None

    def heard(self) -> None:
        """Note that something came."""
        self._idles = self._unanswered = self._stalled = 0

    async def look(self) -> None:
        """Raise `NodeError` if the node is gone or the program hangs."""
        await self._look_at_node()
        self._look_at_child()

    async def _look_at_node(self) -> None:
        thoroughly = self._idles % _IDLES_PER_PING == 0 or self._unanswered > 0
        self._idles += 1
        answer = await self._client.is_there(thoroughly=thoroughly)
        # A busy node may be late once.
        self._unanswered = 0 if answer else self._unanswered + 1
        if answer is False or self._unanswered >= _LATE_ANSWERS:
            raise self._client.gone(self._child.stderr)

    def _look_at_child(self) -> None:
        before, self._run_time = self._run_time, self._child.run_time()
        is_stalled = before is not None and before == self._run_time
        self._stalled = self._stalled + 1 if is_stalled else 0
        if self._stalled >= _STALLED_LOOKS and self._child.returncode is None:
            raise NodeError(
                f"the program that speaks with the node hangs (process {self._child.pid})",
                hint=_AGAIN,
                stderr=self._child.stderr,
            )


def _from_file(pipeline: str, folder: Path) -> tuple[str, str]:
    # It may be longer than an argument can be, and other users must not see it.
    query = folder / "query.tql"
    query.write_text(pipeline, encoding="utf-8")
    return "-f", str(query)


def _closing(child: Child, server: StreamServer) -> Callable[[], None]:
    """Finish the server when the child ends, and return what ends both."""

    def finish_server() -> None:
        child.wait()
        server.finish()

    def close() -> None:
        server.discard()
        child.end()
        server.close()
        watcher.join()

    watcher = threading.Thread(target=finish_server, name="vastlab-watch", daemon=True)
    watcher.start()
    return close


def _coalesced(server: StreamServer, rows: int | None) -> Iterator[pa.RecordBatch]:
    held = Coalescer(rows)
    for batch in server.batches():
        if batch is None:
            yield from held.flush()
        elif server.is_urgent(batch):
            yield batch
        else:
            yield from held.add(batch)
    yield from held.flush()


def _ending(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by signal {-returncode}"
    return f"ended with status {returncode}"
