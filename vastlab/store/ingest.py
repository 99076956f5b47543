"""Ingesting: from files and events in memory into a database, all or nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, LockedError
from vastlab.store import _sources, readers
from vastlab.store._buffer import Buffer
from vastlab.store._meter import IngestProgress, Meter
from vastlab.store._sources import EventSource, FileSource, StreamSource, Tap
from vastlab.store.database import Database
from vastlab.store.layout import Snapshot, Source
from vastlab.store.readers._problems import Problem, Problems
from vastlab.store.readers._source import stream_name

__all__ = ["IngestProgress", "IngestReport", "ingest"]


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    Parameters
    ----------
    events
        How many events were added, by schema name.
    files
        The files that were read, by path.
    skipped
        The files that had been ingested before, or that occurred twice.
    failed
        The files that could not be read, and of which no event was added.
    problems
        What was wrong with which line or file: the first so many.
    problem_count
        How many problems there were.
    bytes
        How many bytes were read from files.
    elapsed
        Seconds.

    Examples
    --------
    >>> IngestReport({"zeek.conn": 8462}, files=("conn.log",)).events
    {'zeek.conn': 8462}
    """

    events: dict[str, int]
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    bytes: int = 0
    elapsed: float = 0.0


def ingest(
    database: Database,
    sources: object,
    *,
    schema: str | None = None,
    format: str | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
    cancelled: threading.Event | None = None,
    budget: int | None = None,
    target_size: int | None = None,
) -> IngestReport:
    """Add the events of files or of objects in memory to a database, in one step.

    Readers of the database see all of the events or none. A source that turns out to be
    unusable adds nothing, is named in the report, and does not stop the others; where no
    source can be used, its error is raised.

    Parameters
    ----------
    database
        Where to.
    sources
        One or several: paths, patterns, folders, open binary files, Arrow batches and
        tables, frames.
    schema
        The schema name, for sources that carry none.
    format
        The name of the files' format, which is found out otherwise.
    strict
        Let the first problem be an error, so that nothing is added.
    force
        Read files that were ingested before once more.
    progress
        Called now and then, at most ten times a second and at the end.
    cancelled
        Set it from another thread to give up; nothing is added then.
    budget
        Bytes of events to hold in memory.
    target_size
        Bytes that a file of the database should have.

    Returns
    -------
    IngestReport
        What was added, and what was wrong.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.create(folder)
    ...     report = ingest(database, pa.table({"port": [80, 443]}), schema="my.ports")
    >>> report.events
    {'my.ports': 2}
    """
    with database.staging() as staging:
        buffer = Buffer(database.path, staging, budget=budget, target_size=target_size)
        work = _Ingest(
            buffer, database.snapshot(), schema, format, strict, force, progress, cancelled
        )
        work.run(sources)
        files = buffer.finish()
        work.meter.check_cancelled()
        if files or work.read:
            sources = work.read.values()
            database.commit(files, buffer.layouts, sources=sources, check=work.check_for_rivals)
    return work.report()


