"""Orders and limits that a node does not know: its events are put in order on this side."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from vastlab.expression.ast import Constant, Expr, Operator
from vastlab.expression.checks import all_of, of_schema
from vastlab.nodes.base import Limit, Query, completed
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.newest import BLOCK, Newest
from vastlab.nodes.plan import bind
from vastlab.store.database import Database
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_WRITTEN_AT_ONCE = 64 << 20  # bytes

Events = Callable[[Query], AsyncGenerator[TableSlice, None]]


async def newest_of(events: Events, query: Query) -> AsyncGenerator[TableSlice, None]:
    """Read everything that matches, and return the newest events first.

    Up to `BLOCK` events of each schema are kept in memory; where more are wanted, all events are
    written to a database in a temporary folder first.
    """
    everything = replace(query, limit=0, newest=False, per_schema=False)
    if not 0 < query.limit <= BLOCK:
        async with aclosing(_written(events(everything), query)) as parts:
            async for part in parts:
                yield part
        return
    kept: dict[str, Newest] = defaultdict(lambda: Newest(query.limit))
    async with aclosing(events(everything)) as parts:
        async for part in parts:
            kept[part.name].add(part)
    limit = Limit(query.total)
    for name in sorted(kept):
        for part in kept[name].slices():
            yield limit.cut(part)
            if limit.is_reached:
                return


async def _written(
    events: AsyncGenerator[TableSlice, None], query: Query
) -> AsyncGenerator[TableSlice, None]:
    with tempfile.TemporaryDirectory(prefix="vastlab-") as folder:
        path = Path(folder) / "events.db"
        database = Database.create(path)
        held: list[pa.RecordBatch] = []
        size = 0
        async with aclosing(events) as parts:
            async for part in parts:
                held.append(part.to_pyarrow())
                size += held[-1].nbytes
                if size > _WRITTEN_AT_ONCE:
                    await completed(partial(database.add, held))
                    held, size = [], 0
        await completed(partial(database.add, held))
        node = EmbeddedNode(path, verify=False)
        whole = replace(query, expression=Constant(True), since=None, until=None)
        try:
            async with aclosing(node.export(whole)) as ordered:
                async for part in ordered:
                    yield part
        finally:
            await node.aclose()


async def of_each_schema(
    events: Events, query: Query, layouts: Callable[[], Awaitable[Iterable[Schema]]]
) -> AsyncGenerator[TableSlice, None]:
    """Ask a node for the events of one schema after the other, with the limit for each.

    Schemas that the node did not name come last: there may be some by then.
    """
    known = list(await layouts())
    names = sorted({layout.name for layout in known if bind(query, layout) is not None})
    questions: list[tuple[Expr, ...]] = [(of_schema(name),) for name in names]
    others = sorted({layout.name for layout in known})
    for conditions in (*questions, tuple(of_schema(name, Operator.NE) for name in others)):
        asked = replace(
            query,
            expression=all_of((query.expression, *conditions)),
            limit=query.limit if conditions in questions else 0,
            per_schema=False,
        )
        limits: dict[str, Limit] = defaultdict(lambda: Limit(query.limit))
        async with aclosing(events(asked)) as parts:
            async for part in parts:
                limit = limits[part.name]
                if not limit.is_reached:
                    yield limit.cut(part)
