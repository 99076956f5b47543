"""Compaction: merges small files, and adds checksums to files of vastlab 1.0.

The files of one layout are merged in the order of their times. Events stay sorted and keep their
import time. Each step is one commit that drops the old files and adds the new one, so a crash
leaves the state before or after it. The old files are deleted after a grace period, so that
readers can finish. A step is skipped if another writer has dropped one of its files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from vastlab.errors import CorruptFileError, DatabaseError, LockedError, NodeError
from vastlab.store import checksums, writer
from vastlab.store.database import Database
from vastlab.store.layout import COPY, GROUP, TAIL, DataFile, Layout, Source
from vastlab.store.snapshot import Snapshot
from vastlab.store.writer import TARGET_SIZE, StagedFile

__all__ = ["CompactReport", "compact", "compact_part", "merge_after_import", "parts_of"]

_BUDGET = 128 << 20  # bytes of events in memory
_SMALL = TARGET_SIZE // 4  # larger files are not merged
_MIN_GROUP = 32  # small files of about the same size that are merged after an ingest
_TIER_BITS = 3  # sizes that differ by less than a factor of eight count as about the same

_Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """The result of a compaction."""

    files_before: int
    files_after: int
    problems: tuple[str, ...] = ()  # why some files were not changed


def compact(
    database: Database,
    *,
    progress: _Report | None = None,
    budget: int = 2 * _BUDGET,
    is_stopped: Callable[[], bool] = lambda: False,
) -> CompactReport:
    """Merge all small files, and add checksums, while other processes may read and write.

    Another thread may let `is_stopped` be true; what was merged by then stays.
    """
    snapshot = database.snapshot()
    parts = parts_of(database)
    work = _Compaction(database, budget, progress, sum(map(len, parts)), is_stopped)
    for part in parts:
        work.do(part)
    after = len(database.snapshot().files)
    return CompactReport(len(snapshot.files), after, tuple(work.problems))


def parts_of(database: Database) -> list[list[DataFile]]:
    """Return files that are to be merged, or one that lacks checksums.

    The files of a part have one layout, follow each other in time, and make about one file. Parts
    can be done by several processes at the same time.
    """
    snapshot = database.snapshot()
    parts = [part for group in _mergeable(snapshot) for part in _spans(group)]
    merged = {file.path for part in parts for file in part}
    unsealed = snapshot.files.without_checksums()
    return parts + [[file] for file in unsealed if file.path not in merged]


def compact_part(
    database: Database,
    part: Sequence[DataFile],
    *,
    budget: int = 2 * _BUDGET,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Do one part of `parts_of`; return why some files were not changed."""
    work = _Compaction(database, budget, is_stopped=is_stopped)
    work.do(part)
    return work.problems


def _spans(group: Iterable[DataFile]) -> Iterator[list[DataFile]]:
    """Divide files into those that make about one file; none of them alone."""
    span: list[DataFile] = []
    waiting: list[DataFile] = []
    size = 0
    for file in group:
        waiting.append(file)
        size += file.size
        if size >= TARGET_SIZE:
            if span:
                yield span
            span, waiting, size = waiting, [], 0
    if len(waiting) > 1:
        if span:
            yield span
        yield waiting
    else:
        yield span + waiting


def merge_after_import(database: Database) -> None:
    """Merge small files after an import; errors are left to `compact` and `check`."""
    with contextlib.suppress(DatabaseError, NodeError, OSError):
        work = _Compaction(database, _BUDGET)
        for group in _mergeable(database.snapshot(), _MIN_GROUP, tiers=True):
            work.merge(group)


def _mergeable(
    snapshot: Snapshot, min_files: int = 2, *, tiers: bool = False
) -> Iterator[list[DataFile]]:
    """Yield small files of one layout and sources; with `tiers`, only of about one size."""
    source_keys = _source_keys(snapshot)
    groups: dict[object, list[DataFile]] = {}
    for file in snapshot.files.smaller(_SMALL):
        if not file.source.startswith((COPY, GROUP, TAIL)):
            tier = file.size.bit_length() // _TIER_BITS if tiers else 0
            key = file.fingerprint, source_keys.get(file.source, (file.source,)), tier
            groups.setdefault(key, []).append(file)
    yield from (group for group in groups.values() if len(group) >= min_files)


