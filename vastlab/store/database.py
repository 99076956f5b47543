"""A vastlab database in a folder or an object store."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from vastlab.errors import DatabaseError, LockedError, NodeError, UsageError
from vastlab.readers import SCHEMAS
from vastlab.readers.batch_check import BatchChecker
from vastlab.readers.problems import Problems
from vastlab.store import disk, manifest
from vastlab.store.buffer import Buffer
from vastlab.store.disk import GRACE, disk_errors, sync_folder
from vastlab.store.generation import (
    DATA,
    GENERATIONS,
    NAME,
    Change,
    create_marker,
    is_database,
    read_marker,
)
from vastlab.store.layout import DataFile, Layout, Source
from vastlab.store.place import STAGING, Folder, Place, Staged
from vastlab.store.snapshot import Snapshot
from vastlab.store.writer import StagedFile

__all__ = ["GRACE", "Database", "OtherFilesError", "is_database"]

_FOLDERS = (GENERATIONS, DATA, STAGING)
_COPY = "copy it to a folder with the tools of the store, and use that"
_INVALID_IN_PATH = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # DataFusion cannot open such files


class OtherFilesError(DatabaseError):
    """The folder for a new database contains other files."""


class Database:
    """A vastlab database; see `Database.open` and `Database.create`.

    Methods may be called from any thread, and many processes may read and write a database at the
    same time.
    """

    def __init__(self, path: Path | Place) -> None:
        self.place = path if isinstance(path, Place) else Folder(path)
        self._snapshot: Snapshot | None = None
        self._has_swept = False

    @classmethod
    def open(cls, path: str | Path | Place) -> Database:
        """Open an existing database."""
        place = path if isinstance(path, Place) else Folder(_checked_path(path))
        if not place.exists():
            msg = f"there is no folder {str(place)!r}"
            hint = "check the spelling, or create a database with `vastlab import`"
            raise DatabaseError(msg, hint=hint)
        read_marker(place)
        return cls(place)

    @classmethod
    def create(cls, path: str | Path | Place) -> Database:
        """Create an empty database, or open an existing one."""
        if isinstance(path, Place) and not path.is_local:
            return cls._create_remote(path)
        root = path.path if isinstance(path, Folder) else _checked_path(str(path))
        if is_database(root):
            return cls.open(root)
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            foreign = next((path for path in root.iterdir() if not _is_ours(path)), None)
            if is_database(root):
                return cls.open(root)
            if foreign is not None:
                msg = f"the folder {str(root)!r} contains other files: {foreign.name!r}"
                raise OtherFilesError(msg, hint="use a new or an empty folder")
            for name in _FOLDERS:
                (root / name).mkdir(exist_ok=True)
            with disk.temporary_folder(root / STAGING) as folder:
                create_marker(Folder(root), folder)
            sync_folder(root)
        return cls(root)

    @classmethod
    def _create_remote(cls, place: Place) -> Database:
        if not is_database(place):
            names = place.names("")
            if names and not is_database(place):  # now: another process may just have made one
                msg = f"{str(place)!r} contains other objects: {names[0]!r}"
                raise OtherFilesError(msg, hint="use a path below which there is nothing")
            with place.staging() as folder:
                create_marker(place, folder)
        return cls.open(place)

    @classmethod
    @contextlib.contextmanager
    def complete(cls, path: str | Path | Place) -> Iterator[Database]:
        """Fill a database that gets its name `path` only when the block ends without error.

        In an object store nothing can be renamed: an error leaves an empty database there.

        If another process has created one by then, the events are added to that; a `LockedError`
        is raised if it has read one of the same sources.
        """
        if isinstance(path, Place):
            yield cls.create(path)
            return
        root = _checked_path(path)
        if is_database(root) or not _can_appear(root):
            yield cls.create(root)
            return
        with contextlib.ExitStack() as stack:
            with disk_errors(root):
                folder = stack.enter_context(disk.staging_beside(root))
            database = cls.create(folder)
            yield database
            with disk_errors(root):
                has_appeared = disk.rename_into_place(folder, root)
            if not has_appeared:
                cls.open(root)._add_all_of(database)

    @property
    def path(self) -> Path:
        """The folder, absolute; raises `UsageError` for a database in an object store."""
        if not isinstance(self.place, Folder):
            raise UsageError(f"{self.place} is not a folder of this machine", hint=_COPY)
        return self.place.path

    def __repr__(self) -> str:
        return f"Database({str(self.place)!r})"

    def snapshot(self) -> Snapshot:
        """Return the current state of the database."""
        self._snapshot = manifest.load(self.place, self._snapshot)
        return self._snapshot

    def added(
        self, since: int, snapshot: Snapshot | None = None
    ) -> tuple[int, tuple[DataFile, ...]]:
        """Return the newest generation, and the files that were added after generation `since`."""
        snapshot = snapshot or self.snapshot()
        return snapshot.generation, tuple(manifest.added(self.place, since, snapshot))

    def add(
        self,
        batches: Iterable[pa.RecordBatch],
        *,
        name: str | None = None,
        budget: int | None = None,
        target_size: int | None = None,
    ) -> dict[str, int]:
        """Add all events or none, and return the number of events by schema name."""
        with (
            self.staging() as disk,
            Buffer(self.place, disk, budget=budget, target_size=target_size) as buffer,
        ):
            checker = BatchChecker("the events", Problems(strict=True))
            for batch in batches:
                for part in checker.convert(batch, name):
                    buffer.add(part)
            files = buffer.finish()
            self.commit(files, buffer.layouts)
        return buffer.events

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Create a temporary folder for files to commit.

        If it is used for long, touch it from time to time. Otherwise processes on other machines
        treat it as abandoned.
        """
        with contextlib.ExitStack() as stack:
            with disk_errors(self.place):
                folder = stack.enter_context(self.place.staging())
            yield folder

    def commit(
        self,
        files: Collection[StagedFile] = (),
        layouts: Mapping[str, Layout] | None = None,
        *,
        sources: Iterable[Source] = (),
        drop: Iterable[str] = (),
        forget: Iterable[str] = (),
        check: Callable[[Snapshot], None] | None = None,
    ) -> Snapshot:
        """Add staged files, and remove others, in one step; `check` may raise to prevent it.

        Removed files are deleted after a grace period, since a process may be reading them.
        """
        used = {item.file.fingerprint for item in files}
        change = Change(
            files=tuple(item.file for item in files),
            dropped=frozenset(drop),
            layouts={key: value for key, value in (layouts or {}).items() if key in used},
            sources={source.key: source for source in sources},
            forgotten=frozenset(forget),
        )

        def decide(snapshot: Snapshot) -> Change:
            if check is not None:
                check(snapshot)
            return change

        staged = [Staged(item.staged, self.place.key(item.file.path)) for item in files]
        with disk_errors(self.place), self._staging_of(files) as folder:
            try:
                self.place.add(staged)
                self.place.touch(map(self.place.key, change.dropped))
                self._snapshot = manifest.commit(self.place, folder, decide, self._snapshot)
            except BaseException as error:
                self.place.withdraw(staged, folder, error)
                if isinstance(error, FileNotFoundError) and not folder.exists():
                    msg = f"another process deleted {str(folder)!r}, which seemed abandoned"
                    hint = "check what was added, and try again"
                    raise LockedError(msg, hint=hint) from error
                raise
            with contextlib.suppress(OSError):  # the commit is complete; errors no longer matter
                for path in (*folder.glob("*.json"), *(item.file for item in staged)):
                    path.unlink(missing_ok=True)
        self._sweep_periodically()
        return self._snapshot

    @contextlib.contextmanager
    def _staging_of(self, files: Collection[StagedFile]) -> Iterator[Path]:
        """Yield the folder of the staged files, or a new one if there are none."""
        first = next(iter(files), None)
        if first is not None:
            yield first.staged.parent
            return
        with self.staging() as folder:
            yield folder

    def _add_all_of(self, other: Database) -> None:
        """Add all events of another database on the same disk."""
        held = other.snapshot()
        with self.staging() as folder:
            files = []
            for file in held.files:
                path = Path(file.path)
                staged = folder / path.name
                with disk_errors(self.place):
                    os.link(path, staged)
                own = self.place.url(other.place.key(file.path))
                files.append(StagedFile(staged, replace(file, path=own, generation=0, oldest=0)))
            sources = held.sources.values()
            refuse = partial(refuse_duplicates, sources)
            self.commit(files, held.layouts, sources=sources, check=refuse)

    def _sweep_periodically(self) -> None:
        generation = self._snapshot.generation if self._snapshot else 0
        if not self._has_swept or generation % manifest.SPAN == 0:
            self._has_swept = True
            with contextlib.suppress(OSError, DatabaseError, NodeError):
                self.sweep()

    def sweep(self, grace: float = GRACE) -> None:
        """Delete files that are not part of the database and older than `grace` seconds.

        What a writer left that has certainly ended is deleted at once.
        """
        deadline = time.time() - grace
        if self.place.is_local:
            disk.remove_abandoned(self.path / STAGING, grace)
            with self.staging() as folder, contextlib.suppress(FileNotFoundError):
                # The folder is missing if another process treats this one as abandoned.
                manifest.sweep(self.path, folder, grace)
        # The candidates must be listed before the snapshot is read: see `vastlab.store.manifest`.
        candidates = self.place.dropped(DATA, deadline)
        needed = self.snapshot().files.paths() if candidates else set()
        for key, _ in candidates:
            if self.place.url(key) not in needed:
                self.place.delete(key)


