"""Stand-ins and small sources that tests of several layers share."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable

import pyarrow as pa
import pytest

from vastlab.store.ingest import IngestProgress
from vastlab.store.log_folder import LogFolder
from vastlab.table_slice import TableSlice


async def stream_of(batches: Iterable[pa.RecordBatch]) -> AsyncIterator[TableSlice]:
    """Yield batches as an export does."""
    for batch in batches:
        yield TableSlice(batch)


def read_without_end(patch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let reading a folder of logs go on until it is cancelled; return events of both."""
    started, stopped = threading.Event(), threading.Event()

    def refresh(self: LogFolder, progress: object, *, cancelled: threading.Event) -> None:
        started.set()
        progress(IngestProgress("conn.log", 1, 4, 250, 1000, 9000))
        cancelled.wait()
        stopped.set()

    patch.setattr(LogFolder, "refresh", refresh)
    return started, stopped
