"""A folder of logs, queried through a database in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from vastlab._text import plain
from vastlab.config import cache_folder
from vastlab.errors import CorruptFileError, DatabaseError, FormatError, LockedError, UsageError
from vastlab.readers import Inference, ReadOptions
from vastlab.readers.problems import Problem
from vastlab.readers.source import check_encoding
from vastlab.store import compact, follow
from vastlab.store.database import Database
from vastlab.store.disk import disk_errors, lock, try_lock
from vastlab.store.folder_update import OutdatedError, Update
from vastlab.store.layout import Source
from vastlab.store.manifest import SPAN
from vastlab.store.snapshot import Snapshot
from vastlab.store.sources import IngestProgress, Meter, files_below

LIMIT = 20 * 1024**3
_LOCK = ".lock"


class CacheEntry:
    """A folder in the cache that is not deleted while this object exists.

    If its content is damaged, `renew` chooses another folder; the old one stays until no process
    uses it.
    """

    def __init__(self, key: str, cache: Path | None = None) -> None:
        self._cache = cache_folder() / "folders" if cache is None else cache
        self._name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._enter(self._newest())
        except OSError as error:
            raise DatabaseError(
                f"cannot create the cache folder {self._cache}: {error.strerror}",
                hint="set XDG_CACHE_HOME to use another folder",
            ) from error

    def renew(self) -> None:
        """Choose another folder: a newer one of another process, or a new one."""
        with disk_errors(self._cache), _exclusive_lock(self._cache / f"{self._name}.turn"):
            newest = self._newest()
            self._enter(newest if newest > self._number else newest + 1)

    def discard_older(self) -> None:
        """Delete the folders that this one replaced, unless a process uses them."""
        for number in range(self._number):
            lock_file = self._lock_of(number)
            if _entry_of(lock_file).exists():
                with _lock_if_unused(lock_file) as unused:
                    if unused:
                        shutil.rmtree(_entry_of(lock_file), ignore_errors=True)

    def _newest(self) -> int:
        """Return the highest number in use; lock files are never deleted."""
        names = (path.name for path in self._cache.glob(f"{self._name}.*{_LOCK}"))
        middles = (name.removeprefix(f"{self._name}.").removesuffix(_LOCK) for name in names)
        return max((int(middle) for middle in middles if middle.isdecimal()), default=0)

    def _enter(self, number: int) -> None:
        """Use a folder; the locks of earlier ones are kept."""
        self._number = number
        self._lock = self._lock_of(number)
        self.path = _entry_of(self._lock)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, descriptor)
        lock(descriptor, shared=True)

    def _lock_of(self, number: int) -> Path:
        name = f"{self._name}.{number}" if number else self._name
        return self._cache / f"{name}{_LOCK}"

    def touch(self) -> None:
        """Record that the entry was used."""
        with disk_errors(self._cache):
            os.utime(self._lock)

    def evict_others(self, limit: int) -> None:
        """Delete the least recently used entries until all fit into `limit` bytes."""
        lock_files = sorted(self._cache.glob(f"*{_LOCK}"), key=lambda path: path.stat().st_mtime)
        sizes = {path: _size(_entry_of(path)) for path in lock_files}
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total <= limit:
                break
            if path != self._lock and size:
                with _lock_if_unused(path) as unused:
                    if unused:
                        shutil.rmtree(_entry_of(path), ignore_errors=True)
                        total -= size


@contextlib.contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock of a file, so that one process at a time chooses a folder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _entry_of(lock_file: Path) -> Path:
    return lock_file.with_name(lock_file.name.removesuffix(_LOCK))


@contextlib.contextmanager
def _lock_if_unused(lock_file: Path) -> Iterator[bool]:
    """Lock an entry; yields False if a process uses it."""
    if sys.platform == "win32":
        # Windows does not delete open files.
        yield True
        return
    descriptor = os.open(lock_file, os.O_RDWR)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(Path(root, name)).st_size
    return total


_VERSION = 4  # to increase when the same logs give other events or are stored differently
_REFRESH_ATTEMPTS = 10
_SCANS = 3
_RENEWALS = 3


class LogFolder:
    r"""A folder of logs as a database.

    Parameters
    ----------
    path
        The folder. Logs in subfolders are included, hidden files are not.
    cache_dir
        Where the database is stored; the user's cache folder by default.
    limit
        The maximum size of the databases of all folders, in bytes. The least recently used ones
        are deleted first, and never one that is in use.
    options
        How to read the logs. Each set of options has a database of its own.
    """

    def __init__(
        self,
        path: str | Path,
        cache_dir: str | Path | None = None,
        *,
        limit: int = LIMIT,
        **options: Unpack[ReadOptions],
    ) -> None:
        check_encoding(options.get("encoding"))
        self._folder = Path(path).resolve()
        self._cache_dir = None if cache_dir is None else Path(cache_dir)
        self._limit = limit
        self._options = options
        self._inference = Inference()
        self._entry: CacheEntry | None = None
        self._database: Database | None = None
        self._checked_generation = -1
        self._swept_period = -1
        self._has_logs = False
        self._idle: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self._folder

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of the last refresh: files that are not logs, and bad lines.

        An incomplete last line of a log that is still being written is not reported.
        """
        if self._database is None:
            return ()
        snapshot = self._database.snapshot()
        return replace(snapshot, sources=self._reportable_sources(snapshot)).problems

    @property
    def problem_count(self) -> int:
        """The number of problems, including those left out of `problems`."""
        if self._database is None:
            return 0
        sources = self._reportable_sources(self._database.snapshot()).values()
        return sum(source.problem_count + bool(source.tail_problem) for source in sources)

    def _reportable_sources(self, snapshot: Snapshot) -> dict[str, Source]:
        return {
            key: source if key in self._idle else replace(source, tail_problem="")
            for key, source in snapshot.sources.items()
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on fields that are text because of single values."""
        return () if self._database is None else self._database.snapshot().remarks

    def refresh(
        self,
        progress: Callable[[IngestProgress], None] | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Database:
        """Read what has changed in the folder, and return the updated database."""
        with self._lock:
            for _ in range(_REFRESH_ATTEMPTS):
                with contextlib.suppress(OutdatedError):
                    return self._refresh(Meter(progress, cancelled))
        msg = f"other processes keep changing the cache of {str(self._folder)!r}"
        raise LockedError(msg, hint="try again")

    def _refresh(self, meter: Meter) -> Database:
        if not self._folder.is_dir():
            raise UsageError(f"no such folder: {str(self._folder)!r}")
        if not (self._has_logs or any(True for _ in files_below(self._folder))):
            msg = f"the folder {str(self._folder)!r} contains no files"
            raise FormatError(msg, hint="pass a folder with logs, or `vastlab import` into it")
        for attempt in range(_SCANS):
            database, snapshot = self._open()
            states = follow.list_files(self._folder, snapshot.sources)
            self._idle = frozenset(state.path for state in states if state.idle)
            is_last = attempt == _SCANS - 1
            update = Update(snapshot, states, meter, self._inference, self._options, is_last)
            if update.is_needed:
                with self._rebuilding_if_damaged(), database.staging() as staging:
                    update.run(database, staging)
                compact.merge_after_import(database)
                self._sweep(database)
            if not update.has_skipped:
                break
        if not self._has_logs:  # later, a log may be empty for a short time while it is rotated
            self._require_logs(database.snapshot())
            self._has_logs = True
        return database

    @contextlib.contextmanager
    def _rebuilding_if_damaged(self) -> Iterator[None]:
        """Start again with a new database if a file that must be read is damaged."""
        try:
            yield
        except CorruptFileError as error:
            self._database = None
            self._cache_entry().renew()
            raise OutdatedError from error

    def _sweep(self, database: Database) -> None:
        """Delete unused files and cache entries, once in `SPAN` generations."""
        period = database.snapshot().generation // SPAN
        if period != self._swept_period:
            self._swept_period = period
            database.sweep()
            entry = self._cache_entry()
            entry.discard_older()
            entry.evict_others(self._limit)

    def _require_logs(self, snapshot: Snapshot) -> None:
        if any(source.format for source in snapshot.sources.values()):
            return
        reasons = [
            f"{plain(os.path.relpath(path, self._folder))}: {reason}"
            for path, source in snapshot.sources.items()
            for _, reason in source.all_problems
        ]
        msg = f"no file in the folder {str(self._folder)!r} is a log"
        raise FormatError(msg, hint=reasons[0] if reasons else "all files are empty")

    def _cache_entry(self) -> CacheEntry:
        if self._entry is None:
            options = ":".join(f"{name}={value!r}" for name, value in self._options.items())
            self._entry = CacheEntry(f"{_VERSION}:{self._folder}{options}", self._cache_dir)
        self._entry.touch()
        return self._entry

    def _open(self) -> tuple[Database, Snapshot]:
        """Open the database, or create a new one if it is damaged."""
        for _ in range(_RENEWALS):
            try:
                return self._open_intact()
            except DatabaseError:
                # The damaged one stays, since another process may be reading it.
                self._database = None
                self._cache_entry().renew()
        return self._open_intact()

    def _open_intact(self) -> tuple[Database, Snapshot]:
        folder = self._cache_entry().path
        if self._database is None:
            self._database, self._checked_generation = Database.create(folder), -1
        snapshot = self._database.snapshot()
        if snapshot.generation != self._checked_generation:
            if not all(os.path.exists(file.path) for file in snapshot.files):
                raise DatabaseError(f"files of the database {str(folder)!r} are missing")
            self._checked_generation = snapshot.generation
        return self._database, snapshot
