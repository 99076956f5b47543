"""What is sent to the workers of a cluster: versions, and then the question.

Of an object store, that is its URL: workers have credentials of their own.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from importlib import metadata
from typing import Any, Protocol

from vastlab.endpoints import ObjectStoreEndpoint
from vastlab.errors import NodeError
from vastlab.expression.ast import Expr
from vastlab.nodes.plan import Filters, Task
from vastlab.store.layout import DataFile, Layout
from vastlab.types import Paths, Schema

_MISSING = "not installed"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _MISSING


VERSIONS: Mapping[str, str] = {
    name: _version(name) for name in ("vastlab", "datafusion", "pyarrow")
}
"""The packages of which a worker must have the versions that this process has."""

_KEPT = 64  # layouts with expressions, of which a worker keeps the filters


class Work(Enum):
    """What a worker does with files."""

    READ = "read"
    COUNT = "count"
    GROUP = "group"
    SPANS = "spans"
    TIMES = "times"
    ROW_GROUPS = "row groups"


class Errand(Protocol):
    """Something else that a worker does, with its own state and the name of the call."""

    def run(self, here: Any, call: str) -> Any:
        """Do it, and return the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What to do with some files of one layout.

    Parameters
    ----------
    work
        What to do.
    shared
        The layout and the expressions, pickled; equal for many questions.
    files
        Each file, with the places of its expressions.
    verify
        Whether what is read is compared with its checksums.
    store
        The object store that holds the files; None for files that are opened by their paths.
    more
        What the work needs beside the files.
    """

    work: Work
    shared: bytes
    files: tuple[tuple[DataFile, int, tuple[int, ...]], ...]
    verify: bool
    store: ObjectStoreEndpoint | None = None
    more: Any = None

    def tasks(self) -> list[Task]:
        """Return what to read."""
        layout, filters, exprs, fields, limit = _restored(self.shared)
        return [
            Task(file, layout, exprs[bound], tuple(exprs[i] for i in parts), filters, fields, limit)
            for file, bound, parts in self.files
        ]


def question(
    work: Work,
    tasks: Sequence[Task],
    *,
    verify: bool,
    store: ObjectStoreEndpoint | None = None,
    columns: Collection[str] = (),
    more: Any = None,
) -> bytes:
    """Write a question about files of one layout.

    Parameters
    ----------
    work
        What to do.
    tasks
        The files and what to look for.
    verify
        Whether what is read is compared with its checksums.
    store
        The object store that holds the files, if one does.
    columns
        Those of which the worker needs the bounds that the manifest knows.
    more
        What the work needs beside the files.
    """
    first = tasks[0]
    exprs: dict[int, Expr] = {}  # by identity, as in `Filters`
    for task in tasks:
        exprs.update((id(expr), expr) for expr in (task.bound, *task.disjuncts))
    places = {key: place for place, key in enumerate(exprs)}
    layout = (first.layout.fingerprint, first.layout.schema)
    shared = pickle.dumps((layout, tuple(exprs.values()), first.fields, first.limit))
    files = tuple(
        (
            _without_ranges(task.file, columns),
            places[id(task.bound)],
            tuple(places[id(expr)] for expr in task.disjuncts),
        )
        for task in tasks
    )
    return pickle.dumps(Question(work, shared, files, verify, store, more))


def read(payload: bytes) -> Question | Errand:
    """Return what a worker is asked to do; the versions were compared before."""
    asked: Question | Errand = pickle.loads(payload)  # noqa: S301 - from the client, whom a worker trusts
    return asked


def read_question(payload: bytes) -> Question:
    """Return a question again; the versions were compared before."""
    asked: Question = pickle.loads(payload)  # noqa: S301 - from the client, whom a worker trusts
    return asked


def differences(versions: Mapping[str, str | None]) -> list[str]:
    """Return the packages of which another process has other versions."""
    return [name for name in VERSIONS if (versions.get(name) or _MISSING) != VERSIONS[name]]


def version_error(worker: str, versions: Mapping[str, str | None]) -> NodeError:
    """Return the error for a worker with other versions."""
    differing = differences(versions)
    theirs = ", ".join(f"{name} {versions.get(name) or _MISSING}" for name in differing)
    ours = ", ".join(f"{name} {VERSIONS[name]}" for name in differing)
    return NodeError(
        f"the worker {worker} has other versions than this process: {theirs} instead of {ours}",
        hint="install the same versions on all machines",
    )


def _without_ranges(file: DataFile, columns: Iterable[str]) -> DataFile:
    """Leave out most of what the manifest knows: it is the largest part, and was used already."""
    known = {name: file.ranges[name] for name in columns if name in file.ranges}
    return replace(file, ranges=known)


@lru_cache(maxsize=_KEPT)
def _restored(
    shared: bytes,
) -> tuple[Layout, Filters, tuple[Expr, ...], Paths | None, int]:
    layout: tuple[str, Schema]
    layout, exprs, fields, limit = pickle.loads(shared)  # noqa: S301 - from the client, whom a worker trusts
    return Layout(*layout), Filters(layout[1]), exprs, fields, limit
