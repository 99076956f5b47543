from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import language_strategies as language
from vastlab.errors import ExpressionSyntaxError
from vastlab.expression import normal_form, parse, parse_query
from vastlab.expression.ast import Constant, Expr, FieldExtractor, Predicate
from vastlab.expression.literals import Null
from vastlab.expression.operators import Operator
from vastlab.expression.parser import parse_literal
from vastlab.expression.rewrite import normalise

HERE = Path(__file__).parent
VALID = json.loads((HERE / "valid.json").read_text(encoding="utf-8"))
INVALID = json.loads((HERE / "invalid.json").read_text(encoding="utf-8"))
TEXTS = [case["text"] for case in (*VALID, *INVALID)]
DEEP = 10_000


def outcome(text: str) -> Expr | ExpressionSyntaxError:
    try:
        return parse(text)
    except ExpressionSyntaxError as error:
        return error


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["text"])
def test_a_text_means_what_is_recorded(case):
    """Every construct of the language gives its tree, and its canonical text the same tree."""
    expr = parse(case["text"])
    assert (normal_form(expr), str(expr)) == (case["normal_form"], case["canonical"])
    assert parse(str(expr)) == expr


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["text"])
def test_an_error_says_where_and_what_was_expected(case):
    """A text that is no expression is refused at the recorded place with the recorded words."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(case["text"])
    error = caught.value
    found = (error.position, list(error.expected), error.message, error.hint)
    assert found == (case["position"], case["expected"], case["message"], case["hint"])
    assert str(error).endswith("^")


def test_the_corpus_gets_its_verdicts(shared):
    """Every text of the corpus is accepted or refused as recorded, with its normal form."""
    lines = (shared / "corpus" / "expressions.jsonl").read_text(encoding="utf-8").splitlines()
    for entry in map(json.loads, lines):
        found = outcome(entry["expr"])
        if not entry["vastlab"]:
            assert isinstance(found, ExpressionSyntaxError), entry
            assert found.expected, entry
            assert 0 <= found.position <= len(entry["expr"]), entry
            continue
        assert not isinstance(found, ExpressionSyntaxError), entry
        assert normal_form(found) == entry.get("normal_form", normal_form(found)), entry
        assert parse(str(found)) == found, entry


def test_no_text_asks_for_everything():
    """A query without a text asks for every event; as an expression it is none, like blanks."""
    assert parse_query("") == Constant(True)
    assert parse_query("a == 1") == parse("a == 1")
    assert isinstance(outcome(""), ExpressionSyntaxError)
    assert isinstance(outcome(" \n"), ExpressionSyntaxError)
    with pytest.raises(ExpressionSyntaxError):
        parse_query(" ")


@pytest.mark.parametrize(
    "text, expression",
    [
        ("where a == 1", "a == 1"),
        (" where\n! (a == 1 || b)", "! (a == 1 || b)"),
        ("where -42", "-42"),
        ("where where == 1", "where == 1"),
        ("where == 1", "where == 1"),
        ("where", "where"),
    ],
)
def test_a_query_may_begin_with_where(text, expression):
    """What VAST 3.1 wants in front of an expression is no part of it, unless it is a field."""
    assert parse_query(text) == parse(expression)


@pytest.mark.parametrize(
    "text, position, hint",
    [
        ("where a == 1 | head 3", 13, "pipelines are not expressions; write || or or"),
        ("where a = 1", 8, "write == for equality"),
    ],
)
def test_an_error_behind_where_keeps_its_place(text, position, hint):
    """The position counts from the start of the whole text."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse_query(text)
    assert (caught.value.position, caught.value.hint) == (position, hint)


@hypothesis.given(language.expressions())
def test_what_is_printed_is_read_again(expr):
    """The text of any tree parses to an equal tree."""
    assert parse(str(expr)) == expr


@hypothesis.given(language.literals())
def test_a_printed_literal_is_read_again(literal):
    """The text of any literal is a literal of the same value."""
    assert parse(f"x == {literal}") == Predicate(FieldExtractor("x"), Operator.EQ, literal)


