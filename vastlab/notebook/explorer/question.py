"""What is explored: an expression and the bounds of the event time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vastlab._arguments import as_instant
from vastlab._held import joined
from vastlab.errors import VastlabError
from vastlab.expression import parse_query
from vastlab.expression.literals import Time
from vastlab.result import Result


@dataclass(frozen=True, slots=True)
class Question:
    """What is explored; `since` and `until` are written as in forms."""

    expression: str = ""
    since: str | None = None
    until: str | None = None

    @property
    def bounds(self) -> dict[str, str | None]:
        """The bounds, as calls take them."""
        return {"since": self.since, "until": self.until}


def among_all(held: Result, asked: Question) -> Question:
    """Return the question that finds in all events what another one finds in a result."""
    now = time.time_ns()
    bounds = (("since", held.since, asked.since, max), ("until", held.until, asked.until, min))
    try:
        expression = held.expression
        if asked.expression:
            expression = joined(expression, parse_query(asked.expression))
        found = [
            choose(known) if (known := [t for t in times if t is not None]) else None
            for name, first, second, choose in bounds
            for times in [[as_instant(name, first, now), as_instant(name, second, now)]]
        ]
    except VastlabError:
        return asked  # it is being typed
    since, until = (None if time is None else str(Time(time)) for time in found)
    return Question(expression, since, until)
