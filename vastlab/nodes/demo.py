"""The demo database: made on first use, in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from vastlab import demo
from vastlab.config import cache_folder
from vastlab.errors import DatabaseError, QueryInterrupted
from vastlab.store.database import Database, is_database

EVENTS = 200_000


def path() -> Path:
    """Return where the demo database is; another revision of the events has another place."""
    return cache_folder() / "demo" / f"{demo.REVISION}-{EVENTS}.db"


def make(
    target: Path,
    events: int = EVENTS,
    *,
    tell: Callable[[int, int], None] = lambda made, of: None,
    cancelled: threading.Event | None = None,
) -> None:
    """Make a demo database that appears under its name when it is complete.

    Parameters
    ----------
    target
        Where; another process may be making the same one.
    events
        How many events it has.
    tell
        Called now and then with how many events are made, and of how many.
    cancelled
        Set it from another thread to give up.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise DatabaseError(
            f"cannot make the demo database in {target.parent}: {error.strerror}",
            hint="XDG_CACHE_HOME names another folder",
        ) from error
    try:
        made = _watched(demo.batches(events), lambda made: tell(made, events), cancelled)
        Database.create(beside).add(made)
        os.rename(beside, target)
    except OSError as error:
        # Where another process was first, its database is as good as this one.
        if not is_database(target):
            raise DatabaseError(
                f"cannot make the demo database {target}: {error.strerror}"
            ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _watched(
    batches: Iterator[pa.RecordBatch],
    tell: Callable[[int], None],
    cancelled: threading.Event | None,
) -> Iterator[pa.RecordBatch]:
    made = 0
    for batch in batches:
        if cancelled is not None and cancelled.is_set():
            raise QueryInterrupted("the demo database was not made: its query was stopped")
        made += batch.num_rows
        tell(made)
        yield batch
