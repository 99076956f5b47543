"""Checkpoints: the content of a database at one generation, which saves reading those before it.

A checkpoint adds nothing to what the generations say. It is written after the commit of its
generation, which names every file anew without it; so it may be missing or damaged, and a reader
that does not know its version reads the generations instead, as all readers did before there were
checkpoints. It counts only if its digest is the one that the chain has for its generation.

It is a ZIP archive that is not compressed: ``generations/000000042.zip`` beside
``generations/000000042.json``, and is published in the same way.

::

    checkpoint.json     version, generation, its digest, layouts, and the SHA-256 of all others
    files.parquet       a row for each file; see `vastlab.store.file_table`
    bounds-0.parquet    the bounds of the columns for the first layout, and so on
    sources.parquet     a row for each source: its key, and the rest as JSON
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from vastlab.readers import columns
from vastlab.store import file_table
from vastlab.store.file_table import FileTable
from vastlab.store.files import Files
from vastlab.store.generation import (
    FORMAT,
    GENERATIONS,
    NewerVersionError,
    decode_source,
    encode_source,
    seal,
    unseal,
)
from vastlab.store.layout import DataFile, Layout, Source
from vastlab.store.place import Place
from vastlab.store.snapshot import Snapshot

__all__ = [
    "LEAST",
    "is_due",
    "is_same",
    "key_of",
    "keys",
    "numbers",
    "publish",
    "read",
    "remove_old",
]

VERSION = 1
LEAST = 512  # files of a database that has checkpoints
_SHARE = 50  # the part of the files that may be in generations after the checkpoint
_KEPT = 2  # checkpoints, should one of them be damaged
_NAME = re.compile(r"(\d{9,})\.zip")
_INDEX, _FILES, _SOURCES = "checkpoint.json", "files.parquet", "sources.parquet"


class _StoredSources(Mapping[str, Source]):
    """The sources in a checkpoint, decoded when they are first asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @cached_property
    def _sources(self) -> dict[str, Source]:
        keys, texts = (column.to_pylist() for column in file_table.read(self.data).columns)
        return {
            key: decode_source(key, json.loads(text)) for key, text in zip(keys, texts, strict=True)
        }

    def __getitem__(self, key: str) -> Source:
        return self._sources[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def key_of(number: int) -> str:
    """Return the key of the checkpoint of a generation."""
    return f"{GENERATIONS}/{number:09d}.zip"


def numbers(place: Place) -> list[int]:
    """List the generations that have a checkpoint, in order."""
    try:
        names = place.names(GENERATIONS)
    except FileNotFoundError:
        return []
    matches = map(_NAME.fullmatch, names)
    return sorted(int(match[1]) for match in matches if match)


def keys(place: Place) -> list[str]:
    """List the keys of all checkpoints."""
    return list(map(key_of, numbers(place)))


# --- reading --------------------------------------------------------------------------------


def read(place: Place, number: int) -> Snapshot:
    """Read a checkpoint; any error but `NewerVersionError` says that it is damaged."""
    key = key_of(number)
    with zipfile.ZipFile(io.BytesIO(place.read(key))) as archive:
        index, digest = unseal(archive.read(_INDEX))
        if index["version"] > VERSION:
            raise NewerVersionError(f"the checkpoint {place.url(key)!r}", index["version"])
        if not digest or index["generation"] != number:
            raise ValueError("it belongs to another generation")
        parts = {name: archive.read(name) for name in index["parts"]}
    for name, data in parts.items():
        if hashlib.sha256(data).hexdigest() != index["parts"][name]:
            raise ValueError(f"the checksum of {name} does not match its content")
    layouts = {
        key: Layout(key, columns.decode_schema(text)) for key, text in index["layouts"].items()
    }
    bounds = {key: parts[_bounds_name(at)] for at, key in enumerate(layouts)}
    table = FileTable(str(place), file_table.read(parts[_FILES]), bounds)
    sources = _StoredSources(parts[_SOURCES])
    files = Files.of_table(table)
    return Snapshot(number, layouts, files, sources, index["digest"], checkpoint=number)


def is_same(one: Snapshot, other: Snapshot) -> bool:
    """Return whether two snapshots have the same content, with all attributes of the files."""
    return one == other and all(
        _attributes(a) == _attributes(b) for a, b in zip(one.files, other.files, strict=True)
    )


def _attributes(file: DataFile) -> tuple[object, ...]:
    return file.generation, file.oldest, file.source, file.tail, dict(file.ranges)


def _bounds_name(layout: int) -> str:
    return f"bounds-{layout}.parquet"


# --- writing --------------------------------------------------------------------------------


def is_due(snapshot: Snapshot, since: int) -> bool:
    """Return whether a checkpoint should follow a commit.

    Parameters
    ----------
    snapshot
        The content after the commit.
    since
        The generation that the new one continues: readers pass over those between them.
    """
    total = len(snapshot.files)
    later = len(snapshot.files.added) if snapshot.checkpoint else total
    limit = max(LEAST, total // _SHARE)
    return total >= LEAST and (since < snapshot.checkpoint or later >= limit)


def publish(place: Place, staging: Path, snapshot: Snapshot) -> Snapshot:
    """Write the checkpoint of a snapshot, and return the snapshot as it would be read from it."""
    files = snapshot.files.tabled(snapshot.layouts)
    if files.added:
        return snapshot
    data = _encode(snapshot, files.table)
    is_new = place.create(key_of(snapshot.generation), data, staging)
    return replace(snapshot, files=files, checkpoint=snapshot.generation if is_new else 0)


def _encode(snapshot: Snapshot, table: FileTable) -> bytes:
    parts = {
        _FILES: file_table.write(table.table),
        _SOURCES: _encode_sources(snapshot.sources),
        **{_bounds_name(p): table.bounds[key].data for p, key in enumerate(snapshot.layouts)},
    }
    index = {
        "format": FORMAT,
        "version": VERSION,
        "generation": snapshot.generation,
        "digest": snapshot.digest,
        "layouts": {
            key: columns.encode_schema(layout.schema) for key, layout in snapshot.layouts.items()
        },
        "parts": {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(_INDEX, seal(index)[0])
        for name, data in parts.items():
            archive.writestr(name, data)
    return sink.getvalue()


def _encode_sources(sources: Mapping[str, Source]) -> bytes:
    if isinstance(sources, _StoredSources):
        return sources.data
    rest = [json.dumps(encode_source(source)) for source in sources.values()]
    table = pa.table({"key": pa.array(sources, pa.string()), "rest": pa.array(rest, pa.string())})
    return file_table.write(table)


def remove_old(place: Place) -> None:
    """Delete all but the newest checkpoints; those who read one have it in memory."""
    for number in numbers(place)[:-_KEPT]:
        place.delete(key_of(number))
