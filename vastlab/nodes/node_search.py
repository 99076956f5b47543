"""The search for the client of a node at ``host:port``.

Each installed client is asked whether it can speak with the node; the first one that gets an
answer is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from vastlab.endpoints import NodeEndpoint
from vastlab.errors import ClientNotFoundError, ConfigError, NodeConnectionError, NodeError
from vastlab.nodes import process
from vastlab.nodes.base import Node
from vastlab.nodes.process import Slots

CLIENTS = ("auto", "vast", "tenzir")


class _Client(Node, Protocol):
    """A node that tells whether it is there."""

    async def ping(self) -> str:
        """Return the node's version, or raise."""
        ...


def _vast(endpoint: NodeEndpoint, program: Path) -> _Client:
    from vastlab.nodes.vast import VastNode  # here, since most endpoints are folders

    return VastNode(endpoint, program)


def _tenzir(endpoint: NodeEndpoint, program: Path) -> _Client:
    from vastlab.nodes.tenzir import TenzirNode

    return TenzirNode(endpoint, program)


# In the order in which they are preferred, should a node ever answer both.
_KINDS: Mapping[str, tuple[Callable[[], Path | None], Callable[[NodeEndpoint, Path], _Client]]] = {
    "vast": (lambda: process.find_vast(), _vast),
    "tenzir": (lambda: process.find_tenzir(), _tenzir),
}


class NodeSearch:
    """Finds the client that speaks with what listens at a port."""

    def __init__(self, endpoint: NodeEndpoint, client: str = "auto") -> None:
        if client not in CLIENTS:
            raise ConfigError(
                f"no such client: {client!r}", hint=f"vastlab.client is one of {', '.join(CLIENTS)}"
            )
        self._endpoint = endpoint
        self._client = client
        self._found: _Client | None = None
        self._turn = Slots(1)

    async def node(self) -> Node:
        """Return the node; all callers wait for the same search."""
        async with self._turn.take():
            if self._found is None:
                self._found = await self._find()
            return self._found

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
