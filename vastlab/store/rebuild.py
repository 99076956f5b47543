"""Rebuilding the manifest of a database from what is readable of it, and from its data files."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import CorruptFileError, LockedError
from vastlab.readers import columns
from vastlab.store import checkpoint, checksums, manifest, statistics, writer
from vastlab.store.checksums import VerifiedFile
from vastlab.store.generation import (
    DATA,
    EMPTY,
    GENERATIONS,
    NAME,
    Change,
    Generation,
    Marker,
    document_of,
    encode_document,
    read_marker,
    replace_marker,
)
from vastlab.store.layout import DataFile, Layout, Source
from vastlab.store.place import Folder, Place
from vastlab.store.snapshot import Snapshot

__all__ = ["Rebuilt", "describe", "layout_of", "rebuild"]

_UNKNOWN = "its events are unknown, except for those that are in other files"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it."""

    notes: list[str]  # lost generations, recovered and unchanged files
    damaged: list[str]  # keys of generations that nothing needs any more
    unreadable: list[DataFile]  # files that are not part of the database any more


def rebuild(place: Place) -> Rebuilt:
    """Publish a generation with all intact files, while no other process writes."""
    if isinstance(place, Folder):
        (place.path / GENERATIONS).mkdir(exist_ok=True)
    notes: list[str] = []
    try:
        marker = read_marker(place)
    except CorruptFileError as error:
        notes.append(f"created again: {NAME} ({error.message})")
        marker = None
    found = _Found(place, marker)
    newest = max(
        [marker.generation if marker else 0, *manifest.numbers(place), *found.closed()], default=0
    )
    missing = found.missing(newest)
    notes += (f"generation {number} is lost: {_UNKNOWN}" for number in missing)
    files = found.files()
    if marker is None or missing:
        files = _Lost(place, found, notes, newest + 1).added_to(files)
    layouts = found.layouts(files.values())
    kept = tuple(file for file in files.values() if file.fingerprint in layouts)
    change = Change(kept, frozenset(), layouts, found.sources)
    _publish(place, Generation(newest + 1, EMPTY, change))
    unreadable = [file for file in files.values() if file.fingerprint not in layouts]
    return Rebuilt(notes, found.damaged, unreadable)


def _publish(place: Place, generation: Generation) -> None:
    with place.staging() as staging:
        data, digest = encode_document(document_of(generation, place))
        if not place.create(manifest.key_of(generation.number), data, staging):
            msg = f"another process is repairing {str(place)!r}"
            raise LockedError(msg, hint="wait until it has finished, and run the check again")
        replace_marker(place, staging, Marker(uuid4().hex, generation.number, digest))


# --- generations and checkpoints ------------------------------------------------------------


class _Found:
    """The content of all readable generations, and of the checkpoints.

    It starts with the longest chain of generations from the empty database on, or with a
    checkpoint that is newer; each later readable generation follows.
    """

    def __init__(self, place: Place, marker: Marker | None) -> None:
        self._place = place
        self._generations: dict[int, tuple[Generation, str]] = {}
        self._layouts: dict[str, Layout] = {}
        self.damaged: list[str] = []
        self.sources: dict[str, Source] = {}
        self.dropped: set[str] = set()
        for number in sorted(manifest.numbers(place)):
            try:
                self._generations[number] = manifest.read(place, number)
            except CorruptFileError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # the file may be intact
                self.damaged.append(manifest.key_of(number))
        for found, _ in self._generations.values():
            self.dropped |= found.change.dropped
            self._layouts |= found.change.layouts
        self._chain = self._longest_chain()
        self._base = max(self._chain, default=0)
        self._held = self._checkpoint(marker)
        if self._held is not None:
            self._chain, self._base = [], self._held.generation
            self._layouts |= self._held.layouts

    @property
    def is_certain(self) -> bool:
        """Whether no file can be named beside one that replaces it."""
        return self._held is None

    def closed(self) -> Iterator[int]:
        """Yield the last number of each closed block."""
        for key in manifest.closing_keys(self._place):
            yield manifest.last_of_block(key)

    def _longest_chain(self) -> list[int]:
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

    def _checkpoint(self, marker: Marker | None) -> Snapshot | None:
        """Return the newest checkpoint beyond the chain that no generation contradicts."""
        links = {(each.since.number, each.since.digest) for each, _ in self._generations.values()}
        links |= {(number, digest) for number, (_, digest) in self._generations.items()}
        links |= {(marker.generation, marker.digest)} if marker else set()
        for number in reversed(checkpoint.numbers(self._place)):
            if number <= self._base:
                return None
            try:
                held = checkpoint.read(self._place, number)
                held = replace(held, sources=dict(held.sources))
            except Exception:  # noqa: BLE001, S112 - a damaged file can cause any error
                continue  # `check` reports it
            if all(known != number or digest == held.digest for known, digest in links):
                return held
        return None

    def missing(self, newest: int) -> list[int]:
        """Return the generations up to `newest` that are not certain to be covered."""
        covered: set[int] = set()
        for number, (found, _) in self._generations.items():
            # One that covers what a checkpoint holds does not say what was dropped of it.
            start = number if found.since.number < self._base else found.since.number + 1
            covered |= set(range(start, number + 1))
        return [number for number in range(self._base + 1, newest + 1) if number not in covered]

    def files(self) -> dict[str, DataFile]:
        """Return the files by path; then `sources` are those of the same moment."""
        held = self._held
        files = {} if held is None else {file.path: file for file in held.files}
        self.sources |= {} if held is None else held.sources
        later = [number for number in sorted(self._generations) if number > self._base]
        for number in (*self._chain, *later):
            found = self._generations[number][0]
            change, since = found.change, found.since.number
            new = {file.path: file for file in change.files}
            for path in change.dropped:
                files.pop(path, None)
            if held is not None and since < self._base:  # it names all that came after `since`
                files = {p: f for p, f in files.items() if f.generation <= since or p in new}
            for key in change.forgotten:
                self.sources.pop(key, None)
            files |= new
            self.sources |= change.sources
        return files

    def add_layout(self, layout: Layout) -> None:
        """Add a layout that was read from a data file."""
        self._layouts.setdefault(layout.fingerprint, layout)

    def layouts(self, files: Collection[DataFile]) -> dict[str, Layout]:
        """Return the layouts of files; those that are lost are read from the files."""
        for file in files:
            if file.fingerprint not in self._layouts:
                with (
                    contextlib.suppress(*checksums.DAMAGE),
                    checksums.at_hand(file, self._place) as held,
                    pq.ParquetFile(held.path) as parquet,
                ):
                    self.add_layout(layout_of(parquet))
        wanted = {file.fingerprint for file in files}
        return {key: layout for key, layout in self._layouts.items() if key in wanted}


