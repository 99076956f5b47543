"""VAST's types: leaves, their columns, and which of them is the event time."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.lib.pretty import pretty

from tests import arrow_strategies as arrow_st
from vastlab._text import plain
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


@given(arrow_st.schemas())
def test_types_and_fields_are_shown_as_they_are_made(schema):
    """What is shown of types and fields makes equal ones again."""
    for field in schema.fields:
        assert eval(repr(field), {"Field": Field, "Type": Type, "Kind": Kind}) == field  # noqa: S307 - our own text


@given(arrow_st.schemas())
def test_a_schema_is_shown_in_one_line_or_with_all_leaves(schema):
    """Its representation is a line, its text has a line for each field, both free of controls."""
    assert plain(repr(schema)) == repr(schema)
    assert f"{len(schema.types_by_name)} field" in repr(schema)
    lines = str(schema).split("\n")
    assert len(lines) == 1 + len(schema.types_by_name)
    assert all(plain(line) == line for line in lines)


def test_schemas_of_a_node_are_an_overview():
    """IPython shows a schema alone with all its leaves, and one among others in a line."""
    schema = Schema("zeek.conn", tuple(Field(name, COUNT) for name in "abcdef"))
    line = "<Schema zeek.conn, 6 fields: a, b, c, d, ...>"
    assert repr(schema) == line
    assert pretty({"zeek.conn": schema}) == f"{{'zeek.conn': {line}}}"
    assert (
        pretty(schema) == str(schema) == "zeek.conn" + "".join(f"\n  {n}  uint64" for n in "abcdef")
    )
    assert pickle.loads(pickle.dumps(schema)) == schema  # noqa: S301 - our own bytes
