"""The engine, and how what matches in one file is counted without making events.

Where there is one condition, all columns that are read belong to it, and are compared as they are
decoded, text without a copy. A column with few distinct values is compared once for each of them:
how often each occurs is remembered, so that another question about the column reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vastlab._lazy import datafusion
from vastlab.arrow.address import ValueSet
from vastlab.arrow.types import storage_of, storage_type_of
from vastlab.store.checksums import VerifiedFile

SETTINGS = {
    "datafusion.execution.collect_statistics": "false",  # else planning opens every footer
    "datafusion.execution.target_partitions": "1",  # else the rows of a file lose their order
    "datafusion.execution.parquet.bloom_filter_on_read": "true",
    "datafusion.execution.parquet.pushdown_filters": "true",
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.execution.parquet.skip_metadata": "false",
}
_LARGE = {"datafusion.execution.batch_size": "32768"}
_LARGEST = {"datafusion.execution.batch_size": "65536"}
_WHOLE = {"datafusion.execution.parquet.pushdown_filters": "false"}
# For row groups of which all are needed, looking at their indexes is in vain.
_UNPRUNED = {
    "datafusion.execution.parquet.bloom_filter_on_read": "false",
    "datafusion.execution.parquet.enable_page_index": "false",
}
_FEW = 4  # bytes of a column for each row, of which a dictionary of few values needs less
_FEWEST = 4096  # rows for which it pays off
_MOST_BYTES = 1 << 25  # of all tallies


class Engine:
    """The engine with the settings that give right answers, made when it is first asked."""

    @cached_property
    def usual(self) -> datafusion.SessionContext:
        """The engine for the first events, which come in small batches."""
        return datafusion.SessionContext(datafusion.SessionConfig(SETTINGS))

    @cached_property
    def bulk(self) -> datafusion.SessionContext:
        """The same with larger batches, where the first rows are not awaited."""
        return datafusion.SessionContext(datafusion.SessionConfig(SETTINGS | _LARGE))

    @cached_property
    def grouping(self) -> datafusion.SessionContext:
        """The engine for groups, of which the batches are read column by column."""
        return datafusion.SessionContext(datafusion.SessionConfig(SETTINGS | _LARGEST))

    @cached_property
    def searching(self) -> datafusion.SessionContext:
        """The engine for counts by one condition: columns are not decoded apart from the filter."""
        return datafusion.SessionContext(datafusion.SessionConfig(SETTINGS | _LARGE | _WHOLE))

    @cached_property
    def counting(self) -> datafusion.SessionContext:
        """The same for files of which all row groups are needed."""
        config = SETTINGS | _LARGE | _WHOLE | _UNPRUNED
        return datafusion.SessionContext(datafusion.SessionConfig(config))

    @cached_property
    def tallies(self) -> Tallies:
        """What is known of columns with few distinct values."""
        return Tallies(self)


def with_views(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """Return the schema of a file that reads the text in some columns without copying it."""
    fields = (
        field.with_type(pa.string_view()) if field.name in columns and _is_text(field) else field
        for field in schema
    )
    return pa.schema(fields, schema.metadata)


_LOOKED_UP = 1 << 24  # bytes of values that are looked up at once


def count_listed(frame: datafusion.DataFrame, values: ValueSet, *, is_negated: bool) -> int:
    """Count the values of a frame of one column that are in a set, or neither in it nor null."""
    found = valid = size = 0
    chunks: list[pa.Array] = []
    for batch in frame.execute_stream():
        chunk = storage_of(batch.to_pyarrow().column(0))
        valid += len(chunk) - chunk.null_count
        chunks.append(chunk)
        size += chunk.nbytes
        if size >= _LOOKED_UP:
            found, chunks, size = found + values.count(chunks), [], 0
    found += values.count(chunks)
    return valid - found if is_negated else found


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type))


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each value of a column occurs, null as well; a value may be there repeatedly."""

    values: pa.Array
    numbers: npt.NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return int(self.values.nbytes + self.numbers.nbytes)


