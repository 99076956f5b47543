"""The nodes: databases whose files are read by the workers of a cluster."""

from __future__ import annotations

import asyncio
import pickle
from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import distributed
import pyarrow as pa

from vastlab.compile.groups import Groups
from vastlab.endpoints import ObjectStoreEndpoint
from vastlab.errors import NodeError, VastlabError
from vastlab.expression.aggregates import Summary
from vastlab.expression.ast import Constant
from vastlab.nodes import plan, scan
from vastlab.nodes.base import Explanation, Query, Report, Step, completed, ignore
from vastlab.nodes.cluster import calls, writing
from vastlab.nodes.cluster.errands import Merge
from vastlab.nodes.cluster.payload import Work, question
from vastlab.nodes.cluster.scanner import batches_of
from vastlab.nodes.cluster.workers import Reading, Workers
from vastlab.nodes.database import DatabaseNode
from vastlab.nodes.engine import Engine
from vastlab.nodes.plan import Task
from vastlab.nodes.scan import Times
from vastlab.nodes.writing import StagedEvents
from vastlab.store.compact import CompactReport, parts_of
from vastlab.store.layout import DataFile
from vastlab.store.place import Place
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice

_LEAST, _MOST = 16 << 20, 512 << 20  # bytes of the files of one task
_MOST_FILES = 512  # of one task
_TASKS_PER_THREAD = 4  # so that no worker waits long for the others
_READ_AT_ONCE = 8  # files of one export at most, of each of which some pieces are in memory
_THREADS = 64  # of this process, which only wait for workers

_T = TypeVar("_T")


