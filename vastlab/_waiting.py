"""Waiting for an answer: the line that says how far it is, and what an interrupt means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Protocol

from vastlab.errors import QueryInterrupted
from vastlab.nodes.base import Step


class Progress(Protocol):
    """Shows how far a call is; used by the thread that waits, ten times a second."""

    def __call__(self, step: Step, elapsed: float) -> None:
        """Show how far it is after so many seconds."""
        ...


Display = Callable[[], AbstractContextManager[Progress]]


class Watch:
    """The progress display of one call, from its first wait to its end.

    Parameters
    ----------
    display
        Makes the display; None for no display. It is left out where the call is not made by
        the main thread, since nobody looks at what other threads wait for.
    look
        Says how far the call is.
    """

    def __init__(self, display: Display | None, look: Callable[[], Step]) -> None:
        self._display = display if _is_seen() else None
        self._look = look
        self._show: Progress | None = None
        self._opened = ExitStack()
        self._started = time.monotonic()

    @property
    def tick(self) -> Callable[[], None] | None:
        """What to call while waiting; None where nothing is to be called."""
        return None if self._show is None else self._tick

    def __enter__(self) -> Watch:
        if self._display is not None:
            self._show = self._opened.enter_context(self._display())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._opened:
            if error is None and self._show is not None:
                self._tick()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time that passes: nobody waits."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - began

    def _tick(self) -> None:
        if self._show is not None:
            self._show(self._look(), time.monotonic() - self._started)


@contextmanager
def interruptible(interrupted: Callable[[], QueryInterrupted]) -> Iterator[None]:
    """Turn Ctrl-C into vastlab's own error; a second one, while that is made, goes through."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt.__context__, KeyboardInterrupt):
            raise  # the second one, while the first was being obeyed
        raise interrupted() from None


def _is_seen() -> bool:
    return threading.current_thread() is threading.main_thread()
