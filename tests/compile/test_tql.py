"""TQL is written from bound trees, and nothing of a query's text can become an operator."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.compile import tql
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Meta,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Null,
    Pattern,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.types import Kind, Leaf, Type


def column(kind, *path):
    """Make the operand for a leaf of a kind."""
    parts = path or ("x",)
    return Column(Leaf(parts, Type(kind), ".".join(parts)))


def compare(kind, operator, literal):
    """Make a comparison of the leaf ``x``."""
    return Predicate(column(kind), Operator(operator), literal)


FORMS = [
    (compare(Kind.INT64, "==", Int64(-5)), "x == -5"),
    (compare(Kind.UINT64, "!=", UInt64(2**64 - 1)), "(x != null and x != 18446744073709551615)"),
    (compare(Kind.INT64, "!=", Null()), "x != null"),
    (compare(Kind.BOOL, "<", Bool(True)), "x < true"),
    (compare(Kind.BOOL, "==", Bool(False)), "x == false"),
    (compare(Kind.DOUBLE, ">", Double(1e-5)), "x > 0.00001"),
    (compare(Kind.DOUBLE, "<=", Double(1e5)), "x <= 100000.0"),
    (compare(Kind.DOUBLE, "!=", Double(1.5)), "(x != null and not x == 1.5)"),
    (compare(Kind.DURATION, ">", Duration(-3_000_000)), "x > -3000000ns"),
    (compare(Kind.TIME, ">=", Time(1_500_000_001)), "x >= 1970-01-01T00:00:01.5000000015Z"),
    (compare(Kind.TIME, "<", Time(-500_000_000)), "x < 1969-12-31T23:59:59.5000000005Z"),
    (compare(Kind.TIME, "<", Time(-(2**63))),
     "x < (1970-01-01 + (-9223372032559808512ns - 4294967296ns))"),
    (compare(Kind.DURATION, ">", Duration(2**53)), "x > 9007199254740992ns"),
    (compare(Kind.DURATION, ">", Duration(2**53 + 1)), "x > (9007199254740992ns + 1ns)"),
    (compare(Kind.DOUBLE, "==", Double(math.nan)), "false"),
    (compare(Kind.IP, "==", IP(b"\0" * 10 + b"\xff\xff\x0a\0\0\x01")), "x == 10.0.0.1"),
    (compare(Kind.IP, "in", Subnet(b"\x20\x01" + b"\0" * 14, 16)), "(x in 2001::/16)"),
    (compare(Kind.STRING, "in", String("abc")), '(x in "abc")'),
    (compare(Kind.STRING, "!ni", String("b")), '(x != null and not ("b" in x))'),
    (compare(Kind.STRING, "==", Pattern("a.c")), r'x.match_regex("\\A(?:a.c)\\z")'),
    (
        compare(Kind.STRING, "!=", Pattern("a", ignore_case=True)),
        r'(x != null and not x.match_regex("(?i)\\A(?:a)\\z"))',
    ),
    (compare(Kind.STRING, "in", Pattern("a")), 'x.match_regex("a")'),
    (compare(Kind.LIST, "ni", Pattern("a")), r'any(x.map(x => x.match_regex("\\A(?:a)\\z")))'),
    (compare(Kind.LIST, "ni", String("a")), '("a" in x)'),
    (compare(Kind.INT64, "in", ListLiteral((Int64(1), Int64(2)))), "(x in [1, 2])"),
    (Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.LT, Time(0)),
     "@import_time < 1970-01-01T00:00:00.0000000005Z"),
    (Constant(True), "true"),
    (Constant(False), "false"),
]  # fmt: skip


@pytest.mark.parametrize("expr,text", FORMS, ids=[text for _, text in FORMS])
def test_every_form_of_a_bound_comparison(expr, text):
    """A bound comparison has one form, the one that was measured on a node."""
    assert tql.condition(expr) == text


def test_networks_in_a_list_are_compared_one_by_one():
    """A list of TQL holds equal values only."""
    ip, net = IP(bytes(15) + b"\1"), Subnet(bytes(16), 64)
    both, nets = ListLiteral((ip, net)), ListLiteral((net, net))
    assert tql.condition(compare(Kind.IP, "in", both)) == "(x in [::1] or x in ::/64)"
    assert tql.condition(compare(Kind.IP, "!in", nets)) == (
        "(x != null and not (x in ::/64 or x in ::/64))"
    )


def test_connectives_are_parenthesised():
    """Nothing depends on which operator binds tighter."""
    a, b = compare(Kind.INT64, "==", Int64(1)), compare(Kind.INT64, ">", Int64(3))
    assert tql.condition(And((a, Or((a, b))))) == "(x == 1 and (x == 1 or x > 3))"


def test_complement_includes_null_rows():
    """The complement of a comparison holds on null cells, that of a null test does not."""
    a, null = compare(Kind.INT64, "==", Int64(1)), compare(Kind.INT64, "==", Null())
    assert tql.condition(Not(a)) == "(x == null or (x != null and x != 1))"
    assert tql.condition(Not(null)) == "x != null"
    assert tql.condition(Not(Not(a))) == "x == 1"
    assert tql.condition(Not(And((a, null)))) == (
        "((x == null or (x != null and x != 1)) or x != null)"
    )
    assert tql.condition(Not(Or((null, Constant(True))))) == "(x != null and false)"
    arrival = Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.LT, Time(0))
    assert tql.condition(Not(arrival)).startswith("@import_time >= ")


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
@pytest.mark.parametrize("cell", [math.inf, -math.inf, 0.0, math.nan, 1.7976931348623157e308])
def test_infinities_compare_by_the_largest_number(operator, infinity, cell):
    """The replacement for an infinity, which TQL cannot write, gives the same result."""
    text = tql.condition(compare(Kind.DOUBLE, operator, Double(infinity)))
    text = text.replace("x != null", "True").replace("false", "False")
    answer = eval(text, {"x": cell})  # noqa: S307 - this subset of TQL is Python
    assert bool(answer) is eval(f"x {operator} y", {"x": cell, "y": infinity})  # noqa: S307 - as above


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_written_without_an_exponent_and_read_back(value):
    """Every double that has a decimal form comes back from it."""
    text = tql.condition(compare(Kind.DOUBLE, "==", Double(value))).removeprefix("x == ")
    assert re.fullmatch(r"-?[0-9]+\.[0-9]+", text)
    assert float(text) == value


@given(st.text())
def test_a_string_stays_one_token(text):
    """No text can end its string literal."""
    written = tql.condition(compare(Kind.STRING, "==", String(text))).removeprefix("x == ")
    assert json.loads(written) == text
    assert not re.search(r"[\x00-\x1f]", written)
    assert not re.search(r'(?<!\\)(\\\\)*"', written[1:-1])


@pytest.mark.parametrize(
    "parts,text",
    [
        (("id", "orig_h"), "id.orig_h"),
        (("id", "orig-h"), 'this["id"]["orig-h"]'),
        (("in",), 'this["in"]'),
        (('a"]',), r'this["a\"]"]'),
    ],
)
def test_names_that_need_quotes(parts, text):
    """A path with a name that TQL would read otherwise is a chain of quoted steps."""
    assert tql.path(parts) == text


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_a_field_name_stays_a_name(parts):
    """A path is bare identifiers or quoted steps, whatever the names are."""
    written = tql.path(tuple(parts))
    shape = r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*|this(\["(\\.|[^"\\])*"\])+'
    steps = re.fullmatch(shape, written, re.DOTALL)
    assert steps
    if written.startswith("this["):
        assert "".join(f"[{json.dumps(part, ensure_ascii=False)}]" for part in parts) in written


def test_unsupported_literals_raise():
    """A literal that no bound tree holds is an error of ours, not a query."""
    with pytest.raises(TypeError, match="no TQL"):
        tql.condition(
            compare(Kind.STRING, "==", Pattern("a")).__class__(
                column(Kind.STRING), Operator.EQ, ListLiteral((Null(),))
            )
        )
