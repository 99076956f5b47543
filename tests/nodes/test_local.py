"""Filtering in memory agrees with a query of a database."""

from __future__ import annotations

import pytest

from vastlab.expression import parse
from vastlab.nodes import plan
from vastlab.nodes.base import Query
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.plan import LocalFilter
from vastlab.store.database import Database
from vastlab.table_slice import TableSlice


@pytest.mark.parametrize(
    "expression",
    [
        "n < 10", "n != 3", "orig_h in 10.0.0.0/28", "! (resp_p == 4)", "n == null", ":port > 90",
        '#type == "zeek.conn"', '#type == "other"', "unknown == 1", "n == 1 || n == 99",
        "#import_time < 2020-01-01", "#import_time > 2020-01-01",
    ],
)  # fmt: skip
async def test_the_same_events_are_kept(tmp_path, make_conn, numbers, expression):
    """What is filtered here is what the embedded node would return."""
    database = Database.create(tmp_path / "db")
    database.add([make_conn(range(100))])
    query = Query(parse(expression))
    kept = LocalFilter(query).keep(TableSlice(make_conn(range(100))))
    found = [] if kept is None else kept.to_pyarrow().column("n").to_pylist()
    assert found == await numbers(EmbeddedNode(database.path).export(query))


def test_bounds_of_the_event_time_hold(make_conn):
    """`since` is part of the span, `until` is not."""
    kept = LocalFilter(Query(since=5, until=8)).keep(TableSlice(make_conn(range(100))))
    assert kept.to_pyarrow().column("n").to_pylist() == [5, 6, 7]


def test_nothing_left_is_no_slice(make_conn):
    """A slice without events is none."""
    assert LocalFilter(Query(parse("n == 500"))).keep(TableSlice(make_conn(range(3)))) is None


def test_an_expression_is_bound_once_for_all_slices_of_a_schema(make_conn, monkeypatch):
    """Long lists take long to bind, and results consist of many slices."""
    calls = []
    original = plan.resolve
    monkeypatch.setattr(plan, "resolve", lambda *how: calls.append(how) or original(*how))
    local = LocalFilter(Query(parse("n > 1")))
    kept = [local.keep(TableSlice(make_conn(range(start, start + 3)))) for start in range(4)]
    assert [part.num_rows for part in kept] == [1, 2, 3, 3]
    assert len(calls) == 1
