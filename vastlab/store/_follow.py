"""Reading a file of a folder of logs: as new, as one that moved, or where it was left off."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

import pyarrow as pa

from vastlab.errors import FormatError
from vastlab.store import readers
from vastlab.store._digest import Digest, rest_start
from vastlab.store._sources import Tap, reason_of
from vastlab.store.layout import Source
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source as Content
from vastlab.store.readers._source import open_source

_LINE_FORMATS = frozenset({"csv", "json", "suricata", "zeek", "zeek-json"})
_RANDOM_FORMATS = frozenset({"arrow", "parquet"})
_KEPT_PROBLEMS = 20
_CHUNK = 1 << 20
_HEADER_SIZE = 1 << 16
_NEW_HEADER = (b"\n#separator", b"\n#fields")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file as it was found.

    Parameters
    ----------
    path
        Absolute.
    stamp
        Of the moment when it was found.
    size
        In bytes, as it is stored.
    settled
        Whether nobody has written to it lately, so that its last line is whole.
    """

    path: str
    stamp: str
    size: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be read of a file.

    Parameters
    ----------
    sighting
        The file.
    format
        The name of its format.
    end
        Where to stop: after the last whole line. Counted in decompressed bytes; None
        stands for the end of the file.
    base
        What was read of it before, perhaps under another name; None to read it all.
    """

    sighting: Sighting
    format: str
    end: int | None
    base: Source | None = None


def unreadable(sighting: Sighting, error: FormatError) -> Source:
    """Remember a file that is no log, so as not to look at it again until it changes."""
    reason = reason_of(error, sighting.path)
    problems = ((error.line, reason),)
    return Source(sighting.path, 0, "", stamp=sighting.stamp, problems=problems, problem_count=1)


def plan(sighting: Sighting, own: Source | None, orphans: Collection[Source]) -> Plan | Source:
    """Find out what is new in a file.

    Parameters
    ----------
    sighting
        The file.
    own
        What was read of it before.
    orphans
        What was read of files that are gone or have changed: one of them may be this.

    Returns
    -------
    Plan or Source
        What has to be read; or what the file is from now on where nothing has to be.
    """
    if sighting.size == 0:
        return Source(sighting.path, 0, Digest().value(), stamp=sighting.stamp)
    if own is not None and own.appendable and _has_grown(sighting, own):
        lines = _whole_lines(sighting)
        if lines <= own.size:
            return _same(sighting, own, lines)
        return Plan(sighting, own.format, lines, own)
    with open(sighting.path, "rb") as stream:
        format_ = readers.detect(stream)
    plain = _is_plain(sighting.path)
    end = _whole_lines(sighting) if plain and format_ in _LINE_FORMATS else None
    if end == 0:
        return Source(sighting.path, 0, Digest().value())
    base, size = _longest_beginning(sighting, orphans, end)
    if base is not None and base.size == size:
        return _same(sighting, base, end)
    if base is None or not base.appendable:
        return Plan(sighting, format_, end)
    return Plan(sighting, base.format, end, base)


def _same(sighting: Sighting, known: Source, end: int | None) -> Source:
    """Give content that was read already the name that it has now."""
    stamp = sighting.stamp if end is None or end >= sighting.size else ""
    return replace(known, key=sighting.path, stamp=stamp)


def renamed(known: Source, new: Source) -> Source:
    """Let a file stand for the events of another with the same content."""
    return replace(known, key=new.key, stamp=new.stamp)


def _is_plain(path: str) -> bool:
    with open(path, "rb") as stream:
        return not stream.read(4).startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


def _has_grown(sighting: Sighting, own: Source) -> bool:
    """Compare the last bytes that were read of a file with what stands there now."""
    if sighting.size < own.size or not _is_plain(sighting.path):
        return False
    return _resume(sighting.path, own) is not None


def _resume(path: str, known: Source) -> Digest | None:
    start = rest_start(known.size)
    with open(path, "rb") as stream:
        stream.seek(start)
        return Digest.resume(known.digest, stream.read(known.size - start))


def _whole_lines(sighting: Sighting) -> int:
    """Return where the last whole line ends."""
    if sighting.settled:
        return sighting.size
    end = sighting.size
    with open(sighting.path, "rb") as stream:
        while end > 0:
            start = max(0, end - _CHUNK)
            stream.seek(start)
            newline = stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _longest_beginning(
    sighting: Sighting, known: Iterable[Source], end: int | None
) -> tuple[Source | None, int]:
    """Find the longest of the known contents that the file begins with, and its own size."""
    sizes: dict[int, list[Source]] = {}
    for source in known:
        if source.size:
            sizes.setdefault(source.size, []).append(source)
    if not sizes:
        return None, -1
    found: Source | None = None
    digest, position = Digest(), 0
    with _open_content(sighting.path) as content:
        for size in (*sorted(sizes), None):
            limit = end if size is None else size
            if end is not None and limit is not None and limit > end:
                continue
            position += _feed(digest, content, limit, position)
            value = digest.value()
            matches = [s for s in sizes.get(position, ()) if s.digest == value]
            found = matches[0] if matches else found
    return found, position


def _feed(digest: Digest, content: BinaryIO | Content, limit: int | None, position: int) -> int:
    start = position
    while limit is None or position < limit:
        data = content.read(_CHUNK if limit is None else min(_CHUNK, limit - position))
        if not data:
            break
        digest.update(data)
        position += len(data)
    return position - start


# --- reading --------------------------------------------------------------------------------


def read(
    plan: Plan, segment: str, add: Callable[[pa.RecordBatch], None], watch: Callable[[], None]
) -> Source:
    """Read what is new in a file.

    Parameters
    ----------
    plan
        What to read.
    segment
        The name of the part that is read.
    add
        Called with each batch of events.
    watch
        Called after each read from the file.

    Returns
    -------
    Source
        How to remember the file.

    Raises
    ------
    FormatError
        Where the file is not what its format says as a whole.
    """
    base, sighting = plan.base, plan.sighting
    problems = Problems(keep=_KEPT_PROBLEMS)
    with _content(plan) as (content, header, digest):
        tap = _Lines(content, sighting.path, plan, watch)
        if digest is not None:
            tap.go_on(digest)
        stream = cast("BinaryIO", _Joined(header, tap) if header else tap)
        for batch in readers.read(stream, format=plan.format, problems=problems):
            add(batch)
        tap.exhaust()
        if isinstance(content, Content) and content.damage:
            raise FormatError(content.damage, path=sighting.path)
    shift = base.lines - header.count(b"\n") if base else 0
    noted = tuple((p.line + shift if p.line else p.line, p.reason) for p in problems)
    size = tap.size + (base.size if base else 0)
    whole = plan.end is None or plan.end >= sighting.size
    return Source(
        key=sighting.path,
        size=size,
        digest=tap.digest,
        stamp=sighting.stamp if whole else "",
        segments=(*(base.segments if base else ()), segment),
        format=plan.format,
        lines=tap.lines + (base.lines if base else 0),
        appendable=tap.appendable,
        problems=((base.problems if base else ()) + noted)[:_KEPT_PROBLEMS],
        problem_count=problems.count + (base.problem_count if base else 0),
    )


@contextmanager
def _open_content(path: str) -> Iterator[BinaryIO | Content]:
    """Open a file, decompressed: what is appended to it changes nothing before it."""
    if _is_plain(path):
        with open(path, "rb") as stream:
            yield stream
    else:
        with open_source(path) as content:
            yield content


@contextmanager
def _content(plan: Plan) -> Iterator[tuple[BinaryIO | Content, bytes, Digest | None]]:
    """Open a file where reading has to begin, with the header that belongs before it."""
    base, path = plan.base, plan.sighting.path
    if base is None:
        with _open_content(path) as content:
            yield content, b"", None
    elif _is_plain(path):
        digest = _resume(path, base)
        if digest is None:
            raise FormatError("it was replaced while it was read", path=path)
        with open(path, "rb") as stream:
            header = _header(stream.read(_HEADER_SIZE), plan.format)
            stream.seek(base.size)
            yield stream, header, digest
    else:
        with open_source(path) as content:
            header = _header(content.peek(_HEADER_SIZE), plan.format)
            digest = Digest()
            _feed(digest, content, base.size, 0)
            yield content, header, digest


def _header(head: bytes, format_: str) -> bytes:
    """Return the lines at the beginning that say what the others mean."""
    lines = io.BytesIO(head)
    if format_ == "csv":
        return lines.readline()
    if format_ != "zeek":
        return b""
    header = []
    while (line := lines.readline()).startswith(b"#"):
        header.append(line)
    return b"".join(header)


class _Lines(Tap):
    """A tap that looks at lines while they pass."""

    def __init__(
        self,
        stream: BinaryIO | Content,
        name: str,
        plan: Plan,
        watch: Callable[[], None],
    ) -> None:
        start = plan.base.size if plan.base else 0
        end = None if plan.end is None else plan.end - start
        random = isinstance(stream, io.BufferedReader) and plan.format in _RANDOM_FORMATS
        super().__init__(cast("BinaryIO", stream), name, end=end, watch=watch, random=random)
        self.lines = 0
        self._format = plan.format
        self._in_header = plan.base is None and plan.format == "zeek"
        self._one_header = True
        self._quotes = 0
        self._last = b""

    @property
    def appendable(self) -> bool:
        """Whether what follows can be read with the header alone."""
        known = self._format in _LINE_FORMATS and self._one_header and not self._in_header
        # In a quoted field of a table, a newline ends no line.
        return known and self._last[-1:] == b"\n" and self._quotes % 2 == 0

    def read(self, size: int = -1, /) -> bytes:
        """Read, measure and look."""
        data = super().read(size)
        if data:
            self.lines += data.count(b"\n")
            if self._format == "csv":
                self._quotes += data.count(b'"')
            seen = self._last + data
            if self._format == "zeek":
                self._look(seen)
            self._last = seen if self._in_header else seen[-16:]
        return data

    def _look(self, seen: bytes) -> None:
        """Notice a second header: what is added later could belong to either."""
        if self._in_header:
            header = _header(seen, "zeek")
            self._in_header = len(header) == len(seen)
            seen = b"\n" + seen[len(header) :]
        if any(header in seen for header in _NEW_HEADER):
            self._one_header = False


class _Joined(io.RawIOBase):
    """A header, then what follows."""

    def __init__(self, header: bytes, tap: Tap) -> None:
        self.name = tap.name
        self._header = header
        self._tap = tap

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Read the header first."""
        if self._header:
            size = len(self._header) if size < 0 else size
            part, self._header = self._header[:size], self._header[size:]
            return part
        return self._tap.read(size)
