"""Layouts of one name join into one schema that holds the values of all."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from vastlab.store.layout import union
from vastlab.types import Field, Kind, Schema, Type

PORT = Type(Kind.UINT64, names=("port",))


def schema(**types):
    """Make a schema from field names and types or kinds."""
    members = ((n, t if isinstance(t, Type) else Type(t)) for n, t in types.items())
    return Schema("x", tuple(Field(name, type_) for name, type_ in members))


def record(**types):
    """Make a record type."""
    return Type(Kind.RECORD, fields=schema(**types).fields)


def test_a_single_layout_is_itself():
    """Nothing is joined where there is nothing to join."""
    only = schema(a=Kind.IP)
    assert union([only, only]) is only
    assert union([only]).layouts == ()


def test_a_union_lists_its_layouts():
    """The layouts stay available."""
    one, two = schema(a=Kind.IP), schema(b=Kind.IP)
    assert union([one, two]).layouts == (one, two)
    assert union([one, two]).fields == (*one.fields, *two.fields)


@pytest.mark.parametrize(
    "left,right,joined",
    [
        (Kind.INT64, Kind.DOUBLE, Kind.DOUBLE),
        (Kind.INT64, Kind.UINT64, Kind.DOUBLE),
        (Kind.NULL, Kind.IP, Kind.IP),
        (Kind.IP, Kind.NULL, Kind.IP),
        (Kind.IP, Kind.STRING, Kind.STRING),
        (Kind.TIME, Kind.INT64, Kind.STRING),
        (PORT, Kind.UINT64, Kind.UINT64),
        (PORT, PORT, PORT),
        (record(a=Kind.INT64), record(b=Kind.IP), record(a=Kind.INT64, b=Kind.IP)),
        (record(a=Kind.INT64), record(a=Kind.DOUBLE), record(a=Kind.DOUBLE)),
        (record(a=Kind.INT64), Kind.INT64, Kind.STRING),
        (
            Type(Kind.LIST, item=Type(Kind.INT64)),
            Type(Kind.LIST, item=Type(Kind.DOUBLE)),
            Type(Kind.LIST, item=Type(Kind.DOUBLE)),
        ),
        (
            Type(Kind.ENUM, labels=(("a", 0),)),
            Type(Kind.ENUM, labels=(("b", 0),)),
            Kind.STRING,
        ),
    ],
)
def test_types_join(left, right, joined):
    """Integers beside doubles widen, nulls give way, records join, other conflicts are text."""
    assert union([schema(a=left), schema(a=right)]).fields == schema(a=joined).fields


@hypothesis.given(st.permutations(list(Kind)[:9]))
def test_the_order_of_layouts_does_not_matter_for_types(kinds):
    """Joining in any order gives the same type."""
    layouts = [schema(a=kind) for kind in kinds if kind is not Kind.RECORD]
    assert union(layouts).fields == schema(a=Kind.STRING).fields
