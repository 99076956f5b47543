"""Converts text, and columns of text, to typed values."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from math import isinf

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address as arrow_address
from vastlab.arrow import types as arrow_types
from vastlab.types import Kind

# The kinds that `from_text` supports.
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
_NAMES = {
    Kind.BOOL: "a bool",
    Kind.INT64: "an int64",
    Kind.UINT64: "a uint64",
    Kind.DOUBLE: "a double",
    Kind.TIME: "a time",
    Kind.DURATION: "a duration",
    Kind.IP: "an IP address",
    Kind.SUBNET: "a subnet",
    Kind.NULL: "null",
}
_SHOWN = 60
_V4_BITS = 96
_INT64 = range(-(1 << 63), 1 << 63)
_UINT64 = range(1 << 64)
_SECOND = 10**9
_DAY = 86_400 * _SECOND
_EXACT = Context(prec=400)
_MAX_DIGITS = 300
_MAX_EXPONENT = 100
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WORDS = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?\s?(Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
UNITS = {
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanosecond", "nanoseconds"), 1),
    **dict.fromkeys(("us", "usec", "usecs", "microsecond", "microseconds"), 10**3),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 10**6),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60 * _SECOND),
    **dict.fromkeys(("h", "hrs", "hour", "hours"), 3600 * _SECOND),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * _DAY),
    # No years: VAST and Tenzir give them different lengths.
}
_PART = r"([0-9]{1,20}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})[ ]?([a-z]{1,12})"
_DURATION = re.compile(rf"(-|\+)?{_PART}((?:[ ]?{_PART})*)")
_PARTS = re.compile(_PART)
_TIMEDELTA = re.compile(
    r"(-?\d{1,7}) days?(?: ([+-]?)(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?)?", re.ASCII
)
# Larger numbers cannot be seconds, since 64-bit nanoseconds would overflow: Zeek can log
# milliseconds.
_MILLISECONDS_FROM = Decimal("1e10")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_FIT = "is outside the range of 64-bit nanoseconds"


def name_of(kind: Kind) -> str:
    """Return a kind with an article for messages, such as ``an IP address``."""
    return _NAMES.get(kind, f"a {kind.value}")


def brief(value: object) -> str:
    """Return a value for a message: text in quotes, and shortened if it is long."""
    match value:
        case str():
            text = repr(value[:_SHOWN])
        case Decimal() if abs(value.adjusted()) < _SHOWN and value.is_finite():
            text = f"{value.normalize(_EXACT):f}"
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def type_error(value: object, kind: Kind) -> ValueError:
    """Return the error for a value of the wrong kind."""
    return ValueError(f"{brief(value)} is not {name_of(kind)}")


# --- numbers --------------------------------------------------------------------------------


def integer(text: str, kind: Kind) -> int:
    """Read an int64 or uint64."""
    limits = _UINT64 if kind is Kind.UINT64 else _INT64
    if not _INTEGER.fullmatch(text) or (number := int(text)) not in limits:
        raise type_error(text, kind)
    return number


def double(text: str) -> float:
    """Read a double; raises ValueError if it is too large, instead of returning infinity."""
    if _WORDS.fullmatch(text):
        return float(text)
    if len(text) > _MAX_DIGITS * 2 or not _DECIMAL.fullmatch(text):
        raise type_error(text, Kind.DOUBLE)
    number = float(text)
    if isinf(number):
        raise ValueError(f"{brief(text)} is too large for a double")
    return number


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``, in any case."""
    word = text[:6].lower()
    if word not in ("true", "false"):
        raise type_error(text, Kind.BOOL)
    return word == "true"


# --- addresses ------------------------------------------------------------------------------


def address(text: str) -> bytes:
    """Read an address into 16 bytes; raises ValueError if it has a zone (``fe80::1%eth0``)."""
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return arrow_address.MAPPED_PREFIX + socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        raise type_error(text, Kind.IP) from None


