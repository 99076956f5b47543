"""Where bytes come from: a file or an open stream, plain or compressed.

Compression is told by the first bytes, never by the name. Damage at the end of compressed data
does not raise: everything before it is handed out, and `Source.damage` says what is wrong.
"""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from vastlab.errors import UsageError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"  # some systems write it before text
_CHUNK = 1 << 16
_SPOOL = 64 << 20


class _Stream(Protocol):
    """Decompressed bytes; ``damage`` is set once the data turns out to be broken."""

    damage: str | None

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes, perhaps more; none only at the end."""
        ...


class Source:
    """One input, decompressed, with a look-ahead.

    Parameters
    ----------
    name
        What messages call it.
    raw
        The bytes as they are stored.
    """

    def __init__(self, name: str, raw: BinaryIO) -> None:
        self.name = name
        self._raw = raw
        self._start = raw.tell() if _can_seek(raw) else 0
        magic = _read_full(raw, 4)
        rest = _Joined(magic, raw)
        self._stream: _Stream
        if magic.startswith(GZIP):
            self._stream = _Gzip(rest)
        elif magic == ZSTD:
            self._stream = _Zstd(rest)
        else:
            self._stream = rest
        self._ahead = b""
        if self.peek(len(_BOM)) == _BOM:
            self.read(len(_BOM))

    @property
    def stem(self) -> str:
        """The file name up to its first dot: ``conn`` for ``conn.10-11.log.gz``."""
        return Path(self.name).name.split(".", 1)[0]

    @property
    def damage(self) -> str | None:
        """What is wrong with the compressed data; known when everything has been read."""
        return self._stream.damage

    def peek(self, size: int) -> bytes:
        """Return up to `size` of the next bytes without taking them."""
        while len(self._ahead) < size:
            more = self._stream.read(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int, /) -> bytes:
        """Take up to `size` bytes; fewer only at the end."""
        parts = [self._ahead[:size]] if self._ahead else []
        self._ahead = self._ahead[size:]
        missing = size - sum(map(len, parts))
        while missing > 0 and (more := self._stream.read(missing)):
            parts.append(more[:missing])
            self._ahead = more[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Give the whole content as a file that can be sought in."""
        if isinstance(self._stream, _Joined) and _can_seek(self._raw):
            self._raw.seek(self._start)
            yield self._raw
            return
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            while part := self.read(1 << 20):
                spool.write(part)
            spool.seek(0)
            yield spool  # type: ignore[misc]  # a spooled file is a BinaryIO but for its class


@contextmanager
def open_source(source: str | Path | BinaryIO) -> Iterator[Source]:
    """Open a path, or take an open binary file as it is."""
    if isinstance(source, str | Path):
        with _open(Path(source)) as raw:
            yield Source(str(source), raw)
    else:
        yield Source(stream_name(source), source)


def stream_name(stream: BinaryIO) -> str:
    """Return what messages call an open file, and the schema of its events where nothing says."""
    name = getattr(stream, "name", None)
    return name.strip("<>") if isinstance(name, str) else "standard input"


def _can_seek(raw: BinaryIO) -> bool:
    # Whatever has a read() is taken for a stream.
    seekable = getattr(raw, "seekable", None)
    return seekable is not None and seekable()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error


class _Joined:
    """Bytes that were read already, then the rest of the stream."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self.damage: str | None = None
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._first:
            part, self._first = self._first[:size], self._first[size:]
            return part
        return self._rest.read(size) or b""


class _Gzip:
    """One or more gzip members; what comes before any damage is not lost."""

    def __init__(self, raw: _Joined) -> None:
        self.damage: str | None = None
        self._raw = raw
        self._member = _gzip_member()
        self._pending = b""

    def read(self, size: int, /) -> bytes:
        while self.damage is None:
            data = self._pending or self._raw.read(_CHUNK)
            self._pending = b""
            if not data:
                if not self._member.eof:
                    self.damage = "the gzip data ends early"
                return b""
            if self._member.eof and not self._next_member(data):
                continue
            if out := self._inflate(data):
                return out
        return b""

    def _next_member(self, data: bytes) -> bool:
        if data.startswith(GZIP[: len(data)]):
            self._member = _gzip_member()
            return True
        if data.strip(b"\0"):  # zeros are padding of tapes and disks
            self.damage = "bytes that are no gzip data follow the gzip data"
        return False

    def _inflate(self, data: bytes) -> bytes:
        before = self._member.copy()
        try:
            out = self._member.decompress(data)
            self._pending = self._member.unused_data
        except zlib.error as error:
            self.damage = f"the gzip data is damaged: {error}"
            return _inflate_bytewise(before, data)
        return out


def _gzip_member() -> zlib._Decompress:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _inflate_bytewise(member: zlib._Decompress, data: bytes) -> bytes:
    """Decompress up to the byte that is wrong."""
    parts = bytearray()
    try:
        for i in range(len(data)):
            parts += member.decompress(data[i : i + 1])
    except zlib.error:
        pass
    return bytes(parts)


class _Zstd:
    """Zstandard frames, through Arrow: Python has no such module before 3.14."""

    def __init__(self, raw: _Joined) -> None:
        self.damage: str | None = None
        self._stream = pa.CompressedInputStream(pa.PythonFile(_Readable(raw), "r"), "zstd")

    def read(self, size: int, /) -> bytes:
        if self.damage is not None:
            return b""
        try:
            # Small reads: what a failing read had decompressed is gone.
            return bytes(self._stream.read(min(size, _CHUNK)))
        except (OSError, pa.ArrowException) as error:
            text = str(error)
            early = "runcated" in text
            self.damage = f"the zstd data {'ends early' if early else f'is damaged: {text}'}"
            return b""


class _Readable(io.RawIOBase):
    """The little of a file that Arrow asks for."""

    def __init__(self, raw: _Joined) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return _read_full(self._raw, size)


def _read_full(raw: BinaryIO | _Joined, size: int) -> bytes:
    parts = []
    while size > 0 and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
