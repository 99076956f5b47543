"""Batches as anyone writes them, brought into vastlab's own form."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address
from vastlab.arrow import types as arrow_types
from vastlab.arrow.arrays import list_parts, null_mask, record_batch, storage_of
from vastlab.arrow.schema import describe, has_subnet, is_encoded, kind_of, type_to_arrow
from vastlab.errors import FormatError
from vastlab.types import Kind, Type


def normalise(batch: pa.RecordBatch, name: str | None = None) -> pa.RecordBatch:
    """Bring a batch into vastlab's own form: VAST's types under VAST's names.

    Parameters
    ----------
    batch
        Events as any library wrote them: extension types of either family, registered or
        not, smaller integers, dictionaries of text, zoned times.
    name
        The schema name to use instead of the one in the metadata.

    Returns
    -------
    pyarrow.RecordBatch
        With the schema ``to_arrow(from_arrow(batch.schema, name))``; columns that are in
        this form already are not copied.
    """
    schema, target, subnets = describe(batch.schema, name)
    if not subnets and _equal(batch.schema, target):
        return batch
    arrays = [
        convert(batch.column(i), field, member.type)
        for i, (field, member) in enumerate(zip(batch.schema, schema.fields, strict=True))
    ]
    return record_batch(arrays, target, batch.num_rows)


def convert(array: pa.Array, field: pa.Field, type_: Type) -> pa.Array:
    """Bring one column into the form that `type_to_arrow` gives its type.

    Parameters
    ----------
    array
        The values.
    field
        How the source describes them.
    type_
        What they shall become.

    Returns
    -------
    pyarrow.Array
        The same array where nothing has to change.

    Raises
    ------
    FormatError
        Where a value does not fit the type.
    """
    try:
        return _convert(array, field, type_)
    except pa.ArrowException as error:
        message = f"the column {field.name!r} does not fit the type {type_}: {error}"
        raise FormatError(message) from error


def _convert(array: pa.Array, field: pa.Field, type_: Type) -> pa.Array:
    target = type_to_arrow(type_)
    if _equal(array.type, target) and not has_subnet(type_):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    storage = storage_of(array)
    if kind_of(field) is None and is_encoded(storage.type):
        return _convert_encoded(storage, field, type_)
    match type_.kind:
        case Kind.IP:
            return pa.ExtensionArray.from_storage(target, storage.cast(pa.binary(16)))
        case Kind.SUBNET:
            return _convert_subnet(storage, target)
        case Kind.ENUM:
            return _convert_enum(storage, target)
        case Kind.RECORD:
            return _convert_record(storage, type_, target)
        case Kind.LIST:
            return _convert_list(storage, type_, target)
        case Kind.MAP:
            return _convert_map(storage, type_, target)
        case Kind.TIME if pa.types.is_timestamp(storage.type):
            # The clock of a zoned time is UTC in Arrow already.
            return storage.cast(pa.timestamp(storage.type.unit)).cast(target)
        case Kind.DURATION if pa.types.is_time(storage.type):
            integer = pa.int32() if pa.types.is_time32(storage.type) else pa.int64()
            return (
                storage.cast(integer)
                .cast(pa.int64())
                .cast(pa.duration(storage.type.unit))
                .cast(target)
            )
        case _:
            return storage.cast(target)


def _convert_encoded(storage: pa.Array, field: pa.Field, type_: Type) -> pa.Array:
    inner = field.with_type(storage.type.value_type)
    if pa.types.is_run_end_encoded(storage.type):
        return _convert(pc.run_end_decode(storage), inner, type_)
    return _convert(storage.dictionary, inner, type_).take(storage.indices)


def _convert_subnet(storage: pa.StructArray, target: pa.DataType) -> pa.Array:
    addresses, lengths = address.network_parts(storage)
    inner = pa.StructArray.from_arrays(
        [pa.ExtensionArray.from_storage(arrow_types.IP, addresses), lengths],
        fields=list(target.storage_type),
        mask=null_mask(storage),
    )
    return pa.ExtensionArray.from_storage(target, inner)


def _convert_enum(storage: pa.Array, target: arrow_types.EnumerationType) -> pa.Array:
    """Encode against all labels in order of definition, also the unused ones."""
    text = storage.cast(pa.string())
    labels = pa.array([label for label, _ in target.labels], pa.string())
    indices = pc.index_in(text, value_set=labels)
    if indices.null_count != text.null_count:
        unknown = text.filter(pc.and_(indices.is_null(), text.is_valid()))[0]
        raise pa.ArrowInvalid(f"no label {unknown.as_py()!r}")
    encoded = pa.DictionaryArray.from_arrays(indices.cast(pa.uint8()), labels)
    return pa.ExtensionArray.from_storage(target, encoded)


def _convert_record(storage: pa.StructArray, type_: Type, target: pa.StructType) -> pa.Array:
    if not type_.fields:
        return storage
    children = [
        # flatten() applies the record's own nulls: what lies below one may be anything.
        _convert(child, storage.type.field(i), member.type)
        for i, (child, member) in enumerate(zip(storage.flatten(), type_.fields, strict=True))
    ]
    return pa.StructArray.from_arrays(children, fields=list(target), mask=null_mask(storage))


def _convert_list(storage: pa.Array, type_: Type, target: pa.ListType) -> pa.Array:
    item, field = type_.item or Type(Kind.NULL), storage.type.value_field
    if pa.types.is_list_view(storage.type) or pa.types.is_large_list_view(storage.type):
        offsets, places = _view_places(storage)
        # Not every type can be taken from, but all of vastlab's own form can.
        values = _convert(storage.values, field, item).take(places)
    else:
        offsets, (values,) = list_parts(storage)
        values = _convert(values, field, item)
    return pa.ListArray.from_arrays(offsets, values, type=target, mask=null_mask(storage))


def _view_places(views: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the offsets that lists have when their values stand in order, and where those are."""
    sizes = pc.list_value_length(views).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    shift = views.offsets.to_numpy(zero_copy_only=False) - offsets[:-1]
    places = np.arange(offsets[-1]) + np.repeat(shift, sizes)
    return pa.array(offsets, pa.int32()), pa.array(places, pa.int64())


def _convert_map(storage: pa.MapArray, type_: Type, target: pa.MapType) -> pa.Array:
    offsets, (keys, items) = list_parts(storage)
    keys = _convert(keys, storage.type.key_field, type_.key or Type(Kind.STRING))
    items = _convert(items, storage.type.item_field, type_.item or Type(Kind.NULL))
    return pa.MapArray.from_arrays(offsets, keys, items, type=target, mask=null_mask(storage))


def _equal(left: pa.DataType | pa.Schema, right: pa.DataType | pa.Schema) -> bool:
    # `==` overlooks metadata, also that of nested fields.
    return bool(left.equals(right, check_metadata=True))
