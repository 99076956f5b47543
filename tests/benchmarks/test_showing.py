"""Looking at a result against building its frames: both begin with the same tables."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from vastlab import demo
from vastlab.result import Result

pytestmark = pytest.mark.benchmark

EVENTS = 2_000_000
VIEWS: dict[str, Callable[[Result], Any]] = {
    "repr": repr,
    "html": lambda result: result._repr_html_(),
    "summary": lambda result: result.summary(),
    "show": lambda result: repr(result.show("zeek.conn")),
}
PICTURES: dict[str, Callable[[Result], Any]] = {
    "timeline": lambda result: result.timeline(),
    "timeline by address": lambda result: result.timeline(by="id.resp_h"),
    "timeline by label": lambda result: result.timeline(by="proto"),
    "top address": lambda result: result.top("id.resp_h"),
    "top name": lambda result: result.top("query"),
    "graph": lambda result: result.graph(),
}


@pytest.fixture(scope="module")
def tables() -> dict[str, list[pa.Table]]:
    """Make events of several schemas in many batches, as an export brings them."""
    parts: dict[str, list[pa.RecordBatch]] = defaultdict(list)
    for batch in demo.batches(events=EVENTS):
        parts[batch.schema.metadata[b"VAST:name:0"].decode()].append(batch)
    return {name: [pa.Table.from_batches(batches)] for name, batches in parts.items()}


@pytest.fixture(scope="module")
def frames(tables) -> float:
    """Say what building all frames costs, in seconds of CPU time."""
    return seconds(lambda result: [result[name] for name in result], tables)


def seconds(look: Callable[[Result], Any], tables: dict[str, list[pa.Table]]) -> float:
    """Measure the best of three turns, each on a result that knows nothing yet."""
    best = float("inf")
    for _ in range(3):
        result = Result(tables)
        start = time.process_time()
        look(result)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_costs_a_small_fraction(benchmark, tables, frames, name):
    """Views slice first: each should take less than a twentieth of what the frames take."""
    share = seconds(VIEWS[name], tables) / frames
    print(f"\n{name}: {share:.1%} of building the frames of {EVENTS:,} events")
    benchmark.pedantic(lambda: VIEWS[name](Result(tables)), rounds=1)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_costs_a_fraction(benchmark, tables, frames, name):
    """Pictures count in Arrow, in the columns that they need: it should be less than a third."""
    share = seconds(PICTURES[name], tables) / frames
    print(f"\n{name}: {share:.1%} of building the frames of {EVENTS:,} events")
    benchmark.pedantic(lambda: PICTURES[name](Result(tables)), rounds=1)
