"""Facts and first rows of one schema."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests.display.conftest import SECOND, START, conn, wide
from vastlab.display.columns import sensible
from vastlab.display.preview import CELL_WIDTH, first_in_order, make_preview, moment, summarise


def _notes(shown):
    position = [column.name for column in shown.columns].index("note")
    return [row[position] for row in shown.rows]


def test_a_summary_counts_and_bounds(connections):
    """A summary has the number of events and columns, and the bounds of the event time."""
    summary = summarise("zeek.conn", [connections, conn([-5])])
    assert (summary.events, summary.columns) == (4, 4)
    assert (summary.first, summary.last) == (START - 5 * SECOND, START + 20 * SECOND)


def test_a_summary_without_times_has_no_bounds():
    """Events without a time, and no events at all, have no bounds."""
    for table in (wide(2, 3, "x"), conn([]), conn([None])):
        summary = summarise("x", [table])
        assert (summary.first, summary.last) == (None, None)


def test_the_first_rows_are_the_earliest(connections):
    """A preview shows events in event-time order, whatever order they arrived in."""
    assert _notes(make_preview("zeek.conn", [connections], rows=2, columns=9)) == ["n1", "n2"]


def test_the_newest_rows_come_first_where_they_are_asked_for():
    """Events without a time come last; those of the same time stay as they arrived."""
    tables = [conn([0, None, 2]), conn([1, 2], ["m0", "m1"])]
    shown = make_preview("zeek.conn", tables, rows=9, columns=9, newest=True)
    assert _notes(shown) == ["n2", "m1", "m0", "n0", "n1"]
    assert _notes(make_preview("x", tables, rows=2, columns=9, newest=True)) == ["n2", "m1"]


def test_layouts_are_merged_in_event_time_order(connections):
    """Several layouts of one schema share one preview; columns that one lacks stay empty."""
    later = conn([5]).rename_columns(["ts", "id", "remark"])
    shown = make_preview("zeek.conn", [connections, later], rows=9, columns=9)
    assert [c.name for c in shown.columns] == ["ts", "id.orig_h", "id.resp_p", "note", "remark"]
    assert _notes(shown) == ["n1", None, "n2", "n0"]


def test_rows_and_columns_are_bounded(connections):
    """No more is shown than was asked for; the summary still knows the whole."""
    shown = make_preview("zeek.conn", [connections], rows=1, columns=2)
    assert (len(shown.rows), len(shown.rows[0]), len(shown.columns)) == (1, 2, 2)
    assert (shown.summary.events, shown.summary.columns) == (3, 4)


def test_a_zone_moves_the_clock(connections):
    """Times are shown in the zone that was asked for."""
    shown = make_preview("x", [connections], rows=1, columns=1, zone=ZoneInfo("Europe/Berlin"))
    assert shown.rows[0][0] == "2009-11-18 09:00:00"
    assert moment(START, ZoneInfo("Europe/Berlin")) == "2009-11-18 09:00:00"


@pytest.mark.parametrize("nanoseconds", [-(2**63) + 1, -1, 0, 2**63 - 1])
def test_any_time_can_be_written(nanoseconds):
    """The first and the last moment that VAST can hold have a text."""
    assert len(moment(nanoseconds)) == 19


def test_long_cells_are_cut():
    """A cell of a megabyte takes no more room than any other."""
    shown = make_preview("wide", [wide(1, 1, "x" * 1_000_000)], rows=1, columns=1)
    assert len(shown.rows[0][0]) == CELL_WIDTH


@given(st.lists(st.integers(-5, 5), max_size=30), st.integers(0, 35))
def test_first_in_order_is_a_stable_sort(keys, count):
    """Choosing the first few gives what sorting everything would give."""
    found = first_in_order(np.array(keys, np.int64), count).tolist()
    assert found == sorted(range(len(keys)), key=keys.__getitem__)[:count]


@given(arrow.tables())
def test_any_event_has_a_preview(drawn):
    """Whatever types and values events have, every cell is a short text or nothing."""
    schema, batch = drawn
    tables = [pa.Table.from_batches([batch])]
    shown = make_preview(schema.name, tables, rows=10, columns=20)
    assert len(shown.rows) == batch.num_rows
    assert len(shown.columns) == min(20, len(sensible(schema.name, tables)))
    for row in shown.rows:
        assert all(cell is None or len(cell) <= CELL_WIDTH for cell in row)
