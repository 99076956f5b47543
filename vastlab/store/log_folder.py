"""A plain folder of logs, served from a database in the user's cache folder."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from vastlab._text import plain
from vastlab.errors import DatabaseError, FormatError, LockedError, UsageError
from vastlab.store import _follow, _sources
from vastlab.store._buffer import Buffer
from vastlab.store._cache import LIMIT, CacheEntry
from vastlab.store._follow import Plan, Sighting
from vastlab.store._meter import IngestProgress, Meter
from vastlab.store._writer import StagedFile
from vastlab.store.database import Database
from vastlab.store.layout import Layout, Snapshot, Source
from vastlab.store.manifest import SPAN
from vastlab.store.readers._problems import Problem

__all__ = ["LogFolder"]

_VERSION = 1
_ATTEMPTS = 10
_SETTLED = 2.0
_SAVE_INTERVAL = 30.0


class LogFolder:
    r"""A folder of logs as a database.

    Parameters
    ----------
    path
        The folder; logs in its subfolders count, hidden files do not.
    cache_dir
        Where the database is kept; the user's cache folder by default.
    limit
        How many bytes the databases of all folders may take. Those that were not used for
        longest are deleted first, and never one that is in use.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "web.json").write_text('{"port": 80}\n')
    ...     logs = LogFolder(folder, cache_dir=Path(folder, ".cache"))
    ...     logs.refresh().snapshot().counts
    {'web': 1}
    """

    def __init__(
        self, path: str | Path, cache_dir: str | Path | None = None, *, limit: int = LIMIT
    ) -> None:
        self._folder = Path(path).resolve()
        self._cache_dir = None if cache_dir is None else Path(cache_dir)
        self._limit = limit
        self._entry: CacheEntry | None = None
        self._database: Database | None = None
        self._checked = -1
        self._tidied = -1
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self._folder

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was wrong with the logs, at the last look: files that are none, bad lines."""
        if self._database is None:
            return ()
        return self._database.snapshot().problems

    @property
    def problem_count(self) -> int:
        """How many problems there are, also those that `problems` has no room for."""
        if self._database is None:
            return 0
        return sum(source.problem_count for source in self._database.snapshot().sources.values())

    def refresh(
        self,
        progress: Callable[[IngestProgress], None] | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Database:
        """Look for what has changed in the folder, and read it.

        Parameters
        ----------
        progress
            Called now and then, at most ten times a second.
        cancelled
            Set it from another thread to give up.

        Returns
        -------
        Database
            With the events of all logs as they are now.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(_OutdatedError):
                    return self._refresh(Meter(progress, cancelled))
        msg = f"other processes keep changing the cache of {str(self._folder)!r}"
        raise LockedError(msg, hint="try again")

    def _refresh(self, meter: Meter) -> Database:
        if not self._folder.is_dir():
            raise UsageError(f"no such folder: {str(self._folder)!r}")
        sightings = self._look()
        if not sightings:
            msg = f"the folder {str(self._folder)!r} holds no files"
            raise FormatError(msg, hint="name one with logs, or `vastlab import` into this one")
        database, snapshot = self._open()
        update = _Update(snapshot, sightings, meter)
        if update.is_needed:
            with database.staging() as staging:
                update.run(database, staging)
            self._tidy(database)
        self._must_have_logs(database.snapshot())
        return database

    def _tidy(self, database: Database) -> None:
        """Delete what nobody needs any more; now and then, since logs may grow all the time."""
        period = database.snapshot().generation // SPAN
        if period != self._tidied:
            self._tidied = period
            database.sweep()
            self._used().evict_others(self._limit)

    def _look(self) -> list[Sighting]:
        now = time.time()
        sightings = []
        for path in _sources.files_below(self._folder):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                sightings.append(
                    Sighting(
                        path=str(path),
                        stamp=_sources.stamp_of(found),
                        size=found.st_size,
                        settled=now - found.st_mtime >= _SETTLED,
                    )
                )
        return sightings

    def _must_have_logs(self, snapshot: Snapshot) -> None:
        if any(source.format for source in snapshot.sources.values()):
            return
        reasons = [
            f"{plain(os.path.relpath(path, self._folder))}: {reason}"
            for path, source in snapshot.sources.items()
            for _, reason in source.problems
        ]
        msg = f"no file in the folder {str(self._folder)!r} is a log"
        raise FormatError(msg, hint=reasons[0] if reasons else "its files are empty")

    def _used(self) -> CacheEntry:
        if self._entry is None:
            self._entry = CacheEntry(f"{_VERSION}:{self._folder}", self._cache_dir)
        self._entry.touch()
        return self._entry

    def _open(self) -> tuple[Database, Snapshot]:
        """Open the database, and make it anew where it is damaged: it is only a cache."""
        folder = self._used().path
        if self._database is None or not folder.exists():
            self._database = _open_or_replace(folder)
        try:
            snapshot = self._database.snapshot()
            if snapshot.generation != self._checked and not _is_whole(snapshot):
                raise DatabaseError(f"files of {str(folder)!r} are gone")
        except DatabaseError:
            shutil.rmtree(folder, ignore_errors=True)
            self._database = Database.create(folder)
            snapshot = self._database.snapshot()
        self._checked = snapshot.generation
        return self._database, snapshot


class _OutdatedError(Exception):
    """Another process was faster: what was found out no longer holds."""


def _open_or_replace(folder: Path) -> Database:
    try:
        return Database.create(folder)
    except DatabaseError:
        shutil.rmtree(folder, ignore_errors=True)
        return Database.create(folder)


def _is_whole(snapshot: Snapshot) -> bool:
    return all(os.path.exists(file.path) for file in snapshot.files)


@dataclass(slots=True)
class _Update:
    """The change from what was known of a folder to what was found in it."""

    snapshot: Snapshot
    sightings: list[Sighting]
    meter: Meter
    changed: list[Sighting] = field(init=False)
    gone: set[str] = field(init=False)
    orphans: list[Source] = field(init=False)
    sources: dict[str, Source] = field(init=False)
    files: list[StagedFile] = field(default_factory=list)
    layouts: dict[str, Layout] = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        known = self.snapshot.sources
        self.changed = [
            sighting
            for sighting in self.sightings
            if sighting.path not in known or known[sighting.path].stamp != sighting.stamp
        ]
        self.gone = known.keys() - {sighting.path for sighting in self.sightings}
        stale = self.gone | {sighting.path for sighting in self.changed}
        self.orphans = [source for key, source in known.items() if key in stale]
        self.sources = {key: source for key, source in known.items() if key not in stale}

    @property
    def is_needed(self) -> bool:
        """Whether anything has changed."""
        return bool(self.changed or self.gone)

    def run(self, database: Database, staging: Path) -> None:
        """Read what is new and commit the change."""
        self.meter.expect(len(self.changed), sum(sighting.size for sighting in self.changed))
        for sighting in self.changed:
            self.meter.source = sighting.path
            self.meter.tick()
            try:
                source = self._follow(sighting, database, staging)
            except FileNotFoundError:
                self.gone |= {sighting.path} & self.snapshot.sources.keys()
                continue
            except (FormatError, OSError, EOFError, pa.ArrowException) as error:
                source = _follow.unreadable(sighting, _as_format_error(error, sighting.path))
            self.sources[source.key] = source
            self.meter.files_done += 1
            self.meter.bytes_done += sighting.size
            self._save(database)
        self.meter.show(final=True)
        self._commit(database)

    def _save(self, database: Database) -> None:
        """Commit now and then while a large folder is read for the first time.

        Not while files that are gone or have changed may still turn up under other names.
        """
        if self.orphans or self.gone or time.monotonic() - self.saved < _SAVE_INTERVAL:
            return
        self._commit(database)
        self.files.clear()
        self.snapshot = database.snapshot()
        self.saved = time.monotonic()

    def _follow(self, sighting: Sighting, database: Database, staging: Path) -> Source:
        plan = _follow.plan(sighting, self.snapshot.sources.get(sighting.path), self.orphans)
        if isinstance(plan, Source):
            return plan
        return self._read(plan, database, staging)

    def _read(self, plan: Plan, database: Database, staging: Path) -> Source:
        segment = uuid4().hex
        buffer = Buffer(database.path, staging, source=segment)
        try:
            add = functools.partial(self._add, buffer)
            source = _follow.read(plan, segment, add, self.meter.tick)
            twin = self._twin(source)
            if twin is not None:
                buffer.discard()
                return _follow.renamed(twin, source)
        except BaseException:
            self.meter.events -= sum(buffer.new_events.values())
            buffer.discard()
            raise
        self.files += buffer.finish()
        self.layouts |= buffer.layouts
        return source

    def _add(self, buffer: Buffer, batch: pa.RecordBatch) -> None:
        buffer.add(batch)
        self.meter.events += batch.num_rows

    def _twin(self, source: Source) -> Source | None:
        """Find a file with the same content: its events count once."""
        content = (source.size, source.digest)
        twins = (other for other in self.sources.values() if (other.size, other.digest) == content)
        return next(twins, None) if source.size else None

    def _commit(self, database: Database) -> None:
        known = self.snapshot.sources
        alive = {segment for source in self.sources.values() for segment in source.segments}
        drop = [file.path for file in self.snapshot.files if file.source not in alive]
        news = [source for key, source in self.sources.items() if known.get(key) != source]
        if not (self.files or news or drop or self.gone):
            return

        def check(snapshot: Snapshot) -> None:
            if snapshot.generation != self.snapshot.generation:
                raise _OutdatedError

        database.commit(
            self.files, self.layouts, sources=news, drop=drop, forget=self.gone, check=check
        )


def _as_format_error(error: Exception, path: str) -> FormatError:
    if isinstance(error, FormatError):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return FormatError(f"cannot be read: {reason}", path=path)
