"""Checking a database: every page of every file is read and compared with its checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab import _text
from vastlab.errors import CorruptFileError
from vastlab.store import _writer
from vastlab.store.database import Database
from vastlab.store.layout import DataFile, Layout

__all__ = ["check"]


def check(database: Database, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Look for files that are gone or damaged.

    Parameters
    ----------
    database
        What to check.
    progress
        Called after each file with the number of files that are done, and of all.

    Returns
    -------
    list of str
        One line for each problem, with the name of the file; empty if all is well.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check(Database.create(folder))
    []
    """
    try:
        # Opened anew: what was read before could hide damage.
        snapshot = Database.open(database.path).snapshot()
    except CorruptFileError as error:
        return [_line(str(error))]
    problems: list[str] = []
    for done, file in enumerate(snapshot.files, 1):
        layout = snapshot.layouts[file.fingerprint]
        problems += [_line(f"{file.path}: {problem}") for problem in _check_file(file, layout)]
        if progress is not None:
            progress(done, len(snapshot.files))
    return problems


def _line(text: str) -> str:
    return _text.plain(text)


def _check_file(file: DataFile, layout: Layout) -> Iterator[str]:
    try:
        size = Path(file.path).stat().st_size
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
        return
    if size != file.size:
        yield f"has {size} bytes instead of {file.size}"
        return
    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as parquet:
            yield from _check_content(parquet, file, layout)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        yield f"is damaged: {str(error).splitlines()[0]}"


def _check_content(parquet: pq.ParquetFile, file: DataFile, layout: Layout) -> Iterator[str]:
    if parquet.metadata.num_rows != file.rows:
        yield f"has {parquet.metadata.num_rows} events instead of {file.rows}"
    note = (parquet.metadata.metadata or {}).get(_writer.SCHEMA_KEY.encode(), b"")
    if note.decode() != _writer.encode_schema(layout.schema):
        yield f"has another schema than the manifest says, {layout.schema.name!r}"
    for group in range(parquet.num_row_groups):
        parquet.read_row_group(group)
