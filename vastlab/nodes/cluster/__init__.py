"""A database that is read by the workers of a Dask cluster.

Counts and summaries are Dask tasks, of some hundred megabytes of files each. An export pulls the
events of one file after the other, each from a worker that reads it, so that their order is that
of an embedded database and the memory of this process does not grow.

The scheduler and the workers are trusted: whoever may submit tasks to a cluster runs code on it,
and what they send is unpickled here. vastlab's own questions carry the versions of the packages on
which an answer depends; a worker compares them before it looks at the rest.
"""

from __future__ import annotations

from vastlab.nodes.cluster.node import FolderOnCluster
from vastlab.nodes.cluster.workers import check_client, connect_to

__all__ = ["FolderOnCluster", "check_client", "connect_to"]
