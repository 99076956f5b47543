"""Reads the content of a log: decompresses, decodes, and splits it into lines."""

from __future__ import annotations

import codecs
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa

from vastlab.errors import FormatError, UsageError
from vastlab.readers.problems import Problems

BOM = codecs.BOM_UTF8
_SAMPLE_SIZE = 64
_NOT_TEXT = "vastlab-not-text"
_MARKS = {  # the longer first, since the UTF-32 mark begins with the UTF-16 mark
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BINARY = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")  # Parquet, Arrow files and streams
_HINT = 'for example encoding="cp1252", or on the shell --encoding cp1252'


class Stream(Protocol):
    """A stream of decompressed bytes."""

    @property
    def damage(self) -> str | None:
        """How the data is damaged, if this is known."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes, perhaps more; empty only at the end."""
        ...


def _replace_undecodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace undecodable bytes by a byte that UTF-8 does not use."""
    match error:
        case UnicodeDecodeError():
            return "\udcff", error.end
        case UnicodeEncodeError():
            return b"\xff" * (error.end - error.start), error.end
        case _:
            raise error


codecs.register_error(_NOT_TEXT, _replace_undecodable)


def check_encoding(name: str | None) -> None:
    """Raise `UsageError` unless a name is that of a text encoding."""
    if name is None:
        return
    try:
        if not isinstance(name, str):
            raise TypeError
        b"a".decode(name, "replace")  # also raises for codecs that do not give text
        codecs.getincrementaldecoder(name)()
    except (LookupError, ValueError, TypeError):
        raise UsageError(f"unknown encoding: {str(name)[:60]!r}", hint=_HINT) from None


def encoding_of(head: bytes, named: str | None) -> str | None:
    """Return the encoding, by its mark, option or zeros of UTF-16; None for UTF-8 and binary."""
    if head.startswith(_BINARY):
        return None
    found = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if found is None:
        found = named or _detect_utf16(head[:_SAMPLE_SIZE])
    return None if found is None or codecs.lookup(found).name in ("utf-8", "utf-8-sig") else found


def _detect_utf16(head: bytes) -> str | None:
    """Detect UTF-16 without a byte order mark by the zeros in its first characters."""
    even, odd = head[::2], head[1::2]
    if len(head) < 4:
        return None
    if not any(odd) and all(even[: len(odd)]):
        return "utf-16-le"
    return "utf-16-be" if not any(even) and all(odd) else None


def encoding_error(encoding: str | None) -> str:
    """Return the reason for bytes that are not text."""
    if encoding is not None:
        return f"the text is not {encoding}"
    return 'the text is not UTF-8; set its encoding with encoding="cp1252" or --encoding cp1252'


def is_ascii_compatible(encoding: str | None) -> bool:
    """Return whether ASCII characters are the same bytes in an encoding as in UTF-8."""
    if encoding is None:
        return True
    try:
        table = bytes(range(256)).decode(encoding, "replace")
    except UnicodeError:
        return False
    ascii_ = bytes(range(128)).decode()
    return len(table) == 256 and table.startswith(ascii_)


class Decoded:
    """A stream that converts text from another encoding to UTF-8."""

    def __init__(self, stream: Stream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(_NOT_TEXT)
        self._damage: str | None = None
        self._ended = False

    @property
    def damage(self) -> str | None:
        """How the data is damaged; known when everything has been read."""
        return self._damage or self._stream.damage

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes, perhaps more; empty only at the end."""
        while not self._ended:
            data = self._stream.read(size)
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=self._ended)
            except UnicodeError:
                self._damage, self._ended = f"the text is not {self._encoding}", True
                return b""
            if text:
                return text.encode("utf-8", _NOT_TEXT)
        return b""


GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# What follows the name of the log in names such as `conn.10-11.log.gz`.
_SUFFIXES = re.compile(
    r"(\.\d[^.]*)*(\.(csv|tsv|psv|ssv|txt|log|json|jsonl|ndjson|parquet|pq|arrow|arrows|ipc|feather))?"
    r"(\.\d[^.]*)*(\.(gz|gzip|bgz|zst|zstd|bak|old|orig|tmp|part))*",
    re.IGNORECASE,
)
_CHUNK = 1 << 16
_HEAD = 256
_SPOOL = 64 << 20
MAX_COPY_SIZE = 8 << 30  # bytes of a temporary file
MAX_RATIO = 200
_STEP_SIZE = 1 << 20  # bytes that one step returns; gzip data can expand a thousand times


