"""Schemas between Arrow and VAST's type system, and batches between nested and flat form.

Names and attributes travel in key-value metadata, on the schema for the event and on each
field for its type: ``VAST:name:0`` is the outermost name, ``VAST:attributes:0`` a JSON object.
Tenzir writes the same under ``TENZIR:``. Both are read; the names of VAST are written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pyarrow as pa

from vastlab.arrow import types as arrow_types
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
    """Return ip, subnet or enum for a field of an extension type, registered or not."""
    name = getattr(field.type, "extension_name", None)
    if name is None:
        name = (field.metadata or {}).get(_EXTENSION_NAME, b"").decode("utf-8", "replace")
    return arrow_types.EXTENSION_NAMES.get(name)


def storage_of(array: pa.Array) -> pa.Array:
    """Return the plain array behind an extension array, and other arrays as they are."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


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
    names, attributes = _levels(schema.metadata)
    return Schema(
        name if name is not None else (names[0] if names else ""),
        tuple(_field_from_arrow(field) for field in schema),
        attributes,
    )


def _field_from_arrow(field: pa.Field) -> Field:
    return Field(field.name, _type_from_arrow(field))


def _type_from_arrow(field: pa.Field) -> Type:
    names, attributes = _levels(field.metadata)
    type_ = field.type
    kind = kind_of(field)
    if kind is Kind.ENUM:
        return Type(Kind.ENUM, names, attributes, labels=_labels(field))
    if kind is not None:
        return Type(kind, names, attributes)
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if pa.types.is_struct(type_):
        members = tuple(_field_from_arrow(type_.field(i)) for i in range(type_.num_fields))
        return Type(Kind.RECORD, names, attributes, fields=members)
    if pa.types.is_map(type_):
        return Type(
            Kind.MAP,
            names,
            attributes,
            key=_type_from_arrow(type_.key_field),
            item=_type_from_arrow(type_.item_field),
        )
    if _is_list(type_):
        return Type(Kind.LIST, names, attributes, item=_type_from_arrow(type_.value_field))
    return Type(_simple_kind(type_), names, attributes)


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
        (pa.types.is_binary, Kind.BLOB),
        (pa.types.is_large_binary, Kind.BLOB),
        (pa.types.is_binary_view, Kind.BLOB),
        (pa.types.is_fixed_size_binary, Kind.BLOB),
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
        serialized = field.type.__arrow_ext_serialize__()
    else:
        serialized = (field.metadata or {}).get(_EXTENSION_METADATA, b"{}")
    return tuple(json.loads(serialized or b"{}").items())


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
        for key, value in json.loads(hints or b"{}").items():
            attributes.setdefault(key, value)
        level += 1
    return tuple(names), tuple(attributes.items())


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
    schema = from_arrow(batch.schema, name)
    target = to_arrow(schema)
    arrays = [
        convert(batch.column(i), field, member.type)
        for i, (field, member) in enumerate(zip(batch.schema, schema.fields, strict=True))
    ]
    return record_batch(arrays, target, batch.num_rows)


def record_batch(arrays: list[pa.Array], schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    """Make a batch that keeps its length even without a column."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    empty = pa.StructArray.from_arrays([], fields=[]) if num_rows == 0 else None
    if empty is not None:
        return pa.RecordBatch.from_arrays([], schema=schema)
    rows = pa.array([{}] * num_rows, pa.struct([]))
    return pa.RecordBatch.from_struct_array(rows).replace_schema_metadata(schema.metadata)


def convert(array: pa.Array, field: pa.Field, type_: Type) -> pa.Array:
    """Bring one column into the form that `type_to_arrow` gives its type."""
    target = type_to_arrow(type_)
    if array.type == target and isinstance(array.type, type(target)):
        return array
    storage = storage_of(array)
    match type_.kind:
        case Kind.IP:
            return pa.ExtensionArray.from_storage(target, storage.cast(pa.binary(16)))
        case Kind.SUBNET:
            return _convert_subnet(storage, target)
        case Kind.ENUM:
            return _convert_enum(storage, target)
        case Kind.RECORD:
            return _convert_record(storage, type_)
        case Kind.LIST:
            return _convert_list(storage, type_)
        case Kind.TIME if pa.types.is_timestamp(storage.type) and storage.type.tz:
            return storage.cast(pa.timestamp(storage.type.unit)).cast(target)
        case _:
            return storage.cast(target)


def _convert_subnet(storage: pa.StructArray, target: pa.DataType) -> pa.Array:
    address = storage_of(storage.field("address")).cast(pa.binary(16))
    inner = pa.StructArray.from_arrays(
        [
            pa.ExtensionArray.from_storage(arrow_types.IP, address),
            storage.field("length").cast(pa.uint8()),
        ],
        fields=list(target.storage_type),
        mask=storage.is_null() if storage.null_count else None,
    )
    return pa.ExtensionArray.from_storage(target, inner)


def _convert_enum(storage: pa.Array, target: arrow_types.EnumerationType) -> pa.Array:
    """Encode against all labels in order of definition, also the unused ones."""
    text = storage.cast(pa.string())
    labels = pa.array([label for label, _ in target.labels], pa.string())
    indices = pa.compute.index_in(text, value_set=labels).cast(pa.uint8())
    encoded = pa.DictionaryArray.from_arrays(indices, labels)
    return pa.ExtensionArray.from_storage(target, encoded)


def _convert_record(storage: pa.StructArray, type_: Type) -> pa.Array:
    children = [
        convert(storage.field(i), storage.type.field(i), member.type)
        for i, member in enumerate(type_.fields)
    ]
    fields = list(type_to_arrow(type_))
    if not children:
        return storage
    mask = storage.is_null() if storage.null_count else None
    return pa.StructArray.from_arrays(children, fields=fields, mask=mask)


def _convert_list(storage: pa.Array, type_: Type) -> pa.Array:
    target = type_to_arrow(type_)
    item = type_.item or Type(Kind.NULL)
    if not pa.types.is_list(storage.type):
        storage = storage.cast(pa.list_(storage.type.value_field))
    values = convert(storage.values, storage.type.value_field, item)
    mask = storage.is_null() if storage.null_count else None
    if mask is not None and storage.offset:
        # from_arrays refuses a mask beside sliced offsets.
        storage = pa.concat_arrays([storage])
        values = convert(storage.values, storage.type.value_field, item)
        mask = storage.is_null()
    return pa.ListArray.from_arrays(storage.offsets, values, type=target, mask=mask)


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
    columns = iter([batch.column(leaf.column) for leaf in schema.leaves])
    target = to_arrow(schema)
    arrays = [_nest(field, columns, batch.num_rows) for field in target]
    return record_batch(arrays, target, batch.num_rows)


def _nest(field: pa.Field, columns: Iterator[pa.Array], num_rows: int) -> pa.Array:
    if kind_of(field) is not None or not pa.types.is_struct(field.type):
        return next(columns)
    members = list(field.type)
    if not members:
        return pa.array([{}] * num_rows, field.type)
    return pa.StructArray.from_arrays(
        [_nest(member, columns, num_rows) for member in members], fields=members
    )
