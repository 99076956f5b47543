"""A connection to a Dask scheduler, and how its workers are asked."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import distributed
import pyarrow as pa
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from vastlab._text import plain, plural
from vastlab.errors import NodeConnectionError, NodeError, UsageError, VastlabError
from vastlab.nodes.cluster import scanner
from vastlab.nodes.cluster.payload import VERSIONS, differences, version_error

CONNECT_SECONDS = 10.0
"""How long to wait for the scheduler."""
WORKER_SECONDS = 30.0
"""How long to wait for the first worker, and for another one where all are gone."""
SILENCE_SECONDS = 60.0
"""After how long a worker that does not answer is given up."""
MOST_LOSSES = 4
"""How many workers may be lost for one piece or one task; as many as Dask tries itself."""
_CHECK_SECONDS = 10.0  # between two looks at the worker of a task
_PROBE_SECONDS = 3.0  # for a direct connection
_POLL_SECONDS = 0.2
_FAREWELL_SECONDS = 3.0  # that `close` waits for workers

_T = TypeVar("_T")


def check_client(client: Any) -> distributed.Client:
    """Return a client that can be asked from other threads, or raise a `UsageError`."""
    if not isinstance(client, distributed.Client):
        raise UsageError(
            f"cluster must be a distributed.Client, got {type(client).__name__}",
            hint="Client(cluster) makes one of a cluster, local_cluster(2) starts one here",
        )
    if client.asynchronous:
        raise UsageError(
            "an asynchronous distributed.Client cannot be used", hint="make one that is not"
        )
    return client


def connect_to(scheduler: str) -> distributed.Client:
    """Connect to the scheduler at ``host:port``; blocks."""
    try:
        asyncio.run(_identify(scheduler))
        return distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NodeConnectionError(
            f"no Dask scheduler answers at {plain(scheduler)}",
            hint=f"start one, as with `vastlab cluster`; the reason was: {_reason(error)}",
        ) from error


async def _identify(scheduler: str) -> None:
    """Ask who answers: a client would wait for ever for a server that is not Dask's."""
    security = distributed.Security().get_connection_args("client")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            comm = await distributed.comm.connect(scheduler, CONNECT_SECONDS, **security)
            try:
                await comm.write({"op": "identity", "reply": True})
                await comm.read()
            finally:
                comm.abort()
    except TimeoutError:
        raise OSError(f"no answer of a scheduler within {CONNECT_SECONDS:g} s") from None
    except OSError:
        raise
    except Exception as error:  # Dask takes any bytes for its own
        raise OSError("what answers there is not a scheduler") from error


