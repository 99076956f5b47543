"""What workers write: the events that a query finds, those of logs, and merged files."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.errors import NodeError
from vastlab.nodes.cluster.payload import read_question
from vastlab.nodes.cluster.scanner import Files, store_variables, stream_of
from vastlab.nodes.writing import place_of
from vastlab.store.buffer import Buffer
from vastlab.store.compact import compact_part
from vastlab.store.database import Database
from vastlab.store.ingest import StagedImport, stage
from vastlab.store.layout import DataFile, Layout, Source
from vastlab.store.place import Folder
from vastlab.store.sources import FileSource
from vastlab.store.writer import StagedFile


@dataclass(frozen=True, slots=True)
class Written:
    """Files that a worker has staged, or some events that are too few for a file."""

    files: tuple[StagedFile, ...] = ()
    layouts: Mapping[str, Layout] | None = None
    few: pa.Buffer | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Stage what a query finds in some files of one layout.

    Parameters
    ----------
    question
        The files, and what to look for.
    place
        The folder of the new database.
    staging
        The staging folder in it.
    few
        How many bytes of events are sent to the client, so that no worker writes a small file.
    """

    question: bytes
    place: str
    staging: str
    few: int

    def run(self, here: Any, call: str) -> Written:
        """Do it on a worker."""
        must_see(self.staging)
        few: list[pa.RecordBatch] = []
        size = 0
        with Buffer(Folder(Path(self.place)), Path(self.staging)) as buffer:
            for batch in self._events(here, call):
                if size > self.few:
                    buffer.add(batch)
                    continue
                few.append(batch)
                size += batch.nbytes
                if size > self.few:
                    for each in few:
                        buffer.add(each)
                    few = []
            if here.is_stopped(call):
                return Written()
            if few:
                return Written(few=stream_of(few[0].schema, few))
            return Written(tuple(buffer.finish()), dict(buffer.layouts))

    def _events(self, here: Any, call: str) -> Iterator[pa.RecordBatch]:
        asked = read_question(self.question)
        files = Files(asked)
        for task in asked.tasks():
            reader = files.open(task)
            reader.is_first = False
            with here.running(call, reader):
                while slices := reader.piece():
                    yield from (part.to_pyarrow() for part in slices)


@dataclass(frozen=True, slots=True)
class Import:
    """Stage the events of some logs.

    Parameters
    ----------
    sources
        The logs.
    known
        Logs of the same sizes or paths that were imported before.
    place
        The folder of the database.
    staging
        A staging folder of it.
    settings
        More arguments for `vastlab.store.ingest.stage`.
    """

    sources: tuple[FileSource, ...]
    known: tuple[Source, ...]
    place: str
    staging: str
    settings: Mapping[str, Any]

    def run(self, here: Any, call: str) -> StagedImport:
        """Do it on a worker."""
        must_see(self.staging)
        for source in self.sources:
            if not source.path.exists():
                raise NodeError(
                    f"a worker does not find the file {source.path}",
                    hint="logs must be at the same place on all machines of the cluster",
                )
        stop = _Stop()
        with here.running(call, stop):
            return stage(
                Folder(Path(self.place)),
                Path(self.staging),
                self.sources,
                self.known,
                cancelled=stop.event,
                **self.settings,
            )


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge some files of a database, and commit what they became.

    Parameters
    ----------
    place
        The database.
    part
        The files, of `vastlab.store.compact.parts_of`.
    """

    place: str
    part: tuple[DataFile, ...]

    def run(self, here: Any, call: str) -> list[str]:
        """Do it on a worker; return why some files were not changed."""
        stop = _Stop()
        with here.running(call, stop):
            database = _database(self.place, store_variables())
            return compact_part(database, self.part, is_stopped=stop.event.is_set)


@lru_cache(maxsize=4)
def _database(place: str, _variables: frozenset[tuple[str, str]]) -> Database:
    """Return a database, of which a worker keeps what it knows."""
    found = place_of(place)
    if found.is_local:
        must_see(place)
    return Database.open(found)


class _Stop:
    """Ends an import or a merge when its call is stopped."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def stop(self) -> None:
        """End it; from any thread."""
        self.event.set()


def must_see(folder: str) -> None:
    """Raise an error where a worker does not see a folder of the client."""
    if not Path(folder).is_dir():
        raise NodeError(
            f"a worker does not see the folder {folder}",
            hint="what is written must be at the same place on all machines of the cluster",
        )