class Source:
    """A decompressed and decoded input, with a look-ahead."""

    def __init__(self, name: str, raw: BinaryIO, encoding: str | None = None) -> None:
        self.name = name
        self._raw = raw
        self._start = raw.tell() if _can_seek(raw) else 0
        magic = _read_full(raw, 4)
        self._stored = rest = _Concatenated(magic, raw)
        self._stream: _Gzip | _Zstd | _Concatenated | Decoded
        if magic.startswith(GZIP):
            self._stream = _Gzip(rest)
        elif magic == ZSTD:
            self._stream = _Zstd(rest)
        else:
            self._stream = rest
        self._ahead = b""
        self.encoding = encoding_of(self.peek(_HEAD), encoding)
        if self.encoding is not None:
            self._stream = Decoded(_Concatenated(self._ahead, self._stream), self.encoding)
            self._ahead = b""
        if self.peek(len(BOM)) == BOM:
            self.read(len(BOM))

    @property
    def stem(self) -> str:
        r"""The file name without extensions, dates and numbers: ``conn`` for ``conn.10-11.log.gz``.

        Bytes that are not UTF-8 are written as ``\xff``, since the name becomes a schema name.
        """
        name = Path(self.name).name
        dots = (i for i, letter in enumerate(name) if letter == "." and i)
        end = next((i for i in dots if _SUFFIXES.fullmatch(name, i)), len(name))
        return os.fsencode(name[:end]).decode("utf-8", "backslashreplace")

    @property
    def log(self) -> str:
        """The name of a Zeek log, such as ``conn``, from its file name."""
        return self.stem.removeprefix("zeek.").split(".", 1)[0]

    @property
    def stored(self) -> int:
        """The stored size in bytes; for a stream, the number of bytes that were read."""
        if isinstance(self._stream, _Concatenated) and _can_seek(self._raw):
            position = self._raw.tell()
            size = self._raw.seek(0, os.SEEK_END)
            self._raw.seek(position)
            return size - self._start
        return self._stored.count

    @property
    def damage(self) -> str | None:
        """How the compressed data is damaged; known when everything has been read."""
        return self._stream.damage

    def peek(self, size: int) -> bytes:
        """Return up to `size` of the next bytes; they stay unread."""
        while len(self._ahead) < size:
            more = self._stream.read(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int, /) -> bytes:
        """Read `size` bytes, or fewer at the end."""
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
        """Yield the whole content as a seekable file."""
        if isinstance(self._stream, _Concatenated) and _can_seek(self._raw):
            self._raw.seek(self._start)
            yield self._raw
            return
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            while part := self.read(1 << 20):
                spool.write(part)
                self._check_copy(spool.tell())
            spool.seek(0)
            yield spool  # type: ignore[misc]  # a spooled file is a BinaryIO but for its class

    def check_ratio(self, size: int) -> None:
        """Raise `FormatError` if the compression ratio is too high to hold all data at once."""
        compressed = not isinstance(self._stream, _Concatenated)
        if compressed and size > _SPOOL and size > MAX_RATIO * self._stored.count:
            reason = f"it decompresses to more than {MAX_RATIO} times its size"
            raise FormatError(reason, path=self.name, hint="decompress it first")

    def _check_copy(self, size: int) -> None:
        self.check_ratio(size)
        if size > MAX_COPY_SIZE:
            reason = f"it decompresses to more than {MAX_COPY_SIZE >> 30} GiB"
            raise FormatError(reason, path=self.name, hint="decompress it first")


@contextmanager
def open_source(source: str | Path | BinaryIO, encoding: str | None = None) -> Iterator[Source]:
    """Open a path, or use an open binary file."""
    if isinstance(source, str | Path):
        with _open(Path(source)) as raw:
            yield Source(str(source), raw, encoding)
    else:
        yield Source(stream_name(source), source, encoding)


def stream_name(stream: BinaryIO) -> str:
    """Return the name of an open file for messages, which is also its default schema name."""
    name = getattr(stream, "name", None)
    return name.strip("<>") if isinstance(name, str) else "standard input"


def _can_seek(raw: BinaryIO) -> bool:
    # A stream only needs a read() method.
    seekable = getattr(raw, "seekable", None)
    return seekable is not None and seekable()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error


