"""A database that is read by the workers of a Dask cluster.

Counts and summaries are Dask tasks, of some hundred megabytes of files each. An export pulls the
events of one file after the other, each from a worker that reads it, so that their order is that
of an embedded database and the memory of this process does not grow.

What is written is staged by the workers, in a folder that this process makes and deletes, and added
by this process; only merges are added by the workers themselves. However often Dask repeats a task,
what one run of it has staged counts. Into an object store this process imports alone.

The scheduler and the workers are trusted: whoever may submit tasks to a cluster runs code on it,
and what they send is unpickled here. vastlab's own questions carry the versions of the packages on
which an answer depends; a worker compares them before it looks at the rest.

A database in an object store is named to the workers by its URL alone: its address and credentials
come from the environment of each worker, and never from this process. The store's library hangs
after a fork, so that workers must be spawned, as Dask does.

A worker that dies is replaced by another one, up to four times for each file or task. One that does
not answer for a minute is given up, too. Where none is left for half a minute, there is one error,
whose ``.partial`` is what had arrived. A scan that is left ends with the piece at hand; that of a
client that died, after two minutes.
"""

from __future__ import annotations

from vastlab.nodes.cluster.folder import FolderOnCluster
from vastlab.nodes.cluster.workers import check_client, connect_to

__all__ = ["FolderOnCluster", "check_client", "connect_to"]
