"""Arrays and batches from one form into another, with the values that do not fit counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address
from vastlab.arrow import types as arrow_types
from vastlab.arrow.schema import (
    describe,
    field_to_arrow,
    from_arrow,
    has_subnet,
    is_encoded,
    kind_of,
    to_arrow,
    type_to_arrow,
)
from vastlab.arrow.types import empty_records, list_parts, null_mask, record_batch, storage_of
from vastlab.errors import FormatError
from vastlab.types import Field, Kind, Schema, Type

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Loss:
    """Values of one field that were changed for one reason, each with its row, which may repeat."""

    field: str
    reason: str
    rows: Rows


class LossCollector:
    """Collects the values that a conversion could not keep."""

    def __init__(self) -> None:
        self.found: list[Loss] = []

    def add(self, reason: str, changed: pa.Array) -> None:
        """Record the values for which a boolean column is true."""
        mask = changed.fill_null(False).to_numpy(zero_copy_only=False)
        self.note((), reason, np.flatnonzero(mask).astype(np.int64))

    def note(self, path: tuple[str, ...], reason: str, rows: Rows) -> None:
        """Record values by their rows; `path` is relative to the field of this object."""
        if rows.size:
            self.found.append(Loss(".".join(path), reason, rows))

    def child(self, name: str = "", owners: Callable[[Rows], Rows] | None = None) -> LossCollector:
        """Return the collector for a field inside, or for the elements of a list without `name`.

        `owners` maps the positions of the parts to rows, if they differ.
        """
        return _ChildCollector(self, name, owners)


class _ChildCollector(LossCollector):
    """The losses of a part, passed on to those of the whole."""

    def __init__(
        self, whole: LossCollector, name: str, owners: Callable[[Rows], Rows] | None
    ) -> None:
        super().__init__()
        self._whole = whole
        self._path = (name,) if name else ()
        self._owners = owners

    def note(self, path: tuple[str, ...], reason: str, rows: Rows) -> None:
        owners = self._owners(rows) if self._owners and rows.size else rows
        self._whole.note((*self._path, *path), reason, owners)


class _StrictCollector(LossCollector):
    """Raises an error for the first loss."""

    def note(self, path: tuple[str, ...], reason: str, rows: Rows) -> None:
        """Raise `pyarrow.ArrowInvalid` if there is a loss."""
        if rows.size:
            field = f"in {'.'.join(path)!r}, " if path else ""
            raise pa.ArrowInvalid(field + reason.partition(" became ")[0])


def list_owners(offsets: pa.Array, lists: pa.Array) -> Callable[[Rows], Rows]:
    """Return a function that maps positions of elements to their lists, without null lists."""

    def owners(rows: Rows) -> Rows:
        starts = offsets.to_numpy(zero_copy_only=False)
        found = np.searchsorted(starts, rows, side="right") - 1
        inside = found < len(lists)
        valid = lists.is_valid().to_numpy(zero_copy_only=False)
        found = found[inside]
        kept: Rows = found[valid[found]].astype(np.int64)
        return kept

    return owners


def dictionary_owners(indices: pa.Array) -> Callable[[Rows], Rows]:
    """Return a function that maps positions in a dictionary to the rows that refer to them."""

    def owners(rows: Rows) -> Rows:
        used = indices.fill_null(0).to_numpy(zero_copy_only=False)
        valid = indices.is_valid().to_numpy(zero_copy_only=False)
        return np.flatnonzero(np.isin(used, rows) & valid).astype(np.int64)

    return owners


_INT64_MAX = 2**63 - 1
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_DAY = 86_400 * _NANOSECONDS["s"]
_EXACT_DIGITS = 15  # a double represents every decimal number of this length


def normalise(
    batch: pa.RecordBatch, name: str | None = None, losses: LossCollector | None = None
) -> pa.RecordBatch:
    """Convert a batch from any library to VAST's types; without `losses`, a bad value raises."""
    schema, target, subnets = describe(batch.schema, name)
    if not subnets and _equal(batch.schema, target):
        return batch
    arrays = [
        convert(batch.column(i), field, member.type, losses)
        for i, (field, member) in enumerate(zip(batch.schema, schema.fields, strict=True))
    ]
    return record_batch(arrays, target, batch.num_rows)


