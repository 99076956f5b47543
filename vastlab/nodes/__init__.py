"""What an endpoint can be: an embedded database, a VAST node, a Tenzir node, a cluster."""

from __future__ import annotations

from typing import assert_never

from vastlab.endpoints import (
    ClusterEndpoint,
    DemoEndpoint,
    Endpoint,
    NodeEndpoint,
    ObjectStoreEndpoint,
    PathEndpoint,
)
from vastlab.errors import UsageError
from vastlab.nodes import demo
from vastlab.nodes.archive import ArchiveNode
from vastlab.nodes.base import Node
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.node_search import NodeSearch
from vastlab.readers import ReadOptions
from vastlab.store.archive import is_archive
from vastlab.store.database import is_database

_SUPPORTED = 'this version reads "demo:", folders, also as file: URLs, and nodes at host:port'


def open_node(
    endpoint: Endpoint,
    client: str | None = None,
    *,
    options: ReadOptions | None = None,
    verify: bool = True,
) -> Node | NodeSearch:
    """Return the node of an endpoint, or the search for it; nothing is read or connected yet."""
    match endpoint:
        case DemoEndpoint():
            return EmbeddedNode(demo.path(), make=demo.make, verify=verify)
        case PathEndpoint(path) if is_archive(path) and not is_database(path):
            return ArchiveNode(path)
        case PathEndpoint(path):
            return EmbeddedNode(path, options=options, verify=verify)
        case NodeEndpoint():
            return NodeSearch(endpoint, client or "auto")
        case ObjectStoreEndpoint() | ClusterEndpoint():
            raise UsageError(f"the endpoint {endpoint} cannot be used yet", hint=_SUPPORTED)
        case _:
            assert_never(endpoint)
