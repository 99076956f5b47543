"""From events to the events around them."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.display.conftest import START, conn
from vastlab import errors
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.connection import connect
from vastlab.expression.taxonomy import Taxonomy
from vastlab.pivot import MOST_VALUES, Kinds, plan
from vastlab.result import Result
from vastlab.table_slice import TableSlice

SECOND = 1_000_000_000


def _events(name: str, **columns: pa.Array) -> pa.Table:
    batch = pa.RecordBatch.from_pydict(columns)
    return pa.Table.from_batches([convert.normalise(batch, name)])


def _times(*seconds: float) -> pa.Array:
    return pa.array([START + int(s * SECOND) for s in seconds], pa.timestamp("ns", "UTC"))


@pytest.fixture
def vast(tmp_path):
    """Connect to events that name each other."""
    with connect(str(tmp_path / "some.db")) as vast:
        vast.ingest(conn([0, 60, 600]))
        vast.ingest(_events("zeek.dns", ts=_times(0, 5, 900), uid=["C1", "C2", "C1"]))
        vast.ingest(_events("zeek.files", ts=_times(1, 2), conn_uids=[["C9", "C1"], None]))
        vast.ingest(_events("other.log", at=_times(3), note=["C1"]))
        vast.ingest(_events("zeek.http", ts=_times(7, 8), host=["a.example", "b.example"]))
        vast.ingest(_events("zeek.ssl", ts=_times(9, 9), server_name=["a.example", ""]))
        yield vast


def test_an_identifier_is_followed_into_lists(vast):
    """A uid is found where a list of uids holds it, and in no field of another meaning."""
    found = vast.query('uid == "C1"', limit=0).pivot("uid")
    assert {name: len(frame) for name, frame in found.items()} == {"zeek.dns": 2, "zeek.files": 1}
    assert vast.last is found


def test_a_span_of_time_bounds_the_answer(vast):
    """With ``within`` an event counts that is near to one that named its value."""
    named = vast.query('uid == "C1"', limit=0).where("ts < 2009-11-18T08:10:00")
    assert named.num_rows == 1
    for within in ("5s", "5m", timedelta(seconds=5)):
        found = named.pivot("uid", within)
        assert {name: len(frame) for name, frame in found.items()} == {
            "zeek.dns": 1,
            "zeek.files": 1,
        }


def test_domains_are_followed_by_concepts(vast):
    """A host name of one protocol is found in the other's field of the same meaning."""
    found = vast.query('#type == "zeek.ssl"', limit=0).pivot("server_name")
    assert {name: len(frame) for name, frame in found.items()} == {"zeek.http": 1, "zeek.ssl": 1}


def test_addresses_are_followed_everywhere(vast):
    """An address is looked for in every field of addresses."""
    found = vast.query('#type == "zeek.conn"', limit=1).pivot("orig_h")
    assert found.num_rows == 3
    assert found.expression == ":ip in [10.0.0.1]"


def test_the_limit_counts_what_is_kept(vast):
    """A limit counts the events near in time, not those that were looked at."""
    hits = vast.query('uid == "C1"', limit=0)
    found = hits.pivot("uid", "1h", limit=1)
    assert (found.num_rows, found.limit_reached) == (1, True)
    for within in ("1h", None):
        everything = hits.pivot("uid", within)
        again = hits.pivot("uid", within, limit=everything.num_rows)
        assert (again.num_rows, again.limit_reached) == (everything.num_rows, False)


def test_values_are_never_part_of_the_text(vast):
    """A value that looks like an expression is only a value."""
    hostile = '" || #type != "'
    vast.ingest(_events("evil.log", ts=_times(1), uid=[hostile]))
    found = vast.query('#type == "evil.log"').pivot("uid")
    assert (list(found), found.num_rows) == (["evil.log"], 1)


@pytest.mark.parametrize("field", ["nope", "ts", "", "zeek.dns."])
def test_a_field_that_cannot_be_followed(vast, field):
    """An unknown field, or one of times, is an error."""
    with pytest.raises(errors.UsageError, match="can be followed"):
        vast.query('uid == "C1"').pivot(field)