class _Concatenated:
    """A stream that gives some bytes, then the rest of another stream."""

    def __init__(self, first: bytes, rest: BinaryIO | Stream) -> None:
        self.count = len(first)
        self._first = first
        self._rest = rest

    @property
    def damage(self) -> str | None:
        """How the rest is damaged."""
        return getattr(self._rest, "damage", None)

    def read(self, size: int, /) -> bytes:
        if self._first:
            part, self._first = self._first[:size], self._first[size:]
            return part
        part = self._rest.read(size) or b""
        self.count += len(part)
        return part


class _Gzip:
    """One or more gzip members; the data before any damage is returned."""

    def __init__(self, raw: _Concatenated) -> None:
        self.damage: str | None = None
        self._raw = raw
        self._member = _gzip_member()
        self._pending = b""

    def read(self, size: int, /) -> bytes:
        while self.damage is None:
            data = self._pending or self._raw.read(_CHUNK)
            self._pending = b""
            if not data:
                return self._end()
            if self._member.eof and not self._next_member(data):
                continue
            if out := self._inflate(data):
                return out
        return b""

    def _end(self) -> bytes:
        """Return the rest of the last step, and check that the data is complete."""
        if self._member.eof:
            return b""
        rest = self._member.decompress(b"", _STEP_SIZE)
        if not rest and not self._member.eof:
            self.damage = "the gzip data is incomplete"
        return rest

    def _next_member(self, data: bytes) -> bool:
        if data.startswith(GZIP[: len(data)]):
            self._member = _gzip_member()
            return True
        if data.strip(b"\0"):  # zeros are padding
            self.damage = "bytes that are not gzip data follow the gzip data"
        return False

    def _inflate(self, data: bytes) -> bytes:
        before = self._member.copy()
        try:
            out = self._member.decompress(data, _STEP_SIZE)
            self._pending = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error as error:
            self.damage = f"the gzip data is damaged: {error}"
            return _inflate_bytewise(before, data)
        return out


def _gzip_member() -> zlib._Decompress:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _inflate_bytewise(member: zlib._Decompress, data: bytes) -> bytes:
    """Decompress up to the first damaged byte."""
    parts = bytearray()
    try:
        for i in range(len(data)):
            parts += member.decompress(data[i : i + 1])
    except zlib.error:
        pass
    return bytes(parts)


class _Zstd:
    """Zstandard frames, decompressed by Arrow, since Python has no such module before 3.14."""

    def __init__(self, raw: _Concatenated) -> None:
        self.damage: str | None = None
        self._stream = pa.CompressedInputStream(pa.PythonFile(_Readable(raw), "r"), "zstd")

    def read(self, size: int, /) -> bytes:
        if self.damage is not None:
            return b""
        try:
            # Small reads, since the data of a failing read is lost.
            return bytes(self._stream.read(min(size, _CHUNK)))
        except (OSError, pa.ArrowException) as error:
            reason = "incomplete" if "runcated" in str(error) else f"damaged: {error}"
            self.damage = f"the zstd data is {reason}"
            return b""


class _Readable(io.RawIOBase):
    """The file methods that Arrow uses."""

    def __init__(self, raw: _Concatenated) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return _read_full(self._raw, size)


def _read_full(raw: BinaryIO | _Concatenated, size: int) -> bytes:
    parts = []
    while size > 0 and (part := raw.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


BLOCK_SIZE = 4 << 20
MAX_LINE_SIZE = 64 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Some complete lines, and the number of the first; the last of a file may have no newline."""

    data: bytes
    line: int


def count_newlines(data: bytes) -> int:
    """Return how many newlines there are; faster than `bytes.count` where lines are short."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))


def blocks(
    source: Source,
    problems: Problems,
    *,
    size: int = BLOCK_SIZE,
    longest: int = MAX_LINE_SIZE,
) -> Iterator[Block]:
    """Split a source into blocks of complete lines; damage raises after the lines before it."""
    rest, line, skipping = b"", 1, False
    while part := source.read(size):
        if skipping:
            end = part.find(b"\n") + 1
            if not end:
                continue
            part, skipping, line = part[end:], False, line + 1
        last = len(part) < size and not source.damage
        cut = len(part) if last else part.rfind(b"\n") + 1
        if cut:
            data, rest = b"".join((rest, memoryview(part)[:cut])), part[cut:]
            yield Block(data, line)
            line += count_newlines(data)
        else:
            rest += part
        if len(rest) > longest:
            problems.add(source.name, line, f"the line is longer than {longest:,} bytes")
            rest, skipping = b"", True
    if source.damage:
        cut_off = "; the incomplete last line is left out" if rest else ""
        raise FormatError(f"{source.damage}{cut_off}", path=source.name, line=line)
    if rest:
        yield Block(rest, line)
