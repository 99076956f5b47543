"""TableSlice: one batch of events of one schema."""

from __future__ import annotations

import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.types import Schema

__all__ = ["TableSlice", "to_pyarrow"]


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
