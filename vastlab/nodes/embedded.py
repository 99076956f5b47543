"""The embedded database, and a folder of logs."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vastlab._text import close_matches, plural
from vastlab.errors import UsageError
from vastlab.nodes import scan
from vastlab.nodes.arrivals import Arrivals
from vastlab.nodes.base import Notice, Report, Step
from vastlab.nodes.database import DatabaseNode, Started, state_of
from vastlab.readers import SCHEMAS, ReadOptions, Schemas, load_schemas
from vastlab.store.database import Database, OtherFilesError, is_database

if TYPE_CHECKING:
    from vastlab.store.ingest import IngestProgress, IngestReport
    from vastlab.store.log_folder import LogFolder

_COMPARED = 1000  # names, which takes no time that one notices


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


class EmbeddedNode(DatabaseNode):
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
        super().__init__(str(path), partial(scan.FileScan, verify=verify))
        self._path = path
        self._options = options or ReadOptions()
        self._make = make
        self._database: Database | None = None
        self._folder: LogFolder | None = None
        self._reported = ""

    async def aclose(self) -> None:
        """End what runs and release the threads."""
        self._database = self._folder = None
        await super().aclose()

    def _compactable(self) -> Database:
        if not is_database(self._path):
            raise UsageError(
                f"{self._path} is not a database",
                hint="`vastlab import` makes one of logs, and merges their files",
            )
        return Database.open(self._path)

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

    def _begin_continuous(self, report: Report) -> Started | Arrivals:
        # A snapshot of a database takes no time, so that its state at the call counts. A folder
        # of logs may have to be read first.
        if is_database(self._path):
            return Arrivals(*state_of(self._open(report)))
        return super()._begin_continuous(report)

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

        with self._filling(Database.complete) as database:
            return ingest(database, sources, **self._with_own_schemas(options))

    @contextlib.contextmanager
    def _filling(
        self, opened: Callable[[Path], contextlib.AbstractContextManager[Database]]
    ) -> Iterator[Database]:
        """Open the database to add events, or make it where there is none."""
        if self._make is not None:
            raise UsageError(f"{self._path} is read-only", hint="import into a folder of your own")
        if self._path.exists() and not self._path.is_dir():
            self._must_be_folder()
        try:
            with opened(self._path) as database:
                yield database
        except OtherFilesError as error:
            raise UsageError(
                f"{self._path} is a folder of logs, not a database",
                hint="it can be queried as it is; import into another folder",
            ) from error

    def _with_own_schemas(self, options: dict[str, Any]) -> dict[str, Any]:
        own = load_schemas([self._path / SCHEMAS])
        shared = options.get("schemas") or Schemas()
        return {**options, "schemas": Schemas(own.own + shared.own)}


def _reading(progress: IngestProgress) -> Step:
    done, total = progress.bytes_done, progress.bytes_total
    share = min(1.0, done / total) if done and total else None
    return Step(f"reading {plural(progress.files_total, 'log')}", progress.events, share)


def _suggest_folder(path: Path) -> str | None:
    """Suggest the neighbouring folder with the closest name, or the demo."""
    if path == Path("demo"):
        return "did you mean demo:?"
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        folders += (entry.name for entry in islice(entries, _COMPARED) if entry.is_dir())
    close = close_matches(path.name, folders)
    return f"did you mean {str(path.with_name(close[0]))!r}?" if close else None
