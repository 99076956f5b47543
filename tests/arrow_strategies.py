"""Hypothesis strategies for VAST types, schemas and batches of events.

``schemas()`` draws a `vastlab.types.Schema`, ``batches(schema)`` events of it in vastlab's own
form: nested, with nulls at every level, hostile text and extreme numbers. ``types()`` draws
one type and ``arrays(type)`` a column of it. Strategies are kept, since making one costs more
than drawing from it.
"""

from __future__ import annotations

import functools
import ipaddress
import operator
from collections.abc import Iterable
from typing import Any, BinaryIO

import pyarrow as pa
from hypothesis import strategies as st

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow import types as arrow_types
from vastlab.types import Field, Kind, Schema, Type

V4_MAPPED = b"\0" * 10 + b"\xff\xff"
HOSTILE_TEXTS = (
    "",
    "null",
    "-",
    '<img src=x onerror="window.__p=1">',
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "a\0b",
    "'; drop table conn; --",
    "{}\\'\"\n\t,",
    "=cmd|' /C calc'!A0",
    "\U0001f98a\ufeff",
)
LEAF_KINDS = tuple(k for k in Kind if k not in (Kind.LIST, Kind.MAP, Kind.RECORD))
KINDS = tuple(Kind)
LARGEST = 2**63 - 1  # the smallest int64 is pandas' NaT: it is no time and no duration

_ALIASES = ("port", "timestamp", "zeek.conn_id", "äö", "<b>")
_SCHEMA_NAMES = st.sampled_from(("zeek.conn", "suricata.alert", "a/b", "../x", "<b>", "ä"))
_NAMES = ("ts", "id", "orig_h", "orig_p", "a.b", "a b", "x'y", '"', "#", "<b>", "\\", "class", "ä")


# --- names and types ------------------------------------------------------------------------


@functools.cache
def texts() -> st.SearchStrategy[str]:
    """Text of any kind, often hostile; always valid Unicode."""
    return st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=8))


@functools.cache
def field_names() -> st.SearchStrategy[str]:
    """Names of fields; without NUL, where the Arrow C data interface cuts them."""
    anything = st.text(
        st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6
    )
    return st.one_of(st.sampled_from(_NAMES), anything)


@functools.cache
def aliases() -> st.SearchStrategy[tuple[str, ...]]:
    """Alias chains, mostly short."""
    return st.lists(st.sampled_from(_ALIASES), max_size=2).map(tuple)


