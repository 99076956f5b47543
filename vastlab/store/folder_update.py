"""Updates the database of a log folder: decides what to read of its files, and commits it."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from vastlab.readers import Inference, ReadOptions
from vastlab.store import follow, small_logs
from vastlab.store.buffer import Buffer
from vastlab.store.database import Database
from vastlab.store.follow import (
    CopyFinder,
    FileState,
    Plan,
)
from vastlab.store.layout import COPY, TAIL, Layout, Source, new_segment
from vastlab.store.log_reading import read, read_tail, with_tail
from vastlab.store.read_ahead import Ready, read_ahead
from vastlab.store.small_logs import SmallLogs
from vastlab.store.snapshot import Snapshot
from vastlab.store.sources import Meter, as_format_error
from vastlab.store.writer import StagedFile

_SAVE_INTERVAL = 30.0


class OutdatedError(Exception):
    """Another process has committed first: the update must start again."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of one file: its segment, and the schema names of its events."""

    plan: Plan
    segment: str
    names: frozenset[str]


@dataclass(slots=True)
class Update:
    """One update of a log folder, from the last snapshot to the listed files."""

    snapshot: Snapshot
    states: list[FileState]
    meter: Meter
    inference: Inference
    options: ReadOptions
    is_last: bool
    has_skipped: bool = False
    changed: list[FileState] = field(init=False)
    removed: set[str] = field(init=False)
    unmatched: list[Source] = field(init=False)
    copy_finder: CopyFinder = field(init=False)
    sources: dict[str, Source] = field(init=False)
    same: dict[tuple[int, str], list[str]] = field(default_factory=dict)  # keys by content
    is_first: bool = field(init=False)
    small: SmallLogs = field(default_factory=SmallLogs)
    files: list[StagedFile] = field(default_factory=list)
    layouts: dict[str, Layout] = field(default_factory=dict)
    parts: list[_Part] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        known = self.snapshot.sources
        self.is_first = not known
        self.changed = [
            state for state in self.states if not _is_same(state, known.get(state.path))
        ]
        self.copy_finder = CopyFinder(self.states)
        self.removed = known.keys() - {state.path for state in self.states}
        stale = self.removed | {state.path for state in self.changed}
        self.unmatched = [source for key, source in known.items() if key in stale]
        self.sources = {key: source for key, source in known.items() if key not in stale}

    @property
    def is_needed(self) -> bool:
        """Whether anything has changed."""
        return bool(self.changed or self.removed)

    def run(self, database: Database, staging: Path) -> None:
        """Read what is new and commit the change."""
        self.meter.add_total(len(self.changed), sum(state.size for state in self.changed))
        for key, source in self.sources.items():
            self.same.setdefault(source.content, []).append(key)
        for state, ready in self._read_ahead():
            self._process(state, database, staging, ready=ready)
            self._save(database, staging)
        self._finish_rotated(database, staging)
        while self.inference.is_outdated:
            self._read_again(database, staging)
            self._finish_rotated(database, staging)
        if self.has_skipped:
            self._skip_copies()
        self.meter.show(final=True)
        self._commit(database, staging)

    def _read_ahead(self) -> Iterator[tuple[FileState, Ready | None]]:
        """Yield the files to read; in a first update, small logs are read together."""
        if self.is_first:
            return read_ahead(
                self._listed(), lambda each: each if each.idle else None, self.options
            )
        return ((state, None) for state in self.changed)

    def _listed(self) -> Iterator[FileState]:
        for state in self.changed:
            self.meter.tick()  # many may be looked at before the first is read
            yield state

    def _process(
        self,
        state: FileState,
        database: Database,
        staging: Path,
        plan: Plan | None = None,
        ready: Ready | None = None,
    ) -> None:
        """Read what is new in one file, and record its new state."""
        self.meter.source = state.path
        self.meter.tick()
        try:
            todo = plan or self._plan(state, ready)
            source = self._read(todo, database, staging, ready) if isinstance(todo, Plan) else todo
        except FileNotFoundError:
            self._skip_changed(state, is_gone=True)
            return
        except Exception as error:
            if not self.meter.concerns_source(error):
                raise
            reason = as_format_error(error, state.path)
            source = follow.unreadable(state, reason)
        if not state.is_intact():
            self._skip_changed(state, is_gone=False)
            return
        self._record(source)
        self.meter.files_done += 1
        self.meter.bytes_done += state.size

    def _skip_changed(self, state: FileState, *, is_gone: bool) -> None:
        """Keep the last state of a file that was renamed, replaced or truncated while it was read.

        The next listing finds it, perhaps under another name.
        """
        self.has_skipped = True
        known = self.snapshot.sources.get(state.path)
        if known is None:
            return
        if is_gone and self.is_last:
            self.removed.add(state.path)
        else:
            self._record(known)

    def _record(self, source: Source) -> None:
        self.sources[source.key] = source
        self.same.setdefault(source.content, []).append(source.key)

    def _skip_copies(self) -> None:
        """Read copies again with the next listing: what they are copies of may be gone unread."""
        for state in (part.plan.state for part in self.parts if part.plan.is_copy):
            self.sources.pop(state.path, None)
            self._skip_changed(state, is_gone=False)

    def _finish_rotated(self, database: Database, staging: Path) -> None:
        """Read the incomplete last lines of rotated logs."""
        found = {state.path: state for state in self.states}
        for key, source in list(self.sources.items()):
            first = self.sources.get(source.origin)
            is_pending = source.tail_size and source.format and key in found
            with contextlib.suppress(FileNotFoundError):
                if (
                    is_pending
                    and follow.is_rotated(source, first)
                    and not self.copy_finder.is_copy(found[key], found[key].size)
                ):
                    plan = follow.plan_last_line(found[key], source)
                    self._process(found[key], database, staging, plan)

    def _read_again(self, database: Database, staging: Path) -> None:
        """Read again the files with a field that later turned out to be text."""
        outdated = set(self.inference.outdated)
        self.inference.restart()
        self.meter.restart()
        stale = {part.segment for part in self.parts if part.names & outdated}
        parts, self.parts = self.parts, []
        for part in parts:
            path = part.plan.state.path
            if path in self.sources and stale.isdisjoint(self.sources[path].segments):
                self.parts.append(part)
            else:
                self.sources.pop(path, None)
                self._process(part.plan.state, database, staging, part.plan)
        self.files = [item for item in self.files if item.file.source not in stale]

    def _save(self, database: Database, staging: Path) -> None:
        """Save a large first read from time to time, unless a new file may be a renamed old one."""
        is_due = self.small.is_full or time.monotonic() - self.saved >= _SAVE_INTERVAL
        if self.unmatched or self.removed or not is_due:
            return
        self._commit(database, staging)
        self.files.clear()
        self.snapshot = database.snapshot()
        self.saved = time.monotonic()

    def _plan(self, state: FileState, ready: Ready | None) -> Plan | Source:
        own = self.snapshot.sources.get(state.path)
        found = (
            Plan(state, "zeek", state.size, origin=state.path)
            if ready is not None
            else follow.plan(state, own, self.unmatched, self.options.get("encoding"))
        )
        if isinstance(found, Source):
            return found
        is_known = found.base is not None and not _is_copy(found.base)
        if is_known and not found.by_inode and found.origin == state.path:
            return found
        is_copy = found.by_lines and self.copy_finder.is_copy(state, found.end)
        if is_copy and is_known and found.by_inode:
            return replace(found, base=None, is_copy=True, origin=state.path)
        return replace(found, is_copy=is_copy)

    def _read(self, plan: Plan, database: Database, staging: Path, ready: Ready | None) -> Source:
        segment = new_segment(COPY if plan.is_copy else "")
        tail = new_segment(TAIL)
        if plan.base is not None:
            self._seed_types(plan.base)
        buffer, tail_buffer = (
            Buffer(database.place, staging, source=name, known=self.layouts)
            for name in (segment, tail)
        )
        try:
            known = None
            if ready is not None:
                known = ready.content
                buffer.add_rows(ready.layout, ready.rows)
                self.meter.events += ready.rows.num_rows
            add, tick = functools.partial(self._add, buffer), self.meter.tick
            source = read(plan, segment, add, tick, self.inference, known, **self.options)
            self.parts.append(_Part(plan, segment, frozenset(buffer.new_events)))
            if plan.has_tail:
                source = with_tail(plan, source)
            has_events = plan.base or buffer.new_events or plan.has_tail
            duplicate = self._duplicate_of(plan, source) if has_events else None
            if duplicate is not None:
                buffer.discard()
                return follow.with_path(plan.state, duplicate)
            if plan.has_tail:
                add = functools.partial(self._add, tail_buffer)
                problem = read_tail(plan, add, self.inference, **self.options)
                names = (tail,) if tail_buffer.new_events else ()
                source = replace(source, segments=source.segments + names, tail_problem=problem)
        except BaseException:
            for each in (buffer, tail_buffer):
                self.meter.events -= sum(each.new_events.values())
                each.discard()
            raise
        is_whole = plan.state.idle and not (plan.base or plan.is_copy or plan.has_tail)
        if not (self.is_first and is_whole and self.small.add(segment, buffer)):
            self.files += buffer.finish() + tail_buffer.finish()
        self.layouts |= {**buffer.layouts, **tail_buffer.layouts}
        return source

    def _seed_types(self, base: Source) -> None:
        """Let appended lines have the types of the lines before them."""
        for file in self.snapshot.files:
            if file.source in base.segments:
                self.inference.seed(self.snapshot.layouts[file.fingerprint].schema)

    def _add(self, buffer: Buffer, batch: pa.RecordBatch) -> None:
        buffer.add(batch)
        self.meter.events += batch.num_rows

    def _duplicate_of(self, plan: Plan, source: Source) -> Source | None:
        """Return a file with the same content, whose events must not be counted twice.

        If an incomplete last line becomes final, a file that holds it back is not a duplicate.
        """
        size, _ = source.content
        if not size:
            return None
        others = map(self.sources.get, self.same.get(source.content, ()))
        same = (other for other in others if other and other.content == source.content)
        return next((other for other in same if not (plan.is_final and other.tail_size)), None)

    def _commit(self, database: Database, staging: Path) -> None:
        self._take_over(*self.small.write(self._used_segments(), database.place, staging))
        found = self.sources.values()
        self._take_over(*small_logs.split(self.snapshot, found, database.place, staging))
        known, used = self.snapshot.sources, self._used_segments()
        drop = [file.path for file in self.snapshot.files if file.source not in used]
        files = [item for item in self.files if item.file.source in used]
        changed = [source for key, source in self.sources.items() if known.get(key) != source]
        if not (files or changed or drop or self.removed):
            return

        def check(snapshot: Snapshot) -> None:
            if snapshot.generation != self.snapshot.generation:
                raise OutdatedError

        database.commit(
            files, self.layouts, sources=changed, drop=drop, forget=self.removed, check=check
        )

    def _used_segments(self) -> set[str]:
        return {segment for source in self.sources.values() for segment in source.segments}

    def _take_over(self, files: list[StagedFile], new: dict[str, tuple[str, ...]]) -> None:
        """Add files of several logs, and replace the segments of these logs."""
        self.files += files
        self.sources = {
            key: small_logs.with_segments(source, new) for key, source in self.sources.items()
        }
        self.parts = [
            replace(part, segment=new[part.segment][0]) if part.segment in new else part
            for part in self.parts
        ]


def _if_idle(state: FileState) -> FileState | None:
    return state if state.idle else None


def _is_same(state: FileState, known: Source | None) -> bool:
    return known is not None and follow.is_certain(known.stamp) and known.stamp == state.stamp


def _is_copy(source: Source) -> bool:
    return all(name.startswith((COPY, TAIL)) for name in source.segments)
