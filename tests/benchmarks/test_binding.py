"""What parsing and binding cost, against planning the same predicates in DataFusion."""

from __future__ import annotations

import time

import pyarrow as pa
from datafusion import SessionContext

from vastlab.arrow import convert
from vastlab.compile.datafusion import predicate
from vastlab.expression import parse
from vastlab.expression.resolve import resolve
from vastlab.types import Field, Kind, Schema, Type

ROUNDS = 5
LITERALS = {
    Kind.IP: "10.0.0.1",
    Kind.UINT64: "42",
    Kind.STRING: '"x"',
    Kind.TIME: "2023-01-01",
    Kind.DURATION: "5s",
    Kind.INT64: "42",
    Kind.DOUBLE: "4.5",
    Kind.BOOL: "true",
}
KINDS = tuple(LITERALS)


def schema(number):
    """Make a schema of a hundred fields in ten records."""
    records = [
        Field(f"r{i}", Type(Kind.RECORD, fields=tuple(field(10 * i + k) for k in range(10))))
        for i in range(10)
    ]
    return Schema(f"zeek.s{number}", tuple(records))


def field(number):
    """Make one of the hundred fields."""
    return Field(f"f{number}", Type(KINDS[number % len(KINDS)]))


def fastest(function):
    """Return the best of several times."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def test_binding_costs_less_than_planning(benchmark):
    """A hundred predicates are bound to fifty schemas faster than they are planned for them."""
    schemas = [schema(i) for i in range(50)]
    texts = [f"f{i} == {LITERALS[KINDS[i % len(KINDS)]]}" for i in range(100)]
    whole = " || ".join(texts)

    def bind():
        expr = parse(whole)
        return [resolve(expr, each) for each in schemas]

    bound = bind()
    compiled = [predicate(expr, each) for expr, each in zip(bound, schemas, strict=True)]
    batches = [convert.flat_schema(each).empty_table() for each in schemas]
    context = SessionContext()
    frames = [
        context.read_batches(
            [
                pa.RecordBatch.from_arrays(
                    [column.combine_chunks() for column in table.columns], schema=table.schema
                )
            ]
        )
        for table in batches
    ]

    def plan():
        for frame, expr in zip(frames, compiled, strict=True):
            frame.filter(expr).execution_plan()

    benchmark.pedantic(bind, rounds=ROUNDS)
    binding, planning = fastest(bind), fastest(plan)
    print(
        f"\n100 predicates, 50 schemas: bound in {1000 * binding:.0f} ms, planned in "
        f"{1000 * planning:.0f} ms, ratio {planning / binding:.1f}"
    )
