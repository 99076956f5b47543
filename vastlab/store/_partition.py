"""One file of a node's archive: what is in it, and its events.

Feather and Parquet files hold two columns, ``import_time`` and a record ``event``; the name and
the attributes of the schema stand on the field ``event``. Both kinds are read with pyarrow from
an open file, so that a node may delete one while it is read.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.check import check
from vastlab.errors import FormatError
from vastlab.store import _parquet
from vastlab.types import Schema

FEATHER, PARQUET, SEGMENT = ".feather", ".parquet", ".store"
INGESTED = "ingest"
_MAGIC = {FEATHER: b"ARROW1", PARQUET: b"PAR1"}
_TIME, _EVENT = "import_time", "event"
_ORIGIN = "store:origin"
_INTERNAL = "internal"
_ROWS = 65_536
# What pyarrow makes of a footer that names other columns than the file has is anything.
_DAMAGE = (pa.ArrowException, ValueError, LookupError, TypeError, AttributeError)


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
    import_first, import_last
        When they were imported.
    origin
        How the file came to be: ``ingest``, ``rebuild``, or ``""`` where it does not say.
    """

    schema: Schema
    rows: int
    import_first: int
    import_last: int
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
    except (*_DAMAGE, OSError) as error:
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
        stored = pa.ipc.open_file(file).schema
        options = pa.ipc.IpcReadOptions(included_fields=[_place(stored, _TIME)])
        reader = pa.ipc.open_file(file, options=options)
        times = [reader.get_batch(i).column(0) for i in range(reader.num_record_batches)]
    return _partition(stored, times)


def _read_feather(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(file)
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


# --- Parquet --------------------------------------------------------------------------------


def _describe_parquet(path: str) -> Partition:
    # Not from the statistics: pyarrow ends the process where those are damaged.
    with pq.ParquetFile(path) as file:
        stored = _original(file)
        _place(stored, _TIME)
        times = [batch.column(_TIME) for batch in _parquet.batches(file, _ROWS, [_TIME])]
    return _partition(stored, times)


def _read_parquet(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    yield from _parquet.open_plain(file).iter_batches(_ROWS)


def _original(file: pq.ParquetFile) -> pa.Schema:
    """Return the schema as it was written: Parquet itself loses types inside lists."""
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


def _nanoseconds(import_time: pa.Array) -> pa.Array:
    return import_time.cast(pa.timestamp("ns"))


def _unwrap(stored: pa.RecordBatch, schema: Schema, target: pa.Schema) -> Part:
    batch = check(stored)
    event = batch.column(_place(batch.schema, _EVENT))
    fields = list(event.type)
    if [f.name for f in fields] != [member.name for member in schema.fields]:
        raise FormatError("its columns are not those that its schema names")
    arrays = [
        # flatten() makes all values of a null event null.
        convert.convert(array, field, member.type)
        for array, field, member in zip(event.flatten(), fields, schema.fields, strict=True)
    ]
    events = arrow_arrays.record_batch(arrays, target, batch.num_rows)
    return Part(events, _nanoseconds(batch.column(_place(batch.schema, _TIME))))
