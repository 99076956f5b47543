"""Messages to a person: what goes wrong or deserves attention, on stderr."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vastlab._text import plain
from vastlab.errors import VastlabWarning

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 120  # without a terminal
live: list[Console] = []
"""The consoles on which a bar is drawn; the last one writes lines above its bar."""


def console(*, error: bool = False) -> Console:
    """Return a console that writes text as it is: no markup, no guessed colours."""
    from rich.console import Console  # here, since most answers are plain text

    stream = sys.stderr if error else sys.stdout
    return Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if stream.isatty() else _WIDTH,
    )


def complain(text: str, *, word: str = "", style: str = "red") -> None:
    """Write a line about trouble to stderr; lines of context may follow it."""
    from rich.text import Text

    first, *rest = text.split("\n")
    shown = Text.assemble(("vastlab: ", "bold"), (word, style), (first, style))
    out = live[-1] if live else console(error=True)
    for line in (shown, *map(Text, rest)):
        out.print(line, soft_wrap=True)


def show_warning(text: str) -> None:
    """Write a warning to stderr, as one line."""
    complain(plain(text), word="warning: ", style="yellow")


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show the warnings of vastlab as one line each on stderr."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        show_warning(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", VastlabWarning)
        warnings.showwarning = show
        yield
