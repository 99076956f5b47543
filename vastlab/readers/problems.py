"""Collecting the problems of a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from vastlab.errors import FormatError

BECAME_NULL = "; the value is null now"


def wrong_width(found: int, expected: int) -> str:
    """Return the reason for a line with too few or too many fields."""
    return f"{found} field{'s' * (found != 1)} instead of {expected}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A line, value or file that could not be read."""

    path: str
    line: int | None  # starts at 1; None if the format has no lines
    reason: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.reason}"


class Problems:
    """Counts all problems, and keeps the first ones.

    Parameters
    ----------
    strict
        Raise `FormatError` at the first problem.
    keep
        How many problems to keep, so that a malicious file cannot fill the memory.
    """

    def __init__(self, *, strict: bool = False, keep: int = 1000) -> None:
        self.strict = strict
        self.keep = keep
        self.count = 0
        self._kept: list[Problem] = []

    def add(self, path: str, line: int | None, reason: str, count: int = 1) -> None:
        """Add a problem, or `count` of the same kind; raises `FormatError` if strict."""
        self.count += count
        if self.strict:
            raise FormatError(reason.removesuffix(BECAME_NULL), path=path, line=line)
        if len(self._kept) < self.keep:
            self._kept.append(Problem(path, line, reason))

    def absorb(self, other: Problems) -> None:
        """Add the problems of another one, which has none then; neither may be strict."""
        self.count += other.count
        self._kept += other._kept[: max(0, self.keep - len(self._kept))]
        other.count, other._kept = 0, []

    def __iter__(self) -> Iterator[Problem]:
        """Yield what is kept, of each file in the order of its lines."""
        for _, found in groupby(tuple(self._kept), attrgetter("path")):
            yield from sorted(found, key=_line_of)

    def __repr__(self) -> str:
        return f"Problems(count={self.count})"


def _line_of(problem: Problem) -> int:
    return sys.maxsize if problem.line is None else problem.line


_MAX_EXAMPLES = 10


class Mismatches:
    """Collects values that do not match their types, and reports them in the order of lines."""

    def __init__(self, path: str, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._examples: dict[str, list[tuple[int, str]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, field: str, line: int, reason: str) -> None:
        """Add one value."""
        self.add_many(field, [line], lambda _: reason)

    def add_many(self, field: str, lines: Sequence[int], reason: Callable[[int], str]) -> None:
        """Add values by their lines; `reason` is only called for the first few."""
        named = self._examples.setdefault(field, [])
        for i, line in enumerate(lines[: _MAX_EXAMPLES - len(named)]):
            named.append((line, reason(i)))
        self._counts[field] = self._counts.get(field, 0) + len(lines)

    def report(self) -> None:
        """Add the collected values to the problems, and clear them."""
        named = [
            (line, field, reason)
            for field, pairs in self._examples.items()
            for line, reason in pairs
        ]
        more = {field: count - len(self._examples[field]) for field, count in self._counts.items()}
        self._examples, self._counts = {}, {}
        for line, field, reason in sorted(named):
            self._problems.add(self._path, line, f"{field}: {reason}")
        for field, count in more.items():
            if count > 0:
                line = max(line for line, name, _ in named if name == field)
                reason = f"{field}: also {count:,} more values after this line"
                self._problems.add(self._path, line, reason, count)
