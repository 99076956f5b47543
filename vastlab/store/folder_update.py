"""Updates the database of a log folder: reads what is new in its files, and commits it."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Unpack, cast

import pyarrow as pa

from vastlab import readers
from vastlab.errors import FormatError
from vastlab.readers import Inference, ReadOptions
from vastlab.readers.csv_records import OWN_COLUMN, VAST_COLUMN
from vastlab.readers.problems import Problems
from vastlab.readers.source import Source as Content
from vastlab.readers.source import open_source
from vastlab.store import follow, small_logs
from vastlab.store.database import Database
from vastlab.store.follow import (
    HEAD_SIZE,
    CopyFinder,
    FileState,
    Plan,
    digest_with_tail,
    header_of,
    is_plain,
    open_content,
    resume,
    skip,
)
from vastlab.store.layout import COPY, TAIL, Layout, Source, new_segment
from vastlab.store.read_ahead import Ready, read_ahead
from vastlab.store.small_logs import SmallLogs
from vastlab.store.snapshot import Snapshot
from vastlab.store.sources import Digest, HashingReader, Meter, as_format_error, reason_of
from vastlab.store.writer import Buffer, StagedFile

_RANDOM_FORMATS = frozenset({"parquet"})
_KEPT_PROBLEMS = 20
_NEW_HEADERS = {
    "zeek": (b"\n#separator", b"\n#fields"),
    "csv": (f"\n{OWN_COLUMN}".encode(), f"\n{VAST_COLUMN},".encode()),
}


def read(
    plan: Plan,
    segment: str,
    add: Callable[[pa.RecordBatch], None],
    watch: Callable[[], None],
    inference: Inference,
    known: bytes | None = None,
    **options: Unpack[ReadOptions],
) -> Source:
    """Read what is new in a file as part `segment`, and return its new state.

    If its content is `known`, its events were added before.
    """
    base, state = plan.base, plan.state
    problems = Problems(keep=_KEPT_PROBLEMS)
    if plan.end == plan.start:
        return _nothing_added(plan)
    with _content(plan, known) as (content, header, digest):
        reader = _LineReader(content, state.path, plan, watch)
        if digest is not None:
            reader.continue_digest(digest)
        stream = cast("BinaryIO", _Concatenated(header, reader) if header else reader)
        options["format"] = plan.format
        inference.lines_before = base.lines - header.count(b"\n") if base else 0
        if known is None:
            for batch in readers.read(stream, problems=problems, inference=inference, **options):
                add(batch)
        reader.exhaust()
        if isinstance(content, Content) and content.damage:
            raise FormatError(content.damage, path=state.path)
    shift = inference.lines_before
    noted = tuple((p.line + shift if p.line else p.line, p.reason) for p in problems)
    return Source(
        key=state.path,
        size=reader.size + plan.start,
        digest=reader.digest,
        stamp=state.stamp,
        segments=(*(base.segments if base else ()), segment),
        format=plan.format,
        lines=reader.lines + (base.lines if base else 0),
        appendable=reader.appendable,
        problems=((base.problems if base else ()) + noted)[:_KEPT_PROBLEMS],
        problem_count=problems.count + (base.problem_count if base else 0),
        remarks=((base.remarks if base else ()) + inference.remarks_on(state.path))[
            :_KEPT_PROBLEMS
        ],
        origin=plan.origin,
    )


def _nothing_added(plan: Plan) -> Source:
    """Return the new state of a file to which no complete line was added."""
    state = plan.state
    if plan.base is not None:
        return replace(plan.base, key=state.path, stamp=state.stamp, origin=plan.origin)
    return Source(
        state.path,
        0,
        Digest().value(),
        stamp=state.stamp,
        format=plan.format,
        origin=plan.origin,
    )


def with_tail(plan: Plan, source: Source) -> Source:
    """Add the size and digest of the incomplete last line."""
    digest = digest_with_tail(plan.state, source)
    if digest is None:
        raise _replaced(plan)
    return replace(source, tail_size=plan.state.size - source.size, tail_digest=digest)


def read_tail(
    plan: Plan,
    add: Callable[[pa.RecordBatch], None],
    inference: Inference,
    **options: Unpack[ReadOptions],
) -> str:
    """Read an incomplete last line as if it were complete; return the problem, or ``""``."""
    end, path = plan.end or 0, plan.state.path
    problems = Problems(keep=1)
    options["format"] = plan.format
    inference = copy.deepcopy(inference)  # an incomplete line must not change the types of others
    with open(path, "rb") as content:
        header = header_of(content.read(min(HEAD_SIZE, end)), plan.format)
        content.seek(end)
        reader = HashingReader(content, path, end=plan.state.size - end)
        stream = cast("BinaryIO", _Concatenated(header, reader))
        try:
            batches = list(readers.read(stream, problems=problems, inference=inference, **options))
        except FormatError as error:
            return reason_of(error, path)
    for batch in batches:
        add(batch)
    return next((problem.reason for problem in problems), "")


def _replaced(plan: Plan) -> FormatError:
    return FormatError("the file was replaced while it was read", path=plan.state.path)


@contextmanager
def _content(
    plan: Plan, known: bytes | None
) -> Iterator[tuple[BinaryIO | Content, bytes, Digest | None]]:
    """Open a file where reading starts; yields the file, its header, and the digest so far."""
    base, path = plan.base, plan.state.path
    if known is not None:
        yield io.BytesIO(known), b"", None
    elif base is None:
        with open_content(path) as content:
            yield content, b"", None
    elif is_plain(path):
        digest = resume(path, base)
        if digest is None:
            raise _replaced(plan)
        with open(path, "rb") as stream:
            header = header_of(stream.read(min(HEAD_SIZE, base.size)), plan.format)
            stream.seek(base.size)
            yield stream, header, digest
    else:
        with open(path, "rb") as stream, open_source(stream) as content:
            header = header_of(content.peek(min(HEAD_SIZE, base.size)), plan.format)
            yield content, header, skip(content, base.size)


class _LineReader(HashingReader):
    """A reader that counts lines and detects later headers."""

    def __init__(
        self,
        stream: BinaryIO | Content,
        name: str,
        plan: Plan,
        watch: Callable[[], None],
    ) -> None:
        end = None if plan.end is None else plan.end - plan.start
        random = isinstance(stream, io.BufferedReader) and plan.format in _RANDOM_FORMATS
        super().__init__(cast("BinaryIO", stream), name, end=end, watch=watch, random=random)
        self.lines = 0
        self._format = plan.format
        self._by_lines = plan.by_lines
        self._is_cut = plan.end is not None
        self._in_header = plan.base is None and plan.format == "zeek"
        self._one_header = True
        self._quotes = 0
        self._last = b"" if plan.base is None else b"\n"  # a base ends with a complete line

    @property
    def appendable(self) -> bool:
        """Whether lines that are added later can be read with the header alone."""
        is_simple = self._by_lines and self._one_header and not self._in_header
        # A newline in a quoted CSV field does not end a line; `plan.end` takes care of that.
        is_unquoted = self._is_cut or self._quotes % 2 == 0
        return is_simple and self._last[-1:] == b"\n" and is_unquoted

    def read(self, size: int = -1, /) -> bytes:
        """Read, and look at the lines."""
        data = super().read(size)
        if data:
            self.lines += data.count(b"\n")
            if self._format == "csv":
                self._quotes += data.count(b'"')
            seen = self._last + data
            if self._format in _NEW_HEADERS:
                self._find_headers(seen)
            self._last = seen if self._in_header else seen[-16:]
        return data

    def _find_headers(self, seen: bytes) -> None:
        """Detect a second header: lines that are added later could belong to either."""
        if self._in_header:
            header = header_of(seen, "zeek")
            self._in_header = len(header) == len(seen)
            seen = b"\n" + seen[len(header) :]
        if any(header in seen for header in _NEW_HEADERS[self._format]):
            self._one_header = False


class _Concatenated(io.RawIOBase):
    """A file that gives a header, then the rest of a file."""

    def __init__(self, header: bytes, reader: HashingReader) -> None:
        self.name = reader.name
        self._header = header
        self._reader = reader

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read the header first."""
        if self._header:
            size = len(self._header) if size < 0 else size
            part, self._header = self._header[:size], self._header[size:]
            return part
        return self._reader.read(size)


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
            return read_ahead(self.changed, self.options)
        return ((state, None) for state in self.changed)

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


def _is_same(state: FileState, known: Source | None) -> bool:
    return known is not None and follow.is_certain(known.stamp) and known.stamp == state.stamp


def _is_copy(source: Source) -> bool:
    return all(name.startswith((COPY, TAIL)) for name in source.segments)