def convert(
    array: pa.Array, field: pa.Field, type_: Type, losses: LossCollector | None = None
) -> pa.Array:
    """Convert one column, described by `field`, to the Arrow form of a type."""
    found = _StrictCollector() if losses is None else losses.child(field.name)
    try:
        return _convert(array, field, type_, found)
    except pa.ArrowException as error:
        message = f"the column {field.name!r} cannot be converted to {type_}: {error}"
        raise FormatError(message) from error


def _convert(array: pa.Array, field: pa.Field, type_: Type, losses: LossCollector) -> pa.Array:
    target = type_to_arrow(type_)
    if _equal(array.type, target) and not has_subnet(type_):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    storage = storage_of(array)
    if kind_of(field) is None and is_encoded(storage.type):
        return _convert_encoded(storage, field, type_, losses)
    match type_.kind:
        case Kind.IP:
            return pa.ExtensionArray.from_storage(target, _addresses(storage, losses))
        case Kind.SUBNET:
            return _convert_subnet(storage, target, losses)
        case Kind.ENUM:
            return _convert_enum(storage, target, losses)
        case Kind.RECORD:
            return _convert_record(storage, type_, target, losses)
        case Kind.LIST:
            return _convert_list(storage, type_, target, losses)
        case Kind.MAP:
            return _convert_map(storage, type_, target, losses)
        case Kind.TIME if pa.types.is_timestamp(storage.type) or pa.types.is_date(storage.type):
            return _convert_time(storage, target, losses)
        case Kind.DURATION if pa.types.is_duration(storage.type) or pa.types.is_time(storage.type):
            return _convert_time(storage, target, losses)
        case Kind.DOUBLE if pa.types.is_decimal(storage.type):
            return _convert_decimal(storage, losses)
        case Kind.STRING if (
            pa.types.is_union(storage.type) or storage.type == pa.month_day_nano_interval()
        ):
            return _as_text(storage)
        case _:
            return storage.cast(target)


def _convert_encoded(
    storage: pa.Array, field: pa.Field, type_: Type, losses: LossCollector
) -> pa.Array:
    inner = field.with_type(storage.type.value_type)
    if pa.types.is_run_end_encoded(storage.type):
        return _convert(pc.run_end_decode(storage), inner, type_, losses)
    indices = storage.indices
    found = losses.child(owners=dictionary_owners(indices))
    return _convert(storage.dictionary, inner, type_, found).take(indices)


def _addresses(storage: pa.Array, losses: LossCollector) -> pa.Array:
    if storage.type == pa.binary(16):
        return storage
    values = storage.cast(pa.binary())
    invalid = pc.not_equal(pc.binary_length(values), 16)
    losses.add("addresses that are not 16 bytes long became null", invalid)
    return _set_null(values, invalid).cast(pa.binary(16))


def _convert_subnet(
    storage: pa.StructArray, target: pa.DataType, losses: LossCollector
) -> pa.Array:
    addresses, lengths = storage.flatten()
    invalid = pc.or_(pc.less(lengths, 0), pc.greater(lengths, 128))
    losses.add("networks with a length outside of 0 to 128 became null", invalid)
    lengths = _set_null(lengths, invalid).cast(pa.uint8())
    addresses = _set_null(_addresses(storage_of(addresses), losses), invalid)
    mask = pc.or_(storage.is_null(), invalid.fill_null(False))
    fields = list(target.storage_type)
    plain = pa.StructArray.from_arrays(
        [addresses, lengths], fields=[fields[0].with_type(addresses.type), fields[1]], mask=mask
    )
    addresses, lengths = address.network_parts(plain)
    inner = pa.StructArray.from_arrays(
        [pa.ExtensionArray.from_storage(arrow_types.IP, addresses), lengths],
        fields=fields,
        mask=null_mask(plain),
    )
    return pa.ExtensionArray.from_storage(target, inner)


