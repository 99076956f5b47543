"""One file of a node's archive on its way through DataFusion.

pyarrow opens the files and DataFusion filters what was read, in memory. That is faster than
DataFusion's own reader for such files, and a file that is deleted while it is read stays
readable, where DataFusion would find no events in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import datafusion
import pyarrow as pa

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import nesting
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import CorruptFileError
from vastlab.expression.ast import Column, Constant, Expr, MetaExtractor
from vastlab.expression.rewrite import predicates
from vastlab.nodes._plan import Task
from vastlab.nodes._scan import FileGoneError, FileScan, reason_of
from vastlab.store.archive import OpenFile, Part

_ROWS = 65_536  # events that are filtered at once: planning costs more than the filter
_SMALL = 8_192  # batches that are not larger together are handed on as one


class ArchiveScan(FileScan):
    """One file of an archive; its methods run in a worker thread.

    Parameters
    ----------
    context
        Of `vastlab.nodes._scan.make_context`.
    task
        What to read.
    held
        Files that are open already, by path; the scan takes its own.
    """

    def __init__(
        self, context: datafusion.SessionContext, task: Task, held: dict[str, OpenFile]
    ) -> None:
        super().__init__(context, task)
        self._held = held
        self._columns = _columns(task.bound)

    def count(self) -> int:
        """Count the events without making them."""
        with self._reading():
            return sum(
                int(kept.true_count) for group in self._groups() for kept in self._kept(group)
            )

    def _read(self) -> Iterator[pa.RecordBatch]:
        with self._reading():
            for group in self._groups():
                if self._task.bound == Constant(True):
                    yield from (part.events for part in group)
                else:
                    yield from _selected(group, self._kept(group))

    def _groups(self) -> Iterator[list[Part]]:
        """Gather batches; the first goes out alone, because somebody waits for it."""
        group: list[Part] = []
        rows, wanted = 0, 1
        with self._open() as file:
            for part in file.parts():
                if self._stopped:
                    return
                group.append(part)
                rows += part.events.num_rows
                if rows >= wanted:
                    yield group
                    group, rows, wanted = [], 0, _ROWS
            if group:
                yield group

    def _open(self) -> OpenFile:
        held = self._held.pop(self._task.file.path, None)
        return OpenFile(self._task.file, self._task.layout) if held is None else held

    def _kept(self, group: list[Part]) -> list[pa.BooleanArray]:
        """Say for each event of each batch whether it is wanted; null is no."""
        bound = self._task.filters.of(self._task.bound)
        frame = self._context.read_batches([self._flat(part) for part in group])
        chunks = [
            batch.to_pyarrow().column(0)
            for batch in frame.select(bound.alias("kept")).execute_stream()
        ]
        whole = pa.chunked_array(chunks, pa.bool_()).combine_chunks().fill_null(False)
        kept, start = [], 0
        for part in group:
            kept.append(whole.slice(start, part.events.num_rows))
            start += part.events.num_rows
        return kept

    def _flat(self, part: Part) -> pa.RecordBatch:
        flat = nesting.flatten(part.events)
        flat = flat.append_column(arrow_schema.IMPORT_TIME, part.import_time)
        # Without a column a batch would lose its length on the way.
        return flat.select(self._columns or [arrow_schema.IMPORT_TIME])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileGoneError(f"the node deleted {self._task.file.path}") from None
        except GeneratorExit:
            raise
        except BaseException as error:
            raise CorruptFileError(
                f"cannot read {self._task.file.path}: {reason_of(error)}",
                hint="copy the folder without this file to read the others",
            ) from error


def _columns(bound: Expr) -> list[str]:
    found: dict[str, None] = {}
    for part in predicates(bound):
        match part.extractor:
            case Column(leaf):
                found[leaf.column] = None
            case MetaExtractor():
                found[arrow_schema.IMPORT_TIME] = None
    return list(found)


def _selected(group: list[Part], kept: list[pa.BooleanArray]) -> Iterator[pa.RecordBatch]:
    chosen = [
        _filtered(part.events, mask)
        for part, mask in zip(group, kept, strict=True)
        if mask.true_count
    ]
    if len(chosen) > 1 and sum(batch.num_rows for batch in chosen) <= _SMALL:
        chosen = [pa.concat_batches(chosen)]
    yield from chosen


def _filtered(events: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    count = mask.true_count
    if count == len(mask):
        return events
    if not events.num_columns:
        return arrow_arrays.record_batch([], events.schema, count)
    return events.filter(mask)
