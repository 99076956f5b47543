"""Counting without events: the same numbers as the reference, whichever way is taken."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from tests.nodes.conftest import dns_batch
from vastlab.arrow import convert
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.expression import parse
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes import counting, plan
from vastlab.nodes.base import Query
from vastlab.nodes.counting import Engine
from vastlab.nodes.scan import FileScan
from vastlab.store.database import Database
from vastlab.types import Kind


def count(database, expr, *, verify=True):
    snapshot, engine = database.snapshot(), Engine()
    tasks = plan.tasks(Query(expr), snapshot.layouts, snapshot.files)
    return sum(FileScan(engine, task, verify=verify).count() for task in tasks)


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["by row", "by value"])
@strategies.share(30)
@given(data=st.data())
def test_counts_equal_the_reference(tmp_path_factory, few, data):
    """Neither views of text nor one comparison for each distinct value changes a number."""
    kinds = (Kind.STRING, Kind.STRING, Kind.IP, Kind.INT64, Kind.ENUM)
    events = data.draw(strategies.events(kinds=kinds, depth=0, max_rows=12))
    stored = convert.nest(events.flat.drop_columns([IMPORT_TIME]), events.schema)
    database = Database.create(tmp_path_factory.mktemp("count") / "test.db")
    database.add([stored])
    expressions = strategies.expressions(events, depth=1)
    with mock.patch.multiple(counting, _FEWEST=0, _FEW=few):
        for expr in data.draw(st.lists(expressions, min_size=3, max_size=6)):
            if IMPORT_TIME not in str(expr):  # which is another one in the database
                expected = reference.answers(expr, events.schema, events.rows, Taxonomy())
                assert count(database, expr) == sum(expected), expr


QUESTIONS = [
    ('query == "b"', 3000),
    ('query != "b"', 4000),
    ('query ni "b"', 3000),
    ("query == null", 2000),
    ('! (query == "b")', 4000),
    ("query == /B/i", 3000),
    ('query in ["a", "c"]', 4000),
    ('query in ["a", "c"] || query == null', 6000),
    ('query > "a"', 3000),
]


@pytest.mark.parametrize("text, number", QUESTIONS)
def test_few_texts_are_compared_once_each(tmp_path, monkeypatch, text, number):
    """The engine sees the distinct values, and not the rows."""
    texts = ["a"] * 4000 + ["b"] * 3000 + [None] * 2000
    database = Database.create(tmp_path / "test.db")
    database.add([dns_batch(texts)])
    assert count(database, parse(text), verify=False) == number
    monkeypatch.setattr(FileScan, "_scan", mock.Mock(side_effect=AssertionError))
    assert count(database, parse(text)) == number


def test_distinct_texts_are_compared_row_by_row(tmp_path):
    """There is no use in a dictionary that is as long as the column."""
    database = Database.create(tmp_path / "test.db")
    database.add([dns_batch([f"host-{number * 7919 % 9001}" for number in range(9000)])])
    seen = []
    scan = FileScan._scan
    with mock.patch.object(FileScan, "_scan", lambda *how: seen.append(how) or scan(*how)):
        assert count(database, parse('query ni "host-9"')) == sum(
            f"host-{number * 7919 % 9001}".startswith("host-9") for number in range(9000)
        )
    assert seen
