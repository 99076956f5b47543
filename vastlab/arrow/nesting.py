"""Batches between their nested form, as events are, and their flat one, as files have them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from vastlab.arrow.arrays import empty_records, record_batch
from vastlab.arrow.convert import convert
from vastlab.arrow.schema import field_to_arrow, from_arrow, kind_of, to_arrow
from vastlab.types import Field, Schema


def flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Open all records: one column per leaf, named by `Leaf.column`.

    A null record and a record of nulls become the same. `nest` is the way back.
    """
    schema = from_arrow(batch.schema)
    leaves = list(_leaf_arrays(batch.columns, list(batch.schema)))
    fields = [
        field.with_name(leaf.column) for (field, _), leaf in zip(leaves, schema.leaves, strict=True)
    ]
    flat = pa.schema(fields, batch.schema.metadata)
    return record_batch([array for _, array in leaves], flat, batch.num_rows)


def flat_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of `flatten`'s answer."""
    fields = [field_to_arrow(Field(leaf.column, leaf.type)) for leaf in schema.leaves]
    return pa.schema(fields, to_arrow(schema).metadata)


def _leaf_arrays(
    arrays: list[pa.Array], fields: list[pa.Field]
) -> Iterator[tuple[pa.Field, pa.Array]]:
    for array, field in zip(arrays, fields, strict=True):
        if kind_of(field) is None and pa.types.is_struct(field.type):
            # flatten() applies the record's own nulls to its members, field() would not.
            yield from _leaf_arrays(array.flatten(), list(field.type))
        else:
            yield field, array


def nest(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Put flat columns back into their records.

    Parameters
    ----------
    batch
        Columns named by `Leaf.column`, in any order; others are left out.
    schema
        What the answer looks like.

    Returns
    -------
    pyarrow.RecordBatch
        With the schema ``to_arrow(schema)``. Records are never null. No value is copied.
    """
    columns = iter(
        [
            convert(batch.column(leaf.column), batch.schema.field(leaf.column), leaf.type)
            for leaf in schema.leaves
        ]
    )
    target = to_arrow(schema)
    arrays = [_nest(field, columns, batch.num_rows) for field in target]
    return record_batch(arrays, target, batch.num_rows)


def _nest(field: pa.Field, columns: Iterator[pa.Array], num_rows: int) -> pa.Array:
    if kind_of(field) is not None or not pa.types.is_struct(field.type):
        return next(columns)
    members = list(field.type)
    if not members:
        return empty_records(num_rows, field.type)
    return pa.StructArray.from_arrays(
        [_nest(member, columns, num_rows) for member in members], fields=members
    )
