"""The sources of an import: finding files, computing digests, and reporting progress."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import pyarrow as pa

from vastlab._lazy import pd
from vastlab._text import first_line
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, QueryInterrupted, UsageError, VastlabError
from vastlab.store.database import is_database
from vastlab.table_slice import TableSlice

BLOCK = 1 << 20
_HEX = 64


class Digest:
    """Resumable SHA-256 of a growing file.

    It consists of a chain of SHA-256 over complete blocks, and a separate SHA-256 of the last one
    or two blocks. The digest and these last bytes are enough to resume, and to distinguish a file
    that grew from one that was replaced.
    """

    def __init__(self) -> None:
        self._chain = bytes(32)
        self._rest = bytearray()

    @classmethod
    def resume(cls, value: str, rest: bytes) -> Digest | None:
        """Resume from `value` and the bytes from `rest_start` on; None if they do not match."""
        digest = cls()
        digest._chain = bytes.fromhex(value[:_HEX])
        digest._rest += rest
        return digest if digest.value() == value else None

    def update(self, data: bytes) -> None:
        """Add bytes."""
        new = memoryview(data)
        while len(self._rest) + len(new) >= 2 * BLOCK:
            chain = hashlib.sha256(self._chain)
            with memoryview(self._rest)[:BLOCK] as block:
                chain.update(block)
            missing = max(0, BLOCK - len(self._rest))
            chain.update(new[:missing])
            self._chain = chain.digest()
            del self._rest[:BLOCK]
            new = new[missing:]
        self._rest += new

    def value(self) -> str:
        """Return the digest so far, in hexadecimal."""
        return self._chain.hex() + hashlib.sha256(self._rest).hexdigest()


def rest_start(size: int) -> int:
    """Return the first position that `Digest.resume` needs, for a digest over `size` bytes."""
    return max(0, size // BLOCK - 1) * BLOCK


_CHUNK = 1 << 20
_POLL_INTERVAL = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on disk; `in_folder` if the user named its folder, which may hold other files."""

    path: Path
    in_folder: bool = False


@dataclass(frozen=True, slots=True)
class UnreadableSource:
    """A file or subfolder in a folder that cannot be read."""

    path: Path
    error: FormatError


@dataclass(frozen=True, slots=True)
class StreamSource:
    """An open binary file, such as standard input."""

    stream: BinaryIO


@dataclass(frozen=True, slots=True)
class EventSource:
    """Events in memory."""

    batches: Callable[[], Iterable[pa.RecordBatch]]


AnySource = FileSource | UnreadableSource | StreamSource | EventSource


def expand(sources: object) -> Iterator[AnySource]:
    """Yield what a caller passes: paths, patterns, folders, open files, Arrow data, data frames."""
    match sources:
        case str() | os.PathLike():
            yield from _expand_path(os.fspath(sources))
        case pa.RecordBatch():
            yield EventSource(lambda: [sources])
        case pa.Table():
            yield EventSource(sources.to_batches)
        case TableSlice():
            yield EventSource(lambda: [sources.to_pyarrow()])
        case pd.DataFrame():
            yield EventSource(lambda: _frame_batches(sources))
        case Mapping():
            for value in sources.values():
                yield from expand(value)
        case _:
            yield from _expand_object(sources)


def _expand_object(sources: Any) -> Iterator[AnySource]:
    if callable(getattr(sources, "read", None)):
        yield StreamSource(sources)
    elif hasattr(sources, "__arrow_c_stream__"):
        yield EventSource(lambda: pa.RecordBatchReader.from_stream(sources))
    elif hasattr(sources, "__arrow_c_array__"):
        yield EventSource(lambda: [pa.record_batch(sources)])
    elif isinstance(sources, Iterable) and not isinstance(sources, bytes | bytearray):
        for source in sources:
            yield from expand(source)
    else:
        msg = f"cannot import an object of type {type(sources).__name__}"
        raise UsageError(msg, hint="pass paths of files or folders, Arrow tables or data frames")


