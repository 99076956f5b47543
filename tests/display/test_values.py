"""The values of one field."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from vastlab import errors
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.display.columns import named
from vastlab.display.tally import values
from vastlab.types import Field, Kind, Schema, Type


def _pairs(table: pa.Table, leaf) -> list[tuple[int, str]]:
    found = values(table, leaf)
    texts = found.texts.take(pa.array(found.codes, pa.int64())).to_pylist()
    return list(zip(found.rows.tolist(), texts, strict=True))


def _plainly(table: pa.Table, leaf) -> list[tuple[int, str]]:
    """Read the values by the whole table, one after the other."""
    if not table.num_rows:
        return []
    flat = convert.flatten(table.combine_chunks().to_batches()[0])
    place = flat.schema.names.index(leaf.column)
    column, field = flat.column(place), flat.schema.field(place)
    if leaf.type.kind is not Kind.LIST:
        texts = render.text(column, field).to_pylist()
        return [(row, text) for row, text in enumerate(texts) if text is not None]
    pairs = []
    for row in range(len(column)):
        inside = column[row].values
        if inside is not None and len(inside):
            texts = render.text(inside, column.type.value_field).to_pylist()
            pairs += [(row, text) for text in texts if text is not None]
    return pairs


@given(arrow.tables(), st.integers(1, 4))
def test_values_are_those_of_the_flat_columns(drawn, size):
    """Of every type of field each value is found once, in its row, however the table is cut."""
    table = pa.Table.from_batches([drawn[1]])
    pieces = [table.slice(at, size) for at in range(0, max(1, table.num_rows), size)]
    for leaf in arrow_schema.from_arrow(table.schema).leaves:
        assert _pairs(pa.concat_tables(pieces), leaf) == _plainly(table, leaf)


@pytest.mark.parametrize("kind", [Kind.IP, Kind.STRING, Kind.TIME])
def test_lists_without_elements_have_no_values(kind):
    """Lists that are null or empty, and tables of no batch, hold nothing."""
    schema = Schema("x", (Field("some", Type(Kind.LIST, item=Type(kind))),))
    column = arrow.array(schema.fields[0].type, [[], None, []])
    batch = pa.RecordBatch.from_arrays([column], schema=arrow_schema.to_arrow(schema))
    for table in (pa.Table.from_batches([batch]), pa.Table.from_batches([], batch.schema)):
        found = values(table, schema.leaves[0])
        assert (len(found.rows), len(found.codes), len(found.table())) == (0, 0, 0)


def test_what_a_null_list_holds_does_not_count():
    """Arrow lets values stand below a null list; they are none of the field's."""
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 3], pa.int32()), pa.array(["a", "b", "c"]), mask=pa.array([True, False])
    )
    table = pa.table({"some": lists})
    assert _pairs(table, arrow_schema.from_arrow(table.schema).leaves[0]) == [(1, "c")]


def test_only_its_own_column_is_touched():
    """A column that cannot be read does not prevent reading another."""
    far = pa.array([2**50, 2**50], pa.timestamp("s"))
    table = pa.table({"when": far, "b": [{"c": "x"}, {"c": "y"}]})
    with pytest.raises(errors.FormatError):
        convert.normalise(table.to_batches()[0])
    assert _pairs(table, named("c", arrow_schema.from_arrow(table.schema))[0]) == [
        (0, "x"),
        (1, "y"),
    ]


def test_columns_with_equal_names_are_distinguished():
    """Where a name occurs twice, each leaf has its own values."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    first, second = arrow_schema.from_arrow(table.schema).leaves
    assert (_pairs(table, first), _pairs(table, second)) == ([(0, "1")], [(0, "2")])
