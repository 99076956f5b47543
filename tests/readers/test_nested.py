from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vastlab.arrow import convert
from vastlab.readers import schemas
from vastlab.types import Kind, Type

COUNT = Type(Kind.UINT64)


@given(st.lists(st.text("ab.", min_size=1, max_size=5), unique=True, min_size=1, max_size=6))
def test_dotted_names_come_back_from_their_records(names):
    """Opening names into records loses no column and mixes up none."""
    schema = schemas.nested_schema("x", dict.fromkeys(names, COUNT))
    columns = {name: pa.array([i], pa.uint64()) for i, name in enumerate(names)}
    batch = schemas.nest(columns, schema, 1)
    flat = convert.flatten(batch)
    found = {
        leaf.name: column.to_pylist()
        for leaf, column in zip(schema.leaves, flat.columns, strict=True)
    }
    assert found == {name: column.to_pylist() for name, column in columns.items()}


def test_only_a_whole_connection_is_a_conn_id():
    """The record ``id`` is named after Zeek's type only where it has all of its fields."""
    whole = {f"id.{part}": COUNT for part in ("orig_h", "orig_p", "resp_h", "resp_p")}
    (field,) = schemas.nested_schema("x", whole).fields
    assert field.type.names == ("zeek.conn_id",)
    del whole["id.resp_p"]
    (field,) = schemas.nested_schema("x", whole).fields
    assert field.type.names == ()
