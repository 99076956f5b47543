from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.errors import UsageError
from vastlab.readers.source import Source, open_source


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd}


def no_magic(data: bytes) -> bool:
    return not data.startswith(
        (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
    )


def drain(data: bytes, size: int = 1 << 16) -> tuple[bytes, str | None]:
    source = Source("x", io.BytesIO(data))
    parts = list(iter(lambda: source.read(size), b""))
    return b"".join(parts), source.damage


@pytest.mark.parametrize("packer", PACKERS)
@given(data=st.binary(max_size=300).filter(no_magic), size=st.integers(1, 400))
def test_content_survives_every_packing(packer, data, size):
    """What was packed comes out whole, whatever the size of the reads."""
    assert drain(PACKERS[packer](data) if data else b"", size) == (data, None)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_members_one_after_the_other_are_one_content(pack):
    """Compressed files that were concatenated read like one."""
    assert drain(pack(b"one\n") + pack(b"two\n")) == (b"one\ntwo\n", None)


def test_a_look_ahead_takes_nothing():
    """What was peeked at is still read."""
    source = Source("x", io.BytesIO(gzip.compress(b"abcdef")))
    assert source.peek(3) == b"abc"
    assert source.peek(100) == b"abcdef"
    assert source.read(2) + source.read(100) == b"abcdef"


@given(cut=st.integers(1, 200))
def test_an_incomplete_gzip_file_gives_its_data_and_an_error(cut):
    """A truncated file is damage, and everything before the cut is handed out."""
    text = b"".join(b"line %d\n" % i for i in range(200))
    packed = gzip.compress(text)
    data, damage = drain(packed[:-cut])
    assert damage == "the gzip data is incomplete"
    assert text.startswith(data)


def test_damage_inside_gzip_keeps_what_comes_before():
    """A flipped byte in the middle loses nothing of the part before it."""
    text = bytes(range(256)) * 3000
    packed = bytearray(gzip.compress(text, compresslevel=1))
    half = len(packed) // 2
    packed[half:] = b"\xff" * (len(packed) - half)
    data, damage = drain(bytes(packed))
    assert damage is not None
    assert damage.startswith("the gzip data is damaged")
    assert text.startswith(data[:-300])
    assert len(data) > 0


def test_a_cut_zstd_says_so():
    """Truncation is found in Zstandard data too."""
    text = b"".join(b"line %d\n" % i for i in range(100_000))
    packed = zstd(text)
    data, damage = drain(packed[: len(packed) // 2])
    assert damage == "the zstd data is incomplete"
    assert text.startswith(data)
    assert len(data) > 0


def test_padding_is_not_damage_but_other_bytes_are():
    """Zeros after gzip data are padding; anything else is named."""
    packed = gzip.compress(b"abc")
    assert drain(packed + bytes(20)) == (b"abc", None)
    data, damage = drain(packed + b"garbage")
    assert data == b"abc"
    assert damage == "bytes that are not gzip data follow the gzip data"


def test_a_seekable_copy_has_all_of_it():
    """Formats that seek get the whole decompressed content."""
    source = Source("x", io.BytesIO(gzip.compress(b"abcdef")))
    source.peek(2)
    with source.seekable() as file:
        file.seek(3)
        assert file.read() == b"def"


@pytest.mark.parametrize("name", ["missing.log", "."])
def test_a_path_that_cannot_be_read_is_one_clear_line(tmp_path, name):
    """Missing files and folders are named in a usage error."""
    with pytest.raises(UsageError, match="cannot read"), open_source(tmp_path / name):
        pass


def test_names_and_stems(tmp_path):
    """A stem is the file's name up to the first dot; an open file keeps its name."""
    path = tmp_path / "conn.10-11.log.gz"
    path.write_bytes(b"x")
    with open_source(str(path)) as source:
        assert (source.name, source.stem) == (str(path), "conn")
    with path.open("rb") as file, open_source(file) as source:
        assert source.stem == "conn"
    with open_source(io.BytesIO(b"x")) as source:
        assert source.name == "standard input"


def test_a_byte_order_mark_is_not_content():
    """The mark that some systems write before text is passed over, packed or not."""
    assert drain(b"\xef\xbb\xbfa\n") == (b"a\n", None)
    assert drain(gzip.compress(b"\xef\xbb\xbfa\n")) == (b"a\n", None)
