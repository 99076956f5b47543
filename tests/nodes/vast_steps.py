"""The steps of a pipeline behind `where` that the VAST node of the tests knows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa

from tests import reference_evaluator as reference
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.types import storage_of
from vastlab.types import Leaf

Step = Callable[[pa.RecordBatch], pa.RecordBatch]
PIPED = re.compile(r"where \((.*)\) \| (select|summarize) ([A-Za-z0-9_., ()]+)", re.DOTALL)


def parse_pipeline(text: str) -> tuple[str, Step]:
    """Return the expression of a pipeline, and what is done with the events."""
    if piped := PIPED.fullmatch(text):
        return piped[1], {"select": select, "summarize": summarize}[piped[2]](piped[3])
    return text.removeprefix("where "), lambda batch: batch


def select(words: str) -> Step:
    """Keep the fields whose dotted path ends with one of these names."""

    def selected(batch: pa.RecordBatch) -> pa.RecordBatch:
        kept = {leaf.path[0] for name in words.split(", ") for leaf in leaves_of(batch, name)}
        assert kept
        return batch.select([name for name in batch.schema.names if name in kept])

    return selected


def summarize(words: str) -> Step:
    """Group one batch; VAST groups all of a layout at once. A sum wraps around."""
    calls, by = (part.split(", ") for part in words.split(" by "))

    def grouped(batch: pa.RecordBatch) -> pa.RecordBatch:
        fields = {name: only(leaves_of(batch, name)).path[0] for name in by}
        asked = {}
        for call in calls:
            function, name = call.removesuffix(")").split("(")
            asked[call] = only(leaves_of(batch, name)).path[0], function
        table = pa.table({name: plain(batch.column(name)) for name in batch.schema.names})
        groups = table.group_by([*fields.values()]).aggregate([*asked.values()]).to_batches()[0]
        columns = {
            name: (batch.schema.field(name), groups.column(name)) for name in fields.values()
        }
        for call, (name, function) in asked.items():
            field = batch.schema.field(name) if function != "count" else pa.field("", pa.uint64())
            columns[call] = field, groups.column(f"{name}_{function}")
        arrays = [typed(array, field.type) for field, array in columns.values()]
        schema = pa.schema([field.with_name(name) for name, (field, _) in columns.items()])
        name = {k: v for k, v in batch.schema.metadata.items() if k.endswith(b":name:0")}
        return pa.RecordBatch.from_arrays(arrays, schema=schema.with_metadata(name))

    return grouped


def leaves_of(batch: pa.RecordBatch, name: str) -> list[Leaf]:
    """Return the fields whose dotted path ends with a name."""
    schema = arrow_schema.from_arrow(batch.schema)
    return [leaf for leaf in schema.leaves if name in reference.dotted_endings(leaf.name)]


def only(leaves: list[Leaf]) -> Leaf:
    """Return the one field, which is at the top: others are read without their records' nulls."""
    (leaf,) = leaves
    assert len(leaf.path) == 1
    return leaf


def plain(array: pa.Array) -> pa.Array:
    """Return values that Arrow groups."""
    storage = storage_of(array)
    is_time = pa.types.is_duration(storage.type) or pa.types.is_timestamp(storage.type)
    return storage.cast(pa.int64()) if is_time else storage


def typed(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return values in a type again."""
    if isinstance(type_, pa.ExtensionType):
        return pa.ExtensionArray.from_storage(type_, typed(array, type_.storage_type))
    return array.cast(type_)
