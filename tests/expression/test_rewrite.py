from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import language_strategies as language
from tests.reference_evaluator import answers
from vastlab.errors import ExpressionError
from vastlab.expression import literals as lit
from vastlab.expression import parse
from vastlab.expression.ast import (
    And,
    Constant,
    Expr,
    FieldExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import is_quotable
from vastlab.expression.rewrite import (
    any_field_equals,
    at,
    literals_of,
    lower,
    map_literals,
    normalise,
    predicates,
    typed,
)
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Schema, Type

LABELS = (("red", 0), ("green", 7))
SCHEMA = Schema(
    "test.event",
    (
        Field("ip", Type(Kind.IP)),
        Field("text", Type(Kind.STRING)),
        Field("enum", Type(Kind.ENUM, labels=LABELS)),
        Field("int64", Type(Kind.INT64)),
        Field("uint64", Type(Kind.UINT64)),
        Field("double", Type(Kind.DOUBLE)),
        Field("other", Type(Kind.DOUBLE)),
    ),
)
FEW_ADDRESSES = st.binary(min_size=1, max_size=1).map(
    lambda last: bytes(10) + b"\xff\xff\x0a\0\0" + last
)
FEW_TEXTS = st.text("ab\n", max_size=3)
FEW_NUMBERS = st.sampled_from((-(2**63), -1, 0, 1, 2, 2**53 + 1, 2**63 - 1, 2**64 - 1))
DOUBLES = st.sampled_from((-1.0, -0.5, 0.0, 0.5, 1.0, 2.0**53, 2.0**64, float("inf"), float("nan")))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "ip": st.none() | FEW_ADDRESSES,
            "text": st.none() | FEW_TEXTS,
            "enum": st.none() | st.sampled_from([label for label, _ in LABELS]),
            "int64": st.none() | FEW_NUMBERS.filter(lambda n: n < 2**63),
            "uint64": st.none() | FEW_NUMBERS.filter(lambda n: n >= 0),
            "double": st.none() | DOUBLES,
            "other": st.none() | DOUBLES,
            "#import_time": st.just(0),
        }
    ),
    max_size=6,
)
NETWORKS = st.builds(
    lambda packed, length: lit.Subnet(*_masked(packed, length)),
    FEW_ADDRESSES,
    st.integers(118, 128),
)
MEMBERS = {
    "ip": FEW_ADDRESSES.map(lit.IP) | NETWORKS,
    "text": FEW_TEXTS.filter(is_quotable).map(lit.String)
    | st.sampled_from((lit.Pattern("a+"), lit.Pattern("B", ignore_case=True))),
    "enum": st.sampled_from([lit.String(label) for label, _ in LABELS]),
}
MEMBERSHIP = (Operator.IN, Operator.NOT_IN)


def _masked(packed: bytes, length: int) -> tuple[bytes, int]:
    number = int.from_bytes(packed) >> (128 - length) << (128 - length)
    return number.to_bytes(16), length


def same_answers(first: Expr, second: Expr, rows: list[dict[str, object]]) -> bool:
    """Whether two trees select the same rows of the test schema."""
    return answers(first, SCHEMA, rows, Taxonomy()) == answers(second, SCHEMA, rows, Taxonomy())


@st.composite
def membership(draw) -> Expr:
    field = draw(st.sampled_from(sorted(MEMBERS)))
    items = draw(st.lists(MEMBERS[field], max_size=4))
    extractor = FieldExtractor(field)
    if field == "ip" and draw(st.booleans()):
        extractor = TypeExtractor(Type(Kind.IP))
    operator = draw(st.sampled_from(MEMBERSHIP))
    return Predicate(extractor, operator, lit.ListLiteral(tuple(items)))


