"""Short texts that a cell shows beside or instead of a result."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from IPython.display import display

from vastlab import _text
from vastlab.display import html
from vastlab.errors import VastlabWarning

_EACH_TIME: Final = ("always", None, VastlabWarning, None, 0)  # a filter


class Note:
    """A text that a cell shows as it is.

    Parameters
    ----------
    text
        What to show.
    """

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

    They are shown each time, since a cell that runs again is a question anew; filters of the
    user's come first.
    """
    warnings.filterwarnings(_EACH_TIME[0], category=_EACH_TIME[2], append=True)
    warnings.showwarning = _Remarking(warnings.showwarning)


def remove() -> None:
    """Let vastlab's warnings take their usual way again."""
    if isinstance(warnings.showwarning, _Remarking):
        warnings.showwarning = warnings.showwarning.usual
        with contextlib.suppress(ValueError):  # of a user who took all filters away
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
