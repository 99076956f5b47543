"""Writing sorted Parquet files."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab import _text
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.store import _encoding, _ranges
from vastlab.store.layout import DataFile, Layout, Range
from vastlab.types import Schema

SCHEMA_KEY = "vastlab:schema"
ROW_GROUP_ROWS = 131_072
TARGET_SIZE = 64 * 1024 * 1024


def encode_schema(schema: Schema) -> str:
    """Write a nested schema as text: an Arrow schema message in base64."""
    message = arrow_schema.to_arrow(schema).serialize().to_pybytes()
    return base64.b64encode(message).decode()


def decode_schema(text: str) -> Schema:
    """Read what `encode_schema` wrote."""
    message = pa.py_buffer(base64.b64decode(text))
    return arrow_schema.from_arrow(pa.ipc.read_schema(message))


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that is written whole, but not yet part of the database.

    `file` has its final path already.
    """

    staged: Path
    file: DataFile


def write(
    batches: list[pa.RecordBatch],
    layout: Layout,
    root: Path,
    staging: Path,
    *,
    target_size: int = TARGET_SIZE,
    source: str = "",
) -> list[StagedFile]:
    """Sort rows of one layout by event time and write them to files of about `target_size`.

    Parameters
    ----------
    batches
        Rows as `vastlab.store.columns.store` makes them. The list is emptied, so that
        memory is given back while the files are written.
    layout
        Of the rows.
    root
        The folder of the database: where the files are to go in the end.
    staging
        Where they are written first; on the same file system.
    target_size
        In bytes.
    source
        What `DataFile.source` shall be.
    """
    order = _order_column(layout.schema)
    groups = _sorted_groups(batches, order, layout.stored_schema)
    written: list[StagedFile] = []
    group = next(groups, None)
    while group is not None:
        path = staging / f"{uuid4().hex}.parquet"
        ranges: list[dict[str, Range]] = []
        with _open(path, layout, order, group) as writer:
            while group is not None:
                writer.writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                ranges.append(_ranges.of(group, layout.schema))
                group = next(groups, None)
                if writer.sink.tell() >= target_size:
                    break
        written.append(_describe(path, root, layout, order, _ranges.merge(ranges), source))
    return written


def _order_column(schema: Schema) -> str:
    leaf = schema.event_time
    return IMPORT_TIME if leaf is None else leaf.column


def _sorted_groups(
    batches: list[pa.RecordBatch], order: str, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Yield the rows in order, one row group at a time."""
    table = pa.Table.from_batches(batches, schema)
    batches.clear()
    if _is_sorted(table.column(order)):
        for start in range(0, table.num_rows, ROW_GROUP_ROWS):
            yield table.slice(start, ROW_GROUP_ROWS).combine_chunks()
        return
    indices = pc.sort_indices(table.select([order]), [(order, "ascending", "at_end")])
    columns = []
    while table.num_columns:
        # One by one, so that memory holds all events once and not twice.
        column, table = table.column(0), table.remove_column(0)
        columns.append(column.take(indices))
    for start in range(0, len(indices), ROW_GROUP_ROWS):
        group = [column.slice(start, ROW_GROUP_ROWS) for column in columns]
        yield pa.Table.from_arrays(group, schema=schema)


def _is_sorted(times: pa.ChunkedArray) -> bool:
    if len(times) < 2:
        return True
    valid = times.drop_null()
    if len(valid) < len(times) and times.slice(0, len(valid)).null_count:
        return False
    values = valid.combine_chunks().view(pa.int64())
    return bool(pc.all(pc.less_equal(values[:-1], values[1:])).as_py() in (True, None))


class _File:
    """A Parquet writer over a file that is synced to disk when closed."""

    def __init__(self, path: Path, writer_arguments: dict[str, object], schema: pa.Schema) -> None:
        self.sink = path.open("wb")
        self.writer = pq.ParquetWriter(self.sink, schema, **writer_arguments)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            self.writer.close()
            if error is None:
                self.sink.flush()
                os.fsync(self.sink.fileno())
        finally:
            self.sink.close()


def _open(path: Path, layout: Layout, order: str, sample: pa.Table) -> _File:
    schema = layout.stored_schema
    arguments: dict[str, object] = {
        "compression": "zstd",
        "write_page_index": True,
        "write_page_checksum": True,
        "use_compliant_nested_type": False,
        "sorting_columns": [pq.SortingColumn(schema.get_field_index(order))],
        **_encoding.options(layout, sample, ROW_GROUP_ROWS),
    }
    file = _File(path, arguments, schema)
    file.writer.add_key_value_metadata({SCHEMA_KEY: encode_schema(layout.schema)})
    return file


def _describe(
    path: Path, root: Path, layout: Layout, order: str, ranges: dict[str, Range], source: str
) -> StagedFile:
    imported, events = ranges[IMPORT_TIME], ranges[order]
    if events.minimum is None:
        events = imported
    first, last, import_first, import_last = (
        int(bound)  # type: ignore[arg-type]  # times have integer bounds
        for bound in (events.minimum, events.maximum, imported.minimum, imported.maximum)
    )
    folder = root / "data" / _text.file_name(layout.schema.name) / layout.fingerprint
    file = DataFile(
        path=str(folder / f"{_time_name(first)}-{path.stem}.parquet"),
        schema_name=layout.schema.name,
        fingerprint=layout.fingerprint,
        rows=imported.num_rows,
        size=path.stat().st_size,
        first=first,
        last=last,
        import_first=import_first,
        import_last=import_last,
        ranges=ranges,
        source=source,
    )
    return StagedFile(path, file)


def _time_name(nanoseconds: int) -> str:
    """Write a time as a name that no file system objects to, such as ``20091118T080922``."""
    seconds = pa.scalar(nanoseconds // 1_000_000_000, pa.timestamp("s"))
    return str(pc.strftime(seconds, format="%Y%m%dT%H%M%S").as_py())