@hypothesis.given(language.expressions())
def test_a_parsed_tree_is_normal(expr):
    """Normalising what was parsed changes nothing."""
    parsed = parse(str(expr))
    assert normalise(parsed) == parsed


@hypothesis.given(language.expressions(), language.expressions(), language.expressions())
def test_connectives_have_their_precedence(a, b, c):
    """`and` binds tighter than `or`, words and signs are the same, negation takes a group."""
    words = parse(f"({a}) or ({b}) and not ({c})")
    assert words == parse(f"({a}) || (({b}) && !({c}))")
    assert parse(f"!(!({a}) || !({b}))") == parse(f"({a}) && ({b})")


BLANKS = st.lists(st.sampled_from((" ", "\t", "\n", "\v", "\f", "\r", "/* a */", "/**/"))).map(
    "".join
)


@hypothesis.given(BLANKS, BLANKS, BLANKS, BLANKS)
def test_blanks_and_comments_mean_nothing(a, b, c, d):
    """They may stand in front, between tokens and behind."""
    assert parse(f"{a}!{b}({c}x{d}=={a}1{b})") == parse("x != 1")


@hypothesis.given(st.text() | st.text('()[]{}<>!&|="/\\#:$@+-.,0123456789abdinmnosty \t*'))
def test_any_text_is_an_expression_or_a_syntax_error(text):
    """Whatever is typed, nothing else comes out."""
    found = outcome(text)
    if not isinstance(found, ExpressionSyntaxError):
        assert parse(str(found)) == found


@st.composite
def mutated(draw) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 3)))
        piece = draw(st.sampled_from(TEXTS) | st.text(max_size=3))
        start = draw(st.integers(0, len(piece)))
        text = text[:at] + piece[start : start + draw(st.integers(0, 5))] + text[end:]
    return text


@hypothesis.given(mutated())
def test_a_damaged_text_is_an_expression_or_a_syntax_error(text):
    """Near misses of the language are read or refused, too."""
    found = outcome(text)
    if isinstance(found, ExpressionSyntaxError):
        assert found.expected
        assert 0 <= found.position <= len(text)
        assert str(found)
    else:
        assert parse(str(found)) == found


@hypothesis.given(st.binary())
def test_bytes_read_as_text_are_an_expression_or_a_syntax_error(data):
    """Lone surrogates, too, are refused and not passed on."""
    outcome(data.decode("utf-8", "surrogateescape"))


def test_half_of_a_character_is_refused():
    """A lone surrogate cannot be sent anywhere."""
    error = outcome('x == "\ud800"')
    assert isinstance(error, ExpressionSyntaxError)
    assert (error.position, error.message) == (6, "half of a character")


@pytest.mark.parametrize(
    "text",
    [
        "(" * DEEP + "a" + ")" * DEEP,
        "!(" * DEEP + "a" + ")" * DEEP,
        "x in " + "[" * DEEP + "]" * DEEP,
        "x == " + "<a:" * DEEP + "1" + ">" * DEEP,
        "x == " + "{1->" * DEEP + "1" + "}" * DEEP,
        ":" + "list<" * DEEP + "int64" + ">" * DEEP,
        ":" + "record{a:" * DEEP + "int64" + "}" * DEEP,
        ":a + " + "record{a:" * DEEP + "int64" + "}" * DEEP,
    ],
    ids=lambda text: text[:8],
)
def test_deep_nesting_is_refused(text):
    """Ten thousand levels are an error that says so."""
    error = outcome(text)
    assert isinstance(error, ExpressionSyntaxError)
    assert "nested more than 100 levels deep" in str(error)


def test_nesting_that_people_write_is_accepted():
    """A hundred brackets are fine, and so are any number of negations."""
    assert parse("(" * 100 + "a" + ")" * 100) == parse("a")
    assert parse("!" * (2 * DEEP) + "a") == parse("a")


