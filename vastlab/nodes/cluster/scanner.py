"""What runs on the workers: tasks, and scans of which the client pulls one piece at a time.

Answers are tuples whose first member says what they are, so that no other value can be taken for
one. Errors of vastlab are answers, too: what else is raised is the cluster's own failure.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Protocol

import pyarrow as pa

from vastlab.compile.groups import Groups
from vastlab.errors import VastlabError
from vastlab.nodes import plan, scan
from vastlab.nodes.cluster.payload import VERSIONS, Question, Work, differences, read, read_question
from vastlab.nodes.counting import Engine
from vastlab.nodes.plan import Task
from vastlab.nodes.small_files import SmallFiles, bundles
from vastlab.table_slice import TableSlice

PATIENCE = 5.0  # seconds after which a worker says that it is still reading
_SCANS_AT_ONCE = 4  # by one worker, for all clients together
_ABANDONED = 600.0  # seconds after which a scan is dropped of which no piece was pulled
_REMEMBERED = 1000  # calls that were stopped

Answer = tuple[Any, ...]


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
    return ("stopped",) if _here().is_stopped(call) else ("answer", value)


def _work(asked: Question, call: str) -> Any:
    tasks, here = asked.tasks(), _here()
    make_scan = partial(scan.FileScan, verify=asked.verify)

    def each(work: Callable[[scan.FileScan], Any]) -> list[Any]:
        answers = []
        for task in tasks:
            with here.running(call, make_scan(here.engine, task)) as reader:
                answers.append(work(reader))
        return answers

    match asked.work:
        case Work.COUNT:
            return _count(tasks, make_scan, call)
        case Work.GROUP:
            return _group(tasks, make_scan, call, Groups(*asked.more))
        case Work.SPANS:
            return each(lambda reader: reader.spans())
        case Work.TIMES:
            return each(lambda reader: reader.times())
        case Work.ROW_GROUPS:
            return [plan.count_row_groups(task) for task in tasks]
        case Work.READ:
            raise ValueError("events are pulled")


def _count(tasks: Sequence[Task], make_scan: scan.MakeScan, call: str) -> int:
    here, number = _here(), 0
    for part in bundles(tasks):
        reader: SmallFiles | scan.FileScan = (
            SmallFiles(here.engine, part, make_scan)
            if len(part) > 1
            else make_scan(here.engine, part[0])
        )
        with here.running(call, reader):
            number += reader.count()
    return number


def _group(
    tasks: Sequence[Task], make_scan: scan.MakeScan, call: str, groups: Groups
) -> pa.Buffer | None:
    here, layout = _here(), tasks[0].layout
    grouping = groups.grouping(layout.fingerprint, layout.schema)
    if grouping is None:
        return None
    for task in tasks:
        with here.running(call, make_scan(here.engine, task)) as reader:
            for found in reader.group(grouping):
                groups.add(layout.fingerprint, found)
    table = groups.partial(layout.fingerprint)
    return None if table is None else stream_of(table.schema, table.to_batches())


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
    if answer[0] in ("end", "error", "failed"):
        stop(name)
    else:
        pulled.expires(lambda: stop(name))
    return answer


class _Pulled:
    """A scan that reads one piece ahead of the client."""

    def __init__(self, asked: Question, skip: int) -> None:
        (task,) = asked.tasks()
        here = _here()
        self._reader = scan.FileScan(here.engine, task, verify=asked.verify)
        self._reader.is_first = asked.more
        self._skip = skip
        self._pool = here.pool
        self._ahead: asyncio.Future[Answer] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def next(self) -> Answer:
        """Return the next piece, or say that it is being read."""
        ahead = self._ahead = self._ahead or self._fetch()
        await asyncio.wait([ahead], timeout=PATIENCE)
        if not ahead.done():
            return ("working",)
        answer = ahead.result()
        self._ahead = self._fetch() if answer[0] == "piece" else None
        return answer

    def expires(self, drop: Callable[[], None]) -> None:
        """Begin anew to wait for the client."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(_ABANDONED, drop)

    def stop(self) -> None:
        """End the scan after the piece at hand."""
        self._reader.stop()
        if self._expiry is not None:
            self._expiry.cancel()

    def _fetch(self) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._pool, self._piece)

    def _piece(self) -> Answer:
        try:
            while slices := self._reader.piece():
                batches = list(self._new(slices))
                if batches:
                    return "piece", stream_of(batches[0].schema, batches)
            return ("end",)
        except VastlabError as error:
            return "error", error
        except BaseException as error:  # noqa: BLE001 - the client raises it
            return "failed", f"{type(error).__name__}: {error}"

    def _new(self, slices: Sequence[TableSlice]) -> Iterator[pa.RecordBatch]:
        """Leave out what the client has."""
        for part in slices:
            batch = part.to_pyarrow()
            known = min(self._skip, len(batch))
            self._skip -= known
            if known < len(batch):
                yield batch.slice(known)


def stream_of(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> pa.Buffer:
    """Return batches as a piece."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


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
