"""Filtering events in memory: for what a node could not be asked in its own language."""

from __future__ import annotations

import time

import datafusion
import pyarrow as pa

from vastlab.arrow import convert, nesting
from vastlab.arrow import schema as arrow_schema
from vastlab.compile.datafusion import predicate
from vastlab.expression.ast import Constant
from vastlab.nodes._plan import bind
from vastlab.nodes.base import Query
from vastlab.table_slice import TableSlice

_ROW = "#row"


class LocalFilter:
    """Keeps the events that a query asks for.

    Parameters
    ----------
    query
        Its expression and its bounds; mode and limit do not matter here.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._context = datafusion.SessionContext()

    def keep(self, part: TableSlice) -> TableSlice | None:
        """Return the events of a slice that match, or ``None`` if there are none."""
        batch = convert.normalise(part.to_pyarrow())
        schema = arrow_schema.from_arrow(batch.schema)
        bound = bind(self._query, schema)
        if bound is None:
            return None
        if bound == Constant(True):
            return part
        flat = nesting.flatten(batch)
        # What is filtered here has only just arrived.
        arrived = pa.array([time.time_ns()] * len(batch), pa.timestamp("ns"))
        flat = flat.append_column(arrow_schema.IMPORT_TIME, arrived)
        flat = flat.append_column(_ROW, pa.array(range(len(batch)), pa.int64()))
        found = (
            self._context.read_batch(flat)
            .filter(predicate(bound, schema))
            .select(f'"{_ROW}"')
            .collect()
        )
        rows = pa.chunked_array([part.column(0) for part in found], pa.int64())
        if not len(rows):
            return None
        return TableSlice(batch.take(rows.combine_chunks()))
