"""What an expression becomes for one schema."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from vastlab.errors import ExpressionError, ParameterError
from vastlab.expression import parse, parse_query
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Column,
    Constant,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Duration,
    Int64,
    ListLiteral,
    Null,
    Pattern,
    RelativeTime,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.parser import parse_field
from vastlab.expression.resolve import match, resolve
from vastlab.expression.taxonomy import Concept, Model, Taxonomy
from vastlab.types import Field, Kind, Schema, Type

ENUM = Type(Kind.ENUM, labels=(("tcp", 0), ("udp", 1)))
SCHEMA = Schema(
    "zeek.conn",
    (
        Field("ts", Type(Kind.TIME, names=("timestamp",))),
        Field("id", Type(Kind.RECORD, fields=(Field("orig_h", Type(Kind.IP)),))),
        Field("a.b", Type(Kind.INT64)),
        Field("proto", ENUM),
        Field("tags", Type(Kind.LIST, item=Type(Kind.STRING))),
        Field("labels", Type(Kind.LIST, item=ENUM)),
        Field("pairs", Type(Kind.LIST, item=Type(Kind.RECORD, fields=(Field("x", ENUM),)))),
        Field("bare", Type(Kind.LIST)),
        Field("app", Type(Kind.STRING)),
        Field("ok", Type(Kind.BOOL)),
        Field("took", Type(Kind.DURATION)),
    ),
)
TS, HOST, NUMBER, PROTO, TAGS, LABELS, PAIRS, BARE, APP, OK, TOOK = map(Column, SCHEMA.leaves)
NO, YES = Constant(False), Constant(True)
NET = Subnet(bytes(16), 96)
MATCH = Predicate(APP, Operator.EQ, Pattern("y"))


def there(column):
    """Return the test of a cell that is not null."""
    return Predicate(column, Operator.NE, Null())


def among(column, *values):
    """Return the membership of a cell in a list."""
    return Predicate(column, Operator.IN, ListLiteral(values))


@strategies.share(40)
@given(st.data())
def test_bound_trees_hold_columns_only(data):
    """Nothing is left to interpret: columns, import times, and literals of their own type."""
    events = data.draw(strategies.events())
    for _ in range(6):
        bound = resolve(data.draw(strategies.expressions(events)), events.schema)
        if bound is not None:
            assert_bound(bound, events.schema)


def assert_bound(expr, schema):
    """Check one node and those below."""
    match expr:
        case And(operands) | Or(operands):
            assert len(operands) > 1
            for operand in operands:
                assert_bound(operand, schema)
        case Not(operand):
            assert_bound(operand, schema)
        case Predicate(MetaExtractor(meta), _, literal):
            assert meta is Meta.IMPORT_TIME
            assert isinstance(literal, Time)
        case Predicate(Column(leaf), operator, literal):
            assert leaf in schema.leaves
            assert_bound_literal(leaf, operator, literal)
        case _:
            assert isinstance(expr, Constant)


def assert_bound_literal(leaf, operator, literal):
    """Check that a literal is what the documentation of `fit` promises."""
    match literal:
        case ListLiteral(items):
            assert operator in (Operator.IN, Operator.NOT_IN)
            assert len(set(items)) == len(items) > 1
            for item in items:
                assert reference.is_compatible(leaf.type, Operator.EQ, item)
                assert not isinstance(item, Null | Pattern)
        case _ if leaf.type.kind is Kind.LIST:
            assert operator in (Operator.NI, Operator.NOT_NI) or literal == Null()
        case _:
            assert reference.is_compatible(leaf.type, operator, literal)


@strategies.share(40)
@given(st.data())
def test_resolve_is_idempotent(data):
    """A bound tree is bound to itself."""
    events = data.draw(strategies.events())
    bound = resolve(data.draw(strategies.predicates(events)), events.schema)
    if bound is not None:
        assert resolve(bound, events.schema) == bound


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a.b == 0.5", NO),
        ("a.b != 0.5", there(NUMBER)),
        ("a.b < 5.5", Predicate(NUMBER, Operator.LE, Int64(5))),
        ("a.b > -1.0e30", there(NUMBER)),
        ("b == 1", Predicate(NUMBER, Operator.EQ, Int64(1))),
        ("a.b in [1, +1, 1.0, 1.5, 7]", among(NUMBER, Int64(1), Int64(7))),
        ("a.b in [1, 1.5]", Predicate(NUMBER, Operator.EQ, Int64(1))),
        ("a.b in [true, 2]", among(NUMBER, Int64(1), Int64(2))),
        ("a.b in [0.5]", NO),
        ("a.b !in [0.5]", there(NUMBER)),
        ("a.b in [null]", NO),
        ("a.b in {1 -> 2}", NO),
        ("a.b in null", None),
        ("a.b ni 5", None),
        ("a.b == \"x\"", None),
        ("a.b < null", None),
        ("ok in [1]", Predicate(OK, Operator.EQ, Bool(True))),
        ("ok in [2, 5s]", NO),
        ("took in [5s, 5]", Predicate(TOOK, Operator.EQ, Duration(5 * 10**9))),
        ("proto == \"tcp\"", Predicate(PROTO, Operator.EQ, String("tcp"))),
        ("proto == \"sctp\"", None),
        ("proto in [1, \"sctp\"]", Predicate(PROTO, Operator.EQ, String("udp"))),
        ("proto in [9, /tcp/]", NO),
        ("app in [\"x\", /y/]", Or((Predicate(APP, Operator.EQ, String("x")), MATCH))),
        ("app !in [\"x\", /y/]", And((
            Predicate(APP, Operator.NE, String("x")),
            Predicate(APP, Operator.NE, Pattern("y")),
        ))),
        ("app < /x/", NO),
        ("orig_h in [::/96, 5]", Predicate(HOST, Operator.IN, NET)),
        ("orig_h !in [::/96, ::1]", And((
            Predicate(HOST, Operator.NE, IP(bytes(15) + b"\1")),
            Predicate(HOST, Operator.NOT_IN, NET),
        ))),
        ("tags ni \"x\"", Predicate(TAGS, Operator.NI, String("x"))),
        ("tags == [\"x\"]", NO),
        ("tags != [\"x\"]", there(TAGS)),
        ("tags < [\"x\"]", NO),
        ("tags == \"x\"", None),
        ("tags ni null", NO),
        ("tags !ni null", NO),
        ("tags ni 5", NO),
        ("tags !ni 5", there(TAGS)),
        ("labels ni \"tcp\"", NO),
        ("labels ni 1", Predicate(LABELS, Operator.NI, String("udp"))),
        ("pairs ni \"tcp\"", NO),
        ("bare ni 5", NO),
        ("id == 5", None),
        ("#type == \"zeek.conn\" && b == 1", Predicate(NUMBER, Operator.EQ, Int64(1))),
        ("#type == \"zeek.dns\" && b == 1", NO),
        ("#type == \"zeek.dns\" || b == 1", Predicate(NUMBER, Operator.EQ, Int64(1))),
        ("#type != \"zeek.dns\" || b == 1", YES),
        ("b == 1 && c == 1", None),
        ("b == 1 || c == 1", Predicate(NUMBER, Operator.EQ, Int64(1))),
        ("b == 1 || :int64 == +1", Predicate(NUMBER, Operator.EQ, Int64(1))),
    ],
)  # fmt: skip
def test_bound_form(text, expected):
    """A comparison becomes one in the leaf's own type, or what it always answers."""
    assert resolve(parse_query(text), SCHEMA) == expected


