"""Results as files, in folders of their own: whole, or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from vastlab._text import file_name
from vastlab.arrow import convert
from vastlab.display.spreadsheet import text_table
from vastlab.errors import UsageError
from vastlab.store.database import Database

Tables = Mapping[str, Sequence[pa.Table]]


def write_parquet(tables: Tables, folder: str | Path) -> None:
    """Write a vastlab database."""
    with _new(folder) as target:
        Database.create(target).add(
            convert.normalise(batch, name)
            for name, parts in tables.items()
            for part in parts
            for batch in part.to_batches()
        )


def write_csv(tables: Tables, folder: str | Path, *, safe: bool, defang: bool) -> None:
    """Write one CSV file for each schema."""
    with _new(folder) as target:
        target.mkdir(parents=True, exist_ok=True)
        for name, parts in tables.items():
            rows = text_table(parts, safe=safe, defanged=defang)
            csv.write_csv(rows, target / f"{file_name(name)}.csv")


@contextlib.contextmanager
def _new(folder: str | Path) -> Iterator[Path]:
    """Give a folder that does not exist or is empty, and leave it so after a failure."""
    target = _fresh(folder)
    existed = target.exists()
    try:
        yield target
    except BaseException:
        _clear(target, keep=existed)
        raise


def _fresh(folder: str | Path) -> Path:
    target = Path(folder).expanduser()
    try:
        if not target.exists() or not next(target.iterdir(), None):
            return target
    except NotADirectoryError:
        raise UsageError(f"{str(target)!r} is a file, not a folder") from None
    raise UsageError(
        f"the folder {str(target)!r} is not empty", hint="name a new one: nothing is overwritten"
    )


def _clear(folder: Path, *, keep: bool) -> None:
    """Take back what was written before a failure."""
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)
    if not keep and folder.is_dir():
        folder.rmdir()
