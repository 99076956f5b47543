"""Events of layouts that the catalog of a Tenzir node does not list."""

from __future__ import annotations

from vastlab.nodes.tenzir.catalog import Catalog, Stored
from vastlab.nodes.tenzir.conditions import Unlisted
from vastlab.types import Field, Kind, Schema, Type

THINGS = Schema("a", (Field("x", Type(Kind.INT64)),))
CATALOG = Catalog((THINGS,), {"a": Stored(1, 1_767_225_600_000_000_000)})
RECENT = '(@name == "a" and @import_time > 2026-01-01T00:00:00.0000000005Z) or (@name != "a")'


def test_only_recent_events_are_looked_at_closely():
    """The first condition is one that the catalog can use; what is stored passes unseen."""
    unlisted = Unlisted.of(CATALOG)
    first, marking, last = unlisted.select("x == 1")
    assert first == f"where x == 1 or {RECENT}"
    assert f" if ({RECENT}) else true) else " in marking
    assert last == f'where x == 1 or @name.starts_with("{unlisted.mark}")'
    assert unlisted.select_unlisted()[0] == f"where {RECENT}"
    assert unlisted.select_listed("x == 1")[-1] == f'where not @name.starts_with("{unlisted.mark}")'


def test_an_empty_catalog_lists_nothing():
    """Every event is recent then, and of no layout that is listed."""
    unlisted = Unlisted.of(Catalog())
    assert unlisted.select_unlisted()[0] == "where (true)"
    assert "@name if ((false) if ((true)) else true) else" in unlisted.select_unlisted()[1]


def test_the_mark_is_taken_off_again():
    """A name has the mark in front of it, or is listed; the mark cannot be guessed."""
    unlisted = Unlisted.of(CATALOG)
    assert unlisted.name(f"{unlisted.mark}a.b") == "a.b"
    assert unlisted.name("a.b") is None
    assert unlisted.mark != Unlisted.of(CATALOG).mark
