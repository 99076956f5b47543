"""Schemas, between Arrow and VAST's type system."""

from __future__ import annotations

import pickle

import pyarrow as pa
from hypothesis import given

from tests import arrow_strategies as arrow_st
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Field, Kind, Schema, Type


@given(arrow_st.schemas())
def test_schemas_survive_arrow(schema):
    """A schema written to Arrow and read again is the same schema."""
    assert arrow_schema.from_arrow(arrow_schema.to_arrow(schema)) == schema


def test_a_fingerprint_notices_every_part():
    """Names, types, aliases and attributes all count; where a schema was made does not."""
    one, text = Field("x", Type(Kind.INT64)), Type(Kind.STRING)
    schemas = [
        Schema("a", (one,)),
        Schema("b", (one,)),
        Schema("a", (one,), (("skip", ""),)),
        Schema("a", (Field("y", one.type),)),
        Schema("a", (Field("x", text),)),
        Schema("a", (Field("x", Type(Kind.INT64, ("port",))),)),
    ]
    prints = [arrow_schema.fingerprint(schema) for schema in schemas]
    assert len(set(prints)) == len(schemas)
    assert prints[0] == arrow_schema.fingerprint(pickle.loads(pickle.dumps(schemas[0])))  # noqa: S301 - our own bytes


@given(arrow_st.schemas(), arrow_st.schemas())
def test_fingerprints_tell_schemas_apart(left, right):
    """Two schemas share a fingerprint only if they are equal."""
    prints = [arrow_schema.fingerprint(schema) for schema in (left, right)]
    assert (prints[0] == prints[1]) == (left == right)


def test_attributes_of_all_levels_are_read():
    """The outermost level wins, unknown keys are left out, unreadable attributes are ignored."""
    metadata = {
        "VAST:name:0": "outer",
        "VAST:attributes:0": '{"index": "hash"}',
        "VAST:attributes:1": '{"index": "none", "skip": ""}',
        "VAST:name:2": "inner",
        "VAST:attributes:2": "{broken",
        "VAST:attributes:3": "[1]",
        "VAST:other": "?",
        "VAST:name:9": "out of reach",
    }
    schema = arrow_schema.from_arrow(pa.schema([pa.field("x", pa.int64(), metadata=metadata)]))
    type_ = schema.fields[0].type
    assert type_.names == ("outer", "inner")
    assert type_.attributes == (("index", "hash"), ("skip", ""))
