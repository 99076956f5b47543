"""One file of a node's archive: what is in it, and its events.

Feather and Parquet files hold two columns, ``import_time`` and a record ``event``; the name and
the attributes of the schema stand on the field ``event``. Both kinds are read with pyarrow from
an open file, so that a node may delete one while it is read.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.check import check
from vastlab.errors import FormatError
from vastlab.store import _parquet
from vastlab.store.layout import Range
from vastlab.types import Schema

FEATHER, PARQUET, SEGMENT = ".feather", ".parquet", ".store"
INGESTED = "ingest"
_MAGIC = {FEATHER: b"ARROW1", PARQUET: b"PAR1"}
_TIME, _EVENT = "import_time", "event"
_ORIGIN = "store:origin"
_INTERNAL = "internal"
_ROWS = 65_536


class UnfinishedError(FormatError):
    """A file that is still being written, or never was to its end."""


@dataclass(frozen=True, slots=True)
class Partition:
    """What a file says about itself.

    Parameters
    ----------
    schema
        Of its events.
    rows
        Their number.
    ranges
        What is known of the values: always the import time, the event time in Parquet.
    origin
        How the file came to be: ``ingest``, ``rebuild``, or ``""`` where it does not say.
    """

    schema: Schema
    rows: int
    ranges: dict[str, Range] = field(default_factory=dict)
    origin: str = ""

    @property
    def is_internal(self) -> bool:
        """Whether these are events of a node about itself, which it shows nobody unasked."""
        return any(key == _INTERNAL for key, _ in self.schema.attributes)


@dataclass(frozen=True, slots=True)
class Part:
    """Some events in vastlab's own form, and when each was imported."""

    events: pa.RecordBatch
    import_time: pa.Array


def describe(path: str) -> Partition:
    """Look at the footer of a file.

    Raises
    ------
    FileNotFoundError
        It is not there any more.
    UnfinishedError
        It is not whole.
    FormatError
        It is damaged, or no file of events.
    """
    suffix = Path(path).suffix.lower()
    _must_be_whole(path, _MAGIC[suffix])
    try:
        return _describe_feather(path) if suffix == FEATHER else _describe_parquet(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"damaged: {error}") from error


def read(path: str, file: pa.NativeFile, schema: Schema) -> Iterator[Part]:
    """Read the events of a file batch by batch.

    Parameters
    ----------
    path
        Its name tells the format.
    file
        The same, open; left open.
    schema
        What `describe` said of it.
    """
    batches = _read_feather if Path(path).suffix.lower() == FEATHER else _read_parquet
    target = arrow_schema.to_arrow(schema)
    for batch in batches(file):
        yield _unwrap(batch, schema, target)


