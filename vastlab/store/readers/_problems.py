"""What is wrong with the lines of a file, counted and named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vastlab.errors import FormatError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be read.

    Parameters
    ----------
    path
        The file.
    line
        The line number, counted from 1; ``None`` where the format has no lines.
    reason
        What is wrong with it.

    Examples
    --------
    >>> str(Problem("conn.log", 9, "20 fields instead of 21"))
    'conn.log:9: 20 fields instead of 21'
    """

    path: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.reason}"


class Problems:
    """Collects what could not be read: counts everything, keeps the first so many.

    Parameters
    ----------
    strict
        Raise `FormatError` at the first problem instead.
    keep
        How many to keep, so that a hostile file cannot fill the memory.

    Examples
    --------
    >>> problems = Problems(keep=1)
    >>> problems.add("conn.log", 9, "20 fields instead of 21")
    >>> problems.add("conn.log", 12, "20 fields instead of 21")
    >>> problems.count, [problem.line for problem in problems]
    (2, [9])
    """

    def __init__(self, *, strict: bool = False, keep: int = 1000) -> None:
        self.strict = strict
        self.keep = keep
        self.count = 0
        self._kept: list[Problem] = []

    def add(self, path: str, line: int | None, reason: str) -> None:
        """Count a problem; raises `FormatError` when strict."""
        self.count += 1
        if self.strict:
            raise FormatError(reason, path=path, line=line)
        if len(self._kept) < self.keep:
            self._kept.append(Problem(path, line, reason))

    def __iter__(self) -> Iterator[Problem]:
        return iter(tuple(self._kept))

    def __repr__(self) -> str:
        return f"Problems(count={self.count})"