class Workers:
    """The workers of a cluster; its coroutines run on Dask's own loop, by `start`.

    Parameters
    ----------
    client
        A connection to the scheduler.
    owned
        Whether `close` closes it.
    """

    def __init__(self, client: distributed.Client, *, owned: bool) -> None:
        self._client = client
        self._owned = owned
        self._open: set[Reading] = set()  # that a worker has begun
        self._ending: set[Any] = set()  # tasks that end something
        self._dropping: set[Any] = set()  # tasks that wait for lost workers to answer again
        self._silent: set[str] = set()
        self._proxied: dict[str, bool] = {}
        self.where = _where(client)
        """The number of workers, and where the dashboard is."""

    @property
    def is_open(self) -> bool:
        """Whether the scheduler may be asked."""
        return self._client.status not in ("closing", "closed")

    def close(self) -> None:
        """End all scans, and close the connection where it is owned; blocks."""
        if self.is_open:
            with suppress(CancelledError):
                self.start(self._end_all()).result()
        if self._owned:
            self._client.close()

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a coroutine on Dask's loop, which ends with the connection."""
        try:
            if self.is_open:
                return asyncio.run_coroutine_threadsafe(work, self._client.loop.asyncio_loop)
        except RuntimeError:  # it was closed just now
            pass
        work.close()
        closed: Future[_T] = Future()
        closed.set_exception(NodeError("the connection to the cluster was closed"))
        return closed

    def describe(self) -> dict[str, Any]:
        """Return what there is of the cluster for a status; blocks."""
        threads = self._client.nthreads()
        return {
            "scheduler": self._client.scheduler.address,
            "workers": len(threads),
            "threads": sum(threads.values()),
            "dashboard": _dashboard(self._client),
        }

    async def threads(self) -> Mapping[str, int]:
        """Return the number of threads of each worker that answers; wait for one if need be."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WORKER_SECONDS
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    known: Mapping[str, int] = await self._client.nthreads()
            except (OSError, AttributeError) as error:  # a closed client has no scheduler
                raise self._gone() from error
            self._silent &= known.keys()  # one that comes back is new
            if found := {each: n for each, n in known.items() if each not in self._silent}:
                return found
            if loop.time() > deadline:
                self._silent.clear()  # the next question may find that they answer again
                silent = f": {plural(len(known), 'worker')} do not answer" if known else ""
                raise NodeError(
                    f"the cluster at {self._address} has no workers{silent}",
                    hint="start some, as with `dask worker`, or look at their logs",
                )
            await asyncio.sleep(_POLL_SECONDS)

    # --- messages ---------------------------------------------------------------------------

    async def pull(self, reader: Reading) -> pa.Buffer | None:
        """Return the next piece of a scan, None at its end; begin again where a worker is lost."""
        losses = 0
        while True:
            begin: tuple[bytes | None, int] = (None, 0)
            if reader.worker is None:
                worker = await self._least_busy(reader.lost)
                reader.must_be_wanted()
                reader.worker, reader.name = worker, uuid4().hex
                self._open.add(reader)
                begin = (reader.question(), reader.rows)
            try:
                worker = reader.worker
                answer = await self._ask(worker, scanner.pull, VERSIONS, reader.name, *begin)
            except _LostError as error:
                losses += 1
                reader.lost = worker
                self._forget(reader)
                self._drop_later(worker, reader.name)
                if losses == MOST_LOSSES:
                    raise NodeError(
                        f"{MOST_LOSSES} workers were lost while they read {reader.path}: {error}",
                        hint="their logs may say more; often they need more memory",
                    ) from error
                await asyncio.sleep(_POLL_SECONDS)  # until the scheduler knows it, too
                continue
            reader.must_be_wanted()
            match answer:
                case ("piece", stream):
                    return stream
                case ("working",):
                    continue
                case ("gone",):
                    self._forget(reader)
                case ("end",):
                    self._forget(reader)
                    return None
                case _:
                    self._forget(reader)
                    raise self._failed(answer, worker)

    async def end(self, reader: Reading) -> None:
        """End a scan, also one that no worker has begun yet."""
        reader.is_ended = True
        worker = reader.worker
        if worker is not None:
            with self._is_ending():
                self._forget(reader)
                await self._tell(worker, reader.name)

    async def stop(self, call: str) -> None:
        """Let the workers end the tasks of a call."""
        with self._is_ending():
            workers = await self._client.nthreads()
            await asyncio.gather(*(self._tell(worker, call) for worker in workers))

    async def _end_all(self) -> None:
        for dropping in self._dropping:
            dropping.cancel()
        ending = [asyncio.ensure_future(self.end(reader)) for reader in self._open]
        if waited := {*ending, *self._ending, *self._dropping}:
            await asyncio.wait(waited, timeout=_FAREWELL_SECONDS)

    def _drop_later(self, worker: str, name: str) -> None:
        dropping = asyncio.ensure_future(self._drop(worker, name))
        self._dropping.add(dropping)
        dropping.add_done_callback(self._dropping.discard)

    async def _drop(self, worker: str, name: str) -> None:
        """End a scan of a lost worker if it answers again, as one does that was only stopped."""
        with suppress(OSError, AttributeError):  # the latter of a closed client
            async with asyncio.timeout(scanner.ABANDONED):  # then it drops the scan itself
                while worker in await self._client.nthreads():
                    if await self._tell(worker, name):
                        return
                    await asyncio.sleep(_POLL_SECONDS)

    @contextmanager
    def _is_ending(self) -> Iterator[None]:
        """Let `close` wait for this task."""
        task = asyncio.current_task()
        self._ending.add(task)
        try:
            yield
        finally:
            self._ending.discard(task)

    async def _tell(self, worker: str, name: str) -> bool:
        """Let a worker end something; return whether it answers."""
        try:
            await self._ask(worker, scanner.stop, name)
        except VastlabError:
            return False  # a worker that is gone has stopped
        return True

    async def _least_busy(self, lost: str | None) -> str:
        known = await self.threads()
        workers = [each for each in known if each != lost] or list(known)
        busy = [reader.worker for reader in self._open]
        return min(workers, key=lambda each: (busy.count(each), each))

    def _forget(self, reader: Reading) -> None:
        self._open.discard(reader)
        reader.worker = None

    async def _ask(self, worker: str, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function on a worker's loop.

        The answer comes directly where it can: what the scheduler passes on costs twice.
        """
        if worker not in self._proxied:
            self._proxied[worker] = await self._is_unreachable(worker)
        message = {
            "function": pickle.dumps(function),
            "args": pickle.dumps(args),
            "wait": True,
        }
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                if self._proxied[worker]:
                    asked = {"op": "run", **message}
                    answer = await self._client.scheduler.proxy(worker=worker, msg=asked)
                else:
                    answer = await self._client.rpc(worker).run(**message)
        except TimeoutError as error:
            self._silent.add(worker)
            raise _LostError(f"{worker} does not answer") from error
        except (OSError, KeyError) as error:  # KeyError: the scheduler does not know it any more
            raise _LostError(f"{worker} is gone: {_reason(error)}") from error
        except Exception as error:
            raise await self._unexpected(error, worker) from error
        if answer["status"] != "OK":
            raise await self._unexpected(answer.get("exception"), worker)
        return answer["result"]

    async def _is_unreachable(self, worker: str) -> bool:
        if self._client.direct_to_workers is False:
            return True
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._client.rpc(worker).identity()
        except OSError:
            return True
        return False

    # --- tasks ------------------------------------------------------------------------------

    async def task(self, work: str, payload: bytes, call: str) -> Any:
        """Run one task; Dask gives it to another worker where one is lost."""
        hung = 0
        while True:
            chosen: dict[str, Any] = {}
            if self._silent:
                chosen = {"workers": list(await self.threads()), "allow_other_workers": True}
            future = self._client.submit(
                scanner.run,
                dict(VERSIONS),
                payload,
                call,
                key=f"vastlab-{work}-{uuid4().hex}",
                pure=False,
                **chosen,
            )
            waiter = asyncio.ensure_future(self._value(future))
            try:
                silent = await self._watched(future, waiter)
            finally:
                if not waiter.done():
                    waiter.cancel()
                    await asyncio.wait([waiter])
                    await self._client.cancel([future], force=True)
            if silent is None:
                return waiter.result()
            hung += 1
            if hung == MOST_LOSSES:
                raise NodeError(
                    f"{MOST_LOSSES} workers did not answer any more, the last is {silent}",
                    hint="look at their logs, or start more of them",
                )

    async def _value(self, future: Any) -> Any:
        try:
            answer = await future
        except (FutureCancelledError, OSError) as error:
            raise self._gone() from error
        except KilledWorker as error:
            raise NodeError(
                f"{error.allowed_failures + 1} workers died while they ran the same task",
                hint="most often there was too little memory: start workers with more of it, or "
                "with fewer threads",
            ) from error
        except Exception as error:
            raise await self._unexpected(error, "") from error
        # A future that was cancelled can look like one that has a value.
        if future.status != "finished":
            raise self._gone()
        match answer:
            case ("answer", value):
                return value
            case _:
                raise self._failed(answer, "of the task")

    async def _watched(self, future: Any, waiter: asyncio.Future[Any]) -> str | None:
        """Wait for a task; return its worker where that does not answer any more."""
        while True:
            await asyncio.wait([waiter], timeout=_CHECK_SECONDS)
            if waiter.done():
                return None
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    processing = await self._client.processing()
            except (OSError, AttributeError) as error:
                raise self._gone() from error
            chosen = [str(each) for each, keys in processing.items() if future.key in keys]
            if not chosen and not waiter.done():
                await self.threads()  # fails where there is no worker
            for worker in chosen:
                try:
                    await self._ask(worker, scanner.alive)
                except _LostError:
                    if worker in self._silent:
                        return worker

    # --- errors -----------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return plain(str(getattr(self._client.scheduler, "address", "an address that is gone")))

    def _gone(self) -> NodeConnectionError:
        return NodeConnectionError(
            "the Dask scheduler is gone, and with it what it was asked",
            hint="connect again once it runs",
        )

    def _failed(self, answer: Any, worker: str) -> VastlabError:
        match answer:
            case ("error", VastlabError() as error):
                error.__dict__["worker"] = worker
                return error
            case ("versions", dict() as versions):
                return version_error(worker, versions)
            case ("failed", str() as reason):
                return NodeError(f"the worker {worker} failed: {reason}")
            case _:
                return NodeError(f"the worker {worker} sent something else than an answer")

    async def _unexpected(self, error: object, worker: str) -> NodeError:
        """Explain an error that is none of vastlab: often a worker has other packages."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await self._client.get_versions(packages=list(VERSIONS))
        except (OSError, AttributeError):
            return NodeError(f"the cluster failed: {_reason(error)}")
        for each, known in found["workers"].items():
            packages = known["packages"]
            if worker in ("", each) and differences(packages):
                return version_error(each, packages)
        return NodeError(f"the cluster failed: {_reason(error)}")


@dataclass(eq=False)
class Reading:
    """A scan of one file by some worker.

    Parameters
    ----------
    path
        The file.
    question
        Returns what the worker is asked for.
    """

    path: str
    question: Callable[[], bytes]
    worker: str | None = None
    name: str = ""
    rows: int = 0
    """How many events have arrived."""
    lost: str | None = None
    """The last worker that was lost."""
    is_ended: bool = False
    """Whether nobody wants the rest; a stop can come before it is known who reads."""

    def must_be_wanted(self) -> None:
        """Raise an error where the scan was ended: what has come is not all."""
        if self.is_ended:
            raise NodeError("the scan was stopped")


class _LostError(NodeError):
    """A worker does not answer any more."""


def _reason(error: object) -> str:
    return plain(" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _dashboard(client: distributed.Client) -> str:
    try:
        return str(client.dashboard_link or "")
    except (KeyError, OSError):  # a scheduler without one
        return ""


def _where(client: distributed.Client) -> str:
    link = _dashboard(client)
    return f"dashboard {link}" if link else ""
