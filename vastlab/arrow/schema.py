"""Schemas between Arrow and VAST's type system, and batches between nested and flat form.

Names and attributes travel in key-value metadata, on the schema for the event and on each
field for its type: ``VAST:name:0`` is the outermost name, ``VAST:attributes:0`` a JSON object.
Tenzir writes the same under ``TENZIR:``. Both are read; the names of VAST are written.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address
from vastlab.arrow import types as arrow_types
from vastlab.errors import FormatError
from vastlab.types import Field, Kind, Schema, Type

PREFIXES = ("VAST", "TENZIR")
IMPORT_TIME = "#import_time"
_EXTENSION_NAME = b"ARROW:extension:name"
_EXTENSION_METADATA = b"ARROW:extension:metadata"

_SIMPLE = {
    Kind.NULL: pa.null(),
    Kind.BOOL: pa.bool_(),
    Kind.INT64: pa.int64(),
    Kind.UINT64: pa.uint64(),
    Kind.DOUBLE: pa.float64(),
    Kind.DURATION: pa.duration("ns"),
    Kind.TIME: pa.timestamp("ns"),
    Kind.STRING: pa.string(),
    Kind.BLOB: pa.binary(),
    Kind.IP: arrow_types.IP,
    Kind.SUBNET: arrow_types.SUBNET,
}


# --- names ----------------------------------------------------------------------------------


def name_of(schema: pa.Schema) -> str:
    """Return the name of the event, or ``""`` for a schema without one."""
    names = _levels(schema.metadata)[0]
    return names[0] if names else ""


def kind_of(field: pa.Field) -> Kind | None:
    """Return ip, subnet or enum for a field of an extension type, registered or not.

    A name over values of another shape is a mistake of its writer: such a field is plain.
    """
    name = getattr(field.type, "extension_name", None)
    if name is None:
        name = (field.metadata or {}).get(_EXTENSION_NAME, b"").decode("utf-8", "replace")
    kind = arrow_types.EXTENSION_NAMES.get(name)
    return kind if kind is None or _fits(kind, storage_type_of(field.type)) else None


def storage_of(array: pa.Array) -> pa.Array:
    """Return the plain array behind an extension array, and other arrays as they are."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def storage_type_of(type_: pa.DataType) -> pa.DataType:
    """Return the plain type behind an extension type, and other types as they are."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def _fits(kind: Kind, storage: pa.DataType) -> bool:
    match kind:
        case Kind.IP:
            return bool(_is_bytes(storage))
        case Kind.SUBNET:
            return arrow_types.is_subnet_storage(storage) and _is_bytes(
                storage_type_of(storage.field(0).type)
            )
        case _:
            return _is_text(storage.value_type if pa.types.is_dictionary(storage) else storage)


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_binary_view(type_)
        or pa.types.is_fixed_size_binary(type_)
    )


def _is_text(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


# --- Arrow -> VAST --------------------------------------------------------------------------


def from_arrow(schema: pa.Schema, name: str | None = None) -> Schema:
    """Describe an Arrow schema in VAST's type system.

    Parameters
    ----------
    schema
        Any Arrow schema; types that VAST lacks map to the nearest that it has.
    name
        The name to use instead of the one in the metadata.

    Returns
    -------
    Schema
        Widened integers become int64 or uint64, smaller floats double, other text string.
    """
    return _describe(_Exact(schema.serialize().to_pybytes(), schema), name)[0]


@dataclasses.dataclass(frozen=True, slots=True)
class _Exact:
    """A key for caches: two Arrow schemas are `==` already when only their metadata differ."""

    serialized: bytes
    schema: pa.Schema = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=256)
def _describe(exact: _Exact, name: str | None) -> tuple[Schema, pa.Schema, bool]:
    """Return the schema, how `to_arrow` writes it, and whether it has a subnet anywhere."""
    names, attributes = _levels(exact.schema.metadata)
    schema = Schema(
        name if name is not None else (names[0] if names else ""),
        tuple(_field_from_arrow(member) for member in exact.schema),
        attributes,
    )
    return schema, to_arrow(schema), any(_has_subnet(f.type) for f in schema.fields)


def _field_from_arrow(field: pa.Field) -> Field:
    return Field(field.name, _type_from_arrow(field))


def _type_from_arrow(field: pa.Field) -> Type:
    names, attributes = _levels(field.metadata)
    field = _decoded_field(field)
    kind = kind_of(field)
    if kind is Kind.ENUM:
        return Type(Kind.ENUM, names, attributes, labels=_labels(field))
    if kind is not None:
        return Type(kind, names, attributes)
    type_ = storage_type_of(field.type)
    if pa.types.is_struct(type_):
        members = tuple(_field_from_arrow(type_.field(i)) for i in range(type_.num_fields))
        return Type(Kind.RECORD, names, attributes, fields=members)
    if pa.types.is_map(type_):
        key, item = _type_from_arrow(type_.key_field), _type_from_arrow(type_.item_field)
        return Type(Kind.MAP, names, attributes, key=key, item=item)
    if _is_list(type_):
        return Type(Kind.LIST, names, attributes, item=_type_from_arrow(type_.value_field))
    return Type(_simple_kind(type_), names, attributes)


def _decoded_field(field: pa.Field) -> pa.Field:
    """Look through encodings that say nothing about the values."""
    while kind_of(field) is None and _is_encoded(storage_type_of(field.type)):
        field = field.with_type(storage_type_of(field.type).value_type)
    return field


def _is_encoded(type_: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_))


def _simple_kind(type_: pa.DataType) -> Kind:
    tests = (
        (pa.types.is_null, Kind.NULL),
        (pa.types.is_boolean, Kind.BOOL),
        (pa.types.is_unsigned_integer, Kind.UINT64),
        (pa.types.is_signed_integer, Kind.INT64),
        (pa.types.is_floating, Kind.DOUBLE),
        (pa.types.is_decimal, Kind.DOUBLE),
        (pa.types.is_duration, Kind.DURATION),
        (pa.types.is_time, Kind.DURATION),
        (pa.types.is_timestamp, Kind.TIME),
        (pa.types.is_date, Kind.TIME),
        (_is_bytes, Kind.BLOB),
    )
    return next((kind for test, kind in tests if test(type_)), Kind.STRING)


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_list_view(type_)
        or pa.types.is_large_list_view(type_)
    )


def _labels(field: pa.Field) -> tuple[tuple[str, int], ...]:
    if isinstance(field.type, arrow_types.EnumerationType):
        return field.type.labels
    if isinstance(field.type, pa.ExtensionType):
        return arrow_types.parse_labels(field.type.__arrow_ext_serialize__())
    return arrow_types.parse_labels((field.metadata or {}).get(_EXTENSION_METADATA, b""))


def _levels(
    metadata: dict[bytes, bytes] | None,
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Read the alias chain and the attributes of all its levels."""
    names: list[str] = []
    attributes: dict[str, str] = {}
    text = {k.decode("utf-8", "replace"): v for k, v in (metadata or {}).items()}
    prefix = next((p for p in PREFIXES if any(k.startswith(f"{p}:") for k in text)), None)
    level = 0
    while prefix is not None:
        name, hints = (text.get(f"{prefix}:{part}:{level}") for part in ("name", "attributes"))
        if name is None and hints is None:
            break
        if name is not None:
            names.append(name.decode("utf-8", "replace"))
        for key, value in _hints(hints).items():
            attributes.setdefault(key, str(value))
        level += 1
    return tuple(names), tuple(attributes.items())