def test_a_field_of_several_meanings_is_refused():
    """A name that means different things in two schemas wants its schema."""
    tables = {
        "zeek.http": [_events("zeek.http", host=["a"])],
        "demo.asset": [_events("demo.asset", host=["b"])],
    }
    with pytest.raises(errors.UsageError, match="several things"):
        plan("host", tables, {}, Taxonomy.default())
    schemas = {"zeek.http": arrow_schema.from_arrow(tables["zeek.http"][0].schema)}
    asked = plan("zeek.http.host", tables, schemas, Taxonomy.default())
    assert asked.expression == "zeek.http.host in $values"
    assert asked.params == {"values": ["a"]}


@pytest.mark.parametrize("within", ["soon", "-5s", 5, "2009-11-18", ""])
def test_a_span_that_is_none(vast, within):
    """What is not a span of time is refused before anything is asked."""
    with pytest.raises(errors.UsageError, match="within"):
        vast.query('uid == "C1"').pivot("uid", within)


def test_too_many_values_are_refused():
    """More values than can be asked for are an error that says how to go on."""
    many = _events("x", uid=[f"C{n}" for n in range(MOST_VALUES + 1)])
    with pytest.raises(errors.UsageError, match=r"10,001 different values"):
        plan("uid", {"x": [many]}, {}, Taxonomy.default())


def test_lists_left_out_are_named():
    """Where values and lists are many, the lists that are left out are named."""
    lists = _events("y", uids=[["C1"]])
    many = _events("x", uid=[f"C{n}" for n in range(1_001)])
    schemas = {"y": arrow_schema.from_arrow(lists.schema)}
    asked = plan("uid", {"x": [many]}, schemas, Taxonomy.default())
    reason = "1,001 values in 1 list are 1,001 comparisons, more than 1,000"
    assert asked.skipped == {"y.uids": reason}


def test_fields_left_out_are_warned_of_with_the_reason(vast):
    """Lists that are not looked into are named, and why they were left out."""
    vast.ingest(_events("many", uid=[f"C{n}" for n in range(1_001)]))
    for number in range(7):
        vast.ingest(_events(f"my {number}.log", ts=_times(1), uids=[["C1"]]))
    with pytest.warns(errors.VastlabWarning) as caught:
        found = vast.query('#type == "many"', limit=0).pivot("uid")
    assert "my 0.log" not in found
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("not looked into: `my 0`.log.uids, `my 1`.log.uids, ")
    assert " and 3 more (1,001 values in 8 lists are " in message


def test_fields_that_need_backticks_are_followed(vast):
    """A field of any name is looked into, and its values can be followed by that name."""
    vast.ingest(_events("my 0.log", ts=_times(1), uid=["C1"], **{"@uids": [["C9"]]}))
    assert "my 0.log" in vast.query('#type == "zeek.dns"').pivot("uid")
    vast.ingest(_events("other.log", ts=_times(1), **{"@uids": ["C9"]}))
    for name in ("@uids", "`@uids`", "other.log.`@uids`"):
        found = vast.query('#type == "other.log" && `@uids` == "C9"').pivot(name)
        assert set(found) == {"my 0.log", "other.log"}


def test_addresses_are_looked_into_whatever_their_name():
    """Addresses need no name to be looked for, so that none is named as left out."""
    odd = conn([0], name="my log")
    schemas = {"my log": arrow_schema.from_arrow(odd.schema, "my log")}
    assert plan("orig_h", {"my log": [odd]}, schemas, Taxonomy.default()).skipped == {}


def test_no_events_to_begin_with_are_said(vast):
    """Pivoting from an empty result finds nothing, and says that it had nothing to look for."""
    with pytest.warns(errors.VastlabWarning, match="no events to pivot from"):
        found = vast.query('uid == "none"').pivot("uid", within="5m")
    assert found.num_rows == 0


def test_a_result_without_connection_cannot_ask():
    """A result that was made by hand says that it has no connection to ask."""
    with pytest.raises(errors.UsageError, match="connection"):
        Result({"zeek.conn": [conn([0])]}).pivot("orig_h")


def test_numbers_and_texts_are_kinds_of_their_own():
    """A number is never compared with a text of the same name."""
    number = arrow_schema.from_arrow(_events("a", flow_id=pa.array([1], pa.uint64())).schema)
    text = arrow_schema.from_arrow(_events("b", flow_id=["1"]).schema)
    kinds = Kinds(Taxonomy.default())
    assert kinds.of("a", number.leaves[0]) != kinds.of("b", text.leaves[0])


