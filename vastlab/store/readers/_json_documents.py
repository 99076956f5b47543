"""JSON that is no JSON lines: objects over several lines, or all of them in one array."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from vastlab.errors import FormatError
from vastlab.store.readers import _json_text
from vastlab.store.readers._lines import LONGEST_LINE, Block
from vastlab.store.readers._problems import Problems

# No string spans lines, so that a line can be cut into tokens by itself.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_BETWEEN = b" \t\r,"


def spans_lines(head: bytes) -> bool:
    """Tell by the first bytes of a file whether its objects are not one per line."""
    lines = [line for line in head.split(b"\n") if line.strip()]
    if not lines or lines[0].lstrip().startswith(b"["):
        return bool(lines)
    if _decodes(lines[0]):
        return False
    first = next(Documents("", Problems()).feed(Block(head, 1)), None)
    return first is not None and b"\n" in head.strip() and _decodes(first[1])


def _decodes(text: bytes) -> bool:
    try:
        return not _json_text.is_deep(text) and bool(_json_text.decode(text))
    except ValueError:
        return False


class Documents:
    """Finds the objects in a text by counting braces.

    Parameters
    ----------
    path
        The file, for problems.
    problems
        Where text is reported that belongs to no object.
    """

    def __init__(self, path: str, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._line = 0

    def feed(self, block: Block) -> Iterator[tuple[int, bytes]]:
        """Yield the objects that end in some lines: where each begins, and its text in one line.

        Raises
        ------
        FormatError
            Where an object is too large to hold.
        """
        for number, line in enumerate(block.data.split(b"\n"), block.line):
            yield from self._feed_line(number, line)
            if self._size > LONGEST_LINE:
                reason = f"a JSON object is larger than {LONGEST_LINE:,} bytes"
                raise FormatError(reason, path=self._path, line=self._line)

    def close(self) -> None:
        """Report an object that does not end."""
        if self._depth:
            self._problems.add(self._path, self._line, "a JSON object does not end")

    def _feed_line(self, number: int, line: bytes) -> Iterator[tuple[int, bytes]]:
        start = end = 0
        for match in _TOKEN.finditer(line):
            token = match.group()
            if self._depth == 0:
                self._between(number, line[end : match.start()])
                start, end = match.start(), match.end()
                if token == b"{":
                    self._depth, self._line = 1, number
                elif token not in (b"[", b"]"):
                    self._between(number, token)
            elif token in (b"{", b"["):
                self._depth += 1
            elif token in (b"}", b"]"):
                self._depth -= 1
                if self._depth == 0:
                    end = match.end()
                    yield self._line, b" ".join([*self._parts, line[start:end]])
                    self._parts, self._size = [], 0
        if self._depth:
            self._parts.append(line[start:])
            self._size += len(line) - start
        else:
            self._between(number, line[end:])

    def _between(self, number: int, text: bytes) -> None:
        if junk := text.strip(_BETWEEN):
            shown = junk[:60].decode("utf-8", "backslashreplace")
            self._problems.add(self._path, number, f"{shown!r} belongs to no JSON object")


def first_events(head: bytes) -> Iterator[dict[str, Any]]:
    """Read what can be read of the first bytes of a file."""
    lines: Iterable[bytes] = head.split(b"\n")
    if spans_lines(head):
        lines = (text for _, text in Documents("", Problems()).feed(Block(head, 1)))
    for line in lines:
        if not _json_text.is_deep(line):
            with suppress(ValueError):
                yield from _json_text.decode(line)