@functools.cache
def attributes() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Attributes, mostly none."""
    pairs = st.dictionaries(st.sampled_from(("index", "skip", "unit")), texts(), max_size=2)
    return pairs.map(lambda d: tuple(d.items()))


def labels() -> st.SearchStrategy[tuple[tuple[str, int], ...]]:
    """Labels of an enumeration with their keys, dense or sparse, in any order."""
    pairs = st.tuples(texts(), st.integers(0, 255))
    unique_by = (operator.itemgetter(0), operator.itemgetter(1))
    return st.lists(pairs, min_size=1, max_size=4, unique_by=unique_by).map(tuple)


def types(kinds: Iterable[Kind] = KINDS, *, depth: int = 2) -> st.SearchStrategy[Type]:
    """Types of these kinds, with names and attributes; containers nest at most `depth` deep."""
    return _types(tuple(kinds), depth)


@functools.cache
def _types(allowed: tuple[Kind, ...], depth: int) -> st.SearchStrategy[Type]:
    leaves = tuple(k for k in allowed if k in LEAF_KINDS)
    choices = [st.sampled_from(leaves).flatmap(_leaf_type)]
    if depth > 0:
        inner = types(allowed, depth=depth - 1)
        if Kind.LIST in allowed:
            choices.append(_named(kind=st.just(Kind.LIST), item=inner))
        if Kind.MAP in allowed:
            kinds = tuple(k for k in leaves if k in (Kind.STRING, Kind.UINT64, Kind.IP))
            keys = types(kinds or leaves, depth=0)
            choices.append(_named(kind=st.just(Kind.MAP), key=keys, item=inner))
        if Kind.RECORD in allowed:
            choices.append(_named(kind=st.just(Kind.RECORD), fields=_fields(inner, 0)))
    return st.one_of(choices)


@functools.cache
def _leaf_type(kind: Kind) -> st.SearchStrategy[Type]:
    extra = {"labels": labels()} if kind is Kind.ENUM else {}
    return _named(kind=st.just(kind), **extra)


def _named(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Type]:
    return st.builds(Type, names=aliases(), attributes=attributes(), **parts)


def _fields(inner: st.SearchStrategy[Type], least: int) -> st.SearchStrategy[tuple[Field, ...]]:
    members = st.builds(Field, field_names(), inner)
    return st.lists(members, min_size=least, max_size=4, unique_by=lambda f: f.name).map(tuple)


def schemas(
    kinds: Iterable[Kind] = KINDS,
    *,
    depth: int = 2,
    names: st.SearchStrategy[str] | None = None,
    min_fields: int = 0,
) -> st.SearchStrategy[Schema]:
    """Schemas of one to four fields (none too, unless `min_fields` says otherwise)."""
    return _schemas(tuple(kinds), depth, _SCHEMA_NAMES if names is None else names, min_fields)


@functools.cache
def _schemas(
    kinds: tuple[Kind, ...], depth: int, names: st.SearchStrategy[str], min_fields: int
) -> st.SearchStrategy[Schema]:
    fields = _fields(types(kinds, depth=depth), min_fields)
    return st.builds(Schema, names, fields, attributes())


# --- values ---------------------------------------------------------------------------------


@functools.cache
def addresses() -> st.SearchStrategy[bytes]:
    """16 bytes: IPv4 in the mapped form, ::/96, and any IPv6."""
    four = st.binary(min_size=4, max_size=4)
    return st.one_of(
        four.map(lambda tail: V4_MAPPED + tail),
        four.map(lambda tail: b"\0" * 12 + tail),
        st.sampled_from((b"\0" * 16, b"\0" * 15 + b"\1", b"\xff" * 16, V4_MAPPED + b"\x0a\0\0\1")),
        st.binary(min_size=16, max_size=16),
        st.lists(st.sampled_from((0, 0, 1, 0xDB8)), min_size=8, max_size=8).map(
            lambda words: b"".join(w.to_bytes(2, "big") for w in words)
        ),
    )


@functools.cache
def networks() -> st.SearchStrategy[tuple[bytes, int]]:
    """Draw networks as VAST stores them: no host bits, the length counts in 128 bits."""

    def network(address: bytes, length: int) -> tuple[bytes, int]:
        if address.startswith(V4_MAPPED):
            length = 96 + length % 33
        whole = ipaddress.IPv6Network((address, length), strict=False)
        return whole.network_address.packed, length

    return st.builds(network, addresses(), st.integers(0, 128))


_PLAIN: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.NULL: st.none(),
    Kind.BOOL: st.booleans(),
    Kind.INT64: st.integers(-(2**63), 2**63 - 1),
    Kind.UINT64: st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 70000)),
    Kind.DOUBLE: st.floats(),
    Kind.DURATION: st.one_of(st.integers(-LARGEST, LARGEST), st.integers(-(10**15), 10**15)),
    Kind.TIME: st.one_of(
        st.integers(-LARGEST, LARGEST),
        st.integers(-(10**6), 10**6).map(lambda us: us * 1000),
        st.integers(-(10**6), 10**6).map(lambda s: s * 10**9),
    ),
    Kind.STRING: texts(),
    Kind.BLOB: st.binary(max_size=6),
    Kind.IP: addresses(),
    Kind.SUBNET: networks(),
}


@functools.lru_cache(maxsize=512)
def values(type_: Type) -> st.SearchStrategy[Any]:
    """Python values of a type, as `array` takes them; `None` is among them."""
    match type_.kind:
        case Kind.ENUM:
            some: st.SearchStrategy[Any] = st.sampled_from([label for label, _ in type_.labels])
        case Kind.LIST:
            some = st.lists(values(_item(type_)), max_size=3)
        case Kind.MAP:
            keys = values(type_.key or Type(Kind.STRING)).filter(lambda key: key is not None)
            pairs = st.tuples(keys, values(_item(type_)))
            some = st.lists(pairs, max_size=3, unique_by=lambda pair: pair[0])
        case Kind.RECORD:
            some = st.tuples(*(values(member.type) for member in type_.fields))
        case kind:
            some = _PLAIN[kind]
    return st.one_of(some, st.none())


_MARGINS = st.sampled_from(((0, 0), (0, 0), (1, 0), (2, 3)))


@st.composite
def arrays(draw: st.DrawFn, type_: Type, size: int) -> pa.Array:
    """Columns of a type with `size` values, some of them as a slice of a longer one."""
    before, after = draw(_MARGINS)
    some = values(type_)
    return array(type_, [draw(some) for _ in range(before + size + after)]).slice(before, size)


@st.composite
def batches(draw: st.DrawFn, schema: Schema, *, max_rows: int = 6) -> pa.RecordBatch:
    """Events of a schema in vastlab's own form; columns may be slices with an offset."""
    size = draw(st.integers(0, max_rows))
    columns = [draw(arrays(member.type, size)) for member in schema.fields]
    return arrow_arrays.record_batch(columns, arrow_schema.to_arrow(schema), size)


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 6, **how: Any) -> tuple[Schema, pa.RecordBatch]:
    """Draw a schema together with a batch of it."""
    schema = draw(schemas(**how))
    return schema, draw(batches(schema, max_rows=max_rows))


