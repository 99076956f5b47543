"""How a connection waits for its calls: with progress, until they end or it is closed."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, TypeVar

from vastlab import _loop
from vastlab._call import Batches, Call, Display, Watch, interruptible
from vastlab._text import plural
from vastlab.client import VAST
from vastlab.errors import QueryInterrupted, UsageError
from vastlab.nodes.base import Step
from vastlab.table_slice import TableSlice

_T = TypeVar("_T")

Export = Callable[[], AsyncGenerator[TableSlice]]


class Waiting:
    """The calls of one client, which run on vastlab's own loop while other threads wait.

    Parameters
    ----------
    vast
        The client.
    display
        Returns what makes a progress display for each call; None for none.
    """

    def __init__(self, vast: VAST, display: Callable[[], Display | None]) -> None:
        self._vast = vast
        self._display = display
        self._runner = _loop.background()
        self._exports: weakref.WeakSet[Batches] = weakref.WeakSet()
        self._jobs: weakref.WeakSet[_loop.Job[Any]] = weakref.WeakSet()
        self._pid = os.getpid()
        self.closed = False
        """Whether `close` was called."""

    def check(self) -> None:
        """Raise an error where nothing can be asked any more."""
        if self.closed:
            raise UsageError("the connection is closed", hint="connect() again")
        if self._pid != os.getpid():
            # The engine's threads were not forked: every call would wait endlessly.
            raise UsageError(
                "the connection belongs to the process that was forked",
                hint="connect() in the child, and start it with the method 'spawn'",
            )

    def run(
        self,
        coroutine: Coroutine[Any, Any, _T],
        call: Call,
        look: Callable[[], Step],
        *,
        quiet: bool = False,
    ) -> _T:
        """Wait for an answer, show the progress that `look` returns, and issue warnings."""
        try:
            self.check()
        except UsageError:
            coroutine.close()
            raise
        try:
            with self._watch(call, look, quiet=quiet) as watch:
                return self._runner.run(coroutine, tick=watch.tick)
        finally:
            call.warn()

    def answer(
        self, doing: str, ask: Callable[..., Coroutine[Any, Any, _T]], *args: Any, **named: Any
    ) -> _T:
        """Wait for an answer that comes as a whole: that of `ask`, with these arguments."""
        call = Call()
        with interruptible(lambda: QueryInterrupted(f"interrupted while {doing}")):
            return self.run(ask(*args, report=call, **named), call, lambda: Step(doing))

    def finish(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Wait for what only puts together what has arrived."""
        return self._runner.run(coroutine)

    def batches(self, ask: Export, call: Call) -> Batches:
        """Wait for one batch after the other, as they are taken."""
        self.check()
        export = Batches(self._take(ask, call))
        self._exports.add(export)
        return export

    def start(self, work: Callable[[VAST], Coroutine[Any, Any, _T]]) -> _loop.Job[_T]:
        """Start work and return at once; `close` cancels it."""
        self.check()
        job = self._runner.start(work(self._vast))
        self._jobs.add(job)
        return job

    def close(self) -> None:
        """End everything that runs, and close the client."""
        if self.closed or self._pid != os.getpid():
            return
        self.closed = True
        for export in list(self._exports):
            export.cut()
        for job in list(self._jobs):
            job.cancel()
        self._runner.run(self._vast.aclose())

    def _watch(self, call: Call, look: Callable[[], Step], *, quiet: bool = False) -> Watch:
        return Watch(None if quiet else self._display(), lambda: call.step(look()))

    def _take(self, ask: Export, call: Call) -> Generator[TableSlice]:
        """Yield the batches; the caller's own time does not count."""
        events = 0

        def interrupted() -> QueryInterrupted:
            return QueryInterrupted(f"interrupted after {plural(events, 'event')}")

        with (
            interruptible(interrupted),
            self._watch(call, lambda: Step("", events)) as watch,
            contextlib.closing(self._runner.iterate(ask, tick=watch.tick)) as parts,
        ):
            for part in parts:
                events += part.num_rows
                call.warn()
                with watch.paused():
                    yield part
            call.warn()
