"""A preload of a Dask worker: to read a lookup takes more memory than the worker may have."""

from __future__ import annotations

import time
from typing import Any

from vastlab.nodes import scan
from vastlab.nodes.cluster import scanner

_BYTES = 1 << 30


class HungryScan(scan.FileScan):
    """A scan that takes memory for files of one schema, until its process is ended."""

    def count(self) -> int:
        """Count."""
        self._take()
        return super().count()

    def piece(self) -> Any:
        """Read."""
        self._take()
        return super().piece()

    def _take(self) -> None:
        if self._task.file.schema_name == "zeek.dns":
            held = b"x" * _BYTES
            while held and not self._stopped:
                time.sleep(0.05)


vars(scanner)["scan"] = type("Hungry", (), {"FileScan": HungryScan, "MakeScan": scan.MakeScan})