def refuse_duplicates(sources: Iterable[Source], snapshot: Snapshot) -> None:
    """Raise `LockedError` if another process has imported one of the sources."""
    known = {(source.size, source.digest) for source in snapshot.sources.values()}
    for source in sources:
        if (source.size, source.digest) in known:
            msg = f"another process has imported {source.key!r}; nothing was added"
            raise LockedError(msg, hint="try again: files that were imported are skipped")


def _checked_path(path: str | Path) -> Path:
    # The engine drops ".." from paths, which is another place behind a link.
    root = Path(os.path.realpath(path))
    if _INVALID_IN_PATH.search(str(root)):
        msg = f"the path of a database must be UTF-8 without control characters: {str(root)!r}"
        raise UsageError(msg, hint="use another name for the folder")
    return root


def _is_ours(path: Path) -> bool:
    """Return whether a path may have been left by an interrupted `create`."""
    if path.name == STAGING and path.is_dir():
        return all(disk.is_staging(child.name) for child in path.iterdir())
    if path.name in _FOLDERS:
        return path.is_dir() and not any(path.iterdir())
    if path.name == SCHEMAS:
        return path.is_dir()  # users may create it before the database
    return path.name.startswith(f"{NAME}.")


def _can_appear(root: Path) -> bool:
    """Return whether a folder can be created elsewhere and renamed to this path."""
    if os.path.ismount(root) or (root.exists() and (not root.is_dir() or any(root.iterdir()))):
        return False
    parent = next(path for path in root.parents if path.exists())
    return os.access(parent, os.W_OK)