# --- data files -----------------------------------------------------------------------------


class _Lost:
    """Files that no generation names, which may belong to a lost generation.

    A file that was merged names those that it replaces. Either it is part of the database or they
    are, and those that they replace.
    """

    def __init__(self, place: Place, found: _Found, notes: list[str], generation: int) -> None:
        self._place = place
        self._found = found
        self._notes = notes
        self._generation = generation
        self._parts: dict[str, frozenset[str]] = {}  # the names of what each file here replaces

    def added_to(self, files: Mapping[str, DataFile]) -> dict[str, DataFile]:
        """Return files, with those that are recovered and without those that they replace."""
        others = [
            url
            for entry in self._place.loose(DATA)
            if (url := self._place.url(entry.key)).endswith(".parquet") and url not in files
        ]
        dropped = [url for url in others if url in self._found.dropped]
        candidates = self._described(sorted({*others} - {*dropped}))
        if not candidates and self._found.is_certain:
            return dict(files)
        for url in (*files, *dropped):
            if self._place.has(self._place.key(url)):
                self._parts[_name(url)] = self._replaced(url)
        gone = {  # whose events are in the files from which they were merged
            name for name in candidates if self._parts[name] and self._parts[name] <= {*self._parts}
        }
        for name in self._parts.keys() - gone:
            gone |= self._all_parts(name)
        known = {_name(path): file for path, file in files.items()}
        for name in sorted(candidates.keys() - gone):
            file = known[name] = candidates[name]
            self._notes.append(
                f"recovered: {file.rows:,} events of {file.schema_name} in {file.path}"
            )
        return {file.path: file for name, file in known.items() if name not in gone}

    def _described(self, urls: Iterable[str]) -> dict[str, DataFile]:
        """Return the intact ones of some files, by name."""
        files: dict[str, DataFile] = {}
        for url in urls:
            try:
                with self._place.at_hand(self._place.key(url)) as path:
                    file, layout, replaces = describe(path, self._place, url)
            except (*checksums.DAMAGE, CorruptFileError) as error:
                reason = str(error).partition("\n")[0]
                self._notes.append(f"not changed: {url}, which no generation names ({reason})")
                continue
            files[_name(url)] = replace(file, generation=self._generation)
            self._parts[_name(url)] = replaces
            self._found.add_layout(layout)
        return files

    def _replaced(self, url: str) -> frozenset[str]:
        """Return the names of the files that one replaces; none if it is damaged."""
        with (
            contextlib.suppress(*checksums.DAMAGE, CorruptFileError),
            self._place.at_hand(self._place.key(url)) as path,
        ):
            return checksums.replaced_by(path)
        return frozenset()

    def _all_parts(self, name: str) -> set[str]:
        """Return the names of the files that one replaces, and of those that these replace."""
        found: set[str] = set()
        waiting = list(self._parts[name])
        while waiting:
            part = waiting.pop()
            if part not in found:
                found.add(part)
                waiting += self._parts.get(part, ())
        return found


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def describe(path: Path, place: Place, url: str) -> tuple[DataFile, Layout, frozenset[str]]:
    """Return the manifest entry of a file, its layout, and the names of the files it replaces.

    Parameters
    ----------
    path
        The file, or a copy of it on this machine.
    place, url
        The database, and how it names the file.
    """
    tail = checksums.tail_of(path)
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        layout = layout_of(parquet)
        groups = range(parquet.num_row_groups)
        rows = (checksums.rows_of(parquet, group, layout) for group in groups)
        ranges = statistics.merge(
            statistics.of(batch, layout.schema) for batches in rows for batch in batches
        )
    file = replace(writer.describe(path, place, layout, ranges, "", tail).file, path=url)
    if not any(tail):
        return file, layout, frozenset()
    verified = VerifiedFile(replace(file, path=str(path)))
    verified.verify_all()
    return file, layout, verified.replaces


def layout_of(parquet: pq.ParquetFile) -> Layout:
    note = (parquet.metadata.metadata or {})[columns.SCHEMA_KEY.encode()]
    schema = columns.decode_schema(note.decode())
    return Layout(arrow_schema.fingerprint(schema), schema)
