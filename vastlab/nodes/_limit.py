"""The first events of a stream, and no more."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vastlab.table_slice import TableSlice


async def limited(
    stream: AsyncGenerator[TableSlice, None], limit: int
) -> AsyncGenerator[TableSlice, None]:
    """Pass on at most `limit` events, then end the stream; 0 for all."""
    left = limit
    async with aclosing(stream):
        async for part in stream:
            if not limit:
                yield part
                continue
            whole = part.num_rows <= left
            yield part if whole else TableSlice(part.to_pyarrow().slice(0, left))
            left -= part.num_rows
            if left <= 0:
                return
