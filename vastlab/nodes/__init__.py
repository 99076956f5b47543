"""What an endpoint can be: an embedded database, a VAST node, a Tenzir node, a cluster."""

from __future__ import annotations

from typing import assert_never

from vastlab.config import (
    ClusterEndpoint,
    DemoEndpoint,
    Endpoint,
    NodeEndpoint,
    ObjectStoreEndpoint,
    PathEndpoint,
)
from vastlab.errors import NodeConnectionError, UsageError
from vastlab.nodes import demo
from vastlab.nodes.base import Node
from vastlab.nodes.embedded import EmbeddedNode

_OFFER = 'connect("demo:") and connect("folder") work without a node'
_SUPPORTED = 'this version reads "demo:" and folders, also as file: URLs'


def open_node(endpoint: Endpoint) -> Node:
    """Return the node behind an endpoint; nothing is read or connected yet.

    Parameters
    ----------
    endpoint
        What `vastlab.config.resolve_endpoint` returns.
    """
    match endpoint:
        case DemoEndpoint():
            return EmbeddedNode(demo.path(), make=demo.make)
        case PathEndpoint(path):
            return EmbeddedNode(path)
        case NodeEndpoint():
            raise NodeConnectionError(
                f"no client for the VAST or Tenzir node at {endpoint} in this version", hint=_OFFER
            )
        case ObjectStoreEndpoint() | ClusterEndpoint():
            raise UsageError(f"the endpoint {endpoint} cannot be used yet", hint=_SUPPORTED)
        case _:
            assert_never(endpoint)
