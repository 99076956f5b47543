"""VAST's types: leaves, their columns, and which of them is the event time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.types import Field, Kind, Schema, Type, unique

TIME, STAMP = Type(Kind.TIME), Type(Kind.TIME, names=("timestamp",))
COUNT = Type(Kind.UINT64)


def record(**members: Type) -> Type:
    return Type(Kind.RECORD, fields=tuple(Field(n, t) for n, t in members.items()))


@given(arrow_st.schemas())
def test_leaves_are_no_records_and_have_columns_of_their_own(schema):
    """Every leaf has its own column, and no leaf is a record."""
    columns = [leaf.column for leaf in schema.leaves]
    assert len(set(columns)) == len(columns)
    assert all(leaf.type.kind is not Kind.RECORD for leaf in schema.leaves)


@given(arrow_st.schemas())
def test_leaves_keep_the_order_of_definition(schema):
    """Leaves stand in the order in which a walk from the top meets them."""

    def walk(fields, above=()):
        for member in fields:
            path = (*above, member.name)
            inner = member.type.fields if member.type.kind is Kind.RECORD else None
            yield from [path] if inner is None else walk(inner, path)

    assert [leaf.path for leaf in schema.leaves] == list(walk(schema.fields))
    assert all(leaf.name == ".".join(leaf.path) for leaf in schema.leaves)


def test_equal_dotted_paths_are_numbered():
    """A field named like a path, or like a numbered column, still gets its own."""
    fields = (
        Field("a.b", COUNT),
        Field("a", record(b=COUNT)),
        Field("a.b#2", COUNT),
        Field("a.b", COUNT),
    )
    columns = [leaf.column for leaf in Schema("s", fields).leaves]
    assert columns == ["a.b", "a.b#2", "a.b#2#2", "a.b#3"]


@given(st.lists(st.sampled_from(["a", "a#2", "a#2#2", "a#3", "b"])))
def test_unique_names_never_repeat(names):
    """However names collide, no two come out equal, and the first keeps its own."""
    taken: dict[str, int] = {}
    given_names = [unique(name, taken) for name in names]
    assert len(set(given_names)) == len(names)
    assert given_names[:1] == names[:1]


@pytest.mark.parametrize(
    "fields, attributes, expected",
    [
        ({"ts": TIME}, {}, "ts"),
        ({"a": TIME, "ts": STAMP}, {}, "ts"),
        ({"id": record(ts=STAMP), "b": TIME}, {}, "b"),
        ({"id": record(ts=STAMP), "b": COUNT}, {}, None),
        ({"a": STAMP, "id": record(start=TIME)}, {"event-time": "id.start"}, "id.start"),
        ({"a": STAMP, "b": COUNT}, {"event-time": "b"}, "a"),
        ({}, {}, None),
    ],
)
def test_the_event_time_is_chosen(fields, attributes, expected):
    """The attribute decides, then the alias timestamp, then the first time at the top."""
    schema = Schema("s", record(**fields).fields, tuple(attributes.items()))
    assert getattr(schema.event_time, "name", None) == expected


@pytest.mark.parametrize(
    "type_, text",
    [
        (COUNT, "uint64"),
        (Type(Kind.UINT64, names=("port", "number")), "port"),
        (Type(Kind.LIST, item=Type(Kind.LIST, item=TIME)), "list<list<time>>"),
        (Type(Kind.MAP, key=Type(Kind.STRING), item=COUNT), "map<string, uint64>"),
        (record(x=COUNT, y=STAMP), "record<x: uint64, y: timestamp>"),
    ],
)
def test_types_are_written_with_their_names(type_, text):
    """The text of a type is its outermost name, or its structure."""
    assert str(type_) == text
