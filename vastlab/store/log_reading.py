"""Reads what is new in one log of a folder: from the start, or after what was read before."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO, Unpack, cast

import pyarrow as pa

from vastlab import readers
from vastlab.errors import FormatError
from vastlab.readers import Inference, ReadOptions
from vastlab.readers.csv_records import OWN_COLUMN, VAST_COLUMN
from vastlab.readers.problems import Problems
from vastlab.readers.source import Source as Content
from vastlab.readers.source import open_source
from vastlab.store.follow import (
    HEAD_SIZE,
    Plan,
    digest_with_tail,
    header_of,
    is_plain,
    open_content,
    resume,
    skip,
)
from vastlab.store.layout import Source
from vastlab.store.sources import Digest, HashingReader, reason_of

__all__ = ["read", "read_tail", "with_tail"]

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
            message = f"{content.damage}; none of the events in this file count"
            raise FormatError(message, path=state.path)
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
