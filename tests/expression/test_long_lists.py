from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from vastlab.errors import ExpressionSyntaxError
from vastlab.expression import literals as lit
from vastlab.expression import long_lists, normal_form, parse, tokens

STRINGS = st.text(r'ab]",\/ é[') | st.just("\n") | st.text(max_size=3)
QUOTED = st.builds('"{}"'.format, STRINGS | STRINGS.map(lambda text: text.replace('"', r"\"")))
IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).map(str) | st.text("0123456789abcdefABCDEF:", min_size=2, max_size=20)
UNUSUAL = """010.0.0.1 256.0.0.1 1.2.3 1.2.3.4.5 :: ::1 1d:: 1D:: 1e5d:0::2 fe80::1%1 12345::
::ffff:1.2.3.4 ::ffff:102:304 ::1.2.3.4 1::2::3 1:2:3:4:5:6:7:8:9"""
ADDRESSES = IPV4 | IPV6 | IPV6.map(str.upper) | st.sampled_from(UNUSUAL.split())
OTHERS = """1 -2 4.5 5s 1d 1e5 now null true 2024-01-01 /a/ 10.0.0.0/8 ::/0 x $x [] [["a"]] [[::1]]
<1.2.3.4> {"a"->::1} {"a"}"""
MIXED = QUOTED | ADDRESSES | st.sampled_from(["", *OTHERS.split()])
BLANKS = st.sampled_from(("", " ", "\t\n", "\v\f\r"))
BETWEEN = st.sampled_from((", ", " ,\n") * 20 + (",,", "", "]", ", [", ", /* a */"))
PLACES = st.sampled_from(
    (
        "x in [{}]",
        "[{}]",
        "not :ip in [{}] && y == 1",
        "x in [{}, [{}]]",
        "x == <a: [{}]>",
        "x in [{}",
    )
)


@st.composite
def lists(draw):
    """Draw lists, most of one kind and valid."""
    kind = draw(st.sampled_from((QUOTED, ADDRESSES, IPV4, MIXED)))
    items = draw(st.lists(st.tuples(kind, BETWEEN, BLANKS), min_size=1, max_size=6))
    return "".join(f"{blanks}{item}{between}" for item, between, blanks in items)


def outcome(text):
    try:
        expr = parse(text)
    except ExpressionSyntaxError as error:
        return str(error), error.position, error.expected, error.hint
    return expr, normal_form(expr), str(expr), repr(expr)


def is_what_its_items_are(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_lists, "LONG_LIST_LENGTH", 0)
        at_once = outcome(text)
        patch.setattr(tokens, "long_list", lambda _text, _at: None)
        return outcome(text) == at_once


@hypothesis.given(PLACES, lists(), lists())
def test_list_is_what_its_items_are(place, first, second):
    """A list that is read at once gives the tree, text or error of its items."""
    assert is_what_its_items_are(place.format(first, second))


@pytest.mark.parametrize(
    "items",
    [
        r'"a\"b", "c\\", "\d"',
        '"a", "b", "c',
        '"a", 1, "b"',
        "1.2.3.4, ::ffff:1.2.3.4",
        "1.2.3.4, ::ffff:102:304",
        "1.2.3.4, 1.2.3.256, ::1",
        "1.2.3.4, 010.2.3.4, ::1",
        "2001::, 12d::",
    ],
)
def test_list_of_unusual_items_is_what_they_are(items):
    """What cannot be read at once is read item by item."""
    assert is_what_its_items_are(f"x in [{items}]")


@pytest.mark.parametrize(
    "written, read",
    [
        (r'"a]\"{}\\\\\d"', r'a]"{}\\\\\d'),
        ("10.1.2.{}", "10.1.2.{}"),
        ("2001:DB8::{}", "2001:db8::{}"),
    ],
)
def test_long_list_is_one_array(written, read):
    """Many strings, and many addresses, are no literals of their own."""
    numbers = range(1, lit.LONG_LIST_LENGTH + 2)
    predicate = parse(f"x in [ {' ,'.join(map(written.format, numbers))},\n]")
    values = predicate.literal.items
    assert isinstance(values, lit.Values)
    texts = [each.value if isinstance(each, lit.String) else str(each) for each in values]
    assert texts == [*map(read.format, numbers)]
