"""Events in memory: as frames, which of them match, and statements over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from vastlab._call import interruptible
from vastlab._lazy import pd
from vastlab._sql import Running
from vastlab._stored import Stored
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

_INTERRUPTED = "interrupted while running a statement"

Tables = Mapping[str, Sequence[pa.Table]]


def schemas_of(tables: Tables) -> dict[str, Schema]:
    """Return the schemas; of one with several layouts, all fields of these."""
    if isinstance(tables, Stored):
        return tables.schemas()
    return {
        name: union(arrow_schema.from_arrow(part.schema, name) for part in parts)
        for name, parts in tables.items()
    }


def matching(tables: Tables, query: Query) -> Iterator[TableSlice]:
    """Return the events that match the expression and the bounds of a query."""
    if isinstance(tables, Stored):
        yield from tables.matching(query)
        return
    local = LocalFilter(query)
    for name in sorted(tables):
        for part in tables[name]:
            for batch in part.to_batches():
                if len(batch):
                    kept = local.keep(TableSlice(convert.normalise(batch, name)))
                    if kept is not None:
                        yield kept


def num_rows(tables: Tables) -> int:
    """Count the events."""
    if isinstance(tables, Stored):
        return sum(tables.counts.values())
    return sum(part.num_rows for parts in tables.values() for part in parts)


def first(tables: Tables, name: str, rows: int, *, newest: bool) -> Sequence[pa.Table]:
    """Return events of a schema among which are the first ones, or the newest."""
    if isinstance(tables, Stored):
        return tables.first(name, rows, newest=newest)
    return tables[name]


def summaries(tables: Tables) -> list[Summary]:
    """Return the size and the time bounds of each schema."""
    if isinstance(tables, Stored):
        return tables.summaries()
    return [summarise(name, parts) for name, parts in tables.items()]


def unknown_names(tables: Tables, query: Query) -> list[str]:
    """Say which names in the expression nothing here has."""
    schemas = schemas_of(tables).values()
    return list(suggest(query.expression, schemas, query.taxonomy)) if schemas else []


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


def answer(tables: Tables, statement: str, params: Mapping[str, object]) -> pd.DataFrame:
    """Run a statement of SQL, with each schema as a table; Ctrl-C ends it."""
    if not isinstance(statement, str):
        raise UsageError(f"the statement must be a text, got {statement!r}")

    def scan(name: str, _fields: Paths) -> Iterator[pa.RecordBatch]:
        return (batch for part in tables[name] for batch in part.to_batches())

    with interruptible(lambda: QueryInterrupted(_INTERRUPTED)):
        if isinstance(tables, Stored):
            return tables.sql(statement, params)
        running = Running(schemas_of(tables), scan, statement, params)
        try:
            running.start()
            return table_frame(running.result())
        finally:
            running.stop()


def joined(expression: str, extra: Expr) -> str:
    """Write what holds for the events that match both; the first one may be empty."""
    asked = expression.strip()
    return echo(normalise(And((parse_query(asked), extra)))) if asked else echo(extra)
