"""Files may share an event unless the values of some column lie apart."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from vastlab.nodes.arrivals import _joined, may_share
from vastlab.store.layout import DataFile, Range

# Events with two columns, which may be null.
rows = st.lists(
    st.tuples(st.none() | st.integers(0, 6), st.none() | st.integers(0, 6)),
    min_size=1,
    max_size=4,
)


def data_file(events, fingerprint="f", name="web"):
    """Describe the file that holds some events, as the store does."""
    ranges = {
        column: range_of([event[i] for event in events]) for i, column in enumerate(("a", "b"))
    }
    numbers = dict.fromkeys(("rows", "size", "first", "last", "import_first", "import_last"), 0)
    return DataFile("x.parquet", name, fingerprint, **numbers, ranges=ranges)


def range_of(column):
    """Summarise the values of a column."""
    found = [value for value in column if value is not None]
    nulls = len(column) - len(found)
    return Range(min(found, default=None), max(found, default=None), nulls, len(column))


@hypothesis.given(rows, rows)
def test_files_that_share_an_event_are_never_told_apart(one, other):
    """An event that is in both files is not overlooked."""
    if set(one) & set(other):
        assert may_share(data_file(one), data_file(other))


@hypothesis.given(rows, rows, rows)
def test_files_that_count_as_one_may_share_what_either_may(first, second, new):
    """Where the descriptions of many files are joined, no repeated event is overlooked."""
    both = _joined(data_file(first), data_file(second))
    if (set(first) | set(second)) & set(new):
        assert may_share(both, data_file(new))


def test_values_that_lie_apart_are_told_apart():
    """A column whose values differ proves that no event repeats."""
    assert not may_share(data_file([(1, 5), (2, 5)]), data_file([(3, 5)]))
    assert not may_share(data_file([(None, 5)]), data_file([(3, 5)]))
    assert not may_share(_joined(data_file([(1, 5)]), data_file([(2, 5)])), data_file([(3, 5)]))


@pytest.mark.parametrize("name, expected", [("web", True), ("other", False)])
def test_files_of_other_layouts_may_share_events_of_one_schema(name, expected):
    """Where types differ values are not compared."""
    one = data_file([(1, 1)])
    assert may_share(one, data_file([(5, 5)], "g", name)) is expected
    assert may_share(_joined(one, data_file([(2, 2)], "g")), data_file([(5, 5)])) is True