class Tallies:
    """Tallies of the columns of verified files, made where one is asked for.

    To read text as a dictionary is the fastest way to compare it, and gives a tally besides. A
    column of another type is grouped when it is asked for again: that takes twice as long as to
    compare it.
    """

    def __init__(self, context: Engine) -> None:
        self._context = context
        self._known: WeakKeyDictionary[VerifiedFile, dict[str, Tally | None]] = WeakKeyDictionary()
        self._asked: WeakKeyDictionary[VerifiedFile, set[str]] = WeakKeyDictionary()
        self._bytes = 0

    def count(
        self,
        path: str,
        file: VerifiedFile,
        field: pa.Field,
        condition: datafusion.Expr,
        grouped: Callable[[], datafusion.DataFrame],
    ) -> int | None:
        """Count the rows that match a condition, which is computed once for each distinct value.

        Parameters
        ----------
        path
            Of the file, whose column was verified.
        file
            The same.
        field
            Of the column, as it is stored; the condition is about nothing else.
        condition
            Null does not match.
        grouped
            Returns the values of the column, and how often each occurs.

        Returns
        -------
        int or None
            None if the column may have many distinct values, or is not worth it yet.
        """
        tallies = self._known.setdefault(file, {})
        if field.name not in tallies:
            if _is_text(field):
                made = self._of_text(path, file, field)
            elif not _is_countable(field.type) or not _is_small(file, field.name):
                made = None
            elif field.name not in (asked := self._asked.setdefault(file, set())):
                asked.add(field.name)
                return None
            else:
                made = _of_groups(grouped())
            self._keep(tallies, field.name, made)
        else:
            made = tallies[field.name]
        return None if made is None else self._matching(made, field, condition)

    def _keep(self, tallies: dict[str, Tally | None], name: str, made: Tally | None) -> None:
        self._bytes += made.size if made else 0
        if self._bytes > _MOST_BYTES:
            self._known.clear()
            self._bytes = 0
        else:
            tallies[name] = made

    def _of_text(self, path: str, file: VerifiedFile, field: pa.Field) -> Tally | None:
        if not _is_small(file, field.name):
            return None
        with pq.ParquetFile(path, read_dictionary=[field.name]) as parquet:
            if not _has_dictionaries(parquet, field.name):
                return None
            chunks = [
                chunk
                for group in range(parquet.num_row_groups)
                for chunk in parquet.read_row_group(group, [field.name], use_threads=False)
                .column(field.name)
                .chunks
            ]
        values = [*(chunk.dictionary for chunk in chunks), pa.nulls(1, pa.string())]
        nulls = sum(chunk.null_count for chunk in chunks)
        numbers = [*map(_occurrences, chunks), np.array([nulls])]
        return Tally(pa.concat_arrays(values).cast(pa.string()), np.concatenate(numbers))

    def _matching(self, tally: Tally, field: pa.Field, condition: datafusion.Expr) -> int:
        schema = pa.schema([field.with_nullable(True)])
        batch = pa.RecordBatch.from_arrays([tally.values], schema=schema)
        answers = self._context.usual.read_batch(batch).select(condition.alias("found")).collect()
        columns = [
            answer.column(0).fill_null(False).to_numpy(zero_copy_only=False) for answer in answers
        ]
        return int(tally.numbers[np.concatenate(columns).astype(np.bool_)].sum())


def _is_countable(type_: pa.DataType) -> bool:
    """Whether equal values of a type are the same; doubles and labels are not."""
    storage = storage_type_of(type_)
    return bool(
        pa.types.is_integer(storage)
        or pa.types.is_temporal(storage)
        or pa.types.is_fixed_size_binary(storage)
    )


def _of_groups(frame: datafusion.DataFrame) -> Tally:
    parts = frame.collect()
    values = pa.concat_arrays([storage_of(part.column(0)) for part in parts])
    numbers = pa.concat_arrays([part.column(1) for part in parts])
    return Tally(values, numbers.to_numpy())


def _is_small(file: VerifiedFile, column: str) -> bool:
    place = file.columns.index(column)
    rows = sum(group.rows for group in file.groups)
    size = sum(group.chunks[place].length for group in file.groups)
    return rows >= _FEWEST and size < _FEW * rows


def _has_dictionaries(parquet: pq.ParquetFile, column: str) -> bool:
    """Whether the column is stored as numbers of distinct values, of which there are few."""
    metadata = parquet.metadata
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    place = names.index(column)
    chunks = [metadata.row_group(i).column(place) for i in range(metadata.num_row_groups)]
    return all(
        chunk.has_dictionary_page and chunk.total_uncompressed_size < _FEW * chunk.num_values
        for chunk in chunks
    )


def _occurrences(chunk: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    """Count how often each value of a dictionary occurs."""
    indices = chunk.indices.drop_null() if chunk.null_count else chunk.indices
    return np.bincount(indices.to_numpy(), minlength=len(chunk.dictionary))
