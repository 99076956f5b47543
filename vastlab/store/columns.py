"""Events as they lie in a file: flat columns of types that Parquet can hold.

Most types are stored as they are. Three are not. Parquet renames the parts of maps: a map is
stored as a list of records of key and value. Parquet has no record without members: inside
lists, an empty record is stored as a record of one placeholder that is always null. And
pyarrow aborts on reading dictionaries inside lists where there is no value: inside lists,
enumerations are stored as text.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import convert, nesting
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.types import Field, Kind, Leaf, Schema, Type

_PLACEHOLDER = Field("#empty", Type(Kind.BOOL))
_IMPORT_FIELD = pa.field(IMPORT_TIME, pa.timestamp("ns"))


def stored_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of the files that hold events of a schema."""
    flat = nesting.flat_schema(schema)
    for i, leaf in enumerate(schema.leaves):
        if _is_exotic(leaf.type):
            flat = flat.set(i, flat.field(i).with_type(_stored_arrow_type(leaf.type)))
    return flat.append(_IMPORT_FIELD)


def store(
    batch: pa.RecordBatch, schema: Schema, target: pa.Schema, import_time: int
) -> pa.RecordBatch:
    """Turn nested events into rows of a file.

    Parameters
    ----------
    batch
        In the form that `vastlab.arrow.schema.normalise` gives.
    schema
        Of the batch.
    target
        The `stored_schema` of that.
    import_time
        In nanoseconds, for all events.
    """
    flat = nesting.flatten(batch)
    arrays = [
        _to_stored(array, leaf.type) if _is_exotic(leaf.type) else array
        for array, leaf in zip(flat.columns, schema.leaves, strict=True)
    ]
    moment = pa.scalar(import_time, pa.timestamp("ns"))
    arrays.append(pa.repeat(moment, batch.num_rows))
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def restore(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Turn rows of a file back into nested events.

    Parameters
    ----------
    batch
        With the columns of `stored_schema`, in any order.
    schema
        What the answer looks like.
    """
    exotic = [leaf for leaf in schema.leaves if _is_exotic(leaf.type)]
    for leaf in exotic:
        batch = _restore_column(batch, leaf)
    return nesting.nest(batch, schema)


def _restore_column(batch: pa.RecordBatch, leaf: Leaf) -> pa.RecordBatch:
    index = batch.schema.get_field_index(leaf.column)
    array = _from_stored(batch.column(index), leaf.type)
    return batch.set_column(index, batch.schema.field(index).with_type(array.type), array)


def _is_exotic(leaf: Type) -> bool:
    return leaf.kind is not Kind.ENUM and _is_exotic_item(leaf)


@lru_cache(maxsize=4096)
def _is_exotic_item(type_: Type) -> bool:
    match type_.kind:
        case Kind.MAP | Kind.ENUM:
            return True
        case Kind.RECORD:
            return not type_.fields or any(_is_exotic_item(member.type) for member in type_.fields)
        case Kind.LIST:
            return type_.item is not None and _is_exotic_item(type_.item)
        case _:
            return False


def _stored_arrow_type(type_: Type) -> pa.DataType:
    return arrow_schema.type_to_arrow(_stored_type(type_))


def _stored_type(type_: Type) -> Type:
    if not _is_exotic_item(type_):
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
    if not _is_exotic_item(type_):
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
            array = _whole(array)
            pairs = pa.StructArray.from_arrays(
                [array.keys, array.items], fields=list(arrow_schema.type_to_arrow(_pair(type_)))
            )
            return _list(array, _to_stored(pairs, _pair(type_)), _stored_arrow_type(type_))
        case _:
            array = _whole(array)
            return _list(array, _to_stored(array.values, _item(type_)), _stored_arrow_type(type_))


def _from_stored(array: pa.Array, type_: Type) -> pa.Array:
    if not _is_exotic_item(type_):
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
            array = _compact(array) if array.null_count else _whole(array)
            pairs = _from_stored(array.values, _pair(type_))
            return pa.MapArray.from_arrays(
                _null_offsets(array), pairs.field(0), pairs.field(1), type=target
            )
        case _:
            array = _whole(array)
            return _list(array, _from_stored(array.values, _item(type_)), target)


def _struct(children: list[pa.Array], target: pa.DataType, like: pa.Array) -> pa.Array:
    mask = like.is_null() if like.null_count else None
    if not children:
        return pa.array([None if null else {} for null in like.is_null().to_pylist()], target)
    return pa.StructArray.from_arrays(children, fields=list(target), mask=mask)


def _list(like: pa.Array, values: pa.Array, target: pa.DataType) -> pa.Array:
    mask = like.is_null() if like.null_count else None
    return pa.ListArray.from_arrays(like.offsets, values, type=target, mask=mask)


def _whole(array: pa.Array) -> pa.Array:
    """Let a list start at the first of its values: a mask is refused beside an offset."""
    return pa.concat_arrays([array]) if array.offset else array


def _compact(array: pa.Array) -> pa.Array:
    """Let nulls own no values: a null offset would give them to the element before."""
    return array.take(pa.array(range(len(array)), pa.int64()))


def _null_offsets(array: pa.Array) -> pa.Array:
    """Mark nulls in the offsets, which is where maps take them from."""
    if not array.null_count:
        return array.offsets
    nulls = pa.concat_arrays([array.is_null(), pa.array([False])])
    return pc.if_else(nulls, pa.scalar(None, pa.int32()), array.offsets)
