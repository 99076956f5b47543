"""TableSlice: a record batch that knows its name."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given

from tests import arrow_strategies as arrow_st
from vastlab.table_slice import TableSlice, to_pyarrow


@given(arrow_st.tables())
def test_a_slice_describes_its_batch(pair):
    """Name, schema and size are those of the batch, which comes back itself."""
    schema, batch = pair
    part = TableSlice(batch)
    assert (part.name, part.schema, part.num_rows) == (schema.name, schema, batch.num_rows)
    assert to_pyarrow(part) is part.to_pyarrow() is batch


def test_other_libraries_take_a_slice():
    """Whatever speaks the Arrow C data interface takes a slice, without a copy."""
    batch = pa.RecordBatch.from_pydict({"port": pa.array([80, None], pa.uint64())})
    taken = pa.record_batch(TableSlice(batch))
    assert taken == batch
    assert taken.column(0).buffers()[1].address == batch.column(0).buffers()[1].address


def test_a_slice_says_what_it_is():
    """The repr names the schema and counts the events, hostile names quoted."""
    batch = pa.RecordBatch.from_pydict({"x": [1]})
    part = TableSlice(batch.replace_schema_metadata({"VAST:name:0": "a\nb"}))
    assert repr(part) == r"TableSlice('a\nb', 1 events)"
