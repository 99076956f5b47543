"""Every node finds the same events of the demo, whatever is asked.

What is expected is what the reference evaluator says, which shares no line with any node.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import pytest

from tests import reference_evaluator as reference
from tests.conformance.expressions import EXPRESSIONS, GAPS
from tests.nodes.fake_vast import FakeVast, rows_of
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.client import VAST, ExportMode
from vastlab.demo import batches
from vastlab.expression import parse
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes import own, process
from vastlab.store.database import Database
from vastlab.table_slice import TableSlice, collect_pyarrow, to_json_rows
from vastlab.types import Kind

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

EVENTS = 2_000
PART = 128
TELLING = ("ts", "uid", "id.orig_p", "timestamp", "flow_id", "event_type", "seen", "host")
"""What tells events apart."""
LOST = {"vast": {Kind.BLOB}}
"""What a node cannot keep."""


@dataclass(frozen=True)
class Held:
    """A node that holds the demo's events."""

    kind: str
    open: Callable[[], VAST]
    client: VAST
    lost: frozenset[Kind]


# --- the nodes ----------------------------------------------------------------------------------


def embedded(folder: Path, events: list[pa.RecordBatch], stack: ExitStack):
    database = Database.create(folder / "events.db")
    database.add(events)
    return lambda: VAST(database.path)


def logs(folder: Path, events: list[pa.RecordBatch], stack: ExitStack):
    (folder / "logs").mkdir()
    for name, parts in by_name(events).items():
        with pa.ipc.new_file(folder / "logs" / f"{name}.arrow", parts[0].schema) as writer:
            for part in parts:
                writer.write_batch(part)
    return lambda: VAST(folder / "logs")


def vast(folder: Path, events: list[pa.RecordBatch], stack: ExitStack):
    node = FakeVast(folder / "bin")
    stack.callback(node.close)
    # In turn, so that streams of one schema alternate with those of others.
    for parts in zip_longest(*by_name(events).values()):
        for part in filter(None, parts):
            node.add(without(part, LOST["vast"]))
    path = pytest.MonkeyPatch()
    stack.callback(path.undo)
    path.setenv("PATH", str(node.folder))
    client = VAST(node.endpoint, client="vast")
    asyncio.run(client.status())  # finds the program
    path.undo()
    return lambda: client


def tenzir(folder: Path, events: list[pa.RecordBatch], stack: ExitStack):
    node = stack.enter_context(started(folder / "state", events))
    client = VAST(node.endpoint, client="tenzir")
    return lambda: client


def tenzir_folder(folder: Path, events: list[pa.RecordBatch], stack: ExitStack):
    with started(folder / "state", events):
        pass
    shutil.rmtree(folder / "state" / "index", ignore_errors=True)  # only the events are read
    return lambda: VAST(folder / "state")


def started(folder: Path, events: list[pa.RecordBatch]) -> own.OwnNode:
    """Start a node of Tenzir that holds the events."""
    if process.find_tenzir() is None:
        pytest.skip("the package tenzir is not installed")
    node = own.start_node(folder)
    tables = [pa.Table.from_batches(parts) for parts in by_name(events).values()]
    asyncio.run(VAST(node.endpoint, client="tenzir").ingest(tables))
    return node


NODES = {
    "embedded": embedded,
    "logs": logs,
    "vast": vast,
    "tenzir": tenzir,
    "tenzir folder": tenzir_folder,
}
FULL = ("tenzir", "tenzir folder")


@pytest.fixture(
    scope="session",
    params=[pytest.param(k, marks=pytest.mark.full if k in FULL else ()) for k in NODES],
)
def node(request, tmp_path_factory, demo):
    """Return each kind of node in turn, with the same events."""
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        environment.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        make = NODES[request.param](folder, demo, stack)
        lost = frozenset(LOST.get(request.param, ()))
        yield Held(request.param, make, make(), lost)


@pytest.fixture(scope="session")
def demo() -> list[pa.RecordBatch]:
    """Return the demo's events in small parts."""
    return [
        batch.slice(start, PART)
        for batch in batches(EVENTS)
        for start in range(0, batch.num_rows, PART)
    ]


@pytest.fixture(scope="session")
def expected(demo):
    """Return a function from an expression to the events that the specification says."""
    now = time.time_ns()
    schemas = [arrow_schema.from_arrow(batch.schema) for batch in demo]
    cells = [rows_of(batch, schema, now) for batch, schema in zip(demo, schemas, strict=True)]
    names = [list(told(batch)) for batch in demo]

    @functools.cache
    def find(text: str) -> list[tuple]:
        expr = at(parse(text), now)
        found = []
        for schema, rows, events in zip(schemas, cells, names, strict=True):
            answers = reference.answers(expr, schema, rows, Taxonomy.default())
            found += itertools.compress(events, answers)
        return sorted(found)

    return find