def _uids(rows: list[tuple[int, str | None]]) -> pa.Table:
    times, values = zip(*rows, strict=True)
    return _events("x", ts=_times(*times), uid=pa.array(values, pa.string()))


_ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from("abc") | st.none()), min_size=1, max_size=12
)


@given(_ROWS, _ROWS, st.integers(0, 15))
@settings(max_examples=150)
def test_near_is_what_it_says(named, asked, within):
    """Exactly those events are kept that one with the same value is near to."""
    tables = [
        _events(
            "x", ts=_times(*(t for t, _ in rows)), uid=pa.array([v for _, v in rows], pa.string())
        )
        for rows in (named, asked)
    ]
    schemas = {"x": arrow_schema.from_arrow(tables[0].schema)}
    pivot = plan("uid", {"x": [tables[0]]}, schemas, Taxonomy.default(), within * SECOND)
    expected = [
        (t, v)
        for t, v in asked
        if v is not None and any(v == w and abs(t - u) <= within for u, w in named)
    ]
    (batch,) = tables[1].to_batches()
    kept = pivot.keep(TableSlice(batch)) if pivot.expression else None
    rows = [] if kept is None else kept.to_pyarrow().to_pylist()
    assert [((r["ts"].value - START) // SECOND, r["uid"]) for r in rows] == expected
    for t, _ in expected:
        assert sum(low <= START + t * SECOND < high for low, high in pivot.spans) == 1


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(0, 10**4))
def test_spans_are_few_and_apart(seconds, within):
    """Few spans, none of which meets another, hold all that is near, and nothing far around."""
    named = _events("x", ts=_times(*seconds), uid=["C1"] * len(seconds))
    pivot = plan("uid", {"x": [named]}, {}, Taxonomy.default(), within * SECOND)
    assert 1 <= len(pivot.spans) <= 4
    assert all(before[1] < after[0] for before, after in itertools.pairwise(pivot.spans))
    for second in seconds:
        assert any(
            low
            <= START + (second - within) * SECOND
            < START + (second + within) * SECOND + 1
            <= high
            for low, high in pivot.spans
        )
    whole = (max(seconds) - min(seconds) + 2 * within) * SECOND
    if len(pivot.spans) > 1:
        assert sum(high - low for low, high in pivot.spans) <= whole / 2 + len(pivot.spans)


def test_what_lies_between_is_not_asked_for(vast):
    """Events that name their value far apart are asked about one after the other."""
    named = _events("x", ts=_times(0, 900), uid=["C1", "C1"])
    asked: list[tuple[str, str]] = []

    async def export(expression, *, since, until, **_):
        asked.append((since, until))
        for time in (0, 900):
            yield TableSlice(_events("x", ts=_times(time), uid=["C1"]).to_batches()[0])

    async def collect() -> list[TableSlice]:
        return [part async for part in pivot.ask(export, 0)]

    pivot = plan("uid", {"x": [named]}, {}, Taxonomy.default(), 5 * SECOND)
    assert len(asyncio.run(collect())) == 4
    assert [since for since, _ in asked] == ["2009-11-18T07:59:55", "2009-11-18T08:14:55"]
    found = Result({"x": [named]}, source=vast).pivot("uid", "5s")
    assert {name: len(frame) for name, frame in found.items()} == {"zeek.dns": 2, "zeek.files": 1}


def test_addresses_travel_as_addresses():
    """Values of an address field are address objects, not text."""
    asked = plan("orig_h", {"zeek.conn": [conn([0])]}, {}, Taxonomy.default())
    assert asked.params == {"values": [ipaddress.ip_address("10.0.0.1")]}


def test_a_pivot_on_nothing_says_why(vast):
    """No events, no value and no time are three reasons."""
    empty = vast.query('uid == "none"')
    with pytest.warns(errors.VastlabWarning, match="this result is empty"):
        assert empty.pivot("uid").num_rows == 0
    blank = vast.query('#type == "zeek.ssl" && server_name == ""')
    with pytest.warns(errors.VastlabWarning, match="no event of this result has a value in 'serv"):
        assert blank.pivot("server_name").num_rows == 0
    timeless = Result({"x": [_events("x", note=pa.array(["C1"]))]}, source=vast)
    with pytest.warns(errors.VastlabWarning, match=r"'note' has a time"):
        assert timeless.pivot("note", "5m").num_rows == 0
