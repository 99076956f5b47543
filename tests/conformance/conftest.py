"""Nodes of every kind, each with the same events."""

from __future__ import annotations

import collections
import datetime as dt
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance import nodes
from tests.conformance.events import events_of

SHARES = {
    ("demo", "s3"): 4,
    ("seven", "s3"): 4,
    ("recorded", "s3"): 8,
    ("demo", "logs"): 4,
    ("demo", "archive"): 8,
    ("demo", "vast"): 8,
    ("seven", "archive"): 4,
    ("seven", "vast"): 4,
    ("recorded", "archive"): 4,
    ("recorded", "vast"): 8,
}
"""Of how many expressions one is asked in the default suite; the others are `full`."""


SAMPLES = {
    ("recorded", "tenzir"): 5,
    ("recorded", "tenzir folder"): 5,
    ("demo", "tenzir"): 2,
    ("demo", "tenzir folder"): 3,
    ("demo", "cluster"): 3,
    ("recorded", "cluster"): 3,
    ("demo", "cluster s3"): 12,
    ("seven", "cluster s3"): 6,
    ("recorded", "cluster s3"): 12,
}
"""Of how many expressions one is asked in the full suite; `make soak` asks the others too.

Each starts a program of a second, or goes where others go too: a folder on a Tenzir node is asked
by the same pipelines as its own events, workers compile a predicate as embedded nodes do, and find
in an object store what `s3` finds.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Ask slow nodes fewer expressions in the default suite."""
    seen = collections.Counter()
    left_out = []
    ask_all = "CONFORMANCE_ALL" in os.environ
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "kind" not in params or not {"case", "text"} & params.keys():
            continue
        # Without recordings there are no cases of theirs, and the only parameter is none.
        key = (getattr(params.get("case"), "events", "demo"), params["kind"])
        if "case" in params and seen[item.originalname, key] % SHARES.get(key, 1):
            item.add_marker(pytest.mark.full)
        if seen[item.originalname, key] % (1 if ask_all else SAMPLES.get(key, 1)):
            left_out.append(item)
        seen[item.originalname, key] += 1
    config.hook.pytest_deselected(items=left_out)
    unasked = set(left_out)
    items[:] = [item for item in items if item not in unasked]


class Nodes:
    """The nodes of one kind, by the set of events that they hold."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self.kind = kind
        self._folder, self._stack = folder, stack
        self._nodes: dict[str, nodes.Node] = {}

    async def holding(self, name: str) -> nodes.Node:
        """Return the node with one set of events, made when it is first asked for."""
        if name not in self._nodes:
            folder = self._folder / name
            folder.mkdir()
            events = events_of(name, self.kind)
            self._nodes[name] = await nodes.start(self.kind, folder, events, self._stack)
        return self._nodes[name]


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(k, marks=pytest.mark.full if k in nodes.FULL else ()) for k in nodes.KINDS
    ],
)
def kind(request) -> str:
    """Return each kind of node in turn."""
    return request.param


@pytest.fixture(scope="session")
def every(kind, tmp_path_factory):
    """Return the nodes of one kind, which no test changes."""
    folder = tmp_path_factory.mktemp(kind.replace(" ", "-"))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        environment.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        yield Nodes(kind, folder, stack)


@pytest.fixture
async def seven(every):
    """Return a node that holds the seven events."""
    return await every.holding("seven")


@pytest.fixture
async def demo(every):
    """Return a node that holds the demo's events."""
    return await every.holding("demo")


@pytest.fixture
async def fresh(kind, tmp_path, monkeypatch):
    """Return a node of its own that holds the seven events, for a test that adds more."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with ExitStack() as stack:
        node = await nodes.start(kind, tmp_path, events_of("seven", kind), stack)
        yield node
        await node.client.aclose()


@pytest.fixture
def moment():
    """Return a function from an hour of the day of the seven events to a time."""
    start = dt.datetime(2009, 11, 18, tzinfo=dt.UTC)
    return lambda hour: start + dt.timedelta(hours=hour)
