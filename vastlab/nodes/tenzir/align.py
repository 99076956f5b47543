"""Batches from a Tenzir node: brought back into the layouts of its catalog, and joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import convert, nesting
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Kind, Leaf, Schema, Type

_ROWS = 8_192
_ROWS_HELD = 65_536


@dataclass(frozen=True, slots=True)
class Aligner:
    """Brings batches without their null fields back into the layouts of the catalog.

    Parameters
    ----------
    layouts
        The layouts, by name.
    """

    layouts: Mapping[str, tuple[Schema, ...]]

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> Aligner:
        """Group layouts by name, the smallest first: the least is added to a batch."""
        by_name: dict[str, list[Schema]] = defaultdict(list)
        for layout in sorted(layouts, key=lambda layout: len(layout.leaves)):
            by_name[layout.name].append(layout)
        return cls({name: tuple(alike) for name, alike in by_name.items()})

    def align(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add the fields that are missing, as nulls, and restore the order."""
        plain = convert.normalise(batch)
        own = arrow_schema.from_arrow(plain.schema)
        arrays = nesting.flatten(plain).columns
        columns = {
            leaf.path: (leaf.type, array)
            for leaf, array in zip(own.leaves, arrays, strict=True)
            if array.null_count < len(array)
        }
        for layout in self.layouts.get(own.name, ()):
            if layout == own:
                return plain
            if _covers(layout, columns):
                return _widen(plain, columns, layout)
        return plain


_Columns = Mapping[tuple[str, ...], tuple[Type, pa.Array]]


def _covers(layout: Schema, columns: _Columns) -> bool:
    known = {leaf.path: leaf.type for leaf in layout.leaves}
    return all(path in known and _fits(type_, known[path]) for path, (type_, _) in columns.items())


def _fits(arrived: Type, known: Type) -> bool:
    if arrived.kind is Kind.NULL:
        return True
    if arrived.kind is not known.kind:
        return False
    if arrived.item is not None and known.item is not None:
        return _fits(arrived.item, known.item)
    if arrived.kind is Kind.RECORD:  # within a list
        types = {field.name: field.type for field in known.fields}
        return all(
            field.name in types and _fits(field.type, types[field.name]) for field in arrived.fields
        )
    return True


def _widen(batch: pa.RecordBatch, columns: _Columns, layout: Schema) -> pa.RecordBatch:
    target = nesting.flat_schema(layout)
    arrays = [
        _column(columns.get(leaf.path), field, leaf, batch.num_rows)
        for leaf, field in zip(layout.leaves, target, strict=True)
    ]
    return nesting.nest(arrow_arrays.record_batch(arrays, target, batch.num_rows), layout)


def _column(
    column: tuple[Type, pa.Array] | None, field: pa.Field, leaf: Leaf, num_rows: int
) -> pa.Array:
    if column is None:
        return pa.nulls(num_rows, field.type)
    array = column[1]
    if array.type == field.type:
        return array
    # A list whose elements are all null arrives as a list of nothing.
    return convert.convert(array, pa.field(field.name, array.type), leaf.type)


class Coalescer:
    """Joins batches of one layout: the node sends at most 1,024 rows at a time.

    Parameters
    ----------
    rows
        How many rows are enough; fewer than usual where a query wants fewer.
    """

    def __init__(self, rows: int | None = None) -> None:
        self._enough = min(_ROWS, rows or _ROWS)
        self._held: dict[bytes, list[pa.RecordBatch]] = defaultdict(list)
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take a batch, and return what has become large enough."""
        key = batch.schema.serialize().to_pybytes()
        alike = self._held[key]
        alike.append(batch)
        self._rows += batch.num_rows
        if sum(part.num_rows for part in alike) >= self._enough:
            yield self._join(key)
        elif self._rows >= _ROWS_HELD:
            yield from self.flush()

    def flush(self) -> Iterator[pa.RecordBatch]:
        """Return everything that is held."""
        for key in tuple(self._held):
            yield self._join(key)

    def _join(self, key: bytes) -> pa.RecordBatch:
        alike = self._held.pop(key)
        self._rows -= sum(part.num_rows for part in alike)
        return pa.concat_batches(alike) if len(alike) > 1 else alike[0]
