"""A vastlab database on disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from vastlab.errors import CorruptFileError, DatabaseError, LockedError, UsageError
from vastlab.store import manifest
from vastlab.store._buffer import Buffer
from vastlab.store._disk import disk_errors, sync_folder, write_synced
from vastlab.store._writer import StagedFile
from vastlab.store.layout import DataFile, Layout, Snapshot, Source

__all__ = ["GRACE", "Database", "is_database"]

GRACE = 3600.0
_MANIFEST = "manifest.json"
_DATA = "data"
_STAGING = "staging"
_FOLDERS = (manifest.FOLDER, _DATA, _STAGING)
_UNREADABLE = re.compile("[\x00-\x1f\x7f]")  # in the path of a file, for DataFusion


def is_database(path: str | Path) -> bool:
    """Tell whether a folder is a vastlab database.

    Examples
    --------
    >>> is_database("/no/such/folder")
    False
    """
    try:
        return _read_format(Path(path)).get("format") == manifest.FORMAT["format"]
    except (OSError, ValueError):
        return False


class Database:
    """A vastlab database: open one with `Database.open` or `Database.create`.

    All methods may be called from any thread, and many processes may read and write one
    database at the same time.

    Examples
    --------
    >>> import tempfile
    >>> from vastlab.arrow.schema import to_arrow
    >>> from vastlab.types import Field, Kind, Schema, Type
    >>> schema = to_arrow(Schema("zeek.conn", (Field("port", Type(Kind.UINT64)),)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.create(folder)
    ...     _ = database.add([pa.RecordBatch.from_pydict({"port": [80, 443]}, schema)])
    ...     database.snapshot().counts
    {'zeek.conn': 2}
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._snapshot: Snapshot | None = None

    @classmethod
    def open(cls, path: str | Path) -> Database:
        """Open a database that exists."""
        root = _usable(path)
        if not root.is_dir():
            msg = f"there is no folder {str(root)!r}"
            raise DatabaseError(msg, hint="check the spelling; `vastlab import` makes a database")
        try:
            found = _read_format(root)
        except FileNotFoundError:
            msg = f"the folder {str(root)!r} is no vastlab database: it has no {_MANIFEST}"
            hint = "`vastlab import` makes one; a folder of logs can be queried as it is"
            raise DatabaseError(msg, hint=hint) from None
        except (OSError, ValueError) as error:
            msg = f"{str(root / _MANIFEST)!r} cannot be read: {error}"
            raise CorruptFileError(msg) from error
        if found.get("format") != manifest.FORMAT["format"]:
            msg = f"the folder {str(root)!r} is no vastlab database: its {_MANIFEST} is another's"
            raise DatabaseError(msg)
        if found.get("version") != manifest.FORMAT["version"]:
            msg = f"the database {str(root)!r} has format version {found.get('version')!r}"
            raise DatabaseError(msg, hint="upgrade vastlab to read it")
        return cls(root)

    @classmethod
    def create(cls, path: str | Path) -> Database:
        """Make an empty database, or open the one that is there."""
        root = _usable(path)
        if is_database(root):
            return cls.open(root)
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            stranger = next((path for path in root.iterdir() if not _is_ours(path)), None)
            if is_database(root):
                return cls.open(root)
            if stranger is not None:
                msg = f"the folder {str(root)!r} holds other files: {stranger.name!r}"
                raise DatabaseError(msg, hint="name a new or an empty folder")
            for name in _FOLDERS:
                (root / name).mkdir(exist_ok=True)
            staged = root / f"{_MANIFEST}.{uuid4().hex}"
            write_synced(staged, json.dumps(manifest.FORMAT))
            os.replace(staged, root / _MANIFEST)
            sync_folder(root)
        return cls(root)

    def remove_empty(self) -> None:
        """Take back what `create` made, unless something was or is being added."""
        with contextlib.suppress(OSError):
            # Empty folders only, and these in the order in which a writer fills them.
            for name in (_STAGING, _DATA, manifest.FOLDER):
                (self._path / name).rmdir()
            (self._path / _MANIFEST).unlink()
            self._path.rmdir()

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self._path

    def __repr__(self) -> str:
        return f"Database({str(self._path)!r})"

    def snapshot(self) -> Snapshot:
        """Read what the database holds now."""
        self._snapshot = manifest.load(self._path, self._snapshot)
        return self._snapshot

    def added(self, since: int) -> tuple[int, tuple[DataFile, ...]]:
        """Return the newest generation, and the files that came after generation `since`.

        Files are in order of their generations, and within one in the order of a snapshot.
        """
        snapshot = self.snapshot()
        files = [file for file in snapshot.files if file.generation > since]
        return snapshot.generation, tuple(sorted(files, key=lambda file: file.generation))

    def add(
        self,
        batches: Iterable[pa.RecordBatch],
        *,
        name: str | None = None,
        budget: int | None = None,
        target_size: int | None = None,
    ) -> dict[str, int]:
        """Add events, all of them or none.

        Parameters
        ----------
        batches
            In nested form, with schema names in their metadata, of any number of schemas.
        name
            The schema name to use instead.
        budget
            Bytes of events to hold in memory.
        target_size
            Bytes that a file should have.

        Returns
        -------
        dict of str to int
            How many events were added, by schema name.
        """
        with self.staging() as staging:
            buffer = Buffer(self._path, staging, budget=budget, target_size=target_size)
            for batch in batches:
                buffer.add(batch, name)
            files = buffer.finish()
            self.commit(files, buffer.layouts)
        return buffer.events

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Lend a folder for files that are to be committed; it is gone afterwards.

        Whoever keeps it for long touches it now and then, or it counts as abandoned.
        """
        folder = self._path / _STAGING / uuid4().hex
        with disk_errors(self._path):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

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
        """Make staged files part of the database, and drop others, in one step.

        Parameters
        ----------
        files, layouts
            What `vastlab.store._writer.write` wrote, with all layouts of these files.
        sources, forget
            Sources to remember, and keys of sources to forget.
        drop
            Paths of files that no longer belong to the database. They are deleted after a
            while only, since someone may be reading them.
        check
            Called with the snapshot that the change is made to; it may raise.
        """
        used = {item.file.fingerprint for item in files}
        change = manifest.Change(
            files=tuple(item.file for item in files),
            dropped=frozenset(drop),
            layouts={key: value for key, value in (layouts or {}).items() if key in used},
            sources={source.key: source for source in sources},
            forgotten=frozenset(forget),
        )

        def decide(snapshot: Snapshot) -> manifest.Change:
            if check is not None:
                check(snapshot)
            for item in files:
                if not Path(item.file.path).exists():
                    msg = f"a file was deleted before it could be added: {item.file.path!r}"
                    raise LockedError(msg, hint="try again")
            return change

        with disk_errors(self._path):
            try:
                _move_into_place(files)
                for path in change.dropped:
                    # The time of its last change is from when on its grace period counts.
                    with contextlib.suppress(FileNotFoundError):
                        os.utime(path)
                self._snapshot = manifest.commit(self._path, decide, self._snapshot)
            except BaseException:
                self._withdraw(files)
                raise
        if self._snapshot.generation % manifest.SPAN == 0:
            with contextlib.suppress(OSError):
                self.sweep()
        return self._snapshot

    def _withdraw(self, files: Collection[StagedFile]) -> None:
        """Delete files after a failure, but never one that was committed before the failure."""
        with contextlib.suppress(DatabaseError, OSError):
            named = {file.path for file in manifest.load(self._path).files}
            for item in files:
                if item.file.path not in named:
                    Path(item.file.path).unlink(missing_ok=True)

    def sweep(self, grace: float = GRACE) -> None:
        """Delete what no longer belongs to the database and was not touched for a while.

        Parameters
        ----------
        grace
            In seconds.
        """
        deadline = time.time() - grace
        manifest.sweep(self._path, grace)
        for folder in (self._path / _STAGING).glob("*"):
            if _modified(folder) < deadline:
                shutil.rmtree(folder, ignore_errors=True)
        candidates = [
            path for path in (self._path / _DATA).rglob("*.parquet") if _modified(path) < deadline
        ]
        needed = {file.path for file in self.snapshot().files}
        for path in candidates:
            if str(path) not in needed:
                path.unlink(missing_ok=True)


def _usable(path: str | Path) -> Path:
    root = Path(path).absolute()
    if _UNREADABLE.search(str(root)):
        msg = f"the path of a database holds no control characters: {str(root)!r}"
        raise UsageError(msg, hint="give the folder another name")
    return root


def _is_ours(path: Path) -> bool:
    """Tell whether something may have been left by a `create` that did not come to its end."""
    if path.name in _FOLDERS:
        return path.is_dir() and not any(path.iterdir())
    return path.name.startswith(f"{_MANIFEST}.")


def _move_into_place(files: Collection[StagedFile]) -> None:
    folders = set()
    for item in files:
        target = Path(item.file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.utime(item.staged)
        os.replace(item.staged, target)
        folders |= {target.parent, target.parent.parent}
    for folder in folders:
        sync_folder(folder)


def _read_format(root: Path) -> dict[str, object]:
    found = json.loads((root / _MANIFEST).read_bytes())
    return found if isinstance(found, dict) else {}


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