def test_complements():
    """A bound complement stays one, that of a constant is folded, that of nothing is nothing."""
    wide = parse("b == 1")
    assert resolve(Not(wide), SCHEMA) == Not(Predicate(NUMBER, Operator.EQ, Int64(1)))
    assert resolve(Not(parse('#type == "zeek.conn"')), SCHEMA) == NO
    assert resolve(Not(Constant(False)), SCHEMA) == YES
    assert resolve(Not(parse("c == 1")), SCHEMA) is None


@pytest.mark.parametrize("bound", [MATCH, Predicate(HOST, Operator.IN, NET), there(TAGS), YES])
def test_bound_tree_is_unchanged(bound):
    """A bound tree is bound to itself, in one schema or in another."""
    assert resolve(bound, SCHEMA) == bound


@pytest.mark.parametrize(
    "text, expected",
    [
        ('#type < "zeek.d"', True),
        ('#type <= "zeek.conn"', True),
        ('#type > "zeek.d"', False),
        ('#type >= "zeek.conn"', True),
        ('#type in "x zeek.conn"', True),
        ('#type ni "conn"', True),
        ('#type !ni "conn"', False),
        ("#type == /zeek.*/", True),
        ("#type == /ZEEK.*/i", True),
        ("#type != /zeek/", True),
        ("#type in /ek.c/", True),
        ("#type ni /zeek/", False),
        ("#type !ni /zeek/", True),
        ("#type < /zeek/", False),
        (r"#type == /\Qzeek.conn/", True),
        (r"#type == /\Qzeek.con/", False),
    ],
)
def test_type_is_constant(text, expected):
    """What is asked of ``#type`` is known per schema."""
    assert resolve(parse(text), SCHEMA) == Constant(expected)


