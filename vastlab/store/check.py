"""Checking a database: compares all bytes of all files with their checksums."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pyarrow as pa

from vastlab import _text
from vastlab.errors import CorruptFileError
from vastlab.readers import columns
from vastlab.store import checkpoint, checksums, generation, manifest
from vastlab.store.database import GRACE, Database
from vastlab.store.generation import NewerVersionError
from vastlab.store.layout import DataFile, Layout
from vastlab.store.place import Folder, Place
from vastlab.store.snapshot import Snapshot

__all__ = ["Fault", "FaultKind", "check"]

_ARROW_SCHEMA = b"ARROW:schema"
_DELETE = "delete it with the tools of the store while no import runs"


class FaultKind(Enum):
    """A kind of fault."""

    MISSING = "is missing"
    UNREADABLE = "cannot be read"
    DAMAGED = "is damaged"
    LEFTOVER = "is not part of the database"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a file."""

    path: str
    kind: FaultKind
    detail: str
    file: DataFile | None = None  # None if it has no events

    def __str__(self) -> str:
        return _text.plain(f"{self.path} {self.kind.value}: {self.detail}")


def check(
    database: Database | str | Path | Place, progress: Callable[[int, int], None] | None = None
) -> list[Fault]:
    """Find files that are missing, damaged, unreadable or left over."""
    match database:
        case Database():
            place = database.place
        case Place():
            place = database
        case _:
            place = Folder(Path(database).absolute())
    faults = list(_check_generations(place))
    try:
        snapshot = Database.open(place).snapshot()
    except CorruptFileError as error:
        if not any(fault.path in error.message for fault in faults):
            marker = place.url(generation.NAME)
            faults.append(Fault(marker, FaultKind.DAMAGED, error.message))
        return faults
    faults += _check_chain(place, snapshot)
    for done, file in enumerate(snapshot.files, 1):
        fault = check_file(file, snapshot.layouts[file.fingerprint], place)
        faults += [] if fault is None else [fault]
        if progress is not None:
            progress(done, len(snapshot.files))
    return [*faults, *_leftovers(place, snapshot)]


def _check_generations(place: Place) -> Iterator[Fault]:
    with contextlib.suppress(FileNotFoundError):  # reading the snapshot reports this
        for number in manifest.numbers(place):
            yield from _check_generation(place, number)
        for key in manifest.closing_keys(place):
            try:
                manifest.read_closing_file(place, key)
            except (OSError, ValueError, LookupError) as error:
                yield Fault(place.url(key), FaultKind.DAMAGED, str(error))
        yield from _check_checkpoints(place)


def _check_chain(place: Place, snapshot: Snapshot) -> Iterator[Fault]:
    """Report generations that are missing, but whose content a checkpoint has."""
    try:
        if snapshot.checkpoint:
            manifest.load_generation(place, snapshot.generation)
    except manifest.MovedError as error:
        if Database.open(place).snapshot().generation == snapshot.generation:
            url = place.url(generation.GENERATIONS)
            yield Fault(url, FaultKind.DAMAGED, f"{error}; a checkpoint has what it held")
    except CorruptFileError:
        pass  # which is reported


def _check_checkpoints(place: Place) -> Iterator[Fault]:
    """Compare the checkpoints with the generations; those of newer versions are not used."""
    for number in checkpoint.numbers(place):
        url = place.url(checkpoint.key_of(number))
        try:
            held = checkpoint.read(place, number)
            expected = manifest.load_generation(place, number)
        except (FileNotFoundError, NewerVersionError, manifest.MovedError):
            continue  # deleted by a sweeper, or of generations that a sweeper deleted
        except CorruptFileError:
            continue  # of a generation, which is reported
        except Exception as error:  # noqa: BLE001 - a damaged file can cause any error
            yield Fault(url, FaultKind.DAMAGED, str(error))
            continue
        if not checkpoint.is_same(held, expected):
            yield Fault(url, FaultKind.DAMAGED, "it differs from the generations")


def _check_generation(place: Place, number: int) -> Iterator[Fault]:
    key = manifest.key_of(number)
    url = place.url(key)
    with contextlib.suppress(manifest.MovedError, FileNotFoundError):  # deleted by a sweeper
        if not place.stat(key).size:
            return  # emptied by a repair; if it is needed, reading the snapshot reports it
        try:
            manifest.read(place, number)
        except CorruptFileError as error:
            cause = error.__cause__
            if isinstance(cause, OSError):
                yield Fault(url, FaultKind.UNREADABLE, cause.strerror or str(cause))
            else:
                yield Fault(url, FaultKind.DAMAGED, str(cause))


def check_file(file: DataFile, layout: Layout, place: Place) -> Fault | None:
    """Compare a file with its checksums and with its entry in the manifest."""
    try:
        with checksums.at_hand(file, place) as held:
            checksums.verify_all(held)
            if not any(file.tail):
                _check_content(held, layout)
    except FileNotFoundError:
        return Fault(file.path, FaultKind.MISSING, f"{file.rows:,} events are lost", file)
    except CorruptFileError as error:
        match error.__cause__:
            case FileNotFoundError():
                return Fault(file.path, FaultKind.MISSING, f"{file.rows:,} events are lost", file)
            case OSError() as cause:
                return Fault(file.path, FaultKind.UNREADABLE, cause.strerror or str(cause), file)
            case _:
                detail = error.message.partition(f"{file.path}")[2].lstrip(": ")
                return Fault(file.path, FaultKind.DAMAGED, detail, file)
    except checksums.DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Fault(file.path, FaultKind.DAMAGED, reason, file)
    return None


def _check_content(file: DataFile, layout: Layout) -> None:
    """Read a file of vastlab 1.0, which only has Parquet's own checksums."""
    with checksums.open_parquet(file) as parquet:
        notes = parquet.metadata.metadata or {}
        written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(notes[_ARROW_SCHEMA])))
        if not written.equals(layout.stored_schema, check_metadata=True) or (
            notes[columns.SCHEMA_KEY.encode()].decode() != columns.encode_schema(layout.schema)
        ):
            raise ValueError(f"its schema differs from the manifest ({layout.schema.name!r})")
        if parquet.metadata.num_rows != file.rows:
            raise ValueError(f"has {parquet.metadata.num_rows} events instead of {file.rows}")
        for group in range(parquet.num_row_groups):
            parquet.read_row_group(group)


def _leftovers(place: Place, snapshot: Snapshot) -> Iterator[Fault]:
    named = snapshot.files.paths()
    deadline = time.time() - GRACE
    dropped = dict(place.dropped(generation.DATA))
    for entry in place.entries(generation.DATA):
        url, since = place.url(entry.key), dropped.get(entry.key, entry.modified)
        if url.endswith(".parquet") and url not in named and since < deadline:
            is_deleted = place.is_local or entry.key in dropped
            what = "the next import deletes it" if is_deleted else _DELETE
            detail = f"it was replaced, or its writer failed; {what}"
            yield Fault(url, FaultKind.LEFTOVER, detail)
