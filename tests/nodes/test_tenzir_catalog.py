"""What a Tenzir node holds, and the conditions to ask for it."""

from __future__ import annotations

import pytest

from vastlab.errors import NodeError
from vastlab.expression import parse
from vastlab.nodes import _tenzir_catalog as catalogs
from vastlab.nodes._tenzir_catalog import Catalog, Stored
from vastlab.nodes.base import Query
from vastlab.types import Field, Kind, Schema, Type


def layout(name, **kinds):
    return Schema(name, tuple(Field(field, Type(kind)) for field, kind in kinds.items()))


def described(kind, state=None, name=None):
    return {"name": name, "kind": kind, "attributes": [], "state": state}


def record(**types):
    return {"fields": [{"name": field, "type": type_} for field, type_ in types.items()]}


NUMBERS = layout("a", x=Kind.INT64)
TEXTS = layout("a", x=Kind.STRING)
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


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-01", '2026-01-01T00:00:00Z" //', "2026-01-01T0Z\n"]
)
def test_a_time_that_is_none_is_refused(text):
    """Only what looks like a time becomes part of a query."""
    with pytest.raises(NodeError, match="no time"):
        Catalog.parse([{"schema": "a", "events": 1, "last": text}])


def test_a_schema_that_cannot_answer_is_not_asked():
    """Nothing is asked where nothing binds."""
    assert catalogs.where(Query(parse("other == 1")), [NUMBERS]) is None
    assert catalogs.where(Query(parse("x == 1")), []) is None


def test_paths_are_bare_so_that_the_catalog_can_use_them():
    """The simple case is a simple condition."""
    found = catalogs.where(Query(parse("x == 1")), [NUMBERS])
    assert found == '((@name == "a" and x == 1))'


def test_one_condition_serves_layouts_that_agree():
    """Layouts of one name are told apart only where it matters."""
    found = catalogs.where(Query(parse("x == 1")), [NUMBERS, MORE])
    assert found == '((@name == "a" and x == 1))'


def test_layouts_are_told_apart_by_their_fields():
    """A condition on a field holds for the layouts that have it, and its lack is no null."""
    found = catalogs.where(Query(parse("y == null")), [NUMBERS, MORE])
    assert found == '((@name == "a" and ((this.has("y")) and y == null)))'


def test_layouts_are_told_apart_by_the_types_of_their_fields():
    """A number does not differ from a text: it is not compared with it at all."""
    found = catalogs.where(Query(parse("x != 1")), [NUMBERS, TEXTS])
    assert found is not None
    assert '(x == null or type_kind(x) == "int")' in found


def test_what_the_catalog_does_not_name_is_asked_for_by_name():
    """Names are quoted, however odd; without names everything is new."""
    assert catalogs.unknown([]) == "(true)"
    assert catalogs.unknown(['b"', "a"]) == r'(@name != "a" and @name != "b\"")'


def test_only_whole_schemas_are_counted_from_the_catalog():
    """All layouts of a name must answer with every event, and some must be stored."""
    catalog = Catalog((NUMBERS, MORE, layout("b", x=Kind.INT64)), {"a": Stored(5, "x")})
    assert catalog.whole(Query()) == {"a"}
    assert catalog.whole(Query(parse('#type == "a"'))) == {"a"}
    assert catalog.whole(Query(parse("x == 1"))) == set()
    assert catalog.whole(Query(since=1)) == set()
