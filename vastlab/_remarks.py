"""A client whose warnings are issued where the user's code stands.

It works on vastlab's own loop, in a thread where no line of the user's is to be found.
"""

from __future__ import annotations

import sys
import warnings

from vastlab.client import VAST
from vastlab.errors import VastlabWarning
from vastlab.nodes.base import Step


class RemarkingClient(VAST):
    """Keeps warnings until the thread that waits can issue them.

    Parameters
    ----------
    endpoint
        As in `VAST`.
    """

    def __init__(self, endpoint: str | None) -> None:
        super().__init__(endpoint)
        self._told: list[str] = []

    def told(self) -> list[str]:
        """Take the warnings that were not issued yet."""
        told, self._told = self._told, []
        if told:
            self._checked.clear()  # who asks the same again is warned again
        return told

    def warn(self) -> None:
        """Issue them."""
        for line in self.told():
            warnings.warn(line, VastlabWarning, stacklevel=_depth())

    def step(self, step: Step) -> Step:
        """Say what the node does before there can be events, or else how far the call is."""
        return step if step.events else self._preparation or step

    def _tell(self, line: str) -> None:
        self._told.append(line)


def _depth() -> int:
    """Return how many calls up the code stands that called vastlab."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("vastlab."):
        depth, frame = depth + 1, frame.f_back
    return depth
