"""The engine, and how what matches in one file is counted without making events.

Where there is one condition, all columns that are read belong to it, and are compared as they are
decoded, text without a copy. Text with few distinct values is compared once for each of them.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vastlab._lazy import datafusion
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
_FEW = 4  # bytes of a column for each row, of which a dictionary of few values needs less
_FEWEST = 4096  # rows for which it pays off


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
    def counting(self) -> datafusion.SessionContext:
        """The engine for counts by one condition: columns are not decoded apart from the filter."""
        config = SETTINGS | _LARGE | {"datafusion.execution.parquet.pushdown_filters": "false"}
        return datafusion.SessionContext(datafusion.SessionConfig(config))


def with_views(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """Return the schema of a file that reads the text in some columns without copying it."""
    fields = (
        field.with_type(pa.string_view()) if field.name in columns and _is_text(field) else field
        for field in schema
    )
    return pa.schema(fields, schema.metadata)


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type))


def count_by_value(
    context: datafusion.SessionContext,
    path: str,
    file: VerifiedFile,
    field: pa.Field,
    condition: datafusion.Expr,
) -> int | None:
    """Count the rows that match a condition, which is computed once for each distinct text.

    Parameters
    ----------
    context
        The engine.
    path
        Of the file, whose column was verified.
    file
        The same.
    field
        Of the column, as it is stored; the condition is about nothing else.
    condition
        Null does not match.

    Returns
    -------
    int or None
        None if the column is not text, or may have many distinct values.
    """
    if not _is_text(field) or not _is_small(file, field.name):
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
    # The last value stands for null.
    values = pa.concat_arrays([*(chunk.dictionary for chunk in chunks), pa.nulls(1, pa.string())])
    matching = _matching(context, values.cast(pa.string()), field, condition)
    found, start = 0, 0
    for chunk in chunks:
        size = len(chunk.dictionary)
        wanted = np.append(matching[start : start + size], matching[-1])
        found += _occurrences(chunk.indices, wanted)
        start += size
    return found


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


def _matching(
    context: datafusion.SessionContext,
    values: pa.StringArray,
    field: pa.Field,
    condition: datafusion.Expr,
) -> npt.NDArray[np.bool_]:
    batch = pa.RecordBatch.from_arrays([values], schema=pa.schema([field.with_nullable(True)]))
    answers = context.read_batch(batch).select(condition.alias("found")).collect()
    columns = [
        answer.column(0).fill_null(False).to_numpy(zero_copy_only=False) for answer in answers
    ]
    return np.concatenate(columns).astype(np.bool_)


def _occurrences(indices: pa.Array, wanted: npt.NDArray[np.bool_]) -> int:
    """Count the indices of wanted values; null is the last one."""
    last = len(wanted) - 1
    numbers = (indices.fill_null(last) if indices.null_count else indices).to_numpy()
    return int(np.count_nonzero(wanted[numbers]))