class ClusterNode(DatabaseNode):
    """A database that the workers of a cluster see at the same place as this process.

    Plans are made here, from the manifest, and what the workers write is added here.
    """

    _store: ObjectStoreEndpoint | None = None
    _read_by_worker = 1  # files of one export

    def _use(self, connect: Callable[[], distributed.Client], *, owned: bool, verify: bool) -> None:
        """Take the cluster.

        Parameters
        ----------
        connect
            Returns a connection to the scheduler; may block.
        owned
            Whether that connection is closed with the node.
        verify
            Whether what an answer depends on is compared with its checksums before it counts.
        """
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="vastlab-cluster")
        self._connect = connect
        self._owned = owned
        self._verify = verify
        self._workers: Workers | None = None

    # --- queries ----------------------------------------------------------------------------

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        return super().export(query, self._naming(report))

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        return await self._retried(partial(self._count_files, query, report), report)

    async def summarize(self, query: Query, summary: Summary, report: Report = ignore) -> Groups:
        """Group the events on the workers, and merge what they found."""
        return await self._retried(partial(self._group_files, query, summary, report), report)

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say which files and row groups would be read."""
        return await self._retried(partial(self._explain, query, report), report)

    def can_stage(self, query: Query, place: Place) -> bool:
        """Whether the workers can write all that a query finds."""
        return not query.limit and place.is_local

    async def stage(
        self, query: Query, place: Place, staging: Path, report: Report
    ) -> StagedEvents:
        """Let the workers write what a query finds to files of a staging folder."""
        return await self._retried(
            partial(self._stage_files, query, place, staging, report), report
        )

    async def compact(self, report: Report) -> CompactReport:
        """Let the workers merge small files, those of one layout and span of time each."""
        database = await completed(self._compactable)
        before, parts = await completed(lambda: (database.snapshot(), parts_of(database)))
        workers = await self._connected(report)

        async def ask(part: list[DataFile], call: str) -> list[str]:
            payload = pickle.dumps(Merge(str(database.place), tuple(part)))
            problems: list[str] = await calls.answer(workers, workers.task("merge", payload, call))
            return problems

        problems = [
            line for found in await calls.each(workers, parts, ask, report) for line in found
        ]
        after = (await completed(database.snapshot)).files
        return CompactReport(len(before.files), len(after), tuple(problems))

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the state of the database and of the cluster."""
        workers = await self._connected(report)
        cluster = await self._in_thread(workers.describe)
        return {**await super().status(report), "cluster": cluster}

    async def aclose(self) -> None:
        """End what runs, and close the connection where it is the node's own."""
        workers, self._workers = self._workers, None
        if workers is not None:
            await asyncio.to_thread(workers.close)
        await super().aclose()

    # --- the work ---------------------------------------------------------------------------

    async def _count_files(
        self, query: Query, report: Report, snapshot: Snapshot
    ) -> dict[str, int]:
        await self._connected(report)  # also where the manifest has the answer
        counts: Counter[str] = Counter()
        scans = []
        for task in plan.tasks(query, snapshot.layouts, snapshot.files):
            if task.bound == Constant(True):
                counts[task.file.schema_name] += task.file.rows
            else:
                scans.append(task)
        for part, number in await self._by_tasks(Work.COUNT, scans, report):
            counts[part[0].file.schema_name] += number
        return {name: number for name, number in sorted(counts.items()) if number}

    async def _group_files(
        self, query: Query, summary: Summary, report: Report, snapshot: Snapshot
    ) -> Groups:
        groups = Groups(summary, query.taxonomy)
        tasks, columns = [], set[str]()
        for task in plan.tasks(query, snapshot.layouts, snapshot.files):
            grouping = groups.grouping(task.file.fingerprint, task.layout.schema)
            if grouping is not None:
                tasks.append(task)
                columns |= grouping.columns
        more = (summary, query.taxonomy)
        for part, stream in await self._by_tasks(Work.GROUP, tasks, report, columns, more):
            if stream is not None:
                table = pa.ipc.open_stream(stream).read_all()
                await self._in_thread(partial(groups.add, part[0].file.fingerprint, table))
        return groups

    async def _explain(self, query: Query, report: Report, snapshot: Snapshot) -> Explanation:
        tasks = list(plan.tasks(query, snapshot.layouts, snapshot.files))
        answers = await self._by_tasks(Work.ROW_GROUPS, tasks, report)
        known = {
            task.file.path: found
            for part, numbers in answers
            for task, found in zip(part, numbers, strict=True)
        }
        return await self._in_thread(
            lambda: plan.explain(query, snapshot, lambda task: known[task.file.path])
        )

    async def _stage_files(
        self, query: Query, place: Place, staging: Path, report: Report, snapshot: Snapshot
    ) -> StagedEvents:
        workers = await self._connected(report)
        tasks = list(plan.tasks(query, snapshot.layouts, snapshot.files))
        parts = list(portions(tasks, await calls.threads(workers)))
        return await writing.stage(
            workers,
            parts,
            place,
            staging,
            report,
            asked=partial(self._question, Work.READ),
            run=partial(self._run, workers, "write"),
        )

    async def _by_tasks(
        self,
        work: Work,
        tasks: Sequence[Task],
        report: Report,
        columns: Collection[str] = (),
        more: Any = None,
    ) -> list[tuple[list[Task], Any]]:
        """Do some work with all files by Dask tasks; the answers have the files' order."""
        if not tasks:
            return []
        workers = await self._connected(report)
        parts = list(portions(tasks, await calls.threads(workers)))

        async def ask(part: list[Task], call: str) -> Any:
            payload = self._question(work, part, columns, more)
            return await self._run(workers, work.value, payload, part, call)

        return list(zip(parts, await calls.each(workers, parts, ask, report), strict=True))

    async def _run(
        self, workers: Workers, work: str, payload: bytes, part: Sequence[Task], call: str
    ) -> Any:
        """Run one task, about some files."""
        try:
            return await calls.answer(workers, workers.task(work, payload, call))
        except VastlabError as error:
            raise await self._in_thread(partial(self._explained, error, part)) from None

    async def _read(
        self, tasks: Iterable[Task], make_scan: scan.MakeScan | None = None
    ) -> AsyncGenerator[TableSlice, None]:
        workers = await self._connected(ignore)
        number = len(await calls.answer(workers, workers.threads()))
        width = max(2, min(number * self._read_by_worker, _READ_AT_ONCE))
        make = partial(_RemoteScan, workers, self._question, self._explained)
        stream = scan.export(self._engine(), self._pool, tasks, width, make)
        async with aclosing(stream):
            async for part in stream:
                yield part

    async def _each(
        self, tasks: Iterable[Task], work: Callable[[scan.FileScan, Task], _T]
    ) -> list[_T]:
        workers = await self._connected(ignore)
        threads = await calls.threads(workers)
        make = partial(_RemoteScan, workers, self._question, self._explained)
        width = min(calls.AHEAD * threads, _THREADS)
        return await scan.run(self._engine(), self._pool, tasks, width, make, work)

    def _question(
        self, work: Work, tasks: Sequence[Task], columns: Collection[str] = (), more: Any = None
    ) -> bytes:
        return question(
            work, tasks, verify=self._verify, store=self._store, columns=columns, more=more
        )

    def _explained(self, error: VastlabError, tasks: Sequence[Task]) -> VastlabError:
        """Say what is wrong where a worker does not see a file that is there; blocks."""
        if isinstance(error, scan.FileGoneError):
            gone = next((task.file for task in tasks if task.file.path in error.message), None)
            if gone is not None and self._is_there(gone):
                return self._unseen(gone, getattr(error, "worker", ""))
        return error

    @abstractmethod
    def _is_there(self, file: DataFile) -> bool:
        """Return whether this process sees a file."""

    @abstractmethod
    def _unseen(self, file: DataFile, worker: str) -> VastlabError:
        """Return the error where this process sees a file and a worker does not."""

    # --- the cluster ------------------------------------------------------------------------

    async def _connected(self, report: Report) -> Workers:
        if self._workers is None or (self._owned and not self._workers.is_open):
            report(Step("connecting to the cluster"))
            client = await self._in_thread(self._connect)
            self._workers = await self._in_thread(partial(Workers, client, owned=self._owned))
        if not self._workers.is_open:
            raise NodeError("the distributed.Client was closed", hint="connect() with another one")
        return self._workers

    def _naming(self, report: Report) -> Report:
        """Say where the events are read, as long as there are none."""

        def reports(item: Any) -> None:
            where = self._workers.where if self._workers is not None else ""
            report(Step(f"reading, {where}") if item == Step() and where else item)

        return reports


