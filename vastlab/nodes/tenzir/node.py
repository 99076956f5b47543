"""A Tenzir node, from version 6 on, through the program `tenzir`: one process per query.

The node answers in Arrow, one stream for each shape of events, over a private unix socket.
Its catalog names the layouts of what is stored, so it is asked first. Events that are
only in the node's memory, for up to half a minute, are part of the answer; those of a new layout
are filtered here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from vastlab.compile.groups import Groups
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import FormatError, NodeError
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Constant
from vastlab.nodes import upload
from vastlab.nodes.base import (
    Explanation,
    LayoutPlan,
    Limit,
    NoTimes,
    Query,
    Report,
    ignore,
    together,
)
from vastlab.nodes.ordering import newest_of, of_each_schema
from vastlab.nodes.plan import group_export
from vastlab.nodes.tenzir import conditions
from vastlab.nodes.tenzir.catalog import QUESTION, Catalog
from vastlab.nodes.tenzir.client import TenzirClient
from vastlab.nodes.tenzir.conditions import Unlisted
from vastlab.nodes.tenzir.groups import Branches
from vastlab.nodes.tenzir.passes import (
    Confirmation,
    OtherCatalogError,
    Pass,
    grouping_pass,
    live_pass,
    stored_passes,
)
from vastlab.store.ingest import IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

MAX_CLIENTS = 4
_LONGEST_KNOWN = 30.0  # seconds; with an older catalog, more events count as recent


class TenzirNode(NoTimes):
    """A Tenzir node that listens on a port; at most `max_clients` processes run at once."""

    def __init__(
        self, endpoint: NodeEndpoint, program: Path, *, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._client = TenzirClient(endpoint, program, max_clients)
        self._known: Catalog | None = None

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; a live export begins when it is iterated over.

        For the newest first, everything that matches is read. A limit for each schema is a
        pipeline for each.
        """
        if query.newest:
            return newest_of(self._events, query)
        if query.per_schema:
            return of_each_schema(self._events, query, self._layouts)
        return self._events(query)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none.

        What is stored is counted from the metadata of partitions where all of it answers,
        and else by a scan, which happens in the client's process.
        """
        catalog = await self._catalog()
        whole, unlisted = catalog.whole(query), Unlisted.of(catalog)
        counts = Counter({name: catalog.stored[name].events for name in whole})
        if query.expression == Constant(True) and not query.is_bounded:
            scans = [self._scan([f"where {unlisted.recent}"])]
        else:
            rest = (layout for layout in catalog.layouts if layout.name not in whole)
            scan = conditions.any_of([
                *(conditions.later(name, catalog.stored[name]) for name in sorted(whole)),
                conditions.where(query, rest),
            ])  # fmt: skip
            scans = [self._count_unlisted(query, unlisted)]
            if scan is not None:
                scans.append(self._scan(unlisted.select_listed(scan)))
        for found in await together(*scans):
            counts.update(found)
        return {name: number for name, number in sorted(counts.items()) if number}

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Let the node group what it can; the events of all else are grouped here as they come."""
        query = replace(query, limit=0)
        groups = Groups(summary, query.taxonomy)
        with contextlib.suppress(FormatError):
            return await group_export(self._grouped(query, summary, groups), groups)
        return await group_export(self._events(query), Groups(summary, query.taxonomy))

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        return (await self._catalog()).schemas()

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say which partitions would be read."""
        catalog = await self._catalog()
        stored = await self._partitions("")
        plans = [await self._plan(query, layout, stored) for layout in catalog.layouts]
        return Explanation(str(query.expression), tuple(plans))

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        version, memory, partitions = await together(
            self._client.ask('api "/ping"'),
            self._client.ask('metrics "process" | tail 1'),
            self._partitions(""),
        )
        return _status(version, memory, partitions)

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files: they are read here, and sent to the node as Arrow."""
        try:
            return await upload.upload(sources, self._client.send, **options)
        finally:
            self._known = None

    async def aclose(self) -> None:
        """End nothing: every process ends with the call that it was started for."""

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        return await self._client.ping()

    # --- the export -------------------------------------------------------------------------

    async def _events(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        limit = Limit(query.limit)
        passes = await self._first_passes(query)
        while passes:
            current = passes.popleft()
            stream = self._client.stream(current.pipeline, query.limit or None, current.urgent)
            try:
                async with aclosing(stream) as batches:
                    async for batch in batches:
                        for part in current.take(batch):
                            yield limit.cut(part)
                            if limit.is_reached:
                                return
                current.end()
            except OtherCatalogError as error:  # nothing was returned yet
                passes = stored_passes(query, error.catalog or await self._catalog())
            except NodeError:
                # The node cannot be asked again, and the events that are held back match.
                for part in current.held():
                    yield limit.cut(part)
                    if limit.is_reached:
                        return
                raise
        if query.is_live:
            raise self._client.gone("")  # a live export has no end of its own

    async def _first_passes(self, query: Query) -> deque[Pass]:
        if query.is_live:
            return deque([live_pass(query, await self._catalog())])
        catalog, confirmation = await self._catalog_to_begin_with()
        return stored_passes(query, catalog, confirmation)

    async def _catalog_to_begin_with(self) -> tuple[Catalog, Confirmation | None]:
        """Return the known catalog, of which the present one comes with the events, or that."""
        known = self._known
        if known is None or known.age > _LONGEST_KNOWN:
            return await self._catalog(), None
        return known, Confirmation(known, self._learn)

    async def _grouped(
        self, query: Query, summary: Summary, groups: Groups
    ) -> AsyncGenerator[TableSlice, None]:
        """Add what the node has grouped, and return the events that it has not."""
        catalog, confirmation = await self._catalog_to_begin_with()
        while (branches := Branches.of(query, summary, catalog)) is not None:
            asked = grouping_pass(query, catalog, branches, confirmation)
            stream = self._client.stream(asked.pipeline, urgent=asked.urgent)
            try:
                async with aclosing(stream) as batches:
                    async for batch in batches:
                        for part in asked.take(batch):
                            yield part
                        while asked.groups:
                            await asyncio.to_thread(branches.add, asked.groups.popleft(), groups)
                asked.end()
                return
            except OtherCatalogError as error:  # nothing was taken yet
                catalog, confirmation = error.catalog or await self._catalog(), None
        async with aclosing(self._events(query)) as parts:
            async for part in parts:
                yield part

    def _learn(self, catalog: Catalog) -> None:
        self._known = catalog

    # --- questions to the node --------------------------------------------------------------

    async def _layouts(self) -> tuple[Schema, ...]:
        return (await self._catalog()).layouts

    async def _catalog(self) -> Catalog:
        self._known = Catalog.parse(await self._client.ask(QUESTION))
        return self._known

    async def _scan(self, steps: list[str]) -> Counter[str]:
        """Count events where they arrive; it is a stream, since such are watched over."""

        def pipeline(send: str) -> str:
            count = ("this = {name: @name}", "summarize name, events=count()")
            return " | ".join(["export", *steps, *count, send])

        counts: Counter[str] = Counter()
        async with aclosing(self._client.stream(pipeline)) as batches:
            async for batch in batches:
                for row in batch.to_pylist():
                    counts[row["name"]] += row["events"]
        return counts

    async def _count_unlisted(self, query: Query, unlisted: Unlisted) -> Counter[str]:
        """Count the events of layouts that the catalog does not list."""
        counts: Counter[str] = Counter()
        unknown = Pass(query, Catalog(), unlisted, ["export", *unlisted.select_unlisted()])
        async with aclosing(self._client.stream(unknown.pipeline)) as batches:
            async for batch in batches:
                for part in unknown.take(batch):
                    counts[part.name] += part.num_rows
        return counts

    async def stores(self) -> frozenset[str]:
        """Return the URLs of the files that hold what the node has written."""
        rows = await self._partitions("")
        return frozenset(row["store"]["url"] for row in rows if row.get("store"))

    async def _partitions(self, condition: str) -> list[dict[str, Any]]:
        return await self._client.ask(f"partitions {condition} | where not internal")

    async def _plan(self, query: Query, layout: Schema, stored: list[dict[str, Any]]) -> LayoutPlan:
        mine = [row for row in stored if row["schema"] == layout.name]
        condition = conditions.where(query, (layout,))
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
        "peak-memory-usage": _peak(usage),
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


def _peak(usage: dict[str, Any]) -> int | None:
    """Return bytes: Tenzir 6.20 passes on what Linux counts in KiB, unlike the present use."""
    present: int | None = usage.get("current_memory_usage")
    peak: int | None = usage.get("peak_memory_usage")
    if present is None or peak is None or peak >= present:
        return peak
    return peak * 1024
