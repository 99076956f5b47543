"""Lines of JSON of one event type into batches: Arrow's parser first, Python where it refuses.

Arrow's parser is fast, but takes whole blocks only, loses digits of what it infers, and reads
some text as times. So it never infers: the shape of undeclared fields is learned in Python
from the first lines, and again from each block that turns out to hold something new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.store.readers import _json_text, _values
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._shapes import (
    Fixed,
    ListShape,
    MisfitError,
    RecordShape,
    Scalar,
    Shape,
    fit,
    observe,
    shape_of,
    type_of,
)
from vastlab.types import Kind, Type

SAMPLE = 100
REFUSALS = (ValueError, pa.ArrowException)
_SECONDS = pa.decimal128(38, 24)  # the shortest text of a double can have so many places
_TEXT_KINDS = (Kind.IP, Kind.SUBNET, Kind.ENUM, Kind.STRING)

Assemble = Callable[[Mapping[str, pa.Array], Mapping[str, Type], int], pa.RecordBatch]


class JSONTable:
    """The events of one type in one file.

    Parameters
    ----------
    fields
        The declared fields.
    path
        The file, for problems.
    problems
        Where lines are reported that cannot be read.
    assemble
        Makes a batch of columns and their types.
    """

    def __init__(
        self, fields: Mapping[str, Type], path: str, problems: Problems, assemble: Assemble
    ) -> None:
        self._root = RecordShape({n: shape_of(t) for n, t in fields.items()}, declared=True)
        self._path = path
        self._problems = problems
        self._assemble = assemble
        self._number_times = False
        self._sampled = False

    def fast(self, lines: Sequence[bytes]) -> pa.RecordBatch | None:
        """Convert lines with Arrow's parser; ``None`` where it cannot be trusted with them.

        None of the lines may be deep: that parser is recursive.
        """
        if not self._sampled:
            self._sampled = True
            self._sample(lines[:: len(lines) // SAMPLE + 1])
        data = b"\n".join(lines)
        try:
            data.isascii() or data.decode()
            return self._parse(data, len(lines))
        except REFUSALS:
            pass
        self._number_times = not self._number_times
        try:
            return self._parse(data, len(lines))
        except REFUSALS:
            self._number_times = not self._number_times
            return None

    def _sample(self, lines: Sequence[bytes]) -> None:
        ignored = Problems(keep=0)
        for _, event in _json_text.decode_lines(lines, range(len(lines)), "", ignored):
            observe(self._root, event)

    def _parse(self, data: bytes, count: int) -> pa.RecordBatch:
        shapes = self._root.fields
        wire = pa.schema([(name, self._wire(shape)) for name, shape in shapes.items()])
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 64),
            pyarrow.json.ParseOptions(explicit_schema=wire, unexpected_field_behavior="infer"),
        )
        if table.num_rows != count or table.schema != wire:
            raise ValueError("something that is not in the shape yet")
        columns = {
            name: self._unwire(table.column(name).combine_chunks(), shape)
            for name, shape in shapes.items()
        }
        return self._assemble(columns, self._types(), count)

    def _types(self) -> dict[str, Type]:
        return {name: type_of(shape) for name, shape in self._root.fields.items()}

    def _wire(self, shape: Shape) -> pa.DataType:
        """Return what Arrow's parser is asked for."""
        match shape:
            case ListShape(item):
                return pa.list_(self._wire(item))
            case RecordShape(fields):
                return pa.struct([(name, self._wire(inner)) for name, inner in fields.items()])
            case Fixed(Type(kind=Kind.TIME)):
                return _SECONDS if self._number_times else pa.timestamp("ns")
            case Fixed(Type(kind=Kind.DURATION)):
                return _SECONDS
            case Fixed(Type(kind=kind)) if kind in _TEXT_KINDS:
                return pa.string()
            case Fixed() | Scalar():
                return arrow_schema.type_to_arrow(type_of(shape))

    def _unwire(self, array: pa.Array, shape: Shape) -> pa.Array:
        """Bring what Arrow's parser gave into its type."""
        match shape:
            case ListShape(item):
                values = self._unwire(array.values, item)
                field = pa.field("item", values.type)
                mask = array.is_null() if array.null_count else None
                return pa.ListArray.from_arrays(
                    array.offsets, values, type=pa.list_(field), mask=mask
                )
            case RecordShape(fields) if fields:
                members = [
                    self._unwire(array.field(i), inner) for i, inner in enumerate(fields.values())
                ]
                mask = array.is_null() if array.null_count else None
                return pa.StructArray.from_arrays(members, names=list(fields), mask=mask)
            case Fixed(type_):
                return self._unwire_fixed(array, type_)
            case _:
                return array

    def _unwire_fixed(self, array: pa.Array, type_: Type) -> pa.Array:
        match type_.kind:
            case Kind.TIME | Kind.DURATION if pa.types.is_decimal(array.type):
                return _values.from_decimal(_nanosecond_places(array), type_.kind)
            case Kind.IP:
                return _values.addresses(array)
            case Kind.SUBNET:
                return _values.subnets(array)
            case Kind.ENUM:
                return _enumerate(array, type_)
            case _:
                return array

    def slow(self, events: Sequence[tuple[int, dict[str, Any]]]) -> pa.RecordBatch | None:
        """Convert decoded lines one by one; reports those that do not fit."""
        for _, event in events:
            observe(self._root, event)
        rows = []
        for number, event in events:
            try:
                rows.append(fit(event, self._root))
            except MisfitError as error:
                self._problems.add(self._path, number, str(error))
        if not rows:
            return None
        types = self._types()
        columns = {
            name: _build([row.get(name) for row in rows], type_) for name, type_ in types.items()
        }
        return self._assemble(columns, types, len(rows))


