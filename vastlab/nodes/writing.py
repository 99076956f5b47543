"""Writing what a query finds to a new database, in one step.

Everything is staged first: an error or a cancellation leaves no event behind.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from vastlab._optional import import_optional
from vastlab.endpoints import ObjectStoreEndpoint, PathEndpoint, parse_endpoint
from vastlab.errors import LockedError, UsageError
from vastlab.nodes.base import Node, Query, Report, Step, completed
from vastlab.readers.batch_check import BatchChecker
from vastlab.readers.problems import Problems
from vastlab.store import disk
from vastlab.store.buffer import Buffer
from vastlab.store.database import Database
from vastlab.store.generation import NAME
from vastlab.store.layout import Layout
from vastlab.store.place import Folder, Place
from vastlab.store.snapshot import Snapshot
from vastlab.store.writer import StagedFile
from vastlab.table_slice import TableSlice

_NEW = "name a path below which there is nothing"

StagedEvents = tuple[list[StagedFile], Mapping[str, Layout]]


@runtime_checkable
class Stager(Protocol):
    """A node whose events can be staged without passing through this process."""

    def can_stage(self, query: Query, place: Place) -> bool:
        """Whether `stage` takes such a query and place."""
        ...

    async def stage(
        self, query: Query, place: Place, staging: Path, report: Report
    ) -> StagedEvents:
        """Write what a query finds to files of a staging folder."""
        ...


def place_of(to: str | os.PathLike[str]) -> Place:
    """Return where a new database is to be; nothing is looked up yet."""
    match endpoint := parse_endpoint(to):
        case PathEndpoint(path):
            return Folder(path.absolute())
        case ObjectStoreEndpoint():
            bucket: Place = import_optional("vastlab.store.bucket", extra="cloud").Bucket(endpoint)
            return bucket
        case _:
            raise UsageError(
                f"events cannot be written to {endpoint}",
                hint="name a new folder, or s3://bucket/path",
            )


async def write(node: Node, query: Query, place: Place, report: Report) -> dict[str, int]:
    """Write what a query finds to a new database; return how many events, by schema."""
    if query.is_live:
        raise UsageError(
            f"events that are yet to arrive cannot be written: the mode is {query.mode.value}",
            hint="leave out the mode, or leave out to",
        )
    if not place.is_local:  # a folder is looked at where it is made
        await completed(partial(_must_be_new, place))
    with _new(place) as target, target.staging() as staging:
        if isinstance(node, Stager) and node.can_stage(query, target):
            files, layouts = await node.stage(query, target, staging, report)
        else:
            files, layouts = await _stage(node, query, target, staging, report)
        counts: dict[str, int] = {}
        for item in files:
            name = item.file.schema_name
            counts[name] = counts.get(name, 0) + item.file.rows
        await completed(partial(_commit, target, files, layouts))
    return {name: counts[name] for name in sorted(counts)}


@contextlib.contextmanager
def _new(place: Place) -> Iterator[Place]:
    """Give a place; a folder appears under its name when it is complete.

    In an object store nothing can be renamed: a database there is complete with its first
    generation.
    """
    if isinstance(place, Folder):
        with disk.complete_folder(place.path) as made:
            yield Folder(made)
        return
    yield place


def _must_be_new(place: Place) -> None:
    """Raise an error if there is something in an object store, but for an empty database.

    That is what a commit may leave that has failed.
    """
    names = place.names("")
    if names and (names != [NAME] or Database.open(place).snapshot().generation):
        raise UsageError(f"there is something at {place}", hint=_NEW)


def _commit(place: Place, files: list[StagedFile], layouts: Mapping[str, Layout]) -> None:
    def check(snapshot: Snapshot) -> None:
        if snapshot.generation:
            raise LockedError(f"another process has written to {place}", hint=_NEW)

    database = Database.create(place)
    if files:
        database.commit(files, layouts, check=check)


async def _stage(
    node: Node, query: Query, place: Place, staging: Path, report: Report
) -> StagedEvents:
    """Stage the events as they arrive in this process."""
    buffer = Buffer(place, staging)
    checker = BatchChecker("the answer", Problems(strict=True))

    def add(part: TableSlice) -> None:
        for batch in checker.convert(part.to_pyarrow(), part.name):
            buffer.add(batch)
        buffer.keep()

    try:
        async with aclosing(node.export(query, report)) as parts:
            async for part in parts:
                await completed(partial(add, part))
                report(Step("writing", sum(buffer.events.values())))
        return await completed(buffer.finish), buffer.layouts
    finally:
        await completed(buffer.close)
