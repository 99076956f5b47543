from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import language_strategies as language
from vastlab.errors import ExpressionSyntaxError
from vastlab.expression import normal_form, parse, parse_query
from vastlab.expression.ast import Constant, Expr, FieldExtractor, Operator, Predicate
from vastlab.expression.literals import Null
from vastlab.expression.parser import parse_field, parse_literal
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
def test_parse_gives_recorded_normal_form(case):
    """Every construct of the language gives its tree, and its canonical text the same tree."""
    expr = parse(case["text"])
    assert (normal_form(expr), str(expr)) == (case["normal_form"], case["canonical"])
    assert parse(str(expr)) == expr


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["text"])
def test_syntax_error_has_position_and_expected(case):
    """An invalid expression gives the recorded position and message."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(case["text"])
    error = caught.value
    found = (error.position, list(error.expected), error.message, error.hint)
    assert found == (case["position"], case["expected"], case["message"], case["hint"])
    assert str(error).endswith("^")


def test_corpus(shared):
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


def test_empty_query_matches_every_event():
    """An empty query matches every event; an empty or blank expression is an error."""
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
def test_query_may_start_with_where(text, expression):
    """``where`` before an expression is ignored, unless it is a field name."""
    assert parse_query(text) == parse(expression)


@pytest.mark.parametrize(
    "text, extractor, canonical",
    [
        ("`@timestamp`", FieldExtractor("@timestamp"), "`@timestamp`"),
        ("`plain`", FieldExtractor("plain"), "plain"),
        ("record.`odd name`.x", FieldExtractor("record.odd name.x"), "record.`odd name`.x"),
        ("`a.b`.c", FieldExtractor("a.b.c", ("a.b", "c")), "`a.b`.c"),
        ("`null`", FieldExtractor("null"), "`null`"),
        ("`10`.0.0.1", FieldExtractor("10.0.0.1"), "`10`.0.0.1"),
        ("5.`a b`", FieldExtractor("5.a b"), "5.`a b`"),
        ("`-a`.-b", FieldExtractor("-a.-b"), "`-a`.-b"),
        ("``", FieldExtractor(""), "``"),
        (r"`\`\\\x2f\u200b\U0001F600`", FieldExtractor("`\\/\u200b\U0001f600"), None),
    ],
)
def test_names_in_backticks(text, extractor, canonical):
    """Backticks hold any name; it is printed with them only where it needs them."""
    expr = parse(f"{text} == 1")
    assert expr.extractor == extractor
    assert canonical is None or str(extractor) == canonical
    assert parse_field(text) == parse_field(str(extractor)) == extractor
    assert parse(str(expr)) == expr


def test_normal_form_of_quoted_path():
    """Where a name holds a dot, the parts of the path are apart in the normal form."""
    assert normal_form(parse("`a.b`.c")) == '(!= (field "a.b" "c") null)'
    assert normal_form(parse("a.b.c")) == '(!= (field "a.b.c") null)'


@pytest.mark.parametrize("text", ["", "a b", "`a", "`a`b", "a == 1", ":ip", "a.", "`\ud800`"])
def test_parse_field_rejects_other_text(text):
    """Only the name of a field is one."""
    assert parse_field(text) is None


@pytest.mark.parametrize(
    "text, position, message, hint",
    [
        ("`a", 2, "the name in backticks is not closed", None),
        (r"`a\q`", 2, "unknown escape sequence", None),
        (r"`a\x2`", 2, "unknown escape sequence", None),
        (r"`a\ud800`", 2, "the escape sequence is not a Unicode character", None),
        (r"`a\U00110000`", 2, "the escape sequence is not a Unicode character", None),
        ("`a\nb`", 2, "the name contains a control character", r"… such as \x0a …"),
        ("`a`b", 3, "unexpected 'b'", "the name ended at the backtick…"),
        ("x`a`", 1, "unexpected '`'", None),
        ("@timestamp > 5", 0, "unexpected '@'", "… in backticks: `@timestamp`"),
        ("a && not Flow Bytes/s > 5", 14, "…", "… in backticks: `Flow Bytes/s`"),
        ("(event@x)", 6, "…", "… in backticks: `event@x`"),
        (r"a\b", 1, "…", r"… in backticks: `a\\b`"),
        ("résumé", 1, "…", "… in backticks: `résumé`"),
        ("ts > @yesterday", 5, "unexpected '@'", None),
        ("src/24", 3, "…", "only an IP address can have a prefix length"),
        ("x " + "@" * 100 + "a", 2, "…", None),
        ('"Flow Bytes/s" == 5', 0, "…", "write a field name without double quotes: `Flow …"),
        ('"" == 5', 0, "…", "write a field name without double quotes"),
        ("a == `b`", 5, "…", 'put a string in double quotes: "b"'),
        (r"a == `b\x0a`", 5, "a field cannot be compared with another field", None),
    ],
)
def test_errors_in_names(text, position, message, hint):
    """An error in a name has the position and a hint."""
    error = outcome(text)
    assert isinstance(error, ExpressionSyntaxError)
    assert error.position == position
    assert message in ("…", error.message)
    assert (hint is None) == (error.hint is None)
    assert all(part in str(error.hint) for part in str(hint).split("…"))


@pytest.mark.parametrize(
    "text, position, hint",
    [
        ("where a == 1 | head 3", 13, "pipelines are not supported; did you mean '||'?"),
        ("where a = 1", 8, "did you mean '=='?"),
    ],
)
def test_position_of_error_after_where(text, position, hint):
    """The position counts from the start of the whole text."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse_query(text)
    assert (caught.value.position, caught.value.hint) == (position, hint)


