"""What an endpoint can be: an embedded database, a VAST node, a Tenzir node, a cluster.

At host:port, both programs on PATH are tried, and the one that gets an answer is used;
``vastlab.client`` in ``vast.yaml`` or ``VAST(client="tenzir")`` settles it. A query runs as a
process of its own, at most four at once, and ends with it. It runs without the user's ``VAST_*``
and ``TENZIR_*`` variables. A node that goes away during an answer is a `NodeError`, whose
``.partial`` is what had arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from vastlab._optional import import_optional
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
from vastlab.nodes.base import Node
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.node_search import NodeSearch
from vastlab.readers import ReadOptions
from vastlab.store.database import is_database

_PLACES = (
    'name "demo:", a database in a folder that the workers see, or one in s3://, gs:// or az://'
)


def open_node(
    endpoint: Endpoint,
    client: str | None = None,
    *,
    cluster: Any = None,
    options: ReadOptions | None = None,
    verify: bool = True,
) -> Node | NodeSearch:
    """Return the node of an endpoint, or the search for it; nothing is read or connected yet.

    With a `distributed.Client` as `cluster`, its workers read the database at the endpoint.
    """
    if cluster is not None:
        ready = _cluster().check_client(cluster)
        return _on_cluster(endpoint, lambda: ready, owned=False, verify=verify)
    node: Node  # of a module that is imported when it is needed
    match endpoint:
        case DemoEndpoint():
            return EmbeddedNode(demo.path(), make=demo.make, verify=verify)
        case PathEndpoint(path) if not is_database(path) and (archive := _archive(path)):
            return archive
        case PathEndpoint(path):
            return EmbeddedNode(path, options=options, verify=verify)
        case NodeEndpoint():
            return NodeSearch(endpoint, client or "auto")
        case ObjectStoreEndpoint():
            module = import_optional("vastlab.nodes.bucket", extra="cloud")
            node = module.BucketNode(endpoint, verify=verify)
        case ClusterEndpoint(scheduler, data):
            connect = partial(_cluster().connect_to, scheduler)
            node = _on_cluster(data, connect, owned=True, verify=verify)
        case _:
            assert_never(endpoint)
    return node


def _archive(path: Path) -> Node | None:
    """Return the node of the folder of a VAST or Tenzir node, if it is one."""
    from vastlab.store.archive import is_archive  # here, since few folders are

    if not is_archive(path):
        return None
    from vastlab.nodes.archive import ArchiveNode

    return ArchiveNode(path)


def _cluster() -> Any:
    return import_optional("vastlab.nodes.cluster", extra="cluster")


def _on_cluster(
    endpoint: Endpoint, connect: Callable[[], Any], *, owned: bool, verify: bool
) -> Node:
    folder = partial(_cluster().FolderOnCluster, connect=connect, owned=owned, verify=verify)
    node: Node
    match endpoint:
        case DemoEndpoint():
            node = folder(demo.path(), make=demo.make)
        case PathEndpoint(path):
            node = folder(path)
        case ObjectStoreEndpoint():
            module = import_optional("vastlab.nodes.cluster.bucket", extra="cloud")
            node = module.BucketOnCluster(endpoint, connect, owned=owned, verify=verify)
        case _:
            raise UsageError(f"the endpoint {endpoint} is not read by a cluster", hint=_PLACES)
    return node
