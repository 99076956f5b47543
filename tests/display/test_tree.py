"""One event as a tree."""

from __future__ import annotations

import pyarrow as pa

from tests.display.conftest import conn, wide
from tests.display.test_html import HOSTILE, check
from vastlab.display.html import tree


def test_records_are_nested():
    """Fields of a record stand inside it, with their own names, values and types."""
    drawn = check(tree(conn([0, 1], ["first", None]), 1))
    text = " ".join(drawn.text)
    assert drawn.counts["details"] == 1
    for part in ("id", "orig_h", "10.0.0.1", "resp_p", "port", "08:00:01", "null"):
        assert part in text
    assert "first" not in text


def test_values_and_names_are_only_text():
    """Whatever an event says, it is text."""
    for evil in HOSTILE:
        check(tree(conn([0], [evil], name=evil), 0))
        check(tree(pa.table({evil: [evil]}), 0))


def test_long_values_are_cut():
    """A value of a megabyte does not make a page of a megabyte."""
    assert len(tree(wide(3, 1, "x" * 1_000_000), 0)) < 10_000
