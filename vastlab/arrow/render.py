"""Values as Python objects, as JSON and as CSV."""

from __future__ import annotations

import base64
import gc
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address, convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.types import Field, Kind, Type, unique

__all__ = [
    "TYPE",
    "collector_paused",
    "columns",
    "duration_text",
    "header",
    "ip_text",
    "lines",
    "render",
    "rows",
    "span_text",
    "subnet_text",
    "text",
    "time_text",
    "to_python",
    "write_csv",
]

Durations: TypeAlias = Callable[[pa.Array], pa.StringArray]

_SECOND = 10**9
_HOUR = 3600 * _SECOND
_DAY = 24 * _HOUR
_UNITS = {"h": _HOUR, "m": 60 * _SECOND, "s": _SECOND, "ms": 10**6, "us": 1000, "ns": 1}
_EXACT = 2**53  # doubles represent every integer up to this
_WIDTHS = (19, 26, 29)  # of a time with 0, 6 and 9 digits after the second
_JSON = json.JSONEncoder(ensure_ascii=False)
_CLOCK = 11  # start of the time of day


# --- one kind each --------------------------------------------------------------------------


def ip_text(array: pa.Array) -> pa.StringArray:
    """Format addresses as `ipaddress` does."""
    return address.address_text(arrow_arrays.storage_of(array).cast(pa.binary(16)))


def subnet_text(array: pa.Array) -> pa.StringArray:
    """Format networks; lengths of IPv4 are at most 32."""
    return address.network_text(arrow_arrays.storage_of(array))


def time_text(array: pa.Array) -> pa.StringArray:
    """Format times as ISO 8601 in UTC without zone, with 0, 6 or 9 digits after the second."""
    count = array.cast(pa.timestamp(array.type.unit)).cast(pa.timestamp("ns")).cast(pa.int64())
    return _time_text(count.fill_null(0).to_numpy(zero_copy_only=False), _null_mask(array))


def duration_text(array: pa.Array) -> pa.StringArray:
    """Format durations as `pandas.Timedelta` does, for any unit."""
    count = array.cast(pa.duration("ns")).cast(pa.int64())
    days, rest = np.divmod(count.fill_null(0).to_numpy(zero_copy_only=False), _DAY)
    nulls = _null_mask(array)
    return pc.binary_join_element_wise(
        pa.array(days, mask=nulls).cast(pa.string()),
        pc.if_else(pa.array(days < 0), " days +", " days "),
        _time_text(rest, nulls, _CLOCK),
        "",
    )


def span_text(array: pa.Array) -> pa.StringArray:
    """Format durations as whole numbers of a unit, which every reader parses exactly.

    VAST, Tenzir and pandas compute with doubles: what a double cannot hold is written in two
    parts. The sign covers both, as in Tenzir and pandas.
    """
    count = array.cast(pa.duration("ns")).cast(pa.int64())
    numbers = count.fill_null(0).to_numpy(zero_copy_only=False)
    nulls = _null_mask(array)
    single = _in_largest_unit(numbers, nulls)
    odd_part = numbers // np.maximum(np.abs(numbers & -numbers), 1)
    exact = np.abs(odd_part) < _EXACT
    if exact.all():
        return single
    hours, rest = np.divmod(np.abs(numbers), _HOUR)
    whole = pa.array(hours * np.sign(numbers), mask=nulls).cast(pa.string())
    double = pc.binary_join_element_wise(whole, "h", _in_largest_unit(rest, nulls), "")
    return pc.if_else(pa.array(exact), single, double)


