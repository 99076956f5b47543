"""What runs on the workers: tasks, and scans of which the client pulls one piece at a time.

Answers are tuples whose first member says what they are, so that no other value can be taken for
one. Errors of vastlab are answers, too: what else is raised is the cluster's own failure.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from vastlab._optional import import_optional
from vastlab.compile.groups import Groups
from vastlab.endpoints import ObjectStoreEndpoint
from vastlab.errors import VastlabError
from vastlab.nodes import plan, scan
from vastlab.nodes.cluster.payload import VERSIONS, Question, Work, differences, read, read_question
from vastlab.nodes.engine import Engine
from vastlab.nodes.plan import Task
from vastlab.nodes.small_files import SmallFiles, bundles
from vastlab.table_slice import TableSlice

PATIENCE = 5.0  # seconds after which a worker says that it is still reading
_SCANS_AT_ONCE = 4  # by one worker, for all clients together
ABANDONED = 120.0  # seconds after which a scan is dropped of which no piece was pulled
_REMEMBERED = 1000  # calls that were stopped
_STORES = 8  # object stores that a worker keeps open

Answer = tuple[Any, ...]
_Part = TypeVar("_Part")
_T = TypeVar("_T")


# --- tasks ----------------------------------------------------------------------------------


def run(versions: Mapping[str, str], payload: bytes, call: str) -> Answer:
    """Answer one question, as a Dask task.

    Parameters
    ----------
    versions
        Those of the client.
    payload
        The question, which is only read where the versions are equal.
    call
        Names all tasks of one call, for `stop`.
    """
    if differences(versions):
        return "versions", dict(VERSIONS)
    try:
        asked = read(payload)
        value = _work(asked, call) if isinstance(asked, Question) else asked.run(_here(), call)
    except VastlabError as error:
        return "error", error
    except Exception as error:  # noqa: BLE001 - the client raises it
        return "failed", f"{type(error).__name__}: {error}"
    return ("stopped",) if _here().is_stopped(call) else ("answer", value)


def _work(asked: Question, call: str) -> Any:
    tasks, files = asked.tasks(), Files(asked)

    def of_each(work: Callable[[scan.FileScan], _T]) -> list[_T]:
        return files.each(tasks, lambda task: files.read(call, task, work))

    match asked.work:
        case Work.COUNT:
            parts = bundles(tasks) if asked.store is None else ([task] for task in tasks)
            return sum(files.each(parts, lambda part: files.count(call, part)))
        case Work.GROUP:
            return _group(tasks, of_each, Groups(*asked.more))
        case Work.SPANS:
            return of_each(lambda reader: reader.spans())
        case Work.TIMES:
            return of_each(lambda reader: reader.times())
        case Work.ROW_GROUPS:
            return files.each(tasks, files.row_groups)
        case Work.READ:
            raise ValueError("events are pulled")


def _group(
    tasks: Sequence[Task],
    of_each: Callable[[Callable[[scan.FileScan], None]], object],
    groups: Groups,
) -> pa.Buffer | None:
    layout = tasks[0].layout
    grouping = groups.grouping(layout.fingerprint, layout.schema)
    if grouping is None:
        return None

    def work(reader: scan.FileScan) -> None:
        for found in reader.group(grouping):
            groups.add(layout.fingerprint, found)

    of_each(work)
    table = groups.partial(layout.fingerprint)
    return None if table is None else stream_of(table.schema, table.to_batches())


class Files:
    """The files of a question, on a disk or in an object store.

    Requests to a store are made for several files at the same time.
    """

    def __init__(self, asked: Question) -> None:
        self._engine = _here().engine
        self._make_scan: scan.MakeScan = partial(scan.FileScan, verify=asked.verify)
        self.row_groups: Callable[[Task], tuple[int, int]] = plan.count_row_groups
        self._at_once = 1
        if asked.store is not None:
            module = import_optional("vastlab.nodes.object_scan", extra="cloud")
            files, self._at_once = _opened(asked.store, asked.verify, store_variables())
            self._make_scan = partial(module.ObjectScan, files=files)
            self.row_groups = partial(module.row_groups, files=files)

    def open(self, task: Task) -> scan.FileScan:
        """Return the scan of a file."""
        return self._make_scan(self._engine, task)

    def each(self, parts: Iterable[_Part], work: Callable[[_Part], _T]) -> list[_T]:
        """Do some work with each part; the answers have their order."""
        if self._at_once == 1:
            return list(map(work, parts))
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="vastlab-store") as pool:
            return list(pool.map(work, parts))

    def read(self, call: str, task: Task, work: Callable[[scan.FileScan], _T]) -> _T:
        """Do some work with a file, which ends with the call."""
        with _here().running(call, self.open(task)) as reader:
            return work(reader)

    def count(self, call: str, part: Sequence[Task]) -> int:
        """Count the events of a file, or of small ones together."""
        reader: SmallFiles | scan.FileScan = (
            SmallFiles(self._engine, part, self._make_scan) if len(part) > 1 else self.open(part[0])
        )
        with _here().running(call, reader):
            return reader.count()


@lru_cache(maxsize=_STORES)
def _opened(
    endpoint: ObjectStoreEndpoint, verify: bool, _variables: frozenset[tuple[str, str]]
) -> tuple[Any, int]:
    """Return the files of a store, and how many of them are read at the same time."""
    from vastlab.store import bucket, object_file  # here, since they need obstore

    return object_file.ObjectFiles(bucket.Bucket(endpoint), verify=verify), bucket.AT_ONCE


def store_variables() -> frozenset[tuple[str, str]]:
    """Return the variables by which a store is opened: it is opened again where they change."""
    return frozenset(
        (name, text)
        for name, text in os.environ.items()
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))
    )


def stop(name: str) -> None:
    """End the tasks of a call, or the scan of that name, after the file or piece at hand."""
    _here().stop(name)


def alive() -> Answer:
    """Say that this worker answers."""
    return ("alive",)


# --- scans ----------------------------------------------------------------------------------


async def pull(versions: Mapping[str, str], name: str, payload: bytes | None, skip: int) -> Answer:
    """Return the next piece of a scan, within some seconds.

    Parameters
    ----------
    versions
        Those of the client.
    name
        Names the scan.
    payload
        The question that begins it; None where it has begun.
    skip
        How many events to leave out at its beginning: those that the client has.
    """
    if differences(versions):
        return "versions", dict(VERSIONS)
    scans = _here().scans
    if name not in scans:
        if payload is None or _here().is_stopped(name):  # a stop can overtake the first pull
            return ("gone",)
        scans[name] = _Pulled(read_question(payload), skip)
    pulled = scans[name]
    answer = await pulled.next()
    if answer[0] not in ("piece", "working"):
        stop(name)
    elif scans.get(name) is pulled:
        pulled.expires(lambda: stop(name))
    return answer


class _Pulled:
    """A scan that reads one piece ahead of the client."""

    def __init__(self, asked: Question, skip: int) -> None:
        self._asked = asked
        self._reader: scan.FileScan | None = None
        self._is_stopped = False
        self._skip = skip
        self._pool = _here().pool
        self._ahead: asyncio.Future[Answer] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def next(self) -> Answer:
        """Return the next piece, or say that it is being read."""
        self._keep()
        ahead = self._ahead = self._ahead or self._fetch()
        await asyncio.wait([ahead], timeout=PATIENCE)
        if not ahead.done():
            return ("working",)
        answer = ahead.result()
        self._ahead = self._fetch() if answer[0] == "piece" else None
        return answer

    def expires(self, drop: Callable[[], None]) -> None:
        """Begin to wait for the client."""
        self._keep()
        self._expiry = asyncio.get_running_loop().call_later(ABANDONED, drop)

    def stop(self) -> None:
        """End the scan after the piece at hand."""
        self._is_stopped = True
        if self._reader is not None:
            self._reader.stop()
        self._keep()

    def _keep(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()

    def _fetch(self) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._pool, self._piece)

    def _piece(self) -> Answer:
        try:
            reader = self._reader = self._reader or self._begun()
            while not self._is_stopped and (slices := reader.piece()):
                batches = list(self._new(slices))
                if batches:
                    return "piece", stream_of(batches[0].schema, batches)
            # One that was stopped looks like one at its end.
            return ("gone",) if self._is_stopped else ("end",)
        except VastlabError as error:
            return "error", error
        except BaseException as error:  # noqa: BLE001 - the client raises it
            return "failed", f"{type(error).__name__}: {error}"

    def _begun(self) -> scan.FileScan:
        (task,) = self._asked.tasks()
        reader = Files(self._asked).open(task)
        reader.is_first = self._asked.more
        return reader

    def _new(self, slices: Sequence[TableSlice]) -> Iterator[pa.RecordBatch]:
        """Leave out what the client has."""
        for part in slices:
            batch = part.to_pyarrow()
            known = min(self._skip, len(batch))
            self._skip -= known
            if known < len(batch):
                yield batch.slice(known)


def stream_of(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> pa.Buffer:
    """Write batches; the size is taken first, since a buffer that grows is copied again."""
    measured = pa.MockOutputStream()
    _write(measured, schema, batches)
    buffer = pa.allocate_buffer(measured.size())
    _write(pa.FixedSizeBufferWriter(buffer), schema, batches)
    return buffer


def _write(sink: Any, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def batches_of(stream: pa.Buffer) -> list[pa.RecordBatch]:
    """Return the batches of a piece, without a copy."""
    with pa.ipc.open_stream(stream) as reader:
        return list(reader)


# --- this process ---------------------------------------------------------------------------


class _Stoppable(Protocol):
    def stop(self) -> None: ...


class _Here:
    """The engine of a worker, and what it is asked to do at the moment."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.pool = ThreadPoolExecutor(_SCANS_AT_ONCE, thread_name_prefix="vastlab-pull")
        self.scans: dict[str, _Pulled] = {}  # used by the worker's loop only
        self._lock = threading.Lock()
        self._readers: dict[str, set[Any]] = {}
        self._stopped: OrderedDict[str, None] = OrderedDict()

    @contextmanager
    def running(self, call: str, reader: Any) -> Iterator[Any]:
        """Stop a reader with its call; one of a call that was stopped before finds nothing."""
        with self._lock:
            self._readers.setdefault(call, set()).add(reader)
            if call in self._stopped:
                reader.stop()
        try:
            yield reader
        finally:
            with self._lock:
                self._readers[call].discard(reader)
                if not self._readers[call]:
                    del self._readers[call]

    def is_stopped(self, call: str) -> bool:
        """Whether a call was stopped: what was found for it is not all."""
        with self._lock:
            return call in self._stopped

    def stop(self, name: str) -> None:
        """Stop the readers of a call, those that are yet to come, or a scan."""
        pulled = self.scans.pop(name, None)
        if pulled is not None:
            pulled.stop()
            return
        with self._lock:
            self._stopped[name] = None
            if len(self._stopped) > _REMEMBERED:
                self._stopped.popitem(last=False)
            for reader in self._readers.get(name, ()):
                reader.stop()


def dask_setup(_worker: Any) -> None:
    """Load the engine when a worker starts that has this module as a preload."""
    _here().engine.usual  # noqa: B018 - made when it is first asked


@cache
def _here() -> _Here:
    """Return the state of this worker's process."""
    return _Here()