@hypothesis.given(language.expressions())
def test_printed_expression_parses_to_equal_tree(expr):
    """The text of any tree parses to an equal tree."""
    assert parse(str(expr)) == expr


@hypothesis.given(language.literals())
def test_printed_literal_parses_to_equal_literal(literal):
    """The text of any literal is a literal of the same value."""
    assert parse(f"x == {literal}") == Predicate(FieldExtractor("x"), Operator.EQ, literal)


@hypothesis.given(language.expressions())
def test_parsed_tree_is_normalised(expr):
    """Normalising what was parsed changes nothing."""
    parsed = parse(str(expr))
    assert normalise(parsed) == parsed


@hypothesis.given(language.expressions(), language.expressions(), language.expressions())
def test_precedence_of_connectives(a, b, c):
    """`and` binds tighter than `or`, words and signs are the same, negation takes a group."""
    words = parse(f"({a}) or ({b}) and not ({c})")
    assert words == parse(f"({a}) || (({b}) && !({c}))")
    assert parse(f"!(!({a}) || !({b}))") == parse(f"({a}) && ({b})")


BLANKS = st.lists(st.sampled_from((" ", "\t", "\n", "\v", "\f", "\r", "/* a */", "/**/"))).map(
    "".join
)


@hypothesis.given(BLANKS, BLANKS, BLANKS, BLANKS)
def test_blanks_and_comments_are_ignored(a, b, c, d):
    """They are allowed before, between and after tokens."""
    assert parse(f"{a}!{b}({c}x{d}=={a}1{b})") == parse("x != 1")


@hypothesis.given(st.text() | st.text('()[]{}<>!&|="/\\#:$@+-.,0123456789abdinmnosty \t*'))
def test_any_text_parses_or_is_a_syntax_error(text):
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
def test_mutated_text_parses_or_is_a_syntax_error(text):
    """Near misses of the language are read or refused, too."""
    found = outcome(text)
    if isinstance(found, ExpressionSyntaxError):
        assert found.expected
        assert 0 <= found.position <= len(text)
        assert str(found)
    else:
        assert parse(str(found)) == found


@hypothesis.given(st.binary())
def test_decoded_bytes_parse_or_are_a_syntax_error(data):
    """Lone surrogates, too, are refused and not passed on."""
    outcome(data.decode("utf-8", "surrogateescape"))


def test_unpaired_surrogate_is_an_error():
    """A lone surrogate cannot be sent anywhere."""
    error = outcome('x == "\ud800"')
    assert isinstance(error, ExpressionSyntaxError)
    assert (error.position, error.message) == (6, "unpaired surrogate character")


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
def test_deep_nesting_is_an_error(text):
    """Ten thousand levels are an error that says so."""
    error = outcome(text)
    assert isinstance(error, ExpressionSyntaxError)
    assert "nested more than 100 levels deep" in str(error)


def test_moderate_nesting_is_accepted():
    """A hundred brackets are fine, and so are any number of negations."""
    assert parse("(" * 100 + "a" + ")" * 100) == parse("a")
    assert parse("!" * (2 * DEEP) + "a") == parse("a")


def test_nearly_exhausted_stack_does_not_crash():
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
def test_long_texts(text):
    """A text of a megabyte is parsed in linear time."""
    assert isinstance(outcome(text), Expr | ExpressionSyntaxError)


@pytest.mark.parametrize("name", ["99999999999999999999x", "9999-01-01x", "400yx", "1.0e999x"])
def test_field_name_that_starts_like_a_large_number(name):
    """A value that is too large is an error only where it is a value."""
    assert parse(f"{name} == 1").extractor == FieldExtractor(name)


def test_limits_of_64_bit_numbers():
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


def test_field_named_like_a_keyword():
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
def test_parse_literal(text, expected):
    """A literal is parsed as in an expression; other text gives None."""
    found = parse_literal(text)
    assert found == (None if expected is None else parse(f"x == {expected}").literal)


@hypothesis.given(st.text() | mutated())
def test_parse_literal_equals_literal_in_expression(text):
    """A parsed literal equals the literal after an operator."""
    found = parse_literal(text)
    if found is not None:
        assert parse(f"x == {text}") == Predicate(FieldExtractor("x"), Operator.EQ, found)


def test_error_for_list_of_schema_names_has_hint():
    """The hint for several schema names is a valid expression."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse('#type in ["zeek.conn", "zeek.dns"]')
    assert caught.value.hint == 'write #type == "zeek.conn" || #type == "zeek.dns"'
    assert parse(caught.value.hint.removeprefix("write "))


EXTREMES = (
    "1e-999999999",
    "1e999999999",
    "1.0e-999999999",
    "1.0e999999999",
    "9" * 5_000,
    "0." + "0" * 5_000 + "1",
    "0." + "0" * 5_000 + "1e5001",
    "1e" + "9" * 5_000,
    "9" * 5_000 + "." + "9" * 5_000,
)
PLACES = (
    "{}", "@{}", "{}s", "{} ago", "now - {}y", "in {}s", "2023-01-01T00:00:{}", "{}Ki", "::/{}",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", EXTREMES, ids=lambda number: f"{number[:8]}-{len(number)}")
def test_numbers_of_any_size_take_linear_time(number, place):
    """No exponent and no number of digits takes more than its length, or fails otherwise."""
    for sign in ("", "-", "+"):
        text = place.format(sign + number)
        for expression in (text, f"x > {text}", f"x in [{text}]", f":time == {text}"):
            found = outcome(expression)
            if not isinstance(found, ExpressionSyntaxError):
                assert parse(str(found)) == found
        literal = parse_literal(text)
        assert literal is None or parse_literal(str(literal)) == literal