def _hints(serialized: bytes | None) -> dict[str, object]:
    # Attributes have no effect on results: unreadable ones are not worth losing events for.
    try:
        hints = json.loads(serialized or b"{}")
    except (RecursionError, ValueError):
        return {}
    return hints if isinstance(hints, dict) else {}


# --- VAST -> Arrow --------------------------------------------------------------------------


def to_arrow(schema: Schema) -> pa.Schema:
    """Write a schema in Arrow, with VAST's extension types and metadata.

    Examples
    --------
    >>> ts = Field("ts", Type(Kind.TIME, names=("timestamp",)))
    >>> from_arrow(to_arrow(Schema("zeek.conn", (ts,)))) == Schema("zeek.conn", (ts,))
    True
    """
    metadata = _metadata((schema.name,) if schema.name else (), schema.attributes)
    return pa.schema([_field_to_arrow(member) for member in schema.fields], metadata)


def _field_to_arrow(member: Field) -> pa.Field:
    metadata = _metadata(member.type.names, member.type.attributes)
    return pa.field(member.name, type_to_arrow(member.type), metadata=metadata)


def type_to_arrow(type_: Type) -> pa.DataType:
    """Return the Arrow type of a VAST type; its names stand on the field, not here."""
    match type_.kind:
        case Kind.ENUM:
            return arrow_types.EnumerationType(type_.labels)
        case Kind.LIST:
            item = type_.item or Type(Kind.NULL)
            return pa.list_(_field_to_arrow(Field("item", item)))
        case Kind.MAP:
            key = _field_to_arrow(Field("key", type_.key or Type(Kind.STRING)))
            item_field = _field_to_arrow(Field("value", type_.item or Type(Kind.NULL)))
            return pa.map_(key.with_nullable(False), item_field)
        case Kind.RECORD:
            return pa.struct([_field_to_arrow(member) for member in type_.fields])
        case kind:
            return _SIMPLE[kind]


