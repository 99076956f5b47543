"""The demo database: made on first use, in the user's cache folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from vastlab import demo
from vastlab.config import cache_folder
from vastlab.errors import DatabaseError, QueryInterrupted
from vastlab.store import disk
from vastlab.store.database import Database, is_database

EVENTS = 200_000


def path() -> Path:
    """Return where the demo database is; another revision of the events has another place."""
    return cache_folder() / "demo" / f"{demo.REVISION}-{EVENTS}.db"


def make(
    target: Path,
    events: int = EVENTS,
    *,
    progress: Callable[[int, int], None] = lambda made, total: None,
    cancelled: threading.Event | None = None,
) -> None:
    """Make a demo database, which appears under its name when it is complete.

    Another process may make the same one. `progress` gets the number of events made, and of all.
    """
    made = _watched(demo.batches(events), lambda made: progress(made, events), cancelled)
    try:
        with disk.new_folder(target) as folder:
            Database.create(folder).add(made)
    except OSError as error:
        # Where another process was first, its database is as good as this one.
        if not is_database(target):
            raise DatabaseError(
                f"cannot make the demo database {target}: {error.strerror}",
                hint="XDG_CACHE_HOME names another folder",
            ) from error


def _watched(
    batches: Iterator[pa.RecordBatch],
    progress: Callable[[int], None],
    cancelled: threading.Event | None,
) -> Iterator[pa.RecordBatch]:
    made = 0
    for batch in batches:
        if cancelled is not None and cancelled.is_set():
            raise QueryInterrupted("the demo database was not made: its query was stopped")
        made += batch.num_rows
        progress(made)
        yield batch
