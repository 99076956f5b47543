"""How far an ingest is, and whether anybody still wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vastlab.errors import QueryInterrupted
from vastlab.store._sources import AnySource, FileSource, Tap

_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far an ingest is.

    Parameters
    ----------
    source
        What is being read.
    files_done, files_total
        The number of sources.
    bytes_done, bytes_total
        The bytes of all files; what is not a file does not count.
    events
        How many events were read.

    Examples
    --------
    >>> step = IngestProgress("conn.log", 1, 4, 250, 1000, 9000)
    >>> f"{step.bytes_done / step.bytes_total:.0%}"
    '25%'
    """

    source: str
    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    events: int


class Meter:
    """Counts what was read, and reports it now and then."""

    def __init__(
        self,
        progress: Callable[[IngestProgress], None] | None,
        cancelled: threading.Event | None,
    ) -> None:
        self.source = ""
        self.files_done = 0
        self.bytes_done = 0
        self.events = 0
        self._files_total = 0
        self._bytes_total = 0
        self._progress = progress
        self._cancelled = cancelled
        self._tap: Tap | None = None
        self._shown = 0.0

    def expect(self, files: int, size: int) -> None:
        """Say how much there is to do, where this is known beforehand."""
        self._files_total += files
        self._bytes_total += size

    def count(self, sources: Iterable[AnySource]) -> Iterator[AnySource]:
        """Add up the files before they are read; events in memory are taken as they come."""
        files: list[AnySource] = []
        for source in sources:
            self._files_total += 1
            if isinstance(source, FileSource):
                self._bytes_total += source.path.stat().st_size
                files.append(source)
            else:
                yield source
        yield from files

    @contextmanager
    def measure(self, tap: Tap) -> Iterator[None]:
        """Count the bytes of a file while it is read."""
        self._tap = tap
        try:
            yield
        finally:
            self._tap = None
            self.bytes_done += tap.size

    def tick(self) -> None:
        """Report, if it is time to."""
        self.check_cancelled()
        self.show()

    def show(self, *, final: bool = False) -> None:
        """Report, if it is time to or the end."""
        now = time.monotonic()
        if self._progress is None or (now - self._shown < _INTERVAL and not final):
            return
        self._shown = now
        self._progress(
            IngestProgress(
                self.source,
                self.files_done,
                self._files_total,
                self.bytes_done + (self._tap.size if self._tap else 0),
                self._bytes_total,
                self.events,
            )
        )

    def check_cancelled(self) -> None:
        """Raise when the caller has given up."""
        if self._cancelled is not None and self._cancelled.is_set():
            msg = "the ingest was cancelled; nothing was added"
            raise QueryInterrupted(msg)
