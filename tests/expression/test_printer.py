from __future__ import annotations

import dataclasses
import re

import hypothesis
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import strategies as st

from tests import language_strategies as language
from tests.vast_language import without_additions
from vastlab.errors import ExpressionSyntaxError
from vastlab.expression import literals, parse
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Column,
    Constant,
    FieldExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
    echo,
)
from vastlab.expression.literals import (
    IP,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Null,
    Parameter,
    Pattern,
    RecordLiteral,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.parameters import bind
from vastlab.expression.rewrite import lower, predicates
from vastlab.types import Field, Kind, Leaf, Type

FIELD = FieldExtractor("f")
UNQUOTABLE = language.texts().filter(lambda text: not literals.is_quotable(text))


def full_match(regex: str, text: str) -> bool:
    """Answer as VAST's equality with a pattern does; RE2, as VAST has it."""
    anchored = rf"\A(?:{regex})\z"
    return pc.match_substring_regex(pa.scalar(text, pa.large_string()), anchored).as_py()


def pattern_in(text: str) -> str:
    """Read the regex between the slashes."""
    return parse(f"x == {text}").literal.regex


BLANKS = tuple(" \t\n\v\f\r")
NUMBERS = {Kind.INT64: Int64, Kind.UINT64: UInt64, Kind.DOUBLE: Double}


@hypothesis.given(language.expressions().map(lower))
def test_lowered_text_is_valid_in_vast(expr):
    """VAST's own grammar reads the printed text, and its checks of types accept it."""
    text = str(expr)
    with without_additions():
        assert parse(text) == expr
    assert not text.startswith((*BLANKS, "/*"))
    for predicate in predicates(expr):
        match predicate:
            case Predicate(TypeExtractor(Type(kind=kind)), operator, Int64() | UInt64() | Double()):
                in_list = operator.positive is Operator.NI
                assert in_list or isinstance(predicate.literal, NUMBERS[kind])
            case Predicate(TypeExtractor(), operator, Pattern()):
                assert operator.positive is not Operator.IN


@pytest.mark.parametrize("text", ["a and b", "not a", "+5s", "1e5 < x", "#schema == /x/", "[1e5]"])
def test_vast_rejects_additions(text):
    """What the test above takes away is really gone."""
    parse(text)
    with without_additions(), pytest.raises(ExpressionSyntaxError):
        parse(text)


def test_texts_printed_by_nodes_parse(shared):
    """What a VAST node printed of its queries is read, and printed with the same meaning."""
    path = shared / "golden" / "export" / "normalized_by_node.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        expr = parse(line.partition(": ")[2])
        assert parse(str(expr)) == expr


def test_durations_that_no_product_of_doubles_gives_are_sums():
    """What VAST would round is written in several units, and read as the same."""
    assert literals.duration(0) == "0s"
    assert literals.duration(2**63 - 1) == "106751d23h47m16s854ms775us807ns"
    assert literals.duration(2**53 + 1) == "104d5h59m59s254ms740us993ns"
    assert literals.duration(86_400 * 10**9 * 105 + 1 + 2**53) == "209d5h59m59s254ms740us993ns"
    assert literals.duration(200 * 86_400 * 10**9 + 300 * 10**9 + 3) == "200d5m3ns"
    assert parse(f"x == {literals.duration(2**63 - 1)}").literal == Duration(2**63 - 1)


@pytest.mark.parametrize(
    "nanoseconds, text",
    [
        (-2_208_988_800_000_000_000, "1900-01-01"),
        (-2_208_988_800_000_000_001, "@-2208988800.000000001"),
        (1_000_000_000, "1970-01-01T00:00:01"),
        (59_500_000_000, "1970-01-01T00:00:59.5"),
        (16_000_000_022, "1970-01-01T00:00:16.0000000225"),
    ],
)
def test_format_of_times(nanoseconds, text):
    """Times before the first year of dates are seconds; both are read as what they were."""
    assert literals.time(nanoseconds) == text
    assert parse(f"x == {text}").literal == Time(nanoseconds)


@hypothesis.given(language.INT64)
def test_a_double_product_gives_the_duration(nanoseconds):
    """VAST multiplies doubles: each part of a printed duration survives that."""
    units = {"w": 604_800e9, "d": 86_400e9, "h": 3600e9, "m": 60e9, "s": 1e9}
    units |= {"ms": 1e6, "us": 1e3, "ns": 1.0}
    parts = re.findall(r"(-?[0-9]+)([a-z]+)", literals.duration(nanoseconds))
    assert sum(int(float(count) * units[unit]) for count, unit in parts) == nanoseconds
    assert not any(int(count) <= 0 for count, _ in parts[1:])


@hypothesis.given(st.integers(-2_208_988_800_000_000_000, 2**63 - 1))
def test_a_double_fraction_gives_the_time(nanoseconds):
    """Reading the seconds as a double and truncating to nanoseconds gives the same time."""
    text = literals.time(nanoseconds)
    seconds = float(text.rpartition(":")[2]) if ":" in text else 0.0
    assert int(seconds * 10**9) == nanoseconds % (60 * 10**9)


@hypothesis.given(UNQUOTABLE, language.texts())
def test_unquotable_string_becomes_a_pattern(text, other):
    """The pattern matches this text and no other."""
    regex = pattern_in(str(String(text)))
    assert full_match(regex, text)
    assert full_match(regex, other) == (text == other)


@hypothesis.given(UNQUOTABLE, language.texts(), language.texts())
def test_search_for_unquotable_string_uses_a_pattern(text, before, behind):
    """`ni` such a text becomes a match of the texts that contain it, `!ni` of the others."""
    contains = parse(str(Predicate(FIELD, Operator.NI, String(text))))
    lacks = parse(str(Predicate(FIELD, Operator.NOT_NI, String(text))))
    assert (contains.operator, lacks.operator) == (Operator.EQ, Operator.NE)
    assert contains.literal == lacks.literal
    assert full_match(contains.literal.regex, before + text + behind)
    assert full_match(contains.literal.regex, before) == (text in before)


def test_search_in_lists_is_unchanged():
    """In a list, `ni` looks for an element: a pattern there matches whole elements."""
    strings = TypeExtractor(Type(Kind.LIST, item=Type(Kind.STRING)))
    assert str(Predicate(strings, Operator.NI, String("\n"))) == r":list<string> ni /^\x0a$/"
    assert str(Predicate(FIELD, Operator.IN, ListLiteral((String("\n"),)))) == r"f in [/^\x0a$/]"


def test_quotable_texts_stay_strings():
    """Only odd backslashes before a quote or the end, and control characters, need a pattern."""
    for text in ("", "a", '"', "\\\\", r"a\b", r"\\" + '"', "\x80", "é"):
        assert str(String(text)).startswith('"'), text
        assert parse(f"x == {String(text)}").literal == String(text)
    for text in ("\\", '\\"', "\\\\\\", "\n", "\x7f", 'a\\"b'):
        assert str(String(text)).startswith("/^"), text


@hypothesis.given(st.text("\\/ab\n.", max_size=6))
def test_a_regex_survives_its_slashes(regex):
    """Slashes and control characters in a pattern are escaped so that it means the same."""
    hypothesis.assume(not re.search(r"(?<!\\)(\\\\)*\\(\Z|a|b)", regex))
    read = pattern_in(str(Pattern(regex)))
    for text in ("", "a", "b", "/", "\\", "ab", "a/b", "\n", ".", "\\a", regex):
        assert full_match(read, text) == full_match(regex, text)


def test_addresses_that_begin_like_a_duration_are_in_capitals():
    """VAST would read `5d::1` as five days and a rest."""
    address = IP(bytes([0, 0x5D]) + bytes(13) + b"\x01")
    assert str(address) == "5D::1"
    assert parse("x == 5D::1").literal == address


def test_a_record_never_reads_an_address_as_a_name():
    """Without names, addresses and networks are written in full; other values are as ever."""
    record = RecordLiteral((("", IP(bytes([0, 0xA, 0, 0xB]) + bytes(12))),))
    assert str(record) == "<000a:000b:0000:0000:0000:0000:0000:0000>"
    assert parse(f"x == {record}").literal == record
    record = RecordLiteral((("", String("a")), ("", Subnet(bytes([0, 0xA]) + bytes(14), 16))))
    assert str(record) == '<"a", 000a:0000:0000:0000:0000:0000:0000:0000/16>'
    assert parse(f"x == {record}").literal == record


def test_numbers_keep_the_dot_of_a_real():
    """A double is never printed like an integer."""
    assert [str(Double(value)) for value in (1.0, 1e22, 5e-324, float("-inf"), 3)] == [
        "1.0",
        "1.0e+22",
        "5.0e-324",
        "-inf",
        "3.0",
    ]


def test_parentheses_only_where_needed():
    """Only a disjunction inside a conjunction, and what is negated, is bracketed."""
    a, b, c = (Predicate(FieldExtractor(name), Operator.NE, Null()) for name in "abc")
    assert str(And((a, Or((b, c))))) == "a != null && (b != null || c != null)"
    assert str(Or((a, And((b, c))))) == "a != null || b != null && c != null"
    assert str(And((Not(And((a, b))), c))) == "!(a != null && b != null) && c != null"


def test_constants_have_a_text_of_their_own():
    """True is printed as an empty text; inside a tree, constants are comparisons valid in VAST."""
    assert (str(Constant(True)), str(Constant(False))) == ("", '#type == ""')
    mixed = Or((Constant(True), Not(Constant(True)), Constant(False)))
    assert str(mixed) == '#type != "" || !(#type != "") || #type == ""'


def test_bound_trees_are_shown_by_their_paths():
    """What `explain` shows names the leaves in full."""
    column = Column(Leaf(("id", "orig_h"), Type(Kind.IP), "id.orig_h"))
    assert str(Predicate(column, Operator.EQ, Null())) == "id.orig_h == null"


def test_bare_values_without_a_type_print_as_they_are():
    """Bare null, empty lists and parameters are printed without a type."""
    nothing = TypeExtractor(None)
    assert str(Predicate(nothing, Operator.EQ, Null())) == "null"
    assert str(Predicate(nothing, Operator.NE, Parameter("x"))) == "!$x"
    assert str(Predicate(nothing, Operator.LT, UInt64(1))) == ":null < 1"
    assert str(Predicate(AliasExtractor("port"), Operator.EQ, UInt64(1))) == ":port == 1"
    assert literals.type_name(Type(Kind.MAP)) == "map"


def test_printed_search_for_unquotable_string():
    """`ni` and `!ni` of a text that quotes cannot hold ask for any text around it."""
    contains, lacks = (
        str(Predicate(FIELD, operator, String("\n"))) for operator in (Operator.NI, Operator.NOT_NI)
    )
    assert contains == r"f == /(?s:.*)\x0a(?s:.*)/"
    assert lacks == r"f != /(?s:.*)\x0a(?s:.*)/"


@pytest.mark.parametrize(
    "text",
    [
        '"example" in query && orig_bytes > 1Mi',
        "10.0.0.0/8 ni src_ip || 5 == x",
        "1e5 < x && ts > now - 90s",
        "x in [1Mi, 2]",
        "/a/ == x",
    ],
)
def test_an_echo_is_what_was_written(text):
    """Values keep their spelling and their side."""
    assert echo(parse(text)) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ('!("a" in x)', '"a" !in x'),
        ("not 5 == x", "5 != x"),
        ("x == 1 and (y == 2k or z)", "x == 1 && (y == 2k || z != null)"),
    ],
)
def test_an_echo_moves_negations_into_operators(text, shown):
    """What the tree does not keep is printed in the usual form."""
    assert echo(parse(text)) == shown


