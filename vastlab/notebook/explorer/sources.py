"""What an explorer asks: a client of an endpoint, or the events of a result in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta, tzinfo
from typing import Protocol

import pandas as pd
import pyarrow as pa

from vastlab import _held
from vastlab._arguments import Moment, as_query
from vastlab.compile.groups import Groups
from vastlab.expression.aggregates import Summary
from vastlab.expression.taxonomy import Taxonomy
from vastlab.group_frames import in_few_buckets
from vastlab.nodes.base import ExportMode, Limit, Query, Report, ignore
from vastlab.nodes.plan import group_export
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
        self._events = _held.Held(tables)
        self.taxonomy = taxonomy

    async def schemas(self) -> dict[str, Schema]:
        """Return the schemas; of one with several layouts, all fields of these."""
        return self._events.schemas()

    async def counts(
        self, expression: str, *, since: Moment, until: Moment, report: Report
    ) -> dict[str, int]:
        """Return how many events match, by schema."""
        return self._counted(self.prepare(expression, since=since, until=until))

    async def timeline(
        self, expression: str, *, since: Moment, until: Moment, tz: tzinfo | None, report: Report
    ) -> pd.DataFrame:
        """Return how many events of each schema there are in each bucket of time."""
        asked = Summary.parse("#type", timedelta(days=1), {})

        async def group(width: int) -> Groups:
            query = self.prepare(expression, since=since, until=until)
            in_buckets = replace(asked, every=width)
            return await group_export(self.run(query), Groups(in_buckets, self.taxonomy))

        return await in_few_buckets(group, asked, tz)

    def export(
        self, expression: str, *, limit: int, since: Moment, until: Moment, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that match."""
        return self.run(self.prepare(expression, limit=limit, since=since, until=until))

    def prepare(
        self,
        expression: str,
        mode: ExportMode = ExportMode.HISTORICAL,
        limit: int = 0,
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
    ) -> Query:
        """Parse an expression, for `run`; what is held is stored, whatever the mode."""
        return as_query(
            expression,
            ExportMode.HISTORICAL,
            limit,
            since=since,
            until=until,
            params=params,
            taxonomy=self.taxonomy,
        )

    async def run(
        self, query: Query, *, report: Report = ignore
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that a query asks for."""
        limit = Limit(query.limit)
        for part in self._events.matching(query):
            yield limit.cut(part)
            if limit.is_reached:
                return

    def _counted(self, query: Query) -> dict[str, int]:
        found: Counter[str] = Counter()
        for part in self._events.matching(query):
            found[part.name] += part.num_rows
        return dict(found)
