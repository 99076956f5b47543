"""A Tenzir node, from version 6 on, through the program `tenzir`: one process per query.

The node answers in Arrow, one stream for each shape of events, over a private unix socket.
Fields without a value are dropped on the way, since the node's writer holds events back as
long as it has seen nothing but nulls in a field; the catalog's layouts bring them back.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.compile import tql
from vastlab.config import NodeEndpoint
from vastlab.errors import NodeConnectionError, NodeError
from vastlab.expression.ast import Constant
from vastlab.nodes import _tenzir_catalog as catalog
from vastlab.nodes import _upload
from vastlab.nodes._limit import limited
from vastlab.nodes._local import LocalFilter
from vastlab.nodes._process import Child, Completed, Slots, clean_environment, finish, pump, run
from vastlab.nodes._streams import StreamServer
from vastlab.nodes.base import Explanation, ExportMode, LayoutPlan, Query
from vastlab.store.ingest import IngestReport
from vastlab.store.layout import union
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

CONNECT_SECONDS = 5
IDLE_SECONDS = 3.0
MAX_CLIENTS = 4
_ANSWER_SECONDS = 60.0
_FRESH_NANOSECONDS = 3600 * 10**9
_DIAGNOSTIC = re.compile(r"^error: (.*)$", re.MULTILINE)
_UNREACHABLE = ("failed to connect to node", "failed to get node endpoint")


class TenzirNode:
    """A node that listens on a port.

    Parameters
    ----------
    endpoint
        Where it listens.
    program
        The program that reaches it: ``tenzir`` or the engine of the package of that name.
    max_clients
        How many processes may run at once; more wait.
    """

    def __init__(
        self, endpoint: NodeEndpoint, program: Path, *, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._endpoint = endpoint
        self._program = program
        self._slots = Slots(max_clients)

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; a live export begins when it is iterated over."""
        return limited(self._events(query), query.limit)

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none.

        Everything is counted from the metadata of partitions, and by a scan only where that
        is not exact: what arrived after the last partition was written.
        """
        if query.expression == Constant(True) and query.since is query.until is None:
            return await self._total_counts()
        layouts = await self._layouts()
        counts = await self._scan_counts(catalog.where(query, layouts))
        async with aclosing(self._fresh_events(query, layouts)) as parts:
            async for part in parts:
                counts[part.name] = counts.get(part.name, 0) + part.num_rows
        return dict(sorted(counts.items()))

    async def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        by_name: dict[str, list[Schema]] = {}
        for layout in await self._layouts():
            by_name.setdefault(layout.name, []).append(layout)
        return {name: union(by_name[name]) for name in sorted(by_name)}

    async def explain(self, query: Query) -> Explanation:
        """Say which partitions would be read."""
        layouts = await self._layouts()
        stored = await self._partitions("")
        plans = [await self._plan(query, layout, stored) for layout in layouts]
        return Explanation(str(query.expression), tuple(plans))

    async def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        version, memory, partitions = await asyncio.gather(
            self._ask('api "/ping"'), self._ask('metrics "process" | tail 1'), self._partitions("")
        )
        return _status(version, memory, partitions)

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files: they are read here, and sent to the node as Arrow."""
        return await _upload.upload(sources, self._send, **options)

    async def aclose(self) -> None:
        """End nothing: every process ends with the call that it was started for."""

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        # Never waits for a slot: it is asked while an export holds one.
        answer = await self._call('api "/ping" | write_ndjson', CONNECT_SECONDS + 1)
        return str(json.loads(answer)["version"])

    # --- the export -------------------------------------------------------------------------

    async def _events(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        layouts = await self._layouts()
        if query.mode is ExportMode.HISTORICAL:
            condition = catalog.where(query, layouts)
            streams = [self._fresh_events(query, layouts)]
            if condition is not None:
                streams.insert(0, self._aligned(["export"], condition, layouts))
        else:
            streams = [self._live_events(query, layouts)]
        for stream in streams:
            async with aclosing(stream):
                async for part in stream:
                    yield part

    async def _fresh_events(
        self, query: Query, layouts: tuple[Schema, ...]
    ) -> AsyncGenerator[TableSlice, None]:
        """Return events of schemas whose first partition is not written yet.

        The catalog does not list them, so no condition can be written for them; the node is
        asked for all of them, and they are filtered here.
        """
        recent = catalog.since_import(time.time_ns() - _FRESH_NANOSECONDS)
        condition = f"{catalog.unknown(layouts)} and {recent}"
        async with aclosing(self._aligned(["export"], condition, ())) as parts:
            local = LocalFilter(query)
            async for part in parts:
                if (kept := local.keep(part)) is not None:
                    yield kept

    async def _live_events(
        self, query: Query, layouts: tuple[Schema, ...]
    ) -> AsyncGenerator[TableSlice, None]:
        retro = ", retro=true" if query.mode is ExportMode.UNIFIED else ""
        known = catalog.where(query, layouts)
        parts_of = [
            condition for condition in (known, f"({catalog.unknown(layouts)})") if condition
        ]
        names = {layout.name for layout in layouts}
        stream = self._aligned([f"export live=true{retro}"], " or ".join(parts_of), layouts)
        async with aclosing(stream) as parts:
            local = LocalFilter(query)
            async for part in parts:
                kept = part if part.name in names else local.keep(part)
                if kept is not None:
                    yield kept

    async def _aligned(
        self, source: list[str], condition: str, layouts: tuple[Schema, ...]
    ) -> AsyncGenerator[TableSlice, None]:
        aligner = catalog.Aligner.of(layouts)
        async with aclosing(self._batches([*source, f"where {condition}"])) as batches:
            async for batch in batches:
                yield TableSlice(aligner.align(batch))

    async def _batches(self, steps: list[str]) -> AsyncGenerator[pa.RecordBatch, None]:
        """Run a pipeline and return what it sends to the socket."""
        async with self._slots.take():
            server = StreamServer()
            try:
                async with aclosing(self._served(steps, server)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                await finish(server.close)

    async def _served(
        self, steps: list[str], server: StreamServer
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        send = f"to_unix_socket {tql.quote(str(server.path))} {{ write_feather }}"
        pipeline = " | ".join([*steps, "drop_null_fields", f"group type_id(this) {{ {send} }}"])
        # In a file, since it may be longer than an argument can be, and is nobody's business.
        query = server.folder / "query.tql"
        query.write_text(pipeline, encoding="utf-8")
        child = Child((*self._argv(), "-f", str(query)), clean_environment())

        def watch() -> None:
            child.wait()
            server.finish()

        def close() -> None:
            child.end()
            server.close()
            watcher.join()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        stream = pump(
            lambda: _coalesced(server),
            close,
            idle=IDLE_SECONDS,
            on_idle=lambda: self._must_answer(child),
        )
        async with aclosing(stream) as batches:
            async for batch in batches:
                yield batch
        if child.returncode:
            raise self._error(Completed(child.returncode, b"", child.stderr))

    async def _must_answer(self, child: Child) -> None:
        """Give an export up whose node is gone: its program would wait for ever."""
        try:
            await self.ping()
        except NodeError as error:
            raise NodeError(
                f"the node at {self._endpoint} is gone; the export is not complete",
                hint="what came before is kept; start the node and run the query again",
                stderr=child.stderr or error.stderr,
            ) from error

    # --- questions to the node --------------------------------------------------------------

    async def _layouts(self) -> tuple[Schema, ...]:
        return catalog.parse_schemas(await self._output("schemas | write_ndjson"))

    async def _partitions(self, condition: str) -> list[dict[str, Any]]:
        return await self._ask(f"partitions {condition} | where not internal")

    async def _scan_counts(self, condition: str | None) -> dict[str, int]:
        if condition is None:
            return {}
        rows = await self._ask(
            f"export | where {condition} | this = {{name: @name}} | summarize name, events=count()",
            timeout=None,
        )
        return {row["name"]: row["events"] for row in rows}

    async def _total_counts(self) -> dict[str, int]:
        rows = await self._ask(
            "partitions | where not internal"
            " | summarize schema, events=sum(events), last=max(max_import_time)"
        )
        counts = {row["schema"]: row["events"] for row in rows}
        later = [
            f"(@name == {tql.quote(row['schema'])} and @import_time > {_time(row['last'])})"
            for row in rows
        ]
        layouts = tuple(Schema(name, ()) for name in counts)
        recent = catalog.since_import(time.time_ns() - _FRESH_NANOSECONDS)
        fresh = await self._scan_counts(
            " or ".join([*later, f"({catalog.unknown(layouts)} and {recent})"])
        )
        names = sorted(counts.keys() | fresh.keys())
        return {name: counts.get(name, 0) + fresh.get(name, 0) for name in names}

    async def _plan(self, query: Query, layout: Schema, stored: list[dict[str, Any]]) -> LayoutPlan:
        mine = [row for row in stored if row["schema"] == layout.name]
        condition = catalog.where(query, (layout,))
        read = []
        if condition is not None:
            survivors = await self._partitions(condition)
            read = [row for row in survivors if row["schema"] == layout.name]
        return LayoutPlan(
            schema=layout.name,
            bound=condition,
            files=len(read),
            all_files=len(mine),
            row_groups=len(read),
            all_row_groups=len(mine),
            events=sum(row["events"] for row in read),
        )

    async def _ask(
        self, pipeline: str, timeout: float | None = _ANSWER_SECONDS
    ) -> list[dict[str, Any]]:
        output = await self._output(f"{pipeline} | write_ndjson", timeout=timeout)
        return [json.loads(line) for line in output.splitlines()]

    async def _output(self, pipeline: str, timeout: float | None = _ANSWER_SECONDS) -> bytes:
        async with self._slots.take():
            return await self._call(pipeline, timeout)

    async def _call(self, pipeline: str, timeout: float | None) -> bytes:
        done = await run((*self._argv(), pipeline), clean_environment(), timeout=timeout)
        if done.returncode:
            raise self._error(done)
        return done.stdout

    async def _send(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Import batches of one layout."""
        argv = (*self._argv(), "from_stdin { read_feather } | import")
        async with self._slots.take():
            done = await _upload.feed(argv, clean_environment(), batches)
        if done.returncode:
            raise self._error(done)

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

    def _error(self, done: Completed) -> NodeError:
        found = _DIAGNOSTIC.search(done.stderr)
        if found is None:
            ending = f"signal {-done.returncode}" if done.returncode < 0 else str(done.returncode)
            return NodeError(
                f"{self._program.name} ended with {ending}, the answer is not complete",
                stderr=done.stderr,
            )
        if found[1].startswith(_UNREACHABLE):
            return NodeConnectionError(
                f"nothing answers at {self._endpoint}",
                hint='start the node; connect("demo:") and connect("folder") work without one',
                stderr=done.stderr,
            )
        return NodeError(f"the node at {self._endpoint}: {found[1]}", stderr=done.stderr)


def _coalesced(server: StreamServer) -> Iterator[pa.RecordBatch]:
    held = catalog.Coalescer()
    for batch in server.batches():
        yield from held.flush() if batch is None else held.add(batch)
    yield from held.flush()


def _time(text: str) -> str:
    """Write a time of the node's own JSON as a literal, after a look at what it is."""
    if not re.fullmatch(r"[0-9T:.-]+Z", text):
        raise NodeError(f"the node names no time: {text!r}")
    return text


def _status(
    version: list[dict[str, Any]], memory: list[dict[str, Any]], partitions: list[dict[str, Any]]
) -> dict[str, Any]:
    usage = memory[0] if memory else {}
    schemas: dict[str, dict[str, Any]] = {}
    for row in partitions:
        entry = schemas.setdefault(row["schema"], {"num-events": 0, "num-partitions": 0})
        entry["num-events"] += row["events"]
        entry["num-partitions"] += 1
    stores = [row["store"]["url"] for row in partitions if row.get("store")]
    system = {
        "current-memory-usage": usage.get("current_memory_usage"),
        "peak-memory-usage": usage.get("peak_memory_usage"),
        "swap-space-usage": usage.get("swap_space_usage"),
    }
    if stores:
        system["database-path"] = os.path.dirname(
            os.path.dirname(stores[0].removeprefix("file://"))
        )
    return {
        "version": {"Tenzir": version[0]["version"]},
        "system": system,
        "catalog": {
            "num-events": sum(row["events"] for row in partitions),
            "num-partitions": len(partitions),
            "schemas": dict(sorted(schemas.items())),
        },
    }