def _convert_enum(
    storage: pa.Array, target: arrow_types.EnumerationType, losses: LossCollector
) -> pa.Array:
    """Encode with all labels in order of definition, including unused ones."""
    text = storage.cast(pa.string())
    labels = pa.array([label for label, _ in target.labels], pa.string())
    indices = pc.index_in(text, value_set=labels)
    if indices.null_count != text.null_count:
        invalid = pc.and_(indices.is_null(), text.is_valid())
        example = text.filter(invalid)[0].as_py()
        losses.add(f"values that are not a label, such as {example!r}, became null", invalid)
    encoded = pa.DictionaryArray.from_arrays(indices.cast(pa.uint8()), labels)
    return pa.ExtensionArray.from_storage(target, encoded)


def _convert_record(
    storage: pa.StructArray, type_: Type, target: pa.StructType, losses: LossCollector
) -> pa.Array:
    if not type_.fields:
        return storage
    children = [
        # flatten() applies the record's nulls: the values below a null are undefined.
        _convert(child, storage.type.field(i), member.type, losses.child(member.name))
        for i, (child, member) in enumerate(zip(storage.flatten(), type_.fields, strict=True))
    ]
    return pa.StructArray.from_arrays(children, fields=list(target), mask=null_mask(storage))


def _convert_list(
    storage: pa.Array, type_: Type, target: pa.ListType, losses: LossCollector
) -> pa.Array:
    item, field = type_.item or Type(Kind.NULL), storage.type.value_field
    if pa.types.is_list_view(storage.type) or pa.types.is_large_list_view(storage.type):
        offsets, positions = _view_positions(storage)
        owners, view_owners = list_owners(offsets, storage), dictionary_owners(positions)
        found = losses.child(owners=lambda rows: owners(view_owners(rows)))
        # take() does not support every type, but all types of vastlab's own form.
        values = _convert(storage.values, field, item, found).take(positions)
    else:
        offsets, (values,) = list_parts(storage)
        found = losses.child(owners=list_owners(offsets, storage))
        values = _convert(values, field, item, found)
    return pa.ListArray.from_arrays(offsets, values, type=target, mask=null_mask(storage))


