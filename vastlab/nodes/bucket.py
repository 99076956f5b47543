"""A database in an object store as a node."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from vastlab.compile.summary import Grouping
from vastlab.endpoints import ObjectStoreEndpoint
from vastlab.errors import UsageError
from vastlab.nodes.base import Report, ignore
from vastlab.nodes.database import DatabaseNode
from vastlab.nodes.object_scan import ObjectScan, row_groups
from vastlab.nodes.plan import Task
from vastlab.store.bucket import AT_ONCE, Bucket
from vastlab.store.database import Database, OtherFilesError, is_database
from vastlab.store.ingest import IngestReport, ingest
from vastlab.store.object_file import ObjectFiles


class BucketNode(DatabaseNode):
    """A database in an object store, which this process reads and writes.

    Parameters
    ----------
    endpoint
        Where it is.
    verify
        Whether what an answer depends on is compared with its checksums before it counts.
    """

    _poll_seconds = 1.0  # a look is two or three requests, which cost money

    def __init__(self, endpoint: ObjectStoreEndpoint, *, verify: bool = True) -> None:
        self._files = ObjectFiles(Bucket(endpoint), verify=verify)
        super().__init__(str(endpoint), partial(ObjectScan, files=self._files), AT_ONCE)
        self._database: Database | None = None

    async def aclose(self) -> None:
        """End what runs and release the threads."""
        self._database = None
        await super().aclose()

    def _open(self, report: Report, cancelled: threading.Event | None = None) -> Database:
        if self._database is None:
            bucket = self._files.bucket
            if not is_database(bucket):
                raise UsageError(
                    f"there is no database at {bucket}",
                    hint="check the bucket and the path, or make one with `vastlab import -e URL "
                    "FILES`; plain logs in a bucket are not read",
                )
            self._database = Database.open(bucket)
        return self._database

    def _compactable(self) -> Database:
        return self._open(ignore)

    def _ingest(self, sources: Any, **options: Any) -> IngestReport:
        try:
            with Database.complete(self._files.bucket) as database:
                return ingest(database, sources, **options)
        except OtherFilesError as error:
            raise UsageError(
                f"{self._name} holds other objects and no database",
                hint="import below another path of the bucket",
            ) from error

    def _row_groups(self, task: Task) -> tuple[int, int]:
        return row_groups(task, self._files)

    # Requests of several files are made at the same time.

    def _counted_together(self, tasks: list[Task]) -> list[list[Task]]:
        return [[task] for task in tasks]

    def _grouped_together(
        self, tasks: list[Task], groupings: dict[str, Grouping]
    ) -> list[list[Task]]:
        return [[task] for task in tasks]
