"""Values in types that other engines know: no extension types, all layouts in one form.

Networks and labels are text, times carry UTC, and addresses are as the caller wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pyarrow as pa

from vastlab.arrow import render
from vastlab.arrow.schema import field_to_arrow, type_to_arrow
from vastlab.arrow.types import list_parts, null_mask, storage_of
from vastlab.types import Field, Kind, Type

UTC = pa.timestamp("ns", "UTC")
TEXT = pa.string()
BYTES = pa.binary(16)

_Convert = Callable[[pa.Array, Type], pa.Array]


def plain_type(type_: Type, addresses: pa.DataType) -> pa.DataType:
    """Return the Arrow type of plain values; `addresses` is `TEXT` or `BYTES`."""
    inner = partial(plain_type, addresses=addresses)
    match type_.kind:
        case Kind.IP:
            return addresses
        case Kind.SUBNET | Kind.ENUM:
            return TEXT
        case Kind.TIME:
            return UTC
        case Kind.LIST:
            return pa.list_(inner(item_of(type_)))
        case Kind.MAP:
            return pa.map_(inner(type_.key or Type(Kind.STRING)), inner(item_of(type_)))
        case Kind.RECORD:
            return pa.struct([(member.name, inner(member.type)) for member in type_.fields])
        case _:
            return type_to_arrow(type_)


def to_plain(array: pa.Array, type_: Type, addresses: pa.DataType) -> pa.Array:
    """Convert a column in the form of `convert.normalise`."""
    return fit(array, type_, type_, addresses)


def fit(array: pa.Array, own: Type, wanted: Type, addresses: pa.DataType) -> pa.Array:
    """Convert a column of one layout to the plain form of the type that joins all layouts."""
    target = plain_type(wanted, addresses)
    same = own.kind is wanted.kind
    match wanted.kind:
        case _ if own.kind is Kind.NULL:
            return pa.nulls(len(array), target)
        case Kind.RECORD if same:
            columns = [array.field(i) for i in range(array.type.num_fields)]
            members = fit_fields(columns, own.fields, wanted.fields, len(array), addresses)
            mask = null_mask(array)
            return pa.StructArray.from_arrays(members, fields=list(target), mask=mask)
        case Kind.LIST if same:
            offsets, (values,) = list_parts(array)
            items = fit(values, item_of(own), item_of(wanted), addresses)
            return pa.ListArray.from_arrays(offsets, items, type=target, mask=null_mask(array))
        case Kind.MAP if same and own.key is not None:
            offsets, (keys, values) = list_parts(array)
            keys = fit(keys, own.key, wanted.key or own.key, addresses)
            items = fit(values, item_of(own), item_of(wanted), addresses)
            return pa.MapArray.from_arrays(offsets, keys, items, type=target, mask=null_mask(array))
        case Kind.IP if same:
            return render.ip_text(array) if target == TEXT else storage_of(array)
        case Kind.SUBNET if same:
            return render.subnet_text(array)
        case Kind.ENUM if same:
            return storage_of(array).cast(TEXT)
        case Kind.STRING if not same:
            return render.text(array, field_to_arrow(Field("", own)))
        case _:
            return array if array.type == target else array.cast(target, safe=False)


def fit_fields(
    columns: Sequence[pa.Array],
    own: Sequence[Field],
    wanted: Sequence[Field],
    size: int,
    addresses: pa.DataType,
) -> list[pa.Array]:
    """Convert columns by their names; a column that a layout lacks is null."""
    known = {member.name: (array, member.type) for array, member in zip(columns, own, strict=True)}
    arrays = []
    for member in wanted:
        array, type_ = known.get(member.name, (None, member.type))
        if array is None:
            arrays.append(pa.nulls(size, plain_type(member.type, addresses)))
        else:
            arrays.append(fit(array, type_, member.type, addresses))
    return arrays


def item_of(type_: Type) -> Type:
    """Return the type of the items of a list or map."""
    return type_.item or Type(Kind.NULL)
