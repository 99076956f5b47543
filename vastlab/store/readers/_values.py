"""Values in text: one by one, and as whole Arrow columns.

Times and durations go through decimals, never through floats: every nanosecond is exact. The
functions for columns raise `ValueError` (`pyarrow.ArrowInvalid` is one) when a value does not
fit; the functions for one value say which and why.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address as arrow_address
from vastlab.arrow import types as arrow_types
from vastlab.types import Kind

# What `from_text` knows.
PLAIN_KINDS = (
    Kind.BOOL,
    Kind.INT64,
    Kind.UINT64,
    Kind.DOUBLE,
    Kind.TIME,
    Kind.DURATION,
    Kind.IP,
    Kind.SUBNET,
    Kind.STRING,
)
_V4_BITS = 96
_INT64 = range(-(1 << 63), 1 << 63)
_UINT64 = range(1 << 64)
_NANOSECOND = Decimal("1e-9")
_EXACT = Context(prec=60)
_DECIMAL = pa.decimal128(38, 9)
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?|[+-]?(nan|inf)", re.IGNORECASE
)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?\s?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
# From here on a number cannot be seconds in 64 bits of nanoseconds: Zeek can log milliseconds.
_MILLISECONDS_FROM = Decimal("1e10")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- one value ------------------------------------------------------------------------------


def integer(text: str, kind: Kind) -> int:
    """Read an int64 or uint64."""
    if not _INTEGER.fullmatch(text) or (number := int(text)) not in _range(kind):
        raise ValueError(f"{text!r} is no {kind.value}")
    return number


def _range(kind: Kind) -> range:
    return _UINT64 if kind is Kind.UINT64 else _INT64


def double(text: str) -> float:
    """Read a double."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return float(text)


def address(text: str) -> bytes:
    """Read an address into 16 bytes; those with a zone (``fe80::1%eth0``) are refused."""
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return arrow_address.MAPPED_PREFIX + socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is no address") from None


def subnet(text: str) -> tuple[bytes, int]:
    """Read a network into its address and its length in the 128-bit space."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no subnet") from None
    packed = network.network_address.packed
    if network.version == 4:
        return arrow_address.MAPPED_PREFIX + packed, _V4_BITS + network.prefixlen
    return packed, network.prefixlen


def nanoseconds(seconds: str | int | Decimal) -> int:
    """Turn seconds into whole nanoseconds, half to even."""
    try:
        exact = _EXACT.create_decimal(seconds).quantize(_NANOSECOND, context=_EXACT)
        number = int(exact.scaleb(9, _EXACT))
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError(f"{str(seconds)[:60]!r} is no number of seconds") from None
    if number not in _INT64:
        raise ValueError(f"{str(seconds)[:60]!r} seconds do not fit into 64 bits")
    return number


def epoch(number: int | Decimal) -> int:
    """Read a number as seconds since 1970, or as milliseconds where seconds cannot be."""
    exact = Decimal(number)
    if abs(exact) >= _MILLISECONDS_FROM:
        return nanoseconds(_EXACT.divide(exact, Decimal(1000)))
    return nanoseconds(exact)


def iso_time(text: str) -> int:
    """Read ISO 8601 into nanoseconds since 1970; without a zone it is UTC."""
    if not (match := _ISO.fullmatch(text)):
        raise ValueError(f"{text!r} is no time")
    date, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock or '00:00'}{zone or 'Z'}")
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None
    delta = moment - _EPOCH
    seconds = delta.days * 86_400 + delta.seconds
    number = seconds * 10**9 + int((fraction or "0").ljust(9, "0"))
    if number not in _INT64:
        raise ValueError(f"{text!r} does not fit into 64 bits of nanoseconds")
    return number


# --- whole columns --------------------------------------------------------------------------


def addresses(texts: pa.Array) -> pa.Array:
    """Convert an array of text, dictionary-encoded or not, into addresses."""
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    distinct = texts.dictionary.cast(pa.string())
    packed, four = arrow_address.parse_four(distinct)
    others = np.flatnonzero(~four)
    for row, text in zip(others.tolist(), distinct.take(others).to_pylist(), strict=True):
        packed[row] = np.frombuffer(address(text), np.uint8)
    values = pa.Array.from_buffers(pa.binary(16), len(packed), [None, pa.py_buffer(packed)])
    return pa.ExtensionArray.from_storage(arrow_types.IP, values.take(texts.indices))


def subnets(texts: pa.Array) -> pa.Array:
    """Convert an array of text into subnets."""
    encoded = texts.dictionary_encode()
    distinct = [None if text is None else subnet(text) for text in encoded.dictionary.to_pylist()]
    return subnet_array(
        [None if key is None else distinct[key] for key in encoded.indices.to_pylist()]
    )


def subnet_array(pairs: Sequence[tuple[bytes, int] | None]) -> pa.Array:
    """Make a column of what `subnet` gives."""
    packed = pa.array([None if pair is None else pair[0] for pair in pairs], pa.binary(16))
    lengths = pa.array([None if pair is None else pair[1] for pair in pairs], pa.uint8())
    storage = pa.StructArray.from_arrays(
        [pa.ExtensionArray.from_storage(arrow_types.IP, packed), lengths],
        fields=list(arrow_types.SUBNET.storage_type),
        mask=packed.is_null(),
    )
    return pa.ExtensionArray.from_storage(arrow_types.SUBNET, storage)


def from_decimal(seconds: pa.Array, kind: Kind) -> pa.Array:
    """Turn decimals of nine places into times or durations, exactly."""
    if seconds.offset:
        seconds = pa.concat_arrays([seconds])
    words = np.frombuffer(seconds.buffers()[1], np.int64, 2 * len(seconds))
    low, high = words[::2], words[1::2]
    wide = high != low >> 63
    if wide.any() and bool((wide & np.asarray(seconds.is_valid())).any()):
        raise ValueError("a time does not fit into 64 bits of nanoseconds")
    data = [seconds.buffers()[0], pa.py_buffer(np.ascontiguousarray(low))]
    target = pa.timestamp("ns") if kind is Kind.TIME else pa.duration("ns")
    return pa.Array.from_buffers(target, len(seconds), data)


def booleans(texts: pa.Array, true: str = "T", false: str = "F") -> pa.Array:
    """Turn two words into booleans."""
    found = pc.index_in(texts, value_set=pa.array([false, true]))
    if found.null_count != texts.null_count:
        raise ValueError(f"a boolean is neither {true!r} nor {false!r}")
    return found.cast(pa.bool_())


def from_text(texts: pa.Array, kind: Kind) -> pa.Array:
    """Convert an array of text into a column of a kind without parts."""
    converters: dict[Kind, Callable[[], pa.Array]] = {
        Kind.BOOL: lambda: booleans(texts),
        Kind.INT64: lambda: texts.cast(pa.int64()),
        Kind.UINT64: lambda: texts.cast(pa.uint64()),
        Kind.DOUBLE: lambda: texts.cast(pa.float64()),
        Kind.TIME: lambda: from_decimal(texts.cast(_DECIMAL), kind),
        Kind.DURATION: lambda: from_decimal(texts.cast(_DECIMAL), kind),
        Kind.IP: lambda: addresses(texts),
        Kind.SUBNET: lambda: subnets(texts),
        Kind.STRING: lambda: texts,
    }
    return converters[kind]()
