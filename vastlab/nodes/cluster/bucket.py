"""The node of a database in an object store that the workers of a cluster read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import distributed

from vastlab.endpoints import ObjectStoreEndpoint
from vastlab.errors import NodeError, VastlabError
from vastlab.nodes.bucket import BucketNode
from vastlab.nodes.cluster.node import ClusterNode
from vastlab.nodes.plan import Task
from vastlab.store.layout import DataFile

_HINT = "workers take the address and the credentials of the store from their own environment"


class BucketOnCluster(ClusterNode, BucketNode):
    """A database in an object store, to which the workers have credentials of their own.

    Parameters
    ----------
    endpoint
        Where it is.
    connect, owned, verify
        As in `ClusterNode`.
    """

    _read_by_worker = 4  # a request is waited for longer than a disk

    def __init__(
        self,
        endpoint: ObjectStoreEndpoint,
        connect: Callable[[], distributed.Client],
        *,
        owned: bool = True,
        verify: bool = True,
    ) -> None:
        super().__init__(endpoint, verify=verify)
        self._store = endpoint
        self._use(connect, owned=owned, verify=verify)

    def _explained(self, error: VastlabError, tasks: Sequence[Task]) -> VastlabError:
        """Say where it was that the store could not be read."""
        found = super()._explained(error, tasks)
        if found is error and (worker := getattr(error, "worker", "")):
            error.message = f"on the worker {worker}, {error.message}"
            if isinstance(error, NodeError):
                error.hint = _HINT
        return found

    def _is_there(self, file: DataFile) -> bool:
        bucket = self._files.bucket
        return bucket.has(bucket.key(file.path))

    def _unseen(self, file: DataFile, worker: str) -> VastlabError:
        return NodeError(f"the worker {worker} does not see {file.path}", hint=_HINT)
