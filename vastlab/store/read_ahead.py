"""Small Zeek logs, which are read together: much of what a log costs does not depend on its size.

Logs with the same header are read as one stream, and each gets its part of the events. A log with
anything unusual is left to be read alone, so that problems have its name and its line numbers.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import pyarrow as pa

from vastlab import readers
from vastlab.readers import ReadOptions
from vastlab.readers.batch_check import MAX_ROWS
from vastlab.readers.problems import Problems
from vastlab.store.follow import FileState
from vastlab.store.layout import Layout

_SMALL = 1 << 18  # bytes of a log
_WINDOW = 16 << 20  # bytes of logs in memory
_STREAM = 3 << 20  # bytes that are read together; one block of the reader
_FEW = 10  # problems
_START = b"#separator \\x09\n"
# As Zeek writes it. Without the time of opening, it is the same for all logs of one kind.
_HEADER = re.compile(
    rb"(#separator \\x09\n(?:#(?:set_separator|empty_field|unset_field)\t[^\n]*\n){3}"
    rb"#path\t[^\t\n]+\n)(?:#open\t[^\n]*\n)?(#fields\t[^\n]*\n#types\t[^\n]*\n)"
)
_UNUSUAL = (b"\n#", b"\n\n", b"\r")

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Ready:
    """A log that was read together with others."""

    content: bytes
    layout: Layout
    rows: pa.RecordBatch  # in the form of a file; the import time is still missing


@dataclass(frozen=True, slots=True)
class _Log:
    path: str
    content: bytes
    lines: bytes  # with events
    rows: int


def read_ahead(
    items: Iterable[_Item],
    state_of: Callable[[_Item], FileState | None],
    options: ReadOptions,
) -> Iterator[tuple[_Item, Ready | None]]:
    """Yield what is to be read, in its order; with its events, if these were read together.

    Parameters
    ----------
    items
        Files, and perhaps others.
    state_of
        Returns the state of a file; None for what must be read alone.
    options
        Of the readers.
    """
    if options.get("encoding") is not None or options.get("format") not in (None, "zeek"):
        yield from ((item, None) for item in items)
        return
    window: list[tuple[_Item, str | None]] = []
    contents: dict[str, bytes] = {}
    size = 0
    for item in items:
        state = state_of(item)
        if state is None and not window:
            yield item, None
            continue
        window.append((item, None if state is None else state.path))
        if state is not None and 0 < state.size <= _SMALL and (content := _content(state)):
            contents[state.path] = content
            size += len(content)
        if size >= _WINDOW:
            yield from _with_events(window, contents, options)
            window, contents, size = [], {}, 0
    yield from _with_events(window, contents, options)


def _content(state: FileState) -> bytes:
    """Return the content of a log; empty if it cannot be read, has changed since, or is another."""
    try:
        with open(state.path, "rb", buffering=0) as stream:
            head = stream.read(len(_START))
            content = head + stream.read(_SMALL) if head == _START else b""
    except OSError:
        return b""
    return content if len(content) == state.size else b""


def _with_events(
    items: Iterable[tuple[_Item, str | None]], contents: Mapping[str, bytes], options: ReadOptions
) -> Iterator[tuple[_Item, Ready | None]]:
    found = read_together(contents, options)
    for item, path in items:
        yield item, found.pop(path, None) if path is not None else None


def read_together(contents: Mapping[str, bytes], options: ReadOptions) -> dict[str, Ready]:
    """Read logs with the same header as one; returns those without any problem."""
    kinds: dict[bytes, list[_Log]] = {}
    for path, content in contents.items():
        header = _HEADER.match(content)
        lines = _lines(content, header.end()) if header else b""
        if header and lines:
            kinds.setdefault(header[1] + header[2], []).append(
                _Log(path, content, lines, lines.count(b"\n"))
            )
    found: dict[str, Ready] = {}
    for kind, logs in kinds.items():
        for some in _streams(logs):
            found |= _read(kind, some, options)
    return found


def _lines(content: bytes, start: int) -> bytes:
    """Return the lines with events; empty if some lines are incomplete, empty or of other kinds."""
    last = content.rfind(b"\n", 0, -1)
    is_closed = content.startswith(b"\n#close\t", last)
    lines = content[start : last + 1 if is_closed else len(content)]
    is_plain = content.endswith(b"\n") and not lines.startswith((b"#", b"\n"))
    return b"" if not is_plain or any(mark in lines for mark in _UNUSUAL) else lines


def _streams(logs: list[_Log]) -> Iterator[list[_Log]]:
    some: list[_Log] = []
    size = rows = 0
    for log in logs:
        size += len(log.lines)
        rows += log.rows
        if some and (size > _STREAM or rows > MAX_ROWS):
            yield some
            some, size, rows = [], len(log.lines), log.rows
        some.append(log)
    yield some


def _read(kind: bytes, logs: list[_Log], options: ReadOptions) -> dict[str, Ready]:
    """Read logs as one, again without those that have problems; none if there are many."""
    if len(logs) < 2:
        return {}
    stream = io.BytesIO(kind + b"".join(log.lines for log in logs))
    zeek: ReadOptions = {**options, "format": "zeek"}
    problems = Problems(keep=_FEW)
    try:
        batches = list(readers.read(stream, problems=problems, **zeek))
    except Exception:  # noqa: BLE001  # it is raised again for the log that it concerns
        return {}
    last_lines = [*accumulate((log.rows for log in logs), initial=kind.count(b"\n"))]
    if problems.count:
        bad = {bisect_left(last_lines, problem.line or 0) - 1 for problem in problems}
        if problems.count > _FEW or -1 in bad:
            return {}
        return _read(kind, [log for i, log in enumerate(logs) if i not in bad], options)
    if len(batches) != 1 or batches[0].num_rows != sum(log.rows for log in logs):
        return {}
    return dict(_split(batches[0], logs))


def _split(batch: pa.RecordBatch, logs: list[_Log]) -> Iterator[tuple[str, Ready]]:
    layout = Layout.of(batch.schema)
    rows, start = layout.rows(batch, 0), 0
    for log in logs:
        yield log.path, Ready(log.content, layout, rows.slice(start, log.rows))
        start += log.rows
