"""Converts single texts to typed values."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from math import isinf

from vastlab.arrow import address as arrow_address
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
