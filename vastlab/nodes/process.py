"""Child processes: their start, streams and end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa

from vastlab.arrow.ipc import check
from vastlab.arrow.schema import name_of
from vastlab.errors import ClientNotFoundError, FormatError, NodeError, NodeTimeoutError
from vastlab.nodes.base import completed

REMEDY = (
    "put `vast` (for nodes up to version 3) or `tenzir` (from version 6) on PATH, "
    'or `pip install "vastlab[tenzir]"`; the endpoint "demo:" and any folder of logs need neither'
)


def find_vast() -> Path | None:
    """Return ``vast`` on PATH, where it is there."""
    found = shutil.which("vast")
    return None if found is None else Path(found)


def find_tenzir() -> Path | None:
    """Return the program ``tenzir``: that of the installed package, else the one on PATH.

    The package's own command is a Python script around the program, and takes twice as long.
    """
    bundled = _bundled("bin", "tenzir")
    if bundled is not None:
        return bundled
    found = shutil.which("tenzir")
    return None if found is None else Path(found)


def find_tenzir_engine() -> Path:
    """Return the program that runs a node; the name that it is started under selects its mode."""
    bundled = _bundled("libexec", "tenzir-engine")
    found = shutil.which("tenzir-node")
    if bundled is not None:
        return bundled
    if found is not None:
        return Path(found)
    raise ClientNotFoundError(
        "no Tenzir node is installed", hint='`pip install "vastlab[tenzir]"` brings one'
    )


def _bundled(*parts: str) -> Path | None:
    spec = importlib.util.find_spec("tenzir")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder, "bundled", *parts)
        if program.is_file():
            return program
    return None


T = TypeVar("T")

GRACE = 0.6
"""Seconds between asking a child to end and killing it."""

AGAIN = 0.1
"""Seconds after which the request is repeated."""

_STDERR_KEPT = 64 * 1024
_QUEUED = 8


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program that ran to its end left behind."""

    returncode: int
    stdout: bytes
    stderr: str


class Child:
    """A running program whose standard output is read while it runs.

    It has no shell, only the given environment, and never our standard input.
    """

    def __init__(
        self, argv: tuple[str, ...], env: Mapping[str, str], *, stdin: int = subprocess.DEVNULL
    ) -> None:
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - typed parts, no shell
                argv,
                env=dict(env),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A Ctrl-C at the terminal is for us; we end the child ourselves.
                start_new_session=True,
            )
        except OSError as error:
            raise ClientNotFoundError(
                f"{argv[0]} cannot be started: {error.strerror or error}",
                hint="check the installation, or set vastlab.client in vast.yaml",
            ) from error
        # Runs at interpreter exit too.
        self._finalizer = weakref.finalize(self, _end, self._popen)
        self._stderr = bytearray()
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()

    @property
    def stdin(self) -> BinaryIO:
        """What the child reads, where it was started with a pipe."""
        return _pipe(self._popen.stdin)

    @property
    def stdout(self) -> BinaryIO:
        """What the child prints."""
        return _pipe(self._popen.stdout)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; negative for a signal, None while it runs."""
        return self._popen.poll()

    @property
    def stderr(self) -> str:
        """The end of the child's error output, as far as it has arrived."""
        return self._stderr.decode("utf-8", "replace")

    def run_time(self) -> int | None:
        """Return the child's processor time in nanoseconds; None if it is unknown."""
        total = 0
        for file in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
                total += int(file.read_text().split()[0])
        return total or None

    def wait(self) -> int:
        """Wait for the end of the child and of its error output."""
        returncode = self._popen.wait()
        self._drain.join(GRACE)
        return returncode

    def end(self) -> None:
        """Ask the child to end, then kill it; return when it is gone and its pipes are closed."""
        self._finalizer()
        self._drain.join(GRACE)

    def _read_stderr(self) -> None:
        pipe = _pipe(self._popen.stderr)
        with suppress(OSError, ValueError):  # closed under our hands by `end`
            while block := pipe.read1(8192):  # type: ignore[attr-defined]  # buffered
                self._stderr += block
                del self._stderr[:-_STDERR_KEPT]


def _pipe(pipe: object) -> BinaryIO:
    return pipe  # type: ignore[return-value]  # Popen made it a pipe of bytes


