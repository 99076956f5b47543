"""Grouping the events of several files in one plan: each plan takes longer than a small file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from vastlab.compile.summary import Bounds, Grouping
from vastlab.errors import VastlabError
from vastlab.expression.ast import Expr
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import bounds_of, reason_of
from vastlab.nodes.small_files import SeveralFiles
from vastlab.store.layout import DataFile

_MOST_ROWS = 1 << 22  # that are grouped at once, since one plan is not stopped
_MOST_FILES = 256  # that are checked before the first one is read


class FilesTogether(SeveralFiles):
    """Several files, which are grouped in one plan."""

    def group(self, grouping: Grouping) -> Iterator[pa.Table]:
        """Group the events without making them."""
        if self._stopped:
            return
        with contextlib.ExitStack() as checks:
            parts: dict[int, tuple[Expr, list[DataFile]]] = {}
            for task, scan in zip(self._tasks, self._scans, strict=True):
                _, disjuncts = checks.enter_context(scan.search(grouping.columns))
                for expr in disjuncts:
                    # The files share their expressions, as `Filters` does.
                    parts.setdefault(id(expr), (expr, []))[1].append(task.file)
            found = self._found(grouping, list(parts.values()))
        if found is not None:
            yield from found
            return
        for scan in self._scans:  # of which one names the file that cannot be read
            yield from scan.group(grouping)

    def _found(
        self, grouping: Grouping, parts: Sequence[tuple[Expr, list[DataFile]]]
    ) -> list[pa.Table] | None:
        """Group what is found by each expression; None where the engine cannot."""
        try:
            return [self._grouped(grouping, expr, files) for expr, files in parts]
        except VastlabError:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic is one, and all others are raised
            reason_of(error)
            return None

    def _grouped(self, grouping: Grouping, expr: Expr, files: Sequence[DataFile]) -> pa.Table:
        bounds = _common([bounds_of(file, grouping.columns) for file in files])
        # The engine takes one path, so that the files are given by links in a folder.
        with tempfile.TemporaryDirectory(prefix="vastlab-") as folder:
            for number, file in enumerate(files):
                os.symlink(os.path.abspath(file.path), f"{folder}/{number}.parquet")
            frame = self._scans[0].found(expr, f"{folder}/")
            return grouping.partial(frame, bounds, sum(file.rows for file in files))


def _common(bounds: Sequence[Bounds]) -> Bounds:
    """Return bounds of all values in several files."""
    known = set(bounds[0]).intersection(*bounds[1:])
    return {
        name: (min(each[name][0] for each in bounds), max(each[name][1] for each in bounds))
        for name in known
    }


def bundles(
    tasks: Sequence[Task], groupings: Mapping[str, Grouping], at_once: int
) -> list[list[Task]]:
    """Put files of one layout together whose sums and times are computed in the short way.

    Parameters
    ----------
    tasks
        The files.
    groupings
        How the events of a layout are grouped.
    at_once
        How many results are worked on at the same time.
    """
    most = min(_MOST_ROWS, -(-sum(task.file.rows for task in tasks) // at_once))
    bundled: list[list[Task]] = []
    open_: dict[int, tuple[list[Task], int]] = {}
    for task in tasks:
        file, grouping = task.file, groupings[task.file.fingerprint]
        is_plain = grouping.is_plain(bounds_of(file, grouping.columns), _MOST_ROWS)
        if not (any(file.tail) and is_plain and file.rows <= most):
            bundled.append([task])
            continue
        bundle, rows = open_.get(id(task.filters), ([], most))
        if rows + file.rows > most or len(bundle) >= _MOST_FILES:
            bundle, rows = [], 0
            bundled.append(bundle)
        bundle.append(task)
        open_[id(task.filters)] = bundle, rows + file.rows
    return bundled