def _metadata(
    names: tuple[str, ...], attributes: tuple[tuple[str, str], ...]
) -> dict[str, str] | None:
    pairs = {f"VAST:name:{level}": name for level, name in enumerate(names)}
    if attributes:
        pairs["VAST:attributes:0"] = json.dumps(dict(attributes))
    return pairs or None


def fingerprint(schema: Schema) -> str:
    """Return a short digest that two schemas share only if they are equal in every part."""
    return hashlib.sha256(to_arrow(schema).serialize().to_pybytes()).hexdigest()[:16]


# --- batches --------------------------------------------------------------------------------


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
    exact = _Exact(batch.schema.serialize().to_pybytes(), batch.schema)
    schema, target, has_subnet = _describe(exact, name)
    if not has_subnet and _equal(batch.schema, target):
        return batch
    arrays = [
        convert(batch.column(i), field, member.type)
        for i, (field, member) in enumerate(zip(batch.schema, schema.fields, strict=True))
    ]
    return record_batch(arrays, target, batch.num_rows)


def record_batch(arrays: list[pa.Array], schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    """Make a batch that keeps its length even without a column."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    rows = _empty_records(num_rows, pa.struct([]))
    return pa.RecordBatch.from_struct_array(rows).replace_schema_metadata(schema.metadata)


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
    if _equal(array.type, target) and not _has_subnet(type_):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    storage = storage_of(array)
    if kind_of(field) is None and _is_encoded(storage.type):
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


def _equal(left: pa.DataType | pa.Schema, right: pa.DataType | pa.Schema) -> bool:
    # `==` overlooks metadata, also that of nested fields.
    return bool(left.equals(right, check_metadata=True))


def _has_subnet(type_: Type) -> bool:
    """Tell whether values may follow another convention although the types are equal."""
    inner = (type_.item, type_.key, *(member.type for member in type_.fields))
    return type_.kind is Kind.SUBNET or any(t is not None and _has_subnet(t) for t in inner)


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


def list_parts(lists: pa.Array) -> tuple[pa.Array, tuple[pa.Array, ...]]:
    """Return the offsets of lists or maps, from 0, and just the values that they reach.

    Without this, each slice of a long column would drag the values of the whole along; and
    `from_arrays` refuses a mask beside offsets that are a slice. Lists of other layouts are
    taken apart here too: a cast would lose the dictionaries of enumerations inside, and the
    next look at them end the process; and `flatten` cannot make empty extension arrays.
    """
    type_ = lists.type
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        values = lists.values.slice(lists.offset * size, len(lists) * size)
        return pa.array(np.arange(len(lists) + 1, dtype=np.int32) * np.int32(size)), (values,)
    inner = (lists.keys, lists.items) if pa.types.is_map(type_) else (lists.values,)
    if len(lists) == 0:
        return pa.array([0], pa.int32()), tuple(values.slice(0, 0) for values in inner)
    offsets = lists.offsets
    first, last = offsets[0].as_py(), offsets[len(offsets) - 1].as_py()
    if first or offsets.offset:
        offsets = pc.subtract(offsets, pa.scalar(first, offsets.type))
    return offsets.cast(pa.int32()), tuple(values.slice(first, last - first) for values in inner)


def null_mask(array: pa.Array) -> pa.Array | None:
    """Return what `from_arrays` takes as a mask; making it costs more than passing none."""
    return array.is_null() if array.null_count else None


def _empty_records(num_rows: int, type_: pa.StructType) -> pa.Array:
    return pa.Array.from_buffers(type_, num_rows, [None])


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
    fields = [_field_to_arrow(Field(leaf.column, leaf.type)) for leaf in schema.leaves]
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
        return _empty_records(num_rows, field.type)
    return pa.StructArray.from_arrays(
        [_nest(member, columns, num_rows) for member in members], fields=members
    )
