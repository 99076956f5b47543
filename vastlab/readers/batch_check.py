"""Checks and converts all batches between a reader and the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab._text import first_line
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.convert import LossCollector
from vastlab.arrow.ipc import check
from vastlab.errors import FormatError, UsageError
from vastlab.readers.problems import Problems

MAX_ROWS = 65_536  # of one batch
MAX_FIELDS = 10_000
MAX_DEPTH = 50  # levels of one type; Arrow cannot read a schema with more than 63
_MAX_BATCH_SIZE = 256 << 20  # bytes of one batch, about
# Limits for the content of a file relative to its size: repeated values take almost no space.
_VALUES, _VALUES_PER_BYTE = 100_000_000, 10_000
_BYTES, _BYTES_PER_BYTE = 1 << 30, 100


@dataclass(slots=True)
class _Change:
    """Changed values of one field."""

    reason: str
    first: int
    count: int


class BatchChecker:
    """Checks and converts the batches of one source; its `size` limits that of its events."""

    def __init__(
        self, label: str, problems: Problems, size: Callable[[], int] | None = None
    ) -> None:
        self._label = label
        self._problems = problems
        self._given = 0
        self._size = size or (lambda: self._given)
        self._schema: pa.Schema | None = None
        self._kept: list[int] | None = None
        self._changes: dict[str, _Change] = {}
        self._rows = 0
        self._values = 0
        self._bytes = 0

    def convert(self, batch: pa.RecordBatch, name: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a batch, which may be damaged, in vastlab's form, with at most 65,536 rows each."""
        label = name or arrow_schema.name_of(batch.schema)
        try:
            batch = self._checked(self._limited(batch))
            self._given += batch.nbytes  # pyarrow may crash here if the batch was not checked
            self._count_values(batch)
            step = _rows_at_once(batch)
            for start in range(0, batch.num_rows, step):
                yield self._normal(batch.slice(start, step), name)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            reason = first_line(error)
            msg = f"events of schema {label!r} cannot be stored: {reason}"
            raise FormatError(msg) from error

    def report(self) -> None:
        """Report the values that were changed so far."""
        changes, self._changes = self._changes, {}
        for field, change in changes.items():
            number = f"{change.count:,} value{'s' * (change.count != 1)}"
            what = change.reason
            if self._problems.strict:
                what = what.partition(" became ")[0]  # in strict mode, no value is changed
            reason = f"{field}: {what} ({number}, first in row {change.first:,})"
            self._problems.add(self._label, None, reason, change.count)

    def _checked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        losses = LossCollector()
        batch = check(batch, losses)
        self._note(losses)
        return batch

    def _normal(self, batch: pa.RecordBatch, name: str | None) -> pa.RecordBatch:
        losses = LossCollector()
        batch = convert.normalise(batch, name, losses)
        if not arrow_schema.name_of(batch.schema):
            msg = "the events have no schema name"
            raise UsageError(msg, hint="pass a schema name, as in schema='my.events'")
        self._note(losses)
        self._rows += batch.num_rows
        self._count_bytes(batch)
        return batch

    def _note(self, losses: LossCollector) -> None:
        for loss in losses.found:
            first = self._rows + int(loss.rows[0]) + 1
            change = self._changes.setdefault(loss.field, _Change(loss.reason, first, 0))
            change.count += loss.rows.size
        if self._problems.strict:
            self.report()

    def _limited(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Check the limits, and leave out columns that cannot be stored."""
        batch.validate()
        if self._schema is None or not batch.schema.equals(self._schema, check_metadata=True):
            self._kept = self._storable(batch.schema)
            self._schema = batch.schema
        if self._kept is None:
            return batch
        columns = [batch.column(i) for i in self._kept]
        schema = pa.schema([batch.schema.field(i) for i in self._kept], batch.schema.metadata)
        return arrow_arrays.record_batch(columns, schema, batch.num_rows)

    def _storable(self, schema: pa.Schema) -> list[int] | None:
        """Return which columns can be stored; None for all."""
        kept, total = [], 0
        for i in range(len(schema)):
            field = schema.field(i)
            leaves, depth, names = _measure(field)
            total += leaves
            if total > MAX_FIELDS:
                raise FormatError(f"the events have more than {MAX_FIELDS:,} fields")
            if depth > MAX_DEPTH:
                reason = f"the field is left out: its type has more than {MAX_DEPTH} levels"
                self._problems.add(self._label, None, f"{field.name}: {reason}")
                continue
            for name in names:
                if "\0" in name:
                    self._problems.add(
                        self._label, None, f"the NUL in the name {name!r} is escaped"
                    )
            kept.append(i)
        return kept if len(kept) < len(schema) else None

    def _count_values(self, batch: pa.RecordBatch) -> None:
        self._values += batch.num_rows * max(1, batch.num_columns)
        if self._values <= _VALUES:
            return
        size = self._size()
        if self._values > _VALUES + _VALUES_PER_BYTE * size:
            raise FormatError(f"its {size:,} bytes contain more than {self._values:,} values")

    def _count_bytes(self, batch: pa.RecordBatch) -> None:
        self._bytes += batch.nbytes
        if self._bytes <= _BYTES:
            return
        size = self._size()
        if self._bytes > _BYTES + _BYTES_PER_BYTE * size:
            raise FormatError(f"its {size:,} bytes expand to more than {self._bytes:,} bytes")


def _measure(field: pa.Field) -> tuple[int, int, list[str]]:
    """Return the numbers of leaves and levels of a type, up to the limits, and its names."""
    leaves, deepest, names = 0, 0, [field.name]
    waiting = [(field.type, 1)]
    while waiting and deepest <= MAX_DEPTH and leaves <= MAX_FIELDS:
        type_, depth = waiting.pop()
        deepest = max(deepest, depth)
        inner = _inner(arrow_arrays.storage_type_of(type_))
        leaves += not inner
        names += [name for name, _ in inner if name]
        step = 2 if pa.types.is_map(type_) else 1
        waiting += [(part, depth + step) for _, part in inner]
    return leaves, deepest, names


def _inner(type_: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """Return the names and types of the parts of a type."""
    if pa.types.is_struct(type_) or pa.types.is_union(type_):
        fields = [type_.field(i) for i in range(min(type_.num_fields, MAX_FIELDS + 1))]
        return [(field.name, field.type) for field in fields]
    if pa.types.is_map(type_):
        return [("", type_.key_type), ("", type_.item_type)]
    if pa.types.is_nested(type_) or arrow_schema.is_encoded(type_):
        return [("", type_.value_type)]
    return []


# --- the size of converted batches ----------------------------------------------------------


def _rows_at_once(batch: pa.RecordBatch) -> int:
    """Return how many rows to convert at once, so that the result is not too large."""
    if not batch.num_rows:
        return MAX_ROWS
    widest = batch.nbytes / batch.num_rows
    widest += sum(_widest(arrow_arrays.storage_of(column)) for column in batch.columns)
    return int(max(1, min(MAX_ROWS, _MAX_BATCH_SIZE // max(widest, 1))))


def _widest(array: pa.Array) -> int:
    """Return the maximum size of a value that the array stores once for several rows."""
    type_ = array.type
    if pa.types.is_struct(type_):
        parts = (array.field(i) for i in range(type_.num_fields))
        return sum(_widest(arrow_arrays.storage_of(part)) for part in parts)
    if pa.types.is_dictionary(type_):
        return _longest(array.dictionary)
    if pa.types.is_run_end_encoded(type_):
        return _longest(array.values)
    if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        sizes = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        each = array.values.nbytes / max(1, len(array.values))
        return int(np.max(sizes, initial=0) * each)
    return 0


def _longest(values: pa.Array) -> int:
    values = arrow_arrays.storage_of(values)
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return pc.max(pc.binary_length(values)).as_py() or 0
    return values.nbytes if pa.types.is_nested(values.type) else 16
