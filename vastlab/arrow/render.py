"""Values as people and JSON read them, whole columns at a time.

`rows` and `render` give Arrow arrays of plain types, in which addresses, times and labels are
text: pyarrow then makes Python objects of them at the speed of C.
"""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address, convert
from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Field, Kind, Type, unique

__all__ = [
    "duration_text",
    "ip_text",
    "render",
    "rows",
    "subnet_text",
    "text",
    "time_text",
    "to_python",
]

_SECOND = 10**9
_DAY = 86400 * _SECOND
_WIDTHS = (19, 26, 29)  # of a time with 0, 6 and 9 digits behind the second
_CLOCK = 11  # where the time of day begins


# --- one kind each --------------------------------------------------------------------------


def ip_text(array: pa.Array) -> pa.StringArray:
    r"""Write addresses as text, like `ipaddress` does, IPv4 in its own notation.

    Examples
    --------
    >>> ip_text(pa.array([bytes(15) + b"\1", bytes(10) + b"\xff\xff\x0a\0\0\1"])).to_pylist()
    ['::1', '10.0.0.1']
    """
    return address.address_text(arrow_arrays.storage_of(array).cast(pa.binary(16)))


def subnet_text(array: pa.Array) -> pa.StringArray:
    """Write networks as text, lengths of IPv4 as people count them.

    Examples
    --------
    >>> storage = pa.array([{"address": bytes(16), "length": 64}])
    >>> subnet_text(storage).to_pylist()
    ['::/64']
    """
    return address.network_text(arrow_arrays.storage_of(array))


def time_text(array: pa.Array) -> pa.StringArray:
    """Write times as ISO 8601 in UTC without zone, with 0, 6 or 9 digits behind the second.

    Examples
    --------
    >>> time_text(pa.array([0, 1_500_000_000, 1], pa.timestamp("ns"))).to_pylist()
    ['1970-01-01T00:00:00', '1970-01-01T00:00:01.500000', '1970-01-01T00:00:00.000000001']
    """
    count = array.cast(pa.timestamp(array.type.unit)).cast(pa.timestamp("ns")).cast(pa.int64())
    return _time_text(count.fill_null(0).to_numpy(zero_copy_only=False), _null(array))


def duration_text(array: pa.Array) -> pa.StringArray:
    """Write durations as `pandas.Timedelta` does, whatever their unit.

    Examples
    --------
    >>> duration_text(pa.array([1500, -1], pa.duration("ms"))).to_pylist()
    ['0 days 00:00:01.500000', '-1 days +23:59:59.999000']
    """
    count = array.cast(pa.duration("ns")).cast(pa.int64())
    days, rest = np.divmod(count.fill_null(0).to_numpy(zero_copy_only=False), _DAY)
    null = _null(array)
    return pc.binary_join_element_wise(
        pa.array(days, mask=null).cast(pa.string()),
        pc.if_else(pa.array(days < 0), " days +", " days "),
        _time_text(rest, null, _CLOCK),
        "",
    )


def _null(array: pa.Array) -> address.Mask | None:
    if not array.null_count:
        return None
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def _time_text(
    count: npt.NDArray[np.int64], null: address.Mask | None, start: int = 0
) -> pa.StringArray:
    """Write nanoseconds since 1970, without the first characters; `null` says where none is."""
    full = pa.array(count).cast(pa.timestamp("ns")).cast(pa.string())
    if not len(full):
        return full
    # All of these texts have 29 characters, since 64 bits end in the year 2262.
    text = np.frombuffer(full.buffers()[2], np.uint8)[: len(full) * _WIDTHS[2]]
    text = text.reshape(-1, _WIDTHS[2]).copy()
    text[:, _CLOCK - 1] = ord("T")
    digits = np.where(count % 1000 != 0, 2, np.where(count % _SECOND != 0, 1, 0))
    used = np.unique(digits)
    variants = [_fixed_width(text[:, start : _WIDTHS[i]]) for i in used]
    if len(variants) == 1 and null is None:
        return variants[0]
    return pc.choose(pa.array(np.searchsorted(used, digits), mask=null), *variants)


def _fixed_width(text: npt.NDArray[np.uint8]) -> pa.StringArray:
    size, width = text.shape
    offsets = np.arange(size + 1, dtype=np.int32) * np.int32(width)
    data = pa.py_buffer(np.ascontiguousarray(text))
    return pa.StringArray.from_buffers(size, pa.py_buffer(offsets), data)


# --- any kind -------------------------------------------------------------------------------


def rows(batch: pa.RecordBatch) -> pa.StructArray:
    """Return events as an array whose `to_pylist` gives what JSON can hold.

    Parameters
    ----------
    batch
        Events in any form that `vastlab.arrow.schema.normalise` takes.

    Returns
    -------
    pyarrow.StructArray
        Of text, numbers, booleans, lists, records, and maps with text for keys. Of fields with
        the same name, the second is called ``name#2``, and so are the keys of a map.
    """
    batch = convert.normalise(batch)
    schema = arrow_schema.from_arrow(batch.schema)
    return _record(list(batch.columns), schema.fields, batch.num_rows, None)


