"""Collecting events of any schemas, and writing them to files when there are many."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pyarrow as pa

from vastlab._text import first_line
from vastlab.errors import DatabaseError
from vastlab.readers import columns
from vastlab.store.disk import disk_errors
from vastlab.store.layout import Layout
from vastlab.store.place import Place
from vastlab.store.writer import ROW_GROUP_ROWS, TARGET_SIZE, StagedFile, write

# Of events in memory, half of which are being written. With it sorting, reading and writing stay
# below 400 MiB, also where events come in no order.
BUDGET = 144 * 1024 * 1024
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
    written: list[Future[list[StagedFile]]] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)


class Buffer:
    """Collects events of any number of schemas.

    `discard` removes what was added since the last `keep`, so that an unreadable source adds
    nothing. Layouts that are `known`, by fingerprint, are not made again.

    Of the `budget`, in bytes of events, one half is written in a thread while the other one is
    collected. `close` ends the thread, as leaving the context does.
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
        self._limit = (BUDGET if budget is None else budget) // 2
        self._target_size = TARGET_SIZE if target_size is None else target_size
        self._source = source
        self._kept = _Part()
        self._new = _Part()
        self._layouts: dict[str, Layout] = {}
        self._known = known or {}
        self._last: tuple[pa.Schema, Layout] | None = None
        self._import_times: list[int] = []
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[list[StagedFile]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait until nothing is being written; blocks."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()

    @property
    def size(self) -> int:
        """The memory of the events that are not yet written."""
        return self._kept.size + self._new.size

    @property
    def has_files(self) -> bool:
        """Whether some events are already written."""
        return bool(self._kept.written or self._new.written)

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
        self._kept.written += new.written
        for name, count in new.events.items():
            self._kept.events[name] = self._kept.events.get(name, 0) + count

    def discard(self) -> None:
        """Remove what was added since the last `keep`."""
        new, self._new = self._new, _Part()
        self._remove(new)

    def clear(self) -> None:
        """Remove everything."""
        self.keep()
        kept, self._kept = self._kept, _Part()
        self._remove(kept)
        self._layouts.clear()
        self._last = None

    def finish(self) -> list[StagedFile]:
        """Keep and write everything, and return all files."""
        self.keep()
        self._wait()
        with ThreadPoolExecutor(_AT_ONCE, "vastlab-write") as pool:
            self._kept.written += [
                pool.submit(self._write, open_.layout, open_.batches)
                for open_ in self._kept.open.values()
                if open_.batches
            ]
        self.close()
        self._kept.open.clear()
        self._kept.size = 0
        return [file for written in self._kept.written for file in written.result()]

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
        if self.size <= self._limit:
            return
        parts = [(open_, part) for part in (self._kept, self._new) for open_ in part.open.values()]
        for open_, part in sorted(parts, key=lambda pair: pair[0].size, reverse=True):
            if self.size <= self._limit:
                return
            batches, open_.batches = open_.batches, []
            part.size -= open_.size
            open_.size = 0
            part.written.append(self._begin(open_.layout, batches))

    def _begin(self, layout: Layout, batches: list[pa.RecordBatch]) -> Future[list[StagedFile]]:
        """Write batches, once what is being written is complete."""
        self._wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "vastlab-write")
        self._writing = self._thread.submit(self._write, layout, batches)
        return self._writing

    def _wait(self) -> None:
        """Wait for what is being written; raises its error, which ends an import."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, layout: Layout, batches: list[pa.RecordBatch]) -> list[StagedFile]:
        try:
            with disk_errors(self._place):
                os.utime(self._staging)
                return write(
                    batches,
                    layout,
                    self._place,
                    self._staging,
                    target_size=self._target_size,
                    source=self._source,
                )
        except MemoryError as error:
            msg = f"not enough memory to write events of schema {layout.schema.name!r}"
            raise DatabaseError(msg, hint="close other programs") from error
        except pa.ArrowException as error:
            msg = f"events of schema {layout.schema.name!r} cannot be written: {first_line(error)}"
            raise DatabaseError(msg, hint="please report it") from error

    def _remove(self, part: _Part) -> None:
        """Remove the files of events that are not wanted."""
        wait(part.written)
        for written in part.written:
            if written is self._writing:
                self._writing = None
            if written.exception() is None:
                for item in written.result():
                    item.staged.unlink(missing_ok=True)
