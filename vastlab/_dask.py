"""Results as Dask DataFrames, whose partitions are read by whoever computes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from vastlab._optional import import_optional
from vastlab._stored import Stored
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import NodeError, UsageError
from vastlab.frames import to_frames
from vastlab.store import checksums
from vastlab.store.layout import DataFile, Layout
from vastlab.store.writer import ROW_GROUP_ROWS
from vastlab.types import Schema

if TYPE_CHECKING:
    import dask.dataframe as dd

_EXTRA = "cluster"
# Dask would make text of lists and bytes, too.
_AS_THEY_ARE = {"dataframe.convert-string": False}


def stored_frames(stored: Stored) -> dict[str, dd.DataFrame]:
    """Return a Dask DataFrame for each schema of a database in a folder, in parts of its files."""
    dask, frames = (import_optional(name, extra=_EXTRA) for name in ("dask", "dask.dataframe"))
    if not stored.is_local:
        raise UsageError(
            f"dask() reads files that all workers see, and {stored.place} is in an object store",
            hint="write the events to a folder",
        )
    snapshot = stored.snapshot()
    found: dict[str, dd.DataFrame] = {}
    for name in stored:
        files = [file for file in snapshot.files if file.schema_name == name]
        schemas = {file.fingerprint: snapshot.layouts[file.fingerprint].schema for file in files}
        parts = [(f, start) for f in files for start in range(0, f.rows, ROW_GROUP_ROWS)]
        read = Reader(name, schemas)
        with dask.config.set(_AS_THEY_ARE):
            found[name] = frames.from_map(read, parts, meta=read.meta(), label=f"vastlab-{name}")
    return found


def held_frames(held: Mapping[str, pd.DataFrame]) -> dict[str, dd.DataFrame]:
    """Return a Dask DataFrame for each frame in memory."""
    dask, frames = (import_optional(name, extra=_EXTRA) for name in ("dask", "dask.dataframe"))
    with dask.config.set(_AS_THEY_ARE):
        return {
            name: frames.from_pandas(_as_text(frame), chunksize=ROW_GROUP_ROWS)
            for name, frame in held.items()
        }


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads partitions of one schema, all with the same columns.

    Parameters
    ----------
    name
        The schema.
    schemas
        Its layouts, by fingerprint.
    """

    name: str
    schemas: Mapping[str, Schema]

    def meta(self) -> pd.DataFrame:
        """Return a frame without rows."""
        return self._frame([])

    def __call__(self, part: tuple[DataFile, int]) -> pd.DataFrame:
        """Read the rows of a file from some position to the next."""
        file, start = part
        layout = Layout(file.fingerprint, self.schemas[file.fingerprint])
        rows = checksums.read_part(file, layout, start, start + ROW_GROUP_ROWS)
        frame = self._frame([pa.Table.from_batches([layout.events(each)]) for each in rows])
        meta = self.meta()
        for column in meta.columns:
            if frame[column].dtype != meta[column].dtype:
                raise NodeError(
                    f"{column} of {self.name} is {frame[column].dtype} in {file.path}, and "
                    f"{meta[column].dtype} in other files",
                    hint="whole numbers beyond 64 bits cannot be joined; leave out those events",
                )
        return frame

    def _frame(self, tables: Sequence[pa.Table]) -> pd.DataFrame:
        # All layouts, so that a column has the type that it has in the frame of all events.
        empty = [pa.Table.from_batches([], schema) for schema in self._arrow_schemas()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a column that became text, for each partition
            return _as_text(to_frames({self.name: [*empty, *tables]})[self.name])

    def _arrow_schemas(self) -> Iterator[pa.Schema]:
        return (arrow_schema.to_arrow(self.schemas[each]) for each in sorted(self.schemas))


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn categories into text: those of two partitions would not be the same."""
    categories: dict[Any, str] = {
        name: "str" for name in frame.columns if frame[name].dtype == "category"
    }
    return frame.astype(categories)