# --- Python values -> Arrow -----------------------------------------------------------------


def array(type_: Type, rows: list[Any]) -> pa.Array:
    """Make a column in vastlab's own form.

    Values are what `values` draws: 16 bytes for an ip, ``(bytes, length)`` for a subnet,
    nanoseconds for times and durations, labels, lists, pairs for a map, a tuple for a record.
    """
    target = arrow_schema.type_to_arrow(type_)
    match type_.kind:
        case Kind.IP:
            return pa.ExtensionArray.from_storage(target, pa.array(rows, pa.binary(16)))
        case Kind.SUBNET:
            return pa.ExtensionArray.from_storage(target, _subnets(rows))
        case Kind.ENUM:
            names = [label for label, _ in type_.labels]
            indices = [None if row is None else names.index(row) for row in rows]
            encoded = pa.DictionaryArray.from_arrays(
                pa.array(indices, pa.uint8()), pa.array(names, pa.string())
            )
            return pa.ExtensionArray.from_storage(target, encoded)
        case Kind.LIST:
            items = array(_item(type_), [item for row in rows for item in row or ()])
            return pa.ListArray.from_arrays(_offsets(rows), items, type=target, mask=_mask(rows))
        case Kind.MAP:
            keys = array(type_.key or Type(Kind.STRING), [k for row in rows for k, _ in row or ()])
            items = array(_item(type_), [v for row in rows for _, v in row or ()])
            return pa.MapArray.from_arrays(
                _offsets(rows), keys, items, type=target, mask=_mask(rows)
            )
        case Kind.RECORD:
            return _records(type_, rows, target)
        case _:
            return pa.array(rows, target)


def _subnets(rows: list[tuple[bytes, int] | None]) -> pa.StructArray:
    addresses_ = pa.array([row and row[0] for row in rows], pa.binary(16))
    inner = pa.ExtensionArray.from_storage(arrow_types.IP, addresses_)
    lengths = pa.array([row and row[1] for row in rows], pa.uint8())
    fields = list(arrow_types.SUBNET.storage_type)
    return pa.StructArray.from_arrays([inner, lengths], fields=fields, mask=_mask(rows))


def _records(type_: Type, rows: list[Any], target: pa.StructType) -> pa.Array:
    if not type_.fields:
        return pa.array([None if row is None else {} for row in rows], target)
    columns = [
        array(member.type, [row and row[i] for row in rows])
        for i, member in enumerate(type_.fields)
    ]
    return pa.StructArray.from_arrays(columns, fields=list(target), mask=_mask(rows))


def _item(type_: Type) -> Type:
    return type_.item or Type(Kind.NULL)


def _offsets(rows: list[Any]) -> pa.Array:
    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row or ()))
    return pa.array(offsets, pa.int32())


def _mask(rows: list[Any]) -> pa.Array:
    return pa.array([row is None for row in rows], pa.bool_())


def same(left: Any, right: Any) -> bool:
    """Compare types with their metadata, and values with NaN equal to itself."""
    types = [x.schema if isinstance(x, pa.RecordBatch) else x.type for x in (left, right)]
    values = [repr(x.to_pylist()) for x in (left, right)]
    return types[0].equals(types[1], check_metadata=True) and values[0] == values[1]


def plain(array: pa.Array) -> pa.Array:
    """Undo the types that wrap plain values, at any depth; times become their numbers."""
    match array:
        case pa.ExtensionArray():
            return plain(array.storage)
        case pa.TimestampArray() | pa.DurationArray():
            return array.cast(pa.int64())
        case pa.ListArray():
            offsets, (values,) = arrow_arrays.list_parts(array)
            mask = arrow_arrays.null_mask(array)
            return pa.ListArray.from_arrays(offsets, plain(values), mask=mask)
        case pa.StructArray() if array.type.num_fields:
            children = [plain(array.field(i)) for i in range(array.type.num_fields)]
            names = [field.name for field in array.type]
            mask = arrow_arrays.null_mask(array)
            return pa.StructArray.from_arrays(children, names, mask=mask)
        case _:
            return array


def write_streams(sink: BinaryIO, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as IPC streams, one for each run of equal schemas; return their number."""
    streams = 0
    writer: pa.RecordBatchStreamWriter | None = None
    schema: pa.Schema | None = None
    for batch in batches:
        if writer is None or not batch.schema.equals(schema, check_metadata=True):
            if writer is not None:
                writer.close()
            schema = batch.schema
            writer = pa.ipc.new_stream(sink, schema)
            streams += 1
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
    return streams
