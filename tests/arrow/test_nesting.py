"""Batches in their nested form and in the flat one."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Field, Kind, Schema, Type


@given(arrow_st.tables())
def test_flat_batches_nest_again(pair):
    """Flattening and nesting keep every leaf; records that were null become records of nulls."""
    schema, batch = pair
    flat = convert.flatten(batch)
    flat.validate(full=True)
    assert flat.schema.equals(convert.flat_schema(schema), check_metadata=True)
    nested = convert.nest(flat, schema)
    nested.validate(full=True)
    assert nested.schema.equals(arrow_schema.to_arrow(schema), check_metadata=True)
    assert nested.num_rows == batch.num_rows
    assert arrow_st.same(convert.flatten(nested), flat)


@given(arrow_st.tables(), st.data())
def test_flattening_commutes_with_slicing(pair, data):
    """The leaves of a slice are the slices of the leaves."""
    _, batch = pair
    start = data.draw(st.integers(0, batch.num_rows))
    left = convert.flatten(batch.slice(start, 2))
    assert arrow_st.same(left, convert.flatten(batch).slice(start, 2))


def test_a_record_of_nulls_hides_its_members():
    """Members of a null record are null in the flat form, whatever lies below."""
    inner = pa.array([1, 2], pa.int64())
    record = pa.StructArray.from_arrays([inner], names=["x"], mask=pa.array([True, False]))
    flat = convert.flatten(pa.RecordBatch.from_arrays([record], names=["r"]))
    assert flat.to_pydict() == {"r.x": [None, 2]}


def test_records_without_fields_have_no_columns_but_come_back():
    """An empty record has no column in the flat form and is restored in the nested one."""
    empty = Field("empty", Type(Kind.RECORD))
    outer = Type(Kind.RECORD, fields=(empty, Field("x", Type(Kind.INT64))))
    schema = Schema("s", (Field("r", outer), empty))
    rows = [{"r": {"empty": {}, "x": 1}, "empty": {}}]
    batch = pa.RecordBatch.from_pylist(rows, arrow_schema.to_arrow(schema))
    flat = convert.flatten(batch)
    assert flat.to_pydict() == {"r.x": [1]}
    assert flat.schema.equals(convert.flat_schema(schema), check_metadata=True)
    assert arrow_st.same(convert.nest(flat, schema), batch)


def test_columns_of_nulls_accept_any_type():
    """A column without a type becomes one of nulls of the type that the schema wants."""
    schema = Schema("s", (Field("a", Type(Kind.IP)), Field("b", Type(Kind.LIST))))
    nested = convert.nest(pa.RecordBatch.from_pydict({"a": pa.nulls(2), "b": pa.nulls(2)}), schema)
    assert nested.schema.equals(arrow_schema.to_arrow(schema), check_metadata=True)
    assert nested.to_pydict() == {"a": [None, None], "b": [None, None]}


def test_nesting_takes_columns_in_any_order_and_encoding():
    """`nest` finds columns by name and brings them into the types of the schema."""
    schema = Schema("s", (Field("a", Type(Kind.IP)), Field("b", Type(Kind.STRING))))
    flat = pa.RecordBatch.from_pydict(
        {
            "#import_time": pa.array([0], pa.timestamp("ns")),
            "b": pa.array(["x"]).dictionary_encode(),
            "a": pa.array([bytes(16)], pa.binary(16)),
        }
    )
    nested = convert.nest(flat, schema)
    assert nested.schema.equals(arrow_schema.to_arrow(schema), check_metadata=True)
    assert nested.to_pydict() == {"a": [ipaddress.ip_address("::")], "b": ["x"]}
