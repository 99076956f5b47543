"""Imports by the workers of a cluster: they stage the events of logs, and the client commits."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vastlab.nodes.base import completed, ignore
from vastlab.nodes.cluster import calls
from vastlab.nodes.cluster.errands import Import
from vastlab.nodes.cluster.workers import Workers
from vastlab.readers.problems import Problems
from vastlab.store.compact import merge_after_import
from vastlab.store.database import Database
from vastlab.store.ingest import (
    IngestProgress,
    IngestReport,
    StagedImport,
    commit,
    must_have_read,
    stage,
)
from vastlab.store.sources import AnySource, FileSource, expand, is_regular
from vastlab.store.writer import TARGET_SIZE

_LEAST, _MOST = 16 << 20, 512 << 20  # bytes of the logs of one task
_MOST_FILES = 512  # of one task
_TASKS_PER_THREAD = 4

Show = Callable[[IngestProgress], None] | None


async def ingest(
    workers: Workers,
    database: Database,
    sources: object,
    *,
    force: bool,
    atomic: bool,
    progress: Show,
    settings: Mapping[str, Any],
) -> IngestReport:
    """Add the events of files, each read by a worker, and of what only this process can read.

    Parameters
    ----------
    workers
        The cluster.
    database
        Where to.
    sources
        As of `vastlab.store.ingest.ingest`.
    force
        Whether files are read that were imported before.
    atomic
        Whether all events are added in one step.
    progress
        Called after each task.
    settings
        More arguments for `vastlab.store.ingest.stage`.
    """
    started = time.monotonic()
    logs, others = await completed(partial(_divided, sources))
    parts = list(portions(logs, await calls.threads(workers)))
    known = (await completed(database.snapshot)).sources.values()
    with database.staging() as staging:
        total = sum(log.size for log in logs)
        work = _Ingest(database, staging, force, atomic, progress, len(logs), total)
        if others:
            here = partial(stage, database.place, staging, others, known, force=force, **settings)
            await work.take(-1, await completed(here))

        async def ask(numbered: tuple[int, list[Log]], call: str) -> None:
            number, part = numbered
            sizes = {log.size for log in part}
            paths = {str(log.source.path) for log in part}
            errand = Import(
                tuple(log.source for log in part),
                tuple(each for each in known if each.size in sizes or each.key in paths),
                str(database.place),
                str(staging),
                {**settings, "force": force},
            )
            task = workers.task("import", pickle.dumps(errand), call)
            await work.take(number, await calls.answer(workers, task))

        await calls.each(workers, list(enumerate(parts)), ask, ignore)
        return await work.finish(time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Log:
    """A file that a worker can read, and how many bytes it has."""

    source: FileSource
    size: int


def _divided(sources: object) -> tuple[list[Log], list[AnySource]]:
    """Tell files, which can be read again and again, from what only this process can read."""
    logs: list[Log] = []
    others: list[AnySource] = []
    for source in expand(sources):
        try:
            if isinstance(source, FileSource) and is_regular(source.path):
                logs.append(Log(source, source.path.stat().st_size))
                continue
        except OSError:
            pass  # reading it reports the error
        others.append(source)
    return logs, others


def portions(logs: Sequence[Log], threads: int) -> Iterator[list[Log]]:
    """Divide logs into tasks by their bytes.

    Files of one size may have the same content, which counts once: they are in one task, or each
    in a task of its own.

    Parameters
    ----------
    logs
        The logs.
    threads
        How many threads the cluster has.
    """
    total = sum(log.size for log in logs)
    wanted = min(max(total // (_TASKS_PER_THREAD * threads), _LEAST), _MOST)
    alike: dict[int, list[Log]] = {}
    for log in logs:
        alike.setdefault(log.size, []).append(log)
    part: list[Log] = []
    filled = 0
    for size, group in alike.items():
        if len(group) > 1 and (size * len(group) > wanted or len(group) > _MOST_FILES):
            yield from ([log] for log in group)
            continue
        if part and (filled + size * len(group) > wanted or len(part) + len(group) > _MOST_FILES):
            yield part
            part, filled = [], 0
        part += group
        filled += size * len(group)
    if part:
        yield part


@dataclass(slots=True)
class _Ingest:
    """The state of one import."""

    database: Database
    staging: Path
    force: bool
    atomic: bool
    progress: Show
    files_total: int
    bytes_total: int
    parts: dict[int, StagedImport] = field(default_factory=dict)
    waiting: list[StagedImport] = field(default_factory=list)  # for the next commit
    contents: set[tuple[int, str]] = field(default_factory=set)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self, number: int, staged: StagedImport) -> None:
        """Take what a task has staged, and add it if there is enough."""
        staged = self._new(staged)
        self.parts[number] = staged
        self.waiting.append(staged)
        self._show()
        if not self.atomic and _bytes(self.waiting) >= TARGET_SIZE:
            await self._commit()

    async def finish(self, elapsed: float) -> IngestReport:
        """Add the rest, and return the report."""
        parts = [self.parts[number] for number in sorted(self.parts)]
        must_have_read(parts)
        await self._commit()
        await completed(partial(merge_after_import, self.database))
        return replace(_joined([part.report for part in parts]), elapsed=elapsed)

    async def _commit(self) -> None:
        async with self.one_at_a_time:
            parts, self.waiting = self.waiting, []
            await completed(partial(commit, self.database, parts, force=self.force))

    def _new(self, staged: StagedImport) -> StagedImport:
        """Leave out a file with a content that another task has read."""
        contents = {(source.size, source.digest) for source in staged.sources}
        # Files of one size are in one task, or each is in one of its own: nothing else is lost.
        if self.force or len(staged.report.files) != 1 or not contents & self.contents:
            self.contents |= contents
            return staged
        report = IngestReport({}, skipped=staged.report.files, bytes=staged.report.bytes)
        return StagedImport(report, (), {}, (), (), 0)

    def _show(self) -> None:
        if self.progress is None:
            return
        reports = [part.report for part in self.parts.values()]
        files = [name for each in reports for name in (*each.files, *each.skipped, *each.failed)]
        self.progress(
            IngestProgress(
                files[-1] if files else "",
                len(files),
                max(len(files), self.files_total),
                sum(each.bytes for each in reports),
                self.bytes_total,
                sum(sum(each.events.values()) for each in reports),
            )
        )


def _bytes(parts: Sequence[StagedImport]) -> int:
    return sum(item.file.size for part in parts for item in part.files)


def _joined(reports: Sequence[IngestReport]) -> IngestReport:
    """Join reports in the order of their files."""
    events: Counter[str] = Counter()
    problems = Problems()
    for report in reports:
        events.update(report.events)
    failed = {name for report in reports for name in report.failed}
    found = (problem for report in reports for problem in report.problems)
    first = sorted(found, key=lambda problem: problem.path not in failed)
    return IngestReport(
        events=dict(events),
        files=tuple(name for report in reports for name in report.files),
        skipped=tuple(name for report in reports for name in report.skipped),
        failed=tuple(name for report in reports for name in report.failed),
        problems=tuple(first[: problems.keep]),
        problem_count=sum(report.problem_count for report in reports),
        remarks=tuple(dict.fromkeys(text for report in reports for text in report.remarks)),
        bytes=sum(report.bytes for report in reports),
    )