def test_a_stack_that_is_nearly_used_up_is_no_crash():
    """Close to the recursion limit the error is still a syntax error."""
    text = "(" * 99 + "a" + ")" * 99

    def deeper() -> Expr | ExpressionSyntaxError:
        try:
            return deeper()
        except RecursionError:
            return outcome(text)

    assert isinstance(deeper(), ExpressionSyntaxError)


@pytest.mark.parametrize(
    "text",
    [
        " || ".join(f'x == "{n}"' for n in range(50_000)),
        "x in [" + ", ".join(f"10.0.{n % 256}.0/24" for n in range(30_000)) + "]",
        "x == " + "1" * 1_000_000,
        "x == 1s" + "1s" * 200_000,
        "/*" * 500_000,
        "::" * 500_000,
        "not in " * 100_000,
        ":a" + " + b" * 100_000,
        "@1e-" + "9" * 1000,
    ],
    ids=lambda text: text[:8],
)
def test_long_texts_are_read_or_refused(text):
    """A megabyte is no problem: no part of the grammar looks back."""
    assert isinstance(outcome(text), Expr | ExpressionSyntaxError)


@pytest.mark.parametrize("name", ["99999999999999999999x", "9999-01-01x", "400yx", "1.0e999x"])
def test_what_only_begins_like_a_number_out_of_range_is_a_field(name):
    """A value that is too large is an error only where it is a value."""
    assert parse(f"{name} == 1").extractor == FieldExtractor(name)


def test_numbers_are_exact_or_refused():
    """Nothing wraps around at the ends of 64 bits."""
    for text, fits in {
        "18446744073709551615": True,
        "18446744073709551616": False,
        "+9223372036854775807": True,
        "+9223372036854775808": False,
        "-9223372036854775808": True,
        "-9223372036854775809": False,
        "16Ei": False,
        "15Ei": True,
        "106751d": True,
        "106752d": False,
        "2262-04-11T23:47:16.854775807": True,
        "2262-04-11T23:47:16.854775808": False,
        "@-9223372036.854775808": True,
        "@-9223372036.854775809": False,
    }.items():
        assert isinstance(outcome(f"x == {text}"), Predicate) == fits, text


def test_a_field_named_like_a_keyword_stays_a_field():
    """VAST's reading of `not`, `and`, `or`, `in` and `ni` comes first."""
    for name in ("not", "and", "or", "in", "ni", "ago", "true.x", "null_"):
        assert parse(f"{name} == 1 && {name} != 2 || ({name})").operands[1] == Predicate(
            FieldExtractor(name), Operator.NE, Null()
        )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("443", "443"),
        (" -1 /* less */ ", "-1"),
        ("1e5", "100000.0"),
        ("5s", "5s"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2023-05-24", "2023-05-24"),
        ('"two words"', '"two words"'),
        ("/a b/i", "/a b/i"),
        ("[22, 80]", "[22, 80]"),
        ("null", "null"),
        ("", None),
        ("two words", None),
        ("name", None),
        ("::name", None),
        (":ip", None),
        ("#type", None),
        ("$name", None),
        ("1 && x == 1", None),
        ("[1", None),
        ("99999999999999999999", None),
        ("\ud800", None),
    ],
)
def test_a_value_alone_is_told_from_other_text(text, expected):
    """A literal is read as in an expression; names, expressions and prose are none."""
    found = parse_literal(text)
    assert found == (None if expected is None else parse(f"x == {expected}").literal)


@hypothesis.given(st.text() | mutated())
def test_a_value_alone_is_what_it_is_in_an_expression(text):
    """What is a value alone is the same value behind an operator."""
    found = parse_literal(text)
    if found is not None:
        assert parse(f"x == {text}") == Predicate(FieldExtractor("x"), Operator.EQ, found)


def test_a_list_of_schema_names_is_spelled_out_in_the_error():
    """Who asks for one of several types is shown how that is written."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse('#type in ["zeek.conn", "zeek.dns"]')
    assert caught.value.hint == 'write #type == "zeek.conn" || #type == "zeek.dns"'
    assert parse(caught.value.hint.removeprefix("write "))