def by_name(events: Iterable[pa.RecordBatch]) -> dict[str, list[pa.RecordBatch]]:
    """Sort batches by schema."""
    found: dict[str, list[pa.RecordBatch]] = {}
    for batch in events:
        found.setdefault(arrow_schema.name_of(batch.schema), []).append(batch)
    return found


def without(batch: pa.RecordBatch, kinds: Iterable[Kind]) -> pa.RecordBatch:
    """Leave out what a node cannot keep."""
    schema = arrow_schema.from_arrow(batch.schema)
    return batch.select([e.name for e in schema.fields if e.type.kind not in kinds])


# --- what is compared ---------------------------------------------------------------------------


def told(batch: pa.RecordBatch) -> Iterator[tuple]:
    """Name each event."""
    flat = convert.flatten(convert.normalise(batch))
    columns = [
        arrow_arrays.storage_of(flat[name]).cast(pa.string()).to_pylist()
        for name in TELLING
        if name in flat.schema.names
    ]
    names = [arrow_schema.name_of(batch.schema)] * batch.num_rows
    return zip(names, *columns, strict=True)


async def found(client: VAST, text: str, **options) -> list[tuple]:
    """Name the events that a node finds."""
    stream = client.export(text, **{"limit": 0} | options)
    return sorted([event async for part in stream for event in told(part.to_pyarrow())])


async def written(stream) -> dict[str, list[str]]:
    """Write each event as sorted JSON, by schema."""
    answer = collections.defaultdict(list)
    async for row in to_json_rows(stream):
        answer[row.name].append(json.dumps(row.data, sort_keys=True, allow_nan=False))
    return {name: sorted(texts) for name, texts in answer.items()}


# --- tests --------------------------------------------------------------------------------------


def test_there_are_enough_expressions(expected):
    """Many are asked, no two alike, and most of them tell events apart."""
    assert len(EXPRESSIONS) == len(set(EXPRESSIONS)) >= 150
    hits = [len(expected(text)) for text in EXPRESSIONS]
    assert sum(0 < hit < EVENTS for hit in hits) > 0.8 * len(hits)


@pytest.mark.parametrize("text", EXPRESSIONS)
async def test_every_node_finds_the_same(request, node, expected, text):
    """An expression finds the events that the specification says, and no others."""
    if reason := GAPS.get((node.kind, text)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    assert await found(node.client, text) == expected(text)


@pytest.mark.parametrize("text", EXPRESSIONS[::8])
async def test_every_node_counts_the_same(node, expected, text):
    """Counting agrees with exporting, schema by schema."""
    if (node.kind, text) in GAPS:
        pytest.skip(GAPS[node.kind, text])
    numbers = collections.Counter(event[0] for event in expected(text))
    assert await node.client.counts(text) == dict(numbers)
    assert await node.client.count(text) == numbers.total()


async def test_events_come_back_whole(node, demo):
    """Every value of every event is what it was, as far as the node keeps its type."""

    async def kept():
        for batch in demo:
            yield TableSlice(without(batch, node.lost))

    assert await written(node.client.export(limit=0)) == await written(kept())


async def test_collected_tables_are_keyed_by_schema(node, demo):
    """The keys are the names of the schemas."""
    tables = await collect_pyarrow(node.client.export(limit=0))
    assert set(tables) == set(by_name(demo))
    assert sum(table.num_rows for parts in tables.values() for table in parts) == EVENTS


async def test_schemas_are_those_of_the_events(node, demo):
    """Names, fields and kinds are those that went in."""
    schemas = await node.client.schemas()
    for name, parts in by_name(demo).items():
        schema = arrow_schema.from_arrow(parts[0].schema)
        kept = [leaf for leaf in schema.leaves if leaf.type.kind not in node.lost]
        assert sorted(leaf.name for leaf in schemas[name].leaves) == sorted(
            leaf.name for leaf in kept
        )
    assert set(schemas) == set(by_name(demo))


@pytest.mark.parametrize("limit", [1, 100, 1_999, 2_000, 2_001])
async def test_a_limit_is_exact(node, limit):
    """So many events and no more, in each mode that can return them."""
    assert len(await found(node.client, "", limit=limit)) == min(limit, EVENTS)
    if limit <= EVENTS:
        answer = await found(node.client, "", limit=limit, mode=ExportMode.UNIFIED)
        assert len(answer) == limit
