"""A Tenzir node, from version 6 on, through the program `tenzir`: one process per query.

The node answers in Arrow, one stream for each shape of events, over a private unix socket.
Its catalog names the layouts of what is stored, so it is asked first. Events that only the
node's memory holds as yet, which is so for half a minute, are answered like all others; where
their schema is new, they are filtered here.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from vastlab.arrow import convert
from vastlab.config import NodeEndpoint
from vastlab.expression.ast import Constant
from vastlab.nodes import _tenzir_catalog as catalogs
from vastlab.nodes import _upload
from vastlab.nodes._limit import limited
from vastlab.nodes._local import LocalFilter
from vastlab.nodes._tenzir_align import Aligner
from vastlab.nodes._tenzir_carriers import Carriers
from vastlab.nodes._tenzir_catalog import Catalog
from vastlab.nodes._tenzir_client import TenzirClient
from vastlab.nodes._tenzir_lists import EmptyLists, put_back
from vastlab.nodes.base import Explanation, ExportMode, LayoutPlan, Query
from vastlab.store.ingest import IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

MAX_CLIENTS = 4
_FEW = 8_192  # events for which carriers cost more than they save

_Slices = AsyncGenerator[TableSlice, None]


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
        self._client = TenzirClient(endpoint, program, max_clients)
        self._known: Catalog | None = None
        self._question: asyncio.Task[Catalog] | None = None
        self._waiting = 0

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; a live export begins when it is iterated over."""
        return limited(self._events(query), query.limit)

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none.

        What is stored is counted from the metadata of partitions where all of it answers,
        and else by a scan, which happens in the client's process.
        """
        catalog = await self._catalog()
        whole = catalog.whole(query)
        counts = Counter({name: catalog.stored[name].events for name in whole})
        rest = (layout for layout in catalog.layouts if layout.name not in whole)
        scan = catalogs.any_of([
            *(catalogs.later(name, catalog.stored[name]) for name in sorted(whole)),
            catalogs.where(query, rest),
        ])  # fmt: skip
        for found in await asyncio.gather(self._scan(scan), self._count_new(query, catalog)):
            counts.update(found)
        return {name: number for name, number in sorted(counts.items()) if number}

    async def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        return (await self._catalog()).schemas()

    async def explain(self, query: Query) -> Explanation:
        """Say which partitions would be read."""
        catalog = await self._catalog()
        stored = await self._partitions("")
        plans = [await self._plan(query, layout, stored) for layout in catalog.layouts]
        return Explanation(str(query.expression), tuple(plans))

    async def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        version, memory, partitions = await asyncio.gather(
            self._client.ask('api "/ping"'),
            self._client.ask('metrics "process" | tail 1'),
            self._partitions(""),
        )
        return _status(version, memory, partitions)

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files: they are read here, and sent to the node as Arrow."""
        try:
            return await _upload.upload(sources, self._client.send, **options)
        finally:
            self._known = None

    async def aclose(self) -> None:
        """End nothing but a question that nobody waits for: an export ends with its iterator."""
        question, self._question = self._question, None
        if question is not None and question.get_loop() is asyncio.get_running_loop():
            question.cancel()
            await asyncio.wait([question])

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        return await self._client.ping()

    # --- the export -------------------------------------------------------------------------

    async def _events(self, query: Query) -> _Slices:
        if query.mode is ExportMode.HISTORICAL:
            stream = self._hasty_events(query)
        else:
            stream = self._live_events(query)
        async with aclosing(stream) as parts:
            async for part in parts:
                yield part

    async def _hasty_events(self, query: Query) -> _Slices:
        """Begin with what the catalog said last time, while it is asked again.

        Nothing is returned before the answer is there, and nothing if it is another one.
        """
        known = self._known
        question = await self._ask_catalog()
        if known is not None:
            async with aclosing(self._stored_events(query, known)) as parts:
                first = asyncio.ensure_future(anext(parts, None))
                try:
                    catalog = await self._answer(question)
                    is_same = catalog.layouts == known.layouts
                    part = await first if is_same else None
                finally:
                    await _give_up(first)
                while part is not None:
                    yield part
                    part = await anext(parts, None)
                if is_same:
                    return
        async with aclosing(self._stored_events(query, await self._answer(question))) as parts:
            async for part in parts:
                yield part

    async def _stored_events(self, query: Query, catalog: Catalog) -> _Slices:
        """Return what is stored, and what is only in the node's memory as yet."""
        known = catalogs.where(query, catalog.layouts)
        new = catalogs.unknown(catalog.names)
        if 0 < query.limit < _FEW:
            # A program that stops by itself leaves the processor to us; what is filtered here
            # would not count.
            passes = [] if known is None else [[f"where {known}", f"head {query.limit}"]]
            passes.append([f"where {new}"])
            carriers = None
        else:
            passes = [[f"where {catalogs.any_of([known, new])}"]]
            carriers = Carriers.of(
                layout for layout in catalog.layouts if catalogs.where(query, (layout,)) is not None
            )
        for steps in passes:
            stream = self._selected(query, catalog, ["export", *steps], carriers)
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part

    async def _live_events(self, query: Query) -> _Slices:
        retro = ", retro=true" if query.mode is ExportMode.UNIFIED else ""
        catalog = await self._catalog()
        condition = catalogs.any_of([
            catalogs.where(query, catalog.layouts), catalogs.unknown(catalog.names)
        ])  # fmt: skip
        steps = [f"export live=true{retro}", f"where {condition}"]
        lists = EmptyLists.of(catalog.layouts)
        async with aclosing(self._selected(query, catalog, steps, None, lists)) as parts:
            async for part in parts:
                yield part
        raise self._client.gone("")  # a live export has no end of its own

    async def _selected(
        self,
        query: Query,
        catalog: Catalog,
        steps: list[str],
        carriers: Carriers | None,
        lists: EmptyLists | None = None,
    ) -> _Slices:
        """Run the steps, and return the events that a query asks for.

        No condition can be written for schemas that the catalog does not name: all of their
        events are asked for, and filtered here.
        """
        names = catalog.names

        def pipeline(send: str) -> str:
            shapes = _shapes(send) if carriers is None else carriers.steps(catalog, send)
            hidden = () if lists is None else lists.steps()
            return " | ".join([*steps, *hidden, *shapes])

        aligner, local = Aligner.of(catalog.layouts), LocalFilter(query)
        async with aclosing(self._client.stream(pipeline, query.limit or None)) as batches:
            async for batch in batches:
                events = batch if carriers is None else carriers.remove(batch)
                if events is None:
                    continue
                events, lengths = (events, {}) if lists is None else lists.take(events)
                part = TableSlice(put_back(aligner.align(events), lengths))
                kept = part if part.name in names else local.keep(part)
                if kept is not None:
                    yield kept

    # --- questions to the node --------------------------------------------------------------

    async def _catalog(self) -> Catalog:
        return await self._answer(await self._ask_catalog())

    async def _answer(self, question: asyncio.Task[Catalog]) -> Catalog:
        """Wait for an answer together with others; the last one who leaves ends the question."""
        self._waiting += 1
        try:
            return await asyncio.shield(question)
        except asyncio.CancelledError:
            if self._waiting == 1:
                await _give_up(question)
            raise
        finally:
            self._waiting -= 1

    async def _ask_catalog(self) -> asyncio.Task[Catalog]:
        """Begin to ask, or return the question that is being asked.

        It has its slot when this returns. An export that then takes another one and waits for
        the answer cannot hold up the question.
        """
        running = self._question
        if running is not None and running.get_loop() is asyncio.get_running_loop():
            return running
        slot = self._client.slots.take()
        await slot.acquire()
        question = asyncio.ensure_future(self._ask_in(slot))
        self._question = question
        return question

    async def _ask_in(self, slot: asyncio.Semaphore) -> Catalog:
        try:
            self._known = Catalog.parse(await self._client.rows(catalogs.QUESTION))
            return self._known
        finally:
            slot.release()
            self._question = None

    async def _scan(self, condition: str | None) -> dict[str, int]:
        if condition is None:
            return {}
        rows = await self._client.ask(
            f"export | where {condition} | this = {{name: @name}} | summarize name, events=count()",
            timeout=None,
        )
        return {row["name"]: row["events"] for row in rows}

    async def _count_new(self, query: Query, catalog: Catalog) -> Counter[str]:
        """Count the events of schemas that the catalog does not name."""
        condition = catalogs.unknown(catalog.names)
        if query.expression == Constant(True) and query.since is query.until is None:
            return Counter(await self._scan(condition))
        counts: Counter[str] = Counter()
        local = LocalFilter(query)

        def pipeline(send: str) -> str:
            return " | ".join(["export", f"where {condition}", *_shapes(send)])

        async with aclosing(self._client.stream(pipeline)) as batches:
            async for batch in batches:
                kept = local.keep(TableSlice(convert.normalise(batch)))
                if kept is not None:
                    counts[kept.name] += kept.num_rows
        return counts

    async def stores(self) -> frozenset[str]:
        """Return the URLs of the files that hold what the node has written."""
        rows = await self._partitions("")
        return frozenset(row["store"]["url"] for row in rows if row.get("store"))

    async def _partitions(self, condition: str) -> list[dict[str, Any]]:
        return await self._client.ask(f"partitions {condition} | where not internal")

    async def _plan(self, query: Query, layout: Schema, stored: list[dict[str, Any]]) -> LayoutPlan:
        mine = [row for row in stored if row["schema"] == layout.name]
        condition = catalogs.where(query, (layout,))
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


def _shapes(send: str) -> list[str]:
    """Send events of each shape in a stream of their own, which never has to wait for a type."""
    return ["drop_null_fields", f"group {catalogs.SHAPE} {{ {send} }}"]


async def _give_up(task: asyncio.Future[Any]) -> None:
    """End a task whose answer nobody wants, and see to its exception."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


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