def _view_positions(views: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the offsets of lists with their values in order, and the positions of the values."""
    sizes = pc.list_value_length(views).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    shift = views.offsets.to_numpy(zero_copy_only=False) - offsets[:-1]
    positions = np.arange(offsets[-1]) + np.repeat(shift, sizes)
    return pa.array(offsets, pa.int32()), pa.array(positions, pa.int64())


def _convert_map(
    storage: pa.MapArray, type_: Type, target: pa.MapType, losses: LossCollector
) -> pa.Array:
    offsets, (keys, items) = list_parts(storage)
    owners = list_owners(offsets, storage)
    key_type, item_type = type_.key or Type(Kind.STRING), type_.item or Type(Kind.NULL)
    keys = _convert(keys, storage.type.key_field, key_type, losses.child("key", owners))
    items = _convert(items, storage.type.item_field, item_type, losses.child("value", owners))
    if keys.null_count:  # a pair needs a key
        offsets, (keys, items) = _drop_null_keys(offsets, keys, items)
    return pa.MapArray.from_arrays(offsets, keys, items, type=target, mask=null_mask(storage))


def _drop_null_keys(
    offsets: pa.Array, keys: pa.Array, items: pa.Array
) -> tuple[pa.Array, tuple[pa.Array, pa.Array]]:
    """Remove the pairs whose key is null."""
    valid = keys.is_valid()
    before = np.concatenate([[0], np.cumsum(valid.to_numpy(zero_copy_only=False))])
    offsets = pa.array(before[offsets.to_numpy(zero_copy_only=False)], pa.int32())
    return offsets, (keys.filter(valid), items.filter(valid))


def _convert_time(storage: pa.Array, target: pa.DataType, losses: LossCollector) -> pa.Array:
    """Convert to nanoseconds; zoned times are already UTC in Arrow."""
    type_ = storage.type
    width = pa.int32() if pa.types.is_date32(type_) or pa.types.is_time32(type_) else pa.int64()
    counts = storage.view(width).cast(pa.int64())
    unit = _DAY if pa.types.is_date32(type_) else _NANOSECONDS[getattr(type_, "unit", "ms")]
    limit = _INT64_MAX // unit
    invalid = pc.or_(pc.greater(counts, limit), pc.less(counts, -limit))
    if pc.any(invalid).as_py():
        what = (
            "times outside of 1677 to 2262"
            if target == pa.timestamp("ns")
            else ("durations longer than 292 years")
        )
        losses.add(f"{what} became null", invalid)
        counts = _set_null(counts, invalid)
    return pc.multiply(counts, unit).view(target)


def _convert_decimal(storage: pa.Array, losses: LossCollector) -> pa.Array:
    """Note the numbers of which a double holds only the first digits."""
    doubles = storage.cast(pa.float64())
    if storage.type.precision > _EXACT_DIGITS:
        wide = pa.decimal256(76, max(storage.type.scale, 0))
        try:
            rounded = pc.not_equal(doubles.cast(wide, safe=False), storage.cast(wide))
        except pa.ArrowInvalid:  # a number has more than 76 digits: report all of them as rounded
            rounded = storage.is_valid()
        losses.add("numbers with more digits than a double has became rounded", rounded)
    return doubles


def _as_text(storage: pa.Array) -> pa.Array:
    """Write values of types that VAST lacks as text: unions as JSON, intervals by their parts."""
    texts = [
        value if value is None or isinstance(value, str) else json.dumps(value, default=str)
        for value in storage.to_pylist()
    ]
    return pa.array(texts, pa.string())


def _set_null(values: pa.Array, invalid: pa.Array) -> pa.Array:
    """Return values with null where a column is true."""
    return pc.if_else(invalid.fill_null(False), pa.scalar(None, values.type), values)


def _equal(left: pa.DataType | pa.Schema, right: pa.DataType | pa.Schema) -> bool:
    # `==` ignores metadata, also of nested fields.
    return bool(left.equals(right, check_metadata=True))


def event_times(events: pa.RecordBatch | pa.Table) -> pa.Array | pa.ChunkedArray | None:
    """Return the column of the event time, or None where the schema has none."""
    leaf = from_arrow(events.schema).event_time
    if leaf is None:
        return None
    # By position: names may occur twice.
    column = events.column(events.schema.names.index(leaf.path[0]))
    for name in leaf.path[1:]:
        column = pc.struct_field(column, name)
    return column


def nanoseconds(times: pa.Array | pa.ChunkedArray, missing: int) -> Rows:
    """Return times as numbers since 1970; `missing` stands for null."""
    filled = pc.fill_null(times.cast(pa.timestamp("ns")).cast(pa.int64()), missing)
    return np.asarray(filled.to_numpy(), np.int64)


def flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Flatten all records: one column per leaf, named by `Leaf.column`.

    A null record and a record of nulls become the same. `nest` is the inverse.
    """
    schema = from_arrow(batch.schema)
    leaves = list(_leaf_arrays(batch.columns, list(batch.schema)))
    fields = [
        field.with_name(leaf.column) for (field, _), leaf in zip(leaves, schema.leaves, strict=True)
    ]
    flat = pa.schema(fields, batch.schema.metadata)
    return record_batch([array for _, array in leaves], flat, batch.num_rows)


def flat_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of the result of `flatten`."""
    fields = [field_to_arrow(Field(leaf.column, leaf.type)) for leaf in schema.leaves]
    return pa.schema(fields, to_arrow(schema).metadata)


def _leaf_arrays(
    arrays: list[pa.Array], fields: list[pa.Field]
) -> Iterator[tuple[pa.Field, pa.Array]]:
    for array, field in zip(arrays, fields, strict=True):
        if kind_of(field) is None and pa.types.is_struct(field.type):
            # flatten() applies the record's nulls to its members, field() does not.
            yield from _leaf_arrays(array.flatten(), list(field.type))
        else:
            yield field, array


def nest(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Put columns named by `Leaf.column`, in any order, back into their records.

    Other columns are ignored. Records are never null. No value is copied.
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