@hypothesis.given(membership(), ROWS)
def test_lowered_lists_select_the_same_rows(predicate, rows):
    """Networks, strings and labels taken out of a list select the same rows as the list."""
    lowered = lower(predicate)
    assert same_answers(lowered, predicate, rows)
    assert not any(
        isinstance(item, lit.Subnet)
        for found in predicates(lowered)
        if isinstance(found.literal, lit.ListLiteral)
        for item in found.literal.items
    )


@hypothesis.given(
    st.sampled_from(["a", "^b", "a$", "a|b", r"\Qa", r"\Qb\E$", "(?i)B", "a.b", ""]),
    st.booleans(),
    st.sampled_from(MEMBERSHIP),
    ROWS,
)
def test_a_lowered_search_finds_the_same_texts(regex, ignore_case, operator, rows):
    """`in /regex/` as a match of the whole text finds what the search finds."""
    pattern = lit.Pattern(regex, ignore_case)
    for extractor in (FieldExtractor("text"), TypeExtractor(Type(Kind.STRING))):
        search = Predicate(extractor, operator, pattern)
        lowered = lower(search)
        assert lowered.operator in (Operator.EQ, Operator.NE)
        assert same_answers(lowered, search, rows)


def test_networks_and_texts_are_taken_out_of_lists():
    """What VAST does not look for in a list becomes a comparison of its own."""
    lowered = {
        'x in [10.0.0.0/8, "a", 1]': 'x in 10.0.0.0/8 || x == "a" || x in [1]',
        "x !in [10.0.0.0/8, 10.1.0.1]": "x !in 10.0.0.0/8 && x !in [10.1.0.1]",
        ":ip in [10.0.0.0/8]": ":ip in 10.0.0.0/8",
        'x in ["a"]': 'x == "a"',
    }
    for text, expected in lowered.items():
        assert str(lower(parse(text))) == expected, text


def test_open_quotation_in_search_is_closed():
    """An open quotation is closed; an escaped backslash does not open one."""
    for regex, inner in {r"\Qa(": r"\Qa(\E", r"\\Qa": r"\\Qa", r"\Qa\Eb": r"\Qa\Eb"}.items():
        lowered = lower(parse(f"x in /{regex}/"))
        assert lowered.literal == lit.Pattern(f"(?s:.*)(?:{inner})(?s:.*)")
        assert parse(str(lowered)) == lowered


def test_time_beyond_64_bits_is_an_error():
    """Now and an offset together may be more than a time can be."""
    with pytest.raises(ExpressionError, match=r"out of range: now \+ 106751d"):
        at(parse("x < now + 106751d"), 1_684_934_055_000_000_000)


@hypothesis.given(
    st.sampled_from((Kind.INT64, Kind.UINT64, Kind.DOUBLE)),
    st.sampled_from([op for op in Operator if op.is_ordering] + [Operator.EQ, Operator.NE]),
    FEW_NUMBERS | DOUBLES,
    ROWS,
)
def test_typed_numbers_select_the_same_rows(kind, operator, number, rows):
    """A number in the spelling of its type compares as the number does by value."""
    literal = lit.Double(number) if isinstance(number, float) else lit.UInt64(number)
    if isinstance(number, int) and number < 2**63:
        literal = lit.Int64(number)
    predicate = Predicate(TypeExtractor(Type(kind)), operator, literal)
    spelled = typed(predicate)
    assert isinstance(spelled.literal, _CLASSES[kind] | lit.ListLiteral)
    assert same_answers(spelled, predicate, rows)


_CLASSES = {Kind.INT64: lit.Int64, Kind.UINT64: lit.UInt64, Kind.DOUBLE: lit.Double}


@hypothesis.given(language.expressions())
def test_lowering_twice_changes_nothing(expr):
    """A lowered tree contains only what VAST supports."""
    lowered = lower(expr)
    assert lower(lowered) == lowered
    assert parse(str(lowered)) == lowered
    for predicate in predicates(lowered):
        if isinstance(predicate.extractor, FieldExtractor):
            assert not isinstance(predicate.literal, lit.Pattern) or (
                predicate.operator not in MEMBERSHIP
            )