def _source_keys(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return the keys of the sources of each segment."""
    source_keys: dict[str, tuple[str, ...]] = {}
    for key, source in sorted(snapshot.sources.items()):
        for segment in source.segments:
            source_keys[segment] = (*source_keys.get(segment, ()), key)
    return source_keys


class _Compaction:
    """A compaction that is under way."""

    def __init__(
        self,
        database: Database,
        budget: int,
        progress: _Report | None = None,
        total: int = 0,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_stopped = is_stopped
        self._database = database
        self._budget = budget
        self._progress = progress
        self._done, self._total = 0, total
        self.problems: list[str] = []

    def do(self, part: Sequence[DataFile]) -> None:
        """Do a part of `parts_of`."""
        if len(part) > 1:
            self.merge(part)
        elif not self._is_stopped():
            self.seal(part[0])

    def merge(self, group: Iterable[DataFile]) -> None:
        """Merge files, as many at a time as fit into memory."""
        waiting = list(group)
        layout = self._database.snapshot().layouts[waiting[0].fingerprint]
        while waiting and not self._is_stopped():
            left = len(waiting)
            used, batches = self._read(waiting, layout)
            if len(used) > 1:
                source = uuid4().hex if used[0].source else ""
                place = self._database.place
                with self._database.staging() as staging:
                    new = writer.write(
                        batches, layout, place, staging, source=source, replaces=names(used)
                    )
                    if len(new) < len(used):
                        self._replace(used, new)
            self._advance(left - len(waiting))

    def seal(self, file: DataFile) -> None:
        """Replace a file by a copy with checksums."""
        snapshot = self._database.snapshot()
        layout = snapshot.layouts[file.fingerprint]
        with self._database.staging() as staging:
            path = staging / f"{uuid4().hex}.parquet"
            try:
                with checksums.at_hand(file, self._database.place) as held:
                    for _ in checksums.read(held, layout):  # a damaged file must not get one
                        pass
                    shutil.copyfile(held.path, path)
            except CorruptFileError as error:
                self.problems.append(error.message)
                return
            with path.open("r+b") as copy:
                order = writer.order_column(layout.schema)
                tail = checksums.append(copy, layout.stored_schema, order, names([file]))
                copy.flush()
                os.fsync(copy.fileno())
            folder = file.path.rpartition("/")[0]
            target = f"{folder}/{writer.file_name(file.first, path.stem)}"
            sealed = replace(file, path=target, size=path.stat().st_size, tail=tail)
            self._replace([file], [StagedFile(path, sealed)])
        self._advance(1)

    def _read(
        self, waiting: list[DataFile], layout: Layout
    ) -> tuple[list[DataFile], list[pa.RecordBatch]]:
        """Remove files from the list and read them, until memory is full."""
        used, batches, size = [], [], 0
        while waiting and size < self._budget:
            file = waiting.pop(0)
            try:
                with checksums.at_hand(file, self._database.place) as held:
                    rows = list(checksums.read(held, layout))
            except CorruptFileError as error:
                self.problems.append(error.message)
                continue
            except FileNotFoundError:
                self.problems.append(f"a file of the database is gone: {file.path}")
                continue
            used.append(file)
            batches += rows
            size += sum(batch.nbytes for batch in rows)
        return used, batches

    def _replace(self, old: list[DataFile], new: list[StagedFile]) -> None:
        """Commit, unless the old files were changed by another process."""
        ages = [age for file in old for age in (file.oldest or file.generation, file.generation)]
        added = with_generations(new, min(ages), max(ages))
        snapshot = self._database.snapshot()
        paths = {file.path for file in old}
        sources = _sources_with_segment(snapshot, old, new[0].file.source)

        def check(current: Snapshot) -> None:
            same = all(current.sources.get(s.key) == snapshot.sources[s.key] for s in sources)
            if not (same and current.files.have(paths)):
                raise _FilesChangedError("another process has changed the files")

        layouts = {old[0].fingerprint: snapshot.layouts[old[0].fingerprint]}
        with contextlib.suppress(_FilesChangedError):
            self._database.commit(added, layouts, sources=sources, drop=paths, check=check)

    def _advance(self, files: int) -> None:
        self._done += files
        if self._progress is not None:
            self._progress(self._done, self._total)


class _FilesChangedError(LockedError):
    """Another process has changed the files that should be replaced."""


def names(files: Iterable[DataFile]) -> list[str]:
    """Return the names of files, which are unique in a database."""
    return [Path(file.path).name for file in files]


def with_generations(files: Iterable[StagedFile], oldest: int, newest: int) -> list[StagedFile]:
    """Set the generations of files to those of their events."""
    oldest = oldest if oldest < newest else 0
    return [
        StagedFile(item.staged, replace(item.file, generation=newest, oldest=oldest))
        for item in files
    ]


def _sources_with_segment(snapshot: Snapshot, merged: list[DataFile], new: str) -> list[Source]:
    """Return sources whose segments were merged into `new`, with their new segments."""
    old, paths = {file.source for file in merged}, {file.path for file in merged}
    if new in old:
        return []
    gone = old - {each.source for each in snapshot.files.of_sources(old) if each.path not in paths}
    changed = []
    for source in snapshot.sources.values():
        if old & set(source.segments):
            kept = tuple(segment for segment in source.segments if segment not in gone)
            changed.append(replace(source, segments=(*kept, new)))
    return changed
