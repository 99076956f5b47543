"""SchemaTree without a browser."""

from __future__ import annotations

from collections.abc import Iterator

import ipywidgets as widgets
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


def test_browse_and_click(vast):
    """A schema shows its fields with types, and a click on one writes it into the form."""
    box = QueryBox(vast)
    tree = SchemaTree(vast, box)
    schemas, fields = tree.children[1].children
    assert [name for _, name in schemas.options] == ["zeek.conn", "zeek.dns"]
    schemas.value = "zeek.dns"
    assert tree.schema == "zeek.dns"
    assert ("id.resp_p  ·  port", "id.resp_p") in fields.options
    fields.value = "id.resp_p"
    assert (box.expression, fields.value) == ("id.resp_p", None)
    box.expression = "id.resp_p == 1"
    tree.children[0].children[1].click()
    assert box.expression == 'id.resp_p == 1 && #type == "zeek.dns"'
    assert box.run().num_rows == 1


def test_filter(vast):
    """Part of a name leaves the schemas that have it."""
    tree = SchemaTree(vast)
    tree.children[0].children[0].value = "DNS"
    assert [name for _, name in tree.children[1].children[0].options] == ["zeek.dns"]


def test_hostile_names(tmp_path):
    """Names of schemas are only text; a field that cannot be written is not inserted."""
    evil = '\x1b<img src=x onerror="1">'
    Database.create(tmp_path / "db").add(conn([0], name=evil).to_batches())
    with Connection(str(tmp_path / "db")) as connection:
        tree = SchemaTree(connection)
    assert tree.schema == evil
    assert not CONTROLS.search("".join(label for label, _ in tree.children[1].children[0].options))
    check(tree.children[2].value)
    tree.children[1].children[1].options = [("x", "two words")]
    tree.children[1].children[1].value = "two words"
    assert tree.expression == ""
    assert "two words" in tree.children[2].value


def test_an_empty_node(tmp_path):
    """Nothing to browse is said, not an error."""
    Database.create(tmp_path / "db")
    with Connection(str(tmp_path / "db")) as connection:
        tree = SchemaTree(connection)
    assert (tree.schema, tree.fields) == ("", {})
    assert "empty" in tree.children[2].value


def test_closing_closes_everything_inside(vast):
    """A tree that is closed leaves no widget behind."""
    tree = SchemaTree(vast)
    inside: list[widgets.Widget] = [tree]
    for widget in inside:
        inside += getattr(widget, "children", ())
    tree.close()
    assert all(widget.comm is None for widget in inside)
