"""One call that is many Dask tasks: some at a time, and all are stopped where one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from vastlab._text import plural
from vastlab.nodes.base import Report, Step
from vastlab.nodes.cluster.workers import Workers

AHEAD = 2
"""Tasks for each thread that the scheduler knows of."""

_Part = TypeVar("_Part")
_T = TypeVar("_T")


async def answer(workers: Workers, asked: Any) -> Any:
    """Wait for a coroutine on Dask's loop."""
    return await asyncio.wrap_future(workers.start(asked))


async def threads(workers: Workers) -> int:
    """Return how many threads the cluster has."""
    return sum((await answer(workers, workers.threads())).values())


async def each(
    workers: Workers,
    parts: Sequence[_Part],
    ask: Callable[[_Part, str], Awaitable[_T]],
    report: Report,
) -> list[_T]:
    """Ask about all parts, and return the answers in their order.

    Parameters
    ----------
    workers
        The cluster.
    parts
        What each task is about.
    ask
        Runs one task; the text names all tasks of the call, for `Workers.stop`.
    report
        Takes the progress.
    """
    call, done = uuid4().hex, 0
    places = asyncio.Semaphore(AHEAD * await threads(workers))
    named = f", {workers.where}" if workers.where else ""

    async def one(part: _Part) -> _T:
        nonlocal done
        async with places:
            found = await ask(part, call)
        done += 1
        report(Step(f"{done} of {plural(len(parts), 'task')}{named}", share=done / len(parts)))
        return found

    if not parts:
        return []
    report(Step(f"0 of {plural(len(parts), 'task')}{named}", share=0.0))
    running = [asyncio.ensure_future(one(part)) for part in parts]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        workers.start(workers.stop(call))
        raise
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        report(Step())
