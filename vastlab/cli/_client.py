"""The client of the shell."""

from __future__ import annotations

from vastlab.cli._terminal import complain
from vastlab.client import VAST
from vastlab.config import DemoEndpoint
from vastlab.display.outcome import plural
from vastlab.nodes import demo
from vastlab.nodes.base import Step
from vastlab.store.database import is_database


class Client(VAST):
    """A client that says what has to be done before it can answer."""

    async def __aenter__(self) -> Client:
        return self

    def preparing(self) -> Step | None:
        """Return what is done at this moment; None once it answers."""
        return self._preparation


def opened(endpoint: str | None) -> Client:
    """Return a client; it tells when it is about to make the demo database."""
    client = Client(endpoint)
    if isinstance(client.endpoint, DemoEndpoint) and not is_database(demo.path()):
        tell_of_demo(demo.EVENTS)
    return client


def tell_of_demo(events: int) -> None:
    """Say that a demo database is being made, also where no progress bar can be shown."""
    complain(f"making the demo database of {plural(events, 'event')}", style="dim")