def test_relative_time_stays():
    """A time relative to now is bound as it is; it becomes fixed when a query starts."""
    for text, extractor in (("ts > 1h ago", TS), ("#import_time > 1h ago", None)):
        bound = resolve(parse(text), SCHEMA)
        assert isinstance(bound.literal, RelativeTime)
        assert bound.extractor == (extractor or MetaExtractor(Meta.IMPORT_TIME))


@pytest.mark.parametrize("operator", [o for o in Operator if o.is_ordering])
def test_import_time_beyond_its_type(operator):
    """No import time lies beyond the year 2262."""
    asked = Predicate(MetaExtractor(Meta.IMPORT_TIME), operator, Time(2**63))
    assert resolve(asked, SCHEMA) == Constant(operator in (Operator.LT, Operator.LE))


@pytest.mark.parametrize("meta", Meta)
def test_metadata_of_another_type(meta):
    """Metadata compared with what it is not has no place in any schema."""
    assert resolve(Predicate(MetaExtractor(meta), Operator.EQ, UInt64(5)), SCHEMA) is None


def test_open_parameter():
    """A parameter without a value is an error that names it."""
    with pytest.raises(ParameterError, match=r"\$host has no value"):
        resolve(parse("orig_h == $host"), SCHEMA)


@pytest.mark.parametrize(
    "extractor, expected",
    [
        (FieldExtractor("zeek.conn.id.orig_h"), ["id.orig_h"]),
        (FieldExtractor("zeek.conn.orig_h"), []),
        (FieldExtractor("b"), ["a.b"]),
        (AliasExtractor("timestamp"), ["ts"]),
        (TypeExtractor(ENUM), ["proto"]),
        (TypeExtractor(Type(Kind.ENUM, labels=(("tcp", 0),))), []),
        (TypeExtractor(Type(Kind.LIST)), ["tags", "labels", "pairs", "bare"]),
        (TypeExtractor(Type(Kind.LIST, item=Type(Kind.STRING))), ["tags"]),
        (
            TypeExtractor(Type(Kind.LIST, item=Type(Kind.RECORD, fields=(Field("any", ENUM),)))),
            ["pairs"],
        ),
        (TypeExtractor(Type(Kind.LIST, item=Type(Kind.RECORD))), []),
        (TypeExtractor(None), []),
        (MetaExtractor(Meta.TYPE), []),
        (HOST, ["id.orig_h"]),
    ],
)
def test_match(extractor, expected):
    """An extractor means these leaves."""
    assert [leaf.name for leaf in match(extractor, SCHEMA)] == expected


