"""Writing events to Parquet files, one layout per file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab import _text
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.readers import columns
from vastlab.store import checksums, statistics
from vastlab.store.layout import DataFile, Layout, Range
from vastlab.store.place import Place
from vastlab.types import Schema

ROW_GROUP_ROWS = 131_072
TARGET_SIZE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A complete file at `staged` that is not yet committed; `file` has the final path."""

    staged: Path
    file: DataFile


def write(
    batches: list[pa.RecordBatch],
    layout: Layout,
    place: Place,
    staging: Path,
    *,
    target_size: int = TARGET_SIZE,
    source: str = "",
    replaces: Iterable[str] = (),
) -> list[StagedFile]:
    """Sort rows of one layout by event time and write them to files of about `target_size` bytes.

    The list `batches` is emptied, so that memory becomes free while the files are written.
    """
    order = order_column(layout.schema)
    rows = left = sum(batch.num_rows for batch in batches)
    groups = _sorted_groups(batches, order, layout.stored_schema)
    written: list[StagedFile] = []
    group = next(groups, None)
    while group is not None:
        path = staging / f"{uuid4().hex}.parquet"
        ranges: list[dict[str, Range]] = []
        with _open(path, layout, order, group, replaces) as writer:
            while group is not None:
                writer.writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                ranges.append(statistics.of(group, layout.schema))
                left -= group.num_rows
                group = None  # so that only one is in memory
                group = next(groups, None)
                size = writer.sink.tell()
                # Not if the rest would be a small file.
                if size >= target_size and size * left >= target_size * (rows - left) // 2:
                    break
            rows = left
        merged = statistics.merge(ranges)
        written.append(describe(path, place, layout, merged, source, writer.tail))
    return written


def order_column(schema: Schema) -> str:
    """Return the column by which events are sorted."""
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
    for start in range(0, len(indices), ROW_GROUP_ROWS):
        # Not all at once, so that the events are not in memory twice.
        yield table.take(indices.slice(start, ROW_GROUP_ROWS))


def _is_sorted(times: pa.ChunkedArray) -> bool:
    if len(times) < 2:
        return True
    valid = times.drop_null()
    if len(valid) < len(times) and times.slice(0, len(valid)).null_count:
        return False
    values = valid.combine_chunks().view(pa.int64())
    return bool(pc.all(pc.less_equal(values[:-1], values[1:])).as_py() in (True, None))


class _File:
    """A Parquet writer that adds checksums and syncs the file when it is closed."""

    def __init__(
        self,
        path: Path,
        writer_arguments: dict[str, object],
        schema: pa.Schema,
        order: str,
        replaces: Iterable[str],
    ) -> None:
        self.sink = path.open("w+b")
        self.tail = (0, "")
        self._notes = schema, order, tuple(replaces)
        self.writer = pq.ParquetWriter(self.sink, schema, **writer_arguments)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            self.writer.close()
            if error is None:
                self.tail = checksums.append(self.sink, *self._notes)
                self.sink.flush()
                os.fsync(self.sink.fileno())
        finally:
            self.sink.close()


def _open(
    path: Path, layout: Layout, order: str, sample: pa.Table, replaces: Iterable[str]
) -> _File:
    schema = layout.stored_schema
    arguments: dict[str, object] = {
        "compression": "zstd",
        "write_page_index": True,
        "write_page_checksum": True,
        "use_compliant_nested_type": False,
        "sorting_columns": [pq.SortingColumn(schema.get_field_index(order))],
        **statistics.options(layout, sample, ROW_GROUP_ROWS),
    }
    file = _File(path, arguments, schema, order, replaces)
    file.writer.add_key_value_metadata({columns.SCHEMA_KEY: columns.encode_schema(layout.schema)})
    return file


def describe(
    path: Path,
    place: Place,
    layout: Layout,
    ranges: dict[str, Range],
    source: str,
    tail: tuple[int, str],
) -> StagedFile:
    """Describe a complete file, and choose its final path."""
    imported, events = ranges[IMPORT_TIME], ranges[order_column(layout.schema)]
    if events.minimum is None:
        events = imported
    first, last, import_first, import_last = (
        int(bound)  # type: ignore[arg-type]  # times have integer bounds
        for bound in (events.minimum, events.maximum, imported.minimum, imported.maximum)
    )
    folder = f"data/{_text.file_name(layout.schema.name)}/{layout.fingerprint}"
    file = DataFile(
        path=place.url(f"{folder}/{file_name(first, path.stem)}"),
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
        tail=tail,
    )
    return StagedFile(path, file)


def file_name(nanoseconds: int, stem: str) -> str:
    """Return a file name with the first time, such as ``20091118T080922-<stem>.parquet``."""
    seconds = pa.scalar(nanoseconds // 1_000_000_000, pa.timestamp("s"))
    return f"{pc.strftime(seconds, format='%Y%m%dT%H%M%S').as_py()}-{stem}.parquet"