def subnet(text: str) -> tuple[bytes, int]:
    """Read a network into its address and its length in the 128-bit space."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise type_error(text, Kind.SUBNET) from None
    packed = network.network_address.packed
    if network.version == 4:
        return arrow_address.MAPPED_PREFIX + packed, _V4_BITS + network.prefixlen
    return packed, network.prefixlen


# --- times and durations --------------------------------------------------------------------


def nanoseconds(seconds: str | int | Decimal) -> int:
    """Convert seconds to nanoseconds, rounded half to even."""
    if isinstance(seconds, str) and not _is_number(seconds):
        raise ValueError(f"{brief(seconds)} is not a number of seconds")
    return _scaled(_bounded(seconds), _SECOND, f"{brief(seconds)} s")


def _is_number(text: str) -> bool:
    """Return whether a text is a number, and short enough to be read quickly."""
    return len(text) <= _MAX_DIGITS and bool(_DECIMAL.fullmatch(text))


def _bounded(number: str | int | Decimal) -> Decimal:
    """Return a decimal whose exponent is small enough for fast calculations."""
    exact = _EXACT.create_decimal(number)
    if exact.is_zero() or exact.adjusted() < -_MAX_EXPONENT:
        return Decimal(0)
    if not exact.is_finite() or exact.adjusted() > _MAX_EXPONENT:
        raise ValueError(f"{brief(number)} {_NO_FIT}")
    return exact


def _scaled(number: Decimal, unit: int, what: str) -> int:
    """Multiply by a unit in nanoseconds, rounded half to even."""
    try:
        count = int(_EXACT.multiply(number, Decimal(unit)).to_integral_value(context=_EXACT))
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError(f"{what} {_NO_FIT}") from None
    if count not in _INT64:
        raise ValueError(f"{what} {_NO_FIT}")
    return count


def epoch(number: int | Decimal, *, milliseconds: bool = False) -> int:
    """Convert seconds since 1970 to nanoseconds.

    With `milliseconds`, a number that is too large for seconds is read as milliseconds.
    """
    exact = _bounded(number)
    if milliseconds and abs(exact) >= _MILLISECONDS_FROM:
        return _scaled(exact, 10**6, f"{brief(number)} ms")
    return nanoseconds(exact)


def iso_time(text: str) -> int:
    """Read ISO 8601 into nanoseconds since 1970; without a zone it is UTC."""
    if len(text) > _SHOWN or not (match := _ISO.fullmatch(text)):
        raise type_error(text, Kind.TIME)
    date, clock, fraction, zone = match.groups()
    digits = (fraction or "0").rstrip("0").ljust(9, "0")
    if len(digits) > 9:
        raise ValueError(f"{text!r} is finer than a nanosecond")
    try:
        offset = "Z" if zone == "UTC" else zone or "Z"
        if clock and clock.startswith("24"):
            raise ValueError  # Python 3.13 reads it
        moment = datetime.fromisoformat(f"{date}T{clock or '00:00'}{offset}")
        delta = moment - _EPOCH
    except (ValueError, OverflowError):
        raise type_error(text, Kind.TIME) from None
    number = (delta.days * 86_400 + delta.seconds) * _SECOND + int(digits)
    if number not in _INT64:
        raise ValueError(f"{text!r} {_NO_FIT}")
    return number


def time(text: str) -> int:
    """Read ISO 8601, or seconds since 1970."""
    return nanoseconds(text) if _is_number(text) else iso_time(text)


def span(text: str) -> int:
    """Read a duration with units: ``163.82ms`` and ``1h30m``, or as `pandas.Timedelta`."""
    if found := _TIMEDELTA.fullmatch(text):
        return _timedelta(text, found)
    if len(text) > _SHOWN or not (found := _DURATION.fullmatch(text)):
        raise type_error(text, Kind.DURATION)
    sign, number, unit, rest, *_ = found.groups()
    parts = [(number, unit), *_PARTS.findall(rest)]
    if not all(name in UNITS for _, name in parts):
        raise type_error(text, Kind.DURATION)
    minus = Decimal(-1 if sign == "-" else 1)  # it counts for all parts
    total = sum(_scaled(minus * Decimal(part), UNITS[name], repr(text)) for part, name in parts)
    return _checked(total, text)


def _timedelta(text: str, found: re.Match[str]) -> int:
    days, sign, *clock, fraction = found.groups()
    hours, minutes, seconds = (int(part or 0) for part in clock)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise type_error(text, Kind.DURATION)
    clock_part = (hours * 3600 + minutes * 60 + seconds) * _SECOND + int(
        (fraction or "0").ljust(9, "0")
    )
    return _checked(int(days) * _DAY + (-clock_part if sign == "-" else clock_part), text)


def _checked(number: int, text: str) -> int:
    if number not in _INT64:
        raise ValueError(f"{text!r} {_NO_FIT}")
    return number


def duration(text: str) -> int:
    """Read seconds, or a duration with units."""
    return nanoseconds(text) if _is_number(text) else span(text)


READERS: dict[Kind, Callable[[str], object]] = {
    Kind.BOOL: boolean,
    Kind.INT64: lambda text: integer(text, Kind.INT64),
    Kind.UINT64: lambda text: integer(text, Kind.UINT64),
    Kind.DOUBLE: double,
    Kind.TIME: time,
    Kind.DURATION: duration,
    Kind.IP: address,
    Kind.SUBNET: subnet,
    Kind.STRING: lambda text: text,
}


def value_from_text(text: str, kind: Kind) -> object:
    """Read a value of one of `PLAIN_KINDS`, in the form that Arrow stores."""
    return READERS[kind](text)


_CLOCK = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?"
_VALID = {
    Kind.BOOL: "^(true|false)$",
    Kind.INT64: r"^-?[0-9]{1,18}$",
    Kind.UINT64: r"^[0-9]{1,19}$",
    Kind.DOUBLE: r"^-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?$",
}
_SECONDS = r"^-?[0-9]{1,10}(\.[0-9]{1,9})?$"
_SMALL = r"^-?[0-9](\.[0-9]{1,9})?[eE]-[0-9]$"  # Arrow keeps all digits of these
_NAIVE = rf"^\d\d\d\d-\d\d-\d\d([T ]{_CLOCK})?$"
_ZONED = rf"^\d\d\d\d-\d\d-\d\d[T ]{_CLOCK}(Z|[+-]\d\d:?\d\d)$"
_DURATION_COLUMN = rf"^(?P<number>-?[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?)(?P<unit>{'|'.join(UNITS)})$"
_NANOSECOND_COLUMN = "^-?[0-9]{1,18}ns$"
_TIMEDELTA_COLUMN = rf"^-?[0-9]{{1,5}} days? \+?{_CLOCK}$"
_STORAGE = {
    Kind.BOOL: pa.bool_(),
    Kind.INT64: pa.int64(),
    Kind.UINT64: pa.uint64(),
    Kind.DOUBLE: pa.float64(),
    Kind.TIME: pa.timestamp("ns"),
    Kind.DURATION: pa.duration("ns"),
}
MAX_EXACT = 1 << 53  # larger doubles may stand for several whole numbers
_NANOSECONDS = pa.decimal128(19, 9)
_FEW = 1000  # addresses, which are read faster one by one
_MOST_DIGITS = 20  # of a whole number, with its sign
_TIME_LENGTHS = (19, 29)  # of ``2024-01-31T12:34:56``, without and with nanoseconds

Convert = Callable[[pa.Array], pa.Array]


def from_text(texts: pa.Array, kind: Kind) -> pa.Array:
    """Convert a column of text to one of `PLAIN_KINDS`; mismatches become null, see `lost_rows`."""
    if pa.types.is_dictionary(texts.type) and kind is not Kind.IP:
        return from_text(texts.dictionary, kind).take(texts.indices)
    match kind:
        case Kind.IP:
            return addresses(texts)
        case Kind.SUBNET:
            return subnets(texts)
        case Kind.TIME:
            return times(texts)
        case Kind.DURATION:
            return _mixed(texts, _DURATIONS, kind)
        case Kind.STRING:
            return texts
        case Kind.INT64 | Kind.UINT64 if (found := _integers(texts, kind)) is not None:
            return found
        case Kind.BOOL if not len(lost_rows(texts, found := booleans(texts, "true", "false"))):
            return found
        case _:
            return _mixed(texts, [(_VALID[kind], lambda valid: valid.cast(_STORAGE[kind]))], kind)


def lost_rows(before: pa.Array, after: pa.Array) -> np.ndarray:
    """Return the rows in which a conversion turned a value into null."""
    if before.null_count == after.null_count:
        return np.zeros(0, np.int64)
    lost = pc.and_(before.is_valid(), after.is_null())
    return np.flatnonzero(lost.to_numpy(zero_copy_only=False))


# --- each kind ------------------------------------------------------------------------------


def _integers(texts: pa.Array, kind: Kind) -> pa.Array | None:
    """Convert whole numbers if Arrow accepts the same ones; otherwise return ``None``."""
    # Arrow also reads hexadecimal numbers, and any number of zeros.
    if _has_letter(texts, "x") or not _has_lengths(texts, 1, _MOST_DIGITS):
        return None
    try:
        return texts.cast(_STORAGE[kind])
    except pa.ArrowInvalid:
        return None


def _has_letter(texts: pa.Array, letter: str) -> bool:
    """Return whether a letter may occur, in either case."""
    letters = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    return bool(((letters | 0x20) == ord(letter)).any())


def _has_lengths(texts: pa.Array, least: int, most: int) -> bool:
    """Return whether the lengths of all texts are within bounds."""
    bounds = pc.min_max(pc.binary_length(texts)).as_py()
    return bounds["min"] is None or least <= bounds["min"] <= bounds["max"] <= most


def times(texts: pa.Array) -> pa.Array:
    """Convert ISO 8601, with and without a zone, and seconds since 1970."""
    if _has_lengths(texts, *_TIME_LENGTHS):
        try:
            return texts.cast(pa.timestamp("ns"))  # shorter forms and zones are not accepted
        except pa.ArrowInvalid:
            pass
    zoned = pa.timestamp("ns", "UTC")
    ways: list[tuple[str, Convert]] = [
        (_ZONED, lambda valid: valid.cast(zoned).cast(pa.timestamp("ns"))),
        (_NAIVE, lambda valid: valid.cast(pa.timestamp("ns"))),
        (_SECONDS, _decimals(Kind.TIME)),
    ]
    return _mixed(texts, ways, Kind.TIME)


def seconds(texts: pa.Array, kind: Kind) -> pa.Array:
    """Convert numbers of seconds, as Zeek writes times and intervals."""
    if not _has_letter(texts, "e"):
        try:
            return from_decimal(texts.cast(_NANOSECONDS), kind)
        except pa.ArrowInvalid:
            pass  # bad values are found one by one
    ways = [(_SECONDS, _decimals(kind)), (_SMALL, _decimals(kind))]
    return _mixed(texts, ways, kind, nanoseconds)


def uniform_times(texts: pa.Array) -> pa.Array | None:
    """Convert ISO 8601 times if all rows have the same form; otherwise return ``None``."""
    for pattern, type_ in ((_ZONED, pa.timestamp("ns", "UTC")), (_NAIVE, pa.timestamp("ns"))):
        if pc.all(pc.match_substring_regex(texts, pattern)).as_py():
            try:
                return texts.cast(type_).cast(pa.timestamp("ns"))
            except pa.ArrowInvalid:
                return None
    return None


def addresses(texts: pa.Array) -> pa.Array:
    """Convert addresses."""
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    distinct = texts.dictionary.cast(pa.string())
    packed, wrong = _packed(distinct)
    values = pa.Array.from_buffers(pa.binary(16), len(packed), [None, pa.py_buffer(packed)])
    if wrong.any():
        values = pc.if_else(pa.array(wrong), pa.scalar(None, pa.binary(16)), values)
    return pa.ExtensionArray.from_storage(arrow_types.IP, values.take(texts.indices))


def _packed(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return addresses as rows of 16 bytes, and which are missing or wrong."""
    if len(texts) < _FEW:
        packed, four = np.zeros((len(texts), 16), np.uint8), np.zeros(len(texts), np.bool_)
    else:
        packed, four = arrow_address.parse_ipv4(texts)
    wrong = texts.is_null().to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~four & ~wrong)
    if not len(others):
        return packed, wrong
    found = [_packed_address(text) for text in texts.take(others).to_pylist()]
    parts = b"".join(each or bytes(16) for each in found)
    packed[others] = np.frombuffer(parts, np.uint8).reshape(-1, 16)
    wrong[others] = [each is None for each in found]
    return packed, wrong


