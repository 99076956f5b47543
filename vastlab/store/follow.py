"""Finds out what is new in a log file: the whole file, appended lines, or nothing.

Each event comes once, through rotation, copytruncate and compression. A last line without a newline
counts for a query; a running export gives it when it is whole or its log was rotated. If a log is
rewritten so that events may come twice, a warning names it.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO

from vastlab import readers
from vastlab.errors import FormatError
from vastlab.readers.csv_records import MAX_RECORD_SIZE, Start, find_header, open_record
from vastlab.readers.json_documents import has_object_per_line
from vastlab.readers.source import BOM, is_ascii_compatible, open_source
from vastlab.readers.source import Source as Content
from vastlab.store import sources
from vastlab.store.layout import COPY, GROUP, Source
from vastlab.store.sources import BLOCK, Digest, FileSource, UnreadableSource, reason_of, rest_start

# File systems store times with a limited resolution: a file that changed just before it was listed
# may change again and keep its time. Its stamp is marked, so that its content is compared later.
_UNCERTAIN_NS = 2 * 10**9
_UNCERTAIN = "?"
_IDLE_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was listed."""

    path: str
    stamp: str
    size: int
    idle: bool = False  # not written to for a while; only affects reports
    error: FormatError | None = None  # why it cannot be read

    @property
    def identity(self) -> str:
        """The device and the inode, which do not change when a file is renamed."""
        return identity(self.stamp)

    def is_intact(self) -> bool:
        """Return whether the path still holds the same file, and it was not truncated."""
        if self.error is not None:
            return True
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return identity(sources.stamp_of(found)) == self.identity and found.st_size >= self.size


def identity(stamp: str) -> str:
    """Return the device and the inode of a stamp."""
    return ":".join(stamp.removesuffix(_UNCERTAIN).split(":")[-2:])


def is_certain(stamp: str) -> bool:
    """Whether a file that still has this stamp is certainly unchanged."""
    return not stamp.endswith(_UNCERTAIN)


def is_same_stamp(before: str, now: str) -> bool:
    """Whether two stamps are equal, apart from the mark of an uncertain one."""
    return before.removesuffix(_UNCERTAIN) == now.removesuffix(_UNCERTAIN)


def list_files(folder: Path, known: Collection[str]) -> list[FileState]:
    """List the files of a folder and its subfolders; `known` are the paths listed before."""
    files = list(sources.files_below(folder))
    if not set(known) <= {str(file.path) for file in files}:
        # A file that is renamed during the listing may be missed under both names.
        files = list(sources.files_below(folder))
    states = []
    for file in files:
        match file:
            case UnreadableSource(path, error):
                states.append(_unreadable(path, error))
            case FileSource(path):
                with contextlib.suppress(FileNotFoundError):
                    states.append(_file_state(path))
    return states


def _unreadable(path: Path, error: FormatError) -> FileState:
    return FileState(str(path), f"unreadable: {error.message}", 0, idle=True, error=error)


def _file_state(path: Path) -> FileState:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        return _unreadable(path, sources.as_format_error(error, str(path)))
    now = time.time_ns()
    uncertain = found.st_ctime_ns > now - _UNCERTAIN_NS
    return FileState(
        path=str(path),
        stamp=sources.stamp_of(found) + (_UNCERTAIN if uncertain else ""),
        size=found.st_size,
        # If the clock was set back, times lie in the future.
        idle=abs(now - found.st_mtime_ns) > _IDLE_NS,
    )


LINE_FORMATS = frozenset({"csv", "json", "suricata", "zeek", "zeek-json"})
JSON_FORMATS = frozenset({"json", "suricata", "zeek-json"})
HEAD_SIZE = 1 << 16
_CHUNK = 1 << 20


def has_lines(head: bytes, format_: str) -> bool:
    """Whether each line of a file can be read without the following lines."""
    return format_ in LINE_FORMATS and (format_ not in JSON_FORMATS or has_object_per_line(head))


def end_of_lines(stream: BinaryIO, format_: str, start: int, size: int) -> int:
    """Return where the last complete line between `start` and `size` ends, or `start`."""
    if format_ != "csv":  # in CSV, a newline in a quoted field does not end a line
        return _last_newline(stream, start, size)
    stream.seek(0)
    header = _table_header(stream.read(min(HEAD_SIZE, size)))
    delimiter = header.delimiter.encode() if header else b","
    return _last_record(stream, start, size, delimiter)


