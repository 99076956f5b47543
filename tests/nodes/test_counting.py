"""Counting without events: the same numbers as the reference, whichever way is taken."""

from __future__ import annotations

import gc
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from tests.nodes.conftest import conn_batch, dns_batch
from vastlab.arrow import convert, value_sets
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.expression import parse
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes import counting, plan, tallies
from vastlab.nodes.base import Query
from vastlab.nodes.engine import Engine
from vastlab.nodes.scan import FileScan
from vastlab.store import checksums, writer
from vastlab.store.database import Database
from vastlab.types import Kind


def count(database, expr, *, verify=True, engine=None):
    snapshot, engine = database.snapshot(), engine or Engine()
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
    engine = Engine()
    with (
        mock.patch.multiple(tallies, _FEWEST=0, _FEW=few),
        mock.patch.object(checksums, "_TIMESTAMP_STEP", 0),
    ):
        for expr in data.draw(st.lists(expressions, min_size=3, max_size=6)):
            if IMPORT_TIME not in str(expr):  # which is another one in the database
                expected = reference.answers(expr, events.schema, events.rows, Taxonomy())
                for _ in range(3):  # by row, made into a tally, and from the tally
                    assert count(database, expr, engine=engine) == sum(expected), expr


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
    monkeypatch.setattr(counting, "parquet", mock.Mock(side_effect=AssertionError))
    assert count(database, parse(text)) == number


def test_distinct_texts_are_compared_row_by_row(tmp_path):
    """There is no use in a dictionary that is as long as the column."""
    database = Database.create(tmp_path / "test.db")
    database.add([dns_batch([f"host-{number * 7919 % 9001}" for number in range(9000)])])
    with mock.patch.object(counting, "parquet", wraps=counting.parquet) as seen:
        assert count(database, parse('query ni "host-9"')) == sum(
            f"host-{number * 7919 % 9001}".startswith("host-9") for number in range(9000)
        )
    assert seen.called