@lru_cache(maxsize=1 << 14)  # the same IPv6 addresses are in many blocks
def _packed_address(text: str) -> bytes | None:
    try:
        return address(text)
    except ValueError:
        return None


def subnets(texts: pa.Array) -> pa.Array:
    """Convert networks."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    pairs = []
    for text in encoded.dictionary.to_pylist():
        try:
            pairs.append(None if text is None else subnet(text))
        except ValueError:
            pairs.append(None)
    storage = subnet_array(pairs).storage.take(encoded.indices)
    return pa.ExtensionArray.from_storage(arrow_types.SUBNET, storage)


def subnet_array(pairs: Sequence[tuple[bytes, int] | None]) -> pa.Array:
    """Build a column from results of `subnet`."""
    packed = pa.array([None if pair is None else pair[0] for pair in pairs], pa.binary(16))
    lengths = pa.array([None if pair is None else pair[1] for pair in pairs], pa.uint8())
    storage = pa.StructArray.from_arrays(
        [pa.ExtensionArray.from_storage(arrow_types.IP, packed), lengths],
        fields=list(arrow_types.SUBNET.storage_type),
        mask=packed.is_null(),
    )
    return pa.ExtensionArray.from_storage(arrow_types.SUBNET, storage)


def from_decimal(seconds: pa.Array, kind: Kind) -> pa.Array:
    """Convert decimals of nine places to times or durations, exactly; null if out of range."""
    low, high = _words(seconds)
    return _of_words(low, high == low >> 63, seconds, kind)


def rounded(seconds: pa.Array, kind: Kind) -> pa.Array:
    """Convert decimals of 24 places to times or durations, rounded half to even."""
    # Two divisors of 32 bits take a fifth of the time of one of 64 bits.
    cut = seconds.cast(pa.decimal128(38, 18), safe=False).cast(pa.decimal128(38, 9), safe=False)
    low, high = _words(cut)
    rest = _words(seconds)[0] - low * 10**15
    size, half = np.abs(rest), 10**15 // 2
    up = (size > half) | ((size == half) & (low & 1 == 1))
    step = np.where(up, np.sign(rest), 0)
    total = low + step
    fits = (high == low >> 63) & ((total < low) == (step < 0))
    return _of_words(total, fits, seconds, kind)


_Words = npt.NDArray[np.int64]


def _words(decimals: pa.Array) -> tuple[_Words, _Words]:
    """Return the low and the high halves of decimals."""
    start, stop = 2 * decimals.offset, 2 * (decimals.offset + len(decimals))
    words = np.frombuffer(decimals.buffers()[1] or b"", np.int64)[start:stop]
    return words[::2], words[1::2]


def _of_words(words: _Words, fits: npt.NDArray[np.bool_], before: pa.Array, kind: Kind) -> pa.Array:
    """Build times or durations; null if a decimal was, or if it does not fit into 64 bits."""
    valid = fits
    if before.null_count:
        valid = fits & before.is_valid().to_numpy(zero_copy_only=False)
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    data = [bits, pa.py_buffer(np.ascontiguousarray(words))]
    return pa.Array.from_buffers(_STORAGE[kind], len(before), data)


def booleans(texts: pa.Array, true: str = "T", false: str = "F") -> pa.Array:
    """Convert two words to booleans."""
    return pc.index_in(texts, value_set=pa.array([false, true])).cast(pa.bool_())


def whole_numbers(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Convert to whole numbers or null; raises ValueError if a double is too large to be exact."""
    numbers = array.to_numpy(zero_copy_only=False) if not array.null_count else None
    values = array.fill_null(0).to_numpy(zero_copy_only=False) if numbers is None else numbers
    good = array.is_valid().to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        if bool((good & (np.abs(values) >= MAX_EXACT)).any()):
            raise ValueError("a number has more digits than a double")
        good = good & (values == np.trunc(values))
    if pa.types.is_uint64(target):
        good = good & (values >= 0)
    elif values.dtype == np.uint64:
        good = good & (values < np.uint64(1 << 63))
    safe = np.where(good, values, 0)
    return pa.array(safe.astype(target.to_pandas_dtype()), target, mask=~good)


