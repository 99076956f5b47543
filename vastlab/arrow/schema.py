"""Schemas between Arrow and VAST's type system.

Names and attributes travel in key-value metadata, on the schema for the event and on each
field for its type: ``VAST:name:0`` is the outermost name, ``VAST:attributes:0`` a JSON object.
Tenzir writes the same under ``TENZIR:``. Both are read; the names of VAST are written.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping

import pyarrow as pa

from vastlab.arrow import types as arrow_types
from vastlab.arrow.types import storage_type_of
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
    """Return the name of the event, or ``""``."""
    names = _levels(schema.metadata)[0]
    return names[0] if names else ""


def named(batch: pa.RecordBatch, name: str | None, default: str) -> pa.RecordBatch:
    """Set the schema name of a batch; `default` is used if it has no name otherwise."""
    chosen = name or (default if not name_of(batch.schema) else "")
    if not chosen:
        return batch
    metadata = dict(batch.schema.metadata or {})
    prefix = _prefix(metadata) or PREFIXES[0]
    return batch.replace_schema_metadata({**metadata, f"{prefix}:name:0".encode(): chosen})


def kind_of(field: pa.Field) -> Kind | None:
    """Return ip, subnet or enum for a field of an extension type, registered or not.

    An extension name with values of another shape is an error of the writer: the field is plain.
    """
    name = getattr(field.type, "extension_name", None)
    if name is None:
        name = (field.metadata or {}).get(_EXTENSION_NAME, b"").decode("utf-8", "replace")
    kind = arrow_types.EXTENSION_NAMES.get(name)
    return kind if kind is None or _fits(kind, storage_type_of(field.type)) else None


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
    """Convert an Arrow schema to VAST's type system; other types map to the nearest type.

    `name` replaces the one in the metadata. Integers become int64 or uint64, floats double.
    """
    return describe(schema, name)[0]


def describe(schema: pa.Schema, name: str | None) -> tuple[Schema, pa.Schema, bool]:
    """Return the result of `from_arrow`, its Arrow schema, and whether it has a subnet."""
    return _describe(_SchemaKey(schema.serialize().to_pybytes(), schema), name)


@dataclasses.dataclass(frozen=True, slots=True)
class _SchemaKey:
    """A cache key: `==` of Arrow schemas ignores metadata."""

    serialized: bytes
    schema: pa.Schema = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=256)
def _describe(key: _SchemaKey, name: str | None) -> tuple[Schema, pa.Schema, bool]:
    names, attributes = _levels(key.schema.metadata)
    schema = Schema(
        escape_nul(name if name is not None else (names[0] if names else "")),
        tuple(_field_from_arrow(member) for member in key.schema),
        attributes,
    )
    return schema, to_arrow(schema), any(has_subnet(f.type) for f in schema.fields)


def _field_from_arrow(field: pa.Field) -> Field:
    return Field(escape_nul(field.name), _type_from_arrow(field))


def escape_nul(name: str) -> str:
    r"""Write NUL as ``\x00``: Arrow's C interface, and so every engine, ends a name there."""
    return name.replace("\0", r"\x00")


def _type_from_arrow(field: pa.Field) -> Type:
    names, attributes = _levels(field.metadata)
    field = _decode_field(field)
    kind = kind_of(field)
    if kind is Kind.ENUM:
        labels = _labels(field)
        if len(labels) > arrow_types.MAX_LABELS:
            return Type(Kind.STRING, names, attributes)
        return Type(Kind.ENUM, names, attributes, labels=labels)
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


def _decode_field(field: pa.Field) -> pa.Field:
    """Remove encodings that do not change the values."""
    while kind_of(field) is None and is_encoded(storage_type_of(field.type)):
        field = field.with_type(storage_type_of(field.type).value_type)
    return field


def is_encoded(type_: pa.DataType) -> bool:
    """Whether a type is an encoding of another type."""
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


def has_subnet(type_: Type) -> bool:
    """Whether lengths may follow the other convention although the types are equal."""
    inner = (type_.item, type_.key, *(member.type for member in type_.fields))
    return type_.kind is Kind.SUBNET or any(t is not None and has_subnet(t) for t in inner)


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
    """Read the names and the attributes of all levels."""
    names: list[str] = []
    attributes: dict[str, str] = {}
    text = {k.decode("utf-8", "replace"): v for k, v in (metadata or {}).items()}
    prefix = _prefix(metadata or {})
    level = 0
    while prefix is not None:
        name, values = (text.get(f"{prefix}:{part}:{level}") for part in ("name", "attributes"))
        if name is None and values is None:
            break
        if name is not None:
            names.append(name.decode("utf-8", "replace"))
        for key, value in _parse_attributes(values).items():
            attributes.setdefault(key, str(value))
        level += 1
    return tuple(names), tuple(attributes.items())


def _prefix(metadata: Mapping[bytes, bytes]) -> str | None:
    """Return which of the two families wrote the metadata."""
    found = (p for p in PREFIXES if any(key.startswith(f"{p}:".encode()) for key in metadata))
    return next(found, None)


def _parse_attributes(serialized: bytes | None) -> dict[str, object]:
    # Attributes do not affect results, so invalid ones are ignored.
    try:
        values = json.loads(serialized or b"{}")
    except (RecursionError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


# --- VAST -> Arrow --------------------------------------------------------------------------


def to_arrow(schema: Schema) -> pa.Schema:
    """Convert a schema to Arrow, with VAST's extension types and metadata."""
    metadata = _metadata((schema.name,) if schema.name else (), schema.attributes)
    return pa.schema([field_to_arrow(member) for member in schema.fields], metadata)


@functools.lru_cache(maxsize=4096)
def field_to_arrow(member: Field) -> pa.Field:
    """Return the Arrow field of a VAST one, with the names of its type."""
    metadata = _metadata(member.type.names, member.type.attributes)
    return pa.field(member.name, type_to_arrow(member.type), metadata=metadata)


def type_to_arrow(type_: Type) -> pa.DataType:
    """Return the Arrow type of a VAST type; its names belong to the field."""
    match type_.kind:
        case Kind.ENUM:
            return arrow_types.EnumerationType(type_.labels)
        case Kind.LIST:
            item = type_.item or Type(Kind.NULL)
            return pa.list_(field_to_arrow(Field("item", item)))
        case Kind.MAP:
            key = field_to_arrow(Field("key", type_.key or Type(Kind.STRING)))
            item_field = field_to_arrow(Field("value", type_.item or Type(Kind.NULL)))
            return pa.map_(key.with_nullable(False), item_field)
        case Kind.RECORD:
            return pa.struct([field_to_arrow(member) for member in type_.fields])
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
    """Return a short digest; only schemas that are equal in every part share one."""
    return hashlib.sha256(to_arrow(schema).serialize().to_pybytes()).hexdigest()[:16]
