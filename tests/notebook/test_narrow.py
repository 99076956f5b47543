"""What a click on a value asks for."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.arrow_strategies import tables
from tests.display.conftest import conn
from vastlab._held import joined
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import UsageError
from vastlab.expression import parse
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import Query
from vastlab.nodes.plan import LocalFilter
from vastlab.notebook.explorer.narrow import Cell, around, only, without
from vastlab.store.layout import union
from vastlab.table_slice import TableSlice
from vastlab.types import Field, Kind, Schema, Type

COMPARED = frozenset(
    {Kind.STRING, Kind.IP, Kind.SUBNET, Kind.TIME, Kind.DURATION, Kind.BOOL}
    | {Kind.INT64, Kind.UINT64}
)


def found(expression: object, batch: pa.RecordBatch) -> set[int]:
    """Return the rows that match an expression that was written and read again."""
    return set(LocalFilter(Query(parse(str(expression)))).rows(TableSlice(batch)).tolist())


def cell_of(table: pa.Table, row: int, column: str) -> Cell:
    schema = arrow_schema.from_arrow(table.schema)
    (leaf,) = [leaf for leaf in schema.leaves if leaf.column == column]
    return Cell(table.slice(row, 1), schema.name, leaf)


@given(drawn=tables(), data=st.data())
def test_only_this_and_not_this_part_the_events(drawn, data):
    """Each event of the schema matches exactly one of the two; the one clicked on the first."""
    schema, batch = drawn
    assume(batch.num_rows)
    assume(schema.leaves)
    leaf = data.draw(st.sampled_from(schema.leaves))
    assume(sum(other.path == leaf.path for other in schema.leaves) == 1)
    row = data.draw(st.integers(0, batch.num_rows - 1))
    cell = Cell(pa.Table.from_batches([batch.slice(row, 1)]), schema.name, leaf)
    try:
        cell.literals()
    except UsageError:
        assert leaf.type.kind not in COMPARED
        return
    here, others = found(only(cell), batch), found(without(cell, {schema.name: schema}), batch)
    assert row in here
    assert here | others == set(range(batch.num_rows))
    assert not here & others


def test_a_text_in_a_list_may_have_control_characters():
    """Quotes cannot hold it, so that a pattern stands for the whole item."""
    schema = Schema("my.log", (Field("tags", Type(Kind.LIST, item=Type(Kind.STRING))),))
    tags = pa.array([["\x1f", "a"], ["a\x1fb"], ["\x1f\n"], []], pa.list_(pa.string()))
    batch = pa.record_batch([tags], schema=arrow_schema.to_arrow(schema))
    cell = Cell(pa.Table.from_batches([batch.slice(0, 1)]), schema.name, schema.leaves[0])
    assert found(only(cell), batch) == {0}
    assert found(without(cell, {schema.name: schema}), batch) == {1, 2, 3}


def test_not_this_keeps_other_schemas():
    """A comparison holds for no event without the field, so the schemas are named, in few words."""
    table = conn([1, 2])
    cell = cell_of(table, 0, "id.orig_h")
    here = arrow_schema.from_arrow(table.schema)
    elsewhere = {name: Schema(name, ()) for name in ("a", "b")}
    for others in ({}, elsewhere, {"z": here, "y": here, "a": elsewhere["a"]}):
        schemas = {"zeek.conn": here, **others}
        expression = without(cell, schemas)
        for name in schemas:
            batch = pa.RecordBatch.from_pydict({"x": [1]})
            metadata = {"VAST:name:0": name}
            if name not in ("zeek.conn", "y", "z"):
                assert found(expression, batch.replace_schema_metadata(metadata)) == {0}
    texts = [
        str(without(cell, {"zeek.conn": here, **elsewhere})),
        str(without(cell, {"zeek.conn": here, "y": here, "z": here, "a": elsewhere["a"]})),
    ]
    assert texts[0].endswith('#type != "zeek.conn"')
    assert texts[1].endswith('#type == "a"')


def test_not_this_keeps_schemas_with_another_type():
    """A text is no number: where the field holds numbers, no event has the text."""
    texts, numbers = (
        pa.RecordBatch.from_pydict({"n": values}).replace_schema_metadata({"VAST:name:0": name})
        for name, values in (("a.texts", ["x", "y", None]), ("b.numbers", [1, 2, None]))
    )
    schemas = {
        schema.name: schema
        for schema in (arrow_schema.from_arrow(batch.schema) for batch in (texts, numbers))
    }
    cell = cell_of(pa.Table.from_batches([texts]), 0, "n")
    expression = without(cell, schemas)
    assert found(expression, texts) == {1, 2}
    assert found(expression, numbers) == {0, 1, 2}


def test_not_this_keeps_other_layouts_of_a_schema():
    """Events of one name may have a text, a number or nothing; none is left out in silence."""
    batches = [
        pa.RecordBatch.from_pydict(columns).replace_schema_metadata({"VAST:name:0": "my.e"})
        for columns in (
            {"n": ["1", "b", None]},
            {"n": [1, 2, None]},
            {"n": [10**9, None], "o": pa.array([1, None], pa.duration("s"))},
            {"m": ["1", None]},
        )
    ]
    schema = union(arrow_schema.from_arrow(batch.schema) for batch in batches)
    for at, batch in enumerate(batches[:2]):
        expression = without(cell_of(pa.Table.from_batches([batch]), 0, "n"), {"my.e": schema})
        for other, events in enumerate(batches):
            left = set(range(len(events))) - ({0} if other == at else set())
            assert found(expression, events) == left
    small = pa.RecordBatch.from_pydict({"n": [1], "m": ["x"], "o": ["y"]})
    wide = union([*schema.layouts, arrow_schema.from_arrow(small.schema)])
    with pytest.raises(UsageError, match=r"some events of my\.e lack n .* cannot tell them"):
        without(cell_of(pa.Table.from_batches([batches[1]]), 0, "n"), {"my.e": wide})


def test_a_click_narrows_what_was_asked():
    """Both hold, whatever was asked before."""
    cell = cell_of(conn([1, 2]), 0, "id.resp_p")
    narrowed = joined("resp_p == 1 || resp_p == 2", only(cell))
    assert narrowed == "(resp_p == 1 || resp_p == 2) && id.resp_p == 0"
    assert joined("  ", only(cell)) == "id.resp_p == 0"


def test_a_pivot_follows_a_value_into_every_schema():
    """By the kind of the value, as `Result.pivot` does."""
    table = conn([1, 2])
    schemas = {"zeek.conn": arrow_schema.from_arrow(table.schema)}
    cell = cell_of(table, 0, "id.orig_h")
    expression = str(around(cell, schemas, Taxonomy.default()))
    assert expression.startswith(":ip in [")
    (batch,) = table.to_batches()
    assert 0 in found(expression, batch)


def test_what_cannot_be_followed_or_compared_is_one_clear_error():
    """Nothing is asked then."""
    nothing = pa.table(
        {"x": pa.array([None], pa.string()), "l": pa.array([[]], pa.list_(pa.int64()))}
    )
    nothing = nothing.replace_schema_metadata({"VAST:name:0": "s"})
    with pytest.raises(UsageError, match="no value here to pivot on"):
        around(cell_of(nothing, 0, "x"), {}, Taxonomy.default())
    with pytest.raises(UsageError, match="the list is empty"):
        only(cell_of(nothing, 0, "l"))
    assert str(only(cell_of(nothing, 0, "x"))) == "x == null"
    long = pa.table({"l": [list(range(51))]}).replace_schema_metadata({"VAST:name:0": "s"})
    with pytest.raises(UsageError, match="the list has 51 values, more than 50"):
        only(cell_of(long, 0, "l"))
    with contextlib.suppress(UsageError):
        only(cell_of(pa.table({"d": [float("nan")]}), 0, "d"))
        raise AssertionError("NaN equals nothing")
