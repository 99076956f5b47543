"""Arrow files and concatenated streams: read whole, or not at all."""

from __future__ import annotations

import io
import os
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.ipc import read_streams
from vastlab.errors import FormatError
from vastlab.types import Field, Kind, Schema, Type

A = pa.RecordBatch.from_pydict({"x": [1, 2], "y": pa.array(["p", "q"]).dictionary_encode()})
B = pa.RecordBatch.from_pydict({"z": [0.5, None]})
END_MARK = b"\xff\xff\xff\xff\0\0\0\0"


def stream(*batches: pa.RecordBatch) -> bytes:
    sink = io.BytesIO()
    arrow_st.write_streams(sink, batches)
    return sink.getvalue()


class Pipe(io.RawIOBase):
    """A source that cannot seek and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 7))

    def seekable(self) -> bool:
        return False


def test_no_batches_are_no_stream():
    """Where there is nothing to write, nothing is written, and reads as nothing."""
    assert stream() == b""
    assert list(read_streams(io.BytesIO())) == []


@given(st.lists(arrow_st.tables(max_rows=3), max_size=4))
def test_what_is_written_is_read(pairs):
    """Batches of any schemas come back in order, one stream for each run of equal schemas."""
    batches = [batch for _, batch in pairs for _ in range(2) if batch.num_columns]
    sink = io.BytesIO()
    streams = arrow_st.write_streams(sink, batches)
    assert streams <= len(batches) / 2
    sink.seek(0)
    read = list(read_streams(sink))
    assert len(read) == len(batches)
    for one, other in zip(read, batches, strict=True):
        assert one.schema.equals(other.schema, check_metadata=True)
        assert repr(one.to_pylist()) == repr(other.to_pylist())


@pytest.mark.parametrize("ending", [b"", END_MARK])
@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_schemas_may_come_back(source, ending):
    """A, B and again A are read from any source, with or without the last end mark."""
    data = stream(A, B, A).removesuffix(END_MARK) + ending
    assert list(read_streams(source(data))) == [A, B, A]


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_empty_source_has_no_batches(source):
    """An empty source has no events, which is not an error."""
    assert list(read_streams(source(b""))) == []


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_files_are_read_too(source):
    """The IPC file format is noticed by its first bytes."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, B.schema) as writer:
        writer.write_batch(B)
        writer.write_batch(B)
    assert list(read_streams(source(sink.getvalue()))) == [B, B]
    with pytest.raises(FormatError, match="the end of the file is missing"):
        list(read_streams(source(sink.getvalue()[:-9])))


def test_paths_are_opened(tmp_path: Path):
    """A path works like the open file, and errors name it."""
    path = tmp_path / "events.arrows"
    path.write_bytes(stream(A, B))
    assert list(read_streams(path)) == list(read_streams(str(path))) == [A, B]
    path.write_bytes(stream(A, B)[:-20])
    with pytest.raises(FormatError, match=r"events\.arrows.*byte \d+"):
        list(read_streams(os.fspath(path)))


def test_truncation_is_never_silent():
    """Cut anywhere but between two messages, a stream is an error; before it, all is there."""
    data = stream(A, A, B, A)
    boundaries = 0
    for size in range(len(data)):
        read = []
        try:
            read.extend(read_streams(io.BytesIO(data[:size])))
        except FormatError:
            continue
        boundaries += 1
        assert read == [A, A, B, A][: len(read)]
    # Nothing at all; after 3 schemas, 2 dictionaries, 4 batches, and 2 of the 3 end marks.
    assert boundaries == 1 + 3 + 2 + 4 + 2


def test_errors_name_the_position():
    """The position in the message is that of the message that is damaged."""
    first = stream(A)
    with pytest.raises(FormatError, match=f"byte {len(first)}: no Arrow stream begins there"):
        list(read_streams(io.BytesIO(first + b"garbage")))
    with pytest.raises(FormatError, match="byte 0: no Arrow stream"):
        list(read_streams(io.BytesIO(b'{"ts": 1}\n')))


def test_huge_lengths_do_not_allocate():
    """A length that no file has is an error, not a request for memory."""
    data = b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(64)
    with pytest.raises(FormatError, match="byte 0"):
        list(read_streams(io.BytesIO(data)))


def test_names_that_are_not_utf8_are_an_error():
    """A field name that is not UTF-8 is reported when its stream begins."""
    data = stream(pa.RecordBatch.from_pydict({"name": [1]})).replace(b"name", b"\xff\xfe\xfd\xfc")
    with pytest.raises(FormatError, match=r"byte 0.*utf-8"):
        list(read_streams(io.BytesIO(data)))


def test_damaged_data_does_not_crash():
    """Random bytes inside of a stream give events or an error, and nothing worse."""
    enum = Type(Kind.ENUM, labels=(("red", 3), ("blue", 9)))
    record = Type(Kind.RECORD, fields=(Field("e", enum), Field("s", Type(Kind.STRING))))
    columns = {
        "a": (Type(Kind.IP), [bytes(16), None]),
        "n": (Type(Kind.SUBNET), [(bytes(16), 3), None]),
        "l": (Type(Kind.LIST, item=record), [[("red", "x"), None], None]),
        "s": (Type(Kind.STRING), ["ü", None]),
        "m": (Type(Kind.MAP, key=Type(Kind.STRING), item=record), [[("k", ("red", "x"))], None]),
    }
    schema = Schema("s", tuple(Field(name, type_) for name, (type_, _) in columns.items()))
    arrays = [arrow_st.array(type_, values) for type_, values in columns.values()]
    data = stream(arrow_arrays.record_batch(arrays, arrow_schema.to_arrow(schema), 2))
    outcomes: Counter[str] = Counter()
    for seed in range(300):
        dice = random.Random(seed)  # noqa: S311 - reproducible damage
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(len(damaged))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        try:
            for batch in read_streams(io.BytesIO(bytes(damaged))):
                convert.flatten(convert.normalise(batch)).to_pylist()
            outcomes["events"] += 1
        except FormatError:
            outcomes["error"] += 1
    assert set(outcomes) == {"events", "error"}


def test_real_output_of_vast_is_read_whole(shared: Path):
    """An export with several schemas, recorded from VAST, has all of its 8469 events."""
    counts: Counter[str] = Counter()
    for batch in read_streams(shared / "data" / "arrow" / "vast_export.arrows"):
        counts[arrow_schema.name_of(batch.schema)] += convert.normalise(batch).num_rows
    assert counts["zeek.conn"] == 8462
    assert sum(counts.values()) == 8469
