"""Child processes of the clients: started, read, watched and ended without a trace.

Every client of a real node is a program that is run once per query. What it prints is read by
a thread of its own, since Arrow's readers block, and handed to the event loop through a
bounded queue: a consumer that is slow slows the child down.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from vastlab.errors import ClientNotFoundError, NodeTimeoutError

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

    Parameters
    ----------
    argv
        The program and its arguments; no shell is involved.
    env
        The whole environment of the child.
    stdin
        A file to read from; the child never inherits ours.
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
        # Runs at interpreter exit too, whoever still holds the child.
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
        """The last words of the child, as far as they have arrived."""
        return self._stderr.decode("utf-8", "replace")

    def run_time(self) -> int | None:
        """Return the nanoseconds that the child has been running on a processor.

        None where the system does not tell.
        """
        total = 0
        for file in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
                total += int(file.read_text().split()[0])
        return total or None

    def wait(self) -> int:
        """Wait for the end, and for the last words."""
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
    # The second request makes `tenzir` give up what it has in flight.
    for patience in (AGAIN, GRACE - AGAIN):
        if popen.poll() is None:
            _signal(popen, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                popen.wait(patience)
    # Also after a polite end: a launcher may have left the engine behind, with our pipes.
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
    """How many children may run at once; more wait for their turn.

    Parameters
    ----------
    number
        At most so many on one event loop.
    """

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
    """Run a program to its end and return what it printed.

    Parameters
    ----------
    argv, env
        As for `Child`.
    timeout
        Seconds after which the program is ended and `NodeTimeoutError` raised.
    """
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
        await finish(child.end)
    return Completed(returncode, output, child.stderr)


async def pump(
    read: Callable[[], Iterator[T]],
    close: Callable[[], None],
    *,
    idle: float | None = None,
    on_idle: Callable[[], Awaitable[None]] | None = None,
) -> AsyncGenerator[T]:
    """Iterate over a blocking source in a thread of its own.

    Parameters
    ----------
    read
        Iterates over the source; its exceptions are raised here.
    close
        Makes a blocked `read` return; called once at the end, whatever the end is.
    idle
        Seconds without an item after which `on_idle` is awaited, again and again.
    on_idle
        Raises when there is no hope; what it raises is raised here.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue()
    room = threading.Semaphore(_QUEUED)
    stopped = threading.Event()

    def post(item: T | None, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            loop.call_soon_threadsafe(arrived.put_nowait, (item, error))

    def work() -> None:
        try:
            for item in read():
                room.acquire()
                if stopped.is_set():
                    return
                post(item, None)
            post(None, StopAsyncIteration())
        except BaseException as error:  # noqa: BLE001 - raised again where items are consumed
            post(None, error)

    thread = threading.Thread(target=work, name="vastlab-pump", daemon=True)
    thread.start()
    try:
        while True:
            item, error = await _next(arrived, idle, on_idle)
            if isinstance(error, StopAsyncIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item  # type: ignore[misc]  # without an error there is an item
    finally:
        stopped.set()
        room.release()
        await finish(close)
        await finish(thread.join)


async def _next(
    arrived: asyncio.Queue[T], idle: float | None, on_idle: Callable[[], Awaitable[None]] | None
) -> T:
    while True:
        try:
            async with asyncio.timeout(idle):
                return await arrived.get()
        except TimeoutError:
            if on_idle is not None:
                await on_idle()


async def finish(close: Callable[[], None]) -> None:
    """Run a clean-up to its end in a thread, also when the task is cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(close))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