def _last_newline(stream: BinaryIO, start: int, size: int) -> int:
    end = size
    while end > start:
        begin = max(start, end - _CHUNK)
        stream.seek(begin)
        newline = stream.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return start


def _last_record(stream: BinaryIO, start: int, size: int, delimiter: bytes) -> int:
    """Return the position after the last newline outside of quoted fields."""
    stream.seek(start)
    position, rest = start, b""
    while chunk := stream.read(min(_CHUNK, size - position - len(rest))):
        data = rest + chunk
        cut = _whole_records(data, delimiter)
        position += cut
        rest = data[cut:]
    return position


def _whole_records(data: bytes, delimiter: bytes) -> int:
    """Return the size of the complete records; a quote that stays open too long is ignored."""
    start, end = 0, data.rfind(b"\n") + 1
    while (opened := open_record(data[start:end], delimiter)) is not None:
        if end - start - opened <= MAX_RECORD_SIZE:
            return start + opened
        start = data.find(b"\n", start + opened) + 1
    return end


def header_of(head: bytes, format_: str) -> bytes:
    """Return the header lines, which describe the other lines."""
    lines = head.splitlines(keepends=True)
    match format_:
        case "csv":
            header = _table_header(head)
            return b"".join(
                line + b"\n" for line in head.split(b"\n")[: header.end if header else 0]
            )
        case "zeek":
            first = lines[0].removeprefix(BOM) if lines else b""
            header_lines = takewhile(lambda line: line.startswith(b"#"), [first, *lines[1:]])
            return b"".join(lines[: len([*header_lines])])
        case _:
            return b""


def _table_header(head: bytes) -> Start | None:
    return find_header(head.removeprefix(BOM).decode("utf-8", "replace").split("\n"))


@dataclass(frozen=True, slots=True)
class Plan:
    """Which part of a file to read."""

    state: FileState
    format: str
    end: int | None  # of the complete lines; the tail follows. None to read everything
    # What was already read, perhaps under another path, without the tail.
    base: Source | None = None
    by_lines: bool = True  # whether each line can be read without the following lines
    origin: str = ""  # the path under which the content was first found
    is_copy: bool = False  # whether another file begins with the same content
    is_final: bool = False  # whether to read an incomplete last line, which was held back, as it is
    by_inode: bool = False  # whether the inode alone connects the file with its base

    @property
    def start(self) -> int:
        """Where to start reading."""
        return self.base.size if self.base else 0

    @property
    def has_tail(self) -> bool:
        """Whether an incomplete line follows the last complete one."""
        return self.end is not None and self.end < self.state.size


def unreadable(state: FileState, error: FormatError) -> Source:
    """Return a source for a file that is not a log, so that it is skipped until it changes."""
    reason = reason_of(error, state.path)
    problems = ((error.line, reason),)
    return Source(state.path, 0, "", stamp=state.stamp, problems=problems, problem_count=1)


def plan(
    state: FileState,
    previous: Source | None,
    unmatched: Collection[Source],
    encoding: str | None = None,
) -> Plan | Source:
    """Return what to read of a file, or its new state if there is nothing to read.

    The file may be a renamed one of `unmatched`: what was read of files that are gone or changed.
    """
    if state.error is not None:
        return unreadable(state, state.error)
    path = state.path
    if state.size == 0:
        return _empty(state, previous.format if previous else "")
    if previous is not None and _is_appended(state, previous):
        new = Plan(state, previous.format, _end(state, previous.format, previous.size))
        return _plan_appended(new, previous)
    with open(path, "rb") as stream, open_source(stream, encoding) as content:
        head = content.peek(HEAD_SIZE)
        by_lines = is_ascii_compatible(content.encoding)
    try:
        with open(path, "rb") as stream:
            format_ = readers.detect(stream, encoding)
    except FormatError as error:
        if b"\n" not in head and state.size <= HEAD_SIZE and is_plain(path):
            return _partial_line(state, error)
        # A log was truncated while a line was written, here or before it was moved to this path:
        # its first line is the rest of that line.
        head = head.partition(b"\n")[2]
        format_ = _format_of_rest(head, previous.format if previous else "")
        if not format_:
            raise
    by_lines = by_lines and has_lines(head, format_)
    end = _end(state, format_, 0) if by_lines and is_plain(path) else None
    new = Plan(state, format_, end, by_lines=by_lines, origin=path)
    # A common header, perhaps with a byte order mark, does not show that two files are the same.
    return _match(new, unmatched, len(header_of(head, format_)) + len(BOM))


