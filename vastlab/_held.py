"""The events of a result, and what they are asked; those of most results are in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from vastlab._call import interruptible
from vastlab._lazy import pd
from vastlab._sql import Running
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.display.preview import Summary, summarise
from vastlab.errors import QueryInterrupted, UsageError
from vastlab.expression import parse_query
from vastlab.expression.ast import And, Expr, echo
from vastlab.expression.rewrite import normalise
from vastlab.expression.suggest import suggest
from vastlab.frames import table_frame, to_frames
from vastlab.nodes.base import Query
from vastlab.nodes.plan import LocalFilter
from vastlab.store.layout import union
from vastlab.table_slice import TableSlice
from vastlab.types import Paths, Schema

if TYPE_CHECKING:
    import dask.dataframe as dd

_INTERRUPTED = "interrupted while running a statement"

Tables = Mapping[str, Sequence[pa.Table]]


class Events(Tables):
    """The events of a result: a table for each layout, by schema, and what they are asked."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """The number of events."""

    @abstractmethod
    def schemas(self) -> dict[str, Schema]:
        """Return the schemas; of one with several layouts, all fields of these."""

    @abstractmethod
    def matching(self, query: Query) -> Iterable[TableSlice]:
        """Return the events that match the expression and the bounds of a query."""

    @abstractmethod
    def first(self, name: str, rows: int, *, newest: bool = False) -> Sequence[pa.Table]:
        """Return events of a schema among which are the first ones, or the newest."""

    @abstractmethod
    def summaries(self) -> list[Summary]:
        """Return the size and the time bounds of each schema."""

    @abstractmethod
    def dask(self, frames: Mapping[str, pd.DataFrame]) -> dict[str, dd.DataFrame]:
        """Return a Dask DataFrame for each schema; `frames` are those of the result."""

    @abstractmethod
    def _answer(self, statement: str, params: Mapping[str, object]) -> pd.DataFrame:
        """Run a statement, with each schema as a table."""

    def sql(self, statement: str, params: Mapping[str, object]) -> pd.DataFrame:
        """Run a statement of SQL, with each schema as a table; Ctrl-C ends it."""
        if not isinstance(statement, str):
            raise UsageError(f"the statement must be a text, got {statement!r}")
        with interruptible(lambda: QueryInterrupted(_INTERRUPTED)):
            return self._answer(statement, params)

    def unknown_names(self, query: Query) -> list[str]:
        """Say which names in the expression nothing here has."""
        schemas = self.schemas().values()
        return list(suggest(query.expression, schemas, query.taxonomy)) if schemas else []


class Held(Events):
    """Events in memory.

    Parameters
    ----------
    tables
        The tables, in any order of the schemas.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = {name: list(parts) for name, parts in sorted(tables.items())}

    def __getitem__(self, name: str) -> list[pa.Table]:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def num_rows(self) -> int:
        """The number of events."""
        return sum(part.num_rows for parts in self._tables.values() for part in parts)

    def schemas(self) -> dict[str, Schema]:
        """Return the schemas; of one with several layouts, all fields of these."""
        return {
            name: union(arrow_schema.from_arrow(part.schema, name) for part in parts)
            for name, parts in self._tables.items()
        }

    def matching(self, query: Query) -> Iterator[TableSlice]:
        """Return the events that match the expression and the bounds of a query."""
        local = LocalFilter(query)
        for name, parts in self._tables.items():
            for batch in (batch for part in parts for batch in part.to_batches()):
                if len(batch):
                    kept = local.keep(TableSlice(convert.normalise(batch, name)))
                    if kept is not None:
                        yield kept

    def first(self, name: str, _rows: int, *, newest: bool = False) -> list[pa.Table]:
        """Return all events of a schema."""
        return self._tables[name]

    def summaries(self) -> list[Summary]:
        """Return the size and the time bounds of each schema."""
        return [summarise(name, parts) for name, parts in self._tables.items()]

    def dask(self, frames: Mapping[str, pd.DataFrame]) -> dict[str, dd.DataFrame]:
        """Return a Dask DataFrame for each schema, made of its frame."""
        from vastlab import _dask  # here: it is for few results

        return _dask.held_frames(frames)

    def _answer(self, statement: str, params: Mapping[str, object]) -> pd.DataFrame:
        def scan(name: str, _fields: Paths) -> Iterator[pa.RecordBatch]:
            return (batch for part in self._tables[name] for batch in part.to_batches())

        running = Running(self.schemas(), scan, statement, params)
        try:
            running.start()
            return table_frame(running.result())
        finally:
            running.stop()


def frame(parts: Sequence[pa.Table], name: str, *, newest: bool) -> pd.DataFrame:
    """Return the events of one schema as a frame, in the order of their time."""
    found = to_frames({name: list(parts)})[name]
    leaves = [leaf for part in parts if (leaf := arrow_schema.from_arrow(part.schema).event_time)]
    if not leaves or leaves[0].column not in found:
        return found
    column = leaves[0].column
    times = found[column]
    if times.is_monotonic_decreasing if newest else times.is_monotonic_increasing:
        return found
    return found.sort_values(column, ascending=not newest, kind="stable", ignore_index=True)


def joined(expression: str, extra: Expr) -> str:
    """Write what holds for the events that match both; the first one may be empty."""
    asked = expression.strip()
    return echo(normalise(And((parse_query(asked), extra)))) if asked else echo(extra)
