"""One line that says how far a query is, for those that take long enough to wonder."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol

from IPython.core.getipython import get_ipython
from IPython.display import display

from vastlab import _text
from vastlab.display.outcome import plural

_QUIET_FOR = 0.3  # seconds
_FIRST_TEXT = 1.0


class _Place(Protocol):
    """Where the line is shown."""

    def show(self, text: str, share: float | None) -> None: ...

    def close(self, text: str) -> None: ...


class ProgressLine:
    """Shows nothing for a moment, then one line, which says at the end how it went.

    All displaying happens in the thread that waits, so that it lands in the right cell.

    Examples
    --------
    >>> with ProgressLine() as show:
    ...     show(10, 0.5)
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._place: _Place | None = None
        self._events = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __call__(self, events: int, share: float | None) -> None:
        """Show so many events, and which share of the work is done where that is known."""
        self._events = events
        elapsed = time.monotonic() - self._started
        if elapsed < _QUIET_FOR:
            return
        if self._place is None:
            self._place = _Page() if _has_page() else _Terminal()
        self._place.show(_said(events, elapsed), share)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._place is not None:
            self._place.close(_said(self._events, time.monotonic() - self._started))


class _Page:
    """A display of a notebook, updated in place; static text remains."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, share: float | None) -> None:
        self._put(text, _bar(share))

    def close(self, text: str) -> None:
        self._put(text, "")

    def _put(self, text: str, bar: str) -> None:
        line = f'<div style="opacity:.7">{bar}{_text.html(text)}</div>'
        bundle = {"text/plain": text, "text/html": line}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _Terminal:
    """Lines on the error stream, ever more seldom."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._next = _FIRST_TEXT

    def show(self, text: str, share: float | None) -> None:
        if time.monotonic() - self._started >= self._next:
            self._next *= 2
            sys.stderr.write(f"{text}\n")

    def close(self, text: str) -> None:
        """Leave the last line to the result itself."""


def _has_page() -> bool:
    return hasattr(get_ipython(), "kernel")


def _bar(share: float | None) -> str:
    style = 'style="width:12em;height:.7em;margin-right:.7em"'
    value = "" if share is None else f' max="1" value="{share:.3f}"'
    return f"<progress {style}{value}></progress>"


def _said(events: int, elapsed: float) -> str:
    rate = f" · {events / elapsed:,.0f}/s" if elapsed else ""
    return f"{plural(events, 'event')}{rate} · {elapsed:.1f} s"