# --- columns with several patterns ----------------------------------------------------------


def _decimals(kind: Kind) -> Convert:
    return lambda valid: from_decimal(valid.cast(_NANOSECONDS), kind)


def _spans(valid: pa.Array) -> pa.Array:
    """Convert durations such as ``163.82ms``, rounded half to even."""
    parts = pc.extract_regex(valid, _DURATION_COLUMN)
    # Not `parts.field`, which has no nulls.
    number, unit = (pc.struct_field(parts, name) for name in ("number", "unit"))
    units = pa.array(UNITS, pa.string())
    factors = pa.array(UNITS.values(), pa.int64()).cast(pa.decimal128(19, 0))
    factor = factors.take(pc.index_in(unit, value_set=units))
    product = pc.multiply(number.cast(pa.decimal128(18, 9)), factor)
    rounded = pc.round(product, 0, round_mode="half_to_even").cast(pa.decimal128(38, 0))
    return from_decimal(rounded, Kind.DURATION)


def _timedeltas(valid: pa.Array) -> pa.Array:
    """Convert durations such as ``1 days 02:03:04.5``."""
    if pc.all(pc.starts_with(valid, "0 days ")).as_py() and not _has_letter(valid, "+"):
        moment = pc.binary_replace_slice(valid, 0, 6, "1970-01-01").cast(pa.timestamp("ns"))
        return moment.cast(pa.int64()).cast(pa.duration("ns"))
    parts = pc.split_pattern(valid, " ", max_splits=2)
    days = pc.list_element(parts, 0).cast(pa.int64())
    clock = pc.ascii_ltrim(pc.list_element(parts, 2), "+")
    moment = pc.binary_join_element_wise("1970-01-01", clock, " ").cast(pa.timestamp("ns"))
    return pc.add(pc.multiply(days, _DAY), moment.cast(pa.int64())).cast(pa.duration("ns"))


