"""A Tenzir node, from version 6 on, through the program `tenzir`: one process per query.

The node answers in Arrow, one stream for each shape of events, over a private unix socket.
Its catalog names the layouts of what is stored, so it is asked first. Events that only the
node's memory holds as yet, which is so for half a minute, are answered like all others; where
their layout is new, they are filtered here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.arrow import convert
from vastlab.arrow.schema import name_of
from vastlab.endpoints import NodeEndpoint
from vastlab.errors import NodeError
from vastlab.expression.ast import Constant
from vastlab.nodes import upload
from vastlab.nodes.base import (
    Explanation,
    ExportMode,
    LayoutPlan,
    Query,
    Report,
    ignore,
    limited,
    together,
)
from vastlab.nodes.plan import LocalFilter
from vastlab.nodes.tenzir import conditions
from vastlab.nodes.tenzir.catalog import QUESTION, Catalog, InlineCatalog
from vastlab.nodes.tenzir.client import Aligner, Pipeline, TenzirClient
from vastlab.nodes.tenzir.conditions import EmptyLists, TypeProbes, Unlisted, put_back
from vastlab.store.ingest import IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

MAX_CLIENTS = 4
_FEW = 8_192  # events for which probes cost more than they save
_LONGEST_KNOWN = 30.0  # seconds; with an older catalog, more events count as recent
_MOST_HELD = 262_144  # events that wait for the catalog

_Slices = AsyncGenerator[TableSlice, None]


class _OtherCatalogError(Exception):
    """The catalog is another one than was thought; which one it is, if that is known."""

    def __init__(self, catalog: Catalog | None) -> None:
        super().__init__()
        self.catalog = catalog


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

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; a live export begins when it is iterated over."""
        return limited(self._events(query), query.limit)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none.

        What is stored is counted from the metadata of partitions where all of it answers,
        and else by a scan, which happens in the client's process.
        """
        catalog = await self._catalog()
        whole, unlisted = catalog.whole(query), Unlisted.of(catalog)
        counts = Counter({name: catalog.stored[name].events for name in whole})
        if query.expression == Constant(True) and query.since is query.until is None:
            scans = [self._scan([f"where {unlisted.recent}"])]
        else:
            rest = (layout for layout in catalog.layouts if layout.name not in whole)
            scan = conditions.any_of([
                *(conditions.later(name, catalog.stored[name]) for name in sorted(whole)),
                conditions.where(query, rest),
            ])  # fmt: skip
            scans = [self._count_unlisted(query, unlisted)]
            if scan is not None:
                scans.append(self._scan(unlisted.without(scan)))
        for found in await together(*scans):
            counts.update(found)
        return {name: number for name, number in sorted(counts.items()) if number}

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

    async def _events(self, query: Query) -> _Slices:
        if query.mode is not ExportMode.HISTORICAL:
            stream = self._live_events(query, await self._catalog())
        elif self._known is None or self._known.age > _LONGEST_KNOWN:
            stream = self._stored_events(query, await self._catalog())
        else:
            stream = self._events_of_known_catalog(query, self._known)
        async with aclosing(stream) as parts:
            async for part in parts:
                yield part

    async def _events_of_known_catalog(self, query: Query, known: Catalog) -> _Slices:
        """Begin with the known catalog; the present one comes with the events."""
        catalog = None
        try:
            async with aclosing(self._stored_events(query, known, InlineCatalog.make())) as parts:
                async for part in parts:
                    yield part
        except _OtherCatalogError as error:  # nothing was returned as yet
            catalog = error.catalog or await self._catalog()
        if catalog is not None:
            async with aclosing(self._stored_events(query, catalog)) as parts:
                async for part in parts:
                    yield part

    async def _stored_events(
        self, query: Query, catalog: Catalog, inline: InlineCatalog | None = None
    ) -> _Slices:
        """Return what is stored, and what is only in the node's memory as yet."""
        known, unlisted = conditions.where(query, catalog.layouts), Unlisted.of(catalog)
        probes = None
        if 0 < query.limit < _FEW:
            # A program that stops by itself leaves the processor to us; what is filtered here
            # would not count.
            passes = [unlisted.alone()]
            if known is not None:
                passes.insert(0, [*unlisted.without(known), f"head {query.limit}"])
        else:
            passes = [unlisted.beside(known)]
            probes = TypeProbes.of(
                layout
                for layout in catalog.layouts
                if conditions.where(query, (layout,)) is not None
            )
        for steps in passes:
            stream = self._selected(
                query, catalog, unlisted, ["export", *steps], probes=probes, inline=inline
            )
            async with aclosing(stream) as parts:
                async for part in parts:
                    yield part
            inline = None

    async def _live_events(self, query: Query, catalog: Catalog) -> _Slices:
        retro = ", retro=true" if query.mode is ExportMode.UNIFIED else ""
        unlisted = Unlisted.of(catalog)
        steps = unlisted.beside(conditions.where(query, catalog.layouts))
        steps.insert(0, f"export live=true{retro}")
        lists = EmptyLists.of(catalog.layouts)
        stream = self._selected(query, catalog, unlisted, steps, lists=lists)
        async with aclosing(stream) as parts:
            async for part in parts:
                yield part
        raise self._client.gone("")  # a live export has no end of its own

    async def _selected(
        self,
        query: Query,
        catalog: Catalog,
        unlisted: Unlisted,
        steps: list[str],
        *,
        probes: TypeProbes | None = None,
        lists: EmptyLists | None = None,
        inline: InlineCatalog | None = None,
    ) -> _Slices:
        """Run the steps, bring the events back into their layouts, and filter what is unlisted."""
        if lists is not None:
            steps += lists.steps(unlisted.mark)
        if inline is not None:
            steps.append(inline.step())

        def pipeline(send: str) -> str:
            shapes = _shapes(send) if probes is None else probes.steps(catalog, send)
            return " | ".join([*steps, *shapes])

        if inline is None:
            stream = self._client.stream(pipeline, query.limit or None)
        else:
            stream = self._confirmed(query, pipeline, catalog, inline)
        aligner, local = Aligner.of(catalog.layouts), LocalFilter(query)
        async with aclosing(stream) as batches:
            async for batch in batches:
                events = batch if probes is None else probes.remove(batch)
                if events is None:
                    continue
                events, lengths = (events, {}) if lists is None else lists.take(events)
                name = unlisted.name(name_of(events.schema))
                if name is None:
                    yield TableSlice(put_back(aligner.align(events), lengths))
                elif kept := local.keep(TableSlice(convert.normalise(events, name))):
                    yield kept

    async def _confirmed(
        self, query: Query, pipeline: Pipeline, known: Catalog, inline: InlineCatalog
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Run a pipeline; hold events back until it is sure that the known catalog is right."""
        held: list[pa.RecordBatch] | None = []
        stream = self._client.stream(pipeline, query.limit or None, inline.name)
        async with aclosing(stream) as batches:
            try:
                async for batch in batches:
                    if held is None:
                        yield batch
                    elif name_of(batch.schema) == inline.name:
                        self._known = inline.read(batch)
                        if self._known.layouts != known.layouts:
                            raise _OtherCatalogError(self._known)
                        for first in held:
                            yield first
                        held = None
                    else:
                        held.append(batch)
                        if sum(part.num_rows for part in held) > _MOST_HELD:
                            raise _OtherCatalogError(None)
            except NodeError:
                for first in held or ():  # the node cannot be asked again, and these events match
                    yield first
                raise
        if held is not None:
            raise _OtherCatalogError(None)

    # --- questions to the node --------------------------------------------------------------

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
        stream = self._selected(query, Catalog(), unlisted, ["export", *unlisted.alone()])
        async with aclosing(stream) as parts:
            async for part in parts:
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


def _shapes(send: str) -> list[str]:
    """Send events of each shape in a stream of their own, which never has to wait for a type."""
    return ["drop_null_fields", f"group {conditions.SHAPE} {{ {send} }}"]


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
