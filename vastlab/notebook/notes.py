"""Messages and progress in a notebook."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Protocol

from IPython.core.getipython import get_ipython
from IPython.display import display

from vastlab import _text
from vastlab._text import plural
from vastlab.display import html
from vastlab.errors import VastlabWarning
from vastlab.nodes.base import Step

_EACH_TIME: Final = ("always", None, VastlabWarning, None, 0)  # a filter


class Note:
    """A text that a cell shows as it is."""

    def __init__(self, text: str) -> None:
        self._text = _text.plain_lines(text)

    def __repr__(self) -> str:
        return self._text


class Line(Note):
    """One line, such as the summary of a result that went into a variable."""

    def _repr_html_(self) -> str:
        return html.line(self._text)


class Remark(Note):
    """A warning."""

    def _repr_html_(self) -> str:
        return html.note(self._text)


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """Keep vastlab's warnings for a display; others take their usual way."""
    kept: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VastlabWarning)
        try:
            yield kept
        finally:
            mine = [w for w in caught if issubclass(w.category, VastlabWarning)]
            kept += dict.fromkeys(str(w.message) for w in mine)
    for other in caught:
        if not issubclass(other.category, VastlabWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Show vastlab's warnings as remarks in the cell."""
    try:
        with warnings_kept() as kept:
            yield
    finally:
        for text in kept:
            display(Remark(text))


def install() -> None:
    """Show vastlab's warnings as remarks from now on, also those of calls in a cell.

    They are shown each time, since a cell that runs again is a new query; the user's own filters
    come first.
    """
    warnings.filterwarnings(_EACH_TIME[0], category=_EACH_TIME[2], append=True)
    warnings.showwarning = _Remarking(warnings.showwarning)


def remove() -> None:
    """Let vastlab's warnings take their usual way again."""
    if isinstance(warnings.showwarning, _Remarking):
        warnings.showwarning = warnings.showwarning.usual
        with contextlib.suppress(ValueError):  # the user removed all filters
            warnings.filters.remove(_EACH_TIME)  # type: ignore[attr-defined]  # it is a list


class _Remarking:
    """Shows warnings: those of vastlab in the cell, others in the usual way."""

    def __init__(self, usual: Callable[..., None]) -> None:
        self.usual = usual

    def __call__(
        self, message: Warning | str, category: type[Warning], *where: Any, **rest: Any
    ) -> None:
        if issubclass(category, VastlabWarning):
            display(Remark(str(message)))
        else:
            self.usual(message, category, *where, **rest)


_QUIET_FOR = 0.3  # seconds
_FIRST_TEXT = 1.0


class _Place(Protocol):
    """Where the line is shown."""

    def show(self, text: str, share: float | None, elapsed: float) -> None: ...

    def close(self, text: str) -> None: ...


class Pace:
    """Describes the progress of a call; each kind of work has its own rate."""

    def __init__(self) -> None:
        self._doing = ""
        self._elapsed = 0.0
        self._began = 0.0

    def say(self, step: Step, elapsed: float) -> str:
        """Return the progress after `elapsed` seconds, as one line."""
        if step.doing != self._doing:
            self._doing, self._began = step.doing, self._elapsed
        self._elapsed = elapsed
        facts = [_text.plain(step.doing)] if step.doing else []
        if step.events is not None:
            facts.append(plural(step.events, "event"))
            if step.events and elapsed > self._began:
                facts.append(f"{step.events / (elapsed - self._began):,.0f}/s")
        return " · ".join([*facts, f"{elapsed:.1f} s"])


class ProgressLine:
    """Shows one line after a moment, which is replaced by a summary at the end.

    Only the waiting thread displays, so that the line is in the right cell.
    """

    def __init__(self) -> None:
        self._place: _Place | None = None
        self._pace = Pace()
        self._text = ""

    def __enter__(self) -> ProgressLine:
        return self

    def __call__(self, step: Step, elapsed: float) -> None:
        """Show the progress after `elapsed` seconds."""
        self._text = self._pace.say(step, elapsed)
        if elapsed < _QUIET_FOR:
            return
        if self._place is None:
            self._place = _Page() if _has_page() else _Terminal()
        self._place.show(self._text, step.share, elapsed)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._place is not None:
            self._place.close(self._text)


class _Page:
    """A display of a notebook, updated in place; static text remains."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, share: float | None, elapsed: float) -> None:
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
        self._next = _FIRST_TEXT

    def show(self, text: str, share: float | None, elapsed: float) -> None:
        if elapsed >= self._next:
            self._next = 2 * elapsed
            sys.stderr.write(f"{text}\n")

    def close(self, text: str) -> None:
        """Leave the last line to the result itself."""


def _has_page() -> bool:
    return hasattr(get_ipython(), "kernel")


def _bar(share: float | None) -> str:
    style = 'style="width:12em;height:.7em;margin-right:.7em"'
    value = "" if share is None else f' max="1" value="{share:.3f}"'
    return f"<progress {style}{value}></progress>"
