"""A stream of slices into a container: Arrow tables, or one dictionary per event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.table_slice import TableSlice

__all__ = ["VastRow", "collect_pyarrow", "to_json_rows"]

# Enough that the cost of a step vanishes, and few enough that objects die young.
_ROWS_AT_ONCE = 512


@dataclass
class VastRow:
    """One event.

    Parameters
    ----------
    name
        The schema's name.
    data
        The fields, as values that JSON can hold.

    Examples
    --------
    >>> VastRow("zeek.conn", {"uid": "C1"})
    VastRow(name='zeek.conn', data={'uid': 'C1'})
    """

    name: str
    data: dict[str, Any]


async def to_json_rows(stream: AsyncIterable[TableSlice]) -> AsyncIterator[VastRow]:
    """Turn slices into events whose values JSON can hold.

    Times are ISO 8601 in UTC, durations the text of `pandas.Timedelta`, addresses, networks
    and labels text, bytes base64. Null, NaN and the infinities are ``None``.

    Parameters
    ----------
    stream
        What `vastlab.VAST.export` returns.

    Yields
    ------
    VastRow
        Lazily: a slice is not taken before the events of the one before are used up. The
        stream ends with the rows, also where these are left early.

    Examples
    --------
    >>> import asyncio
    >>> async def main() -> None:
    ...     async def stream():
    ...         batch = pa.RecordBatch.from_pydict({"port": [80], "rate": [float("nan")]})
    ...         yield TableSlice(batch.replace_schema_metadata({"VAST:name:0": "zeek.conn"}))
    ...
    ...     async for row in to_json_rows(stream()):
    ...         print(row)
    >>> asyncio.run(main())
    VastRow(name='zeek.conn', data={'port': 80, 'rate': None})
    """
    # Left to the event loop, what a `break` leaves open would be closed from two sides at once.
    async with aclosing(stream) if isinstance(stream, AsyncGenerator) else nullcontext():
        async for part in stream:
            name, values = part.name, render.rows(part.to_pyarrow())
            for start in range(0, len(values), _ROWS_AT_ONCE):
                for data in render.to_python(values.slice(start, _ROWS_AT_ONCE)):
                    yield VastRow(name, data)


async def collect_pyarrow(stream: AsyncIterable[TableSlice]) -> dict[str, list[pa.Table]]:
    """Collect a stream into Arrow tables, one for each layout, without a copy.

    Parameters
    ----------
    stream
        What `vastlab.VAST.export` returns.

    Returns
    -------
    dict of str to list of pyarrow.Table
        By schema name, in order of arrival; several tables where events of one name differ in
        their fields, types or metadata. A name of which nothing came has no tables, which is
        no error, as in PyVAST.

    Examples
    --------
    >>> import asyncio
    >>> async def stream():
    ...     for ports in ([80, 443], [53]):
    ...         batch = pa.RecordBatch.from_pydict({"port": ports})
    ...         yield TableSlice(batch.replace_schema_metadata({"VAST:name:0": "zeek.conn"}))
    >>> tables = asyncio.run(collect_pyarrow(stream()))
    >>> {name: [table.num_rows for table in parts] for name, parts in tables.items()}
    {'zeek.conn': [3]}
    """
    layouts: dict[bytes, list[pa.RecordBatch]] = {}
    async for part in stream:
        batch = part.to_pyarrow()
        # Neither `==` nor the text of a schema tells all layouts apart.
        layouts.setdefault(batch.schema.serialize().to_pybytes(), []).append(batch)
    tables: defaultdict[str, list[pa.Table]] = defaultdict(list)
    for batches in layouts.values():
        table = pa.Table.from_batches(batches)
        tables[arrow_schema.name_of(table.schema)].append(table)
    return tables