def _in_largest_unit(numbers: npt.NDArray[np.int64], nulls: address.Mask | None) -> pa.StringArray:
    """Format nanoseconds in the largest unit without a fraction."""
    sizes = list(_UNITS.values())
    unit = np.select([numbers % size == 0 for size in sizes], range(len(sizes)))
    unit = np.where(numbers == 0, sizes.index(_SECOND), unit)
    counts = pa.array(numbers // np.array(sizes)[unit], mask=nulls).cast(pa.string())
    names = pa.array(list(_UNITS)).take(pa.array(unit))
    return pc.binary_join_element_wise(counts, names, "")


def _null_mask(array: pa.Array) -> address.Mask | None:
    if not array.null_count:
        return None
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def _time_text(
    count: npt.NDArray[np.int64], nulls: address.Mask | None, start: int = 0
) -> pa.StringArray:
    """Format nanoseconds since 1970 from character `start` on; `nulls` marks missing values."""
    full = pa.array(count).cast(pa.timestamp("ns")).cast(pa.string())
    if not len(full):
        return full
    # All texts have 29 characters, since 64 bits end in the year 2262.
    text = np.frombuffer(full.buffers()[2], np.uint8)[: len(full) * _WIDTHS[2]]
    text = text.reshape(-1, _WIDTHS[2]).copy()
    text[:, _CLOCK - 1] = ord("T")
    digits = np.where(count % 1000 != 0, 2, np.where(count % _SECOND != 0, 1, 0))
    used = np.unique(digits)
    variants = [_fixed_width(text[:, start : _WIDTHS[i]]) for i in used]
    if len(variants) == 1 and nulls is None:
        return variants[0]
    return pc.choose(pa.array(np.searchsorted(used, digits), mask=nulls), *variants)


def _fixed_width(text: npt.NDArray[np.uint8]) -> pa.StringArray:
    size, width = text.shape
    offsets = np.arange(size + 1, dtype=np.int32) * np.int32(width)
    data = pa.py_buffer(np.ascontiguousarray(text))
    return pa.StringArray.from_buffers(size, pa.py_buffer(offsets), data)


# --- any kind -------------------------------------------------------------------------------


def rows(
    batch: pa.RecordBatch,
    *,
    durations: Durations = duration_text,
    reserved: Iterable[str] = (),
) -> pa.StructArray:
    """Return events as an array whose `to_pylist` gives values that JSON can hold.

    A field named as in `reserved` is called ``name#2``, like the second of two equal names.
    """
    batch = convert.normalise(batch)
    schema = arrow_schema.from_arrow(batch.schema)
    taken = dict.fromkeys(reserved, 1)
    return _record(list(batch.columns), schema.fields, batch.num_rows, None, durations, taken)


_PAUSES = threading.Lock()
_paused = 0  # how many conversions the collector waits for


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector while many objects are made that all stay alive.

    Otherwise it looks at all of them again and again, which takes longer than making them. Several
    threads may do this at once; where the collector was off already, it stays off.
    """
    global _paused
    with _PAUSES:
        pauses = _paused > 0 or gc.isenabled()
        if pauses:
            _paused += 1
            gc.disable()
    try:
        yield
    finally:
        if pauses:
            with _PAUSES:
                _paused -= 1
                if not _paused:
                    gc.enable()


def to_python(array: pa.Array) -> list[Any]:
    """Convert the result of `rows` or `render` to Python objects."""
    # Dictionaries are requested only for maps: they take ten times as long.
    how = {"maps_as_pydicts": "strict"} if _has_map(array.type) else {}
    with collector_paused():
        values: list[Any] = array.to_pylist(**how)
    return values


def _has_map(type_: pa.DataType) -> bool:
    return pa.types.is_map(type_) or any(
        _has_map(type_.field(i).type) for i in range(type_.num_fields)
    )


def render(array: pa.Array, type_: Type, durations: Durations = duration_text) -> pa.Array:
    """Convert a normalised column of this type to plain types, as in `rows`."""
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
            return durations(array)
        case Kind.DOUBLE:
            finite = pc.is_finite(array)
            if pc.all(finite).as_py() is not False:
                return array
            return pc.if_else(finite, array, pa.scalar(None, pa.float64()))
        case Kind.BLOB:
            encoded = [v if v is None else base64.b64encode(v).decode() for v in array.to_pylist()]
            return pa.array(encoded, pa.string())
        case Kind.LIST:
            return _list(array, type_.item or Type(Kind.NULL), durations)
        case Kind.MAP:
            return _map(array, type_, durations)
        case Kind.RECORD:
            size = array.type.num_fields
            members = [array.field(i) for i in range(size)]
            mask = arrow_arrays.null_mask(array)
            return _record(members, type_.fields, len(array), mask, durations, {})
        case _:
            return array


def _list(array: pa.ListArray, item: Type, durations: Durations) -> pa.ListArray:
    offsets, (values,) = arrow_arrays.list_parts(array)
    return pa.ListArray.from_arrays(
        offsets, render(values, item, durations), mask=arrow_arrays.null_mask(array)
    )


def _map(array: pa.MapArray, type_: Type, durations: Durations) -> pa.MapArray:
    offsets, (keys, items) = arrow_arrays.list_parts(array)
    bounds = offsets.to_pylist()
    names = text(keys, array.type.key_field, durations).to_pylist()
    written: list[str] = []
    for start, end in itertools.pairwise(bounds):
        taken: dict[str, int] = {}
        written += [unique(name, taken) for name in names[start:end]]
    return pa.MapArray.from_arrays(
        offsets,
        pa.array(written, pa.string()),
        render(items, type_.item or Type(Kind.NULL), durations),
        mask=arrow_arrays.null_mask(array),
    )


def _record(
    columns: list[pa.Array],
    fields: tuple[Field, ...],
    size: int,
    mask: pa.Array | None,
    durations: Durations,
    taken: dict[str, int],
) -> pa.StructArray:
    if not fields:
        empty = pa.Array.from_buffers(pa.struct([]), size, [None])
        return empty if mask is None else pc.if_else(mask, None, empty)
    names = [unique(member.name, taken) for member in fields]
    members = zip(columns, fields, strict=True)
    arrays = [render(column, member.type, durations) for column, member in members]
    return pa.StructArray.from_arrays(arrays, names=names, mask=mask)


def text(
    array: pa.Array | pa.ChunkedArray, field: pa.Field, durations: Durations = duration_text
) -> pa.StringArray:
    """Format any column as text without escaping; containers become JSON, null stays null."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    (member,) = arrow_schema.from_arrow(pa.schema([field])).fields
    array = convert.convert(array, field, member.type)
    match member.type.kind:
        case Kind.DOUBLE:
            return pc.replace_substring_regex(array.cast(pa.string()), r"^(-?\d+)$", r"\1.0")
        case Kind.LIST | Kind.MAP | Kind.RECORD:
            values = to_python(render(array, member.type, durations))
            lines = [v if v is None else _JSON.encode(v) for v in values]
            return pa.array(lines, pa.string())
        case _:
            return render(array, member.type, durations).cast(pa.string())


TYPE = "#type"
_MAX_ROWS = 1024  # Arrow holds at most 2 GiB of text in one array
# Also quoted: delimiters that other readers guess, the start of a comment, and blanks or control
# characters at either end.
_NEEDS_QUOTES = r'[,"\r\n\t;|]|^$|^[#\pZ\pC]|[\pZ\pC]$'


def columns(batch: pa.RecordBatch) -> dict[str, pa.StringArray]:
    """Format events as columns of text, one for each leaf."""
    flat = convert.flatten(batch)
    taken = {TYPE: 1}
    return {
        unique(field.name, taken): text(column, field, span_text)
        for column, field in zip(flat.columns, flat.schema, strict=True)
    }


def header(names: Iterable[str]) -> str:
    """Return the CSV header of columns with these names, without line end."""
    return ",".join([TYPE, *_quote(pa.array(names, pa.string())).to_pylist()])


def lines(names: pa.StringArray, texts: Iterable[pa.StringArray]) -> Iterator[str]:
    """Yield a CSV line for each event, without line end."""
    for start in range(0, len(names), _MAX_ROWS):
        cells = [_quote(text.slice(start, _MAX_ROWS)) for text in (names, *texts)]
        yield from pc.binary_join_element_wise(
            *cells, ",", null_handling="replace", null_replacement=""
        ).to_pylist()


def _quote(texts: pa.StringArray) -> pa.StringArray:
    needed = pc.match_substring_regex(texts, _NEEDS_QUOTES)
    if not pc.any(needed).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(needed, pc.binary_join_element_wise('"', doubled, '"', ""), texts)


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a file of one schema: its name in the first column, then the result of `columns`."""
    names = table.column_names[1:]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header(names) + "\n")
        for batch in table.to_batches():
            first, *texts = batch.columns
            file.writelines(f"{line}\n" for line in lines(first, texts))
