"""Writing events to Parquet files, one layout per file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab import _text
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.readers import columns
from vastlab.store import checksums, statistics
from vastlab.store.disk import disk_errors
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


# With it sorting, reading and writing stay below 400 MiB, also where events come in no order.
BUDGET = 128 * 1024 * 1024
_AT_ONCE = 2  # layouts that are written in the end
# The memory of a column of a batch in addition to its values; it matters for small batches.
_COLUMN_OVERHEAD = 512


@dataclass(slots=True)
class _Open:
    """Rows of one layout that are not yet written."""

    layout: Layout
    batches: list[pa.RecordBatch] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Part:
    """The events of one source so far."""

    size: int = 0
    open: dict[str, _Open] = field(default_factory=dict)
    files: list[StagedFile] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)


class Buffer:
    """Collects events of any number of schemas.

    `discard` removes what was added since the last `keep`, so that an unreadable source adds
    nothing. Layouts that are `known`, by fingerprint, are not made again.
    """

    def __init__(
        self,
        place: Place,
        staging: Path,
        *,
        budget: int | None = None,
        target_size: int | None = None,
        source: str = "",
        known: Mapping[str, Layout] | None = None,
    ) -> None:
        self._place = place
        self._staging = staging
        self._budget = BUDGET if budget is None else budget
        self._target_size = TARGET_SIZE if target_size is None else target_size
        self._source = source
        self._kept = _Part()
        self._new = _Part()
        self._layouts: dict[str, Layout] = {}
        self._known = known or {}
        self._last: tuple[pa.Schema, Layout] | None = None
        self._import_times: list[int] = []

    @property
    def size(self) -> int:
        """The memory of the events that are not yet written."""
        return self._kept.size + self._new.size

    @property
    def has_files(self) -> bool:
        """Whether some events are already written."""
        return bool(self._kept.files or self._new.files)

    @property
    def import_times(self) -> tuple[int, int]:
        """The first and the last import time of all events, in nanoseconds."""
        return min(self._import_times), max(self._import_times)

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """The layouts of all events, by fingerprint."""
        return self._layouts

    @property
    def events(self) -> dict[str, int]:
        """How many events are kept, by schema name."""
        return dict(self._kept.events)

    @property
    def new_events(self) -> dict[str, int]:
        """How many events were added since the last `keep`."""
        return dict(self._new.events)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add events from a `BatchChecker`; those of one call have the same import time."""
        if batch.num_rows == 0:
            return
        layout = self._layout_of(batch.schema)
        import_time = time.time_ns()
        self._add(layout, layout.rows(batch, import_time), import_time)

    def add_rows(self, layout: Layout, rows: pa.RecordBatch) -> None:
        """Add rows of a layout, with an import time of their own."""
        layout = self._layouts.setdefault(layout.fingerprint, layout)
        import_time = time.time_ns()
        self._add(layout, columns.with_import_time(rows, import_time), import_time)

    def _add(self, layout: Layout, rows: pa.RecordBatch, import_time: int) -> None:
        open_ = self._new.open.setdefault(layout.fingerprint, _Open(layout))
        self._import_times.append(import_time)
        for start in range(0, rows.num_rows, ROW_GROUP_ROWS):
            part = rows.slice(start, ROW_GROUP_ROWS)
            size = part.nbytes + part.num_columns * _COLUMN_OVERHEAD
            open_.batches.append(part)
            open_.size += size
            self._new.size += size
            self._spill()
        events = self._new.events
        events[layout.schema.name] = events.get(layout.schema.name, 0) + rows.num_rows

    def keep(self) -> None:
        """Keep what was added since the last call."""
        new, self._new = self._new, _Part()
        self._keep(new)

    def absorb(self, other: Buffer) -> None:
        """Keep what another buffer has, which must not be used any more."""
        other.keep()
        self._layouts |= other._layouts
        self._keep(other._kept)

    def _keep(self, new: _Part) -> None:
        for key, open_ in new.open.items():
            kept = self._kept.open.setdefault(key, _Open(open_.layout))
            kept.batches += open_.batches
            kept.size += open_.size
        self._kept.size += new.size
        self._kept.files += new.files
        for name, count in new.events.items():
            self._kept.events[name] = self._kept.events.get(name, 0) + count

    def discard(self) -> None:
        """Remove what was added since the last `keep`."""
        new, self._new = self._new, _Part()
        for item in new.files:
            item.staged.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything."""
        self.keep()
        kept, self._kept = self._kept, _Part()
        for item in kept.files:
            item.staged.unlink(missing_ok=True)
        self._layouts.clear()
        self._last = None

    def finish(self) -> list[StagedFile]:
        """Keep and write everything, and return all files."""
        self.keep()
        with ThreadPoolExecutor(_AT_ONCE, "vastlab-write") as pool:
            for files in pool.map(self._write, self._kept.open.values()):
                self._kept.files += files
        self._kept.size = 0
        return self._kept.files

    def _layout_of(self, schema: pa.Schema) -> Layout:
        if self._last is not None and schema.equals(self._last[0], check_metadata=True):
            return self._last[1]
        found = Layout.of(schema)
        known = self._known.get(found.fingerprint, found)
        layout = self._layouts.setdefault(found.fingerprint, known)
        self._last = schema, layout
        return layout

    def _spill(self) -> None:
        """Write the largest layouts until the rest fits into the budget."""
        if self._kept.size + self._new.size <= self._budget:
            return
        parts = [(open_, part) for part in (self._kept, self._new) for open_ in part.open.values()]
        for open_, part in sorted(parts, key=lambda pair: pair[0].size, reverse=True):
            size = open_.size
            part.files += self._write(open_)
            part.size -= size
            if self._kept.size + self._new.size <= self._budget:
                return

    def _write(self, open_: _Open) -> list[StagedFile]:
        if not open_.batches:
            return []
        with disk_errors(self._place):
            os.utime(self._staging)
            open_.size = 0
            return write(
                open_.batches,
                open_.layout,
                self._place,
                self._staging,
                target_size=self._target_size,
                source=self._source,
            )
