"""The node of a database in a folder that the workers of a cluster share with this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import distributed

from vastlab.errors import NodeError, UsageError, VastlabError
from vastlab.nodes.base import Report, ignore
from vastlab.nodes.cluster import importing
from vastlab.nodes.cluster.node import ClusterNode
from vastlab.nodes.embedded import EmbeddedNode, Maker
from vastlab.readers.source import check_encoding
from vastlab.store.database import Database, is_database
from vastlab.store.layout import DataFile

if TYPE_CHECKING:
    from vastlab.store.ingest import IngestProgress, IngestReport


class FolderOnCluster(ClusterNode, EmbeddedNode):
    """A folder that the workers share with this process.

    Parameters
    ----------
    path
        The folder.
    connect, owned
        As in `ClusterNode`.
    make, verify
        As for `EmbeddedNode`.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], distributed.Client],
        *,
        owned: bool = True,
        make: Maker | None = None,
        verify: bool = True,
    ) -> None:
        super().__init__(path, make=make, verify=verify)
        self._use(connect, owned=owned, verify=verify)

    async def ingest(
        self,
        sources: Any,
        *,
        strict: bool = False,
        force: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
        atomic: bool = False,
        **options: Any,
    ) -> IngestReport:
        """Let the workers read files, which they see at the same place, and add their events.

        Every task finds out the types of fields that nothing declares for its own files.
        """
        settings = {**self._with_own_schemas(options), "strict": strict}
        check_encoding(options.get("encoding"))
        whole = atomic or strict
        with self._filling(Database.complete if whole else _created) as database:
            workers = await self._connected(ignore)
            return await importing.ingest(
                workers,
                database,
                sources,
                force=force,
                atomic=whole,
                progress=progress,
                settings=settings,
            )

    def _is_there(self, file: DataFile) -> bool:
        return os.path.exists(file.path)

    def _unseen(self, file: DataFile, worker: str) -> VastlabError:
        return NodeError(
            f"the worker {worker} does not see {file.path}",
            hint="the database must be at the same place on all machines of the cluster",
        )

    def _prepared(self, report: Report, cancelled: Event | None) -> Database:
        if self._make is None and not is_database(self._path):
            absolute = Path("/", self._path)
            if not self._path.exists() and absolute.exists():
                raise UsageError(
                    f"no such folder: {self._path}, below the folder that this process runs in",
                    hint=f"an absolute path has a slash of its own: dask://HOST:PORT/{absolute}",
                )
            self._must_be_folder()
            raise UsageError(
                f"a cluster reads databases, and {self._path} is a folder of logs",
                hint="`vastlab import` makes a database of them, in a folder that all workers see",
            )
        return super()._prepared(report, cancelled)


@contextmanager
def _created(path: Path) -> Iterator[Database]:
    yield Database.create(path)
