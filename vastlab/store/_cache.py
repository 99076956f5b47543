"""Databases in the user's cache folder: one for each folder of logs, bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

from vastlab.config import cache_folder
from vastlab.errors import DatabaseError
from vastlab.store._disk import disk_errors

if sys.platform != "win32":
    import fcntl

LIMIT = 20 * 1024**3
_LOCK = ".lock"


class CacheEntry:
    """A folder in the cache that nobody deletes while this object lives.

    Parameters
    ----------
    what
        What is cached: the same text is the same entry.
    cache
        The folder of all entries; the user's cache folder by default.
    """

    def __init__(self, what: str, cache: Path | None = None) -> None:
        self._cache = cache_folder() / "folders" if cache is None else cache
        name = hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        self.path = self._cache / name
        self._lock = self._cache / f"{name}{_LOCK}"
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DatabaseError(
                f"what is read cannot be kept in {self._cache}: {error.strerror}",
                hint="XDG_CACHE_HOME names another folder",
            ) from error
        weakref.finalize(self, os.close, descriptor)
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def touch(self) -> None:
        """Note that the entry was used."""
        with disk_errors(self._cache):
            os.utime(self._lock)

    def evict_others(self, limit: int) -> None:
        """Delete the entries that were not used for longest until all fit into `limit` bytes."""
        locks = sorted(self._cache.glob(f"*{_LOCK}"), key=lambda path: path.stat().st_mtime)
        sizes = {lock: _size(_entry_of(lock)) for lock in locks}
        total = sum(sizes.values())
        for lock in locks:
            if total <= limit:
                break
            if lock != self._lock and sizes[lock]:
                with _alone(lock) as unused:
                    if unused:
                        shutil.rmtree(_entry_of(lock), ignore_errors=True)
                        total -= sizes[lock]


def _entry_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(_LOCK))


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Hold an entry that nobody uses; False where somebody does."""
    if sys.platform == "win32":
        # Files that are open cannot be deleted there anyway.
        yield True
        return
    descriptor = os.open(lock, os.O_RDWR)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(Path(root, name)).st_size
    return total
