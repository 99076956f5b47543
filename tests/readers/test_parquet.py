from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vastlab import demo, readers
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.errors import FormatError
from vastlab.readers import columns
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def test_foreign_files_take_vastlabs_own_form(tmp_path):
    """Small integers widen, zones go, and the file's name is the schema's."""
    table = pa.table(
        {
            "n": pa.array([1], pa.int16()),
            "t": pa.array([0], pa.timestamp("us", "Europe/Berlin")),
            "d": pa.array(["x"]).dictionary_encode(),
        }
    )
    path = tmp_path / "events.parquet"
    path.write_bytes(parquet(table))
    (batch,) = readers.read(path)
    assert arrow_schema.name_of(batch.schema) == "events"
    assert batch.schema.types == [pa.int64(), pa.timestamp("ns"), pa.string()]


def test_own_files_keep_their_names_and_types():
    """Extension types, aliases and the schema's name survive."""
    ips = pa.ExtensionArray.from_storage(arrow_types.IP, pa.array([b"\0" * 16], pa.binary(16)))
    schema = pa.schema(
        [
            pa.field("ip", arrow_types.IP),
            pa.field("p", pa.uint64(), metadata={"VAST:name:0": "port"}),
        ],
        {"VAST:name:0": "zeek.x"},
    )
    table = pa.Table.from_arrays([ips, pa.array([1], pa.uint64())], schema=schema)
    (batch,) = readers.read(io.BytesIO(gzip.compress(parquet(table))))
    found = arrow_schema.from_arrow(batch.schema)
    assert (found.name, [str(field.type) for field in found.fields]) == ("zeek.x", ["ip", "port"])


def test_a_time_that_does_not_fit_is_an_error_when_strict():
    """The error names the field and the row, and does not speak of a value that became null."""
    data = parquet(pa.table({"t": pa.array([0, 253402300799], pa.timestamp("s"))}))
    with pytest.raises(FormatError, match=r"t: times outside of \d+ to \d+ \(1 value, first"):
        list(readers.read(io.BytesIO(data), schema="x"))


def test_the_name_can_be_given():
    """An argument decides over the metadata and the file's name."""
    data = parquet(pa.table({"a": [1]}))
    (batch,) = readers.read(io.BytesIO(data), schema="mine")
    assert arrow_schema.name_of(batch.schema) == "mine"


def test_batches_are_bounded():
    """A large row group comes in parts."""
    data = parquet(pa.table({"a": range(150_000)}))
    sizes = [batch.num_rows for batch in readers.read(io.BytesIO(data))]
    assert sum(sizes) == 150_000
    assert max(sizes) <= 65_536


def test_a_damaged_file_is_one_clear_line():
    """A file that was cut is named."""
    data = parquet(pa.table({"a": [1]}))
    with pytest.raises(FormatError, match="standard input: damaged Parquet data"):
        list(readers.read(io.BytesIO(data[:-10])))


def noted(note: bytes) -> io.BytesIO:
    """Return a file whose metadata has this note about its schema, and a plain name."""
    file = io.BytesIO()
    with pq.ParquetWriter(file, pa.schema([("id.port", pa.int64())])) as writer:
        writer.add_key_value_metadata({columns.SCHEMA_KEY: note})
        writer.write_table(pa.table({"id.port": [80]}))
    file.seek(0)
    return file


def test_records_are_made_again():
    """What vastlab wrote is nested as its note says."""
    port = Field("port", Type(Kind.INT64))
    schema = Schema("my.log", (Field("id", Type(Kind.RECORD, fields=(port,))),))
    (batch,) = readers.read(noted(columns.encode_schema(schema).encode()), schema="mine")
    assert batch.to_pylist() == [{"id": {"port": 80}}]
    assert arrow_schema.name_of(batch.schema) == "mine"


@pytest.mark.parametrize(
    "note",
    [
        b"no base64",
        b"AAAA",
        b"\xff",
        columns.encode_schema(Schema("x", (Field("id", Type(Kind.INT64)),))).encode(),
        columns.encode_schema(Schema("x", (Field("id.port", Type(Kind.STRING)),))).encode(),
    ],
)
def test_a_note_that_does_not_fit_is_ignored(note):
    """Other programs keep the note and change the columns: these count."""
    (batch,) = readers.read(noted(note))
    assert batch.to_pylist() == [{"id.port": 80}]


def test_a_file_of_a_database_is_a_log(tmp_path):
    """A file of a database, taken by itself, gives the same events and no import time."""
    batch = next(demo.batches(1000))
    Database.create(tmp_path / "db").add([batch])
    (path,) = (tmp_path / "db").rglob("*.parquet")
    (found,) = readers.read(path)
    assert found.schema.equals(batch.schema, check_metadata=True)
    assert found.num_rows == batch.num_rows
