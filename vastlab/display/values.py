"""The values of one field, read from the columns of Arrow and as text only once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import convert, nesting, render
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Kind, Leaf, Schema, Type

Numbers = npt.NDArray[np.int64]

# What Arrow cannot look up in a dictionary, or has there already with other labels in each batch.
_TEXT_FIRST = frozenset({Kind.SUBNET, Kind.ENUM, Kind.LIST, Kind.MAP, Kind.RECORD, Kind.NULL})
_NO_NUMBERS: Numbers = np.empty(0, np.int64)
_NO_TEXTS = pa.array([], pa.string())


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a field in one table; nulls are left out.

    Parameters
    ----------
    rows
        The row that each value stands in, ascending; a list has several values in its row.
    codes
        For each value, which of the texts it is.
    texts
        The values as text; the same text may be there twice.
    """

    rows: Numbers
    codes: Numbers
    texts: pa.StringArray

    def counts(self) -> pa.Array:
        """Return how often each of the texts occurs."""
        return pa.array(np.bincount(self.codes, minlength=len(self.texts)), pa.int64())


def named(field: str, schema: Schema) -> Sequence[Leaf]:
    """Return the fields of a schema that a name means.

    Parameters
    ----------
    field
        The end of a path, with the schema or without.
    schema
        Where to look.
    """
    prefix = f"{schema.name}."
    if field.startswith(prefix):
        wanted = field.removeprefix(prefix)
        return [leaf for leaf in schema.leaves if wanted in (leaf.name, leaf.column)]
    exact = [leaf for leaf in schema.leaves if leaf.column == field]
    return exact or schema.leaves_by_suffix.get(field, ())


def values(table: pa.Table, leaf: Leaf) -> Values:
    """Return the values of a field, elements of lists each on its own.

    Parameters
    ----------
    table
        Events of one layout.
    leaf
        The field.

    Examples
    --------
    >>> table = pa.table({"port": [80, None, 443, 80]})
    >>> found = values(table, arrow_schema.from_arrow(table.schema).leaves[0])
    >>> found.rows.tolist(), found.codes.tolist(), found.texts.to_pylist()
    ([0, 2, 3], [0, 1, 0], ['80', '443'])
    """
    top, place = _place(arrow_schema.from_arrow(table.schema), leaf)
    rows: list[Numbers] = []
    chunks: list[pa.Array] = []
    start, field = 0, None
    # Only the column that the field is in: the others may be many.
    for batch in table.select([top]).to_batches():
        flat = nesting.flatten(convert.normalise(batch))
        field, column = flat.schema.field(place), flat.column(place)
        parents = np.arange(start, start + len(batch))
        if leaf.type.kind is Kind.LIST:
            inside, column = _elements(column)
            parents, field = parents[inside], field.type.value_field
        rows.append(parents[np.asarray(column.is_valid(), np.bool_)])
        chunks.append(column)
        start += len(batch)
    if field is None:
        return Values(_NO_NUMBERS, _NO_NUMBERS, _NO_TEXTS)
    return Values(np.concatenate(rows), *_coded(chunks, field, element(leaf.type).kind))


def _elements(lists: pa.Array) -> tuple[Numbers, pa.Array]:
    """Return what lists hold, and which of them holds it."""
    offsets, (elements,) = arrow_arrays.list_parts(lists)
    bounds = np.asarray(offsets, np.int64)
    sizes = bounds[1:] - bounds[:-1]
    parents = np.repeat(np.arange(len(lists)), sizes)
    # Arrow lets a null list hold something.
    is_there = np.repeat(np.asarray(lists.is_valid(), np.bool_), sizes)
    if is_there.all():
        return parents, elements
    return parents[is_there], elements.filter(pa.array(is_there))


def element(type_: Type) -> Type:
    """Return the type of what a list holds, and other types as they are."""
    return type_.item if type_.kind is Kind.LIST and type_.item is not None else type_


def _place(schema: Schema, leaf: Leaf) -> tuple[int, int]:
    """Find the column that a field is in, and its place among all that this column holds."""
    place = schema.leaves.index(leaf)
    for top, member in enumerate(schema.fields):
        inside = len(Schema("", (member,)).leaves)
        if place < inside:
            return top, place
        place -= inside
    raise IndexError(leaf)


def _coded(chunks: list[pa.Array], field: pa.Field, kind: Kind) -> tuple[Numbers, pa.StringArray]:
    is_text = kind in _TEXT_FIRST
    plain = [
        render.text(chunk, field) if is_text else arrow_arrays.storage_of(chunk) for chunk in chunks
    ]
    encoded = pa.chunked_array(plain).dictionary_encode().chunks
    if not encoded:
        return _NO_NUMBERS, _NO_TEXTS
    codes = [np.asarray(chunk.indices.drop_null(), np.int64) for chunk in encoded]
    texts = encoded[0].dictionary  # all chunks have this one
    return np.concatenate(codes), texts if is_text else render.text(texts, field)
