"""Child processes leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from contextlib import aclosing

import pytest

from vastlab.errors import ClientNotFoundError, NodeError, NodeTimeoutError
from vastlab.nodes import process

ENV = {"PATH": os.environ["PATH"]}
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: signal.pause()
"""
LAUNCHER = """
import signal, subprocess, sys
engine = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(engine.pid, flush=True)
signal.pause()
"""


def python(code):
    return (sys.executable, "-c", textwrap.dedent(code))


def gone(pid):
    """Whether a process has ended; a zombie of somebody else counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_run_returns_everything_a_program_leaves():
    """A program's output, last words and exit status all arrive."""
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = await process.run(python(code), ENV)
    assert done == process.Completed(3, b"out\n", "err\n")


async def test_a_program_never_inherits_our_stdin():
    """A child that reads its standard input finds it empty instead of waiting for ours."""
    done = await process.run(python("import sys; print(repr(sys.stdin.read()))"), ENV, timeout=30)
    assert done.stdout == b"''\n"


async def test_a_missing_program_is_one_clear_error():
    """A program that is not there is named."""
    with pytest.raises(ClientNotFoundError, match="no-such-program"):
        await process.run(("no-such-program",), ENV)


async def test_a_slow_program_is_ended():
    """A program that gives no answer in time is ended, and its output is kept."""
    code = "import signal, sys; print('why', file=sys.stderr, flush=True); signal.pause()"
    with pytest.raises(NodeTimeoutError, match="no answer within 1 s") as caught:
        await process.run(python(code), ENV, timeout=1)
    assert "why" in caught.value.stderr


async def test_ending_a_child_that_ignores_the_polite_signal_kills_it():
    """A child that ignores SIGTERM is killed."""
    child = process.Child(python(STUBBORN), ENV)
    assert child.stdout.readline() == b"ready\n"
    await asyncio.to_thread(child.end)
    assert child.returncode == -9


async def test_ending_a_launcher_ends_what_it_started():
    """The processes that a child started end with it."""
    child = process.Child(python(LAUNCHER), ENV)
    engine = int(child.stdout.readline())
    assert not gone(engine)
    await asyncio.to_thread(child.end)
    assert gone(engine)


async def test_pump_keeps_the_order_and_ends():
    """All items of a blocking source arrive, in order."""
    async with aclosing(process.Pump(lambda: iter(range(100)), lambda: None)) as items:
        assert [item async for item in items] == list(range(100))


async def test_pump_raises_what_the_source_raises():
    """An exception of the source is raised where its items are consumed."""

    def read():
        yield 1
        raise NodeError("cut short")

    seen = []
    async with aclosing(process.Pump(read, lambda: None)) as items:
        with pytest.raises(NodeError, match="cut short"):
            async for item in items:
                seen.append(item)  # noqa: PERF401 - what came before the error counts
    assert seen == [1]


async def test_pump_holds_the_source_back():
    """A consumer that stops reading stops the source after a few items."""
    made = []

    def read():
        for number in range(1000):
            made.append(number)
            yield number

    stream = process.Pump(read, lambda: None)
    await anext(stream)
    await stream.aclose()
    assert len(made) < 20


async def test_leaving_a_pump_early_ends_its_thread():
    """Leaving the loop closes the source and joins the thread."""
    wake = threading.Event()

    def read():
        yield 1
        wake.wait(60)

    stream = process.Pump(read, wake.set)
    assert await anext(stream) == 1
    await stream.aclose()
    assert not [t for t in threading.enumerate() if t.name == "vastlab-pump"]


async def test_an_idle_pump_asks_whether_there_is_hope():
    """A source that stays silent is given up when the probe says so."""
    wake = threading.Event()
    asked = []

    async def probe():
        asked.append(1)
        if len(asked) == 2:
            raise NodeError("the node is gone")

    def read():
        wake.wait(60)
        yield 1

    async with aclosing(process.Pump(read, wake.set, idle=0.05, on_idle=probe)) as items:
        with pytest.raises(NodeError, match="gone"):
            await anext(items)
    assert len(asked) == 2


def test_an_interpreter_that_exits_takes_its_children_along():
    """A child that was not ended is gone when the interpreter is."""
    code = f"""
    import os, sys
    from vastlab.nodes import process
    child = process.Child((sys.executable, "-c", {STUBBORN!r}), dict(os.environ))
    child.stdout.readline()
    print(child.pid, flush=True)
    """
    done = subprocess.run(python(code), capture_output=True, check=True, timeout=60)
    assert gone(int(done.stdout))