TAXONOMY = Taxonomy(
    {
        "host": Concept("host", fields=("zeek.conn.id.orig_h", "zeek.dns.host")),
        "app": Concept("app"),
        "gone": Concept("gone", fields=("zeek.dns.x",)),
    },
    {
        "pair": Model("pair", definition=("host", "app")),
        "far": Model("far", definition=("host", "gone")),
    },
)
X = Predicate(HOST, Operator.EQ, IP(bytes(16)))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("host == ::", X),
        ("app", there(APP)),
        ("gone", None),
        ("pair == <::, _>", And((there(APP), X))),
        ("pair != <::, _>", And((there(APP), Not(X)))),
        ("pair != <_, _>", And((there(HOST), there(APP)))),
        ("pair == <host: ::, other: 5>", And((there(APP), X))),
        ("pair == <5, _>", None),
        ("pair != <[5], _>", there(APP)),
        ("pair == 5", None),
        ("far == <::, _>", None),
        ("far != <::, 5>", None),
    ],
)
def test_taxonomy(text, expected):
    """Concepts are any of their fields, models all of their parts."""
    text = text.replace("[5]", "[5, 6]")
    expr = parse(text)
    if "[" in text:
        expr = Predicate(expr.extractor, Operator.NOT_IN, expr.literal)
    assert resolve(expr, SCHEMA, TAXONOMY) == expected


ODD = Schema(
    "a.my logs",
    (
        Field("@timestamp", Type(Kind.TIME)),
        Field("x.y", Type(Kind.RECORD, fields=(Field("z", Type(Kind.UINT64)),))),
        Field(
            "x",
            Type(
                Kind.RECORD,
                fields=(Field("y.z", Type(Kind.UINT64)), Field("y", Type(Kind.STRING))),
            ),
        ),
        Field("y.z", Type(Kind.UINT64)),
    ),
)


@pytest.mark.parametrize(
    "text, columns",
    [
        ("`@timestamp`", ["@timestamp"]),
        ("`my logs`.`@timestamp`", ["@timestamp"]),
        ("a.`my logs`.`@timestamp`", ["@timestamp"]),
        ("x.y.z", ["x.y.z", "x.y.z#2"]),
        ("z", ["x.y.z", "x.y.z#2", "y.z"]),
        ("`x.y`.z", ["x.y.z"]),
        ("x.`y.z`", ["x.y.z#2"]),
        ("`y.z`", ["x.y.z#2", "y.z"]),
        ("a.`my logs`.`y.z`", ["y.z"]),
        ("`a.my logs`.`y.z`", ["y.z"]),
        ("`my logs`.x.`y.z`", ["x.y.z#2"]),
        ("b.`my logs`.`y.z`", []),
        ("`x.y`", []),
    ],
)
def test_quoted_names_match_part_by_part(text, columns):
    """A name that holds a dot is never taken for two, and without backticks for either."""
    extractor = parse_field(text)
    assert sorted(leaf.column for leaf in match(extractor, ODD)) == columns


def test_concepts_list_any_field():
    """A concept names a field by its plain path, whatever is in it."""
    taxonomy = Taxonomy({"when": Concept("when", fields=("a.my logs.@timestamp",))})
    bound = resolve(parse("when > 2023-05-24"), ODD, taxonomy)
    assert str(bound) == "`@timestamp` > 2023-05-24"


def test_model_with_another_number_of_values():
    """A record must have as many values as its model."""
    with pytest.raises(
        ExpressionError, match="the model pair needs 2 values, but the record has 1"
    ):
        resolve(parse("pair == <_>"), SCHEMA, TAXONOMY)


def test_model_with_empty_record():
    """An empty record says nothing that could be bound."""
    assert resolve(parse("pair == <>"), SCHEMA, TAXONOMY) is None
