"""The state of an embedded node, under the keys that VAST uses."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import datafusion
import pandas as pd
import pyarrow as pa

from vastlab.store.layout import DataFile, Snapshot

_UNIT = 1024
_SHOWN = 10  # problems
_KEYS = {
    "VmRSS": "current-memory-usage",
    "VmHWM": "peak-memory-usage",
    "VmSwap": "swap-space-usage",
}


def report(snapshot: Snapshot, path: Path) -> dict[str, Any]:
    """Describe a database and the process that reads it.

    Parameters
    ----------
    snapshot
        What there is.
    path
        The folder that the user named.

    Returns
    -------
    dict
        ``version``, ``system`` and ``catalog``; ``problems`` where the files that the events
        came from had any: how many, and the first of them.
    """
    return {
        "version": {
            "vastlab": _own_version(),
            "Apache Arrow": pa.__version__,
            "DataFusion": datafusion.__version__,
        },
        "system": {"database-path": str(path), "in-memory-table-slices": 0, **memory()},
        "catalog": {
            "num-events": sum(file.rows for file in snapshot.files),
            "num-partitions": len(snapshot.files),
            "schemas": {name: _schema(files) for name, files in _by_schema(snapshot).items()},
        },
        **_problems(snapshot),
    }


def _problems(snapshot: Snapshot) -> dict[str, Any]:
    number = sum(source.problem_count for source in snapshot.sources.values())
    first = [str(problem) for problem in snapshot.problems[:_SHOWN]]
    return {"problems": {"count": number, "first": first}} if number else {}


def memory() -> dict[str, int]:
    """Return the bytes that this process uses; 0 where the system does not tell."""
    usage = dict.fromkeys(_KEYS.values(), 0)
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return usage
    for line in lines.splitlines():
        name, _, value = line.partition(":")
        if name in _KEYS:
            usage[_KEYS[name]] = int(value.split()[0]) * _UNIT
    return usage


def _own_version() -> str:
    try:
        return metadata.version("vastlab")
    except metadata.PackageNotFoundError:
        return "not installed"


def _by_schema(snapshot: Snapshot) -> dict[str, list[DataFile]]:
    files: dict[str, list[DataFile]] = {}
    for file in snapshot.files:
        files.setdefault(file.schema_name, []).append(file)
    return files


def _schema(files: Iterable[DataFile]) -> dict[str, Any]:
    files = list(files)
    return {
        "num-events": sum(file.rows for file in files),
        "num-partitions": len(files),
        "import-time": _span(
            min(file.import_first for file in files), max(file.import_last for file in files)
        ),
        "event-time": _span(min(file.first for file in files), max(file.last for file in files)),
    }


def _span(first: int, last: int) -> dict[str, str]:
    return {"min": _text(first), "max": _text(last)}


def _text(nanoseconds: int) -> str:
    return str(pd.Timestamp(nanoseconds).isoformat())