def _end(popen: subprocess.Popen[bytes]) -> None:
    # The second request makes `tenzir` drop what it has in flight.
    for patience in (AGAIN, GRACE - AGAIN):
        if popen.poll() is None:
            _signal(popen, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                popen.wait(patience)
    # Also after a normal end: a launcher may have left the engine running, with our pipes.
    _signal(popen, signal.SIGKILL)
    popen.wait()
    for pipe in (popen.stdin, popen.stdout, popen.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _signal(popen: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, number)


class Slots:
    """Limits the children that run at the same time on one event loop; others wait."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def take(self) -> asyncio.Semaphore:
        """Return what to hold, by ``async with``, while a child runs."""
        loop = asyncio.get_running_loop()
        return self._of_loop.setdefault(loop, asyncio.Semaphore(self._number))


def clean_environment() -> dict[str, str]:
    """Return our environment without what would change the settings of a client."""
    ours = ("VAST_", "TENZIR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


async def start(argv: tuple[str, ...], env: Mapping[str, str]) -> Child:
    """Start a child in a thread; one that is started when the task is cancelled is ended."""
    starting = asyncio.ensure_future(asyncio.to_thread(Child, argv, env))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await asyncio.to_thread(starting.result().end)
        raise


async def run(
    argv: tuple[str, ...], env: Mapping[str, str], *, timeout: float | None = None
) -> Completed:
    """Run a program to its end and return its output; `timeout` is in seconds."""
    child = await start(argv, env)
    try:
        async with asyncio.timeout(timeout):
            output = await asyncio.to_thread(child.stdout.read)
            returncode = await asyncio.to_thread(child.wait)
    except TimeoutError as error:
        raise NodeTimeoutError(
            f"{argv[0]} gave no answer within {timeout:g} s", stderr=child.stderr
        ) from error
    finally:
        await completed(child.end)
    return Completed(returncode, output, child.stderr)


class Pump(AsyncIterator[T]):
    """Iterates over a blocking source in a thread of its own; to be closed by `aclose`.

    Parameters
    ----------
    read
        Iterates over the source; its exceptions are raised here.
    close
        Makes a blocked `read` return; called once by `aclose`.
    idle
        Seconds without an item after which `on_idle` is awaited, again and again.
    on_idle
        Raises an error where the source is dead; it is raised here.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[T]],
        close: Callable[[], None],
        *,
        idle: float | None = None,
        on_idle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._close, self._idle, self._on_idle = close, idle, on_idle
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue()
        self._room = threading.Semaphore(_QUEUED)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(read,), name="vastlab-pump", daemon=True
        )
        self._thread.start()

    async def __anext__(self) -> T:
        item, error = await self._next()
        if error is not None:
            raise error  # StopAsyncIteration at the end
        self._room.release()
        return item  # type: ignore[return-value]  # without an error there is an item

    async def aclose(self) -> None:
        """End the source and its thread."""
        self._stopped.set()
        self._room.release()
        await completed(self._close)
        await completed(self._thread.join)

    async def _next(self) -> tuple[T | None, BaseException | None]:
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    return await self._arrived.get()
            except TimeoutError:
                if self._on_idle is not None:
                    await self._on_idle()

    def _work(self, read: Callable[[], Iterator[T]]) -> None:
        try:
            for item in read():
                self._room.acquire()
                if self._stopped.is_set():
                    return
                self._post(item, None)
            self._post(None, StopAsyncIteration())
        except BaseException as error:  # noqa: BLE001 - raised again where items are consumed
            self._post(None, error)

    def _post(self, item: T | None, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, (item, error))


_BACKLOG = 1024  # a query over many layouts opens as many connections at once
_BUFFER = 1 << 20
_QUEUED_BATCHES = 16
_FIRST_LULL, _LULL = 0.02, 0.2  # seconds


class StreamServer:
    """A socket in a folder that only this user can enter, and what arrives at it.

    `batches` runs in one thread; `finish`, `discard` and `close` may be called from others. Events
    of the schema `urgent` are passed on at once.
    """

    def __init__(self, urgent: str | None = None) -> None:
        self._urgent = urgent
        self.folder = Path(tempfile.mkdtemp(prefix="vastlab-"))  # mode 0700
        # Runs at interpreter exit too.
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / "s"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen(_BACKLOG)
        self._items: queue.Queue[Any] = queue.Queue(_QUEUED_BATCHES)
        self._discarded = threading.Event()
        self._connections: set[socket.socket] = set()
        self._readers: list[threading.Thread] = []
        self._last = str(self.folder / "last")
        self._stopping = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name="vastlab-streams", daemon=True)
        self._acceptor.start()

    def batches(self) -> Iterator[pa.RecordBatch | None]:
        """Iterate over what arrives, until `finish` or `discard`; None means a pause."""
        lull: float | None = None
        patience = _FIRST_LULL  # the first events are waited for most
        while True:
            try:
                item = self._items.get(timeout=lull)
            except queue.Empty:
                lull, patience = None, _LULL
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            if not self.is_urgent(item):
                lull = patience
            yield item

    def is_urgent(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch must be passed on at once."""
        return self._urgent is not None and name_of(batch.schema) == self._urgent

    def finish(self) -> None:
        """Accept no more connections: `batches` ends when all streams have."""
        self._stop_accepting()
        for reader in self._readers:
            reader.join()
        self._put(None)

    def discard(self) -> None:
        """Drop all events, also later ones, and end `batches`.

        A child whose events are still read ends at the first request.
        """
        self._discarded.set()
        while True:
            with contextlib.suppress(queue.Empty, queue.Full):
                while not self._items.empty():
                    self._items.get_nowait()
                self._items.put_nowait(None)
                return

    def close(self) -> None:
        """Close all connections, whatever may still arrive."""
        self.discard()
        self._stop_accepting()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes its reading thread up
        for reader in self._readers:
            reader.join()
        self._remove()

    def _stop_accepting(self) -> None:
        with self._stopping:
            if self._acceptor.is_alive():
                # A last connection, by its name: all that came before it are accepted first.
                with socket.socket(socket.AF_UNIX) as last:
                    last.bind(self._last)
                    last.connect(str(self.path))
                    self._acceptor.join()
            self._socket.close()

    def _accept(self) -> None:
        while True:
            connection, name = self._socket.accept()
            if name == self._last:
                connection.close()
                return
            self._connections.add(connection)
            reader = threading.Thread(
                target=self._read, args=(connection,), name="vastlab-streams", daemon=True
            )
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb", buffering=_BUFFER) as stream:
            try:
                # Nothing came of some connections, and nothing is missing then.
                if stream.peek(1):  # type: ignore[attr-defined]  # buffered
                    with pa.ipc.open_stream(stream) as reader:
                        for batch in reader:
                            self._put(check(batch))
            except (pa.ArrowException, OSError, UnicodeDecodeError, FormatError) as error:
                self._put(NodeError(f"the node's answer was cut short: {error}"))
        self._connections.discard(connection)

    def _put(self, item: Any) -> None:
        while not self._discarded.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return