def portions(tasks: Sequence[Task], threads: int) -> Iterator[list[Task]]:
    """Divide files into tasks by their bytes: each has files of one layout that follow each other.

    Parameters
    ----------
    tasks
        The files.
    threads
        How many threads the cluster has.
    """
    total = sum(task.file.size for task in tasks)
    wanted = min(max(total // (_TASKS_PER_THREAD * threads), _LEAST), _MOST)
    part: list[Task] = []
    size = 0
    for task in tasks:
        is_full = size + task.file.size > wanted or len(part) == _MOST_FILES
        if part and (is_full or task.file.fingerprint != part[0].file.fingerprint):
            yield part
            part, size = [], 0
        part.append(task)
        size += task.file.size
    if part:
        yield part


class _RemoteScan(scan.FileScan):
    """The scan of a file by a worker; its methods block a thread of this process."""

    def __init__(
        self,
        workers: Workers,
        ask: Callable[..., bytes],
        explain: Callable[[VastlabError, Sequence[Task]], VastlabError],
        context: Engine,
        task: Task,
    ) -> None:
        super().__init__(context, task)
        self._workers, self._ask, self._explain = workers, ask, explain
        self._call = uuid4().hex
        self._reading = Reading(task.file.path, self._first_question)
        self._waiting: Any = None

    def piece(self) -> list[TableSlice]:
        """Fetch the next batches; none at the end of the file."""
        stream = self._wait(self._workers.pull(self._reading))
        if stream is None:
            return []
        batches = batches_of(stream)
        self._reading.rows += sum(map(len, batches))
        return [TableSlice(batch) for batch in batches]

    def spans(self) -> list[tuple[int, int]]:
        """Return the bounds of the event time in parts of the file that can be read apart."""
        (found,) = self._by_task(Work.SPANS)
        spans: list[tuple[int, int]] = found
        return spans

    def times(self) -> Times:
        """Return the event times that a task finds which asks for some; in nanoseconds."""
        (found,) = self._by_task(Work.TIMES)
        times: Times = found
        return times

    def stop(self) -> None:
        """Let the piece at hand be the last one; from any thread."""
        super().stop()
        if self._waiting is not None:
            self._waiting.cancel()
        self._workers.start(self._workers.end(self._reading))

    def _by_task(self, work: Work) -> Any:
        payload = self._ask(work, [self._task])
        return self._wait(self._workers.task(work.value, payload, self._call))

    def _first_question(self) -> bytes:
        return self._ask(Work.READ, [self._task], more=self.is_first)

    def _wait(self, asked: Any) -> Any:
        self._waiting = self._workers.start(asked)
        if self._stopped:
            self._waiting.cancel()
        try:
            return self._waiting.result()
        except CancelledError:
            raise NodeError("the scan was stopped") from None
        except VastlabError as error:
            raise self._explain(error, [self._task]) from None
