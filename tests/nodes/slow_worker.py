"""A preload of a Dask worker: each file takes a while, so that a test can interfere."""

from __future__ import annotations

import time
from typing import Any

from vastlab.nodes import scan
from vastlab.nodes.cluster import scanner


class SlowScan(scan.FileScan):
    """A scan that waits for a second before it counts or groups, unless it is stopped."""

    def count(self) -> int:
        """Count after a while."""
        self._wait()
        return super().count()

    def group(self, grouping: Any) -> Any:
        """Group after a while."""
        self._wait()
        return super().group(grouping)

    def _wait(self) -> None:
        for _ in range(20):
            if self._stopped:
                break
            time.sleep(0.05)


def _alone(tasks: Any) -> Any:
    return ([task] for task in tasks)


# Dask may load this twice: what is replaced must not depend on what was there.
vars(scanner)["scan"] = type("Slow", (), {"FileScan": SlowScan, "MakeScan": scan.MakeScan})
vars(scanner)["bundles"] = _alone