def _nanosecond_places(seconds: pa.Array) -> pa.Array:
    rounded = pc.round(seconds, 9, round_mode="half_to_even")
    # A time in milliseconds is too large here, and is left to the slow way.
    return rounded.cast(pa.decimal128(38, 9))


def _enumerate(array: pa.Array, type_: Type) -> pa.Array:
    labels = pa.array([label for label, _ in type_.labels], pa.string())
    keys = pc.index_in(array, value_set=labels)
    if keys.null_count != array.null_count:
        raise ValueError("a text is no label")
    encoded = pa.DictionaryArray.from_arrays(keys.cast(pa.uint8()), labels)
    target = arrow_types.EnumerationType(type_.labels)
    return pa.ExtensionArray.from_storage(target, encoded)


def _build(values: Sequence[Any], type_: Type) -> pa.Array:
    """Make an array of fitted values, from the innermost outwards: null records hold nulls."""
    match type_.kind:
        case Kind.LIST:
            flat = [item for value in values for item in value or ()]
            lengths = (len(value or ()) for value in values)
            return pa.ListArray.from_arrays(
                pa.array(accumulate(lengths, initial=0), pa.int32()),
                _build(flat, type_.item or Type(Kind.NULL)),
                type=arrow_schema.type_to_arrow(type_),
                mask=_null_mask(values),
            )
        case Kind.RECORD if type_.fields:
            rows = [{} if value is None else value for value in values]
            return pa.StructArray.from_arrays(
                [_build([row.get(m.name) for row in rows], m.type) for m in type_.fields],
                fields=list(arrow_schema.type_to_arrow(type_)),
                mask=_null_mask(values),
            )
        case Kind.ENUM:
            return _enumerate(pa.array(values, pa.string()), type_)
        case Kind.IP:
            return pa.ExtensionArray.from_storage(arrow_types.IP, pa.array(values, pa.binary(16)))
        case Kind.SUBNET:
            return _values.subnet_array(values)
        case _:
            return pa.array(values, arrow_schema.type_to_arrow(type_))


def _null_mask(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())
