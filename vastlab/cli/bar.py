"""The progress bar of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn

from vastlab._text import plain
from vastlab.cli.messages import console, live
from vastlab.cli.progress import Reporter
from vastlab.nodes.base import Step


class Bar(Progress):
    """A progress bar that gives way to another one while something else is done first."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=console(error=True),
            transient=True,
        )

    def start(self) -> None:
        """Draw the bar; what is written to stderr meanwhile is written above it."""
        if self.console not in live:
            live.append(self.console)
        super().start()

    def stop(self) -> None:
        """Remove the bar."""
        super().stop()
        if self.console in live:
            live.remove(self.console)

    def get_renderables(self) -> Iterator[RenderableType]:
        """Show the step before the events, if there is one, or the tasks."""
        step = self._reporter.step
        shown = [_task(task, step) for task in self.tasks] if step.doing else self.tasks
        yield self.make_tasks_table(shown)


def _task(task: Task, step: Step) -> Task:
    shown = copy(task)  # all that is kept is when it began
    shown.description = plain(step.doing)
    shown.completed, shown.total = step.share or 0, None if step.share is None else 1
    shown.fields = {"detail": "" if step.events is None else f"{step.events:,} events"}
    return shown
