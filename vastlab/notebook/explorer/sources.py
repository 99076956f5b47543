"""What an explorer asks: a client of an endpoint, or the events of a result in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta, tzinfo
from typing import Protocol

import pandas as pd
import pyarrow as pa

from vastlab._arguments import Moment, as_instant
from vastlab.arrow import schema as arrow_schema
from vastlab.expression import parse_query
from vastlab.expression.aggregates import Summary
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy
from vastlab.group_frames import in_few_buckets, to_frame
from vastlab.nodes.base import ExportMode, Limit, Query, Report
from vastlab.nodes.plan import LocalFilter, group_export
from vastlab.store.layout import union
from vastlab.table_slice import TableSlice
from vastlab.types import Schema


class Source(Protocol):
    """What an explorer asks; a `vastlab.VAST` is one."""

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts that expressions may name."""
        ...

    async def schemas(self) -> dict[str, Schema]:
        """Return what there is."""
        ...

    async def counts(
        self, expression: str, *, since: Moment, until: Moment, report: Report
    ) -> dict[str, int]:
        """Return how many events match, by schema."""
        ...

    async def timeline(
        self, expression: str, *, since: Moment, until: Moment, tz: tzinfo | None, report: Report
    ) -> pd.DataFrame:
        """Return how many events of each schema there are in each bucket of time."""
        ...

    def export(
        self, expression: str, *, limit: int, since: Moment, until: Moment, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that match."""
        ...


class Held:
    """The events of a result.

    Parameters
    ----------
    tables
        By schema name, a table for each layout.
    taxonomy
        The concepts that expressions may name.
    """

    def __init__(self, tables: Mapping[str, Sequence[pa.Table]], taxonomy: Taxonomy) -> None:
        self._tables = tables
        self.taxonomy = taxonomy

    async def schemas(self) -> dict[str, Schema]:
        """Return the schemas; of one with several layouts, all fields of these."""
        return {
            name: union(arrow_schema.from_arrow(part.schema, name) for part in parts)
            for name, parts in self._tables.items()
        }

    async def counts(
        self, expression: str, *, since: Moment, until: Moment, report: Report
    ) -> dict[str, int]:
        """Return how many events match, by schema."""
        found: Counter[str] = Counter()
        async for part in self._matching(self._query(expression, 0, since, until)):
            found[part.name] += part.num_rows
        return dict(found)

    async def timeline(
        self, expression: str, *, since: Moment, until: Moment, tz: tzinfo | None, report: Report
    ) -> pd.DataFrame:
        """Return how many events of each schema there are in each bucket of time."""

        async def ask(every: timedelta) -> pd.DataFrame:
            asked = Summary.parse("#type", every, {})
            query = self._query(expression, 0, since, until)
            groups = await group_export(self._matching(query), query, asked)
            return to_frame(groups, asked, tz, 0)

        return await in_few_buckets(ask)

    def export(
        self, expression: str, *, limit: int, since: Moment, until: Moment, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that match."""
        return self._matching(self._query(expression, limit, since, until))

    def _query(self, expression: str, limit: int, since: Moment, until: Moment) -> Query:
        now = time.time_ns()
        bounds = as_instant("since", since, now), as_instant("until", until, now)
        expr = at(parse_query(expression), now)
        return Query(expr, ExportMode.HISTORICAL, limit, *bounds, self.taxonomy)

    async def _matching(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        local, limit = LocalFilter(query), Limit(query.limit)
        for name in sorted(self._tables):
            for table in self._tables[name]:
                for batch in table.to_batches():
                    kept = local.keep(TableSlice(arrow_schema.named(batch, name, name)))
                    if kept is not None and not limit.is_reached:
                        yield limit.cut(kept)
