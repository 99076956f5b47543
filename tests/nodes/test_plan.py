from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests.store.test_checkpoint import new_file
from vastlab.arrow import schema as arrow_schema
from vastlab.expression.ast import And, Column, Constant, FieldExtractor, Operator, Or, Predicate
from vastlab.expression.literals import Time, UInt64
from vastlab.nodes import plan
from vastlab.nodes.base import Query
from vastlab.store.files import Files
from vastlab.store.layout import Layout


def port(operator, number):
    return Predicate(FieldExtractor("resp_p"), operator, UInt64(number))


def port_of(task, number):
    (leaf,) = task.layout.schema.leaves_by_suffix["resp_p"]
    return Predicate(Column(leaf), Operator.GE, UInt64(number))


def chosen(database, query):
    snapshot = database.snapshot()
    return [task.file for task in plan.tasks(query, snapshot.layouts, snapshot.files)]


def test_files_are_skipped_by_the_bounds_of_their_columns(database):
    """The manifest says which files can hold a value."""
    files = database.snapshot().files
    assert chosen(database, Query(port(Operator.EQ, 150))) == [files[1]]
    assert chosen(database, Query(port(Operator.GE, 150))) == list(files[1:3])
    assert chosen(database, Query(port(Operator.EQ, 1000))) == []
    assert chosen(database, Query()) == list(files)


def test_files_are_skipped_by_time(database):
    """`since` and `until` are half-open bounds, also of the files."""
    files = database.snapshot().files
    assert chosen(database, Query(since=100, until=200)) == [files[1]]
    assert chosen(database, Query(since=3, until=100)) == [files[0]]


def test_bounds_join_the_expression_as_predicates(database):
    """A bound is a predicate on the event time beside the others."""
    snapshot = database.snapshot()
    schema = next(
        layout.schema for layout in snapshot.layouts.values() if layout.schema.name == "zeek.conn"
    )
    since = Predicate(Column(schema.event_time), Operator.GE, Time(5))
    assert plan.bind(Query(since=5), schema) == since
    bound = plan.bind(Query(Or((port(Operator.EQ, 1), port(Operator.EQ, 2))), since=5), schema)
    assert isinstance(bound, And)
    assert bound.operands[-1] == since
    assert plan.bind(Query(), schema) == Constant(True)
    assert plan.bind(Query(Constant(False)), schema) is None


def test_expressions_are_bound_once_for_each_layout(database, monkeypatch):
    """Many files of one layout cost one binding."""
    calls = []
    original = plan.resolve

    def counting(expr, schema, taxonomy):
        calls.append(schema.name)
        return original(expr, schema, taxonomy)

    monkeypatch.setattr(plan, "resolve", counting)
    chosen(database, Query(port(Operator.GE, 0)))
    assert sorted(calls) == ["zeek.conn", "zeek.dns"]


def test_expressions_are_compiled_once_for_each_layout(database, monkeypatch):
    """Many files of one layout cost one compilation of a long list of values."""
    calls = []
    original = plan.predicate

    def counting(expr, schema):
        calls.append(schema.name)
        return original(expr, schema)

    monkeypatch.setattr(plan, "predicate", counting)
    snapshot = database.snapshot()
    query = Query(port(Operator.GE, 0))
    for task in plan.tasks(query, snapshot.layouts, snapshot.files):
        assert task.filters.of(task.bound) is task.filters.of(task.bound)
    assert calls == ["zeek.conn"]


def test_what_is_true_of_a_whole_file_is_not_asked_again(database):
    """A file inside the time range is read, or counted, without a condition."""
    snapshot = database.snapshot()
    query = Query(port(Operator.GE, 150), since=100)
    first, second = list(plan.tasks(query, snapshot.layouts, snapshot.files))[:2]
    assert first.bound == first.disjuncts[0] == port_of(first, 150)
    assert second.bound == Constant(True)
    assert second.disjuncts == (Constant(True),)


def test_equal_conditions_of_several_files_are_compiled_once(database):
    """Files of which the same is left share one filter."""
    snapshot = database.snapshot()
    query = Query(Or((port(Operator.EQ, 150), port(Operator.EQ, 250))), since=0)
    left = [task.disjuncts[0] for task in plan.tasks(query, snapshot.layouts, snapshot.files)]
    assert len(left) > 1
    assert all(expr is left[0] for expr in left)


def test_a_limit_reaches_the_files_but_not_of_the_newest(database):
    """The newest events of a file are not the first ones in it."""
    snapshot = database.snapshot()
    for query, limit in ((Query(limit=5), 5), (Query(limit=5, newest=True), 0), (Query(), 0)):
        tasks = list(plan.tasks(query, snapshot.layouts, snapshot.files))
        assert {task.limit for task in tasks} == {limit}
        assert all(task.narrowed().limit == 0 for task in tasks)


@strategies.share(40)
@given(st.data())
def test_a_table_is_planned_as_its_files_are(data):
    """What is chosen by masks for all files, and what is left of it, is the same one by one."""
    drawn = [data.draw(strategies.events(max_rows=3)) for _ in range(data.draw(st.integers(1, 2)))]
    layouts = {arrow_schema.fingerprint(each.schema): each.schema for each in drawn}
    layouts = {key: Layout(key, schema) for key, schema in layouts.items()}
    choices = list(layouts.values())
    drawn_files = [
        data.draw(new_file("/db", choices, n)) for n in range(data.draw(st.integers(0, 9)))
    ]
    split = data.draw(st.integers(0, len(drawn_files)))
    table = Files.of(drawn_files[:split], "/db").tabled(layouts)
    assert not table.added
    dropped = [file.path for file in drawn_files[:split] if data.draw(st.integers(0, 4)) == 0]
    files = table.changed(drawn_files[split:], dropped)
    few = data.draw(st.sampled_from((0, 1, 64)))
    for expr in data.draw(st.lists(strategies.expressions(drawn[0]), min_size=3, max_size=8)):
        query = Query(expr, since=data.draw(st.sampled_from((None, 0, 3))), limit=5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan, "_FEW", few)
            patch.setattr(plan, "_MOST_NUMBERS", 1)
            found = list(plan.tasks(query, layouts, files))
        assert found == list(plan.tasks(query, layouts, tuple(files)))


def test_files_of_one_sort_share_their_expressions(database):
    """Many files are planned with one filter for all that have the same left to ask."""
    snapshot = database.snapshot()
    query = Query(Or((port(Operator.EQ, 150), port(Operator.EQ, 250))), since=0)
    tabled = snapshot.files.tabled(snapshot.layouts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_FEW", 0)
        left = [task.disjuncts[0] for task in plan.tasks(query, snapshot.layouts, tabled)]
    assert len(left) > 1
    assert all(expr is left[0] for expr in left)
