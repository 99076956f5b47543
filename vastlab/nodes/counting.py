"""How what matches in a file is counted without making events.

All columns that are read belong to the condition, and are compared as they are decoded, text
without a copy. To decode some only where others match takes longer, unless few of these match.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab._lazy import datafusion, functions, lit
from vastlab.arrow.types import storage_of
from vastlab.arrow.value_sets import ValueSet
from vastlab.compile.datafusion import column_named, lookup
from vastlab.expression.ast import Expr, Or
from vastlab.nodes import plan
from vastlab.nodes.engine import Engine, parquet, with_views
from vastlab.nodes.plan import Task
from vastlab.nodes.verification import Verification

MOST_OPERANDS = 8  # conditions that are looked at one by one


class FileCounter:
    """Counts in one verified file what can be counted without comparing all its rows.

    Parameters
    ----------
    engine
        Remembers columns with few distinct values.
    task
        The file.
    verification
        Its checks.
    """

    def __init__(self, engine: Engine, task: Task, verification: Verification) -> None:
        self._engine = engine
        self._task = task
        self._verification = verification

    def count(self, expr: Expr) -> int | Expr:
        """Return how many rows match, or an expression that is to be compared with all rows."""
        columns = plan.columns(expr)
        if isinstance(expr, Or) and len(columns) > 1 and len(expr.operands) <= MOST_OPERANDS:
            return self._any(expr)
        if columns == {self._verification.file.order}:
            return self._sorted(expr)
        found = self._tallied(expr)
        return expr if found is None else found

    def _any(self, expr: Or) -> int | Expr:
        """Count what one of several conditions finds; columns without such a value are left out."""
        counts = [
            (part, self._tallied(part) if self._verification.groups_of(part) else 0)
            for part in expr.operands
        ]
        rest = [(part, found) for part, found in counts if found != 0]
        match rest:
            case []:
                return 0
            case [(part, found)]:
                return part if found is None else found
            case _:
                return expr if len(rest) == len(counts) else Or(tuple(part for part, _ in rest))

    def _sorted(self, expr: Expr) -> int:
        """Count by the column that the file is sorted by: few row groups have to be read."""
        certain = self._verification.certain(expr)
        rest = [group for group in self._verification.groups if group not in certain]
        found = sum(self._verification.file.groups[group].rows for group in certain)
        if not rest:
            return found
        name = self._verification.file.order
        with pq.ParquetFile(self._task.file.path) as file:
            table = file.read_row_groups(rest, [name], use_threads=False).select([name])
        frame = self._engine.usual.read_batches(table.to_batches())
        return found + int(frame.filter(self._task.filters.of(expr)).count())

    def _tallied(self, expr: Expr) -> int | None:
        """Count what a condition on one column finds, if its distinct values are known."""
        columns = plan.columns(expr)
        if len(columns) != 1:
            return None
        (name,) = columns
        field = self._task.layout.stored_schema.field(name)
        return self._engine.tallies.count(
            self._task.file,
            self._verification.file,
            field,
            self._task.filters.of(expr),
            partial(self._grouped, field),
        )

    def _grouped(self, field: pa.Field) -> datafusion.DataFrame:
        schema = self._task.layout.stored_schema
        frame = parquet(self._engine.counting, self._task.file.path, schema)
        number = functions.count(lit(pa.scalar(1))).alias(f"{field.name}#")
        return frame.aggregate([column_named(field.name)], [number])


def count_rows(engine: Engine, task: Task, expr: Expr, path: str, *, is_pruned: bool) -> int:
    """Count by comparing all rows.

    Parameters
    ----------
    engine
        The engine.
    task
        Of a file that is read; its layout and filters are used.
    expr
        What is counted.
    path
        Of the file, or of a folder of files of this layout, which ends with a slash.
    is_pruned
        Whether something may be found in some row groups only.
    """
    columns = plan.columns(expr)
    context = engine.searching if is_pruned else engine.counting
    frame = parquet(context, path, with_views(task.layout.stored_schema, columns))
    listed = lookup(expr)
    if listed is None:
        return int(frame.filter(task.filters.of(expr)).count())
    values, is_negated = listed
    chosen = frame.select(*map(column_named, columns))
    return _count_listed(chosen, values, is_negated=is_negated)


def _count_listed(frame: datafusion.DataFrame, values: ValueSet, *, is_negated: bool) -> int:
    """Count the values of a frame of one column that are in a set, or neither in it nor null."""
    valid = 0

    def chunks() -> Iterator[pa.Array]:
        nonlocal valid
        for batch in frame.execute_stream():
            chunk = storage_of(batch.to_pyarrow().column(0))
            valid += len(chunk) - chunk.null_count
            yield chunk

    found = values.count(chunks())
    return valid - found if is_negated else found
