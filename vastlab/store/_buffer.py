"""Events on their way into files: held in memory up to a budget, then written sorted."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, UsageError
from vastlab.store import _writer
from vastlab.store._disk import disk_errors
from vastlab.store._writer import StagedFile
from vastlab.store.layout import Layout

BUDGET = 256 * 1024 * 1024
# What a batch takes beside its values; it matters where batches are tiny.
_COLUMN_OVERHEAD = 512


@dataclass(slots=True)
class _Open:
    """Rows of one layout that are not yet written."""

    layout: Layout
    batches: list[pa.RecordBatch] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Part:
    """What one source has given so far."""

    open: dict[str, _Open] = field(default_factory=dict)
    files: list[StagedFile] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)


class Buffer:
    """Collects events of any number of schemas.

    What comes between two calls of `keep` can be taken back with `discard`: that is how a
    source that turns out to be unusable leaves nothing behind.

    Parameters
    ----------
    root
        The folder of the database.
    staging
        Where files are written.
    budget
        How many bytes of events to hold in memory; the largest layout is written first.
    target_size
        Bytes that a file should have.
    source
        What `DataFile.source` shall be.
    """

    def __init__(
        self,
        root: Path,
        staging: Path,
        *,
        budget: int | None = None,
        target_size: int | None = None,
        source: str = "",
    ) -> None:
        self._root = root
        self._staging = staging
        self._budget = BUDGET if budget is None else budget
        self._target_size = _writer.TARGET_SIZE if target_size is None else target_size
        self._source = source
        self._kept = _Part()
        self._new = _Part()
        self._layouts: dict[str, Layout] = {}
        self._last: tuple[pa.Schema, Layout] | None = None

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """The layouts of everything that came, by fingerprint."""
        return self._layouts

    @property
    def events(self) -> dict[str, int]:
        """How many events are kept, by schema name."""
        return dict(self._kept.events)

    @property
    def new_events(self) -> dict[str, int]:
        """How many events came since the last `keep`."""
        return dict(self._new.events)

    def add(self, batch: pa.RecordBatch, name: str | None = None) -> None:
        """Take events in nested form; those of one call share an import time."""
        if batch.num_rows == 0:
            return
        batch = _normalise(batch, name)
        layout = self._layout_of(batch.schema)
        open_ = self._new.open.setdefault(layout.fingerprint, _Open(layout))
        rows = layout.rows(batch, time.time_ns())
        for start in range(0, rows.num_rows, _writer.ROW_GROUP_ROWS):
            part = rows.slice(start, _writer.ROW_GROUP_ROWS)
            open_.batches.append(part)
            open_.size += part.nbytes + part.num_columns * _COLUMN_OVERHEAD
            self._spill()
        events = self._new.events
        events[layout.schema.name] = events.get(layout.schema.name, 0) + batch.num_rows

    def keep(self) -> None:
        """Accept what came since the last call."""
        new, self._new = self._new, _Part()
        for key, open_ in new.open.items():
            kept = self._kept.open.setdefault(key, _Open(open_.layout))
            kept.batches += open_.batches
            kept.size += open_.size
        self._kept.files += new.files
        for name, count in new.events.items():
            self._kept.events[name] = self._kept.events.get(name, 0) + count

    def discard(self) -> None:
        """Take back what came since the last `keep`."""
        new, self._new = self._new, _Part()
        for item in new.files:
            item.staged.unlink(missing_ok=True)

    def finish(self) -> list[StagedFile]:
        """Keep and write everything, and return all files."""
        self.keep()
        for open_ in self._kept.open.values():
            self._write(open_, self._kept)
        return self._kept.files

    def _layout_of(self, schema: pa.Schema) -> Layout:
        if self._last is not None and schema.equals(self._last[0], check_metadata=True):
            return self._last[1]
        described = arrow_schema.from_arrow(schema)
        key = arrow_schema.fingerprint(described)
        layout = self._layouts.setdefault(key, Layout(key, described))
        self._last = schema, layout
        return layout

    def _spill(self) -> None:
        """Write the largest of the layouts while all of them take more than the budget."""
        parts = [(open_, part) for part in (self._kept, self._new) for open_ in part.open.values()]
        total = sum(open_.size for open_, _ in parts)
        while total > self._budget:
            largest, part = max(parts, key=lambda pair: pair[0].size)
            total -= largest.size
            self._write(largest, part)

    def _write(self, open_: _Open, part: _Part) -> None:
        if not open_.batches:
            return
        with disk_errors(self._root):
            os.utime(self._staging)
            part.files += _writer.write(
                open_.batches,
                open_.layout,
                self._root,
                self._staging,
                target_size=self._target_size,
                source=self._source,
            )
        open_.size = 0


def _normalise(batch: pa.RecordBatch, name: str | None) -> pa.RecordBatch:
    try:
        batch = convert.normalise(batch, name)
    except pa.ArrowException as error:
        label = name or arrow_schema.name_of(batch.schema)
        msg = f"events of schema {label!r} cannot be stored: {error}"
        raise FormatError(msg) from error
    if not arrow_schema.name_of(batch.schema):
        msg = "the events have no schema name"
        raise UsageError(msg, hint="name the schema, as in schema='my.events'")
    return batch
