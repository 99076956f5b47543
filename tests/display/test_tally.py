"""Values counted for pictures."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.display.conftest import conn
from vastlab import errors
from vastlab.arrow import convert
from vastlab.display.histogram import NONE, histogram
from vastlab.display.tally import flows, tally
from vastlab.expression.taxonomy import Taxonomy

_NOTES = st.lists(st.sampled_from("abcdefghijkl") | st.none(), max_size=40)


def _events(name: str, **columns: pa.Array) -> pa.Table:
    batch = pa.RecordBatch.from_pydict(columns)
    return pa.Table.from_batches([convert.normalise(batch, name)])


@given(_NOTES, st.integers(1, 5))
def test_a_tally_counts_everything_once(notes, count):
    """The listed values and the others together are all values, the frequent ones first."""
    counted = tally({"x": [conn(range(len(notes)), notes)]}, "note", count)
    expected = Counter(note for note in notes if note is not None)
    most = sorted(expected.items(), key=lambda item: (-item[1], item[0]))[:count]
    assert list(counted.counts.items()) == most
    assert sum(counted.counts.values()) + counted.in_others == expected.total()
    assert len(counted.counts) + counted.others == len(expected)


def test_elements_of_lists_count_each():
    """Each element of a list is a value of its own, in every schema."""
    tables = {
        "x": [_events("x", tags=[["a", "b"], None, ["a"]])],
        "y": [_events("y", tags=["a"])],
    }
    assert tally(tables, "tags", 5).counts == {"a": 3, "b": 1}


def test_addresses_are_text_and_may_be_named_with_their_schema():
    """A field can be named by the end of its path, and with its schema."""
    tables = {"zeek.conn": [conn([0, 1])], "zeek.dns": [conn([0], name="zeek.dns")]}
    assert tally(tables, "orig_h", 5).counts == {"10.0.0.1": 3}
    assert tally(tables, "zeek.dns.id.orig_h", 5).counts == {"10.0.0.1": 1}


_IDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["C1", "C2", "C3"]) | st.none()), max_size=20
)


@given(_IDS, _IDS)
def test_events_of_one_connection_count_once(first, second):
    """What two schemas say of one connection counts once; events without an identifier, each."""
    texts = pa.string()
    tables = {
        name: [
            _events(
                name,
                host=pa.array([host for host, _ in rows], texts),
                uid=pa.array([uid for _, uid in rows], texts),
            )
        ]
        for name, rows in (("x", first), ("y", second))
    }
    rows = [*first, *second]
    connections = {(host, uid) for host, uid in rows if uid is not None}
    expected = Counter(host for host, _ in connections)
    expected += Counter(host for host, uid in rows if uid is None)
    assert tally(tables, "host", 9, once_per="uid").counts == expected


def test_values_of_a_concept_are_counted_over_schemas():
    """A concept names a different field in each schema."""
    tables = {
        "zeek.conn": [conn([0, 1])],
        "suricata.flow": [_events("suricata.flow", src_ip=["10.0.0.1"])],
    }
    assert tally(tables, "net.src.ip", 5, taxonomy=Taxonomy.default()).counts == {"10.0.0.1": 3}


def test_an_unknown_field_is_an_error():
    """A field that no event has is named, but an empty result has nothing to count."""
    with pytest.raises(errors.UsageError, match="'nope'"):
        tally({"zeek.conn": [conn([0])]}, "nope", 5)
    assert tally({}, "nope", 5).counts == {}


def test_flows_join_source_and_destination():
    """Pairs are counted over schemas; events that lack an end are left out."""
    first = _events("a", src_ip=["x", "x", "y", None], dest_ip=["z", "z", "x", "x"])
    second = _events("b", src_ip=["x"], dest_ip=["z"])
    counted = flows({"a": [first], "b": [second]}, Taxonomy.default(), 1)
    assert counted.edges == {("x", "z"): 3}
    assert (counted.others, counted.in_others) == (1, 1)


def test_flows_between_any_two_fields():
    """The two ends can be named, and lists have several of them."""
    table = _events("a", who=["x", "y"], what=[["p", "q"], ["p"]])
    counted = flows({"a": [table]}, Taxonomy.default(), 9, "who", "what")
    assert counted.edges == {("x", "p"): 1, ("x", "q"): 1, ("y", "p"): 1}
    with pytest.raises(errors.UsageError, match="source and a destination"):
        flows({"a": [table]}, Taxonomy.default(), 9)


@given(_NOTES.filter(any))
def test_a_timeline_by_a_field_counts_everything_once(notes):
    """Whatever the values, each event with a time is in one series."""
    tables = {"x": [conn(range(len(notes)), notes)]}
    counted = histogram(tables, by="note")
    assert sum(int(series.sum()) for series in counted.series.values()) == len(notes)
    assert len(counted.series) <= 9
    empty = counted.series.get(NONE)
    assert (0 if empty is None else int(empty.sum())) == notes.count(None)
