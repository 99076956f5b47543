"""What can be ingested: files, folders, open files, and events in memory."""

from __future__ import annotations

import glob
import io
import os
import select
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, UsageError
from vastlab.store._digest import Digest
from vastlab.store.database import is_database
from vastlab.table_slice import TableSlice

_CHUNK = 1 << 20
_PATIENCE = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on disk.

    Parameters
    ----------
    path
        Absolute.
    found
        Whether it was found in a folder, where not every file has to be a log.
    """

    path: Path
    found: bool = False


@dataclass(frozen=True, slots=True)
class StreamSource:
    """An open binary file, such as standard input."""

    stream: BinaryIO


@dataclass(frozen=True, slots=True)
class EventSource:
    """Events in memory: anything that gives record batches."""

    batches: Callable[[], Iterable[pa.RecordBatch]]


AnySource = FileSource | StreamSource | EventSource


def expand(sources: object) -> Iterator[AnySource]:
    """Find out what is meant by the sources that a caller names.

    Parameters
    ----------
    sources
        One source or an iterable of them: a path, a pattern such as ``"logs/*.gz"``, a
        folder, an open binary file, a record batch, a table, a frame, a `TableSlice`,
        anything that exports Arrow, or a mapping whose values are any of these.
    """
    match sources:
        case str() | os.PathLike():
            yield from _expand_path(os.fspath(sources))
        case pa.RecordBatch():
            yield EventSource(lambda: [sources])
        case TableSlice():
            yield EventSource(lambda: [sources.to_pyarrow()])
        case pd.DataFrame():
            yield EventSource(lambda: _frame_batches(sources))
        case Mapping():
            for value in sources.values():
                yield from expand(value)
        case _:
            yield from _expand_object(sources)


def _expand_object(sources: Any) -> Iterator[AnySource]:
    if callable(getattr(sources, "read", None)):
        yield StreamSource(sources)
    elif hasattr(sources, "__arrow_c_stream__"):
        yield EventSource(lambda: pa.RecordBatchReader.from_stream(sources))
    elif hasattr(sources, "__arrow_c_array__"):
        yield EventSource(lambda: [pa.record_batch(sources)])
    elif isinstance(sources, Iterable) and not isinstance(sources, bytes | bytearray):
        for source in sources:
            yield from expand(source)
    else:
        msg = f"cannot ingest a {type(sources).__name__}"
        raise UsageError(msg, hint="name files or folders, or pass Arrow tables or frames")


def _frame_batches(frame: pd.DataFrame) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = pa.Table.from_pandas(frame, preserve_index=False).to_batches()
    return [batch.replace_schema_metadata(_names_only(batch.schema)) for batch in batches]


def _names_only(schema: pa.Schema) -> dict[str, str]:
    """Leave out what pandas writes into the metadata."""
    name = arrow_schema.name_of(schema)
    return {"VAST:name:0": name} if name else {}


def _expand_path(text: str) -> Iterator[FileSource]:
    path = Path(text).absolute()
    if path.is_dir():
        files = files_below(path)
        if not files:
            raise UsageError(f"the folder {text!r} holds no files")
        yield from (FileSource(file, found=True) for file in files)
    elif path.exists():
        yield FileSource(path)
    else:
        matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
        if not matches:
            what = "no file matches" if glob.has_magic(text) else "no such file or folder:"
            raise UsageError(f"{what} {text!r}", hint="check the spelling")
        for match in matches:
            yield from _expand_path(match)


def files_below(folder: Path) -> list[Path]:
    """List the files in a folder and its subfolders: none that is hidden, and no database."""
    files = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen or is_database(root):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(root, name) for name in sorted(names) if not name.startswith("."))
        files += [path for path in visible if path.is_file()]
    return files


def is_regular(path: Path) -> bool:
    """Tell whether a path is a file that can be read twice; not a pipe, not a terminal."""
    return stat.S_ISREG(path.stat().st_mode)


class Tap(io.RawIOBase):
    """An open file that measures what is read from it.

    Parameters
    ----------
    stream
        The file.
    name
        What messages call it.
    end
        Where to stop; the rest counts as not there.
    watch
        Called after each read, and while a pipe gives nothing; what it raises ends the
        reading.
    random
        Let the reader move about in the file; it is measured by `exhaust` then.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        end: int | None = None,
        watch: Callable[[], None] = lambda: None,
        random: bool = False,
    ) -> None:
        super().__init__()
        self._random = random
        self.name = name
        self.size = 0
        self._stream = stream
        self._end = end
        self._watch = watch
        self._digest = Digest()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say whether a reader may move about."""
        return self._random

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, where that is allowed."""
        if not self._random:
            raise io.UnsupportedOperation("seek")
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        """Read and measure."""
        if self._end is not None:
            left = self._end - self.size
            size = left if size < 0 else min(size, left)
        while not _is_ready(self._stream):
            self._watch()
        data = self._stream.read(size) or b""
        if not self._random:
            self._digest.update(data)
            self.size += len(data)
        self._watch()
        return data

    def go_on(self, digest: Digest) -> None:
        """Let the digest cover what stands before the first byte that is read."""
        self._digest = digest

    def exhaust(self) -> None:
        """Read what the reader had no use for: it is part of the digest."""
        if self._random:
            self._stream.seek(0)
            self._random = False
        while self.read(_CHUNK):
            pass

    @property
    def digest(self) -> str:
        """The digest of what was read."""
        return self._digest.value()


def _is_ready(stream: BinaryIO) -> bool:
    """Wait a moment for an unbuffered file to have something; others are read as they are."""
    if not isinstance(stream, io.FileIO) or os.name != "posix":
        return True
    return bool(select.select([stream], [], [], _PATIENCE)[0])


def wants_random_access(stream: BinaryIO) -> bool:
    """Tell whether a file has a format whose reader moves about; it is at its beginning again."""
    head = stream.read(6)
    stream.seek(0)
    return head.startswith((b"PAR1", b"ARROW1"))


def digest_of(path: Path, size: int) -> str:
    """Compute the digest of the first `size` bytes of a file."""
    with path.open("rb") as stream:
        tap = Tap(stream, str(path), end=size)
        tap.exhaust()
    return tap.digest


def stamp_of(found: os.stat_result) -> str:
    """Return what changes when a file is changed, replaced or appended to."""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_dev}:{found.st_ino}"


def reason_of(error: FormatError, label: str) -> str:
    """Return an error's message without the place that it begins with."""
    place = label if error.line is None else f"{label}:{error.line}"
    return error.message.removeprefix(f"{place}: ")