@pytest.fixture
def connections(tmp_path, monkeypatch):
    """Make 9,000 connections of nine numbers, in row groups of 1,000."""
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", 0)
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 1000)
    database = Database.create(tmp_path / "test.db")
    database.add([conn_batch([number // 1000 for number in range(9000)])])
    return database


@pytest.mark.parametrize(
    "text, number", [("resp_p != 3", 8000), ("orig_h in 10.0.0.4/30", 4000), ("n < 2", 2000)]
)
def test_a_column_asked_for_again_is_remembered(connections, monkeypatch, text, number):
    """From the third question on, whatever it is, the file is not read."""
    engine = Engine()
    assert count(connections, parse(text), engine=engine) == number
    assert count(connections, parse(text), engine=engine) == number
    monkeypatch.setattr(counting, "parquet", mock.Mock(side_effect=AssertionError))
    assert count(connections, parse(text), engine=engine) == number
    assert count(connections, parse(f"! ({text})"), engine=engine) == 9000 - number


def test_columns_without_the_values_asked_for_are_not_read(tmp_path, monkeypatch):
    """Once it is known which values there are."""
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", 0)
    database = Database.create(tmp_path / "test.db")
    database.add([conn_batch([number // 1000 * 2 for number in range(9000)])])
    engine = Engine()
    for _ in range(2):
        assert count(database, parse("resp_p == 4 || n == 6"), engine=engine) == 2000
    monkeypatch.setattr(counting, "parquet", mock.Mock(side_effect=AssertionError))
    assert count(database, parse("resp_p == 4 || n == 5"), engine=engine) == 1000
    assert count(database, parse("resp_p == 3 || n == 5"), engine=engine) == 0
    with pytest.raises(AssertionError):
        count(database, parse("resp_p == 4 || n == 6"), engine=engine)


def test_what_is_remembered_is_bounded(connections, monkeypatch):
    """Beyond that, columns are read again."""
    monkeypatch.setattr(tallies, "_MOST_BYTES", 0)
    engine = Engine()
    for _ in range(4):
        assert count(connections, parse("resp_p != 3"), engine=engine) == 8000
        assert count(connections, parse("orig_h in 10.0.0.4/30"), engine=engine) == 4000
    assert engine.tallies._held() == 0


def test_what_is_gone_does_not_count(connections, monkeypatch):
    """Neither files that are forgotten, nor values that others share."""
    engine = Engine()
    count(connections, parse("resp_p != 3"), engine=engine)
    held = engine.tallies._held()
    monkeypatch.setattr(tallies, "_MOST_BYTES", 3 * held)
    for _ in range(9):
        checksums.forget()
        gc.collect()
        assert count(connections, parse("resp_p != 3"), engine=engine) == 8000
        assert 0 < engine.tallies._held() <= held


def test_missing_numbers_are_counted_at_the_first_question(connections):
    """A column of numbers that lie close together has a tally with its nulls."""
    batch = conn_batch([1, 2, 3] * 2000)
    place = batch.schema.get_field_index("n")
    numbers = pa.array([7, None, 9] * 2000, batch.column(place).type)
    connections.add([batch.set_column(place, batch.schema.field(place), numbers)])
    engine = Engine()
    for text, number in (("n == null", 2000), ("n != null", 13_000), ("n == 9", 2000)):
        assert count(connections, parse(f'#type == "zeek.conn" && {text}'), engine=engine) == number
    kept = [tally for known in engine.tallies._known.values() for tally in known.values()]
    assert len(kept) == 1
    assert all(kept)


def test_numbers_beyond_what_the_manifest_knows_are_compared_row_by_row(connections, monkeypatch):
    """Its bounds only say which way is faster."""
    for low, close in ((5, 1 << 16), (-(1 << 62), 1 << 16), (0, 2)):
        monkeypatch.setattr(tallies, "_least_close", lambda *_, low=low: low)
        monkeypatch.setattr(tallies, "_CLOSE", close)
        engine = Engine()
        for _ in range(3):
            assert count(connections, parse("n == 3 || n > 7"), engine=engine) == 2000


@pytest.mark.parametrize(
    "text, number",
    [
        ("ts >= 1970-01-01T00:00:00.000000002 && ts < 1970-01-01T00:00:00.000000004", 2000),
        ("! (ts < 1970-01-01T00:00:00.000000002)", 7000),
        ("ts != 1970-01-01T00:00:00.000000002", 8000),
        ("ts == 1970-01-01T00:00:00.000000002 || ts == null", 1000),
    ],
)
def test_a_sorted_column_needs_few_row_groups(connections, monkeypatch, text, number):
    """Row groups within the bounds are counted by what is known of them."""
    expr = parse(text)
    assert count(connections, expr, verify=False) == number
    monkeypatch.setattr(counting, "parquet", mock.Mock(side_effect=AssertionError))
    assert count(connections, expr) == number


@pytest.mark.parametrize("at_once", [1, 1 << 24])
def test_long_lists_are_looked_up_in_whole_columns(tmp_path, monkeypatch, at_once):
    """Nulls are neither in a list nor outside of it."""
    monkeypatch.setattr(value_sets, "_LOOKED_UP", at_once)
    texts = [f"host-{number}" for number in range(40_000)]
    database = Database.create(tmp_path / "test.db")
    database.add([dns_batch([*texts, None, None])])
    items = ", ".join(f'"host-{number}"' for number in range(0, 4000, 10))
    assert count(database, parse(f"query in [{items}]")) == 400
    assert count(database, parse(f"query !in [{items}]")) == 39_600


def test_a_database_behind_a_link_is_found_by_its_place(tmp_path):
    """The engine drops ``..`` from a path, which is another place behind a link."""
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a" / "sub")
    database = Database.create(tmp_path / "b" / "link" / ".." / "test.db")
    for start in (0, 9, 18):
        database.add([conn_batch(range(start, start + 9))])
    assert (tmp_path / "a" / "test.db").is_dir()
    assert count(database, parse("n != 5 && resp_p != 6")) == 25


def test_a_column_may_have_any_name(tmp_path, monkeypatch):
    """Also that of what is counted."""
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", 0)
    database = Database.create(tmp_path / "test.db")
    batch = conn_batch([0, 1] * 4500)
    place = batch.schema.get_field_index("n")
    field = batch.schema.field(place).with_name("#count")
    numbers = pa.array([0, 10**12] * 4500, field.type)
    database.add([batch.set_column(place, field, numbers)])
    engine = Engine()
    for _ in range(3):
        assert count(database, parse(":int64 == 0"), engine=engine) == 4500