def _whole_nanoseconds(valid: pa.Array) -> pa.Array:
    """Convert durations such as ``163820000ns``."""
    return pc.ascii_rtrim(valid, "ns").cast(pa.int64()).cast(pa.duration("ns"))


_DURATIONS: tuple[tuple[str, Convert], ...] = (
    (_SECONDS, _decimals(Kind.DURATION)),
    (_TIMEDELTA_COLUMN, _timedeltas),
    (_NANOSECOND_COLUMN, _whole_nanoseconds),
    (_DURATION_COLUMN, _spans),
)


def _mixed(
    texts: pa.Array,
    ways: Sequence[tuple[str, Convert]],
    kind: Kind,
    read: Callable[[str], object] | None = None,
) -> pa.Array:
    """Convert texts by the first pattern that matches, and the rest one by one."""
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), _STORAGE[kind])
    parts, rest = [], texts
    first = texts[pc.index(texts.is_valid(), True).as_py()].as_py()
    for pattern, convert in sorted(ways, key=lambda way: not re.search(way[0], first)):
        matches = pc.match_substring_regex(rest, pattern)
        count = pc.sum(matches).as_py() or 0
        if not count:
            continue
        whole = count == len(rest) - rest.null_count
        valid = rest if whole else pc.if_else(matches, rest, None)
        try:
            parts.append(convert(valid))
        except pa.ArrowInvalid:
            # For example February 30, or the year 9999: these are found one by one.
            continue
        if whole:
            break
        rest = pc.if_else(matches, None, rest)
    else:
        parts.append(_one_by_one(rest, kind, read or READERS[kind]))
    return parts[0] if len(parts) == 1 else pc.coalesce(*parts)


def _one_by_one(texts: pa.Array, kind: Kind, read: Callable[[str], object]) -> pa.Array:
    encoded = texts.dictionary_encode()
    values = [_read_or_none(read, text) for text in encoded.dictionary.to_pylist()]
    return pa.array(values, _STORAGE[kind]).take(encoded.indices)


def _read_or_none(read: Callable[[str], object], text: str | None) -> object:
    try:
        return None if text is None else read(text)
    except ValueError:
        return None
