"""Every node finds the same events, whatever is asked.

The cases are expressions with the answer beside them, expressions that the reference evaluator
answers, and the expressions that a real VAST 3.1 node was asked.
"""

from __future__ import annotations

import collections
import functools
import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.conformance import cases, recordings
from tests.conformance.cases import CASES, Case, counted, found, specified
from tests.conformance.events import (
    DEMO_EVENTS,
    batches_of,
    by_schema,
    demo_events,
    events_of,
    without,
)
from tests.conformance.expressions import EXPRESSIONS, GAPS
from tests.doubles import stream_of
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.ipc import read_streams
from vastlab.client import ExportMode
from vastlab.table_slice import collect_pyarrow, to_json_rows

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

MICROSECOND = 1_000
QUESTIONS = recordings.questions()
EXPORTS = [Case("recorded", question.text) for question in QUESTIONS if question.stream]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_every_node_finds_the_same(request, kind, every, case):
    """An expression finds the events that it has to find, and no others."""
    if reason := GAPS.get((kind, case.text)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    node = await every.holding(case.events)
    assert await cases.answer(node.client, case) == cases.expected(kind, case)


# --- the demo's events --------------------------------------------------------------------------


def test_there_are_enough_expressions():
    """Many are asked, no two are equal, and most of them find some of the events."""
    assert len(EXPRESSIONS) == len(set(EXPRESSIONS)) >= 150
    hits = [len(specified(text)) for text in EXPRESSIONS]
    assert sum(0 < hit < DEMO_EVENTS for hit in hits) > 0.8 * len(hits)


@pytest.mark.parametrize("text", EXPRESSIONS[::8])
async def test_every_node_counts_the_same(kind, demo, text):
    """Counting agrees with exporting, schema by schema."""
    if (kind, text) in GAPS:
        pytest.skip(GAPS[kind, text])
    numbers = collections.Counter(event[0] for event in specified(text))
    assert await demo.client.counts(text) == dict(numbers)
    assert await demo.client.count(text) == numbers.total()


async def written(stream) -> dict[str, list[str]]:
    """Write each event as sorted JSON, by schema."""
    answer = collections.defaultdict(list)
    async for row in to_json_rows(stream):
        answer[row.name].append(json.dumps(row.data, sort_keys=True, allow_nan=False))
    return {name: sorted(texts) for name, texts in answer.items()}


async def test_events_come_back_whole(demo):
    """Every value of every event is what it was, as far as the node keeps its type."""
    kept = stream_of(without(batch, demo.lost) for batch in demo_events())
    assert await written(demo.client.export(limit=0)) == await written(kept)


async def test_collected_tables_are_keyed_by_schema(demo):
    """The keys are the names of the schemas."""
    tables = await collect_pyarrow(demo.client.export(limit=0))
    assert set(tables) == set(by_schema(demo_events()))
    assert sum(table.num_rows for parts in tables.values() for table in parts) == DEMO_EVENTS


async def test_schemas_are_those_of_the_events(demo):
    """Names, fields and kinds are those that went in."""
    schemas = await demo.client.schemas()
    for name, parts in by_schema(demo_events()).items():
        schema = arrow_schema.from_arrow(parts[0].schema)
        kept = [leaf.name for leaf in schema.leaves if leaf.type.kind not in demo.lost]
        assert sorted(leaf.name for leaf in schemas[name].leaves) == sorted(kept)
    assert set(schemas) == set(by_schema(demo_events()))


@pytest.mark.parametrize("limit", [1, 100, 1_999, 2_000, 2_001])
async def test_a_limit_is_exact(demo, limit):
    """At most `limit` events are returned, in each mode that can return them."""
    assert len(await found(demo.client, "", limit=limit)) == min(limit, DEMO_EVENTS)
    if limit <= DEMO_EVENTS:
        answer = await found(demo.client, "", limit=limit, mode=ExportMode.UNIFIED)
        assert len(answer) == limit


# --- the answers of a real node -----------------------------------------------------------------


def test_recorded_counts_are_expected(shared):
    """The number of events is the recorded one, or differs for a reason that is named.

    The counts of every node are compared with these, one by one.
    """
    differing = set()
    for question in QUESTIONS:
        number = sum(counted(question.text).values())
        if number != question.number and question.text in recordings.DIFFERENT:
            differing.add(question.text)
        elif question.text in recordings.ELSEWHERE:
            assert number <= question.number, question.text
        else:
            assert number == question.number, question.text
    assert differing == set(recordings.DIFFERENT)
    assert sum(sum(counted(question.text).values()) for question in QUESTIONS) > 100_000


@pytest.mark.parametrize(
    "text, number",
    [
        ("resp_p == 80", 2730),
        ("resp_p != 80", 5732),
        (":ip == 192.168.1.104", 2821),
        ("orig_bytes > 1k && orig_bytes < 1Ki", 29),
        ("conn.duration <= 1.0s", 5359),
        ("id.orig_h !in 192.168.1.0/24", 173),
        ('net.app !in ["dns", "ftp", "http", "ssl"]', 23),
    ],
)
def test_counts_of_connections_are_those_of_vast(shared, text, number):
    """On the connections alone, the counts are those that VAST's own tests expect."""
    assert counted(text)["zeek.conn"] == number


@pytest.mark.parametrize("case", EXPORTS, ids=str)
async def test_every_recorded_event_is_found(kind, every, case):
    """The answer holds every recorded event that the node holds, with the same values."""
    if (kind, case.text) in GAPS:
        pytest.skip(GAPS[kind, case.text])
    client = (await every.holding("recorded")).client
    answer = flat_tables([part.to_pyarrow() async for part in client.export(case.text, limit=0)])
    (stream,) = (question.stream for question in QUESTIONS if question.text == case.text)
    for name, table in flat_tables(read_streams(stream)).items():
        recorded = at_hand(kind, name, table)
        if recorded.num_rows:
            assert not missing(recorded, answer[name]), name


def test_enough_recorded_events_are_compared(shared):
    """The recorded exports hold hundreds of events that are at hand."""
    tables = [
        flat_tables(read_streams(question.stream)) for question in QUESTIONS if question.stream
    ]
    events = [at_hand("embedded", *item) for found in tables for item in found.items()]
    assert sum(table.num_rows for table in events) > 600


@pytest.mark.parametrize("name", recordings.TYPED)
async def test_events_of_every_type_come_back_exactly(shared, every, name):
    """What is imported from a recorded export is exported again, value by value."""
    recorded = [row async for row in to_json_rows(stream_of([recordings.typed_events()[name]]))]
    assert {row.name for row in recorded} == {name}
    client = (await every.holding("recorded")).client
    stream = client.export(f'#type == "{name}"', limit=0)
    answer = [row async for row in to_json_rows(stream)]
    assert sorted(map(repr, answer)) == sorted(map(repr, recorded))
    printed = [comparable(row) for row in recordings.typed_rows(name)]
    assert sorted(map(repr, printed)) == sorted(repr(comparable(row.data)) for row in answer)


def comparable(value, key=""):
    """Leave out durations, and cut times to microseconds: the node's JSON writes them its way."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in ("dur", "d") or not isinstance(v, str)}
        return {k: comparable(v, k) for k, v in kept.items()}
    if key == "t" and isinstance(value, str):
        return value[: len("2021-03-04T05:06:07.123456")].removesuffix(".000000")
    return value


@functools.cache
def held(kind: str) -> dict[str, pa.Table]:
    """Return the recorded events that a node of this kind holds."""
    return flat_tables(batches_of(events_of("recorded", kind)))


def at_hand(kind: str, name: str, recorded: pa.Table) -> pa.Table:
    """Leave out recorded events that a node of this kind does not hold."""
    if name in recordings.TYPED:
        return recorded
    if name not in held(kind):
        return recorded.slice(0, 0)
    return of_uids(recorded, held(kind)[name])


def of_uids(table: pa.Table, other: pa.Table) -> pa.Table:
    """Keep the events that have the identifier of an event of another table."""
    return table.filter(pc.is_in(table.column("uid"), other.column("uid").combine_chunks()))


def flat_tables(batches) -> dict[str, pa.Table]:
    """Join the events of each schema, with one column for each leaf."""
    flat = [convert.flatten(convert.normalise(batch)) for batch in batches]
    return {name: pa.Table.from_batches(parts) for name, parts in by_schema(flat).items()}


def missing(recorded: pa.Table, answer: pa.Table) -> collections.Counter:
    """Return the recorded events that are not in the answer, by the fields that both have."""
    if "uid" in recorded.column_names:
        answer = of_uids(answer, recorded)
    names = sorted(set(recorded.column_names) & set(answer.column_names))
    assert len(names) > 5
    return rows(recorded, names) - rows(answer, names)


def rows(table: pa.Table, names: list[str]) -> collections.Counter:
    """Count equal events."""
    return collections.Counter(zip(*(values(table, name) for name in names), strict=True))


def values(table: pa.Table, name: str) -> list[str]:
    """Return comparable values, times and durations in microseconds.

    The node computes both in doubles, and is off by less than that.
    """
    storage = arrow_arrays.storage_of(table.column(name).combine_chunks())
    if pa.types.is_timestamp(storage.type) or pa.types.is_duration(storage.type):
        numbers = storage.cast(pa.int64()).to_pylist()
        return [repr(None if n is None else round(n / MICROSECOND)) for n in numbers]
    return [repr(value) for value in storage.to_pylist()]