def _frame_batches(frame: pd.DataFrame) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = pa.Table.from_pandas(frame, preserve_index=False).to_batches()
    name = arrow_schema.name_of(batches[0].schema) if batches else ""
    metadata = {"VAST:name:0": name} if name else {}  # without the part that pandas adds
    return [batch.replace_schema_metadata(metadata) for batch in batches]


def _expand_path(text: str) -> Iterator[FileSource | UnreadableSource]:
    if not text:
        raise UsageError("the path is empty", hint="name a file, a folder or a pattern")
    path = Path(text).absolute()
    if path.is_dir():
        found = list(files_below(path))
        if not found:
            raise UsageError(f"the folder {text!r} contains no files")
        yield from found
    elif path.exists():
        yield FileSource(path)
    else:
        matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
        if not matches:
            what = "no file matches" if glob.has_magic(text) else "no such file or folder:"
            raise UsageError(f"{what} {text!r}", hint="check the spelling")
        for match in matches:
            yield from _expand_path(match)


def files_below(folder: Path) -> Iterator[FileSource | UnreadableSource]:
    """Yield the files below a folder, sorted; not hidden files, databases, pipes and devices."""
    errors: list[OSError] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=errors.append):
        real = os.path.realpath(root)
        if real in seen or is_database(root):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield from _found_file(Path(root, name))
    for error in errors:
        path = Path(error.filename)
        yield UnreadableSource(path, as_format_error(error, str(path)))


