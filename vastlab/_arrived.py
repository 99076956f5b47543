"""What has arrived of an answer so far; it outlives a query that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pyarrow as pa

from vastlab.collect import collect_pyarrow
from vastlab.errors import VastlabError
from vastlab.nodes.base import Step
from vastlab.table_slice import TableSlice

_LOOK = 0.2  # seconds that nobody minds


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
        self.limited = False
        """Whether the limit ended the answer: there is more, or nobody knows."""
        self._limit = limit
        self._keep = keep
        self._slices: list[TableSlice] = []
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the question."""
        return time.monotonic() - self._started

    def step(self) -> Step:
        """Say how far the answer is."""
        share = min(1.0, self.events / self._limit) if self._limit else None
        return Step("", self.events, share)

    async def take(
        self, ask: Callable[[], AsyncGenerator[TableSlice]], *, look: bool = False
    ) -> None:
        """Ask, and take what comes.

        Parameters
        ----------
        ask
            Starts the answer.
        look
            Whether it goes on beyond the limit, so that one can see whether there is more.
        """
        async with aclosing(ask()) as parts:
            while not self._is_full and (part := await anext(parts, None)) is not None:
                self._add(part)
            if self._is_full and not self.limited:
                self.limited = not look or await self._goes_on(parts)

    async def tables(self) -> dict[str, list[pa.Table]]:
        """Return everything, by schema name."""

        async def again() -> AsyncIterator[TableSlice]:
            for part in self._slices:
                yield part

        return await collect_pyarrow(again())

    @property
    def _is_full(self) -> bool:
        return 0 < self._limit <= self.events

    def _add(self, part: TableSlice) -> None:
        kept = self._kept(part)
        if kept is None:
            return
        over = self.events + kept.num_rows - self._limit
        if self._limit > 0 and over > 0:
            kept = TableSlice(kept.to_pyarrow().slice(0, kept.num_rows - over))
            self.limited = True
        self._slices.append(kept)
        self.events += kept.num_rows

    def _kept(self, part: TableSlice) -> TableSlice | None:
        return part if self._keep is None else self._keep(part)

    async def _goes_on(self, parts: AsyncGenerator[TableSlice]) -> bool:
        """Look for one event more, though not for long: what was asked for is here.

        To find out that there is none may take as long as to read everything.
        """
        try:
            async with asyncio.timeout(_LOOK):
                async for part in parts:
                    if self._kept(part) is not None:
                        return True
        except (TimeoutError, VastlabError):
            return True
        return False
