"""The background loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from vastlab import errors
from vastlab._loop import THREAD_NAME, Job, Runner


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


async def _answer() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


class Source:
    """A stream that remembers what was asked of it."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = threading.Event()

    async def items(self) -> AsyncIterator[int]:
        try:
            while True:
                self.made += 1
                yield self.made
                await asyncio.sleep(0)
        finally:
            self.closed.set()


async def _until_cancelled(seen: threading.Event, started: threading.Event) -> None:
    try:
        started.set()
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        seen.set()


def test_run_answers_from_the_loop_thread(runner):
    """A coroutine runs on the thread of the loop, and its answer comes back."""
    assert runner.run(_answer()) == THREAD_NAME


def test_run_raises_what_the_coroutine_raises(runner):
    """An error of the coroutine is the caller's error."""

    async def fail() -> None:
        raise errors.UsageError("no")

    with pytest.raises(errors.UsageError, match="no"):
        runner.run(fail())


async def test_run_works_while_another_loop_runs(runner):
    """Inside a running loop, as in a kernel, the facade works and leaves that loop alone."""
    before = asyncio.get_running_loop()
    assert runner.run(_answer()) == THREAD_NAME
    assert asyncio.get_running_loop() is before


def test_run_on_the_own_loop_is_an_error(runner):
    """A blocking call on the loop itself fails at once where it would never end."""

    async def nested() -> None:
        runner.run(_answer())

    with pytest.raises(errors.UsageError, match="own event loop"):
        runner.run(nested())


def test_iterate_on_the_own_loop_is_an_error(runner):
    """The same holds for streams."""

    async def nested() -> list[int]:
        return list(runner.iterate(Source().items))

    with pytest.raises(errors.UsageError, match="own event loop"):
        runner.run(nested())


def test_tick_is_called_in_the_calling_thread(runner):
    """While waiting, `tick` is called by the thread that waits."""
    seen: list[str] = []
    go = asyncio.Event()

    def tick() -> None:
        seen.append(threading.current_thread().name)
        runner._loop.call_soon_threadsafe(go.set)

    assert runner.run(go.wait(), tick=tick)
    assert set(seen) == {threading.current_thread().name}


def test_iterate_pulls_one_item_at_a_time(runner):
    """The source is never ahead of its reader."""
    source = Source()
    for number in runner.iterate(source.items):
        assert source.made == number
        if number == 3:
            break


def test_iterate_ends_with_its_source(runner):
    """A stream that ends, ends."""

    async def three() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    assert list(runner.iterate(three)) == [0, 1, 2]


def test_leaving_the_iteration_closes_the_source(runner):
    """Closing the iterator runs the source's own clean-up before it returns."""
    source = Source()
    stream = runner.iterate(source.items)
    next(stream)
    stream.close()
    assert source.closed.is_set()


def test_an_iterator_collected_on_the_loop_thread_closes_its_source(runner):
    """Where the collector finds a forgotten iterator on the loop, nothing waits or fails."""
    source = Source()
    streams = [runner.iterate(source.items)]
    next(streams[0])

    async def forget() -> None:
        streams.clear()

    runner.run(forget())
    assert source.closed.wait(5)


def test_interrupt_cancels_and_waits(runner):
    """Ctrl-C ends the coroutine, whose clean-up has run when KeyboardInterrupt is raised."""
    cleaned, started = threading.Event(), threading.Event()

    def interrupt() -> None:
        started.wait(5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        runner.run(_until_cancelled(cleaned, started))
    thread.join()
    assert cleaned.is_set()


def test_an_interrupt_while_a_coroutine_starts_cancels_it_too(runner, monkeypatch):
    """Wherever in the call Ctrl-C arrives, nothing keeps running that is not awaited."""
    cleaned, started = threading.Event(), threading.Event()
    begin = Job.begin

    def interrupted(job):
        begin(job)
        started.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(_until_cancelled(cleaned, started))
    assert cleaned.is_set()


def test_the_interrupt_handler_is_put_back(runner):
    """After the wait, SIGINT is handled as before."""

    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, own)
    try:
        runner.run(_answer())
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_interrupt_stays_ignored(runner):
    """Who ignores SIGINT is not interrupted by it."""

    async def handler() -> object:
        return signal.getsignal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert runner.run(handler()) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_close_ends_waiting_callers():
    """Closing cancels what runs; who waits for it gets an error, not silence."""
    runner = Runner()
    cleaned, started = threading.Event(), threading.Event()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            runner.run(_until_cancelled(cleaned, started))
        except errors.VastlabError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(5)
    runner.close()
    thread.join(5)
    assert isinstance(caught[0], errors.QueryInterrupted)
    assert cleaned.is_set()


def test_close_closes_suspended_sources_and_joins():
    """Closing runs the clean-up of every open stream and leaves no thread."""
    runner = Runner()
    source = Source()
    stream = runner.iterate(source.items)
    next(stream)
    thread = runner._thread
    runner.close()
    assert source.closed.is_set()
    assert not thread.is_alive()
    stream.close()


def test_close_twice_and_use_again():
    """A closed runner starts again."""
    runner = Runner()
    runner.close()
    assert runner.run(_answer()) == THREAD_NAME
    runner.close()
    runner.close()
    assert runner.run(_answer()) == THREAD_NAME
    runner.close()


def test_asyncio_is_left_unpatched(runner):
    """No function or class of asyncio is replaced."""
    watched = (asyncio.run, asyncio.Task, asyncio.get_event_loop, asyncio.new_event_loop)
    runner.run(_answer())
    assert (asyncio.run, asyncio.Task, asyncio.get_event_loop, asyncio.new_event_loop) == watched
    assert asyncio.Task.__module__ == "_asyncio"


_FORK = """
import os
from vastlab._loop import Runner
runner = Runner()
async def answer(): return 7
assert runner.run(answer()) == 7
pid = os.fork()
if pid == 0:
    os._exit(runner.run(answer()))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert runner.run(answer()) == 7
"""

_EXIT = """
import asyncio, contextlib
from vastlab._loop import Runner
runner = Runner()
async def inner():
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)
        print("closed", flush=True)
async def stream():
    async with contextlib.aclosing(inner()) as parts:
        async for part in parts:
            yield part
kept = runner.iterate(stream)
next(kept)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_gets_its_own_loop():
    """The runner works on both sides of a fork."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK], check=True, timeout=60)


def test_streams_are_closed_at_exit():
    """A process that ends with an open stream closes it first and exits cleanly."""
    done = subprocess.run(
        [sys.executable, "-c", _EXIT], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "closed\n"
    assert done.stderr == ""
