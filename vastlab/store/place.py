"""Where a database lives: a folder of this machine, or an object store.

A place is asked for keys: names relative to the database, whose parts are separated by slashes.
Failures are an `OSError`, or a `NodeError` of a store that does not answer.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from vastlab.store import disk
from vastlab.store.disk import is_same, publish, sync_folder, write_synced

STAGING = "staging"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a place."""

    key: str
    size: int
    modified: float  # seconds
    identity: str  # differs after the file was replaced


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete file on this machine, and the key that it gets."""

    file: Path
    key: str


class Place(ABC):
    """Where a database lives; as text, what is before the slash and the key of a file."""

    is_local = True
    """Whether files are read by the path that `url` returns."""

    @abstractmethod
    def __str__(self) -> str: ...

    def url(self, key: str) -> str:
        """Return how a file is named in a manifest and in messages."""
        return f"{self}/{key}"

    def key(self, url: str) -> str:
        """Return the key of a file that `url` named."""
        start = f"{self}/"
        if not url.startswith(start):
            raise ValueError(f"it is outside the database: {url!r}")
        return url[len(start) :]

    @abstractmethod
    def exists(self) -> bool:
        """Return whether anything can be here."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the content of a file."""

    @abstractmethod
    def stat(self, key: str) -> Entry:
        """Describe a file; raises `FileNotFoundError` if there is none."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the names of the files and folders in a folder, in no order."""

    @abstractmethod
    def entries(self, folder: str) -> Iterator[Entry]:
        """Return the files in a folder and in those below it, sorted."""

    @abstractmethod
    def create(self, key: str, data: bytes, staging: Path) -> bool:
        """Create a complete file for good; return False if there is one of this name.

        The commit protocol relies on this step: of all writers, only one creates the name.
        """

    @abstractmethod
    def replace(self, key: str, data: bytes, staging: Path) -> None:
        """Replace a file, or create it."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete a file, if it exists."""

    @abstractmethod
    def staging(self) -> contextlib.AbstractContextManager[Path]:
        """Create a temporary folder on this machine for files to add."""

    @abstractmethod
    def add(self, files: Collection[Staged]) -> None:
        """Put complete new files in their place for good; all have the same staging folder."""

    @abstractmethod
    def at_hand(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """Return a file of this machine that has the same content; nothing may change it."""

    @abstractmethod
    def move(self, key: str, new: str) -> None:
        """Give a file another key, whose folder may not exist yet."""

    @abstractmethod
    def touch(self, keys: Iterable[str]) -> None:
        """Let the grace period of files that are dropped start now."""

    @abstractmethod
    def loose(self, folder: str) -> Iterator[Entry]:
        """Return the files in a folder that no writer is known to commit yet, in no order."""

    @abstractmethod
    def dropped(self, folder: str, before: float = math.inf) -> list[tuple[str, float]]:
        """Return what may be deleted if no generation names it, and since when, in this order.

        What was dropped later than `before` is left out.
        """

    @abstractmethod
    def withdraw(self, files: Collection[Staged], staging: Path, error: BaseException) -> None:
        """Delete what was added, unless the failed commit may have been published."""

    def has(self, key: str) -> bool:
        """Return whether a file exists."""
        try:
            self.stat(key)
        except FileNotFoundError:
            return False
        return True


class Folder(Place):
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Return whether it is a folder."""
        return self.path.is_dir()

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        return self._of(key).read_bytes()

    def stat(self, key: str) -> Entry:
        """Describe a file."""
        return _entry(key, os.stat(self._of(key)))

    def names(self, folder: str) -> list[str]:
        """Return the names of the files and folders in a folder."""
        return os.listdir(self._of(folder))

    def entries(self, folder: str) -> Iterator[Entry]:
        """Return the files in a folder and in those below it, sorted."""
        yield from sorted(self._walk(folder, links=None), key=lambda entry: entry.key)

    def create(self, key: str, data: bytes, staging: Path) -> bool:
        """Create a complete file, and wait until it is on the disk."""
        path = self._of(key)
        staged = staging / path.name
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        write_synced(staged, data)
        if not publish(staged, path):
            return False
        sync_folder(path.parent)
        return True

    def replace(self, key: str, data: bytes, staging: Path) -> None:
        """Replace a file."""
        path = self._of(key)
        staged = staging / f"{path.name}.new"
        write_synced(staged, data)
        os.replace(staged, path)

    def delete(self, key: str) -> None:
        """Delete a file."""
        self._of(key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Create a temporary folder on the same disk."""
        folder = self.path / STAGING
        folder.mkdir(exist_ok=True)
        with disk.temporary_folder(folder) as made:
            yield made

    def add(self, files: Collection[Staged]) -> None:
        """Link files, and wait until their names are on the disk."""
        folders = set()
        for item in files:
            target = self._of(item.key)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.utime(item.file)
            if not publish(item.file, target):
                raise FileExistsError(errno.EEXIST, "a new file already exists", str(target))
            folders |= set(target.parents[:3])
        for folder in folders:
            sync_folder(folder)

    @contextlib.contextmanager
    def at_hand(self, key: str) -> Iterator[Path]:
        """Return the file itself."""
        yield self._of(key)

    def move(self, key: str, new: str) -> None:
        """Rename a file."""
        target = self._of(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self._of(key), target)

    def touch(self, keys: Iterable[str]) -> None:
        """Set the modification times of files."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._of(key))

    def loose(self, folder: str) -> Iterator[Entry]:
        """Return the files that have no hard link in a staging folder."""
        return self._walk(folder, links=1)

    def dropped(self, folder: str, before: float = math.inf) -> list[tuple[str, float]]:
        """Return the same files, since they were last touched."""
        found = ((entry.key, entry.modified) for entry in self.loose(folder))
        return [(key, since) for key, since in found if since < before]

    def withdraw(self, files: Collection[Staged], staging: Path, error: BaseException) -> None:
        """Delete files, unless a generation that may name them has a link."""
        with contextlib.suppress(OSError):
            published = [path for path in staging.glob("*.json") if path.stat().st_nlink > 1]
            # If the folder was deleted, it is unknown whether a generation was published.
            if not published and staging.exists():
                for item in files:
                    if is_same(item.file, self._of(item.key)):
                        os.unlink(self._of(item.key))

    def _of(self, key: str) -> Path:
        return self.path / key

    def _walk(self, folder: str, links: int | None) -> Iterator[Entry]:
        start = len(str(self.path)) + 1
        for parent, _, names in os.walk(self._of(folder)):
            for name in names:
                path = os.path.join(parent, name)
                with contextlib.suppress(FileNotFoundError):
                    found = os.stat(path)
                    if S_ISREG(found.st_mode) and links in (None, found.st_nlink):
                        yield _entry(path[start:].replace(os.sep, "/"), found)


def _entry(key: str, found: os.stat_result) -> Entry:
    return Entry(key, found.st_size, found.st_mtime, f"{found.st_ino}:{found.st_mtime_ns}")
