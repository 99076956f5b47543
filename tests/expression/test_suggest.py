"""Warnings for what can find nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests.test_language_facts import FACTS, SCHEMA, TAXONOMY
from vastlab.expression import parse
from vastlab.expression.ast import Constant
from vastlab.expression.parser import parse_query
from vastlab.expression.resolve import resolve
from vastlab.expression.suggest import suggest
from vastlab.expression.taxonomy import Concept, Model, Taxonomy
from vastlab.types import Field, Kind, Schema, Type

WORDS = TAXONOMY.merge(
    Taxonomy(
        {"lost": Concept("lost", fields=("zeek.dns.x",))},
        {"half": Model("half", definition=("origin", "lost"))},
    )
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("aap == 1", "no schema has a field aap: did you mean app?"),
        ("Src.Host == ::", "no schema has a field Src.Host: did you mean src.host?"),
        ("id.scoer == 5", "no schema has a field id.scoer: did you mean score?"),
        ("nowhere == 1", "no schema has a field nowhere"),
        (
            "nowhere",
            'no schema has a field nowhere (a text stands in double quotes: "nowhere")',
        ),
        (
            "zeek.conn",
            'no schema has a field zeek.conn (the events of a schema: #type == "zeek.conn")',
        ),
        ("src", "src is a record, ask for its fields: src.host or src.port"),
        ("src == 1", "src is a record, ask for its fields: src.host or src.port"),
        ("ogirin == ::", "no schema has a field ogirin: did you mean origin?"),
        ("lost == 1", "no schema has a field of the concept lost"),
        ("half == <_, _>", "no schema has a field for lost, which the model half needs"),
        (":Prot == 80", "no schema has a type :Prot: did you mean :port?"),
        ('#type == "zeek.con"', "no schema is called zeek.con: did you mean zeek.conn?"),
        ('#type != "zzz"', "no schema is called zzz"),
    ],
)
def test_unknown_name(text, expected):
    """A name that no schema knows is named, with what it may have been."""
    assert suggest(parse(text), [SCHEMA], WORDS) == (expected,)


@pytest.mark.parametrize(
    "text, expected",
    [
        ('"10.0.0.1"', '"10.0.0.1" asks for texts only: an address has no quotes, as in 10.0.0.1'),
        ('"::1/64"', '"::1/64" asks for texts only: a network has no quotes, as in ::1/64'),
        ('"443"', None),
        ('"10.0.0.256"', None),
        (':string != "10.0.0.1"', None),
    ],
)
def test_an_address_in_quotes(text, expected):
    """A text finds no address, which whoever writes quotes around one may not expect."""
    assert suggest(parse(text), [SCHEMA]) == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    "text, better",
    [
        ("took > 5", "took > 5s"),
        ("took in [5]", "took in [5s]"),
        ('src.host in ["10.0.0.1", "10.0.0.0/8"]', "src.host in [10.0.0.1, 10.0.0.0/8]"),
        ('src.host in ["a"]', ""),
        ("took in [5, 5s]", None),
        ("took in []", None),
        ("took > nan", ""),
        ("ts > 5", "ts > 1970-01-01T00:00:05"),
        ('ts > "2009-11-18"', "ts > 2009-11-18"),
        ('src.host == "10.0.0.1"', "src.host == 10.0.0.1"),
        ('src.host != "10.0.0.0/8"', "src.host !in 10.0.0.0/8"),
        ("host in 10.0.0.1", "host == 10.0.0.1"),
        ("net in 10.0.0.1", "net ni 10.0.0.1"),
        ("app == 5", 'app == "5"'),
        ("app == 10.0.0.1", 'app == "10.0.0.1"'),
        ("app ni /x/", "app in /x/"),
        ("app < null", "app != null"),
        ('tags == "evil"', 'tags ni "evil"'),
        ('tags != "evil"', 'tags !ni "evil"'),
        ('tags < "x"', 'tags ni "x"'),
        ("sizes == 5", "sizes ni 5"),
        ('proto == "tpc"', 'proto == "tcp"'),
        ('proto == "sctp"', ""),
        ("ok == 1", "ok == true"),
        ("ok == 2", ""),
        ("delta == 5s", "delta == 5"),
        ('delta == "5"', "delta == 5"),
        ('delta == "$x"', ""),
        ('delta == "a || b"', ""),
        ("delta == [1, 2]", "delta in [1, 2]"),
        ("src.host == 5", ""),
        ("origin == 5", ""),
        ("any.host in 10.0.0.1", "any.host == 10.0.0.1"),
    ],
)
def test_literal_that_never_fits(text, better):
    """A comparison that fits no field is named, with the form that fits where there is one."""
    warnings = suggest(parse(text), [SCHEMA], WORDS)
    if better is None:
        assert warnings == ()
        return
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{parse(text)} finds nothing, since ")
    assert warnings[0].partition(": write ")[2] == better
    if better:
        assert resolve(parse(better), SCHEMA, WORDS) not in (None, Constant(False))


def test_a_list_that_excludes_nothing():
    """A negated list of which nothing fits is a slip, too, and a long one is cut."""
    (line,) = suggest(parse('src.host !in ["10.0.0.1", "10.0.0.2"]'), [SCHEMA])
    assert " excludes nothing, since " in line
    assert line.endswith(": write src.host !in [10.0.0.1, 10.0.0.2]")
    many = ", ".join(f'"10.0.0.{i}"' for i in range(200))
    (line,) = suggest(parse(f"src.host in [{many}]"), [SCHEMA])
    assert "10.0.0.1" in line
    assert len(line) < 300


def test_one_schema_that_knows_is_enough():
    """What fits in one schema is no slip, even if it fits in no other."""
    other = Schema("other", (Field("took", Type(Kind.UINT64)), Field("lone", Type(Kind.LIST))))
    assert suggest(parse("took > 5 && app && lone == [1]"), [SCHEMA, other]) == ()
    assert "a duration or a uint64" in suggest(parse("took ni 5"), [SCHEMA, other])[0]
    assert "a list<None>" in suggest(parse("lone == 1"), [SCHEMA, other])[0]


def test_nothing_to_say():
    """Facts, open parameters, built-in types and empty nodes need no help."""
    for text in ("app == $x", ":double == 4.2", "null", '#type in "x"', "#type == /x/"):
        assert suggest(parse(text), [SCHEMA]) == ()
    assert suggest(parse("flow == <_, _>"), [SCHEMA], WORDS) == ()
    assert suggest(parse("nowhere"), []) == ()


def test_each_slip_once():
    """A slip that is repeated is named once, in the order of the expression."""
    warnings = suggest(parse("b2 == 1 || a2 == 1 || b2 == 1"), [SCHEMA])
    assert [line.rpartition(" ")[2] for line in warnings] == ["b2", "a2"]


@pytest.mark.parametrize("text, found", FACTS)
def test_silent_where_something_is_found(text, found):
    """An expression that finds events on its only predicate gets no warning."""
    if found and "||" not in text:
        assert suggest(parse_query(text), [SCHEMA], TAXONOMY) == ()


def test_hostile_labels():
    """Labels come from events: their controls become visible, and long lists are cut."""
    labels = tuple((f"\x1b[31m{i}", i) for i in range(100))
    schema = Schema("x", (Field("e", Type(Kind.ENUM, labels=labels)),))
    (line,) = suggest(parse('e == "z"'), [schema])
    assert "\x1b" not in line
    assert len(line) < 400


@strategies.share(40)
@given(st.data())
def test_never_fails(data):
    """Every expression over every schema gets an answer."""
    events = data.draw(strategies.events())
    expr = data.draw(strategies.expressions(events))
    assert all(isinstance(line, str) for line in suggest(expr, [events.schema]))
