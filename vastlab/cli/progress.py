"""What is shown while a call runs: warnings at once, and a progress bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from vastlab.cli.messages import show_warning
from vastlab.nodes.base import Notice, Step


class Reporter:
    """Shows the warnings of a call at once, and keeps its newest step for a progress bar."""

    def __init__(self) -> None:
        self.step = Step()

    def __call__(self, item: Step | Notice) -> None:
        """Take a step or a notice, from any thread."""
        match item:
            case Notice(text):
                show_warning(text)
            case Step():
                self.step = item


@contextlib.contextmanager
def progress(
    label: str, unit: str = "events", reporter: Reporter | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Show progress on stderr if it is a terminal; yield a function of (done, total or 0)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from vastlab.cli.bar import Bar  # here, since a pipe does not need it

    with Bar(reporter or Reporter()) as bar:
        task = bar.add_task(label, total=None, detail="")

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, detail=f"{done:,} {unit}")

        yield update
