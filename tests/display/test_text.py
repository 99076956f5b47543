"""Plain text for terminals."""

from __future__ import annotations

import re
from dataclasses import replace

import pyarrow as pa
from hypothesis import given

from tests import arrow_strategies as arrow
from tests.display.conftest import conn, wide
from vastlab.display import preview as text
from vastlab.display.preview import Outcome, Summary, make_preview, summarise

CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_one_line_for_each_schema(connections):
    """The overview has a line for each schema with its events, columns and times."""
    shown = text.overview(Outcome(), [summarise("zeek.conn", [connections])])
    assert shown.split("\n")[1] == (
        "zeek.conn  3 events  4 columns  2009-11-18 08:00:00 to 2009-11-18 08:00:20"
    )


def test_twenty_schemas_with_most_events_then_one_line():
    """Beyond twenty schemas, the smallest share one line."""
    summaries = [Summary(f"s{number:02}", number + 1, 1, None, None) for number in range(25)]
    lines = text.overview(Outcome(), summaries).split("\n")
    assert [line.split()[0] for line in lines[1:21]] == [f"s{n:02}" for n in range(24, 4, -1)]
    assert lines[21] == "and 5 more schemas with 15 events"
    assert 'result["s24"]' in lines[22]


def test_what_only_the_newest_events_are_of_comes_first():
    """The note says that older events were dropped, instead of naming an end."""
    kept = Outcome(partial=True, newest_of=8_215)
    shown = text.overview(kept, [Summary("s", 329, 1, None, None)])
    assert shown.startswith("the newest 329 of 8,215 events\n")
    shown = text.overview(replace(kept, chosen_from=329), [Summary("s", 5, 1, None, None)])
    assert shown.startswith("of the newest 329 of 8,215 events\n")


def test_the_limit_comes_first():
    """The first note says that there may be more."""
    outcome = Outcome(limit=100, limit_reached=True)
    shown = text.overview(outcome, [Summary("s", 100, 1, None, None)])
    assert shown.startswith("first 100 events (limit reached; limit 0 for all)\n")


def test_what_the_limit_left_out_is_named():
    """Most events first, five by name, and hostile names without their controls."""
    some = tuple((f"s{number}", number) for number in range(1, 8))
    assert text.others_left_out(some) == (
        "left out: s7 (7 events), s6 (6 events), s5 (5 events), s4 (4 events), s3 (3 events), "
        "2 more schemas (3 events)"
    )
    assert text.others_left_out(()) == ""
    assert text.others_left_out(None) == "other schemas were not looked at"
    assert not CONTROLS.search(text.others_left_out((("a\n\x1b[2J" + "x" * 500, 1),)))
    assert len(text.others_left_out((("x" * 500, 1),))) < 120


def test_one_line_says_what_was_asked():
    """The line for assigned results has the numbers and the question."""
    line = text.line(Outcome("resp_p == 80", elapsed=1.234), [Summary("s", 2, 1, None, None)])
    assert line == "2 events in 1 schema · 1.23 s · resp_p == 80"


def test_a_table_is_aligned(connections):
    """Numbers stand at the right, text at the left, below the names of their columns."""
    lines = text.table(make_preview("zeek.conn", [connections], rows=3, columns=20)).split("\n")
    assert lines[0] == "zeek.conn"
    assert lines[-1] == "3 events, 4 columns"
    assert lines[1].index("id.resp_p") + len("id.resp_p") == lines[2].rindex("1  n1") + 1


def test_a_table_says_what_it_leaves_out():
    """Cut rows and columns are counted."""
    shown = make_preview("wide", [wide(30, 12, "x")], rows=2, columns=3)
    assert text.table(shown).endswith("2 of 12 events, 3 of 30 columns")


@given(arrow.tables(), arrow.texts())
def test_no_control_reaches_a_terminal(drawn, expression):
    """Whatever events, names and expressions hold, text has no controls but line breaks."""
    schema, batch = drawn
    tables = [pa.Table.from_batches([batch])]
    summary = summarise(schema.name, tables)
    for shown in (
        text.overview(Outcome(expression), [summary]),
        text.line(Outcome(expression), [summary]),
        text.table(make_preview(schema.name, tables, rows=5, columns=5)),
    ):
        assert not CONTROLS.search(shown)


def test_hostile_names_take_one_line_each():
    """A line break in a schema name does not break the overview."""
    shown = text.overview(Outcome(), [summarise("a\nb\x1b[2J", [conn([0])])])
    assert shown.split("\n")[1].startswith(r"a\x0ab\x1b[2J  1 event")
