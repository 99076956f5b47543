from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pytest

from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError


def batch(name: str, count: int) -> pa.RecordBatch:
    schema = pa.schema([("n", pa.uint64())], {"VAST:name:0": name} if name else None)
    return pa.RecordBatch.from_arrays([pa.array(range(count), pa.uint64())], schema=schema)


def stream(*batches: pa.RecordBatch) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for part in batches:
            writer.write(part)
    return sink.getvalue()


def file(*batches: pa.RecordBatch) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batches[0].schema) as writer:
        for part in batches:
            writer.write(part)
    return sink.getvalue()


def counts(data: bytes, **options: object) -> list[tuple[str, int]]:
    batches = readers.read(io.BytesIO(data), **options)
    return [(arrow_schema.name_of(part.schema), part.num_rows) for part in batches]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("write", [stream, file])
def test_files_and_streams(write, pack):
    """Both forms are read, packed or not."""
    assert counts(pack(write(batch("a", 2), batch("a", 3)))) == [("a", 2), ("a", 3)]


def test_streams_one_after_the_other():
    """What VAST exports, a stream per schema, is read to the end."""
    data = stream(batch("a", 2)) + stream(batch("b", 1)) + stream(batch("a", 4))
    assert counts(data) == [("a", 2), ("b", 1), ("a", 4)]


def test_names_come_from_the_argument_the_metadata_or_the_file(tmp_path):
    """The argument decides, then the metadata, then the file's name."""
    assert counts(stream(batch("a", 1)), schema="b") == [("b", 1)]
    path = tmp_path / "flows.arrow"
    path.write_bytes(file(batch("", 1)))
    (part,) = readers.read(path)
    assert arrow_schema.name_of(part.schema) == "flows"


def test_batches_are_bounded():
    """A large batch comes in parts."""
    assert counts(stream(batch("a", 100_000))) == [("a", 65_536), ("a", 34_464)]


@pytest.mark.parametrize("write", [stream, file])
def test_damage_is_one_clear_line(write):
    """A cut file gives the batches before the cut, and is named."""
    data = write(batch("a", 1000), batch("a", 1000))
    found = readers.read(io.BytesIO(data[: len(data) * 3 // 4]))
    sizes = []
    with pytest.raises(FormatError, match="standard input: damaged Arrow data"):
        sizes.extend(part.num_rows for part in found)
    assert sizes == [1000]


def test_a_real_export(shared):
    """What a VAST node exported is read whole, several schemas in one file."""
    total: dict[str, int] = {}
    for part in readers.read(shared / "data/arrow/vast_export.arrows"):
        name = arrow_schema.name_of(part.schema)
        total[name] = total.get(name, 0) + part.num_rows
    assert sum(total.values()) == 8469
    assert total["zeek.conn"] == 8462
    assert len(total) == 8
