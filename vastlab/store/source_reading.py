"""Reads the sources of one import into a buffer, and reports what was read."""

from __future__ import annotations

import io
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.readers import ReadOptions
from vastlab.readers.batch_check import BatchChecker
from vastlab.readers.inference import Inference
from vastlab.readers.problems import Problem, Problems
from vastlab.readers.source import stream_name
from vastlab.store.buffer import Buffer
from vastlab.store.follow import FileState
from vastlab.store.layout import Source
from vastlab.store.read_ahead import Ready, read_ahead
from vastlab.store.sources import (
    AnySource,
    EventSource,
    FileSource,
    HashingReader,
    Meter,
    StreamSource,
    UnreadableSource,
    as_format_error,
    digest_of,
    is_regular,
    reason_of,
    stamp_of,
    wants_random_access,
)

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
        Why files of `failed` were not added, and the first other problems, with line numbers.
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


@dataclass(frozen=True, slots=True)
class _Copied:
    """A stream that was read, and a copy of its content."""

    label: str
    content: tempfile.SpooledTemporaryFile[bytes]


@dataclass(slots=True)
class SourceReader:
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
    earlier: dict[str, Source] = field(init=False)  # files of earlier imports, by path
    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[FormatError] = field(default_factory=list)
    used: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.earlier = {source.key: source for source in self.known}
        self._forget()

    def run(self, sources: Iterable[AnySource]) -> None:
        """Read all sources; read files again if a field later turned out to be text."""
        for (source, state), ready in read_ahead(
            self._with_states(sources), lambda pair: pair[1], self.options
        ):
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

    def _with_states(
        self, sources: Iterable[AnySource]
    ) -> Iterator[tuple[AnySource, FileState | None]]:
        for source in self.meter.count(sources):
            self.meter.tick()  # many may be looked at before the first is read
            yield source, _state_of(source)

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
            problems=self._ordered_problems(),
            problem_count=self.problems.count,
            remarks=tuple(self.inference.remarks.values()),
            bytes=self.meter.bytes_done,
            elapsed=time.monotonic() - self.started,
        )

    def _ordered_problems(self) -> tuple[Problem, ...]:
        """Return first why files were not added, so that bad lines of others do not hide it."""
        failed = set(self.failed)
        reasons = {
            Problem(path, error.line, reason_of(error, path)): None  # in their order
            for error in self.errors
            if (path := error.path) is not None and path in failed
        }
        return (*reasons, *(problem for problem in self.problems if problem not in reasons))

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
        """Remember the content of a file; report one of which the first part was added before."""
        self.read[source.key] = source
        self.digests.setdefault(source.size, set()).add(source.digest)
        before = None if self.force else self.earlier.get(source.key)
        if before is None or before.size >= source.size:
            return
        if digest_of(Path(source.key), before.size) == before.digest:
            count = f"its first {before.size:,} bytes were added before it grew"
            self.problems.add(source.key, None, f"{count}, and their events are there twice now")

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
