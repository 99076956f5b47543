"""A folder of Parquet or Feather files, such as the store of a VAST or Tenzir node."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.ipc import check
from vastlab.errors import FormatError, UsageError
from vastlab.readers import parquet
from vastlab.store.layout import DataFile, Layout, Range
from vastlab.store.snapshot import Snapshot, make_snapshot
from vastlab.types import Schema

FEATHER, PARQUET, SEGMENT = ".feather", ".parquet", ".store"
INGESTED = "ingest"
_MAGIC = {FEATHER: b"ARROW1", PARQUET: b"PAR1"}
_TIME, _EVENT = "import_time", "event"
_ORIGIN = "store:origin"
_INTERNAL = "internal"
_ROWS = 65_536
# A footer with wrong columns can make pyarrow raise any of these.
_DAMAGE = (pa.ArrowException, ValueError, LookupError, TypeError, AttributeError)


class UnfinishedError(FormatError):
    """A file that is still being written, or whose writer was interrupted."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The description of a file, from its footer."""

    schema: Schema
    rows: int
    import_first: int
    import_last: int
    origin: str = ""  # ``ingest``, ``rebuild``, or ``""`` if not known

    @property
    def is_internal(self) -> bool:
        """Whether these are the node's own metrics, which queries leave out."""
        return any(key == _INTERNAL for key, _ in self.schema.attributes)


@dataclass(frozen=True, slots=True)
class Part:
    """Some events in vastlab's form, and the import time of each."""

    events: pa.RecordBatch
    import_time: pa.Array


def describe(path: str) -> Partition:
    """Read the footer of a file; raises UnfinishedError or FormatError."""
    suffix = Path(path).suffix.lower()
    _require_complete(path, _MAGIC[suffix])
    try:
        return _describe_feather(path) if suffix == FEATHER else _describe_parquet(path)
    except FileNotFoundError:
        raise
    except (*_DAMAGE, OSError) as error:
        raise FormatError(f"damaged: {error}") from error


def read(path: str, file: pa.NativeFile, schema: Schema) -> Iterator[Part]:
    """Read the events of an open file batch by batch; its `path` shows the format."""
    is_feather = Path(path).suffix.lower() == FEATHER
    target = arrow_schema.to_arrow(schema)
    batches = _read_feather(file) if is_feather else parquet.open_plain(file).iter_batches(_ROWS)
    for batch in batches:
        yield _unwrap(batch, schema, target)


def _require_complete(path: str, magic: bytes) -> None:
    """Raise `UnfinishedError` unless the file has its last bytes, which are written at the end."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            raise UnfinishedError("empty, not written yet")
        if size < 2 * len(magic):
            raise UnfinishedError("incomplete file")
        file.seek(0)
        first = file.read(len(magic))
        file.seek(size - len(magic))
        if first != magic or file.read(len(magic)) != magic:
            raise UnfinishedError("incomplete file")


# --- Feather --------------------------------------------------------------------------------


def _describe_feather(path: str) -> Partition:
    with pa.OSFile(path) as file:
        stored = pa.ipc.open_file(file).schema
        options = pa.ipc.IpcReadOptions(included_fields=[_column_index(stored, _TIME)])
        reader = pa.ipc.open_file(file, options=options)
        times = [reader.get_batch(i).column(0) for i in range(reader.num_record_batches)]
    return _partition(stored, times)


def _read_feather(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(file)
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


# --- Parquet --------------------------------------------------------------------------------


def _describe_parquet(path: str) -> Partition:
    # Not from the statistics: pyarrow crashes the process if they are damaged.
    with pq.ParquetFile(path) as file:
        stored = _original(file)
        _column_index(stored, _TIME)
        times = [batch.column(_TIME) for batch in parquet.batches(file, _ROWS, [_TIME])]
    return _partition(stored, times)


def _original(file: pq.ParquetFile) -> pa.Schema:
    """Return the Arrow schema as it was written; the Parquet schema loses types inside lists."""
    written = (file.metadata.metadata or {}).get(b"ARROW:schema")
    if written is None:
        return file.schema_arrow
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written)))


# --- the wrapping ---------------------------------------------------------------------------


def _partition(stored: pa.Schema, times: list[pa.Array]) -> Partition:
    imported = [stamps for stamps in map(_nanoseconds, times) if stamps.null_count < len(stamps)]
    bounds = [pc.min_max(stamps.cast(pa.int64())).as_py() for stamps in imported]
    return Partition(
        _schema(stored),
        sum(map(len, times)),
        min((each["min"] for each in bounds), default=0),
        max((each["max"] for each in bounds), default=0),
        _origin(stored),
    )


def _schema(stored: pa.Schema) -> Schema:
    event = stored.field(_column_index(stored, _EVENT))
    if not pa.types.is_struct(event.type):
        raise FormatError("its events are not records")
    schema = arrow_schema.from_arrow(pa.schema(list(event.type), event.metadata))
    if not schema.name:
        raise FormatError("its events have no schema name")
    return schema


def _column_index(stored: pa.Schema, name: str) -> int:
    places = stored.get_all_field_indices(name)
    if len(places) != 1:
        raise FormatError(f"not a file of events: it has no column {name!r}")
    return int(places[0])


def _origin(stored: pa.Schema) -> str:
    metadata = stored.metadata or {}
    keys = [f"{prefix}:{_ORIGIN}".encode() for prefix in arrow_schema.PREFIXES]
    return next((metadata[k].decode("utf-8", "replace") for k in keys if k in metadata), "")


def _nanoseconds(import_time: pa.Array) -> pa.Array:
    return import_time.cast(pa.timestamp("ns"))


def _unwrap(stored: pa.RecordBatch, schema: Schema, target: pa.Schema) -> Part:
    batch = check(stored)
    event = batch.column(_column_index(batch.schema, _EVENT))
    fields = list(event.type)
    if [f.name for f in fields] != [member.name for member in schema.fields]:
        raise FormatError("its columns do not match its schema")
    arrays = [
        # flatten() sets all values of a null event to null.
        convert.convert(array, field, member.type)
        for array, field, member in zip(event.flatten(), fields, schema.fields, strict=True)
    ]
    events = arrow_arrays.record_batch(arrays, target, batch.num_rows)
    return Part(events, _nanoseconds(batch.column(_column_index(batch.schema, _TIME))))


Stamp = tuple[int, int]

_FOLDER, _INDEX, _LOCK = "archive", "index", "pid.lock"
_SUFFIXES = frozenset({FEATHER, PARQUET, SEGMENT})
_OLD = "old segment format, which only VAST reads: rebuild it with its node"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be read; `is_loss` is false if a node is still writing it."""

    name: str
    reason: str
    is_loss: bool = True


