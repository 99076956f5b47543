"""Lists without a value in them, on their way from a Tenzir node that sends events live.

The node's writer holds events back until it has seen a type for everything in them, and an
empty list shows none. Nulls are dropped before, but a list is not null. So the length of a list
that holds nothing, or only nulls, travels in a field of its own, and the list is made here
again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vastlab.arrow import nesting
from vastlab.arrow import schema as arrow_schema
from vastlab.compile import tql
from vastlab.types import Kind, Leaf, Schema


@dataclass(frozen=True, slots=True)
class EmptyLists:
    """The lists that may have to travel as their length.

    Parameters
    ----------
    names
        The schemas that have a list, and the path of each.
    mark
        What the names of the fields with the lengths begin with.
    """

    names: tuple[tuple[str, tuple[str, ...]], ...]
    mark: str

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> EmptyLists:
        """Find the lists of all layouts."""
        found = dict.fromkeys(
            (layout.name, leaf.path)
            for layout in layouts
            for leaf in layout.leaves
            if leaf.type.kind is Kind.LIST
        )
        # Nobody can know it, so no field of an event can pass for a length.
        return cls(tuple(found), f"vastlab_{secrets.token_hex(8)}_")

    def steps(self, prefix: str) -> list[str]:
        """Write what follows the export in a pipeline.

        Parameters
        ----------
        prefix
            What some names of schemas begin with, in front of their own.
        """
        by_name: dict[str, list[str]] = {}
        for number, (name, path) in enumerate(self.names):
            by_name.setdefault(name, []).append(self._step(number, tql.path(path)))
        return [
            f"if @name in [{tql.quote(name)}, {tql.quote(prefix + name)}]"
            f" {{ {' | '.join(steps)} }} else {{ pass }}"
            for name, steps in by_name.items()
        ]

    def take(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[tuple[str, ...], pa.Array]]:
        """Take the lengths out of a batch: the events, and the lengths by the path of the list."""
        lengths = {}
        for name in [name for name in batch.schema.names if name.startswith(self.mark)]:
            position = batch.schema.get_field_index(name)
            _, path = self.names[int(name.removeprefix(self.mark))]
            lengths[path] = batch.column(position)
            batch = batch.remove_column(position)
        return batch, lengths

    def _step(self, number: int, field: str) -> str:
        length = f"{self.mark}{number}"
        present = f"{field}.where(x => x != null).length()"
        return (
            f"{length} = {field}.length() if {present} == 0 else null"
            f" | {field} = {field} if {length} == null else null"
        )


def put_back(batch: pa.RecordBatch, lengths: dict[tuple[str, ...], pa.Array]) -> pa.RecordBatch:
    """Make the lists again in a batch that has their fields, all null.

    Parameters
    ----------
    batch
        Events in their layout.
    lengths
        What `EmptyLists.take` returned.
    """
    if not lengths:
        return batch
    schema = arrow_schema.from_arrow(batch.schema)
    flat = nesting.flatten(batch)
    for leaf in schema.leaves:
        if leaf.path in lengths:
            position = flat.schema.get_field_index(leaf.column)
            field = flat.schema.field(position)
            flat = flat.set_column(position, field, _lists(lengths[leaf.path], leaf, field))
    return nesting.nest(flat, schema)


def _lists(lengths: pa.Array, leaf: Leaf, field: pa.Field) -> pa.Array:
    """Make lists of nulls; a null length stands for a null list."""
    sizes = lengths.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    values = pa.nulls(int(offsets[-1]), field.type.value_type)
    mask = lengths.is_null() if lengths.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=field.type, mask=mask)
