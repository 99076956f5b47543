"""Lists that hold nothing survive the way from a Tenzir node that sends events live."""

from __future__ import annotations

import pyarrow as pa
import pytest

import vastlab
from vastlab import VAST, ExportMode, demo, to_json_rows
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.nodes import process
from vastlab.nodes.tenzir.conditions import EmptyLists, put_back
from vastlab.types import Field, Kind, Schema, Type

TAGS = Field("tags", Type(Kind.LIST, item=Type(Kind.STRING)))
HOSTS = Field("hosts", Type(Kind.LIST, item=Type(Kind.IP)))
INNER = Field("in", Type(Kind.RECORD, fields=(HOSTS,)))
SCHEMA = Schema("x.y", (Field("a", Type(Kind.INT64)), TAGS, INNER))


def empty_events(rows):
    """Make events of the schema in which all lists are null."""
    flat = convert.flat_schema(SCHEMA)
    arrays = [pa.array(range(rows), pa.int64()), *(pa.nulls(rows, f.type) for f in list(flat)[1:])]
    return convert.nest(pa.RecordBatch.from_arrays(arrays, schema=flat), SCHEMA)


def test_the_pipeline_names_each_list_once():
    """Every list of a schema has a step of its own, and odd names are quoted."""
    lists = EmptyLists.of([SCHEMA, SCHEMA])
    (step,) = lists.steps("new.")
    assert step.startswith('if @name in ["x.y", "new.x.y"] { ')
    assert step.endswith(" } else { pass }")
    assert f"{lists.mark}0 = tags.length() if tags.where(x => x != null).length() == 0" in step
    assert 'this["in"]["hosts"]' in step


def test_lists_are_made_again_from_their_lengths():
    """Empty lists, lists of nulls and null lists come back as what they were."""
    lists = EmptyLists.of([SCHEMA])
    sent = empty_events(3)
    sent = sent.append_column(f"{lists.mark}0", pa.array([0, 2, None], pa.int64()))
    sent = sent.append_column(f"{lists.mark}1", pa.array([1, None, 0], pa.int64()))
    batch, lengths = lists.take(sent)
    assert batch.schema == arrow_schema.to_arrow(SCHEMA)
    made = put_back(batch, lengths)
    assert made.column("tags").to_pylist() == [[], [None, None], None]
    assert made.column("in").field("hosts").to_pylist() == [[None], None, []]
    assert made.schema == batch.schema


def test_without_lengths_nothing_changes():
    """A batch in which all lists hold something stays the same object."""
    batch, lengths = EmptyLists.of([SCHEMA]).take(empty_events(2))
    assert not lengths
    assert put_back(batch, lengths) is batch


@pytest.mark.full
@pytest.mark.skipif(process.find_tenzir() is None, reason="the package tenzir is not installed")
async def test_live_history_is_the_stored_history(tmp_path):
    """What a live export begins with is, value by value, what a plain export returns."""

    async def rows(vast, mode):
        stream = to_json_rows(vast.export("", mode, 500))
        return sorted(repr(row) for row in [row async for row in stream])

    with vastlab.start_node(tmp_path / "state") as node:
        async with VAST(node.endpoint) as vast:
            await vast.ingest(list(demo.batches(500)))
            assert await rows(vast, ExportMode.UNIFIED) == await rows(vast, ExportMode.HISTORICAL)
