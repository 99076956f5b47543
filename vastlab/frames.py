"""Arrow tables into pandas: one frame for each schema, made for analysis.

A record that is null and a record of nulls read the same.

Importing this module gives every `pandas.Series` the accessor ``ip``.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vastlab import _text
from vastlab.arrow import address, convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.errors import UsageError, VastlabWarning
from vastlab.types import Kind, Type, unique

__all__ = ["IPAccessor", "to_frames"]

Network: TypeAlias = (
    str
    | ipaddress.IPv4Address
    | ipaddress.IPv6Address
    | ipaddress.IPv4Network
    | ipaddress.IPv6Network
)

_NOT_A_TIME = int(np.iinfo(np.int64).min)
_NUMBERS = {Kind.INT64, Kind.UINT64, Kind.DOUBLE}
_PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
)


# --- tables -> frames -----------------------------------------------------------------------


def to_frames(
    tables: Mapping[str, list[pa.Table]], *, nested: Literal["flat", "dict"] = "flat"
) -> dict[str, pd.DataFrame]:
    """Turn Arrow tables into one frame for each schema, sorted by event time.

    Parameters
    ----------
    tables
        What `vastlab.collect_pyarrow` returns. Several layouts of one name give the union of
        their columns: integers and doubles become doubles; types that have nothing in common
        become text, with a warning that names the column.
    nested
        ``"flat"`` opens records into dotted columns (``id.orig_h``); ``"dict"`` keeps each as
        one column of dictionaries.

    Returns
    -------
    dict of str to pandas.DataFrame
        Addresses and networks are categories in address order, so that sorting is numeric;
        labels are categories; times carry UTC; integers and booleans are nullable types;
        lists hold what `vastlab.to_json_rows` would show.

    Examples
    --------
    >>> table = pa.table({"id": pa.array([{"port": 80}, {"port": None}])})
    >>> frame = to_frames({"zeek.conn": [table]})["zeek.conn"]
    >>> list(frame.columns), str(frame["id.port"].dtype), frame["id.port"].tolist()
    (['id.port'], 'Int64', [80, <NA>])
    """
    if nested not in ("flat", "dict"):
        raise UsageError(f"nested cannot be {nested!r}", hint="use 'flat' or 'dict'")
    return {name: _frame(parts, nested == "flat") for name, parts in tables.items()}


def table_frame(table: pa.Table) -> pd.DataFrame:
    """Turn one table into a frame with flat columns, in the order of the table.

    Decimals without a fraction are whole numbers of any size.
    """
    whole = [i for i, t in enumerate(table.schema.types) if pa.types.is_decimal(t) and not t.scale]
    shown = table
    for place in whole:
        shown = shown.set_column(place, table.schema.names[place], pa.nulls(len(table), pa.int64()))
    frame = _frame([shown], flat=True, ordered=False)
    for place in whole:
        numbers = [None if each is None else int(each) for each in table.column(place).to_pylist()]
        frame[table.schema.names[place]] = pd.Series(numbers, frame.index, object)
    return frame


@dataclass(frozen=True, slots=True)
class _Part:
    """Some events in normal form: their columns by name, and when they happened."""

    num_rows: int
    types: dict[str, Type]
    columns: dict[str, pa.Array]
    event_time: pa.Array | None


def _frame(tables: list[pa.Table], flat: bool, *, ordered: bool = True) -> pd.DataFrame:
    parts = [_part(batch, flat) for table in tables for batch in _batches(table)]
    names = dict.fromkeys(name for part in parts for name in part.types)
    columns = {name: _column(name, parts) for name in names}
    index = pd.RangeIndex(sum(part.num_rows for part in parts))
    frame = pd.DataFrame(columns, index=index, copy=False)
    order = _order(parts) if ordered else None
    return frame if order is None else frame.take(order).reset_index(drop=True)


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    empty = [pa.nulls(0, field.type) for field in table.schema]
    return table.to_batches() or [arrow_arrays.record_batch(empty, table.schema, 0)]


def _part(batch: pa.RecordBatch, flat: bool) -> _Part:
    batch = convert.normalise(batch)
    schema = arrow_schema.from_arrow(batch.schema)
    opened = convert.flatten(batch)
    time = schema.event_time
    shown = opened if flat else batch
    taken: dict[str, int] = {}
    names = [unique(name, taken) for name in shown.schema.names]
    fields = arrow_schema.from_arrow(shown.schema).fields
    return _Part(
        batch.num_rows,
        {name: member.type for name, member in zip(names, fields, strict=True)},
        dict(zip(names, shown.columns, strict=True)),
        None if time is None else opened.column(time.column),
    )


def _order(parts: list[_Part]) -> npt.NDArray[np.intp] | None:
    """Return the rows in order of event time, or nothing where they are; none comes last."""
    if all(part.event_time is None for part in parts):
        return None
    last = np.iinfo(np.int64).max
    times = np.concatenate(
        [
            np.full(part.num_rows, last)
            if part.event_time is None
            else _numbers(part.event_time.cast(pa.int64()), last)
            for part in parts
        ]
    )
    if bool((times[1:] >= times[:-1]).all()):
        return None
    return np.argsort(times, kind="stable")


# --- one column -----------------------------------------------------------------------------


def _column(name: str, parts: list[_Part]) -> Any:
    """Join a column from all parts; where a part lacks it, there are nulls."""
    types = [part.types[name] for part in parts if name in part.types]
    arrays = [
        part.columns[name] if name in part.types else pa.nulls(part.num_rows) for part in parts
    ]
    kind = common_kind(name, [type_.kind for type_ in types], arrays)
    if kind is Kind.STRING:
        arrays = [render.text(array, pa.field(name, array.type)) for array in arrays]
    return _convert(arrays, kind, types)


def common_kind(name: str, kinds: list[Kind], arrays: Iterable[pa.Array]) -> Kind:
    """Return what a column becomes that has these kinds in different layouts.

    Integers beside doubles widen. What has nothing in common becomes text, with a warning; so
    do integers that no type holds together.
    """
    different = set(kinds) - {Kind.NULL}
    if len(different) <= 1:
        return next(iter(different), Kind.NULL)
    if different <= _NUMBERS and Kind.DOUBLE in different:
        return Kind.DOUBLE
    if different <= _NUMBERS and not any(map(_is_too_large, arrays)):
        return Kind.INT64
    shown = _text.cut(_text.plain(name), 80)
    names = " and ".join(dict.fromkeys(str(kind.value) for kind in kinds))
    message = f"the column '{shown}' holds {names} in different events: it became text"
    warnings.warn(message, VastlabWarning, stacklevel=2)
    return Kind.STRING


def _is_too_large(array: pa.Array) -> bool:
    return bool(
        pa.types.is_uint64(array.type) and (pc.max(array).as_py() or 0) > np.iinfo(np.int64).max
    )


def _convert(arrays: list[pa.Array], kind: Kind, types: list[Type]) -> Any:
    match kind:
        case Kind.BOOL:
            return pd.arrays.BooleanArray(*_masked(arrays, pa.bool_()))
        case Kind.INT64:
            return pd.arrays.IntegerArray(*_masked(arrays, pa.int64()))
        case Kind.UINT64:
            return pd.arrays.IntegerArray(*_masked(arrays, pa.uint64()))
        case Kind.DOUBLE:
            return _joined(arrays, pa.float64()).to_numpy(zero_copy_only=False, writable=True)
        case Kind.TIME:
            count = _numbers(_joined(arrays, pa.timestamp("ns")).cast(pa.int64()), _NOT_A_TIME)
            return pd.DatetimeIndex(count.view("M8[ns]"), copy=False).tz_localize("UTC").array
        case Kind.DURATION:
            count = _numbers(_joined(arrays, pa.duration("ns")).cast(pa.int64()), _NOT_A_TIME)
            return count.view("m8[ns]")
        case Kind.STRING:
            pieces = [array.cast(pa.large_string()) for array in arrays]
            return pa.chunked_array(pieces, pa.large_string()).to_pandas().array
        case Kind.IP:
            return _addresses(_joined(arrays, pa.binary(16)))
        case Kind.SUBNET:
            return _networks(arrays)
        case Kind.ENUM:
            return _labels(arrays, types)
        case _:
            return _objects(arrays)


def _joined(arrays: list[pa.Array], type_: pa.DataType) -> pa.Array:
    # Doubles take integers of any size: that is what widening means.
    pieces = [arrow_arrays.storage_of(array).cast(type_, safe=False) for array in arrays]
    return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)


def _numbers(array: pa.Array, null: int) -> npt.NDArray[Any]:
    return np.asarray(array.fill_null(null).to_numpy(zero_copy_only=False))


def _masked(
    arrays: list[pa.Array], type_: pa.DataType
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    array = _joined(arrays, type_)
    zero = pa.scalar(0).cast(type_)
    values = array.fill_null(zero).to_numpy(zero_copy_only=False, writable=True)
    return values, array.is_null().to_numpy(zero_copy_only=False, writable=True)


def _objects(arrays: list[pa.Array]) -> npt.NDArray[np.object_]:
    """Make Python objects; bytes stay bytes, containers become what JSON rows show."""
    objects: list[Any] = []
    with render.collector_paused():
        for array in arrays:
            (member,) = arrow_schema.from_arrow(pa.schema([pa.field("", array.type)])).fields
            plain = array if member.type.kind is Kind.BLOB else render.render(array, member.type)
            objects += render.to_python(plain)
    column = np.empty(len(objects), object)
    column[:] = objects
    return column


# --- categories -----------------------------------------------------------------------------


def _addresses(addresses: pa.FixedSizeBinaryArray) -> pd.Categorical:
    encoded = addresses.dictionary_encode()
    matrix = address.octets(encoded.dictionary)
    order = _address_order(matrix)
    texts = address.address_text(encoded.dictionary.take(pa.array(order)))
    return _categorical(encoded.indices, order, texts)


def _networks(arrays: list[pa.Array]) -> pd.Categorical:
    keys = [
        pa.nulls(len(array), pa.binary(17))
        if pa.types.is_null(array.type)
        else address.network_keys(arrow_arrays.storage_of(array))
        for array in arrays
    ]
    encoded = pa.concat_arrays(keys).dictionary_encode()
    matrix = address.octets(encoded.dictionary)
    order = _address_order(matrix[:, :16], matrix[:, 16])
    addresses, lengths = address.split_keys(encoded.dictionary.take(pa.array(order)))
    texts = address.address_and_length_text(addresses, lengths)
    return _categorical(encoded.indices, order, texts)


def _address_order(matrix: address.Octets, *then: Any) -> npt.NDArray[np.intp]:
    words = np.ascontiguousarray(matrix).view(">u8").astype(np.uint64)
    return np.lexsort((*then, words[:, 1], words[:, 0]))


def _categorical(
    indices: pa.Array, order: npt.NDArray[np.intp], texts: pa.StringArray
) -> pd.Categorical:
    """Make categories of texts that stand in this order of the encoded values."""
    rank = np.empty(len(order) + 1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    rank[-1] = -1  # where the nulls point
    codes = rank[_numbers(indices.cast(pa.int32()), len(order))]
    return pd.Categorical.from_codes(codes, categories=texts.to_pandas(), validate=False)


def _labels(arrays: list[pa.Array], types: list[Type]) -> pd.Categorical:
    """Make categories of all labels in order of definition, also those that never occur."""
    labels = list(dict.fromkeys(label for type_ in types for label, _ in type_.labels))
    place = {label: i for i, label in enumerate(labels)}
    codes = []
    for array in arrays:
        if pa.types.is_null(array.type):
            codes.append(np.full(len(array), -1, np.int32))
            continue
        # Enumerations never reach pandas as such: it ends the process when it meets one.
        storage = array.storage
        rank = np.array([*(place[x] for x in storage.dictionary.to_pylist()), -1], np.int32)
        codes.append(rank[_numbers(storage.indices.cast(pa.int32()), len(rank) - 1)])
    return pd.Categorical.from_codes(
        np.concatenate(codes), categories=pd.Index(labels, dtype="str"), validate=False
    )


# --- the accessor ---------------------------------------------------------------------------


@pd.api.extensions.register_series_accessor("ip")
class IPAccessor:
    """What a Series of addresses or networks can answer, written as ``series.ip``.

    It works on categories, as frames have them, and on plain text; what is neither an address
    nor a network is never inside of anything.

    Parameters
    ----------
    series
        Text, or categories of text.

    Examples
    --------
    >>> hosts = pd.Series(["10.0.0.1", "192.0.2.7", "2001:db8::1", "?"])
    >>> hosts.ip.in_subnet(["10.0.0.0/8", "2001:db8::/32"]).tolist()
    [True, False, True, False]
    >>> hosts.ip.version.tolist()
    [4, 4, 6, <NA>]
    """

    def __init__(self, series: pd.Series[Any]) -> None:
        values = series.astype("category") if series.dtype != "category" else series
        categories = values.cat.categories
        if not pd.api.types.is_string_dtype(categories.dtype) and len(categories):
            raise AttributeError("can only use .ip with text")
        self._series = values
        texts = pa.array(categories, pa.string())
        self._texts = texts
        self._matrix, self._lengths = address.parse(texts)

    def in_subnet(self, networks: Network | Iterable[Network]) -> pd.Series[bool]:
        """Tell which values lie in a network, or in any of several.

        Parameters
        ----------
        networks
            Text or objects of `ipaddress`; a single address is a network of one. As in VAST,
            ``::/0`` holds all addresses.

        Returns
        -------
        pandas.Series
            True or False; False where there is no value.
        """
        inside = np.zeros(len(self._lengths), np.bool_)
        for network in [networks] if isinstance(networks, Network) else networks:
            parsed = address.parse_network(str(network))
            if parsed is None:
                raise UsageError(f"{str(network)!r} is neither an address nor a network")
            inside |= address.within(self._matrix, self._lengths, parsed)
        return self._spread(inside, False)

    @property
    def is_private(self) -> pd.Series[bool]:
        """True for private, loopback and link-local addresses of both versions.

        These are 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 127.0.0.0/8, 169.254.0.0/16,
        fc00::/7, fe80::/10 and ::1.
        """
        return self.in_subnet(_PRIVATE)

    @property
    def version(self) -> pd.Series[int]:
        """4 or 6, and missing where there is no address."""
        four = address.is_v4(self._matrix) & (self._lengths >= 96)
        version = np.where(self._lengths < 0, 0, np.where(four, 4, 6)).astype(np.int8)
        numbers = self._spread(version, 0)
        return numbers.astype("Int8").mask(numbers == 0)

    @property
    def sort_key(self) -> pd.Series[int]:
        """Numbers in the order of the addresses, then of other text; for ``sort_values(key=)``.

        Examples
        --------
        >>> hosts = pd.Series(["10.0.0.10", "10.0.0.9"])
        >>> hosts.sort_values(key=lambda s: s.ip.sort_key).tolist()
        ['10.0.0.9', '10.0.0.10']
        """
        words = self._matrix.view(">u8").astype(np.uint64)
        text = np.asarray(pc.rank(self._texts, tiebreaker="dense")).astype(np.int64)
        keys = (text, self._lengths, words[:, 1], words[:, 0], self._lengths < 0)
        rank = np.empty(len(text), np.int64)
        rank[np.lexsort(keys)] = np.arange(len(text))
        numbers = self._spread(rank, -1)
        return numbers.astype("Int64").mask(numbers < 0)

    def _spread(self, values: npt.NDArray[Any], missing: Any) -> pd.Series[Any]:
        """Give each row the value of its category."""
        every = np.append(values, np.array(missing, values.dtype))
        codes = self._series.cat.codes.to_numpy()
        return pd.Series(every[codes], index=self._series.index, name=self._series.name)