@dataclass(slots=True)
class _Ingest:
    """One ingest that is under way."""

    buffer: Buffer
    snapshot: Snapshot
    schema: str | None
    format: str | None
    strict: bool
    force: bool
    progress: Callable[[IngestProgress], None] | None
    cancelled: threading.Event | None
    problems: Problems = field(init=False)
    read: dict[str, Source] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[FormatError] = field(default_factory=list)
    used: int = 0
    meter: Meter = field(init=False)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.problems = Problems(strict=self.strict)
        self.meter = Meter(self.progress, self.cancelled)

    def run(self, sources: object) -> None:
        """Read all sources into the buffer."""
        for source in self.meter.count(_sources.expand(sources)):
            self.meter.check_cancelled()
            match source:
                case FileSource():
                    self._read_file(source)
                case StreamSource(stream):
                    label = stream_name(stream)
                    self._take(label, Tap(stream, label, watch=self.meter.tick))
                case EventSource(batches):
                    self._take_events(batches())
            self.meter.files_done += 1
        self.meter.show(final=True)
        if self.errors and not self.used and not self.skipped:
            raise _first_of(self.errors)

    def check_for_rivals(self, snapshot: Snapshot) -> None:
        """Refuse to commit what another process has ingested meanwhile."""
        if self.force:
            return
        known = {(source.size, source.digest) for source in snapshot.sources.values()}
        for source in self.read.values():
            if (source.size, source.digest) in known:
                msg = f"another process has ingested {source.key!r} meanwhile; nothing was added"
                raise LockedError(msg, hint="try again: what is there already is skipped then")

    def report(self) -> IngestReport:
        """Say what was done."""
        return IngestReport(
            events=self.buffer.events,
            files=tuple(self.files),
            skipped=tuple(self.skipped),
            failed=tuple(self.failed),
            problems=tuple(self.problems),
            problem_count=self.problems.count,
            bytes=self.meter.bytes_done,
            elapsed=time.monotonic() - self.started,
        )

    def _read_file(self, source: FileSource) -> None:
        path, label = source.path, str(source.path)
        self.meter.source = label
        try:
            regular = _sources.is_regular(path)
            if regular and not self.force and self._is_known(path):
                self.skipped.append(label)
                return
            if source.found and self.format is None and not self._is_log(label):
                return
            with path.open("rb") as stream:
                stamp = _sources.stamp_of(path.stat())
                random = regular and _sources.wants_random_access(stream)
                tap = Tap(stream, label, watch=self.meter.tick, random=random)
                before = sum(self.buffer.events.values())
                taken = self._take(label, tap) and sum(self.buffer.events.values()) > before
                # Of a file that gave nothing, another format may be tried.
                if taken and regular:
                    self.read[label] = Source(label, tap.size, tap.digest, stamp)
        except OSError as error:
            self._fail(label, FormatError(f"cannot be read: {error.strerror}", path=label))

    def _is_log(self, label: str) -> bool:
        """Pass over a file that only happens to lie in a folder of logs."""
        try:
            with open(label, "rb") as stream:
                readers.detect(stream)
        except FormatError as error:
            self._note(label, error)
            return False
        return True

    def _is_known(self, path: Path) -> bool:
        """Compare with what was read before: by digest, where the size is the same."""
        size = path.stat().st_size
        known = {
            other.digest
            for other in (*self.snapshot.sources.values(), *self.read.values())
            if other.size == size
        }
        return bool(known) and _sources.digest_of(path, size) in known

    def _take(self, label: str, tap: Tap) -> bool:
        """Read one source whole, or nothing of it; tells which."""
        self.meter.source = label
        try:
            with self.meter.measure(tap):
                batches = readers.read(
                    cast("BinaryIO", tap),
                    format=self.format,
                    schema=self.schema,
                    problems=self.problems,
                )
                for batch in batches:
                    self._add(batch, None)
                tap.exhaust()
        except (FormatError, pa.ArrowException, OSError, EOFError) as error:
            self._fail(label, _as_format_error(error, label))
            return False
        self._accept()
        self.files.append(label)
        return True

    def _take_events(self, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            self.meter.tick()
            self._add(batch, self.schema if not arrow_schema.name_of(batch.schema) else None)
        self._accept()

    def _add(self, batch: pa.RecordBatch, name: str | None) -> None:
        self.buffer.add(batch, name)
        self.meter.events += batch.num_rows

    def _accept(self) -> None:
        self.buffer.keep()
        self.used += 1

    def _fail(self, label: str, error: FormatError) -> None:
        lost = sum(self.buffer.new_events.values())
        self.meter.events -= lost
        self.buffer.discard()
        if self.strict:
            raise error
        self.failed.append(label)
        self._note(label, error, f"; none of the {lost} events before that were added" * bool(lost))

    def _note(self, label: str, error: FormatError, more: str = "") -> None:
        reason = _sources.reason_of(error, label) + more
        self.problems.add(label, error.line, reason)
        self.errors.append(FormatError(reason, path=label, line=error.line, hint=error.hint))


def _first_of(errors: list[FormatError]) -> FormatError:
    first = errors[0]
    if len(errors) == 1:
        return first
    more = f"{len(errors) - 1} more files cannot be read either"
    return FormatError(f"{first.message}; {more}", hint=first.hint)


def _as_format_error(error: Exception, label: str) -> FormatError:
    if isinstance(error, FormatError):
        return error
    return FormatError(f"cannot be read: {error}", path=label)
