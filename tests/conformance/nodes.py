"""The kinds of nodes that the suite asks.

What a node cannot do is data: `CANNOT` says why, and the test that asks for it is skipped with
that reason.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import pytest

from tests import archive_files, dask_cluster
from tests.conformance.events import Events, batches_of, by_schema, without
from tests.nodes.fake_vast import FakeVast
from tests.object_store import shared_store
from vastlab.client import VAST
from vastlab.nodes import own, process
from vastlab.types import Kind

_ORDER = "never: a node answers in its own order, and a limit takes what comes first"
_TIMES = "never: all events would have to be read for their times"
_NAMES = "never: Tenzir keeps no names of types, and enumerations as text"
_STATUS = "never: the status is the node's own"
CANNOT = {
    ("logs", "ingest"): "never: a folder of logs is read as it is",
    ("archive", "ingest"): "never: the files of a node are only read",
    ("archive", "own status"): _TIMES,
    ("tenzir folder", "ingest"): "never: the files of a node are only read",
    ("vast", "order"): _ORDER,
    ("tenzir", "order"): _ORDER,
    ("vast", "own status"): _STATUS,
    ("tenzir", "status"): "never: Tenzir's status has other keys",
    ("tenzir folder", "own status"): _TIMES,
    ("tenzir", "type names"): _NAMES,
    ("tenzir folder", "type names"): _NAMES,
}
LOST = {"vast": {Kind.BLOB}}
"""The kinds of values that a node cannot keep."""


@dataclass(frozen=True)
class Node:
    """A node that holds events, and how more of them get there."""

    kind: str
    client: VAST
    add: Callable[[Events], Awaitable[object]]
    listens: Callable[[], Awaitable[object]]

    @property
    def lost(self) -> set[Kind]:
        """The kinds of values that it does not keep."""
        return LOST.get(self.kind, set())

    def needs(self, ability: str) -> None:
        """Skip the test where the node cannot do something."""
        if reason := CANNOT.get((self.kind, ability)):
            pytest.skip(reason)


async def start(kind: str, folder: Path, events: Events, stack: ExitStack) -> Node:
    """Make a node that holds these events, until the stack is closed."""
    node = KINDS[kind](folder, stack)
    await node.add(events)
    return node


def embedded(folder: Path, stack: ExitStack) -> Node:
    client = VAST(folder / "events.db")
    return Node("embedded", client, client.ingest, client.count)


def bucket(folder: Path, stack: ExitStack) -> Node:
    """Read and write a database in an object store."""
    store = shared_store()
    environment = stack.enter_context(pytest.MonkeyPatch.context())
    for name, text in store.environment.items():
        environment.setenv(name, text)
    client = VAST(store.url())
    return Node("s3", client, client.ingest, client.count)


def logs(folder: Path, stack: ExitStack) -> Node:
    """Read a folder of logs, as they are or as Arrow files."""
    logs = folder / "logs"
    logs.mkdir()

    async def add(events: Events) -> None:
        for path in (item for item in events if isinstance(item, Path)):
            (logs / path.name).symlink_to(path)
        parts = [item for item in events if isinstance(item, pa.RecordBatch)]
        for batches in by_schema(parts).values():
            # Written beside and moved, as a sensor that rotates its logs does.
            beside = folder / "next.arrow"
            with pa.ipc.new_file(beside, batches[0].schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            beside.rename(logs / f"{len(list(logs.iterdir()))}.arrow")

    # The state counts that a folder of logs has when the export has looked at it.
    client = VAST(logs)
    return Node("logs", client, add, client.count)


def archive(folder: Path, stack: ExitStack) -> Node:
    """Read the files of a node that is not running."""
    state = folder / "vast.db"

    async def add(events: Events) -> None:
        for batch in batches_of(events):
            archive_files.add(state, batch, time.time_ns())

    client = VAST(state)
    return Node("archive", client, add, client.count)


def vast(folder: Path, stack: ExitStack) -> Node:
    """Ask the VAST node of the tests."""
    node = FakeVast(folder / "bin")
    stack.callback(node.close)
    client = VAST(node.endpoint, client="vast")

    async def add(events: Events) -> None:
        # In turn, so that streams of one schema alternate with those of others.
        for batches in zip_longest(*by_schema(batches_of(events)).values()):
            for batch in filter(None, batches):
                node.add(without(batch, LOST["vast"]))
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PATH", str(node.folder))
            await client.status()  # finds the program

    return Node("vast", client, add, partial(asyncio.to_thread, node.wait_until_listening))


def tenzir(folder: Path, stack: ExitStack) -> Node:
    """Ask a real node of Tenzir."""
    if process.find_tenzir() is None:
        pytest.skip("the package tenzir is not installed")
    node = stack.enter_context(own.start_node(folder / "state"))
    client = VAST(node.endpoint, client="tenzir")

    async def add(events: Events) -> None:
        parts = by_schema(batches_of(events)).values()
        await client.ingest([pa.Table.from_batches(batches) for batches in parts])

    async def listens() -> None:
        # The program does not say when the node has its query: several others that start after it
        # have had their answers.
        for _ in range(3):
            await client.count()

    return Node("tenzir", client, add, listens)


def tenzir_folder(folder: Path, stack: ExitStack) -> Node:
    """Read the files that a real node of Tenzir leaves behind."""
    client = VAST(folder / "state")

    async def add(events: Events) -> None:
        with ExitStack() as running:
            await tenzir(folder, running).add(events)
        shutil.rmtree(folder / "state" / "index", ignore_errors=True)  # only events are read

    return Node("tenzir folder", client, add, client.count)


def cluster(folder: Path, stack: ExitStack) -> Node:
    """Let the workers of a Dask cluster read a folder that they share with this process."""
    client = VAST(dask_cluster.endpoint(folder / "events.db"))
    stack.callback(dask_cluster.close, client)
    return Node("cluster", client, client.ingest, client.count)


def cluster_bucket(folder: Path, stack: ExitStack) -> Node:
    """Let the workers of a Dask cluster read a database in an object store."""
    url = bucket(folder, stack).client.endpoint
    dask_cluster.lead_to(shared_store().environment)
    client = VAST(dask_cluster.endpoint(url))
    stack.callback(dask_cluster.close, client)
    return Node("cluster s3", client, client.ingest, client.count)


KINDS = {
    "embedded": embedded,
    "s3": bucket,
    "cluster": cluster,
    "cluster s3": cluster_bucket,
    "logs": logs,
    "archive": archive,
    "vast": vast,
    "tenzir": tenzir,
    "tenzir folder": tenzir_folder,
}
FULL = ("cluster", "cluster s3", "tenzir", "tenzir folder")
"""The kinds that start real programs: only `make test-full` asks them."""
