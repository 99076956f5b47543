"""Events of one schema as they arrive, and all of them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Schema

__all__ = ["TableSlice", "VastRow", "collect_pyarrow", "to_json_rows", "to_pyarrow"]


class TableSlice:
    """Some events of one schema, as an Arrow record batch.

    Parameters
    ----------
    batch
        The events, in nested form, with the schema's name in its metadata.

    Examples
    --------
    >>> batch = pa.RecordBatch.from_pydict({"port": pa.array([80, 443], pa.uint64())})
    >>> named = batch.replace_schema_metadata({"VAST:name:0": "zeek.conn"})
    >>> part = TableSlice(named)
    >>> part.name, part.num_rows
    ('zeek.conn', 2)
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    @property
    def name(self) -> str:
        """The schema's name, as ``#type`` sees it."""
        return arrow_schema.name_of(self._batch.schema)

    @property
    def schema(self) -> Schema:
        """The schema in VAST's type system."""
        return arrow_schema.from_arrow(self._batch.schema)

    @property
    def num_rows(self) -> int:
        """The number of events."""
        return int(self._batch.num_rows)

    def to_pyarrow(self) -> pa.RecordBatch:
        """Return the events without a copy."""
        return self._batch

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Hand the events to any library that speaks the Arrow C data interface."""
        exported: tuple[object, object] = self._batch.__arrow_c_array__(requested_schema)
        return exported

    def __repr__(self) -> str:
        return f"TableSlice({self.name!r}, {self.num_rows} events)"


def to_pyarrow(batch: TableSlice) -> pa.RecordBatch:
    """Return a slice's events as a record batch, as in PyVAST.

    Parameters
    ----------
    batch
        The slice.

    Returns
    -------
    pyarrow.RecordBatch
        The events in nested form.

    Examples
    --------
    >>> events = pa.RecordBatch.from_pydict({"port": [80]})
    >>> to_pyarrow(TableSlice(events)) is events
    True
    """
    return batch.to_pyarrow()


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
            name = part.name
            for data in row_values(part):
                yield VastRow(name, data)


def row_values(part: TableSlice, **how: Any) -> Iterator[dict[str, Any]]:
    """Yield the fields of each event of a slice; `how` is what `render.rows` takes."""
    values = render.rows(part.to_pyarrow(), **how)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        yield from render.to_python(values.slice(start, _ROWS_AT_ONCE))


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
    return tables_of([part.to_pyarrow() async for part in stream])


def tables_of(events: Iterable[pa.RecordBatch]) -> dict[str, list[pa.Table]]:
    """Join batches to one table for each layout, by schema name."""
    layouts: dict[bytes, list[pa.RecordBatch]] = {}
    for batch in events:
        # Neither `==` nor the text of a schema tells all layouts apart.
        layouts.setdefault(batch.schema.serialize().to_pybytes(), []).append(batch)
    tables: defaultdict[str, list[pa.Table]] = defaultdict(list)
    for batches in layouts.values():
        table = pa.Table.from_batches(batches)
        tables[arrow_schema.name_of(table.schema)].append(table)
    return tables
