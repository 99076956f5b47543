"""The background event loop: coroutines run here for callers that are not asynchronous.

One daemon thread with one loop of its own. It never touches a loop that runs elsewhere, so the
facade works inside a notebook's kernel as it does in a script. Only `allow_nested` patches asyncio.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import gc
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from enum import Enum
from typing import Any, Generic, TypeVar

from vastlab import errors

T = TypeVar("T")

THREAD_NAME = "vastlab-loop"
_PATIENCE = 2.0  # seconds that a cancelled coroutine gets to clean up
_BROKEN_SINCE = (3, 14)  # Python in which nest_asyncio breaks asyncio
_TICK = 0.1  # seconds between two calls of `tick`


class _End(Enum):
    END = 0


class Runner:
    """A loop in a thread, started on first use and stopped at interpreter exit.

    A forked child gets a loop of its own on first use.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._sources: set[AsyncIterator[Any]] = set()

    def run(
        self, coroutine: Coroutine[Any, Any, T], *, tick: Callable[[], None] | None = None
    ) -> T:
        """Run a coroutine and return its result; `tick` is called ten times a second meanwhile.

        Ctrl-C cancels the coroutine and raises KeyboardInterrupt after it has cleaned up. A
        call on the loop itself is a `UsageError`: waiting would never end.
        """
        try:
            self._refuse_own_thread()
        except BaseException:
            coroutine.close()
            raise
        job = self._job(coroutine)
        with _keyboard_interrupts():
            try:
                job.begin()
                job.wait(tick)
            except BaseException:
                job.cancel()
                raise
        return job.result()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Start a coroutine and return at once."""
        return self._job(coroutine).begin()

    def iterate(
        self,
        factory: Callable[[], AsyncIterator[T]],
        *,
        tick: Callable[[], None] | None = None,
    ) -> Generator[T]:
        """Iterate over an asynchronous iterator, pulling one item at a time.

        The source makes its next item only when asked, and is closed when the caller stops.
        """

        async def start() -> AsyncIterator[T]:
            return factory()

        source = self.run(start())
        self._sources.add(source)
        try:
            while (item := self.run(_next(source), tick=tick)) is not _End.END:
                yield item
        finally:
            self._sources.discard(source)
            self._discard(source)

    def close(self) -> None:
        """Cancel what runs, close what streams, stop the loop and join its thread.

        The engine aborts the interpreter when its streams outlive the loop, so this also
        runs at exit. The runner starts again when it is used again.
        """
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        atexit.unregister(self.close)
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    def _refuse_own_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise errors.UsageError(
                "a blocking call on vastlab's own event loop",
                hint="await the asynchronous API (vastlab.VAST) there",
            )

    def _job(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        try:
            return Job(self._started(), coroutine)
        except BaseException:
            coroutine.close()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop, self._sources), name=THREAD_NAME, daemon=True
                )
                self._thread.start()
                atexit.register(self.close)
            return self._loop

    def _discard(self, source: AsyncIterator[object]) -> None:
        close = getattr(source, "aclose", None)
        loop = self._loop
        if close is None or loop is None or self._pid != os.getpid():
            return
        if threading.current_thread() is self._thread:
            # The garbage collector may run this on the loop's own thread, which must not wait.
            Job(loop, _ignore_errors(close())).begin()
        else:
            self.run(_ignore_errors(close()))


@functools.cache
def background() -> Runner:
    """Return the runner of this process: however many connections there are, one thread."""
    return Runner()


class Job(Generic[T]):
    """A task on the loop, and the calling thread's view of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def begin(self) -> Job[T]:
        """Start the task; an interrupt in the middle of this leaves a job that can be cancelled."""
        self._loop.call_soon_threadsafe(self._start)
        return self

    def _start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[T]) -> None:
        # concurrent's own chaining would call a future cancelled before its task has ended.
        if task.cancelled():
            self._answer.set_exception(
                errors.QueryInterrupted("the query was cancelled: its connection was closed")
            )
        elif (error := task.exception()) is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(task.result())

    def wait(self, tick: Callable[[], None] | None) -> None:
        # In short steps: an interrupt that arrives just before the thread blocks does not wake it.
        while not concurrent.futures.wait((self._answer,), _TICK).done:
            if tick is not None:
                tick()

    def cancel(self) -> None:
        """End the task, and give it a moment to clean up."""
        if not self._answer.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
            concurrent.futures.wait((self._answer,), _PATIENCE)

    def done(self) -> bool:
        """Say whether the task has ended."""
        return self._answer.done()

    def result(self) -> T:
        """Wait for the answer."""
        return self._answer.result()


async def _next(source: AsyncIterator[T]) -> T | _End:
    return await anext(source, _End.END)


async def _ignore_errors(closing: Awaitable[object]) -> None:
    # "already running": its last step was cancelled and is still cleaning up by itself.
    with contextlib.suppress(RuntimeError):
        await closing


def _serve(loop: asyncio.AbstractEventLoop, sources: set[AsyncIterator[Any]]) -> None:
    asyncio.set_event_loop(loop)
    executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix=f"{THREAD_NAME}-worker")
    loop.set_default_executor(executor)
    try:
        loop.run_forever()
        loop.run_until_complete(_close_all(sources))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        asyncio.set_event_loop(None)
        loop.close()


async def _close_all(sources: set[AsyncIterator[Any]]) -> None:
    """Cancel all tasks, close all generators and let the collector drop what they held."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_PATIENCE)
    # Outermost first: asyncio would close a generator and those inside it at the same time.
    for source in tuple(sources):
        if (close := getattr(source, "aclose", None)) is not None:
            await _ignore_errors(close())
    await asyncio.get_running_loop().shutdown_asyncgens()
    gc.collect()


@contextlib.contextmanager
def _keyboard_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in the main thread for the length of a wait.

    A kernel puts its own handler in place while an asynchronous cell runs.
    """
    previous = signal.getsignal(signal.SIGINT)
    replace = (
        threading.current_thread() is threading.main_thread()
        and previous is not None  # None: a handler that Python cannot put back
        and previous is not signal.SIG_IGN
    )
    if replace:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if replace:
            signal.signal(signal.SIGINT, previous)


def allow_nested() -> str:
    """Let ``asyncio.run(...)`` work inside a notebook's cell.

    vastlab does not need this: in a cell, ``await`` the asynchronous API or use
    `vastlab.connect`. It is for code that calls ``asyncio.run``, and it changes asyncio for the
    whole process, until it ends.

    Returns
    -------
    str
        The package that did it: ``nest_asyncio2`` if it is installed, as with ipykernel, else
        ``nest_asyncio``.

    Raises
    ------
    ConfigError
        Only ``nest_asyncio`` is installed, and Python is 3.14 or later, where it breaks
        asyncio.

    Examples
    --------
    >>> allow_nested()  # doctest: +SKIP
    'nest_asyncio2'
    """
    name = _nesting_package()
    importlib.import_module(name).apply()
    return name


def _nesting_package() -> str:
    if importlib.util.find_spec("nest_asyncio2") is not None:
        return "nest_asyncio2"
    if sys.version_info >= _BROKEN_SINCE:
        raise errors.ConfigError(
            "nest_asyncio breaks asyncio on Python 3.14 and later",
            hint="`pip install nest_asyncio2`, or use `await` or vastlab.connect()",
        )
    return "nest_asyncio"
