"""What a Tenzir node holds."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.errors import NodeError
from vastlab.expression import parse
from vastlab.nodes.base import Query
from vastlab.nodes.tenzir.catalog import Catalog, InlineCatalog, Stored
from vastlab.types import Field, Kind, Schema, Type


def layout(name, **kinds):
    return Schema(name, tuple(Field(field, Type(kind)) for field, kind in kinds.items()))


def described(kind, state=None, name=None):
    return {"name": name, "kind": kind, "attributes": [], "state": state}


def record(**types):
    return {"fields": [{"name": field, "type": type_} for field, type_ in types.items()]}


def part(events, first, last):
    return {"schema": "a", "events": events, "first": first, "last": last}


SECOND = 10**9
MINUTE = 60 * SECOND
JANUARY = pd.Timestamp("2026-01-01").value
NOW = pd.Timestamp("2026-01-02T00:00:30").value
NUMBERS = layout("a", x=Kind.INT64)
MORE = layout("a", x=Kind.INT64, y=Kind.INT64)


def test_every_kind_of_type_is_read():
    """Nested types, types without values and aliases are what they are in the node."""
    state = record(
        n=described("int64"),
        port=described("uint64", name="port"),
        none=described("null"),
        r=described("record", record(a=described("ip"))),
        l=described("list", {"type": described("subnet")}),
        e=described("enumeration"),
    )
    row = {"name": "a", "kind": "record", "attributes": [], "state": state}
    (found,) = Catalog.parse([row]).layouts
    assert [field.type.kind.value for field in found.fields] == [
        "int64", "uint64", "null", "record", "list", "string",
    ]  # fmt: skip
    assert found.fields[1].type.names == ("port",)
    assert found.fields[3].type.fields[0].type.kind is Kind.IP
    assert found.fields[4].type.item.kind is Kind.SUBNET


def test_the_nodes_own_metrics_are_left_out():
    """Events of the node about itself are no events of the user."""
    row = {"name": "tenzir.metrics.cpu", "kind": "record", "state": record(n=described("int64"))}
    internal = [{"key": "internal", "value": ""}]
    assert Catalog.parse([row | {"attributes": internal}]).layouts == ()


def test_alike_layouts_count_once():
    """A node lists a layout for every id that it has given it."""
    row = {"name": "a", "kind": "record", "attributes": [], "state": record(n=described("int64"))}
    assert len(Catalog.parse([row, row]).layouts) == 1


@pytest.mark.parametrize("text", ["", "x", '2026-01-01T00:00:00Z" //', "2026-01-01T0Z\n"])
def test_a_time_that_is_none_is_refused(text):
    """Only a time becomes part of a query."""
    with pytest.raises(NodeError, match="no time"):
        Catalog.parse([part(1, text, text)])


def test_a_schema_that_has_been_quiet_is_stored_up_to_its_last_event():
    """What may be in memory came later."""
    parts = [part(1, *["2026-01-01T00:00:00.000000001Z"] * 2), part(2, *["2026-01-01"] * 2)]
    assert Stored.of(parts, NOW) == Stored(3, JANUARY + 1)


def test_of_the_last_minute_nothing_is_taken_for_stored():
    """One layout may be written while events of another one wait since before."""
    parts = [part(1, *["2026-01-01"] * 2), part(2, *["2026-01-02T00:00:01Z"] * 2)]
    assert Stored.of(parts, NOW) == Stored(1, NOW - MINUTE)


def test_a_partition_lies_on_one_side_of_the_line():
    """Neither is an event counted twice nor not at all: the line moves in front of it."""
    parts = [
        part(1, *["2026-01-01T00:00:00Z"] * 2),
        part(2, "2026-01-01T00:00:01Z", "2026-01-01T23:00:01Z"),
        part(4, "2026-01-01T23:00:00Z", "2026-01-02T00:00:01Z"),
    ]
    assert Stored.of(parts, NOW) == Stored(1, JANUARY + SECOND - 1)
    assert Stored.of(parts[1:], NOW) == Stored(0, JANUARY + SECOND - 1)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)), min_size=1), st.integers(60, 150))
def test_every_event_of_a_partition_is_stored_or_came_later(spans, now):
    """Whatever the partitions: none is torn, and the line is a minute old at least."""
    ends = [(first * SECOND, (first + length) * SECOND) for first, length in spans]
    parts = [part(1, str(pd.Timestamp(first)), str(pd.Timestamp(last))) for first, last in ends]
    line = Stored.of(parts, now * SECOND).last
    assert line <= now * SECOND - MINUTE
    stored = [last for _, last in ends if last <= line]
    later = [first for first, _ in ends if first > line]
    assert len(stored) == Stored.of(parts, now * SECOND).events
    assert len(stored) + len(later) == len(ends)


def test_only_whole_schemas_are_counted_from_the_catalog():
    """All layouts of a name must answer with every event, and some must be stored."""
    catalog = Catalog((NUMBERS, MORE, layout("b", x=Kind.INT64)), {"a": Stored(5, 0)})
    assert catalog.whole(Query()) == {"a"}
    assert catalog.whole(Query(parse('#type == "a"'))) == {"a"}
    assert catalog.whole(Query(parse("x == 1"))) == set()
    assert catalog.whole(Query(since=1)) == set()


def test_a_catalog_comes_along_under_a_name_that_nobody_knows():
    """One event holds all rows as text, and its name is another one each time."""
    inline = InlineCatalog.make()
    assert inline.name != InlineCatalog.make().name
    assert inline.step().endswith(f'@name = "{inline.name}" }}')
    row = {"name": "a", "kind": "record", "attributes": [], "state": record(n=described("int64"))}
    stored = part(1, "2026-01-01", "2026-01-01T00:00:00Z")
    rows = json.dumps([json.dumps(row), json.dumps(stored)])
    assert inline.read(pa.RecordBatch.from_pydict({"rows": [rows]})) == Catalog.parse([row, stored])


@pytest.mark.parametrize("rows", ["", "[1]", '["{}"]', "{"])
def test_a_catalog_that_cannot_be_read_is_an_error_of_the_node(rows):
    """Whatever it sent instead."""
    with pytest.raises(NodeError, match="catalog cannot be read"):
        InlineCatalog.make().read(pa.RecordBatch.from_pydict({"rows": [rows]}))
