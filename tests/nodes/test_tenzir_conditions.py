"""Conditions that a Tenzir node is asked with."""

from __future__ import annotations

from vastlab.expression import parse
from vastlab.nodes.base import Query
from vastlab.nodes.tenzir import conditions
from vastlab.nodes.tenzir.catalog import Stored
from vastlab.types import Field, Kind, Schema, Type


def layout(name, **kinds):
    return Schema(name, tuple(Field(field, Type(kind)) for field, kind in kinds.items()))


NUMBERS = layout("a", x=Kind.INT64)
TEXTS = layout("a", x=Kind.STRING)
MORE = layout("a", x=Kind.INT64, y=Kind.INT64)


def test_a_schema_that_cannot_answer_is_not_asked():
    """Nothing is asked where nothing binds."""
    assert conditions.where(Query(parse("other == 1")), [NUMBERS]) is None
    assert conditions.where(Query(parse("x == 1")), []) is None


def test_paths_are_bare_so_that_the_catalog_can_use_them():
    """The simple case is a simple condition."""
    found = conditions.where(Query(parse("x == 1")), [NUMBERS])
    assert found == '((@name == "a" and x == 1))'


def test_one_condition_serves_layouts_that_agree():
    """Layouts of one name are distinguished only where it matters."""
    found = conditions.where(Query(parse("x == 1")), [NUMBERS, MORE])
    assert found == '((@name == "a" and x == 1))'


def test_layouts_are_told_apart_by_their_fields():
    """A condition on a field holds for the layouts that have it; a missing field is not null."""
    found = conditions.where(Query(parse("y == null")), [NUMBERS, MORE])
    assert found == '((@name == "a" and ((this.has("y")) and y == null)))'


def test_layouts_are_told_apart_by_the_types_of_their_fields():
    """A number does not differ from a text: it is not compared with it at all."""
    found = conditions.where(Query(parse("x != 1")), [NUMBERS, TEXTS])
    assert found is not None
    assert '(x == null or type_kind(x) == "int")' in found


def test_what_the_catalog_does_not_name_is_asked_for_by_name():
    """Names are quoted, however odd; without names everything is new."""
    assert conditions.unknown([]) == "(true)"
    assert conditions.unknown(['b"', "a"]) == r'(@name != "a" and @name != "b\"")'


def test_a_layout_is_its_fields_and_their_types():
    """The names decide, and types where there is a value; no value fits a field of no type."""
    text, none = Field("t", Type(Kind.STRING)), Field("no", Type(Kind.NULL))
    found = conditions.is_of(Schema('b"', (text, none)))
    assert found == (
        r'(@name == "b\"" and this.has("t") and this.has("no") and this.keys().length() == 2'
        ' and (this["t"] == null or type_kind(this["t"]) == "string") and this["no"] == null)'
    )


def test_a_layout_is_what_is_inside_of_records_and_lists():
    """Each record has its fields, and each element of a list its type; lists may be nested."""
    inner = Type(Kind.RECORD, fields=(Field("a", Type(Kind.IP)),))
    lists = Type(Kind.LIST, item=Type(Kind.LIST, item=inner))
    assert conditions.is_of(Schema("b", (Field("l", lists),))).endswith(
        '(this["l"] == null or ((all(this["l"].map(x0 => '
        "(x0 == null or ((all(x0.map(x1 => "
        '(x1 == null or ((x1.has("a") and x1.keys().length() == 1'
        ' and (x1["a"] == null or type_kind(x1["a"]) == "ip"))'
        ' if type_kind(x1) == "record" else false)))))'
        ' if type_kind(x0) == "list" else false)))))'
        ' if type_kind(this["l"]) == "list" else false)))'
    )


def test_what_came_later_is_told_by_its_time():
    """Where nothing of a schema is stored, all of it came later."""
    assert conditions.later("a", Stored(1, 1_767_225_600_000_000_000)) == (
        '(@name == "a" and @import_time > 2026-01-01T00:00:00.0000000005Z)'
    )
    assert conditions.later("a", None) == '(@name == "a")'
