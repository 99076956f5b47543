"""The database folder of a VAST or Tenzir node, read as it lies there and never written to.

``archive/`` holds the events, one file for each partition. A node that runs adds files, and
from time to time merges some: it writes the new one and then deletes the old ones. What it has
not written yet cannot be seen here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, UsageError
from vastlab.store import _partition
from vastlab.store._partition import Part, Partition
from vastlab.store.layout import DataFile, Layout, Range, Snapshot, make_snapshot

__all__ = ["Archive", "OpenFile", "Part", "Unreadable", "View", "is_archive", "key"]

Stamp = tuple[int, int]

_FOLDER, _INDEX, _LOCK = "archive", "index", "pid.lock"
_SUFFIXES = frozenset({_partition.FEATHER, _partition.PARQUET, _partition.SEGMENT})
_OLD = "the format of old segments, which only VAST reads: let its node rebuild it"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file whose events are missing.

    Parameters
    ----------
    name
        Of the file.
    reason
        Why it cannot be read.
    is_loss
        Whether that is to stay so; a file that a node is still writing is no loss.

    Examples
    --------
    >>> Unreadable("0.store", "an old format").is_loss
    True
    """

    name: str
    reason: str
    is_loss: bool = True


@dataclass(frozen=True)
class View:
    """What there is at one moment.

    Parameters
    ----------
    snapshot
        The files to read, and their layouts.
    unreadable
        Files that cannot be read.
    superseded
        Files that the node does not count as its own any more; known only if it was asked.
    internal
        How many files hold events of the node about itself. They are left out.
    merged
        Paths of files that may hold events which older files held before.

    Examples
    --------
    >>> View(Snapshot(0, {}, ())).unreadable
    ()
    """

    snapshot: Snapshot
    unreadable: tuple[Unreadable, ...] = ()
    superseded: tuple[DataFile, ...] = ()
    internal: int = 0
    merged: frozenset[str] = frozenset()


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Say whether a folder is that of a node: it, or its subfolder, is an ``archive``.

    Parameters
    ----------
    path
        Any path; nothing has to be there.

    Examples
    --------
    >>> is_archive("/no/such/folder")
    False
    """
    folder = _root(Path(path)) / _FOLDER
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return False
    # A folder of logs may have one called archive too; nodes name files by nothing but UUIDs.
    if any(_is_partition(name) for name in names):
        return True
    return not names and (folder.parent / _INDEX).is_dir()


class OpenFile:
    """A file of an archive, held open: its events stay there when the node deletes it.

    Parameters
    ----------
    file, layout
        Of a `View`.

    Raises
    ------
    FileNotFoundError
        It was deleted before.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> from pyarrow import feather
    >>> event = pa.array([{"port": 80}], pa.struct([("port", pa.uint64())]))
    >>> named = pa.field("event", event.type, metadata={"VAST:name:0": "my.port"})
    >>> schema = pa.schema([("import_time", pa.timestamp("ns")), named])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "archive").mkdir()
    ...     path = Path(folder, "archive", f"{uuid.uuid4()}.feather")
    ...     feather.write_feather(pa.table([[0], event], schema=schema), path)
    ...     stored = Archive(folder).view().snapshot
    ...     with OpenFile(stored.files[0], *stored.layouts.values()) as file:
    ...         [part.events.to_pylist() for part in file.parts()]
    [[{'port': 80}]]
    """

    def __init__(self, file: DataFile, layout: Layout) -> None:
        self._path = file.path
        self._schema = layout.schema
        # Not memory-mapped: a mapped file that somebody cuts ends the process.
        self._source = pa.OSFile(file.path)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def parts(self) -> Iterator[Part]:
        """Read the events batch by batch, in vastlab's own form."""
        return _partition.read(self._path, self._source, self._schema)

    def close(self) -> None:
        """Let the file go."""
        self._source.close()


