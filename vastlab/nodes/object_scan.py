"""Reading of Parquet files in an object store: row group by row group, and verified.

First what is compared is fetched, and the rest of a row group only where something matches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.compile.summary import Grouping
from vastlab.errors import CorruptFileError, VastlabError
from vastlab.expression.ast import Constant, Expr
from vastlab.nodes import plan
from vastlab.nodes.engine import Engine
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import Chosen, FileScan, Times, bounds_of, gone, reason_of
from vastlab.nodes.verification import Verification
from vastlab.store.checksums import REPAIR
from vastlab.store.object_file import ObjectFile, ObjectFiles, PlainFile

_File = ObjectFile | PlainFile
_PASSED_ON = 32_768  # rows that become events at once
_FEW = 1_024  # rows of a row group that may be in some of its pages only
_FIRST = 8_192  # the same where the first events are awaited


class ObjectScan(FileScan):
    """One file of an object store; its methods run in a worker thread.

    Parameters
    ----------
    context
        The engine.
    task
        What to read.
    files
        The files of the store.
    """

    def __init__(self, context: Engine, task: Task, files: ObjectFiles) -> None:
        super().__init__(context, task)
        self._files = files
        self._identity = ""

    def count(self) -> int:
        """Count the events without making them."""
        if self._stopped:
            return 0
        with self._reading() as file:
            return sum(
                self._task.file.rows
                if expr == Constant(True)
                else sum(rows.num_rows for rows in self._found(file, expr, ()))
                for expr in self._task.disjuncts
            )

    def group(self, grouping: Grouping) -> Iterator[pa.Table]:
        """Group the events without making them."""
        if self._stopped:
            return
        task, used = self._task, grouping.columns
        with self._reading() as file:
            for expr in task.disjuncts:
                for rows in self._found(file, expr, used):
                    frame = self._context.usual.read_batches([rows])
                    yield grouping.partial(frame, bounds_of(task.file, used), task.file.rows)

    def spans(self) -> list[tuple[int, int]]:
        """Return the bounds of the event time in parts of the file that can be read apart."""
        task = self._task
        if self._stopped:
            return []
        with self._reading() as file:
            if isinstance(file, PlainFile):
                return [(task.file.first, task.file.last)]
            return Verification(task, file).spans()

    def times(self) -> Times:
        """Return the event times that a task finds which asks for some; in nanoseconds."""
        leaf = self._task.layout.schema.event_time
        found: list[Times] = [np.empty(0, np.int64)]
        if leaf is not None and not self._stopped:
            with self._reading() as file:
                found += (
                    pc.cast(rows.column(0), pa.int64()).to_numpy()
                    for expr in self._task.disjuncts
                    for rows in self._found(file, expr, [leaf.column])
                )
        return np.concatenate(found)

    def _read(self) -> Iterator[pa.RecordBatch]:
        task = self._task
        chosen = Chosen(task.layout, task.fields)
        names = task.layout.stored_schema.names if chosen.columns is None else chosen.columns
        wanted = list(names)
        with self._reading() as file:
            for expr in task.disjuncts:
                left = task.limit or task.file.rows
                for rows in self._found(file, expr, wanted):
                    for start in range(0, min(rows.num_rows, left), size := self._size()):
                        yield chosen.events(rows.slice(start, min(size, left - start)))
                    left -= rows.num_rows
                    if left <= 0:
                        break

    def _size(self) -> int:
        return _FIRST if self.is_first else _PASSED_ON

    def _found(self, file: _File, expr: Expr, wanted: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of what an expression finds; without any, one that it compares."""
        if expr == Constant(True):
            names = list(wanted) or self._task.layout.stored_schema.names[-1:]
            yield from (read(names) for read in self._groups(file, expr, names))
            return
        compared = sorted(plan.columns(expr)) or self._task.layout.stored_schema.names[-1:]
        rest = [name for name in wanted if name not in compared]
        for read in self._groups(file, expr, compared):
            seen = read(compared)
            mask = self._mask(expr, seen)
            if not mask.true_count:
                continue
            names = list(wanted) or compared[:1]
            arrays = {name: seen.column(name) for name in names if name in compared}
            fields = {name: seen.schema.field(name) for name in arrays}
            if rest:
                few = np.flatnonzero(mask) if mask.true_count <= _FEW else None
                others = read(rest, few)
                arrays |= dict(zip(rest, others.columns, strict=True))
                fields |= {name: others.schema.field(name) for name in rest}
            whole = pa.RecordBatch.from_arrays(
                [arrays[name] for name in names], schema=pa.schema([fields[n] for n in names])
            )
            yield whole if mask.true_count == len(mask) else whole.filter(mask)

    def _mask(self, expr: Expr, rows: pa.RecordBatch) -> pa.BooleanArray:
        """Say for each row whether an expression finds it; null is no."""
        condition = self._task.filters.of(expr).alias("kept")
        frame = self._context.usual.read_batches([rows]).select(condition)
        chunks = [batch.to_pyarrow().column(0) for batch in frame.execute_stream()]
        return pa.chunked_array(chunks, pa.bool_()).combine_chunks().fill_null(False)

    def _groups(
        self, file: _File, expr: Expr, names: Collection[str]
    ) -> Iterator[Callable[..., pa.RecordBatch]]:
        """Yield what reads columns of each row group in which something may be found.

        Those that are named are read of each; see `ObjectFile.rows`.
        """
        is_whole = expr == Constant(True)
        if isinstance(file, PlainFile) or is_whole:
            groups = list(range(file.metadata.num_row_groups))
        else:
            groups = Verification(self._task, file).groups_of(expr)
        for place, group in enumerate(groups):
            if self._stopped:
                return
            if isinstance(file, ObjectFile) and not (is_whole and self._is_awaited):
                file.fetch_ahead(groups[place:], names)
            yield partial(file.rows, group, layout=self._task.layout)

    @property
    def _is_awaited(self) -> bool:
        """Whether the first events are wanted as soon as can be, and perhaps no others."""
        return self.is_first or self._task.limit > 0

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_File]:
        """Open the file; it must be the same afterwards, and errors name it."""
        file = self._task.file
        try:
            before = self._files.identity(file)
            yield self._files.open(file, before)
            if not self._stopped and self._files.identity(file) != before:
                raise CorruptFileError(
                    f"a file of the database was replaced while it was read: {file.path}",
                    hint="run the query again",
                )
        except (VastlabError, GeneratorExit):
            raise
        except FileNotFoundError:
            raise gone(file) from None
        except BaseException as error:
            raise CorruptFileError(
                f"cannot read {file.path}: {reason_of(error)}", hint=REPAIR
            ) from error


def row_groups(task: Task, files: ObjectFiles) -> tuple[int, int]:
    """Return how many row groups of a file would be read, of how many."""
    try:
        file = files.open(task.file, files.identity(task.file))
    except FileNotFoundError:
        raise gone(task.file) from None
    return plan.row_groups_of(task, file.metadata, file if isinstance(file, ObjectFile) else None)
