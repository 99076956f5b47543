"""Repairing a database: keeps all intact events, and moves damaged files to another folder."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab import _text
from vastlab._lazy import pd
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import CorruptFileError, LockedError
from vastlab.readers import columns
from vastlab.store import checkpoint, checksums, generation, manifest, statistics, writer
from vastlab.store.check import FaultKind, check
from vastlab.store.checksums import VerifiedFile
from vastlab.store.compact import names, with_generations
from vastlab.store.database import Database
from vastlab.store.disk import sync_folder
from vastlab.store.generation import (
    EMPTY,
    GENERATIONS,
    NAME,
    Change,
    Generation,
    Marker,
    encode_generation,
    read_marker,
    replace_marker,
)
from vastlab.store.layout import DataFile, Layout, Source
from vastlab.store.place import STAGING, Folder
from vastlab.store.snapshot import Snapshot

__all__ = [
    "DAMAGED",
    "Loss",
    "RepairReport",
    "describe",
    "layout_of",
    "repair",
    "salvage",
    "unreferenced_files",
]


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
    everything = Loss(file.schema_name, file.rows, file.first, file.last)
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


def unreferenced_files(root: Path, known: Iterable[str]) -> Iterator[Path]:
    """Yield data files that neither a generation nor an active writer uses."""
    known = set(known)
    for path in sorted((root / generation.DATA).rglob("*.parquet")):
        if str(path) not in known and path.stat().st_nlink == 1:
            yield path


def describe(path: Path, root: Path) -> tuple[DataFile, Layout, frozenset[str]]:
    """Return the manifest entry of a file, its layout, and the names of the files it replaces."""
    tail = checksums.tail_of(path)
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        layout = layout_of(parquet)
        groups = range(parquet.num_row_groups)
        rows = (checksums.rows_of(parquet, group, layout) for group in groups)
        ranges = statistics.merge(
            statistics.of(batch, layout.schema) for batches in rows for batch in batches
        )
    described = writer.describe(path, Folder(root), layout, ranges, "", tail).file
    file = replace(described, path=str(path))
    if not any(tail):
        return file, layout, frozenset()
    verified = VerifiedFile(file)
    verified.verify_all()
    return file, layout, verified.replaces


def layout_of(parquet: pq.ParquetFile) -> Layout:
    note = (parquet.metadata.metadata or {})[columns.SCHEMA_KEY.encode()]
    schema = columns.decode_schema(note.decode())
    return Layout(arrow_schema.fingerprint(schema), schema)


DAMAGED = "damaged"
_UNKNOWN = "its events are unknown, except for those that are in other files"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The result of a repair."""

    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()  # lost generations, recovered and unchanged files
    moved: tuple[str, ...] = ()  # to the folder ``damaged``


def repair(path: str | Path, progress: Callable[[int, int], None] | None = None) -> RepairReport:
    """Keep all intact events, and move damaged files to ``damaged``; nothing is deleted."""
    work = _Repair(Path(path).absolute())
    try:
        Database.open(work.root).snapshot()
    except CorruptFileError:
        work.rebuild_manifest()
    for fault in check(work.root, progress):
        match fault.kind:
            case FaultKind.UNREADABLE:
                work.notes.append(f"not changed: {fault}")
            case FaultKind.MISSING | FaultKind.DAMAGED if fault.file is not None:
                work.repair_file(fault.file)
            case FaultKind.DAMAGED:
                work.replace_generation(Path(fault.path))
            case _:
                continue
    return RepairReport(tuple(work.losses), tuple(work.notes), tuple(work.moved))


