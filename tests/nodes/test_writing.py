"""Events that are found are written to a new database."""

from __future__ import annotations

import asyncio
import threading

import pytest

from vastlab.client import VAST
from vastlab.store import buffer as buffers


async def test_the_loop_goes_on_while_a_write_that_was_cancelled_ends(
    small_database, tmp_path, monkeypatch
):
    """What is being written is waited for in a thread; nothing is left behind."""
    begun, go = threading.Event(), threading.Event()
    write = buffers.write

    def slow(*args, **options):
        begun.set()
        assert go.wait(20)
        return write(*args, **options)

    monkeypatch.setattr(buffers, "BUDGET", 0)
    monkeypatch.setattr(buffers, "write", slow)
    async with VAST(small_database) as vast:
        writing = asyncio.ensure_future(vast.write("", tmp_path / "new.db"))
        await asyncio.to_thread(begun.wait, 20)
        writing.cancel()
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not writing.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert list(tmp_path.iterdir()) == []
