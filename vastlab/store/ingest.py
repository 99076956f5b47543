"""Importing files and events in memory into a database, all or nothing."""

from __future__ import annotations

import io
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Unpack, cast

import pyarrow as pa

from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.readers import ReadOptions
from vastlab.readers.batch_check import BatchChecker
from vastlab.readers.inference import Inference
from vastlab.readers.problems import Problem, Problems
from vastlab.readers.source import check_encoding, stream_name
from vastlab.store import compact
from vastlab.store.buffer import Buffer
from vastlab.store.database import Database, refuse_duplicates
from vastlab.store.follow import FileState
from vastlab.store.layout import Layout, Source
from vastlab.store.place import Place
from vastlab.store.read_ahead import Ready, read_ahead
from vastlab.store.snapshot import Snapshot
from vastlab.store.sources import (
    AnySource,
    EventSource,
    FileSource,
    HashingReader,
    IngestProgress,
    Meter,
    StreamSource,
    UnreadableSource,
    as_format_error,
    digest_of,
    expand,
    is_regular,
    reason_of,
    stamp_of,
    wants_random_access,
)
from vastlab.store.writer import StagedFile

__all__ = [
    "IngestProgress",
    "IngestReport",
    "StagedImport",
    "commit",
    "ingest",
    "must_have_read",
    "stage",
]