@hypothesis.given(language.expressions(), st.data())
def test_an_echo_means_the_same(expr, data):
    """Whichever side the values were on, the echo is read as the same expression."""
    text = str(expr)
    swapped = f"!({text})" if data.draw(st.booleans()) else text
    tree = parse(swapped)
    assert parse(echo(tree)) == tree
    for predicate in predicates(tree):
        if predicate.written is not None:
            turned = f"{predicate.written.text} {predicate.operator.flipped.value} "
            turned += str(predicate.extractor)
            assert parse(echo(parse(turned))) == parse(turned) == predicate


def test_a_replaced_literal_is_not_echoed():
    """A parameter's value is shown in its place."""
    assert echo(bind(parse("$port == resp_p"), {"port": 80})) == "resp_p == 80"


def test_a_complement_is_printed():
    """Resolved models have some."""
    assert str(Not(parse("a == 1"))) == "!(a == 1)"


def test_the_attributes_of_a_record_do_not_change_how_its_type_is_written():
    """Only type algebra has no braces; a schema may give a record any attribute."""
    plain = Type(Kind.RECORD, fields=(Field("a", Type(Kind.INT64)),))
    for type_ in (plain, dataclasses.replace(plain, attributes=(("index", ""),))):
        assert literals.type_name(type_) == "record{a: int64}"
    assert literals.type_name(Type(Kind.RECORD, attributes=(("index", ""),))) == "record{}"
