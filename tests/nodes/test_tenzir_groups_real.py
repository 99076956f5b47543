"""What the real Tenzir engine groups is what is grouped here, whatever the values and names."""

from __future__ import annotations

import io
import math
import subprocess
import tempfile
from pathlib import Path

import datafusion
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vastlab import group_frames
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.compile.groups import Groups
from vastlab.compile.summary import Grouping
from vastlab.compile.tql_groups import NodeGrouping
from vastlab.errors import UsageError
from vastlab.expression.aggregates import Aggregate, Function, Name, Summary
from vastlab.expression.ast import Column, Meta, MetaExtractor
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes import process
from vastlab.types import Field, Kind, Schema, Type

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(process.find_tenzir() is None, reason="the package tenzir is not installed"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc"),
]
CONTEXT = datafusion.SessionContext()
HOUR = 3_600 * 10**9  # nanoseconds
LONG = st.integers(-(2**63), 2**63 - 1)
MOMENT = st.integers(-(2**63) + 1, 2**63 - 1)  # the first is the missing value of pandas
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
ADDRESSES = [bytes(15) + b"\1", b"\0" * 10 + b"\xff\xff\x0a\0\0\1", b"\xff" * 16]
VALUES = {
    Kind.BOOL: st.booleans(),
    Kind.INT64: st.integers(-3, 3) | LONG,
    Kind.UINT64: st.integers(0, 3) | st.integers(0, 2**64 - 1),
    Kind.DOUBLE: st.sampled_from([0.0, -0.0, 1.5, -2.25, float("nan"), math.inf, 2.0**53, 1e300]),
    Kind.TIME: st.integers(-3, 3).map(lambda hours: hours * HOUR - 1) | MOMENT,
    Kind.DURATION: st.integers(-3, 3) | MOMENT,
    Kind.STRING: st.sampled_from(["", "a", "A", "\0", '"]) | discard //', "\u2028"]) | TEXT,
    Kind.IP: st.sampled_from(ADDRESSES),
}
ANY = ("count", "count_distinct", "distinct")
NUMERIC = (*ANY, "sum", "mean", "min", "max")
FUNCTIONS = {
    Kind.BOOL: (*ANY, "any", "all"),
    Kind.INT64: NUMERIC,
    Kind.UINT64: NUMERIC,
    Kind.DOUBLE: ("count", "sum", "mean", "min", "max"),
    Kind.TIME: (*ANY, "min", "max"),
    Kind.DURATION: NUMERIC,
    Kind.STRING: ANY,
    Kind.IP: ANY,
}
KINDS = st.sampled_from(tuple(VALUES))
NAMES = st.sampled_from(["a", "in", "x y", '"]) | discard //', "$b", "`", "this", "\\", "{1+1}"])
EVERY = st.sampled_from([1, 7, HOUR // 4, HOUR, 24 * HOUR, 168 * HOUR, 336 * HOUR, 2_400 * HOUR])


@st.composite
def questions(draw):
    """Draw events of one layout, and what is asked of them."""
    names = draw(st.lists(NAMES, min_size=5, max_size=5, unique=True))
    kinds = [Kind.TIME, *draw(st.lists(KINDS, min_size=4, max_size=4))]
    if Kind.DOUBLE in kinds[1:3]:
        kinds[1:3] = [Kind.INT64, Kind.STRING]  # fractions are no keys of a node
    rows = draw(st.integers(1, 40))
    columns = []
    for kind in kinds:
        type_ = arrow_schema.type_to_arrow(Type(kind))
        plain = type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_
        values = draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows))
        array = pa.array(values, pa.int64() if kind in (Kind.TIME, Kind.DURATION) else plain)
        array = array.cast(plain)
        columns.append(array if plain == type_ else pa.ExtensionArray.from_storage(type_, array))
    members = [Field(name, Type(kind)) for name, kind in zip(names, kinds, strict=True)]
    inner = Type(Kind.RECORD, fields=tuple(members[3:]))
    schema = Schema("test." + draw(NAMES), (*members[:3], Field(names[0] + "r", inner)))
    flat = pa.RecordBatch.from_arrays(columns, schema=convert.flat_schema(schema))
    # By the field itself: no expression could hold some of these names.
    named = [Name(f"k{number}", Column(leaf)) for number, leaf in enumerate(schema.leaves)]
    keys = [*named[1:3], Name("#type", MetaExtractor(Meta.TYPE))]
    by = draw(st.lists(st.sampled_from(keys), max_size=3, unique_by=lambda name: name.column))
    places = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    asked = [Aggregate("n", Function.COUNT)]
    for number, place in enumerate(places):
        function = Function(draw(st.sampled_from(FUNCTIONS[kinds[place]])))
        asked.append(Aggregate(f"a{number}", function, named[place]))
    return Summary(tuple(by), draw(st.just(0) | EVERY), tuple(asked)), schema, flat


def computed_by_the_engine(grouping, batch):
    """Return the partial results that the engine computes of a batch."""
    source = io.BytesIO()
    with pa.ipc.new_stream(source, batch.schema) as writer:
        writer.write_batch(batch)
    text = " | ".join(["from_stdin { read_feather }", *grouping.steps, "write_feather"])
    with tempfile.NamedTemporaryFile("w", suffix=".tql") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(
            [str(process.find_tenzir()), "--bare-mode", "-f", file.name],
            input=source.getvalue(),
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, (text, done.stderr.decode())
    if not done.stdout:
        return []
    with pa.ipc.open_stream(done.stdout) as found:
        return [grouping.read(part) for part in found]


def frame_of(summary, schema, *partials):
    groups = Groups(summary, None)
    groups.grouping(schema, schema)
    for partial in partials:
        groups.add(schema, partial)
    try:
        return group_frames.to_frame(groups, summary, None, 0)
    except UsageError as error:  # such as a sum of durations that is too large
        return str(error)


@settings(
    max_examples=60,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(questions())
def test_the_engine_computes_what_is_computed_here(question):
    """Any keys, buckets and functions give the same partial results, with the same types."""
    summary, schema, flat = question
    node = NodeGrouping.of(summary, schema, Taxonomy())
    assert node is not None
    expected = Grouping(summary, schema, Taxonomy()).partial(CONTEXT.read_batch(flat))
    found = computed_by_the_engine(node, convert.nest(flat, schema))
    for partial in found:
        assert {field.name: field.type for field in partial.schema} == {
            field.name: field.type for field in expected.schema
        }
    mine, theirs = frame_of(summary, schema, expected), frame_of(summary, schema, *found)
    if isinstance(mine, str):
        assert theirs == mine
        return
    order = [name.column for name in summary.by] + (["time"] if summary.every else [])
    if order:
        mine, theirs = (each.sort_values(order, ignore_index=True) for each in (mine, theirs))
    pd.testing.assert_frame_equal(pd.DataFrame(theirs), pd.DataFrame(mine), rtol=1e-9)
