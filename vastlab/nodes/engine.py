"""The engine that reads Parquet files, with the settings that give right answers."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vastlab._lazy import datafusion
from vastlab.nodes.links import Links
from vastlab.nodes.tallies import Tallies

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


class Engine:
    """The engine with the settings for each use, made when it is first asked."""

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
        return Tallies(self.matching)

    @cached_property
    def links(self) -> Links:
        """Folders of files that are read in one plan."""
        return Links()

    def matching(self, condition: datafusion.Expr, rows: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Return which rows in memory match a condition; null is no match."""
        parts = self.usual.read_batch(rows).select(condition.alias("found")).collect()
        columns = [part.column(0).fill_null(False) for part in parts]
        return np.concatenate([part.to_numpy(zero_copy_only=False) for part in columns])


def parquet(
    context: datafusion.SessionContext, path: str, schema: pa.Schema
) -> datafusion.DataFrame:
    """Return the rows of a file, or of the files of a folder whose path ends with a slash."""
    return context.read_parquet("file://" + quote(path), schema=schema, skip_metadata=False)


def with_views(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """Return the schema of a file that reads the text in some columns without copying it."""
    fields = (
        field.with_type(pa.string_view())
        if field.name in columns and pa.types.is_string(field.type)
        else field
        for field in schema
    )
    return pa.schema(fields, schema.metadata)
