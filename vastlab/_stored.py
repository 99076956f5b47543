"""The events of a result that are in a database: read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from vastlab import _loop
from vastlab._held import Events
from vastlab._lazy import pd
from vastlab.client import VAST
from vastlab.display.preview import Summary
from vastlab.errors import DatabaseError
from vastlab.expression.ast import echo
from vastlab.expression.checks import of_schema
from vastlab.nodes.base import Query, ignore
from vastlab.nodes.writing import place_of
from vastlab.store.database import Database, is_database
from vastlab.store.snapshot import Snapshot
from vastlab.store.writer import order_column
from vastlab.table_slice import TableSlice, tables_of
from vastlab.types import Schema

if TYPE_CHECKING:
    import dask.dataframe as dd


class Stored(Events):
    """The tables of a database, each of which is read anew whenever it is asked for.

    Parameters
    ----------
    to
        The database.
    counts
        How many events it had, by schema, when it was complete.
    """

    def __init__(self, to: str | os.PathLike[str], counts: Mapping[str, int]) -> None:
        place = place_of(to)
        self.place = str(place)  # absolute: it is read wherever this process is by then
        self.is_local = place.is_local
        self.counts = dict(counts)

    def __getitem__(self, name: str) -> list[pa.Table]:
        number = self.counts[name]
        found = self._read(name, 0)
        self._check(name, number, sum(part.num_rows for part in found))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __contains__(self, name: object) -> bool:
        return name in self.counts

    @property
    def num_rows(self) -> int:
        """The number of events."""
        return sum(self.counts.values())

    def first(self, name: str, rows: int, *, newest: bool = False) -> list[pa.Table]:
        """Read the first events of a schema, or the newest ones, latest first."""
        return self._read(name, max(rows, 1), "newest" if newest else "oldest")

    def snapshot(self) -> Snapshot:
        """Return the state of the database, where nothing was added to it."""
        place = place_of(self.place)
        if not is_database(place):
            raise DatabaseError(
                f"the events of this result were in {self.place}, which is gone",
                hint="run the query again",
            )
        snapshot = Database.open(place).snapshot()
        for name in {**self.counts, **snapshot.counts}:
            self._check(name, self.counts.get(name, 0), snapshot.counts.get(name, 0))
        return snapshot

    def schemas(self) -> dict[str, Schema]:
        """Return the schemas; of one with several layouts, all fields of these."""
        return self.snapshot().schemas()

    def summaries(self) -> list[Summary]:
        """Return the size and the time bounds of each schema, as the manifest knows them."""
        snapshot = self.snapshot()
        return [self._summary(name, snapshot) for name in self.counts]

    def matching(self, query: Query) -> list[TableSlice]:
        """Return the events that match the expression and the bounds of a query."""

        async def read() -> list[TableSlice]:
            async with VAST(self.place) as vast:
                return [part async for part in vast.run(query, report=ignore)]

        self.snapshot()
        return _loop.background().run(read())

    def dask(self, frames: Mapping[str, pd.DataFrame]) -> dict[str, dd.DataFrame]:
        """Return a Dask DataFrame for each schema, in parts of the files."""
        from vastlab import _dask  # here: it is for few results

        return _dask.stored_frames(self)

    def _answer(self, statement: str, params: Mapping[str, object]) -> pd.DataFrame:
        async def answer() -> pd.DataFrame:
            async with VAST(self.place) as vast:
                return await vast.sql(statement, params=params)

        self.snapshot()
        return _loop.background().run(answer())

    def _read(self, name: str, rows: int, order: str = "oldest") -> list[pa.Table]:
        async def read() -> list[TableSlice]:
            async with VAST(self.place) as vast:
                expression = echo(of_schema(name))
                return [part async for part in vast.export(expression, limit=rows, order=order)]

        self.snapshot()
        parts = _loop.background().run(read())
        return tables_of(part.to_pyarrow() for part in parts).get(name, [])

    def _summary(self, name: str, snapshot: Snapshot) -> Summary:
        leaves, times = set[str](), list[int]()
        for layout in snapshot.layouts.values():
            if layout.schema.name == name:
                leaves |= {leaf.column for leaf in layout.schema.leaves}
        for file in snapshot.files:
            schema = snapshot.layouts[file.fingerprint].schema
            if file.schema_name == name and schema.event_time is not None:
                known = file.ranges[order_column(schema)]
                times += [b for b in (known.minimum, known.maximum) if isinstance(b, int)]
        bounds = (min(times), max(times)) if times else (None, None)
        return Summary(name, self.counts[name], len(leaves), *bounds)

    def _check(self, name: str, expected: int, found: int) -> None:
        if found != expected:
            raise DatabaseError(
                f"{self.place} was changed after the query: it has {found:,} events of {name} "
                f"instead of {expected:,}",
                hint="connect() to it, and ask what it has now",
            )
