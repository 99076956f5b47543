"""The embedded database, and a folder of logs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from vastlab._text import close_matches, plural
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.compile.groups import Groups
from vastlab.errors import DatabaseError, UsageError
from vastlab.expression.aggregates import Summary
from vastlab.nodes import base, plan, scan
from vastlab.nodes.arrivals import Arrivals, settled
from vastlab.nodes.base import (
    Explanation,
    ExportMode,
    Limit,
    Notice,
    Query,
    Report,
    Step,
    ignore,
)
from vastlab.nodes.files import FileNode
from vastlab.readers import SCHEMAS, ReadOptions, Schemas, load_schemas, values
from vastlab.store.database import Database, OtherFilesError, is_database
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice
from vastlab.types import Field, Kind, Leaf, Schema, Type

if TYPE_CHECKING:
    from vastlab.store.ingest import IngestProgress, IngestReport
    from vastlab.store.log_folder import LogFolder

_Path = tuple[str, ...]


class FirstTypes:
    """Converts the batches of each schema to the types of its first batch.

    Later files may have other inferred types, but an export has one type per field. Values that do
    not fit become null, with one warning per field.
    """

    def __init__(self, report: Report) -> None:
        self._types: dict[str, dict[_Path, Type]] = {}
        self._report = report
        self._reported: set[tuple[str, _Path]] = set()

    def conform(self, part: TableSlice) -> TableSlice:
        """Return a batch in the types that the first batch of its name had."""
        schema = part.schema
        known = self._types.setdefault(part.name, {})
        wanted: dict[_Path, Type] = {}
        for leaf in schema.leaves:
            first = known.get(leaf.path)
            if first is None or first.kind is Kind.NULL:
                known[leaf.path] = leaf.type
            elif leaf.type.kind not in (first.kind, Kind.NULL):
                wanted[leaf.path] = first
        return self._converted(part, schema, wanted) if wanted else part

    def _converted(self, part: TableSlice, schema: Schema, wanted: dict[_Path, Type]) -> TableSlice:
        flat = convert.flatten(part.to_pyarrow())
        target = replace(schema, fields=_retyped(schema.fields, wanted, ()))
        columns = [
            self._column(flat.column(i), flat.schema.field(i), part.name, leaf, wanted)
            for i, leaf in enumerate(schema.leaves)
        ]
        fields = convert.flat_schema(target)
        return TableSlice(convert.nest(pa.RecordBatch.from_arrays(columns, schema=fields), target))

    def _column(
        self, column: pa.Array, field: pa.Field, name: str, leaf: Leaf, wanted: dict[_Path, Type]
    ) -> pa.Array:
        type_ = wanted.get(leaf.path)
        if type_ is None:
            return column
        texts = render.text(column, field)
        if pa.types.is_floating(column.type) and type_.kind in (Kind.INT64, Kind.UINT64):
            # 2.0 is a whole number, but its text is not that of one.
            texts = pc.replace_substring_regex(texts, r"\.0$", "")
        if type_.kind in values.PLAIN_KINDS:
            found = values.from_text(texts, type_.kind)
        else:
            found = pa.nulls(len(texts), arrow_schema.type_to_arrow(type_))
        if len(values.lost_rows(texts, found)) and (name, leaf.path) not in self._reported:
            self._reported.add((name, leaf.path))
            line = (
                f"{name}: {leaf.name} was {type_} in the first events of this export; later "
                f"values of other types are null in it, but kept in the database"
            )
            self._report(Notice(line))
        return found


def _retyped(
    fields: tuple[Field, ...], wanted: dict[_Path, Type], above: _Path
) -> tuple[Field, ...]:
    return tuple(_retyped_field(member, wanted, (*above, member.name)) for member in fields)


def _retyped_field(member: Field, wanted: dict[_Path, Type], path: _Path) -> Field:
    if path in wanted:
        return Field(member.name, wanted[path])
    if member.type.kind is Kind.RECORD:
        fields = _retyped(member.type.fields, wanted, path)
        return Field(member.name, replace(member.type, fields=fields))
    return member


POLL_SECONDS = 0.2
_ATTEMPTS = 3
_COMPARED = 1000  # names, which takes no time that one notices

_T = TypeVar("_T")


class Maker(Protocol):
    """Makes a database."""

    def __call__(
        self,
        target: Path,
        /,
        *,
        progress: Callable[[int, int], None],
        cancelled: threading.Event | None,
    ) -> None:
        """Make it there, telling how many events it has, and how many it is to have."""
        ...


class EmbeddedNode(FileNode):
    """A folder that is read by DataFusion in this process: a database, or plain logs.

    `make` creates a missing database, which is read-only then; `options` are for plain logs.
    """

    def __init__(
        self,
        path: Path,
        *,
        make: Maker | None = None,
        options: ReadOptions | None = None,
        verify: bool = True,
    ) -> None:
        super().__init__(path, partial(scan.FileScan, verify=verify))
        self._options = options or ReadOptions()
        self._make = make
        self._database: Database | None = None
        self._folder: LogFolder | None = None
        self._reported = ""

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        start = self._begin_continuous(report) if query.mode is ExportMode.CONTINUOUS else None
        return self._events(query, start, report)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        return await self._retried(partial(self._count, query), report)

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Group the events in the engine."""
        return await self._retried(partial(self._group, query, summary), report)

    async def span(self, query: Query, report: Report = ignore) -> int | None:
        """Return how long a time the files cover, by the manifest."""
        return plan.span(query, await self._snapshot(report))

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the folder holds: for each name the union over its layouts."""
        return (await self._snapshot(report)).schemas()

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say which files and row groups would be read."""
        snapshot = await self._snapshot(report)
        return await self._in_thread(partial(plan.explain, query, snapshot, plan.count_row_groups))

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        return base.describe(await self._snapshot(report), self._path)

    async def ingest(
        self,
        sources: Any,
        *,
        strict: bool = False,
        force: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
        **options: Any,
    ) -> IngestReport:
        """Add the events of files; the database is made where there is none."""
        cancelled = threading.Event()
        work = partial(
            self._ingest,
            sources,
            strict=strict,
            force=force,
            progress=progress,
            cancelled=cancelled,
            **options,
        )
        working = scan.in_thread(self._pool, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([working])  # it cleans up first
            raise

    async def aclose(self) -> None:
        """End what runs and release the threads."""
        self._database = self._folder = None
        await super().aclose()

    # --- the scan ---------------------------------------------------------------------------

    async def _events(
        self, query: Query, start: _Started | Arrivals | None, report: Report
    ) -> AsyncGenerator[TableSlice, None]:
        limit = Limit(query.total)
        if start is None:
            path, snapshot, stream, part = await self._begin(query, report)
            try:
                async with aclosing(stream):
                    while part is not None:
                        yield limit.cut(part)
                        if limit.is_reached:
                            return
                        part = await anext(stream, None)
            except scan.FileGoneError as error:
                await self._newer(snapshot, error)
                raise DatabaseError(
                    f"the database was rewritten while it was read: {self._path}",
                    hint="run the query again",
                ) from error
            start = Arrivals(path, snapshot)
        if not query.is_live:
            return
        arrivals = start if isinstance(start, Arrivals) else await start.answer()
        types = FirstTypes(report)
        while True:
            tasks = await self._arrived(query, arrivals, report)
            async with aclosing(self._read(tasks)) as parts:
                async for part in parts:
                    yield limit.cut(types.conform(part))
                    if limit.is_reached:
                        return
            await asyncio.sleep(POLL_SECONDS)

    async def _begin(
        self, query: Query, report: Report
    ) -> tuple[Path, Snapshot, AsyncGenerator[TableSlice, None], TableSlice | None]:
        """Start reading; as long as nothing was read, one may start again elsewhere."""
        path, snapshot = await self._look(_state, report)
        self._report_problems(report)
        while True:
            files = settled(snapshot.files) if query.is_live else snapshot.files
            tasks = plan.tasks(query, snapshot.layouts, files)
            if query.newest or query.per_schema:
                stream = self._read_by_schema(query, tasks, self._read)
            else:
                stream = self._read(tasks)
            try:
                return path, snapshot, stream, await anext(stream, None)
            except scan.FileGoneError as error:
                path, snapshot = await self._newer(snapshot, error)

    async def _arrived(
        self, query: Query, arrivals: Arrivals, report: Report
    ) -> Iterator[plan.Task]:
        """Look for files that came since the last look."""
        snapshot, files, repeats = await self._look(arrivals.next)
        for line in repeats:
            report(Notice(line))
        return plan.tasks(query, snapshot.layouts, files)

    # --- the folder -------------------------------------------------------------------------

    async def _look(self, at: Callable[[Database], _T], report: Report = ignore) -> _T:
        with _cancelling(threading.Event()) as cancelled:
            return await scan.in_thread(
                self._snapshot_executor, lambda: at(self._open(report, cancelled))
            )

    async def _snapshot(self, report: Report) -> Snapshot:
        return (await self._look(_state, report))[1]

    async def _retried(self, answer: Callable[[Snapshot], Awaitable[_T]], report: Report) -> _T:
        """Answer from a snapshot, and from a newer one where files of it are gone."""
        snapshot = await self._snapshot(report)
        self._report_problems(report)
        for _ in range(_ATTEMPTS):
            try:
                return await answer(snapshot)
            except scan.FileGoneError as error:
                _, snapshot = await self._newer(snapshot, error)
        raise DatabaseError(
            f"the database changes faster than it can be read: {self._path}", hint="try again"
        )

    def _report_problems(self, report: Report) -> None:
        """Report what could not be read of a folder of logs, whenever that changes."""
        if self._folder is None:
            return
        number, remarks, line = self._folder.problem_count, self._folder.remarks, ""
        if number:
            first = next((str(problem) for problem in self._folder.problems), "")
            line = f"{plural(number, 'problem')} with the logs in {self._path}: {first}"
        elif remarks:
            line = f"{plural(len(remarks), 'remark')} on the logs in {self._path}: {remarks[0]}"
        if line and line != self._reported:
            report(Notice(f"{line} (see status for more)" if number + len(remarks) > 1 else line))
        self._reported = line

    async def _newer(self, snapshot: Snapshot, error: scan.FileGoneError) -> tuple[Path, Snapshot]:
        """Return a newer snapshot, which explains why a file is gone, or raise."""
        path, newest = await self._look(_state)
        if newest.generation == snapshot.generation:
            raise error
        return path, newest

    def _begin_continuous(self, report: Report) -> _Started | Arrivals:
        # A snapshot of a database takes no time, so that its state at the call counts. A folder
        # of logs may have to be read first.
        if is_database(self._path):
            return Arrivals(*_state(self._open(report)))
        cancelled = threading.Event()
        look = self._snapshot_executor.submit(
            lambda: Arrivals(*_state(self._open(report, cancelled)))
        )
        return _Started(look, cancelled)

    def _open(self, report: Report, cancelled: threading.Event | None = None) -> Database:
        """Open the database; make it, or read the folder of logs, where that is needed."""
        try:
            return self._prepared(report, cancelled)
        finally:
            report(Step())

    def _prepared(self, report: Report, cancelled: threading.Event | None) -> Database:
        if self._make is not None and not is_database(self._path):

            def making(made: int, of: int) -> None:
                report(Step("making the demo database", made, made / of))

            self._make(self._path, progress=making, cancelled=cancelled)
        if is_database(self._path):
            if self._database is None:
                self._database = Database.open(self._path)
            return self._database
        self._must_be_folder()
        if self._folder is None:
            from vastlab.store.log_folder import LogFolder  # here, since a database needs it not

            self._folder = LogFolder(self._path, **self._options)
        return self._folder.refresh(
            lambda progress: report(_reading(progress)), cancelled=cancelled
        )

    def _must_be_folder(self) -> None:
        if self._path.is_dir():
            return
        if self._path.exists():
            raise UsageError(
                f"{self._path} is a file, not a folder",
                hint="name its folder, or import the file into a database",
            )
        raise UsageError(
            f"no such folder: {self._path}",
            hint=_suggest_folder(self._path)
            or 'an endpoint is a folder such as "m57.db" (`vastlab import` makes it) or a '
            'node such as "localhost:5158"',
        )

    def _ingest(self, sources: Any, **options: Any) -> IngestReport:
        from vastlab.store.ingest import ingest  # here, since most calls only read

        if self._make is not None:
            raise UsageError(f"{self._path} is read-only", hint="import into a folder of your own")
        if self._path.exists() and not self._path.is_dir():
            self._must_be_folder()
        try:
            own = load_schemas([self._path / SCHEMAS])
            shared = options.get("schemas") or Schemas()
            options["schemas"] = Schemas(own.own + shared.own)
            with Database.complete(self._path) as database:
                return ingest(database, sources, **options)
        except OtherFilesError as error:
            raise UsageError(
                f"{self._path} is a folder of logs, not a database",
                hint="it can be queried as it is; import into another folder",
            ) from error


def _reading(progress: IngestProgress) -> Step:
    done, total = progress.bytes_done, progress.bytes_total
    share = min(1.0, done / total) if done and total else None
    return Step(f"reading {plural(progress.files_total, 'log')}", progress.events, share)


@dataclass(frozen=True, slots=True)
class _Started:
    """The first snapshot of a folder, which is taken before it is awaited."""

    look: Future[Arrivals]
    cancelled: threading.Event

    async def answer(self) -> Arrivals:
        with _cancelling(self.cancelled):
            return await asyncio.wrap_future(self.look)


@contextlib.contextmanager
def _cancelling(cancelled: threading.Event) -> Iterator[threading.Event]:
    """Cancel the work of the thread with the call: it would read a large folder to its end."""
    try:
        yield cancelled
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _suggest_folder(path: Path) -> str | None:
    """Suggest the neighbouring folder with the closest name, or the demo."""
    if path == Path("demo"):
        return "did you mean demo:?"
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        folders += (entry.name for entry in islice(entries, _COMPARED) if entry.is_dir())
    close = close_matches(path.name, folders)
    return f"did you mean {str(path.with_name(close[0]))!r}?" if close else None


def _state(database: Database) -> tuple[Path, Snapshot]:
    return database.path, database.snapshot()
