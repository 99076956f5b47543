"""What reaches the terminal: consoles, progress, errors."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from copy import copy

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from vastlab._text import plain
from vastlab.errors import VastlabWarning
from vastlab.nodes.base import Step

_WIDTH = 120  # where there is no terminal to fill


def console(*, error: bool = False) -> Console:
    """Return a console that writes text as it is: no markup, no guessed colours."""
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
    first, *rest = text.split("\n")
    shown = Text.assemble(("vastlab: ", "bold"), (word, style), (first, style))
    out = console(error=True)
    for line in (shown, *map(Text, rest)):
        out.print(line, soft_wrap=True)


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show the warnings of vastlab as one line each on stderr."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(plain(str(message)), word="warning: ", style="yellow")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", VastlabWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def progress(
    label: str, unit: str = "events", *, preparing: Callable[[], Step | None] = lambda: None
) -> Iterator[Callable[[int, int], None]]:
    """Show how far long work is, on stderr and only where that is a terminal.

    Parameters
    ----------
    label
        What is being done.
    unit
        What is counted.
    preparing
        Says what has to be done first, as long as it is.

    Yields
    ------
    Callable
        To be called with what is done and the total (0 where it is not known), from any
        thread.
    """
    with _Bar(preparing) as bar:
        task = bar.add_task(label, total=None, detail="")

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, detail=f"{done:,} {unit}")

        yield update


class _Bar(Progress):
    """A progress bar that gives way to another one while something else is done first."""

    def __init__(self, preparing: Callable[[], Step | None]) -> None:
        self._preparing = preparing
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=console(error=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        """Look at what is done at this moment."""
        step = self._preparing()
        shown = self.tasks if step is None else [_task(task, step) for task in self.tasks]
        yield self.make_tasks_table(shown)


def _task(task: Task, step: Step) -> Task:
    shown = copy(task)  # all that is kept is when it began
    shown.description = plain(step.doing)
    shown.completed, shown.total = step.share or 0, None if step.share is None else 1
    shown.fields = {"detail": "" if step.events is None else f"{step.events:,} events"}
    return shown
