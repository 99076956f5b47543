"""Importing files and events in memory into a database, all or nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from vastlab.errors import FormatError
from vastlab.readers import ReadOptions
from vastlab.readers.source import check_encoding
from vastlab.store import compact
from vastlab.store.buffer import Buffer
from vastlab.store.database import Database, refuse_duplicates
from vastlab.store.layout import Layout, Source
from vastlab.store.place import Place
from vastlab.store.snapshot import Snapshot
from vastlab.store.source_reading import IngestReport, SourceReader
from vastlab.store.sources import AnySource, IngestProgress, Meter, expand
from vastlab.store.writer import StagedFile

__all__ = [
    "IngestProgress",
    "IngestReport",
    "StagedImport",
    "commit",
    "ingest",
    "must_have_read",
    "stage",
]


def ingest(
    database: Database,
    sources: object,
    *,
    strict: bool = False,
    force: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
    cancelled: threading.Event | None = None,
    budget: int | None = None,
    target_size: int | None = None,
    **options: Unpack[ReadOptions],
) -> IngestReport:
    """Add the events of files or of objects in memory to a database, in one step.

    Readers of the database see all of the events or none. An unreadable source is listed in the
    report, and the other sources are imported. If all sources are unreadable, or at the first
    problem if `strict`, an error is raised. With `force`, imported files are read again. Another
    thread may set `cancelled`; nothing is added then.
    """
    check_encoding(options.get("encoding"))
    started = time.monotonic()
    with database.staging() as staging:
        staged = stage(
            database.place,
            staging,
            expand(sources),
            database.snapshot().sources.values(),
            strict=strict,
            force=force,
            progress=progress,
            cancelled=cancelled,
            budget=budget,
            target_size=target_size,
            **options,
        )
        must_have_read([staged])
        commit(database, [staged], force=force)
    compact.merge_after_import(database)
    return replace(staged.report, elapsed=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class StagedImport:
    """What was read of some sources, and is not yet part of a database."""

    report: IngestReport
    files: tuple[StagedFile, ...]
    layouts: Mapping[str, Layout]
    sources: tuple[Source, ...]
    errors: tuple[FormatError, ...]  # of sources that could not be read
    used: int  # sources that were read


def stage(
    place: Place,
    staging: Path,
    sources: Iterable[AnySource],
    known: Iterable[Source],
    *,
    strict: bool = False,
    force: bool = False,
    progress: Callable[[IngestProgress], None] | None = None,
    cancelled: threading.Event | None = None,
    budget: int | None = None,
    target_size: int | None = None,
    **options: Unpack[ReadOptions],
) -> StagedImport:
    """Read sources into files of a staging folder; those that are `known` are skipped."""
    meter = Meter(progress, cancelled)
    with (
        Buffer(place, staging, budget=budget, target_size=target_size) as from_memory,
        Buffer(place, staging, budget=budget, target_size=target_size) as read,
    ):
        work = SourceReader(from_memory, read, tuple(known), options, strict, force, meter)
        with work.copies:
            work.run(sources)
        files = from_memory.finish() + read.finish()
    meter.check_cancelled()
    layouts = {**from_memory.layouts, **read.layouts}
    return StagedImport(
        work.report(),
        tuple(files),
        layouts,
        tuple(work.read.values()),
        tuple(work.errors),
        work.used,
    )


def must_have_read(parts: Sequence[StagedImport]) -> None:
    """Raise an error if no source could be read."""
    errors = [error for part in parts for error in part.errors]
    if errors and not any(part.used or part.report.skipped for part in parts):
        raise _combined_error(errors)


def commit(database: Database, parts: Sequence[StagedImport], *, force: bool = False) -> None:
    """Add what was staged, in one step.

    Raises `LockedError` if another process has imported one of the files meanwhile, unless `force`.
    """
    files = [file for part in parts for file in part.files]
    sources = [source for part in parts for source in part.sources]
    layouts = {key: layout for part in parts for key, layout in part.layouts.items()}

    def check(snapshot: Snapshot) -> None:
        if not force:
            refuse_duplicates(sources, snapshot)

    if files or sources:
        database.commit(files, layouts, sources=sources, check=check)


def _combined_error(errors: list[FormatError]) -> FormatError:
    first = errors[0]
    if len(errors) == 1:
        return first
    more = f"{len(errors) - 1} more files cannot be read"
    return FormatError(f"{first.message}; {more}", hint=first.hint)
