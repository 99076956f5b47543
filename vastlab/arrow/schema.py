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

import pyarrow as pa

from vastlab.arrow import types as arrow_types
from vastlab.arrow.arrays import storage_type_of
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
    return describe(schema, name)[0]


def describe(schema: pa.Schema, name: str | None) -> tuple[Schema, pa.Schema, bool]:
    """Return what `from_arrow` does, how `to_arrow` writes it, and whether it has a subnet."""
    return _describe(_Exact(schema.serialize().to_pybytes(), schema), name)


@dataclasses.dataclass(frozen=True, slots=True)
class _Exact:
    """A key for caches: two Arrow schemas are `==` already when only their metadata differ."""

    serialized: bytes
    schema: pa.Schema = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=256)
def _describe(exact: _Exact, name: str | None) -> tuple[Schema, pa.Schema, bool]:
    names, attributes = _levels(exact.schema.metadata)
    schema = Schema(
        name if name is not None else (names[0] if names else ""),
        tuple(_field_from_arrow(member) for member in exact.schema),
        attributes,
    )
    return schema, to_arrow(schema), any(has_subnet(f.type) for f in schema.fields)


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
    while kind_of(field) is None and is_encoded(storage_type_of(field.type)):
        field = field.with_type(storage_type_of(field.type).value_type)
    return field


def is_encoded(type_: pa.DataType) -> bool:
    """Tell whether a type is another one in an encoding of its values."""
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
    """Tell whether values may follow another convention although the types are equal."""
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
    return pa.schema([field_to_arrow(member) for member in schema.fields], metadata)


def field_to_arrow(member: Field) -> pa.Field:
    """Return the Arrow field of a VAST one, with the names of its type."""
    metadata = _metadata(member.type.names, member.type.attributes)
    return pa.field(member.name, type_to_arrow(member.type), metadata=metadata)


def type_to_arrow(type_: Type) -> pa.DataType:
    """Return the Arrow type of a VAST type; its names stand on the field, not here."""
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
    """Return a short digest that two schemas share only if they are equal in every part."""
    return hashlib.sha256(to_arrow(schema).serialize().to_pybytes()).hexdigest()[:16]
