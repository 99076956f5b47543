"""What has arrived of an answer so far; it outlives a query that fails."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pyarrow as pa

from vastlab.collect import collect_pyarrow
from vastlab.nodes.base import Step
from vastlab.table_slice import TableSlice


class Arrived:
    """Collects the slices of an answer.

    Parameters
    ----------
    limit
        How many events are enough; 0 for all.
    keep
        Chooses among the events of a slice; None for all of them.
    """

    def __init__(
        self, limit: int, keep: Callable[[TableSlice], TableSlice | None] | None = None
    ) -> None:
        self.events = 0
        self._limit = limit
        self._keep = keep
        self._slices: list[TableSlice] = []
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the question."""
        return time.monotonic() - self._started

    @property
    def is_full(self) -> bool:
        """Whether as many events are here as were asked for."""
        return 0 < self._limit <= self.events

    def step(self) -> Step:
        """Say how far the answer is."""
        share = min(1.0, self.events / self._limit) if self._limit else None
        return Step("", self.events, share)

    async def take(self, ask: Callable[[], AsyncGenerator[TableSlice]]) -> None:
        """Ask, and take what comes."""
        async with aclosing(ask()) as parts:
            async for part in parts:
                kept = part if self._keep is None else self._keep(part)
                if kept is not None:
                    self._add(kept)
                if self._keep is not None and self.is_full:
                    return

    async def tables(self) -> dict[str, list[pa.Table]]:
        """Return everything, by schema name."""

        async def again() -> AsyncIterator[TableSlice]:
            for part in self._slices:
                yield part

        return await collect_pyarrow(again())

    def _add(self, part: TableSlice) -> None:
        over = self.events + part.num_rows - self._limit
        if self._limit > 0 and over > 0:
            part = TableSlice(part.to_pyarrow().slice(0, part.num_rows - over))
        self._slices.append(part)
        self.events += part.num_rows