def _must_be_whole(path: str, magic: bytes) -> None:
    """Tell a file that is being written from a whole one: the last bytes are written last."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            raise UnfinishedError("empty, not written yet")
        if size < 2 * len(magic):
            raise UnfinishedError("not a whole file")
        file.seek(0)
        first = file.read(len(magic))
        file.seek(size - len(magic))
        if first != magic or file.read(len(magic)) != magic:
            raise UnfinishedError("not a whole file")


# --- Feather --------------------------------------------------------------------------------


def _describe_feather(path: str) -> Partition:
    with pa.OSFile(path) as file:
        whole = pa.ipc.open_file(file).schema
        place = _place(whole, _TIME)
        options = pa.ipc.IpcReadOptions(included_fields=[place])
        reader = pa.ipc.open_file(file, options=options)
        times = [reader.get_batch(i).column(0) for i in range(reader.num_record_batches)]
    schema = _schema(whole)
    import_time = pa.chunked_array(times, whole.field(place).type)
    return Partition(
        schema,
        len(import_time),
        {arrow_schema.IMPORT_TIME: _range(import_time)},
        _origin(whole),
    )


def _read_feather(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(file)
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


# --- Parquet --------------------------------------------------------------------------------


def _describe_parquet(path: str) -> Partition:
    with pq.ParquetFile(path) as file:
        stored = _original(file)
        schema = _schema(stored)
        _place(stored, _TIME)
        imported = _statistics(file.metadata, (_TIME,)) or _range(file.read([_TIME]).column(0))
        ranges = {arrow_schema.IMPORT_TIME: imported}
        if (leaf := schema.event_time) is not None:
            known = _statistics(file.metadata, (_EVENT, *leaf.path))
            ranges |= {} if known is None else {leaf.column: known}
        return Partition(schema, file.metadata.num_rows, ranges, _origin(stored))


def _read_parquet(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    yield from _parquet.batches(pq.ParquetFile(file), _ROWS)


def _original(file: pq.ParquetFile) -> pa.Schema:
    """Return the schema as it was written: Parquet itself loses types inside lists."""
    written = (file.metadata.metadata or {}).get(b"ARROW:schema")
    if written is None:
        return file.schema_arrow
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written)))


def _statistics(metadata: pq.FileMetaData, path: tuple[str, ...]) -> Range | None:
    """Join what the row groups say of a time; nothing where one of them says nothing."""
    column = ".".join(path)
    found = [
        chunk
        for i in range(metadata.num_row_groups)
        for chunk in map(metadata.row_group(i).column, range(metadata.num_columns))
        if chunk.path_in_schema == column
    ]
    known = [chunk.statistics for chunk in found]
    if len(found) != metadata.num_row_groups or not all(
        s is not None and s.has_min_max and s.has_null_count and s.physical_type == "INT64"
        for s in known
    ):
        return None
    stamps = [
        pc.min_max(pa.array([s.min, s.max], pa.timestamp("ns")).cast(pa.int64())) for s in known
    ]
    if not stamps:
        return None
    return Range(
        min(s["min"].as_py() for s in stamps),
        max(s["max"].as_py() for s in stamps),
        sum(s.null_count for s in known),
        metadata.num_rows,
    )


# --- the wrapping ---------------------------------------------------------------------------


def _schema(stored: pa.Schema) -> Schema:
    event = stored.field(_place(stored, _EVENT))
    if not pa.types.is_struct(event.type):
        raise FormatError("its events are no records")
    schema = arrow_schema.from_arrow(pa.schema(list(event.type), event.metadata))
    if not schema.name:
        raise FormatError("its events have no name")
    return schema


def _place(stored: pa.Schema, name: str) -> int:
    places = stored.get_all_field_indices(name)
    if len(places) != 1:
        raise FormatError(f"no file of events: it has no column {name}")
    return int(places[0])


def _origin(stored: pa.Schema) -> str:
    metadata = stored.metadata or {}
    keys = [f"{prefix}:{_ORIGIN}".encode() for prefix in arrow_schema.PREFIXES]
    return next((metadata[k].decode("utf-8", "replace") for k in keys if k in metadata), "")


def _range(import_time: pa.ChunkedArray) -> Range:
    stamps = _nanoseconds(import_time)
    bounds = pc.min_max(stamps.cast(pa.int64())).as_py()
    return Range(bounds["min"], bounds["max"], stamps.null_count, len(stamps))


def _nanoseconds(import_time: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return import_time.cast(pa.timestamp("ns"))


def _unwrap(stored: pa.RecordBatch, schema: Schema, target: pa.Schema) -> Part:
    batch = check(stored)
    event = batch.column(_place(batch.schema, _EVENT))
    fields = list(event.type)
    if [f.name for f in fields] != [member.name for member in schema.fields]:
        raise FormatError("its columns are not those that its schema names")
    arrays = [
        # flatten() makes all values of a null event null.
        arrow_schema.convert(array, field, member.type)
        for array, field, member in zip(event.flatten(), fields, schema.fields, strict=True)
    ]
    events = arrow_schema.record_batch(arrays, target, batch.num_rows)
    return Part(events, _nanoseconds(batch.column(_place(batch.schema, _TIME))))
