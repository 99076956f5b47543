"""The newest events of each schema, in bounded memory."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from vastlab.table_slice import TableSlice

_SCHEMAS = 100  # of more, events are only counted
_BYTES = 32 << 20  # for each schema


class Ring:
    """Keeps the newest events of each schema, and counts all.

    One thread adds while others read.

    Parameters
    ----------
    rows
        How many events of each schema to keep.

    Examples
    --------
    >>> ring = Ring(2)
    >>> ring.add(TableSlice(pa.RecordBatch.from_pydict({"port": [1, 2, 3]})))
    >>> [batch.to_pydict() for part in ring.newest().values() for batch in part]
    [{'port': [2, 3]}]
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._kept: dict[str, deque[pa.RecordBatch]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, part: TableSlice) -> None:
        """Count events, keep the newest, and forget as many as that makes too many."""
        if not part.num_rows:
            return
        with self._lock:
            self._counts[part.name] += part.num_rows
            if self._rows and (part.name in self._kept or len(self._kept) < _SCHEMAS):
                kept = self._kept.setdefault(part.name, deque())
                kept.append(_end_of(part.to_pyarrow(), self._rows))
                _trim(kept, self._rows)

    def counts(self) -> dict[str, int]:
        """Return how many events of each schema came, most first."""
        with self._lock:
            return dict(self._counts.most_common())

    def newest(self, name: str | None = None) -> dict[str, list[pa.RecordBatch]]:
        """Return what is kept, in order of arrival.

        Parameters
        ----------
        name
            Only this schema.
        """
        with self._lock:
            kept = {key: list(parts) for key, parts in self._kept.items() if name in (None, key)}
        return {key: list(_last(parts, self._rows)) for key, parts in kept.items()}


def _end_of(batch: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    """Copy the last rows, since a slice would hold on to all of its batch."""
    first = max(0, batch.num_rows - rows)
    if not batch.num_columns:
        return batch.slice(first)
    return batch.take(pa.array(np.arange(first, batch.num_rows)))


def _trim(kept: deque[pa.RecordBatch], rows: int) -> None:
    count = sum(batch.num_rows for batch in kept)
    size = sum(batch.nbytes for batch in kept)
    while len(kept) > 1 and (count - kept[0].num_rows >= rows or size > _BYTES):
        oldest = kept.popleft()
        count -= oldest.num_rows
        size -= oldest.nbytes


def _last(parts: list[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    surplus = max(0, sum(part.num_rows for part in parts) - rows)
    for part in parts:
        skipped = min(surplus, part.num_rows)
        surplus -= skipped
        if skipped < part.num_rows:
            yield part.slice(skipped)
