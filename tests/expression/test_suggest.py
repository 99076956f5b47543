"""Warnings for what can find nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests.test_language_facts import FACTS, SCHEMA, TAXONOMY
from vastlab.expression import parse
from vastlab.expression.ast import Constant
from vastlab.expression.literals import ListLiteral
from vastlab.expression.parser import parse_query
from vastlab.expression.resolve import resolve
from vastlab.expression.suggest import suggest, whole_matches
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
            'no schema has a field nowhere (put a string in double quotes: "nowhere")',
        ),
        (
            "zeek.conn",
            'no schema has a field zeek.conn (for events of this schema: #type == "zeek.conn")',
        ),
        ("src", "src is a record; use one of its fields: src.host or src.port"),
        ("src == 1", "src is a record; use one of its fields: src.host or src.port"),
        ("ogirin == ::", "no schema has a field ogirin: did you mean origin?"),
        ("lost == 1", "no schema has a field of the concept lost"),
        ("half == <_, _>", "no schema has a field for lost, which the model half needs"),
        (":Prot == 80", "no schema has a type :Prot: did you mean :port?"),
        ('#type == "zeek.con"', "no schema is named zeek.con: did you mean zeek.conn?"),
        ('#type != "zzz"', "no schema is named zzz"),
    ],
)
def test_unknown_name(text, expected):
    """A name that no schema knows is named, with what it may have been."""
    assert suggest(parse(text), [SCHEMA], WORDS) == (expected,)


@pytest.mark.parametrize("name", ["resp_p", "id.resp_p"])
def test_a_field_of_other_logs_has_a_concept(name):
    """What Zeek calls so has another name in Suricata, and one that both understand."""
    flow = Schema("suricata.flow", (Field("dest_port", Type(Kind.UINT64)),))
    expected = f"no schema has a field {name}: did you mean net.dst.port?"
    assert suggest(parse(f"{name} == 443"), [flow], Taxonomy.default()) == (expected,)


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            '"10.0.0.1"',
            '"10.0.0.1" matches only strings; write an address without quotes: 10.0.0.1 '
            '(a parameter: ip_address("10.0.0.1"))',
        ),
        (
            '"::1/64"',
            '"::1/64" matches only strings; write a network without quotes: ::1/64 '
            '(a parameter: ip_network("::/64"))',
        ),
        ('"443"', None),
        ('"10.0.0.256"', None),
        (':string != "10.0.0.1"', None),
    ],
)
def test_an_address_in_quotes(text, expected):
    """A string does not match addresses, so an address in quotes gives a warning."""
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
        ("app < null", ""),
        ('tags == "evil"', 'tags ni "evil"'),
        ('tags != "evil"', 'tags !ni "evil"'),
        ('tags < "x"', ""),
        ("app in 192.0.2.0/24", ""),
        ("app !in 192.0.2.0/24", ""),
        ("app in [192.0.2.0/24, 10.0.0.1]", ""),
        ("app in [10.0.0.1, 80]", 'app in ["10.0.0.1", "80"]'),
        ("app in 80", ""),
        ("app ni 10.0.0.1", ""),
        ("app > 10.0.0.1", ""),
        ("app > 5", ""),
        ("tags == 10.0.0.1", 'tags ni "10.0.0.1"'),
        ("delta == -5s", ""),
        ("delta == 1500ms", ""),
        ("ts > 1.0e300", ""),
        ("ts > 18446744073709551615", ""),
        ("took > 18446744073709551615", ""),
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
    assert warnings[0].startswith(f"{parse(text)} matches nothing because ")
    assert warnings[0].partition(": use ")[2].partition(" (a parameter")[0] == better
    if better:
        assert resolve(parse(better), SCHEMA, WORDS) not in (None, Constant(False))


ODD = Schema(
    "my logs",
    (
        Field("@timestamp", Type(Kind.TIME)),
        Field("Flow Bytes/s", Type(Kind.INT64, names=("my type",))),
        Field("a`b", Type(Kind.RECORD, fields=(Field("c d", Type(Kind.STRING)),))),
    ),
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("timestamp", "no schema has a field timestamp: did you mean `@timestamp`? (…)"),
        ("`Flow Byte` == 5", "no schema has a field `Flow Byte`: did you mean `Flow Bytes/s`?"),
        (r"`a\`b`", r"`a\`b` is a record; use one of its fields: `a\`b`.`c d`"),
        (
            "`my logs`",
            'no schema has a field `my logs` (for events of this schema: #type == "my logs")',
        ),
        (r'`two "`', r'no schema has a field `two "` (put a string in double quotes: "two \"")'),
        (r"`a\x0a`", r"no schema has a field `a\x0a`"),
        (":mytype == 1", "no schema has a type :mytype"),
        (
            '`@timestamp` == "x"',
            '`@timestamp` == "x" matches nothing because `@timestamp` is a time',
        ),
        (
            "`@timestamp` > 5",
            "`@timestamp` > 5 matches nothing because `@timestamp` is a time: "
            "use `@timestamp` > 1970-01-01T00:00:05",
        ),
    ],
)
def test_suggestions_are_valid_expressions(text, expected):
    """Suggested names have backticks if needed; types that cannot be written are not suggested."""
    (line,) = suggest(parse(text), [ODD])
    assert line.replace('(put a string in double quotes: "timestamp")', "(…)") == expected


TEXTS = Schema("my.csv", tuple(Field(n, Type(Kind.STRING)) for n in ("src", "dst ip", "c", "d")))
NUMBERS = Schema("my.json", (Field("n", Type(Kind.INT64)), Field("note", Type(Kind.STRING))))
ZEEK = Schema("zeek.x", (Field("ts", Type(Kind.TIME)), Field("note", Type(Kind.STRING))))
PORTS = Schema("ports", (Field("port", Type(Kind.UINT64)),))


@pytest.mark.parametrize(
    "text, schemas, expected",
    [
        (
            "10.1.4.17",
            [TEXTS],
            "10.1.4.17 does not search the string fields of my.csv, "
            "which have no field of type ip: "
            'src, `dst ip` or c; use "10.1.4.17" to search strings',
        ),
        (
            "! 10.1.4.17",
            [TEXTS, SCHEMA, ZEEK],
            "10.1.4.17 does not search the string fields of my.csv, "
            "which have no field of type ip: "
            'src, `dst ip` or c; use "10.1.4.17" to search strings',
        ),
        (
            "10.0.0.0/8",
            [TEXTS, NUMBERS],
            "10.0.0.0/8 does not search the string fields of my.csv or my.json, "
            "which have no field of "
            "type ip: src, `dst ip` or c",
        ),
        (
            ":ip in [10.0.0.1]",
            [ZEEK],
            ":ip in [10.0.0.1] does not search the string fields of zeek.x, "
            "which have no field of type "
            "ip: note",
        ),
        (
            "2023-05-24",
            [NUMBERS],
            "2023-05-24 does not search the string fields of my.json, "
            "which have no field of type time: "
            "note",
        ),
        (
            "443",
            [TEXTS],
            "443 does not search the string fields of my.csv, "
            "which have no field of type uint64: "
            "src, `dst ip` or c",
        ),
        ("443", [NUMBERS, ZEEK], None),
        ("10.1.4.17", [SCHEMA, ZEEK], None),
        ("10.1.4.17", [PORTS], None),
        ("10.1.4.17", [SCHEMA, PORTS], None),
        (":ip", [TEXTS], None),
        (":time > 2023-05-24", [TEXTS], None),
        ("true", [TEXTS], None),
        ("[10.0.0.1]", [TEXTS], None),
        ('"10.1.4.17"', [TEXTS, SCHEMA], None),
    ],
)
def test_bare_value_does_not_search_string_fields(text, schemas, expected):
    """A warning says that a bare value does not search string fields that may contain it."""
    assert suggest(parse(text), schemas) == (() if expected is None else (expected,))


def test_a_list_that_excludes_nothing():
    """A negated list without a compatible item gives a warning; long lists are shortened."""
    (line,) = suggest(parse('src.host !in ["10.0.0.1", "10.0.0.2"]'), [SCHEMA])
    assert " excludes nothing because " in line
    assert line.endswith(
        ': use src.host !in [10.0.0.1, 10.0.0.2] (a parameter: ip_address("10.0.0.1"))'
    )
    many = ", ".join(f'"10.0.0.{i}"' for i in range(200))
    (line,) = suggest(parse(f"src.host in [{many}]"), [SCHEMA])
    assert "10.0.0.1" in line
    assert len(line) < 300


def test_no_warning_if_one_schema_matches():
    """An expression that fits one schema gives no warning."""
    other = Schema("other", (Field("took", Type(Kind.UINT64)), Field("lone", Type(Kind.LIST))))
    assert suggest(parse("took > 5 && app && lone == [1]"), [SCHEMA, other]) == ()
    assert "a duration or a uint64" in suggest(parse("took ni 5"), [SCHEMA, other])[0]
    assert "a list<None>" in suggest(parse("lone == 1"), [SCHEMA, other])[0]


def test_no_warnings():
    """Facts, open parameters, built-in types and empty nodes need no help."""
    for text in ("app == $x", ":double == 4.2", "null", '#type in "x"', "#type == /x/"):
        assert suggest(parse(text), [SCHEMA]) == ()
    assert suggest(parse("flow == <_, _>"), [SCHEMA], WORDS) == ()
    assert suggest(parse("nowhere"), []) == ()


def test_each_warning_once():
    """Repeated warnings are given once, in the order of the expression."""
    warnings = suggest(parse("b2 == 1 || a2 == 1 || b2 == 1"), [SCHEMA])
    assert [line.rpartition(" ")[2] for line in warnings] == ["b2", "a2"]


@pytest.mark.parametrize("text, found", FACTS)
def test_no_warning_for_expressions_with_matches(text, found):
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


@pytest.mark.parametrize(
    "text, warning",
    [
        (
            ':ip in ["10.0.0.1", "x"]',
            ':ip in ["10.0.0.1", "x"] matches nothing because :ip is an ip: '
            'use :ip in [10.0.0.1, "x"] (a parameter: ip_address("10.0.0.1"))',
        ),
        (':ip !in ["x"]', ':ip !in ["x"] excludes nothing because :ip is an ip'),
        (
            ':string in ["10.0.0.1", "10.0.0.2"]',
            '"10.0.0.1" matches only strings; write an address without quotes: 10.0.0.1 '
            '(a parameter: ip_address("10.0.0.1"))',
        ),
        (':ip in ["10.0.0.1", 10.0.0.2]', None),
        (":ip in [10.0.0.1]", None),
        (":ip in []", None),
        (':string in ["x", "10.0.0.2"]', None),
        (":string in [/x/]", None),
    ],
)
def test_lists_of_texts_that_are_no_addresses(text, warning):
    """A list of addresses as text is a common mistake, and finds nothing."""
    schema = Schema("conn", (Field("src", Type(Kind.IP)), Field("uid", Type(Kind.STRING))))
    assert suggest(parse(text), [schema]) == ((warning,) if warning else ())


def test_a_long_list_is_shown_in_part(monkeypatch):
    """To write and to correct all of it would take seconds."""
    shown = []
    whole = ListLiteral.__str__
    monkeypatch.setattr(
        ListLiteral, "__str__", lambda self: shown.append(len(self.items)) or whole(self)
    )
    schema = Schema("conn", (Field("src", Type(Kind.IP)),))
    items = ", ".join(f'"10.0.{i // 256}.{i % 256}"' for i in range(1000))
    (warning,) = suggest(parse(f":ip in [{items}]"), [schema])
    assert "10.0.0.1" in warning
    assert 0 < max(shown) < 100


@strategies.share(40)
@given(st.data())
def test_never_fails(data):
    """Every expression over every schema gets an answer."""
    events = data.draw(strategies.events())
    expr = data.draw(strategies.expressions(events))
    assert all(isinstance(line, str) for line in suggest(expr, [events.schema]))


@pytest.mark.parametrize(
    "text, wider",
    [
        ("x == /google/", "x in /google/"),
        ("/google/i", ":string in /google/i"),
        ("x == /a|b/ && y == 1", "x in /a|b/"),
        ("x == /^goo/", "x in /^goo/"),
        ("x == /^google$/", None),
        ("x == /.*google.*/", None),
        ("x != /google/", None),
        ("x in /google/", None),
        ('x == "google"', None),
    ],
)
def test_a_pattern_for_a_whole_text_has_a_hint(text, wider):
    """Where a pattern is open at an end, its author may have meant a part of the text."""
    lines = whole_matches(parse(text))
    assert [line.split(": ")[-1] for line in lines] == (
        [f"{wider} also matches a part"] * bool(wider)
    )
