"""The columns of a stored file: one for each field that holds a value."""

from __future__ import annotations

import base64
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.types import Field, Kind, Schema, Type

SCHEMA_KEY = "vastlab:schema"  # of a file's metadata
_PLACEHOLDER = Field("#empty", Type(Kind.BOOL))
_IMPORT_FIELD = pa.field(IMPORT_TIME, pa.timestamp("ns"))


def encode_schema(schema: Schema) -> str:
    """Encode a nested schema as text: an Arrow schema message in base64."""
    message = arrow_schema.to_arrow(schema).serialize().to_pybytes()
    return base64.b64encode(message).decode()


def decode_schema(text: str) -> Schema:
    """Decode the result of `encode_schema`."""
    message = pa.py_buffer(base64.b64decode(text))
    return arrow_schema.from_arrow(pa.ipc.read_schema(message))


def stored_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of the files that hold events of a schema."""
    return exported_schema(schema).append(_IMPORT_FIELD)


def exported_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of an exported file: without import time."""
    flat = convert.flat_schema(schema)
    for i, leaf in enumerate(schema.leaves):
        if _needs_conversion(leaf.type):
            flat = flat.set(i, flat.field(i).with_type(_stored_arrow_type(leaf.type)))
    return flat


def store(
    batch: pa.RecordBatch, schema: Schema, target: pa.Schema, import_time: int
) -> pa.RecordBatch:
    """Convert nested events in the form of `convert.normalise` to rows of a file."""
    arrays = [*export(batch, schema), _import_times(import_time, batch.num_rows)]
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def with_import_time(rows: pa.RecordBatch, import_time: int) -> pa.RecordBatch:
    """Change the import time of rows of a file."""
    times = _import_times(import_time, rows.num_rows)
    return rows.set_column(rows.num_columns - 1, _IMPORT_FIELD, times)


def _import_times(import_time: int, num_rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(import_time, _IMPORT_FIELD.type), num_rows)


def export(batch: pa.RecordBatch, schema: Schema) -> list[pa.Array]:
    """Convert nested events to the columns of `exported_schema`."""
    flat = convert.flatten(batch)
    return [
        _to_stored(array, leaf.type) if _needs_conversion(leaf.type) else array
        for array, leaf in zip(flat.columns, schema.leaves, strict=True)
    ]


def restore(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Convert rows of a file, with columns in any order, back to nested events."""
    for leaf in schema.leaves:
        if _needs_conversion(leaf.type):
            index = batch.schema.get_field_index(leaf.column)
            array = _from_stored(batch.column(index), leaf.type)
            field = batch.schema.field(index).with_type(array.type)
            batch = batch.set_column(index, field, array)
    return convert.nest(batch, schema)


def _needs_conversion(leaf: Type) -> bool:
    return leaf.kind is not Kind.ENUM and _item_needs_conversion(leaf)


@lru_cache(maxsize=4096)
def _item_needs_conversion(type_: Type) -> bool:
    match type_.kind:
        case Kind.MAP | Kind.ENUM:
            return True
        case Kind.RECORD:
            return not type_.fields or any(
                _item_needs_conversion(member.type) for member in type_.fields
            )
        case Kind.LIST:
            return type_.item is not None and _item_needs_conversion(type_.item)
        case _:
            return False


def _stored_arrow_type(type_: Type) -> pa.DataType:
    return arrow_schema.type_to_arrow(_stored_type(type_))


def _stored_type(type_: Type) -> Type:
    if not _item_needs_conversion(type_):
        return type_
    match type_.kind:
        case Kind.ENUM:
            return Type(Kind.STRING, type_.names, type_.attributes)
        case Kind.MAP:
            return Type(Kind.LIST, type_.names, type_.attributes, item=_stored_type(_pair(type_)))
        case Kind.RECORD:
            members = tuple(Field(m.name, _stored_type(m.type)) for m in type_.fields)
            fields = members or (_PLACEHOLDER,)
            return Type(Kind.RECORD, type_.names, type_.attributes, fields=fields)
        case _:
            item = _stored_type(_item(type_))
            return Type(Kind.LIST, type_.names, type_.attributes, item=item)


def _pair(type_: Type) -> Type:
    key = type_.key or Type(Kind.STRING)
    return Type(Kind.RECORD, fields=(Field("key", key), Field("value", _item(type_))))


def _item(type_: Type) -> Type:
    return type_.item or Type(Kind.NULL)


def _to_stored(array: pa.Array, type_: Type) -> pa.Array:
    if not _item_needs_conversion(type_):
        return array
    match type_.kind:
        case Kind.ENUM:
            return arrow_arrays.storage_of(array).cast(pa.string())
        case Kind.RECORD:
            children = [
                _to_stored(array.field(i), member.type) for i, member in enumerate(type_.fields)
            ]
            placeholder = [] if children else [pa.nulls(len(array), pa.bool_())]
            return _struct(children + placeholder, _stored_arrow_type(type_), array)
        case Kind.MAP:
            array = _without_offset(array)
            pairs = pa.StructArray.from_arrays(
                [array.keys, array.items], fields=list(arrow_schema.type_to_arrow(_pair(type_)))
            )
            return _list(array, _to_stored(pairs, _pair(type_)), _stored_arrow_type(type_))
        case _:
            array = _without_offset(array)
            return _list(array, _to_stored(array.values, _item(type_)), _stored_arrow_type(type_))


def _from_stored(array: pa.Array, type_: Type) -> pa.Array:
    if not _item_needs_conversion(type_):
        return array
    target = arrow_schema.type_to_arrow(type_)
    match type_.kind:
        case Kind.ENUM:
            return convert.convert(array, pa.field("item", array.type), type_)
        case Kind.RECORD:
            children = [
                _from_stored(array.field(i), member.type) for i, member in enumerate(type_.fields)
            ]
            return _struct(children, target, array)
        case Kind.MAP:
            array = _drop_null_values(array) if array.null_count else _without_offset(array)
            pairs = _from_stored(array.values, _pair(type_))
            return pa.MapArray.from_arrays(
                _null_offsets(array), pairs.field(0), pairs.field(1), type=target
            )
        case _:
            array = _without_offset(array)
            return _list(array, _from_stored(array.values, _item(type_)), target)


def _struct(children: list[pa.Array], target: pa.DataType, like: pa.Array) -> pa.Array:
    mask = like.is_null() if like.null_count else None
    if not children:
        return pa.array([None if null else {} for null in like.is_null().to_pylist()], target)
    return pa.StructArray.from_arrays(children, fields=list(target), mask=mask)


def _list(like: pa.Array, values: pa.Array, target: pa.DataType) -> pa.Array:
    mask = like.is_null() if like.null_count else None
    return pa.ListArray.from_arrays(like.offsets, values, type=target, mask=mask)


def _without_offset(array: pa.Array) -> pa.Array:
    """Copy a slice of lists, since `from_arrays` accepts no mask with an offset."""
    return pa.concat_arrays([array]) if array.offset else array


def _drop_null_values(array: pa.Array) -> pa.Array:
    """Remove values owned by nulls: a null offset would give them to the previous element."""
    return array.take(pa.array(range(len(array)), pa.int64()))


def _null_offsets(array: pa.Array) -> pa.Array:
    """Mark nulls in the offsets, where maps read them."""
    if not array.null_count:
        return array.offsets
    nulls = pa.concat_arrays([array.is_null(), pa.array([False])])
    return pc.if_else(nulls, pa.scalar(None, pa.int32()), array.offsets)
