"""SchemaTree without a browser."""

from __future__ import annotations

from collections.abc import Iterator

import ipywidgets as widgets
import pyarrow as pa
import pytest

from tests.display.conftest import conn
from tests.display.test_html import CONTROLS, check
from vastlab.connection import Connection
from vastlab.notebook import QueryBox
from vastlab.notebook.widgets.schema_tree import SchemaTree
from vastlab.store.database import Database


@pytest.fixture
def vast(folder) -> Iterator[Connection]:
    with Connection(str(folder)) as connection:
        yield connection


def _sides(tree: SchemaTree) -> tuple[list[widgets.Widget], list[widgets.Widget]]:
    """Give filter, list and button of the schemas, and of the fields."""
    schemas, fields = tree.children[0].children
    return list(schemas.children), list(fields.children)


def test_browse_and_click(vast):
    """A schema shows its fields with types, and a click puts the chosen one into the form."""
    box = QueryBox(vast)
    tree = SchemaTree(vast, box)
    (_, schemas, insert_type), (_, fields, insert_field) = _sides(tree)
    assert [name for _, name in schemas.options] == ["zeek.conn", "zeek.dns"]
    schemas.value = "zeek.dns"
    assert tree.schema == "zeek.dns"
    assert ("id.resp_p  ·  port", "id.resp_p") in fields.options
    fields.value = "id.resp_p"
    insert_field.click()
    assert (box.expression, fields.value) == ("id.resp_p", "id.resp_p")
    box.expression = "id.resp_p == 1"
    insert_type.click()
    assert box.expression == 'id.resp_p == 1 && #type == "zeek.dns"'
    assert box.run().num_rows == 1


def test_browsing_writes_nothing(vast):
    """Arrow keys walk through the fields, which leaves the form as it is."""
    tree = SchemaTree(vast)
    _, (_, fields, insert_field) = _sides(tree)
    assert insert_field.disabled
    for _, name in fields.options:
        fields.value = name
    assert (tree.expression, insert_field.disabled) == ("", False)
    tree.schema = "zeek.dns"
    assert (fields.value, insert_field.disabled) == (None, True)
    insert_field.click()
    assert tree.expression == ""


def test_filter(vast):
    """Part of a name leaves the schemas and the fields that have it."""
    tree = SchemaTree(vast)
    (words, schemas, _), (part, fields, _) = _sides(tree)
    words.value = "DNS"
    assert [name for _, name in schemas.options] == ["zeek.dns"]
    part.value = "Resp"
    assert [name for _, name in fields.options] == ["id.resp_p"]
    assert "1 of 4 fields" in tree.children[1].value


def test_hostile_names(tmp_path):
    """Names of schemas are only text."""
    evil = '\x1b<img src=x onerror="1">'
    Database.create(tmp_path / "db").add(conn([0], name=evil).to_batches())
    with Connection(str(tmp_path / "db")) as connection:
        tree = SchemaTree(connection)
        (_, schemas, insert_type), _ = _sides(tree)
        insert_type.click()
        assert connection.count(tree.expression) == 1
        tree.expression = ""
    assert tree.schema == evil
    assert not CONTROLS.search("".join(label for label, _ in schemas.options))
    check(tree.children[1].value)


def test_a_field_that_needs_backticks_is_inserted_with_them(tmp_path):
    """A click and `insert` write a field so that the expression can be asked."""
    with Connection(str(tmp_path / "db")) as connection:
        connection.ingest(pa.table({"@timestamp": [1], "Flow Bytes/s": [5]}), schema="my.logs")
        tree = SchemaTree(connection)
        _, (_, fields, insert_field) = _sides(tree)
        fields.value = "@timestamp"
        insert_field.click()
        tree.insert("== 1 &&")
        tree.insert("Flow Bytes/s")
        assert tree.expression == "`@timestamp` == 1 && `Flow Bytes/s`"
        assert connection.count(tree.expression) == 1


@pytest.mark.parametrize(
    "before, after",
    [
        ("", "id.resp_p"),
        ("uid", "uid && id.resp_p"),
        ("a == 1 && ", "a == 1 && id.resp_p"),
        ("a == 1 || b == 2", "(a == 1 || b == 2) && id.resp_p"),
        ("not", "not && id.resp_p"),
    ],
)
def test_a_field_narrows_what_is_there(vast, before, after):
    """A condition that is complete is kept as a whole, and one that is not goes on."""
    tree = SchemaTree(vast)
    tree.expression = before
    tree.insert("id.resp_p")
    assert tree.expression == after


def test_an_empty_node(tmp_path):
    """An empty node is shown as such, and is not an error."""
    Database.create(tmp_path / "db")
    with Connection(str(tmp_path / "db")) as connection:
        tree = SchemaTree(connection)
    assert (tree.schema, tree.fields) == ("", {})
    assert "nothing is stored here yet" in tree.children[1].value
    assert all(button.disabled for *_, button in _sides(tree))


def test_closing_closes_everything_inside(vast):
    """A tree that is closed leaves no widget behind."""
    tree = SchemaTree(vast)
    inside: list[widgets.Widget] = [tree]
    for widget in inside:
        inside += getattr(widget, "children", ())
    tree.close()
    assert all(widget.comm is None for widget in inside)
