"""Converts columns of text to typed columns, as `values` converts single texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import address as arrow_address
from vastlab.arrow import types as arrow_types
from vastlab.readers.values import READERS, UNITS, address, nanoseconds, subnet
from vastlab.types import Kind

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
    return pc.add(pc.multiply(days, UNITS["day"]), moment.cast(pa.int64())).cast(pa.duration("ns"))


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