def _format_of_rest(rest: bytes, format_: str) -> str:
    """Return the format of a log after its partial first line, by default `format_` if any."""
    if rest:
        with contextlib.suppress(FormatError):
            format_ = readers.detect(io.BytesIO(rest))
    return format_ if format_ in JSON_FORMATS and has_lines(rest, format_) else ""


def _empty(state: FileState, format_: str = "") -> Source:
    return Source(
        state.path,
        0,
        Digest().value(),
        stamp=state.stamp,
        format=format_,
        origin=state.path,
    )


def _end(state: FileState, format_: str, start: int) -> int:
    with open(state.path, "rb") as stream:
        return end_of_lines(stream, format_, start, state.size)


def with_path(state: FileState, known: Source) -> Source:
    """Return known content with the path and stamp that it has now."""
    return replace(known, key=state.path, stamp=state.stamp, origin=known.origin or known.key)


def plan_last_line(state: FileState, source: Source) -> Plan:
    """Plan to read the incomplete last line of a rotated log, which will not be completed."""
    base = source.without_tail if source.size else None
    end = state.size if is_plain(state.path) else None
    return Plan(
        state,
        source.format,
        end,
        base,
        by_lines=False,
        origin=source.origin,
        is_final=True,
    )


def is_rotated(source: Source, first: Source | None) -> bool:
    """Whether a log is no longer written to: `first`, at its first path, has other content."""
    if first is None:
        return not is_plain(source.key)
    if first.key == source.key or not first.content[0]:
        return False
    shared = set(first.segments) & set(source.segments)
    return first.content != source.content and all(name.startswith(GROUP) for name in shared)


def _partial_line(state: FileState, error: FormatError) -> Source:
    """Return a source for a file that holds only a partial line, whose format is not known yet."""
    reason = reason_of(error, state.path)
    source = replace(_empty(state), tail_problem=reason)
    digest = digest_with_tail(state, source) or ""
    return replace(source, tail_size=state.size, tail_digest=digest)


def _is_appended(state: FileState, previous: Source) -> bool:
    """Whether the file still begins with what was read of it; compares the last blocks only."""
    if not (previous.appendable and previous.size) or state.size < previous.size:
        return False
    if state.identity != identity(previous.stamp):
        return False  # another file: compare all of it
    if _has_copies(previous) or not is_plain(state.path):
        return False
    # For a large file that changed but did not grow, comparing the last blocks is not enough.
    cheap = previous.size < 2 * BLOCK or is_same_stamp(previous.stamp, state.stamp)
    grown = state.size > previous.content[0]
    return (cheap or grown) and resume(state.path, previous) is not None


def _match(new: Plan, unmatched: Collection[Source], min_size: int) -> Plan | Source:
    """Find the longest known content that a file begins with; `new` is the plan if there is none.

    Common content up to `min_size` only counts for the same path or inode.
    """
    state, compressed = new.state, new.end is None and not is_plain(new.state.path)

    def is_same_file(source: Source) -> bool:
        return source.key == state.path or identity(source.stamp) == state.identity

    candidates = [
        source
        for source in unmatched
        if source.content[0] > (0 if is_same_file(source) else min_size)
    ]
    if not candidates:
        return new
    sizes = {source.size for source in candidates}
    found, content = _digests(state, sizes, None if compressed else state.size)
    for source in candidates:
        if source.content == content and not (compressed and source.tail_size):
            return with_path(state, source)
    limit = content[0] if new.end is None else new.end
    bases = [
        source
        for source in candidates
        if source.appendable
        and source.size <= limit
        and (identity(source.stamp) == state.identity or source.size > min_size)
        and found.get(source.size) == source.digest
    ]
    if bases and new.by_lines:
        # Of equal ones, prefer one that is not a copy.
        base = max(bases, key=lambda base: (base.size, not _has_copies(base)))
        # A header in common proves nothing, and a new file may get the inode of a deleted one.
        by_inode = base.key != state.path and base.size <= min_size
        return _plan_appended(replace(new, by_inode=by_inode), base)
    moved = next((source for source in candidates if is_same_file(source)), None)
    return replace(new, origin=moved.origin or moved.key) if moved else new