def test_lists_valid_in_vast_are_unchanged():
    """Lists compared with other types than addresses, and lists of numbers or patterns, stay."""
    for text in (
        "x in [1, /a/, null]",
        ':string in ["a"]',
        ":subnet in [10.0.0.0/8]",
        "x !in []",
        "#type in /conn/",
        ":ip in [10.0.0.1]",
    ):
        assert str(lower(parse(text))) == text


def test_comparison_without_vast_syntax_is_an_error():
    """An ordering, or the texts inside a text, have no other spelling."""
    strange = lit.String("a\nb")
    for operator in (Operator.LT, Operator.GE, Operator.IN, Operator.NOT_IN):
        with pytest.raises(
            ExpressionError, match=r"VAST has no syntax for this string after .*'a\\nb'"
        ):
            lower(Predicate(FieldExtractor("x"), operator, strange))
    for operator in (Operator.EQ, Operator.NE, Operator.NI, Operator.NOT_NI):
        predicate = Predicate(FieldExtractor("x"), operator, strange)
        assert lower(predicate) == predicate


@hypothesis.given(language.expressions(), st.integers(0, 2**62))
def test_times_become_fixed(expr, now):
    """No relative time is left, and everything else stays."""
    offsets = [v.nanoseconds for v in literals_of(expr) if isinstance(v, lit.RelativeTime)]
    if not all(-(2**63) <= now + offset < 2**63 for offset in offsets):
        with pytest.raises(ExpressionError, match="the time is out of range"):
            at(expr, now)
        return
    fixed = at(expr, now)
    assert not any(isinstance(value, lit.RelativeTime) for value in literals_of(fixed))
    assert fixed == map_literals(
        expr,
        lambda v: lit.Time(now + v.nanoseconds) if isinstance(v, lit.RelativeTime) else v,
    )


@hypothesis.given(language.expressions())
def test_identity_mapping(expr):
    """Replacing every literal by itself does not change the tree."""
    assert map_literals(expr, lambda literal: literal) == expr
    assert len(list(predicates(Not(expr)))) == len(list(predicates(expr)))


def test_walks_include_constants_and_negations():
    """Trees that are not from a text are walked, too."""
    tree = Not(And((Constant(True), parse("a == <b: {1 -> [2]}>"))))
    assert [str(value) for value in literals_of(tree)] == [
        "<b: {1 -> [2]}>",
        "{1 -> [2]}",
        "1",
        "[2]",
        "2",
    ]
    assert map_literals(tree, lambda value: value) == tree
    one_more = map_literals(tree, lambda v: lit.UInt64(v.value + 1) if type(v) is lit.UInt64 else v)
    assert one_more == Not(And((Constant(True), parse("a == <b: {2 -> [3]}>"))))


def test_relative_times_become_fixed_everywhere():
    """Times in lists are fixed like others, and other literals stay."""
    fixed = at(parse("x in [now, now - 1s, 5]"), 10**9)
    assert str(fixed) == "x in [1970-01-01T00:00:01, 1970-01-01, 5]"
    assert str(at(parse("x > now || y < 5"), 10**9)) == "x > 1970-01-01T00:00:01 || y < 5"


def test_normalise_constants():
    """A normalised tree contains no constant except as its root."""
    a = parse("a")
    yes, no = Constant(True), Constant(False)
    assert normalise(And((a, yes))) == a
    assert normalise(And((a, no))) == no
    assert normalise(Or((a, yes))) == yes
    assert normalise(Not(Or((no, no)))) == yes
    assert normalise(Not(And((a, yes)))) == parse("!a")


def test_bare_subnet_includes_addresses():
    """The short form of a network looks at networks and at addresses."""
    net = parse("x == 10.0.0.0/8").literal
    assert any_field_equals(net) == parse(":subnet == 10.0.0.0/8 || :ip in 10.0.0.0/8")
