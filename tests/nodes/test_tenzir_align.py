"""Batches without their null fields get their layouts back, and become large."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.nodes.tenzir.catalog import Catalog, Stored
from vastlab.nodes.tenzir.client import Aligner, Coalescer
from vastlab.nodes.tenzir.conditions import TypeProbes
from vastlab.types import Field, Kind, Schema, Type

INNER = Type(Kind.RECORD, fields=(Field("a", Type(Kind.INT64)), Field("b.c", Type(Kind.STRING))))
WIDE = Schema(
    "test.wide",
    (
        Field("n", Type(Kind.INT64)),
        Field("r", INNER),
        Field("r.a", Type(Kind.STRING)),
        Field("none", Type(Kind.NULL)),
        Field("l", Type(Kind.LIST, item=Type(Kind.STRING))),
    ),
)


def batch(name="test.wide", **columns):
    found = pa.RecordBatch.from_pydict(columns)
    return found.replace_schema_metadata({"TENZIR:name:0": name})


def without_nulls(rows):
    """Leave out what the node leaves out: fields that are null in all rows."""
    table = pa.Table.from_pylist(rows, schema=arrow_schema.to_arrow(WIDE))
    (whole,) = table.to_batches() or [None]
    kept = [i for i, column in enumerate(whole.columns) if column.null_count < len(column)]
    arrays = [whole.column(i) for i in kept]
    schema = pa.schema([whole.schema.field(i) for i in kept], {"TENZIR:name:0": "test.wide"})
    return arrow_arrays.record_batch(arrays, schema, len(rows))


@given(
    st.lists(
        st.fixed_dictionaries({
            "n": st.none() | st.integers(-5, 5),
            "r": st.fixed_dictionaries(
                {"a": st.none() | st.integers(0, 3), "b.c": st.none() | st.text(max_size=2)}
            ),
            "r.a": st.none() | st.text(max_size=2),
            "none": st.none(),
            "l": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=2),
        }),
        min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_fields_that_were_left_out_come_back(rows):
    """Whatever was null comes back as null, in the place where it was."""
    aligned = Aligner.of([WIDE]).align(without_nulls(rows))
    assert aligned.schema == arrow_schema.to_arrow(WIDE)
    assert aligned.to_pylist() == rows


def test_a_list_of_nothing_gets_its_type_back():
    """Lists that hold only nulls have no type on the way."""
    aligned = Aligner.of([WIDE]).align(batch(l=pa.array([[None], []], pa.list_(pa.null()))))
    assert aligned.schema == arrow_schema.to_arrow(WIDE)
    assert aligned["l"].to_pylist() == [[None], []]


def test_the_smallest_layout_that_fits_is_taken():
    """Nothing is added that need not be."""
    small = Schema("test.wide", (Field("n", Type(Kind.INT64)),))
    aligned = Aligner.of([WIDE, small]).align(batch(n=[1]))
    assert aligned.schema.names == ["n"]


@pytest.mark.parametrize("events", [batch("test.new", n=[1]), batch(other=[1]), batch(n=["text"])])
def test_events_of_no_known_layout_stay_as_they_are(events):
    """No event is bent into a layout that is not its own."""
    aligned = Aligner.of([WIDE]).align(events)
    assert aligned.to_pylist() == events.to_pylist()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9000)), max_size=20))
def test_joining_loses_nothing(sizes):
    """All rows come out, in order within a layout, and joined batches are large."""
    held = Coalescer()
    batches = [batch(name, **{name: range(size)}) for name, size in sizes]
    joined = [part for each in batches for part in held.add(each)]
    assert all(part.num_rows >= 8192 for part in joined)
    joined += held.flush()
    for name in "ab":
        rows = [n for part in joined if name in part.schema.names for n in part[name].to_pylist()]
        assert rows == [n for each, size in sizes if each == name for n in range(size)]


def test_a_small_limit_is_not_waited_for():
    """Who wants ten events gets them as soon as they are there."""
    assert len(list(Coalescer(10).add(batch(n=range(10))))) == 1


# --- probes -------------------------------------------------------------------------------

PLAIN = Schema("test.plain", (Field("n", Type(Kind.INT64)), Field("s", Type(Kind.STRING))))


def test_carriers_want_one_layout_for_each_name():
    """Where a stream could not hold all events of a name, there are none."""
    assert TypeProbes.of([]) is None
    assert TypeProbes.of([PLAIN, Schema("test.plain", PLAIN.fields[:1])]) is None
    assert TypeProbes.of([Schema("test.empty", ())]) is None
    nulls = Type(Kind.LIST, item=Type(Kind.NULL))
    assert TypeProbes.of([Schema("test.nulls", (Field("l", nulls),))]) is None
    assert TypeProbes.of([PLAIN, WIDE]) is not None


def test_carriers_are_taken_out_again():
    """Only the event of made-up values goes, and with it the mark."""
    probes = TypeProbes.of([PLAIN])
    mixed = batch("test.plain", **{probes.mark: [None, True, None], "n": [1, 2, 3]})
    assert probes.remove(mixed).to_pylist() == [{"n": 1}, {"n": 3}]
    untyped = batch("test.plain", **{probes.mark: pa.nulls(2), "n": [1, 2]})
    assert probes.remove(untyped).to_pylist() == [{"n": 1}, {"n": 2}]
    assert probes.remove(mixed.slice(1, 1)) is None


def test_marks_cannot_be_guessed():
    """Two queries never use the same mark, so no event can pass for a carrier."""
    assert TypeProbes.of([PLAIN]).mark != TypeProbes.of([PLAIN]).mark


def test_names_in_carriers_are_quoted():
    """A field or schema that is named like an operator is but a name."""
    odd = Schema('"| discard', (Field('"}\n| shell "x', Type(Kind.INT64)),))
    steps = TypeProbes.of([odd]).steps(
        Catalog((odd,), {odd.name: Stored(1, 1_767_225_600_000_000_000)}), "send"
    )
    assert r'"\"}\n| shell \"x": 1' in steps[1]
    assert all("\n" not in step for step in steps)


def test_events_that_came_late_get_streams_of_their_own():
    """The catalog does not know their layout yet."""
    catalog = Catalog((PLAIN,), {"test.plain": Stored(1, 1_767_225_600_000_000_000)})
    *_, group = TypeProbes.of([PLAIN]).steps(catalog, "send")
    assert '@name == "test.plain" and @import_time > 2026-01-01T00:00:00.0000000005Z' in group
    assert "type_id(this) if" in group
