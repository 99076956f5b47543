"""Which columns are shown, and in what order."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests.display.conftest import conn, wide
from vastlab import Result, connect
from vastlab.arrow import schema as arrow_schema
from vastlab.display.columns import chosen, fields_of, sensible
from vastlab.display.preview import Outcome, make_preview
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy


@pytest.mark.parametrize(
    "name, first",
    [
        (
            "suricata.alert",
            "timestamp src_ip dest_ip dest_port "
            "alert.signature alert.severity alert.category alert.action",
        ),
        ("zeek.dns", "ts id.orig_h id.resp_h id.resp_p query answers rcode_name"),
        ("zeek.http", "ts id.orig_h id.resp_h id.resp_p method host uri status_code"),
    ],
)
def test_what_matters_in_a_schema_comes_first(name, first):
    """After the time, addresses and ports come the fields that a reader wants of such events."""
    with connect("demo:") as vast:
        tables = vast.query(f'#type == "{name}"', limit=50).to_arrow()[name]
    expected = first.split()
    assert sensible(name, tables)[: len(expected)] == expected


def test_fields_of_the_query_come_before_those_of_the_schema():
    """What was asked for stands right behind the ends, even where it has no value."""
    events = pa.table({"uri": ["/a"], "x": pa.nulls(1, pa.string()), "dest_port": pa.array([1])})
    assert sensible("zeek.http", [events]) == ["dest_port", "uri"]
    assert sensible("zeek.http", [events], ["x"]) == ["dest_port", "x", "uri"]


def test_source_ports_come_behind_what_tells_more():
    """They take the room of a name or a signature, unless the query names them."""
    events = pa.table({"src_port": [1, 2], "uri": ["/a", "/b"], "size": [3, 4]})
    assert sensible("zeek.http", [events]) == ["uri", "src_port", "size"]
    assert sensible("zeek.http", [events], ["src_port"]) == ["src_port", "uri", "size"]


def test_what_varies_comes_before_what_is_the_same():
    """Columns without a value are left out; identifiers and constants stand at the end."""
    events = pa.table(
        {
            "uid": ["C1", "C2", "C3", "C4"],
            "same": ["x"] * 4,
            "none": pa.nulls(4, pa.string()),
            "blank": ["", None, "", None],
            "empty": pa.array([[], None, [], None], pa.list_(pa.string())),
            "rare": [None, None, None, "r"],
            "varied": [1, 2, 3, 3],
        }
    )
    assert sensible("my.events", [events]) == ["varied", "rare", "same", "uid"]


def test_columns_without_any_value_are_all_shown():
    """Where there is nothing to tell by, the order is that of the schema."""
    nothing = pa.table({"b": pa.nulls(2, pa.string()), "a": pa.nulls(2, pa.int64())})
    assert sensible("x", [nothing]) == ["b", "a"]
    assert sensible("x", [nothing.slice(0, 0)]) == ["b", "a"]
    assert sensible("x", []) == []


@given(st.data())
def test_columns_are_those_of_the_schema_each_once(data):
    """Whatever the events are, only columns that exist are named, and none twice."""
    schema = data.draw(arrow.schemas())
    batch = data.draw(arrow.batches(schema))
    tables = [pa.Table.from_batches([batch])]
    known = [leaf.column for leaf in arrow_schema.from_arrow(batch.schema).leaves]
    asked = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
    found = sensible(schema.name, tables, asked)
    assert len(found) == len(set(found))
    assert set(asked) <= set(found) <= set(known)


def test_fields_of_a_query_are_found_by_suffix_and_concept():
    """Fields may be named by the end of their path or by a concept; types and values name none."""
    tables = [conn([1])]
    found = fields_of(
        "net.src.ip == 10.0.0.1 && resp_p == 1 && :string == \"x\"",
        "zeek.conn", tables, Taxonomy.default(),
    )  # fmt: skip
    assert set(found) == {"id.orig_h", "id.resp_p"}
    assert fields_of("not an expression (", "zeek.conn", tables) == []


def test_a_view_shows_the_columns_that_it_is_asked_for():
    """`show` takes fields by the end of their path, in their order, and rejects unknown ones."""
    result = Result({"zeek.conn": [conn([1, 2])]})
    shown = repr(result.show(columns=["note", "resp_p"]))
    assert shown.split("\n")[1].split() == ["note", "id.resp_p"]
    assert "2 of 4 columns" in shown
    with pytest.raises(UsageError, match=r"no field 'ntoe'.*did you mean 'note'"):
        result.show(columns=["ntoe"])
    with pytest.raises(UsageError, match="a list of names"):
        result.show(columns="note")  # type: ignore[arg-type]  # what users write
    assert chosen("zeek.conn", [conn([1])], ["id.resp_p", "resp_p"]) == ["id.resp_p"]


def test_a_result_shows_what_its_query_names():
    """The query of a result decides which of many columns are seen."""
    table = wide(40, 2, "x")
    shown = repr(Result({"wide": [table]}, Outcome('c39 == "x"')).show())
    assert shown.split("\n")[1].split()[:2] == ["c39", "c0"]


def test_the_table_of_the_shell_and_of_the_notebook_have_one_order():
    """A preview takes the first of the sensible columns."""
    table = conn([1, 2])
    shown = make_preview("zeek.conn", [table], rows=2, columns=2)
    assert [column.name for column in shown.columns] == sensible("zeek.conn", [table])[:2]
