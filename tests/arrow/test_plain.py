"""Plain forms of columns, which programs without our types read."""

from __future__ import annotations

import pyarrow as pa

from tests import arrow_strategies as arrow
from vastlab.arrow.convert import event_times, nanoseconds
from vastlab.arrow.plain import fit, plain_type, to_plain
from vastlab.arrow.schema import to_arrow
from vastlab.types import Field, Kind, Schema, Type

TEXT = pa.string()
MAP = Type(Kind.MAP, key=Type(Kind.STRING), item=Type(Kind.IP))
V4 = b"\0" * 10 + b"\xff\xff"


def test_maps_lists_and_records_hold_plain_values():
    """At every depth."""
    nested = Type(Kind.RECORD, fields=(Field("m", MAP), Field("l", Type(Kind.LIST, item=MAP))))
    plain = pa.map_(TEXT, TEXT)
    assert plain_type(nested, TEXT) == pa.struct([("m", plain), ("l", pa.list_(plain))])
    column = arrow.array(MAP, [[("a", V4 + bytes([10, 0, 0, 1]))], None])
    assert to_plain(column, MAP, TEXT).to_pylist() == [[("a", "10.0.0.1")], None]


def test_a_layout_without_a_field_has_nulls():
    """In the type that the others have."""
    found = fit(pa.nulls(2), Type(Kind.NULL), Type(Kind.IP), TEXT)
    assert (found.type, found.to_pylist()) == (TEXT, [None, None])


def test_events_without_a_time_have_no_times():
    """Neither a column nor a guess."""
    assert event_times(pa.table({"a": [1]})) is None


def test_the_event_time_may_be_inside_a_record():
    """Where the schema names it so."""
    moment = Field("ts", Type(Kind.TIME))
    record = Type(Kind.RECORD, fields=(moment,))
    schema = Schema("my.events", (Field("r", record),), (("event-time", "r.ts"),))
    table = pa.Table.from_arrays([arrow.array(record, [(5,)])], schema=to_arrow(schema))
    assert nanoseconds(event_times(table), 0).tolist() == [5]