_IN_MEMORY = 64 << 20  # bytes of a copied stream


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The result of an import.

    Parameters
    ----------
    events
        How many events were added, by schema name.
    files
        The paths of the files that were read.
    skipped
        The files that had already been imported, or that occurred twice.
    failed
        The files that could not be read; none of their events were added.
    problems
        The first problems, with files and line numbers.
    problem_count
        The number of all problems.
    remarks
        Which fields became text, and because of which values.
    bytes
        How many bytes were read from files.
    elapsed
        The duration in seconds.
    """

    events: dict[str, int]
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    remarks: tuple[str, ...] = ()
    bytes: int = 0
    elapsed: float = 0.0


def ingest(
    database: Database,
    sources: object,
    *,
    strict: bool = False,
    force: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
    cancelled: threading.Event | None = None,
    budget: int | None = None,
    target_size: int | None = None,
    **options: Unpack[ReadOptions],
) -> IngestReport:
    """Add the events of files or of objects in memory to a database, in one step.

    Readers of the database see all of the events or none. An unreadable source is listed in the
    report, and the other sources are imported. If all sources are unreadable, or at the first
    problem if `strict`, an error is raised. With `force`, imported files are read again. Another
    thread may set `cancelled`; nothing is added then.
    """
    check_encoding(options.get("encoding"))
    started = time.monotonic()
    with database.staging() as staging:
        staged = stage(
            database.place,
            staging,
            expand(sources),
            database.snapshot().sources.values(),
            strict=strict,
            force=force,
            progress=progress,
            cancelled=cancelled,
            budget=budget,
            target_size=target_size,
            **options,
        )
        must_have_read([staged])
        commit(database, [staged], force=force)
    compact.merge_after_import(database)
    return replace(staged.report, elapsed=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class StagedImport:
    """What was read of some sources, and is not yet part of a database."""

    report: IngestReport
    files: tuple[StagedFile, ...]
    layouts: Mapping[str, Layout]
    sources: tuple[Source, ...]
    errors: tuple[FormatError, ...]  # of sources that could not be read
    used: int  # sources that were read


def stage(
    place: Place,
    staging: Path,
    sources: Iterable[AnySource],
    known: Iterable[Source],
    *,
    strict: bool = False,
    force: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
    cancelled: threading.Event | None = None,
    budget: int | None = None,
    target_size: int | None = None,
    **options: Unpack[ReadOptions],
) -> StagedImport:
    """Read sources into files of a staging folder; those that are `known` are skipped."""
    meter = Meter(progress, cancelled)
    with (
        Buffer(place, staging, budget=budget, target_size=target_size) as from_memory,
        Buffer(place, staging, budget=budget, target_size=target_size) as read,
    ):
        work = _Ingest(from_memory, read, tuple(known), options, strict, force, meter)
        with work.copies:
            work.run(sources)
        files = from_memory.finish() + read.finish()
    meter.check_cancelled()
    layouts = {**from_memory.layouts, **read.layouts}
    return StagedImport(
        work.report(),
        tuple(files),
        layouts,
        tuple(work.read.values()),
        tuple(work.errors),
        work.used,
    )


def must_have_read(parts: Sequence[StagedImport]) -> None:
    """Raise an error if no source could be read."""
    errors = [error for part in parts for error in part.errors]
    if errors and not any(part.used or part.report.skipped for part in parts):
        raise _combined_error(errors)


def commit(database: Database, parts: Sequence[StagedImport], *, force: bool = False) -> None:
    """Add what was staged, in one step.

    Raises `LockedError` if another process has imported one of the files meanwhile, unless `force`.
    """
    files = [file for part in parts for file in part.files]
    sources = [source for part in parts for source in part.sources]
    layouts = {key: layout for part in parts for key, layout in part.layouts.items()}

    def check(snapshot: Snapshot) -> None:
        if not force:
            refuse_duplicates(sources, snapshot)

    if files or sources:
        database.commit(files, layouts, sources=sources, check=check)


@dataclass(frozen=True, slots=True)
class _Copied:
    """A stream that was read, and a copy of its content."""

    label: str
    content: tempfile.SpooledTemporaryFile[bytes]


@dataclass(slots=True)
class _Ingest:
    """The state of one import."""

    from_memory: Buffer  # events in memory
    buffer: Buffer  # events of files and streams
    known: Sequence[Source]  # that were imported before
    options: ReadOptions
    strict: bool
    force: bool
    meter: Meter
    problems: Problems = field(init=False)
    inference: Inference = field(default_factory=Inference)
    sources: list[FileSource | UnreadableSource | _Copied] = field(default_factory=list)
    copies: ExitStack = field(default_factory=ExitStack)
    read: dict[str, Source] = field(default_factory=dict)
    digests: dict[int, set[str]] = field(init=False)  # of contents that were read, by size
    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[FormatError] = field(default_factory=list)
    used: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._forget()

    def run(self, sources: Iterable[AnySource]) -> None:
        """Read all sources; read files again if a field later turned out to be text."""
        states = ((source, _state_of(source)) for source in self.meter.count(sources))
        for (source, state), ready in read_ahead(states, lambda pair: pair[1], self.options):
            match source:
                case FileSource() if state is not None and ready is not None:
                    self._take_ready(source, state, ready)
                case EventSource(batches):
                    self.meter.check_cancelled()
                    self._take_events(batches())
                    self.meter.files_done += 1
                case StreamSource(stream):
                    self._copy(stream)
                case UnreadableSource() | FileSource():
                    self._read_again(source)
        while self.inference.is_outdated:
            self._restart()
        self.meter.show(final=True)

    def _restart(self) -> None:
        """Read files and streams again, with the types that are known now."""
        self.inference.restart()
        self.meter.restart()
        self.buffer.clear()
        self._forget()
        sources = self.sources[:]
        for names in (self.files, self.skipped, self.failed, self.errors, self.sources):
            names.clear()
        for source in sources:
            self._read_again(source)

    def _forget(self) -> None:
        """Begin without problems and contents, except for those of earlier imports."""
        self.problems = Problems(strict=self.strict)
        self.read.clear()
        self.digests = {}
        for source in self.known:
            self.digests.setdefault(source.size, set()).add(source.digest)

    def _copy(self, stream: BinaryIO) -> None:
        """Read a stream, and copy its content, since it can be read only once."""
        self.meter.check_cancelled()
        label = stream_name(stream)
        copy = self.copies.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115  # closed by `copies`
        self.sources.append(_Copied(label, copy))
        self._take(label, HashingReader(stream, label, watch=self.meter.tick, copy=copy))
        self.meter.files_done += 1

    def _read_again(self, source: FileSource | UnreadableSource | _Copied) -> None:
        """Read a source that can be read several times."""
        self.meter.check_cancelled()
        self.sources.append(source)
        match source:
            case FileSource():
                self._read_file(source)
            case UnreadableSource(path, error):
                self._fail(str(path), error)
            case _Copied(label, content):
                content.seek(0)
                self._take(
                    label, HashingReader(cast("BinaryIO", content), label, watch=self.meter.tick)
                )
        self.meter.files_done += 1

    def _take_ready(self, source: FileSource, state: FileState, ready: Ready) -> None:
        """Add the events of a log that was read together with others."""
        self.meter.check_cancelled()
        self.meter.source = state.path
        self.sources.append(source)
        content = HashingReader(io.BytesIO(ready.content), state.path)
        content.exhaust()
        if not self.force and content.digest in self.digests.get(content.size, ()):
            self.skipped.append(state.path)
        else:
            self.buffer.add_rows(ready.layout, ready.rows)
            self.buffer.keep()
            self.used += 1
            self.files.append(state.path)
            self.meter.events += ready.rows.num_rows
            self.meter.bytes_done += content.size
            self._record(Source(state.path, content.size, content.digest, state.stamp))
        self.meter.files_done += 1
        self.meter.tick()

    def report(self) -> IngestReport:
        """Return the result."""
        return IngestReport(
            events=_added_counts(self.from_memory.events, self.buffer.events),
            files=tuple(self.files),
            skipped=tuple(self.skipped),
            failed=tuple(self.failed),
            problems=tuple(self.problems),
            problem_count=self.problems.count,
            remarks=tuple(self.inference.remarks.values()),
            bytes=self.meter.bytes_done,
            elapsed=time.monotonic() - self.started,
        )

    def _read_file(self, source: FileSource) -> None:
        path, label = source.path, str(source.path)
        self.meter.source = label
        try:
            regular = is_regular(path)
            if regular and not self.force and self._is_known(path):
                self.skipped.append(label)
                return
            if source.in_folder and self.options.get("format") is None and not self._is_log(label):
                return
            with path.open("rb") as stream:
                stamp = stamp_of(path.stat())
                random = regular and wants_random_access(stream)
                reader = HashingReader(stream, label, watch=self.meter.tick, random=random)
                before = sum(self.buffer.events.values())
                taken = self._take(label, reader) and sum(self.buffer.events.values()) > before
                # A file without events is not recorded, so that another format can be tried.
                if taken and regular:
                    self._record(Source(label, reader.size, reader.digest, stamp))
        except OSError as error:
            self._fail(label, as_format_error(error, label))

    def _is_log(self, label: str) -> bool:
        """Return whether a file in a folder has a known format; add a problem otherwise."""
        try:
            with open(label, "rb") as stream:
                readers.detect(stream, self.options.get("encoding"))
        except Exception as error:
            if isinstance(error, OSError) or not self.meter.concerns_source(error):
                raise
            self._note(label, as_format_error(error, label))
            return False
        return True

    def _is_known(self, path: Path) -> bool:
        """Return whether the same content was read before."""
        size = path.stat().st_size
        return size in self.digests and digest_of(path, size) in self.digests[size]

    def _record(self, source: Source) -> None:
        """Remember the content of a file."""
        self.read[source.key] = source
        self.digests.setdefault(source.size, set()).add(source.digest)

    def _take(self, label: str, reader: HashingReader) -> bool:
        """Add all events of a source or none; return whether they were added."""
        self.meter.source = label
        try:
            with self.meter.measure(reader):
                batches = readers.read(
                    cast("BinaryIO", reader),
                    problems=self.problems,
                    inference=self.inference,
                    **self.options,
                )
                for batch in batches:
                    self.buffer.add(batch)
                    self.meter.events += batch.num_rows
                reader.exhaust()
        except Exception as error:
            if not self.meter.concerns_source(error):
                raise
            self._fail(label, as_format_error(error, label))
            return False
        self.buffer.keep()
        self.used += 1
        self.files.append(label)
        return True

    def _take_events(self, batches: Iterable[pa.RecordBatch]) -> None:
        checker = BatchChecker("events in memory", self.problems)
        for batch in batches:
            self.meter.tick()
            named = bool(arrow_schema.name_of(batch.schema))
            for part in checker.convert(batch, None if named else self.options.get("schema")):
                self.from_memory.add(part)
                self.meter.events += part.num_rows
        checker.report()
        self.from_memory.keep()
        self.used += 1

    def _fail(self, label: str, error: FormatError) -> None:
        lost = sum(self.buffer.new_events.values())
        self.meter.events -= lost
        self.buffer.discard()
        if self.strict:
            raise error
        self.failed.append(label)
        more = f"; the {lost} events before this were not added" if lost else ""
        self._note(label, error, more)

    def _note(self, label: str, error: FormatError, more: str = "") -> None:
        reason = reason_of(error, label) + more
        self.problems.add(label, error.line, reason)
        self.errors.append(FormatError(reason, path=label, line=error.line, hint=error.hint))


def _state_of(source: AnySource) -> FileState | None:
    """Return the state of a regular file."""
    if isinstance(source, FileSource):
        with suppress(OSError):  # reading the file reports the error
            found = source.path.stat()
            if stat.S_ISREG(found.st_mode):
                return FileState(str(source.path), stamp_of(found), found.st_size)
    return None


def _added_counts(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _combined_error(errors: list[FormatError]) -> FormatError:
    first = errors[0]
    if len(errors) == 1:
        return first
    more = f"{len(errors) - 1} more files cannot be read"
    return FormatError(f"{first.message}; {more}", hint=first.hint)
