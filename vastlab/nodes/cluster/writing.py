"""Events that the workers of a cluster write."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from vastlab.nodes.base import Report, completed
from vastlab.nodes.cluster import calls
from vastlab.nodes.cluster.errands import Write, Written
from vastlab.nodes.cluster.scanner import batches_of
from vastlab.nodes.cluster.workers import Workers
from vastlab.nodes.plan import Task
from vastlab.nodes.writing import StagedEvents
from vastlab.store.buffer import Buffer
from vastlab.store.layout import Layout
from vastlab.store.place import Place
from vastlab.store.writer import StagedFile

FEW_BYTES = 1 << 20
"""Of less than this, that a task finds, no file is made by the worker."""


async def stage(
    workers: Workers,
    parts: Sequence[list[Task]],
    place: Place,
    staging: Path,
    report: Report,
    *,
    asked: Callable[[Sequence[Task]], bytes],
    run: Callable[[bytes, Sequence[Task], str], Awaitable[Written]],
) -> StagedEvents:
    """Let the workers stage what is found in some files; of few events, it is done here.

    Parameters
    ----------
    workers
        The cluster.
    parts
        The files of each task.
    place, staging
        The new database, and a staging folder of it, which all workers see.
    report
        Takes the progress.
    asked
        Returns the payload of a question about some files.
    run
        Runs a task about some files of a call.
    """
    common = Buffer(place, staging)
    files: list[StagedFile] = []
    layouts: dict[str, Layout] = {}
    one_at_a_time = asyncio.Lock()

    def add(found: Written) -> None:
        files.extend(found.files)
        layouts.update(found.layouts or {})
        for batch in () if found.few is None else batches_of(found.few):
            common.add(batch)

    async def ask(part: list[Task], call: str) -> None:
        errand = Write(asked(part), str(place), str(staging), FEW_BYTES)
        found = await run(pickle.dumps(errand), part, call)
        async with one_at_a_time:
            await completed(partial(add, found))

    try:
        await calls.each(workers, parts, ask, report)
        files += await completed(common.finish)
    finally:
        await completed(common.close)
    return files, {**layouts, **common.layouts}
