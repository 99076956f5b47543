"""What of a file is verified before an answer counts, and what its row groups rule out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.compile.pruning import Range, may_match, must_match
from vastlab.expression.ast import Constant, Expr
from vastlab.nodes import plan
from vastlab.nodes.plan import Task
from vastlab.store.checksums import VerifiedFile

_NEVER = np.iinfo(np.int64).max


class Verification:
    """The checks that go with the scan of one file.

    Parameters
    ----------
    task
        What is read.
    file
        The same.
    columns
        The columns of the events that are passed on; None for all.
    """

    def __init__(
        self, task: Task, file: VerifiedFile, columns: frozenset[str] | None = None
    ) -> None:
        self._task = task
        self.file = file
        self._columns = columns
        self._all = range(len(file.groups))
        self._ends = np.cumsum([group.rows for group in file.groups])
        bounds = [(group.first, group.last) for group in file.groups]
        self._firsts = np.array([_NEVER if first is None else first for first, _ in bounds])
        self._lasts = np.array([_NEVER if last is None else last for _, last in bounds])
        self._with_nulls = [i for i in self._all if file.groups[i].nulls]
        self.groups: list[int] = []  # that may hold something of the last expression yielded

    def disjuncts(self, used: frozenset[str] | None = None) -> Iterator[Expr]:
        """Yield the expressions of the task that have to be scanned for.

        Parameters
        ----------
        used
            The columns that are read where the events themselves are not seen, beside those of
            the expressions; None where `events` checks what is passed on.
        """
        for expr in self._task.disjuncts:
            if expr == Constant(True):
                self.groups = list(self._all)
                yield expr
                self.file.verify(self._all, self._columns if used is None else used)
                continue
            columns = plan.columns(expr)
            groups = self.groups_of(expr)
            if groups:
                if used is None:
                    self.file.verify(groups, columns)
                else:
                    self.file.verify(self._all, columns | used)
                self.groups = groups
                yield expr

    def groups_of(self, expr: Expr) -> list[int]:
        """Return the row groups in which an expression may find something."""
        columns = plan.columns(expr)
        self.file.verify_filters(columns)
        return [i for i in self._all if may_match(expr, self._known(i, expr, columns))]

    def events(self, expr: Expr) -> Callable[[pa.RecordBatch], None]:
        """Return what checks the batches of a scan, which come in the order of the file."""
        return self._checks_by_number() if expr == Constant(True) else self._check_by_order

    def times(self, expr: Expr) -> Callable[[pa.RecordBatch], None]:
        """Return what checks batches of the sorted column, found by an expression."""
        return partial(self._check_by_order, used=plan.columns(expr) | {self.file.order})

    def spans(self) -> list[tuple[int, int]]:
        """Return the bounds of the sorted column in each row group that has a value in it."""
        bounds = ((group.first, group.last) for group in self.file.groups)
        return [(low, high) for low, high in bounds if low is not None and high is not None]

    @property
    def is_unpruned(self) -> bool:
        """Whether all row groups are needed for the last expression yielded."""
        return len(self.groups) == len(self._all)

    def certain(self, expr: Expr) -> list[int]:
        """Return the row groups of which all events match an expression on the sorted column."""
        return [i for i in self.groups if must_match(expr, self._known(i, expr, set()))]

    def _checks_by_number(self) -> Callable[[pa.RecordBatch], None]:
        seen = 0

        def check(batch: pa.RecordBatch) -> None:
            nonlocal seen
            first = int(np.searchsorted(self._ends, seen, "right"))
            seen += batch.num_rows
            last = int(np.searchsorted(self._ends, seen, "left"))
            self.file.verify(self._all[first : last + 1], self._columns)

        return check

    def _check_by_order(self, batch: pa.RecordBatch, used: Collection[str] | None = None) -> None:
        if not batch.num_rows:
            return
        columns = self._columns if used is None else used
        self.file.verify(self._all, {self.file.order})
        times = batch.column(self.file.order)
        if times.null_count:
            self.file.verify(self._with_nulls, columns)
        values = pc.cast(times.drop_null(), pa.int64()).to_numpy()
        # Groups share a time where one ends and the next begins, so that it names several.
        lows = np.searchsorted(self._lasts, values, "left")
        highs = np.searchsorted(self._firsts, values, "right") - 1
        pairs = np.unique(lows * len(self._all) + highs).tolist()
        for low, high in (divmod(pair, len(self._all)) for pair in pairs):
            self.file.verify(self._all[low : high + 1], columns)

    def _known(self, group: int, expr: Expr, columns: set[str]) -> dict[str, Range]:
        file, found = self.file, self.file.groups[group]
        known = {file.order: Range(found.first, found.last, found.nulls, found.rows)}
        if plan.literals(expr) <= plan.MOST_LITERALS:
            for name in columns:
                if file.has_filter(group, name):
                    known[name] = Range(may_contain=partial(file.may_contain, group, name))
        return known
