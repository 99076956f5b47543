"""What workers write: the events that a query finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.errors import NodeError
from vastlab.nodes import scan
from vastlab.nodes.cluster.payload import read_question
from vastlab.nodes.cluster.scanner import stream_of
from vastlab.store.layout import Layout
from vastlab.store.place import Folder
from vastlab.store.writer import Buffer, StagedFile


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
        buffer, few, size = Buffer(Folder(Path(self.place)), Path(self.staging)), [], 0
        for batch in self._events(here, call):
            if size <= self.few:
                few.append(batch)
                size += batch.nbytes
                if size <= self.few:
                    continue
                for each in few:
                    buffer.add(each)
                few = []
            else:
                buffer.add(batch)
        if here.is_stopped(call):
            return Written()
        if few:
            return Written(few=stream_of(few[0].schema, few))
        return Written(tuple(buffer.finish()), dict(buffer.layouts))

    def _events(self, here: Any, call: str) -> Iterator[pa.RecordBatch]:
        asked = read_question(self.question)
        for task in asked.tasks():
            reader = scan.FileScan(here.engine, task, verify=asked.verify)
            reader.is_first = False
            with here.running(call, reader):
                while slices := reader.piece():
                    yield from (part.to_pyarrow() for part in slices)


def must_see(folder: str) -> None:
    """Raise an error where a worker does not see a folder of the client."""
    if not Path(folder).is_dir():
        raise NodeError(
            f"a worker does not see the folder {folder}",
            hint="what is written must be at the same place on all machines of the cluster",
        )
