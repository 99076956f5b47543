"""The expressions that were asked, of all forms of the user."""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

REMEMBERED = 50
_LONGEST = 10_000  # characters of an expression that goes to disk
_LARGEST = 1 << 20  # bytes of the file before it is rewritten


class History:
    """The expressions of each endpoint, newest first, in a private file with a line for each.

    Lines are appended whole, so that several kernels can write; malformed lines are skipped. Where
    no file can be written, expressions are remembered until the process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten: dict[str, list[str]] = defaultdict(list)

    def of(self, place: str) -> tuple[str, ...]:
        """Return the newest different expressions of a profile or an endpoint (without secrets)."""
        written = [expression for where, expression in self._lines() if where == place]
        newest = [*reversed(self._unwritten[place]), *reversed(written)]
        return tuple(dict.fromkeys(newest))[:REMEMBERED]

    def add(self, place: str, expression: str) -> None:
        """Remember an expression."""
        if not expression.strip():
            return
        if len(expression) <= _LONGEST:
            with contextlib.suppress(OSError):
                self._append(_line(place, expression))
                return
        kept = self._unwritten[place]
        kept.append(expression)
        del kept[:-REMEMBERED]

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(self._path, os.O_APPEND) as descriptor:
            # One call for the whole line; the break before it ends a line that was cut.
            os.write(descriptor, b"\n" + line)
            size = os.fstat(descriptor).st_size
        if size > _LARGEST:
            self._shorten()

    def _shorten(self) -> None:
        """Rewrite the file with the newest lines of each place."""
        kept: dict[tuple[str, str], None] = {}
        counts: dict[str, int] = defaultdict(int)
        room = _LARGEST // 2
        for place, expression in reversed(list(self._lines())):
            if (place, expression) in kept or counts[place] >= REMEMBERED:
                continue
            room -= len(_line(place, expression)) + 1
            if room < 0:
                break
            kept[place, expression] = None
            counts[place] += 1
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with _private(temporary, os.O_TRUNC) as descriptor:
            os.write(descriptor, b"\n".join(_line(*entry) for entry in reversed(kept)))
        temporary.replace(self._path)

    def _lines(self) -> Iterator[tuple[str, str]]:
        content = b""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * _LARGEST))
            content = file.read(2 * _LARGEST)
        for line in content.split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                match json.loads(line):
                    case {"place": str(place), "expression": str(expression)}:
                        yield place, expression


def _line(place: str, expression: str) -> bytes:
    return json.dumps({"place": place, "expression": expression}).encode()


@contextlib.contextmanager
def _private(path: Path, how: int) -> Iterator[int]:
    """Open a file that only its owner may read, also one that existed before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
        yield descriptor
    finally:
        os.close(descriptor)
