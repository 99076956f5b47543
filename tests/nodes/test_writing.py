"""Events that are found are written to a new database."""

from __future__ import annotations

import asyncio
import threading

import pytest

from vastlab.client import VAST
from vastlab.nodes import writing
from vastlab.store import buffer as buffers
from vastlab.store.place import Folder


class Waiting:
    """A node that gives some events, and then waits for ever."""

    def __init__(self, parts):
        self.parts, self.waits = parts, asyncio.Event()

    async def export(self, query, report):
        for part in self.parts:
            yield part
        self.waits.set()
        await asyncio.Event().wait()


async def test_the_loop_goes_on_while_a_write_that_was_cancelled_ends(
    small_database, tmp_path, monkeypatch
):
    """What is being written is waited for in a thread; nothing is left behind."""
    begun, go, in_time = threading.Event(), threading.Event(), []
    write = buffers.write

    def slow(*args, **options):
        begun.set()
        in_time.append(go.wait(20))
        return write(*args, **options)

    monkeypatch.setattr(buffers, "BUDGET", 0)
    monkeypatch.setattr(buffers, "write", slow)
    async with VAST(small_database) as vast:
        asked = '#type == "zeek.conn"'
        query, node = vast.prepare(asked), Waiting([part async for part in vast.export(asked)])
    task = asyncio.ensure_future(
        writing.write(node, query, Folder(tmp_path / "new.db"), lambda _: None)
    )
    await node.waits.wait()
    assert await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)  # the task is cancelled, and waits for the write
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert in_time == [True]
    assert list(tmp_path.iterdir()) == []
