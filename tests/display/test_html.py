"""HTML that is safe, small and whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests.display.conftest import conn, wide
from vastlab.display import html
from vastlab.display.columns import sensible
from vastlab.display.preview import Outcome, make_preview, summarise

ELEMENTS = {
    "div", "details", "summary", "b", "span", "code", "table", "thead", "tbody", "tr", "th", "td",
    "br", "svg", "rect",
}  # fmt: skip
SHAPE = {"x", "y", "width", "height", "fill", "role", "aria-label"}
ATTRIBUTES = {"style", "open", "title", "cellpadding"}
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    '<img src=x onerror="window.__p=1">',
    "<script>window.__p=1</script>",
    "</style></table></details>",
    "\" onmouseover='x' style=\"",
    "\x1b[31m\x07\x9b\u202e\u2066",
    "&lt;b&gt;&amp;#60;",
)


class Checker(HTMLParser):
    """Reads markup, keeps its text, and refuses what vastlab never writes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.open: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        assert tag in ELEMENTS
        assert {name for name, _ in attrs} <= (SHAPE if tag in ("svg", "rect") else ATTRIBUTES)
        for name, value in attrs:
            assert name != "style" or not re.search(r"[<>&]|url|expression|position", value)
            assert name != "title" or not CONTROLS.search(value)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag != "br":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag != "br":
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        assert not CONTROLS.search(data)
        self.text.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def check(markup: str) -> Checker:
    checker = Checker()
    checker.feed(markup)
    checker.close()
    assert checker.open == []
    return checker


def draw(tables: dict[str, pa.Table], outcome: Outcome | None = None) -> str:
    return html.overview(
        outcome or Outcome(),
        [summarise(name, [table]) for name, table in tables.items()],
        lambda name, rows, columns: make_preview(name, [tables[name]], rows=rows, columns=columns),
    )


def test_a_section_for_each_schema(connections):
    """Each schema has a section that opens; its cells, names and facts are there."""
    checker = check(draw({"zeek.conn": connections, "zeek.dns": conn([1])}))
    text = "".join(checker.text)
    assert checker.counts["details"] == 2
    assert "4 events in 2 schemas" in text
    for part in ("zeek.conn", "3 events", "4 columns", "id.orig_h", "n0"):
        assert part in text


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_stays_text(evil):
    """Markup and controls in values, schema names, field names and expressions do nothing."""
    table = wide(2, 2, evil, evil).rename_columns([evil, "x"])
    checker = check(draw({evil: table}, Outcome(expression=f"x == {evil}")))
    assert checker.counts["table"] == 1
    assert checker.counts["td"] == 4
    assert checker.counts["th"] == 2


@given(arrow.tables(), arrow.texts(), st.booleans(), st.booleans())
def test_only_known_markup_whatever_the_events(drawn, expression, partial, limited):
    """Whatever events hold, a page has the known elements and attributes, and no controls."""
    schema, batch = drawn
    outcome = Outcome(expression, limit=5, partial=partial, limit_reached=limited)
    table = pa.Table.from_batches([batch])
    checker = check(draw({schema.name: table}, outcome))
    columns = min(20, len(sensible(schema.name, [table])))
    assert checker.counts.get("td", 0) == min(10, batch.num_rows) * columns


@given(arrow.texts())
def test_a_failure_is_text(message):
    """An error message is shown as it is, line by line."""
    checker = check(html.failure(message))
    assert checker.counts == {"div": 1, **({"br": n} if (n := message.count("\n")) else {})}


@pytest.mark.parametrize("text", ['"', "<", "\U000e0001", "\u4e2d", "\x1b", "x"])
@pytest.mark.parametrize("schemas, columns", [(1, 2000), (300, 30)])
def test_the_page_stays_small(text, schemas, columns):
    """However much there is, and however it must be escaped, a page is below 200 KB."""
    tables = {
        f"{number:03}{text * 200}": wide(columns, 12, text * 200) for number in range(schemas)
    }
    markup = draw(tables)
    assert len(markup.encode()) < 200_000
    checker = check(markup)
    assert checker.counts["details"] == min(schemas, 20)
    assert ("and 280 more schemas with 3,360 events" in "".join(checker.text)) == (schemas > 20)


def test_truncation_is_stated():
    """A reader sees how much of a schema is shown."""
    text = "".join(check(draw({"wide": wide(30, 12, "x")})).text)
    assert "10 of 12 events, 20 of 30 columns" in text


def test_what_a_reader_must_know_comes_first(connections):
    """The limit and an interruption are named first."""
    outcome = Outcome(limit=3, limit_reached=True)
    text = [part for part in check(draw({"zeek.conn": connections}, outcome)).text if part]
    assert text[0] == "first 3 events (limit reached; limit 0 for all)"
    text = check(draw({"zeek.conn": connections}, Outcome(partial=True))).text
    assert text[0] == "partial: stopped after 3 events"


def test_nothing_found_is_said():
    """An empty result is a page too."""
    assert "0 events in 0 schemas" in "".join(check(draw({})).text)


def test_schemas_without_rows_or_columns():
    """A schema without events, and events without fields, have sections."""
    bare = pa.table({"x": [1, 2]}).select([])
    assert check(draw({"empty": conn([]), "bare": bare})).counts["details"] == 2