def to_python(array: pa.Array) -> list[Any]:
    """Make Python objects of an array that `rows` or `render` gave."""
    # Whatever holds no map is left to the fast way; asking for dictionaries costs ten times.
    how = {"maps_as_pydicts": "strict"} if _has_map(array.type) else {}
    values: list[Any] = array.to_pylist(**how)
    return values


def _has_map(type_: pa.DataType) -> bool:
    return pa.types.is_map(type_) or any(
        _has_map(type_.field(i).type) for i in range(type_.num_fields)
    )


def render(array: pa.Array, type_: Type) -> pa.Array:
    """Turn a normal column of this type into one of plain types, as `rows` says."""
    match type_.kind:
        case Kind.IP:
            return ip_text(array)
        case Kind.SUBNET:
            return subnet_text(array)
        case Kind.ENUM:
            return arrow_arrays.storage_of(array).cast(pa.string())
        case Kind.TIME:
            return time_text(array)
        case Kind.DURATION:
            return duration_text(array)
        case Kind.DOUBLE:
            return _finite(array)
        case Kind.BLOB:
            encoded = [v if v is None else base64.b64encode(v).decode() for v in array.to_pylist()]
            return pa.array(encoded, pa.string())
        case Kind.LIST:
            return _list(array, type_.item or Type(Kind.NULL))
        case Kind.MAP:
            return _map(array, type_)
        case Kind.RECORD:
            size = array.type.num_fields
            members = [array.field(i) for i in range(size)]
            return _record(members, type_.fields, len(array), arrow_arrays.null_mask(array))
        case _:
            return array


def _finite(array: pa.DoubleArray) -> pa.DoubleArray:
    finite = pc.is_finite(array)
    if pc.all(finite).as_py() is not False:
        return array
    return pc.if_else(finite, array, pa.scalar(None, pa.float64()))


def _list(array: pa.ListArray, item: Type) -> pa.ListArray:
    offsets, (values,) = arrow_arrays.list_parts(array)
    return pa.ListArray.from_arrays(
        offsets, render(values, item), mask=arrow_arrays.null_mask(array)
    )


def _map(array: pa.MapArray, type_: Type) -> pa.MapArray:
    offsets, (keys, items) = arrow_arrays.list_parts(array)
    bounds, names = offsets.to_pylist(), text(keys, array.type.key_field).to_pylist()
    written: list[str] = []
    for start, end in itertools.pairwise(bounds):
        taken: dict[str, int] = {}
        written += [unique(name, taken) for name in names[start:end]]
    return pa.MapArray.from_arrays(
        offsets,
        pa.array(written, pa.string()),
        render(items, type_.item or Type(Kind.NULL)),
        mask=arrow_arrays.null_mask(array),
    )


def _record(
    columns: list[pa.Array], fields: tuple[Field, ...], size: int, mask: pa.Array | None
) -> pa.StructArray:
    if not fields:
        empty = pa.Array.from_buffers(pa.struct([]), size, [None])
        return empty if mask is None else pc.if_else(mask, None, empty)
    taken: dict[str, int] = {}
    names = [unique(member.name, taken) for member in fields]
    arrays = [render(c, member.type) for c, member in zip(columns, fields, strict=True)]
    return pa.StructArray.from_arrays(arrays, names=names, mask=mask)


def text(array: pa.Array | pa.ChunkedArray, field: pa.Field) -> pa.StringArray:
    """Write any column as text for people; nothing is escaped yet.

    Parameters
    ----------
    array
        Values in any form that `vastlab.arrow.schema.convert` takes.
    field
        Its description.

    Returns
    -------
    pyarrow.StringArray
        Null where there is no value; containers as JSON.

    Examples
    --------
    >>> text(pa.array([1.0, None]), pa.field("x", pa.float64())).to_pylist()
    ['1.0', None]
    >>> text(pa.array([[1, None]]), pa.field("x", pa.list_(pa.int64()))).to_pylist()
    ['[1, null]']
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    (member,) = arrow_schema.from_arrow(pa.schema([field])).fields
    array = convert.convert(array, field, member.type)
    match member.type.kind:
        case Kind.DOUBLE:
            return pc.replace_substring_regex(array.cast(pa.string()), r"^(-?\d+)$", r"\1.0")
        case Kind.LIST | Kind.MAP | Kind.RECORD:
            values = to_python(render(array, member.type))
            lines = [v if v is None else json.dumps(v, ensure_ascii=False) for v in values]
            return pa.array(lines, pa.string())
        case _:
            return render(array, member.type).cast(pa.string())
