"""RE2's patterns in Rust's engine, against RE2 itself."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionContext, col, functions, lit
from hypothesis import assume, given
from hypothesis import strategies as st

from vastlab.compile.regex import required, to_rust

ATOMS = (
    *"ab1 _-é\u0661{}],:<>&~",
    *(rf"\{c}" for c in "dDwWsSbBAztnrfva.[]{}()|^$-_/<>&~#\"'\\"),
    r"\0",
    r"\12",
    r"\101",
    r"\x41",
    r"\x{e9}",
    r"\pL",
    r"\PN",
    r"\p{Greek}",
    r"\P{^Lu}",
    r"\p{^Lu}",
    r"\Qa.]\E",
    r"\Q\E",
    r"\Q[",
    ".",
    "^",
    "$",
    "(?i)",
    "(?s)",
    "(?m)",
    "(?-s:.)",
    "(?U)",
    "{,2}",
    "{x}",
)
CLASS_ITEMS = (
    *"ab[&~-^é1",
    "&&",
    "~~",
    "a-z",
    "0-9",
    "+--",
    "!-~",
    r"\d",
    r"\D",
    r"\w",
    r"\W",
    r"\s",
    r"\-",
    r"\]",
    r"\x41-\x43",
    r"\12",
    r"\pL",
    "[:alpha:]",
    "[:^digit:]",
    "[:word:]",
    "[",
)
TEXTS = st.text(
    st.one_of(
        st.sampled_from('abAB19 _-\n\t\v\u0661é\u212a\u017f[]{}&~^.,:<>\\"\0'),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=6,
)


def patterns():
    """Patterns of what the engines read differently, joined in every way."""
    classes = st.builds(
        lambda no, first, items: f"[{no}{first}{''.join(items)}]",
        st.sampled_from(("", "^")),
        st.sampled_from(("", "]")),
        st.lists(st.sampled_from(CLASS_ITEMS), min_size=1, max_size=4),
    )
    atom = st.one_of(st.sampled_from(ATOMS), classes)
    return st.recursive(
        atom,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map("".join),
            st.builds(lambda a, b: f"{a}|{b}", inner, inner),
            st.builds(lambda a: f"({a})", inner),
            st.builds(lambda a: f"(?P<n>{a})", inner),
            st.builds(
                lambda a, b: f"(?:{a}){b}", inner, st.sampled_from(("*", "+?", "{1,2}", "{2}"))
            ),
        ),
        max_leaves=6,
    )


def is_quote_open(regex):
    """Tell whether a quotation runs to the end of a pattern."""
    return regex.rfind(r"\Q") > regex.rfind(r"\E")


def re2(regex, texts, *, ignore_case, full):
    """Ask RE2 itself; `None` for a pattern that it rejects."""
    closed = regex + r"\E" if is_quote_open(regex) else regex
    whole = rf"\A(?:{closed})\z" if full else regex
    array = pa.array(texts)
    try:
        pc.match_substring_regex(array, regex)
        return pc.match_substring_regex(array, whole, ignore_case=ignore_case).to_pylist()
    except pa.ArrowInvalid:
        return None


def rust(regex, texts, *, ignore_case, full):
    """Ask DataFusion."""
    pattern = to_rust(regex, ignore_case=ignore_case, full=full)
    batch = pa.RecordBatch.from_pydict({"x": pa.array(texts)})
    match = functions.regexp_like(col("x"), lit(pattern)).alias("m")
    return SessionContext().read_batches([batch]).select(match).to_pydict()["m"]


@given(patterns(), st.lists(TEXTS, min_size=3, max_size=8), st.booleans(), st.booleans())
def test_equals_re2(regex, texts, ignore_case, full):
    """Every pattern that RE2 accepts matches the same texts."""
    expected = re2(regex, texts, ignore_case=ignore_case, full=full)
    assume(expected is not None)
    assert rust(regex, texts, ignore_case=ignore_case, full=full) == expected


@pytest.mark.parametrize(
    "regex, text, expected",
    [
        (r"a\d", "a\u0661", False),
        (r"a\d", "a1", True),
        (r"\w", "é", False),
        (r"\s", "\v", False),
        (r"\bé", "é", False),
        (r"[[a]", "[", True),
        (r"[a&&b]", "&", True),
        (r"\Qa.c\E", "a.c", True),
        (r"\Qa.c", "abc", False),
        (r"\101", "A", True),
        (r"\<", "<", True),
        (r"{x}", "{x}", True),
        (r"(?<n>a)", "a", True),
        (r".", "\n", False),
        (r"\Aa\z", "a", True),
        (r"\p{^Lu}", "a", True),
        (r"\P{^Lu}", "A", True),
        (r"a{2}", "aa", True),
        (r"a{,2}", "a{,2}", True),
        (r"a}]", "a}]", True),
        (r"(?i:A)(b)", "ab", True),
        (r"(?:a\Q\E)*", "aaa", True),
        (r"[^\d]", "\u0661", True),
        (r"[^\D]", "\u0661", False),
        (r"[]a]", "]", True),
        (r"[a-]", "-", True),
        (r"[a-c]", "b", True),
        (r"[\x41-\x43]", "B", True),
        (r"[\]\-]", "-", True),
        (r"[[:alpha:]]", "x", True),
        (r"[[:^digit:]]", "1", False),
        (r"\x{e9}\x41", "éA", True),
        (r"\D\W\S", "x-x", True),
        (r"\a\f\t\n\r\v", "\a\f\t\n\r\v", True),
        (r"-\B", "-", True),
    ],
)
def test_known_differences(regex, text, expected):
    """What Rust reads differently is written so that it means what RE2 means."""
    assert rust(regex, [text], ignore_case=False, full=True) == [expected]
    assert re2(regex, [text], ignore_case=False, full=True) == [expected]


@pytest.mark.parametrize(
    "written,expected",
    [
        (r"\pL", r"\p{L}"),
        (r"\PN", r"\P{N}"),
        (r"\p{Greek}", r"\p{Greek}"),
        (r"\p{^Lu}", r"\P{Lu}"),
        (r"\P{^Lu}", r"\p{Lu}"),
    ],
)
def test_unicode_properties_have_one_spelling(written, expected):
    """A property keeps its meaning, negated by its letter, by a caret or by both."""
    assert expected in to_rust(written)


REQUIRED = {
    "evil": "evil",
    "^GET /admin.*x$": "GET /admin",
    r"a\.exe": "a.exe",
    "ab*cde": "cde",
    "ab?": "a",
    "abc+d": "abc",
    "abc+?d": "abc",
    "ab*?c": "a",
    "abc{2}defg": "ab",
    "abc[de]fghi": "abc",
    "abc(def)?": "abc",
    "(abc)": "",
    "abcd|e": "",
    "ab(?i)cd": "",
    r"ab\dcde": "ab",
    ".*": "",
    "": "",
}


@pytest.mark.parametrize("regex, text", REQUIRED.items())
def test_what_a_pattern_requires(regex, text):
    """Optional parts are left out, and what follows the first part that is not plain."""
    assert required(regex) == text


@given(
    patterns() | st.text("ab.*?+^$", max_size=8),
    st.lists(TEXTS | st.text("ab", max_size=8), min_size=1),
)
def test_every_match_holds_what_is_required(regex, texts):
    """RE2 finds no text without it."""
    found = re2(regex, texts, ignore_case=False, full=False)
    assume(found is not None)
    assert all(required(regex) in text for text, match in zip(texts, found, strict=True) if match)
