"""The questions that every node is asked, and the answers that are expected."""

from __future__ import annotations

import collections
import functools
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from datafusion import SessionContext

from tests import reference_evaluator as reference
from tests.conformance import recordings
from tests.conformance.events import batches_of, demo_events, events_of
from tests.conformance.expressions import EXPRESSIONS, SEVEN
from tests.nodes.fake_vast import rows_of
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.client import VAST
from vastlab.compile.datafusion import predicate
from vastlab.expression import parse
from vastlab.expression.resolve import resolve
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy

IDENTITY = ("ts", "uid", "id.orig_p", "timestamp", "flow_id", "event_type", "seen", "host")
"""The fields that tell events apart."""


@dataclass(frozen=True)
class Case:
    """An expression, and the set of events that it is asked of."""

    events: str
    text: str

    def __str__(self) -> str:
        return f"{self.events}: {self.text}"


CASES = [
    *(Case("seven", text) for text in SEVEN),
    *(Case("demo", text) for text in EXPRESSIONS),
    *(Case("recorded", recording.text) for recording in recordings.questions()),
]


# --- the answer of a node -----------------------------------------------------------------------


def identities(batch: pa.RecordBatch) -> Iterator[tuple]:
    """Name each event."""
    flat = convert.flatten(convert.normalise(batch))
    columns = [
        arrow_arrays.storage_of(flat[name]).cast(pa.string()).to_pylist()
        for name in IDENTITY
        if name in flat.schema.names
    ]
    names = [arrow_schema.name_of(batch.schema)] * batch.num_rows
    return zip(names, *columns, strict=True)


async def found(client: VAST, text: str, **options) -> list[tuple]:
    """Name the events that a node finds."""
    stream = client.export(text, **{"limit": 0} | options)
    return sorted([event async for part in stream for event in identities(part.to_pyarrow())])


async def uids(stream) -> list[str]:
    """Name the seven events: uids of connections as they are, those of lookups with a D."""
    answer = []
    async for part in stream:
        column = part.to_pyarrow().column("uid").to_pylist()
        answer += column if part.name == "zeek.conn" else [f"D{uid[1:]}" for uid in column]
    return answer


async def answer(client: VAST, case: Case) -> object:
    """Ask a node."""
    match case.events:
        case "seven":
            return sorted(await uids(client.export(case.text))), await client.count(case.text)
        case "demo":
            return await found(client, case.text)
        case _:  # too many events to be named
            return await client.counts(case.text)


# --- the expected answer ------------------------------------------------------------------------


@functools.cache
def _demo_rows() -> list[tuple]:
    now = time.time_ns()
    schemas = [arrow_schema.from_arrow(batch.schema) for batch in demo_events()]
    return [
        (schema, rows_of(batch, schema, now), list(identities(batch)))
        for batch, schema in zip(demo_events(), schemas, strict=True)
    ]


@functools.cache
def specified(text: str) -> list[tuple]:
    """Return the demo's events that the specification says.

    The reference evaluator answers, which shares no line with any node.
    """
    expr = at(parse(text), time.time_ns())
    events = []
    for schema, rows, names in _demo_rows():
        answers = reference.answers(expr, schema, rows, Taxonomy.default())
        events += itertools.compress(names, answers)
    return sorted(events)


@functools.cache
def _in_memory(kind: str) -> list[tuple]:
    now = pa.scalar(time.time_ns(), pa.timestamp("ns"))
    return [
        (
            arrow_schema.from_arrow(batch.schema),
            convert.flatten(batch).append_column("#import_time", pa.repeat(now, batch.num_rows)),
        )
        for batch in batches_of(events_of("recorded", kind))
    ]


@functools.cache
def counted(text: str, kind: str = "embedded") -> dict[str, int]:
    """Count the recorded events that an expression finds, where every event is looked at."""
    expr = at(parse(text), time.time_ns())
    total: dict[str, int] = collections.Counter()
    for schema, batch in _in_memory(kind):
        bound = resolve(expr, schema, Taxonomy.default())
        if bound is not None:
            frame = SessionContext().read_batches([batch]).filter(predicate(bound, schema))
            total[schema.name] += frame.count()
    return {name: number for name, number in total.items() if number}


def expected(kind: str, case: Case) -> object:
    """Return what a node of this kind has to answer."""
    match case.events:
        case "seven":
            return sorted(SEVEN[case.text]), len(SEVEN[case.text])
        case "demo":
            return specified(case.text)
        case _:
            return counted(case.text, kind)