@dataclass
class _Repair:
    """A repair that is under way."""

    root: Path
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)

    @property
    def place(self) -> Folder:
        """The folder as a place."""
        return Folder(self.root)

    # --- data files -------------------------------------------------------------------------

    def repair_file(self, file: DataFile) -> None:
        """Write the intact events of a file to a new one, and move the old one."""
        database = Database.open(self.root)
        layout = database.snapshot().layouts[file.fingerprint]
        batches, losses = salvage(file, layout)

        def check(snapshot: Snapshot) -> None:
            if file.path not in {each.path for each in snapshot.files}:
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
        self.move_damaged(Path(file.path))

    def move_damaged(self, path: Path) -> None:
        """Move a file to the folder of damaged files."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, self._damaged_path(path))
            self.moved.append(str(path))

    def replace_generation(self, path: Path) -> None:
        """Move a damaged file of the manifest that is not needed; its number stays taken."""
        aside = self._damaged_path(path)
        key = self.place.key(str(path))
        if key in checkpoint.keys(self.place):
            os.rename(path, aside)
        elif key in manifest.closing_keys(self.place):
            os.rename(path, aside)
            with self.place.staging() as staging:
                manifest.close(self.place, staging, manifest.last_of_block(path.name))
        else:
            shutil.copyfile(path, aside)
            os.truncate(path, 0)
        self.moved.append(str(path))

    def _damaged_path(self, path: Path) -> Path:
        folder = self.root / DAMAGED
        folder.mkdir(exist_ok=True)
        return folder / f"{uuid4().hex[:8]}-{path.name}"

    # --- the manifest -----------------------------------------------------------------------

    def rebuild_manifest(self) -> None:
        """Publish a generation with all intact files."""
        (self.root / GENERATIONS).mkdir(exist_ok=True)
        (self.root / STAGING).mkdir(exist_ok=True)
        marker = self._marker()
        found = _Found(self.root)
        newest = max(
            [marker.generation if marker else 0, *manifest.numbers(self.place), *found.closed()],
            default=0,
        )
        missing = found.missing(newest)
        self.notes += [f"generation {number} is lost: {_UNKNOWN}" for number in missing]
        files = found.files()
        if marker is None or missing:
            files = self._with_lost_files(files, found, newest)
        layouts = found.layouts(files)
        kept = tuple(file for file in files.values() if file.fingerprint in layouts)
        change = Change(kept, frozenset(), layouts, found.sources)
        self._publish(Generation(newest + 1, EMPTY, change))
        for path in found.damaged:
            self.replace_generation(path)
        for file in files.values():
            if file.fingerprint not in layouts:  # and the file itself is unreadable
                self.losses.append(Loss(file.schema_name, file.rows, file.first, file.last))
                self.move_damaged(Path(file.path))

    def _marker(self) -> Marker | None:
        try:
            return read_marker(self.place)
        except CorruptFileError as error:
            self.notes.append(f"created again: {NAME} ({error.message})")
            return None

    def _publish(self, generation: Generation) -> None:
        with self.place.staging() as staging:
            data, digest = encode_generation(generation, self.place)
            if not self.place.create(manifest.key_of(generation.number), data, staging):
                msg = f"another process is repairing {str(self.root)!r}"
                raise LockedError(msg, hint="wait until it has finished, and run the check again")
            marker = Marker(uuid4().hex, generation.number, digest)
            replace_marker(self.place, staging, marker)
            sync_folder(self.root)

    def _with_lost_files(
        self, files: dict[str, DataFile], found: _Found, newest: int
    ) -> dict[str, DataFile]:
        """Add files that no generation names, which may belong to a lost generation."""
        files = dict(files)
        known = {Path(path).name: path for path in files}
        for path in unreferenced_files(self.root, {*files, *found.dropped}):
            try:
                file, layout, replaces = describe(path, self.root)
            except (*checksums.DAMAGE, CorruptFileError) as error:
                reason = str(error).partition("\n")[0]
                self.notes.append(f"not changed: {path}, which no generation names ({reason})")
                continue
            if replaces and all(os.path.exists(known.get(name, "")) for name in replaces):
                continue  # its events are in the files from which it was merged
            for name in replaces & known.keys():
                del files[known.pop(name)]
            files[file.path] = replace(file, generation=newest + 1)
            found.add_layout(layout)
            self.notes.append(f"recovered: {file.rows:,} events of {file.schema_name} in {path}")
        return files


class _Found:
    """The content of all readable generations."""

    def __init__(self, root: Path) -> None:
        self._place = place = Folder(root)
        self._generations: dict[int, tuple[Generation, str]] = {}
        self._layouts: dict[str, Layout] = {}
        self.damaged: list[Path] = []
        self.sources: dict[str, Source] = {}
        self.dropped: set[str] = set()
        for number in sorted(manifest.numbers(place)):
            try:
                self._generations[number] = manifest.read(place, number)
            except CorruptFileError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # the file may be intact
                self.damaged.append(manifest.file_of(root, number))
        for found, _ in self._generations.values():
            self.dropped |= found.change.dropped
            self._layouts |= found.change.layouts

    def closed(self) -> Iterator[int]:
        """Yield the last number of each closed block."""
        for key in manifest.closing_keys(self._place):
            yield manifest.last_of_block(key)

    def _chain(self) -> list[int]:
        """Return the longest chain of generations that starts at the empty database."""
        for start in sorted(self._generations, reverse=True):
            chain, number, digest = [], start, self._generations[start][1]
            while number and self._generations.get(number, (None, None))[1] == digest:
                chain.append(number)
                since = self._generations[number][0].since
                number, digest = since.number, since.digest
            if not number and not digest:
                return chain[::-1]
        return []

    def missing(self, newest: int) -> list[int]:
        """Return the generations up to `newest` that no readable one covers."""
        base = max(self._chain(), default=0)
        covered: set[int] = set()
        for number, (found, _) in self._generations.items():
            covered |= set(range(found.since.number + 1, number + 1))
        return [number for number in range(base + 1, newest + 1) if number not in covered]

    def files(self) -> dict[str, DataFile]:
        """Apply the longest chain of generations, and then each later readable one."""
        chain = self._chain()
        base = max(chain, default=0)
        later = [number for number in sorted(self._generations) if number > base]
        files: dict[str, DataFile] = {}
        for number in (*chain, *later):
            change = self._generations[number][0].change
            for path in change.dropped:
                files.pop(path, None)
            for key in change.forgotten:
                self.sources.pop(key, None)
            files |= {file.path: file for file in change.files}
            self.sources |= change.sources
        return files

    def add_layout(self, layout: Layout) -> None:
        """Add a layout that was read from a data file."""
        self._layouts.setdefault(layout.fingerprint, layout)

    def layouts(self, files: dict[str, DataFile]) -> dict[str, Layout]:
        """Return the layouts of files; those that are lost are read from the files."""
        for file in files.values():
            if file.fingerprint not in self._layouts:
                with contextlib.suppress(*checksums.DAMAGE), pq.ParquetFile(file.path) as parquet:
                    self.add_layout(layout_of(parquet))
        wanted = {file.fingerprint for file in files.values()}
        return {key: layout for key, layout in self._layouts.items() if key in wanted}
