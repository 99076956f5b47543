"""How a query would be answered: bound forms, files and row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.arrow.schema import IMPORT_TIME
from vastlab.compile.pruning import Range, may_match
from vastlab.errors import CorruptFileError
from vastlab.nodes import _plan
from vastlab.nodes.base import Explanation, LayoutPlan, Query
from vastlab.store.layout import Layout, Snapshot
from vastlab.types import Kind

_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION})


def explain(query: Query, snapshot: Snapshot) -> Explanation:
    """Plan a query without running it; only footers of files are read.

    Parameters
    ----------
    query
        What is asked.
    snapshot
        What there is.
    """
    layouts = sorted(
        snapshot.layouts.values(), key=lambda layout: (layout.schema.name, layout.fingerprint)
    )
    plans = tuple(_plan_layout(query, snapshot, layout) for layout in layouts)
    return Explanation(str(query.expression), plans)


def _plan_layout(query: Query, snapshot: Snapshot, layout: Layout) -> LayoutPlan:
    files = [file for file in snapshot.files if file.fingerprint == layout.fingerprint]
    tasks = list(_plan.tasks(query, snapshot.layouts, files))
    groups = [_row_groups(task) for task in tasks]
    bound = _plan.bind(query, layout.schema)
    return LayoutPlan(
        schema=layout.schema.name,
        bound=None if bound is None else str(bound),
        files=len(tasks),
        all_files=len(files),
        row_groups=sum(chosen for chosen, _ in groups),
        all_row_groups=sum(number for _, number in groups),
        events=sum(task.file.rows for task in tasks),
    )


def _row_groups(task: _plan.Task) -> tuple[int, int]:
    try:
        metadata = pq.read_metadata(task.file.path)
    except (OSError, pa.ArrowException) as error:
        raise CorruptFileError(f"cannot read {task.file.path}: {error}") from error
    kinds = {leaf.column: leaf.type.kind for leaf in task.layout.schema.leaves}
    kinds[IMPORT_TIME] = Kind.TIME
    groups = [
        dict(_group_ranges(metadata.row_group(i), kinds)) for i in range(metadata.num_row_groups)
    ]
    chosen = sum(any(may_match(arm, ranges) for arm in task.arms) for ranges in groups)
    return chosen, len(groups)


def _group_ranges(group: Any, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Range]]:
    for i in range(group.num_columns):
        chunk = group.column(i)
        # Lists and records have several chunks, under longer paths.
        kind = kinds.get(chunk.path_in_schema)
        statistics = chunk.statistics
        if kind is None or statistics is None or not statistics.has_null_count:
            continue
        low, high = _bounds(statistics, kind) if statistics.has_min_max else (None, None)
        yield chunk.path_in_schema, Range(low, high, statistics.null_count, group.num_rows)


def _bounds(statistics: Any, kind: Kind) -> tuple[Any, Any]:
    if kind in _NUMBERS:
        return statistics.min_raw, statistics.max_raw
    if kind is Kind.IP:
        return statistics.min, statistics.max
    # Writers cut long texts and leave NaN out, each in a way of its own.
    return None, None
