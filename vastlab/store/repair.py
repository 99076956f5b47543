"""Repairing a database: keeps all intact events, and moves damaged files to another folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab import _text
from vastlab._lazy import pd
from vastlab.errors import CorruptFileError, LockedError
from vastlab.store import checkpoint, checksums, manifest, rebuild, writer
from vastlab.store.check import FaultKind, check
from vastlab.store.checksums import VerifiedFile
from vastlab.store.compact import names, with_generations
from vastlab.store.database import Database
from vastlab.store.layout import DataFile, Layout
from vastlab.store.place import Folder, Place, Staged
from vastlab.store.snapshot import Snapshot

__all__ = ["DAMAGED", "Loss", "RepairReport", "repair", "salvage"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that are lost."""

    schema: str
    events: int
    first: int  # bounds of their times in nanoseconds
    last: int

    def __str__(self) -> str:
        first, last = (pd.Timestamp(time).isoformat() for time in (self.first, self.last))
        name = _text.plain(self.schema)
        return f"{self.events:,} events of {name} between {first} and {last}"


def salvage(file: DataFile, layout: Layout) -> tuple[list[pa.RecordBatch], list[Loss]]:
    """Read the intact row groups of a file, and return which events are lost."""
    everything = _all_of(file)
    batches: list[pa.RecordBatch] = []
    losses: list[Loss] = []
    try:
        verified = _verified(file)
        # If the checksums themselves are damaged, Parquet's own ones are used.
        readable = replace(file, tail=file.tail if verified else (0, ""))
        with checksums.open_parquet(readable) as parquet:
            for group in range(parquet.num_row_groups):
                try:
                    if verified:
                        verified.verify([group])
                    batches += checksums.rows_of(parquet, group, layout)
                except (*checksums.DAMAGE, CorruptFileError):
                    losses.append(_loss_of(file, verified, group, parquet))
    except checksums.DAMAGE:
        return [], [everything]
    kept = sum(batch.num_rows for batch in batches)
    if kept + sum(loss.events for loss in losses) != file.rows:
        return batches, [replace(everything, events=file.rows - kept)]
    return batches, losses


def _all_of(file: DataFile) -> Loss:
    return Loss(file.schema_name, file.rows, file.first, file.last)


def _verified(file: DataFile) -> VerifiedFile | None:
    try:
        return VerifiedFile(file) if any(file.tail) else None
    except CorruptFileError:
        return None


def _loss_of(
    file: DataFile, verified: VerifiedFile | None, group: int, parquet: pq.ParquetFile
) -> Loss:
    if verified is None:
        rows = parquet.metadata.row_group(group).num_rows
        return Loss(file.schema_name, rows, file.first, file.last)
    lost = verified.groups[group]
    first, last = (
        (file.first, file.last)
        if lost.first is None or lost.last is None
        else (lost.first, lost.last)
    )
    return Loss(file.schema_name, lost.rows, first, last)


DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The result of a repair."""

    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()  # lost generations, recovered and unchanged files
    moved: tuple[str, ...] = ()  # to the folder ``damaged``


def repair(
    path: str | Path | Place, progress: Callable[[int, int], None] | None = None
) -> RepairReport:
    """Keep all intact events, and move damaged files to ``damaged``; nothing is deleted."""
    work = _Repair(path if isinstance(path, Place) else Folder(Path(path).absolute()))
    try:
        newest = Database.open(work.place).snapshot().generation
        manifest.load_generation(work.place, newest)  # which must do without a checkpoint
    except (CorruptFileError, manifest.MovedError):
        work.rebuild_manifest()
    for fault in check(work.place, progress):
        match fault.kind:
            case FaultKind.UNREADABLE:
                work.notes.append(f"not changed: {fault}")
            case FaultKind.MISSING | FaultKind.DAMAGED if fault.file is not None:
                work.repair_file(fault.file)
            case FaultKind.DAMAGED:
                work.replace_generation(work.place.key(fault.path))
            case _:
                continue
    return RepairReport(tuple(work.losses), tuple(work.notes), tuple(work.moved))


@dataclass
class _Repair:
    """A repair that is under way."""

    place: Place
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)

    def rebuild_manifest(self) -> None:
        """Publish a generation with all intact files, and move what is damaged."""
        rebuilt = rebuild.rebuild(self.place)
        self.notes += rebuilt.notes
        for key in rebuilt.damaged:
            self.replace_generation(key)
        for file in rebuilt.unreadable:
            self.losses.append(_all_of(file))
            self.move_damaged(self.place.key(file.path))

    def repair_file(self, file: DataFile) -> None:
        """Write the intact events of a file to a new one, and move the old one."""
        database = Database.open(self.place)
        layout = database.snapshot().layouts[file.fingerprint]
        try:
            with checksums.at_hand(file, self.place) as held:
                batches, losses = salvage(held, layout)
        except FileNotFoundError:
            batches, losses = [], [_all_of(file)]

        def check(snapshot: Snapshot) -> None:
            if not snapshot.files.have([file.path]):
                msg = f"another process has removed {file.path}"
                raise LockedError(msg, hint="run the check again")

        with database.staging() as staging:
            new = []
            if batches:
                new = writer.write(
                    batches, layout, self.place, staging, source=file.source, replaces=names([file])
                )
            added = with_generations(new, file.oldest or file.generation, file.generation)
            database.commit(added, {layout.fingerprint: layout}, drop=[file.path], check=check)
        self.losses += losses
        self.move_damaged(self.place.key(file.path))

    def move_damaged(self, key: str) -> None:
        """Move a file to the folder of damaged files."""
        with contextlib.suppress(FileNotFoundError):
            self.place.move(key, _damaged_key(key))
            self.moved.append(self.place.url(key))

    def replace_generation(self, key: str) -> None:
        """Move a damaged file of the manifest that is not needed; its number stays taken."""
        place = self.place
        with place.staging() as staging:
            if key in checkpoint.keys(place):
                place.move(key, _damaged_key(key))
            elif key in manifest.closing_keys(place):
                place.move(key, _damaged_key(key))
                manifest.close(place, staging, manifest.last_of_block(key))
            else:
                aside = staging / "aside"
                aside.write_bytes(place.read(key))
                place.add([Staged(aside, _damaged_key(key))])
                place.replace(key, b"", staging)
        self.moved.append(place.url(key))


def _damaged_key(key: str) -> str:
    return f"{DAMAGED}/{uuid4().hex[:8]}-{key.rpartition('/')[2]}"