def _found_file(path: Path) -> Iterator[FileSource | UnreadableSource]:
    try:
        if is_regular(path):
            yield FileSource(path, in_folder=True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return  # it was deleted, or it is a broken link
        yield UnreadableSource(path, as_format_error(error, str(path)))


def is_regular(path: Path) -> bool:
    """Return whether a path is a regular file, which can be read twice."""
    return stat.S_ISREG(path.stat().st_mode)


class HashingReader(io.RawIOBase):
    """An open file that counts and digests the bytes that are read from it.

    Parameters
    ----------
    name
        For messages.
    end
        At most this many bytes are read.
    watch
        Called after each read, and while waiting for a pipe; may raise to stop reading.
    random
        Allow `seek`; then `exhaust` computes the digest.
    copy
        A file to write a copy to.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        end: int | None = None,
        watch: Callable[[], None] = lambda: None,
        random: bool = False,
        copy: IO[bytes] | None = None,
    ) -> None:
        super().__init__()
        self._random = random
        self.name = name
        self.size = 0
        self._stream = stream
        self._end = end
        self._watch = watch
        self._copy = copy
        self._digest = Digest()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether `seek` is allowed."""
        return self._random

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position, if that is allowed."""
        if not self._random:
            raise io.UnsupportedOperation("seek")
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        """Read, count and digest."""
        if self._end is not None:
            left = self._end - self.size
            size = left if size < 0 else min(size, left)
        while not _is_ready(self._stream):
            self._watch()
        data = self._stream.read(size) or b""
        if not self._random:
            self._digest.update(data)
            self.size += len(data)
        if self._copy is not None:
            self._copy.write(data)
        self._watch()
        return data

    def continue_digest(self, digest: Digest) -> None:
        """Continue a digest of the bytes before the first one that is read."""
        self._digest = digest

    def exhaust(self) -> None:
        """Read the rest of the file, which is part of the digest."""
        if self._random:
            self._stream.seek(0)
            self._random = False
        while self.read(_CHUNK):
            pass

    @property
    def digest(self) -> str:
        """The digest of what was read."""
        return self._digest.value()


def _is_ready(stream: BinaryIO) -> bool:
    """Wait a short time until an unbuffered file has data; others are read directly."""
    if not isinstance(stream, io.FileIO) or os.name != "posix":
        return True
    return bool(select.select([stream], [], [], _POLL_INTERVAL)[0])


def wants_random_access(stream: BinaryIO) -> bool:
    """Return whether the format of a file needs `seek`; the position is 0 afterwards."""
    head = stream.read(4)
    stream.seek(0)
    return head == b"PAR1"


def digest_of(path: Path, size: int) -> str:
    """Compute the digest of the first `size` bytes of a file."""
    with path.open("rb") as stream:
        reader = HashingReader(stream, str(path), end=size)
        reader.exhaust()
    return reader.digest


def stamp_of(found: os.stat_result) -> str:
    """Return a text that differs after a file was changed, replaced or appended to."""
    # Programs can set the modification time of a file, but not the change time.
    times = f"{found.st_mtime_ns}:{found.st_ctime_ns}"
    return f"{found.st_size}:{times}:{found.st_dev}:{found.st_ino}"


def as_format_error(error: Exception, label: str) -> FormatError:
    """Turn any error from reading a source, even a bug of a reader, into a `FormatError`."""
    match error:
        case FormatError():
            return error
        case MemoryError():
            return FormatError("not enough memory to read it", path=label)
        case OSError():
            return FormatError(f"cannot be read: {error.strerror or error}", path=label)
        case pa.ArrowException() | EOFError():
            return FormatError(f"cannot be read: {first_line(error)}", path=label)
        case _:
            reason = f"a bug in vastlab: {type(error).__name__}: {first_line(error)}"
            return FormatError(reason, path=label, hint="please report it")


def reason_of(error: FormatError, label: str) -> str:
    """Return an error's message without the file name and line number at its beginning."""
    place = label if error.line is None else f"{label}:{error.line}"
    return error.message.removeprefix(f"{place}: ")


_REPORT_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """The progress of an import."""

    source: str  # that is being read
    files_done: int
    files_total: int
    bytes_done: int  # of files only
    bytes_total: int
    events: int


class Meter:
    """Counts what was read, and reports the progress from time to time."""

    def __init__(
        self,
        progress: Callable[[IngestProgress], None] | None,
        cancelled: threading.Event | None,
    ) -> None:
        self.source = ""
        self.files_done = 0
        self.bytes_done = 0
        self.events = 0
        self._files_total = 0
        self._bytes_total = 0
        self._progress = progress
        self._cancelled = cancelled
        self._reader: HashingReader | None = None
        self._shown = 0.0
        self._callback_error: Exception | None = None

    def add_total(self, files: int, size: int) -> None:
        """Add to the totals, if they are known beforehand."""
        self._files_total += files
        self._bytes_total += size

    def count(self, sources: Iterable[AnySource]) -> Iterator[AnySource]:
        """Yield the sources, files last, after adding their sizes to the total."""
        files: list[AnySource] = []
        for source in sources:
            self._files_total += 1
            if isinstance(source, FileSource):
                with contextlib.suppress(OSError):  # reading the file reports the error
                    self._bytes_total += source.path.stat().st_size
                files.append(source)
            else:
                yield source
        yield from files

    def restart(self) -> None:
        """Count from zero, since the files are read again."""
        self.files_done = self.bytes_done = self.events = 0

    @contextmanager
    def measure(self, reader: HashingReader) -> Iterator[None]:
        """Count the bytes of a file while it is read."""
        self._reader = reader
        try:
            yield
        finally:
            self._reader = None
            self.bytes_done += reader.size

    def tick(self) -> None:
        """Check for cancellation, and report the progress if it is time."""
        self.check_cancelled()
        self.show()

    def show(self, *, final: bool = False) -> None:
        """Report the progress, if it is time or the end."""
        now = time.monotonic()
        if self._progress is None or (now - self._shown < _REPORT_INTERVAL and not final):
            return
        self._shown = now
        step = IngestProgress(
            self.source,
            self.files_done,
            self._files_total,
            self.bytes_done + (self._reader.size if self._reader else 0),
            self._bytes_total,
            self.events,
        )
        try:
            self._progress(step)
        except Exception as error:
            self._callback_error = error
            raise

    def concerns_source(self, error: Exception) -> bool:
        """Return whether an error only affects the current source, and not the whole import."""
        is_general = isinstance(error, VastlabError) and not isinstance(error, FormatError)
        return not is_general and error is not self._callback_error

    def check_cancelled(self) -> None:
        """Raise `QueryInterrupted` if the caller has cancelled."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise QueryInterrupted("the import was cancelled; nothing was added")
