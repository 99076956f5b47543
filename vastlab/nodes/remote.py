"""A node at ``host:port`` of which it is not yet known what it is.

Each installed client is asked whether it can speak with the node; the first one that gets an
answer is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from vastlab.endpoints import NodeEndpoint
from vastlab.errors import ClientNotFoundError, ConfigError, NodeConnectionError, NodeError
from vastlab.nodes import process
from vastlab.nodes.base import Explanation, Node, Query, Report, ignore
from vastlab.nodes.process import Slots
from vastlab.nodes.tenzir import TenzirNode
from vastlab.nodes.vast import VastNode
from vastlab.store.ingest import IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_NAME_ONE = (
    'name a folder of logs, a database, "demo:" or host:port: connect("folder"), or -e folder'
)
CLIENTS = ("auto", "vast", "tenzir")


class _Client(Node, Protocol):
    """A node that tells whether it is there."""

    async def ping(self) -> str:
        """Return the node's version, or raise."""
        ...


# In the order in which they are preferred, should a node ever answer both.
_KINDS: Mapping[str, tuple[Callable[[], Path | None], Callable[[NodeEndpoint, Path], _Client]]] = {
    "vast": (lambda: process.find_vast(), VastNode),
    "tenzir": (lambda: process.find_tenzir(), TenzirNode),
}


class RemoteNode:
    """A node behind a port, spoken with by whichever client it answers.

    Parameters
    ----------
    endpoint
        Where it listens.
    client
        ``auto``, or the one client to use.
    named
        Whether the user named this endpoint; false for the default one.
    """

    def __init__(self, endpoint: NodeEndpoint, client: str = "auto", *, named: bool = True) -> None:
        if client not in CLIENTS:
            raise ConfigError(
                f"no such client: {client!r}", hint=f"vastlab.client is one of {', '.join(CLIENTS)}"
            )
        self._endpoint = endpoint
        self._client = client
        self._named = named
        self._found: _Client | None = None
        self._turn = Slots(1)

    def export(self, query: Query, report: Report = ignore) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch."""
        return self._export(query, report)

    async def counts(self, query: Query, report: Report = ignore) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        with self._naming():
            return await (await self._node()).counts(query, report)

    async def status(self, report: Report = ignore) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        with self._naming():
            return await (await self._node()).status(report)

    async def schemas(self, report: Report = ignore) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        with self._naming():
            return await (await self._node()).schemas(report)

    async def ingest(self, sources: Any, **options: Any) -> IngestReport:
        """Add the events of files."""
        with self._naming():
            return await (await self._node()).ingest(sources, **options)

    async def explain(self, query: Query, report: Report = ignore) -> Explanation:
        """Say how the node would answer."""
        with self._naming():
            return await (await self._node()).explain(query, report)

    async def aclose(self) -> None:
        """Let go of the client; the node is looked for again when it is next used."""
        node, self._found = self._found, None
        if node is not None:
            await node.aclose()

    async def _export(self, query: Query, report: Report) -> AsyncGenerator[TableSlice, None]:
        with self._naming():
            node = await self._node()
            async with aclosing(node.export(query, report)) as parts:
                async for part in parts:
                    yield part

    async def _node(self) -> Node:
        async with self._turn.take():
            if self._found is None:
                self._found = await self._find()
            return self._found

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Let an error say that no endpoint was named, where the default one was tried."""
        try:
            yield
        except (NodeConnectionError, ClientNotFoundError) as error:
            if not self._named:
                error.hint = f"no endpoint was named: {_NAME_ONE}"
            raise

    async def _find(self) -> _Client:
        candidates = self._candidates()
        if len(candidates) == 1:
            return candidates[0]  # there is nothing to find out: its own error says what is wrong
        pings = [asyncio.ensure_future(candidate.ping()) for candidate in candidates]
        try:
            errors = []
            for ended in asyncio.as_completed(pings):
                try:
                    await ended
                except NodeError as error:
                    errors.append(error)
                else:
                    # A client of the wrong kind may take seconds to give up.
                    return next(
                        candidate
                        for candidate, ping in zip(candidates, pings, strict=True)
                        if ping.done() and not ping.cancelled() and ping.exception() is None
                    )
        finally:
            for ping in pings:
                ping.cancel()
            await asyncio.gather(*pings, return_exceptions=True)
        raise self._none_answers(errors)

    def _none_answers(self, errors: list[NodeError]) -> NodeError:
        """Prefer the error of a client over the error that nothing answers."""
        failed = [error for error in errors if not isinstance(error, NodeConnectionError)]
        if len(failed) == len(errors) > 1:
            return NodeConnectionError(
                f"what listens at {self._endpoint} is not a node: {failed[0].message}",
                hint="check the port; vastlab.client in vast.yaml names the client to use",
                stderr="\n".join(error.stderr for error in failed),
            )
        return next(iter(failed or errors))

    def _candidates(self) -> list[_Client]:
        wanted = _KINDS if self._client == "auto" else {self._client: _KINDS[self._client]}
        candidates = [
            make(self._endpoint, program)
            for find, make in wanted.values()
            if (program := find()) is not None
        ]
        if not candidates:
            raise ClientNotFoundError(
                f"no client is installed to reach the node at {self._endpoint}",
                hint=process.REMEDY,
            )
        return candidates