class Archive:
    """A node's database folder.

    Parameters
    ----------
    path
        The folder with ``archive/``, or ``archive/`` itself.

    Examples
    --------
    >>> Archive("/var/lib/tenzir").path.name
    'tenzir'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _root(Path(path)).absolute()
        # What a footer said, for as long as the file stays the same.
        self._described: dict[str, tuple[Stamp, Partition | Unreadable]] = {}
        self._fingerprints: dict[object, str] = {}

    @property
    def is_owned(self) -> bool:
        """Whether a node says that it runs on this folder."""
        return (self.path / _LOCK).exists()

    def listing(self) -> dict[str, Stamp]:
        """Return size and time of every file that may hold events, by path."""
        found: dict[str, Stamp] = {}
        try:
            with os.scandir(self.path / _FOLDER) as entries:
                for entry in entries:
                    if Path(entry.name).suffix.lower() in _SUFFIXES:
                        found |= _stamped(entry)
        except FileNotFoundError:
            if not self.path.is_dir():
                raise UsageError(f"no such folder: {self.path}") from None
        except OSError as error:
            raise UsageError(f"cannot list {self.path / _FOLDER}: {error.strerror}") from error
        return found

    def view(self, live: Collection[str] | None = None) -> View:
        """Look at the folder; only files that are new or changed are opened.

        Parameters
        ----------
        live
            The files that count, as a node names them: names, paths or URLs. All of them
            where no node was asked.
        """
        listed = self.listing()
        self._described = {
            path: known for path, known in self._described.items() if listed.get(path) == known[0]
        }
        for path, stamp in listed.items():
            if path not in self._described and (found := _describe(path)) is not None:
                self._described[path] = (stamp, found)
        return self._view(None if live is None else {key(name) for name in live})

    def _view(self, live: set[str] | None) -> View:
        files: list[DataFile] = []
        superseded: list[DataFile] = []
        layouts: dict[str, Layout] = {}
        partitions: dict[str, Partition] = {}
        unreadable: list[Unreadable] = []
        for path, (stamp, found) in sorted(self._described.items()):
            if isinstance(found, Unreadable):
                unreadable.append(found)
            elif not found.is_internal:
                fingerprint = self._fingerprint(found)
                layouts.setdefault(fingerprint, Layout(fingerprint, found.schema))
                file = _data_file(path, stamp, found, fingerprint)
                (files if live is None or key(path) in live else superseded).append(file)
            partitions |= {path: found} if isinstance(found, Partition) else {}
        return View(
            make_snapshot(0, layouts, files, {}),
            tuple(unreadable),
            tuple(superseded),
            sum(partition.is_internal for partition in partitions.values()),
            frozenset(p for p, found in partitions.items() if found.origin != _partition.INGESTED),
        )

    def _fingerprint(self, partition: Partition) -> str:
        known = self._fingerprints.get(partition.schema)
        if known is None:
            known = arrow_schema.fingerprint(partition.schema)
            self._fingerprints[partition.schema] = known
        return known


def _root(path: Path) -> Path:
    """Return the folder around ``archive/``."""
    is_inner = path.name == _FOLDER and not (path / _FOLDER).is_dir()
    return path.parent if is_inner else path


def _is_partition(name: str) -> bool:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() not in _SUFFIXES:
        return False
    try:
        return str(uuid.UUID(stem)) == stem.lower()
    except ValueError:
        return False


def _stamped(entry: os.DirEntry[str]) -> Mapping[str, Stamp]:
    try:
        if not entry.is_file():
            return {}
        found = entry.stat()
    except FileNotFoundError:
        return {}
    return {entry.path: (found.st_size, found.st_mtime_ns)}


def _describe(path: str) -> Partition | Unreadable | None:
    """Look into a file; nothing where it is gone meanwhile."""
    name = os.path.basename(path)
    if name.lower().endswith(_partition.SEGMENT):
        return Unreadable(name, _OLD)
    try:
        return _partition.describe(path)
    except FileNotFoundError:
        return None
    except _partition.UnfinishedError as error:
        return Unreadable(name, error.message, is_loss=False)
    except FormatError as error:
        return Unreadable(name, error.message)
    except OSError as error:
        return Unreadable(name, error.strerror or str(error))


def key(name: str) -> str:
    """Return what stays of a file's name, path or URL however it is written.

    Examples
    --------
    >>> key("file:///db/archive/0b1a93f3.feather"), key("0B1A93F3.store")
    ('0b1a93f3', '0b1a93f3')
    """
    return os.path.splitext(name.rsplit("/", 1)[-1])[0].lower()


def _data_file(path: str, stamp: Stamp, partition: Partition, fingerprint: str) -> DataFile:
    first, last = partition.import_first, partition.import_last
    return DataFile(
        path,
        partition.schema.name,
        fingerprint,
        partition.rows,
        stamp[0],
        # The event times are known to nobody who has not read all of the file.
        first,
        last,
        first,
        last,
        {arrow_schema.IMPORT_TIME: Range(first, last, 0, partition.rows)},
    )
