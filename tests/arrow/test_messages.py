"""Messages of Arrow streams, before pyarrow reserves what they ask for."""

from __future__ import annotations

import io
import struct

import pyarrow as pa
import pytest

from vastlab.arrow import ipc
from vastlab.arrow.ipc import read_streams
from vastlab.errors import FormatError

ZEROS = pa.record_batch({"a": pa.array(memoryview(bytes(1 << 20)).cast("q"))})
WORDS = pa.record_batch({"w": pa.array(["a", "b", "a", None]).dictionary_encode()})


def stream(batch: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("batch", [ZEROS, WORDS])
def test_streams_pass_unchanged(batch, compression):
    """What is in proportion is read, compressed or not, dictionaries too."""
    assert list(read_streams(io.BytesIO(stream(batch, compression)))) == [batch]


@pytest.mark.parametrize("batch", [ZEROS, WORDS])
def test_compression_ratio_is_limited(monkeypatch, batch):
    """A small message with a huge decompressed size is an error that names the limits."""
    monkeypatch.setattr(ipc, "MAX_BODY", 1)
    monkeypatch.setattr(ipc, "MAX_RATIO", 0)
    with pytest.raises(
        FormatError, match=r"a message of [\d,]+ bytes decompresses to [\d,]+: above"
    ):
        list(read_streams(io.BytesIO(stream(batch, "zstd"))))
    assert list(read_streams(io.BytesIO(stream(batch)))) == [batch]


def test_size_of_metadata_is_limited():
    """A length above the limit is refused before anything is read."""
    data = b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + bytes(100)
    with pytest.raises(FormatError, match="the metadata of a message has 2,147,483,647 bytes"):
        list(read_streams(io.BytesIO(data)))


@pytest.mark.parametrize("length", [-1, 0, 8, 64])
def test_invalid_metadata_is_an_error(length):
    """Lengths and places that lead nowhere are one clear error."""
    for filling in (b"\0", b"\xff", b"\x04"):
        data = b"\xff\xff\xff\xff" + struct.pack("<i", length) + filling * 64
        with pytest.raises(FormatError, match="damaged Arrow data in the message at byte"):
            list(read_streams(io.BytesIO(data)))


def test_each_damaged_metadata_byte_is_handled():
    """Whatever byte of a compressed stream is wrong, the answer is an error or sound batches."""
    data = stream(WORDS, "zstd")
    outcomes = set()
    for place in range(len(data)):
        for value in (0, 0x7F, 0xFF):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                outcomes.add(len(list(read_streams(io.BytesIO(changed)))))
            except FormatError:
                outcomes.add(-1)
    assert outcomes >= {-1, 1}


def test_reads_of_any_size_give_the_same_bytes():
    """A reader byte by byte gets what is there, and no more than one stream."""

    class Source(io.BytesIO):
        def peek(self, size: int) -> bytes:
            return self.getvalue()[self.tell() :][:size]

    data = stream(ZEROS)
    for size in (1 << 10, 1 << 30):
        file = ipc.Messages(Source(data + b"rest"))
        assert b"".join(iter(lambda file=file, size=size: file.read(size), b"")) == data
    assert ipc.Messages(Source(data)).read() == b""