@dataclass(frozen=True)
class View:
    """The content of an archive at one moment."""

    snapshot: Snapshot
    unreadable: tuple[Unreadable, ...] = ()
    superseded: tuple[DataFile, ...] = ()  # no longer used by the node; only known if it was asked
    internal: int = 0  # the number of files with metrics of the node, which are left out
    merged: frozenset[str] = frozenset()  # paths of files that may contain events of older files


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is the database folder of a node, or its ``archive`` folder."""
    folder = _root(Path(path)) / _FOLDER
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return False
    # A folder of logs may have an "archive" folder, too; the files of a node are named by UUIDs.
    if any(_is_partition(name) for name in names):
        return True
    return not names and (folder.parent / _INDEX).is_dir()


class OpenFile:
    """An open file of an archive, which can be read even after the node has deleted it."""

    def __init__(self, file: DataFile, layout: Layout) -> None:
        self._path = file.path
        self._schema = layout.schema
        # Not memory-mapped: if a mapped file is truncated, the process crashes.
        self._source = pa.OSFile(file.path)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def parts(self) -> Iterator[Part]:
        """Read the events batch by batch, in vastlab's form."""
        return read(self._path, self._source, self._schema)

    def close(self) -> None:
        """Close the file."""
        self._source.close()


class Archive:
    """The database folder of a node; `path` may also be its ``archive`` folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _root(Path(path)).absolute()
        # The descriptions of unchanged files.
        self._described: dict[str, tuple[Stamp, Partition | Unreadable]] = {}
        self._fingerprints: dict[object, str] = {}

    @property
    def is_owned(self) -> bool:
        """Whether a node is using this folder, by its lock file."""
        return (self.path / _LOCK).exists()

    def listing(self) -> dict[str, Stamp]:
        """Return the size and time of each file that may contain events, by path."""
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
        """Describe the files of the folder, or the `live` ones; only opens new or changed files."""
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
            frozenset(p for p, found in partitions.items() if found.origin != INGESTED),
        )

    def _fingerprint(self, partition: Partition) -> str:
        known = self._fingerprints.get(partition.schema)
        if known is None:
            known = arrow_schema.fingerprint(partition.schema)
            self._fingerprints[partition.schema] = known
        return known


def _root(path: Path) -> Path:
    """Return the folder that contains ``archive``."""
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
    """Describe a file; None if it does not exist any more."""
    name = os.path.basename(path)
    if name.lower().endswith(SEGMENT):
        return Unreadable(name, _OLD)
    try:
        return describe(path)
    except FileNotFoundError:
        return None
    except UnfinishedError as error:
        return Unreadable(name, error.message, is_loss=False)
    except FormatError as error:
        return Unreadable(name, error.message)
    except OSError as error:
        return Unreadable(name, error.strerror or str(error))


def key(name: str) -> str:
    """Return the part of a file's name, path or URL that identifies the file."""
    return os.path.splitext(name.rsplit("/", 1)[-1])[0].lower()


def _data_file(path: str, stamp: Stamp, partition: Partition, fingerprint: str) -> DataFile:
    first, last = partition.import_first, partition.import_last
    return DataFile(
        path,
        partition.schema.name,
        fingerprint,
        partition.rows,
        stamp[0],
        # The bounds of the event time are only known after reading the whole file.
        first,
        last,
        first,
        last,
        {arrow_schema.IMPORT_TIME: Range(first, last, 0, partition.rows)},
    )
