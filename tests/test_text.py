"""Escaping: whatever events carry, pages, terminals and file systems stay safe."""

from __future__ import annotations

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab import _text

ANY = st.one_of(st.text(), arrow_st.texts(), st.text(st.characters(categories=["C", "Z"])))


@given(ANY)
def test_plain_text_has_no_controls(text):
    """After `plain`, no character controls a terminal or the direction of text."""
    safe = _text.plain(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in safe)
    assert not any(unicodedata.bidirectional(c) in _BIDI for c in safe)
    assert _text.plain(safe) == safe


@given(ANY, st.integers(1, 40))
def test_short_text_is_plain_and_short(text, width):
    """Nothing is lost of what fits, and what is cut says so."""
    safe = _text.short(text, width)
    assert len(safe) <= width
    assert safe == _text.plain(text) or safe.endswith("…")
    assert _text.plain(safe) == safe


_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_plain_text_keeps_what_is_readable(text):
    """Letters, digits and signs of all languages stay as they are."""
    assert _text.plain(text) == text


@pytest.mark.parametrize(
    "text, safe",
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202egnp", r"\u202egnp"),
        ("\U000e0041", r"\U000e0041"),
        ("a\tb", r"a\x09b"),
        ("\ud800", r"\ud800"),
    ],
)
def test_controls_are_shown(text, safe):
    """Each control is visible as an escape."""
    assert _text.plain(text) == safe


@given(ANY)
def test_html_cannot_leave_its_place(text):
    """No text opens a tag, an entity or an attribute; and nothing readable is lost."""
    safe = _text.html(text)
    assert not set(safe) & set("<>\"'")
    assert html.unescape(safe) == _text.plain(text)


@given(ANY, st.integers(1, 50))
def test_cutting_keeps_the_width(text, width):
    """Cut text has at most its width, and says so where something is missing."""
    short = _text.cut(text, width)
    assert len(short) <= width
    assert short == text if len(text) <= width else short.endswith("…")


@given(ANY)
def test_file_names_are_safe_everywhere(text):
    """A name never leaves its folder, hides, or means a device."""
    name = _text.file_name(text)
    assert name
    assert len(name) < 128
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not name.startswith((".", "-")) or "-" in name[1:]
    assert name not in (".", "..")
    assert name.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt1")
    assert not name.endswith((".", " "))


@given(ANY, ANY)
def test_file_names_tell_names_apart(left, right):
    """Two names share a file name only if they are equal, also where case is ignored."""
    names = [_text.file_name(text).lower() for text in (left, right)]
    assert (names[0] == names[1]) == (left == right)


@pytest.mark.parametrize("name", ["zeek.conn", "suricata.alert", "a-b_c.2"])
def test_usual_names_are_kept(name):
    """Names as Zeek and Suricata have them are their own file names."""
    assert _text.file_name(name) == name


@pytest.mark.parametrize("name", ["con", "NUL.txt", "COM1", "..", "", "-rf", ".hidden", "A"])
def test_dangerous_names_carry_a_digest(name):
    """Names that mean something to a system, or differ by case only, are changed."""
    assert _text.file_name(name) != name


@given(st.lists(arrow_st.texts()))
def test_lines_stay_lines(texts):
    """Text of several lines keeps them, and each of them is safe."""
    text = "\n".join(texts)
    assert _text.plain_lines(text).split("\n") == [_text.plain(line) for line in text.split("\n")]


@given(st.integers(1, 10**20))
def test_a_duration_is_written_exactly(nanoseconds):
    """The unit is the largest that keeps the number whole."""
    number, unit = _text.duration(nanoseconds).split()
    sizes = {"d": 86_400 * 10**9, "h": 3_600 * 10**9, "min": 60 * 10**9, "s": 10**9, "ms": 10**6}
    assert int(number.replace(",", "")) * sizes.get(unit, 1) == nanoseconds
    assert not any(nanoseconds % size == 0 for size in sizes.values() if size > sizes.get(unit, 1))