def _has_copies(source: Source) -> bool:
    return any(name.startswith(COPY) for name in source.segments)


def _plan_appended(new: Plan, known: Source) -> Plan | Source:
    """Plan to read what follows the known content, unless it is known too."""
    state = new.state
    is_as_long = new.end == known.size and state.size == known.content[0]
    if is_as_long and digest_with_tail(state, known) == known.content[1]:
        return with_path(state, known)
    base = known.without_tail if known.size else None
    return replace(new, format=known.format, base=base, origin=known.origin or known.key)


def digest_with_tail(state: FileState, known: Source) -> str | None:
    """Return the digest of a file whose complete lines are known; None if it was replaced."""
    digest = resume(state.path, known)
    if digest is None:
        return None
    with open(state.path, "rb") as stream:
        stream.seek(known.size)
        _feed(digest, stream, state.size, known.size)
    return digest.value()


def _digests(
    state: FileState, sizes: Collection[int], limit: int | None
) -> tuple[dict[int, str], tuple[int, str]]:
    """Return the digests of the first `sizes` bytes of a file; and the size and digest of all."""
    found: dict[int, str] = {}
    digest, position = Digest(), 0
    with open_content(state.path) as content:
        for size in sorted(sizes):
            if limit is None or size <= limit:
                position += _feed(digest, content, size, position)
                if position == size:
                    found[size] = digest.value()
        position += _feed(digest, content, limit, position)
    return found, (position, digest.value())


def _feed(digest: Digest, content: BinaryIO | Content, limit: int | None, position: int) -> int:
    start = position
    while limit is None or position < limit:
        data = content.read(_CHUNK if limit is None else min(_CHUNK, limit - position))
        if not data:
            break
        digest.update(data)
        position += len(data)
    return position - start


# --- files ----------------------------------------------------------------------------------


def is_plain(path: str) -> bool:
    """Whether a file is not compressed."""
    with open(path, "rb") as stream:
        return not stream.read(4).startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


@contextmanager
def open_content(path: str) -> Iterator[BinaryIO | Content]:
    """Open a file, and decompress it if necessary."""
    if is_plain(path):
        with open(path, "rb") as stream:
            yield stream
    else:
        with open(path, "rb") as stream, open_source(stream) as content:
            yield content


def skip(content: BinaryIO | Content, size: int) -> Digest:
    """Skip the first `size` bytes of a file, and return their digest."""
    digest = Digest()
    _feed(digest, content, size, 0)
    return digest


def resume(path: str, known: Source) -> Digest | None:
    """Return the digest of what was read of a file; None if the file has other content now."""
    start = rest_start(known.size)
    with open(path, "rb") as stream:
        stream.seek(start)
        return Digest.resume(known.digest, stream.read(known.size - start))


_HEAD = 4096


class CopyFinder:
    """Finds files of a folder that are incomplete copies of other files in it."""

    def __init__(self, states: Collection[FileState]) -> None:
        self._states = states
        self._heads: list[tuple[bytes, FileState]] | None = None

    def is_copy(self, state: FileState, end: int | None) -> bool:
        """Whether a longer file begins with the first `end` bytes of this one."""
        if not end:
            return False
        with open(state.path, "rb") as stream:
            head = stream.read(min(_HEAD, end))
        for other in self._beginning_with(head):
            is_longer = other.path != state.path and other.size > state.size
            if is_longer and _have_same_beginning(other.path, state.path, end):
                return True
        return False

    def _beginning_with(self, head: bytes) -> Iterator[FileState]:
        if self._heads is None:
            self._heads = sorted(map(_head, self._states), key=lambda each: each[0])
        start = bisect_left(self._heads, head, key=lambda each: each[0])
        for other, state in islice(self._heads, start, None):
            if not other.startswith(head):
                return
            yield state


def _head(state: FileState) -> tuple[bytes, FileState]:
    try:
        with open(state.path, "rb") as stream:
            return stream.read(_HEAD), state
    except OSError:
        return b"", state


def _have_same_beginning(path: str, other: str, size: int) -> bool:
    with open(path, "rb") as left, open(other, "rb") as right:
        while size > 0:
            data = left.read(min(_CHUNK, size))
            if not data or data != right.read(len(data)):
                return False
            size -= len(data)
    return True
