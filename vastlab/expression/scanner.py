"""Parsing of literals: addresses, numbers, durations, times, strings and patterns."""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.errors import ExpressionSyntaxError
from vastlab.expression.literals import (
    IP,
    MAPPED,
    Double,
    Duration,
    Int64,
    Pattern,
    RelativeTime,
    String,
    Subnet,
    Time,
    UInt64,
)

MAX_DEPTH = 100

BLANKS = r"[ \t\n\v\f\r]*+"  # C's isspace
_BLANKS = re.compile(BLANKS)
_SKIP = re.compile(r"(?:[ \t\n\v\f\r]++|/\*.*?\*/)*+", re.DOTALL)
_CONTINUES = re.compile(r"[A-Za-z0-9_:.`-]")
_WORDS = {word: re.compile(rf"{word}(?![A-Za-z0-9_:.-])") for word in ("and", "or", "not")}


@dataclass(frozen=True, slots=True)
class InvalidLiteral:
    """A well-formed literal without a valid value, such as a number that is too large.

    It is an error only if the text after it does not make it a field name.
    """

    message: str
    expected: str


def skip_blanks(text: str, at: int) -> int:
    """Skip blanks; literals contain no comments."""
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def skip_space(text: str, at: int) -> int:
    """Skip blanks and comments between tokens."""
    found = _SKIP.match(text, at)
    return found.end() if found else at


def continues_name(text: str, at: int) -> bool:
    """Whether the text continues a field name here."""
    return _CONTINUES.match(text, at) is not None


def match_keyword(name: str, text: str, at: int) -> int | None:
    """Return the end of the word ``and``, ``or`` or ``not``, or None."""
    found = _WORDS[name].match(text, at)
    return found.end() if found else None


def syntax_error(
    message: str, text: str, at: int, *expected: str, hint: str | None = None
) -> ExpressionSyntaxError:
    """Create the error for a position."""
    return ExpressionSyntaxError(message, text, at, expected, hint=hint)


def increase_depth(depth: int, text: str, at: int) -> int:
    """Return the next level of nesting; too many are an error."""
    if depth >= MAX_DEPTH:
        message = f"the expression is nested more than {MAX_DEPTH} levels deep"
        raise syntax_error(message, text, at, "fewer nested brackets")
    return depth + 1


_Found = TypeVar("_Found")
INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

_UNSIGNED_REAL = r"(?>[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+"
REAL = rf"-?{_UNSIGNED_REAL}"
_LONGEST_NUMERAL = 1000
_EXACT = Context(prec=_LONGEST_NUMERAL)

_SECOND = 10**9
# The order matters: ``5min`` must not be read as ``5m``.
_UNITS = {
    **dict.fromkeys(("nanoseconds", "nanosecond", "nsecs", "nsec", "ns"), 1),
    **dict.fromkeys(("microseconds", "microsecond", "usecs", "usec", "us"), 10**3),
    **dict.fromkeys(("milliseconds", "millisecond", "msecs", "msec", "ms"), 10**6),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), _SECOND),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60 * _SECOND),
    **dict.fromkeys(("hours", "hour", "hrs", "h"), 3600 * _SECOND),
    **dict.fromkeys(("days", "day", "d"), 24 * 3600 * _SECOND),
    **dict.fromkeys(("weeks", "week", "w"), 7 * 24 * 3600 * _SECOND),
    **dict.fromkeys(("years", "year", "y"), 365 * 24 * 3600 * _SECOND),
}
_SUFFIXES = {
    **{f"{letter}i": 1024**n for n, letter in enumerate("KMGTPE", start=1)},
    **{letter: 1000**n for n, letter in enumerate("kMGTPE", start=1)},
}
_SUFFIX = rf"(?:[ \t\n\v\f\r]*+({'|'.join(_SUFFIXES)}))?+"
_PART = re.compile(rf"({REAL})[ \t\n\v\f\r]*+({'|'.join(_UNITS)})")
_UNSIGNED = re.compile(rf"([0-9]{{1,20}}+){_SUFFIX}(?!\.)")
_SIGNED = re.compile(rf"([+-][0-9]{{1,19}}+){_SUFFIX}(?!\.)")
_REAL = re.compile(rf"{REAL}|-?(?:infinity|inf|nan)", re.IGNORECASE)
_EXPONENT = re.compile(r"[+-]?[0-9]++[eE][+-]?[0-9]++")
_PLUS_REAL = re.compile(rf"\+({_UNSIGNED_REAL}|infinity|inf|nan)", re.IGNORECASE)


def number(text: str, at: int) -> tuple[UInt64 | Int64 | Double | InvalidLiteral, int] | None:
    """``42`` is unsigned, ``+42`` and ``-42`` are signed, ``4.2`` and ``inf`` are real."""
    if found := _UNSIGNED.match(text, at):
        value = int(found[1]) * _SUFFIXES.get(found[2], 1)
        if value > UINT64_MAX:
            return InvalidLiteral("the number is too large", f"at most {UINT64_MAX}"), found.end()
        return UInt64(value), found.end()
    if found := _SIGNED.match(text, at):
        value = int(found[1]) * _SUFFIXES.get(found[2], 1)
        if not INT64_MIN <= value <= INT64_MAX:
            limits = f"a signed number between {INT64_MIN} and {INT64_MAX}"
            return InvalidLiteral("the number is out of range", limits), found.end()
        return Int64(value), found.end()
    if found := _REAL.match(text, at):
        return _double(found[0]), found.end()
    return None


def exponent_number(text: str, at: int) -> tuple[Double | InvalidLiteral, int] | None:
    """Parse ``1e5``, which VAST reads as a field name or rejects."""
    if (found := _EXPONENT.match(text, at)) and not continues_name(text, found.end()):
        return _double(found[0]), found.end()
    return None


def plus_literal(text: str, at: int) -> tuple[Double | Duration | InvalidLiteral, int] | None:
    """Parse ``+4.2`` and ``+5s``, which VAST rejects."""
    if not text.startswith("+", at):
        return None
    if (span := duration(text, at + 1)) and text[at + 1] != "-":
        return _if_whole(text, span)
    if (found := _PLUS_REAL.match(text, at)) and not found[1].isdigit():
        return _if_whole(text, (_double(found[1]), found.end()))
    return None


def duration(text: str, at: int) -> tuple[Duration | InvalidLiteral, int] | None:
    """Parse one or several adjacent parts; the sign applies to the first part only."""
    found = _PART.match(text, at)
    if not found:
        return None
    total, end = _product(found), found.end()
    while (found := _PART.match(text, end)) and (part := _product(found)) > 0:
        total, end = total + part, found.end()
    if math.isinf(total) or not INT64_MIN <= total <= INT64_MAX:
        return InvalidLiteral("the duration is out of range", "at most 292 years"), end
    return Duration(int(total)), end


def nanoseconds(seconds: str) -> int | None:
    """Convert decimal seconds to nanoseconds, truncated; None if out of range."""
    rough = float(seconds)
    if len(seconds) > _LONGEST_NUMERAL or abs(rough) > UINT64_MAX:
        return None
    return int(Decimal(seconds).scaleb(9, _EXACT)) if rough else 0


def _product(found: re.Match[str]) -> int | float:
    # VAST multiplies doubles and truncates.
    value = float(found[1]) * _UNITS[found[2]]
    return value if math.isinf(value) else int(value)


def _double(numeral: str) -> Double | InvalidLiteral:
    value = float(numeral)
    if math.isinf(value) and numeral.lstrip("-")[0] in ".0123456789":
        return InvalidLiteral("the number is too large", "at most 1.7976931348623157e308")
    return Double(value)


def _if_whole(text: str, found: tuple[_Found, int]) -> tuple[_Found, int] | None:
    return None if continues_name(text, found[1]) else found


_DATE = re.compile(
    r"(19[0-9]{2}|[2-9][0-9]{3})-(0[1-9]|1[0-2])"
    r"(?:-(0[1-9]|[12][0-9]|3[01])(?:[+T ]([01][0-9]|2[0-3])(?::([0-5][0-9]))?)?)?"
)
_SECONDS = re.compile(rf":((?!-){REAL})")
_ZONE = re.compile(r"Z|([+-])([0-9]{2})(?::?([0-9]{2}))?")
_EPOCH = re.compile(rf"@({REAL})")
_SIGN = re.compile(r"[ \t\n\v\f\r]*([+-])[ \t\n\v\f\r]*")
_UNIX = datetime.date(1970, 1, 1).toordinal()
_DAY, _HOUR, _MINUTE = 86_400, 3600, 60
_LIMITS = "a time between 1677-09-21 and 2262-04-11"


def time(text: str, at: int) -> tuple[Time | RelativeTime | InvalidLiteral, int] | None:
    """``2023-05-24T13:14:15``, ``@1684934055``, ``now - 1h``, ``in 5m`` or ``1h ago``."""
    if found := _DATE.match(text, at):
        return _date(text, found)
    if found := _EPOCH.match(text, at):
        return _checked(nanoseconds(found[1]), found.end())
    if text.startswith("now", at):
        return _from_now(text, at + len("now"))
    if text.startswith("in", at):
        span = duration(text, skip_blanks(text, at + len("in")))
        return _shifted(span, 1) if span else None
    if span := duration(text, at):
        end = skip_blanks(text, span[1])
        if text.startswith("ago", end):
            return _shifted((span[0], end + len("ago")), -1)
    return None


def _date(text: str, found: re.Match[str]) -> tuple[Time | InvalidLiteral, int]:
    year, month, day, hour, minute = found.groups()
    first = datetime.date(int(year), int(month), 1).toordinal() - _UNIX
    seconds = (first + int(day or 1) - 1) * _DAY + int(hour or 0) * _HOUR
    seconds += int(minute or 0) * _MINUTE
    end, fraction, offset = found.end(), 0, 0
    if minute:
        fraction, end = _seconds(text, end)
        offset, end = _zone(text, end)
    return _checked((seconds - offset) * _SECOND + fraction, end)


def _seconds(text: str, at: int) -> tuple[int, int]:
    found = _SECONDS.match(text, at)
    value = nanoseconds(found[1]) if found else None
    if found and value is not None and value <= 60 * _SECOND:
        return value, found.end()
    return 0, at


def _zone(text: str, at: int) -> tuple[int, int]:
    """Seconds east of Greenwich."""
    found = _ZONE.match(text, at)
    if not found:
        return 0, at
    sign, hours, minutes = found.groups()
    offset = int(hours or 0) * _HOUR + int(minutes or 0) * _MINUTE
    return (-offset if sign == "-" else offset), found.end()


def _from_now(text: str, at: int) -> tuple[RelativeTime | InvalidLiteral, int]:
    if (sign := _SIGN.match(text, at)) and (span := duration(text, sign.end())):
        return _shifted(span, 1 if sign[1] == "+" else -1)
    return RelativeTime(0), at


def _shifted(
    span: tuple[Duration | InvalidLiteral, int], direction: int
) -> tuple[RelativeTime | InvalidLiteral, int]:
    value, end = span
    if isinstance(value, InvalidLiteral):
        return value, end
    if direction * value.nanoseconds > INT64_MAX:
        return InvalidLiteral("the time is out of range", _LIMITS), end
    return RelativeTime(direction * value.nanoseconds), end


def _checked(value: int | None, end: int) -> tuple[Time | InvalidLiteral, int]:
    if value is None or not INT64_MIN <= value <= INT64_MAX:
        return InvalidLiteral("the time is out of range", _LIMITS), end
    return Time(value), end


_QUAD = re.compile(r"([0-9]{1,3}+)\.([0-9]{1,3}+)\.([0-9]{1,3}+)\.([0-9]{1,3}+)")
_SIX = re.compile(r"(?=[0-9A-Fa-f]{0,4}+:)[0-9A-Fa-f:]++(?:\.[0-9.]*+)?+")
_PREFIX = re.compile(r"/([0-9]{1,20})")
_LONGEST = len("0000:0000:0000:0000:0000:ffff:255.255.255.255") + 8


def address(text: str, at: int) -> tuple[IP | Subnet | InvalidLiteral, int] | None:
    """Parse an address, or a network if a prefix length follows."""
    found = _address(text, at)
    if not found:
        return None
    packed, bits, end = found
    prefix = _PREFIX.match(text, end)
    if not prefix:
        written_long = bits == 128 and packed.startswith(MAPPED)
        return IP(packed, written_long), end
    length = int(prefix[1]) % 256  # VAST accumulates the digits in eight bits
    if length > bits:
        return InvalidLiteral(
            "the prefix is too long", f"a length between 0 and {bits}"
        ), prefix.end()
    return network(packed, length + 128 - bits), prefix.end()


def whole_address(text: str) -> IP | Subnet | None:
    """Return the address or network that a text is; None where it is none."""
    match address(text, 0):
        case (IP() | Subnet() as found, end) if end == len(text):
            return found
    return None


def network(packed: bytes, length: int) -> Subnet:
    """Create a network with cleared host bits; the length counts in 128 bits."""
    mask = ((1 << length) - 1) << (128 - length)
    return Subnet((int.from_bytes(packed) & mask).to_bytes(16), length)


def _address(text: str, at: int) -> tuple[bytes, int, int] | None:
    if found := _QUAD.match(text, at):
        octets = _octets(found)
        return (MAPPED + octets, 32, found.end()) if octets else None
    if found := _SIX.match(text, at):
        packed = _six(found[0])
        return (packed, 128, found.end()) if packed else None
    return None


def _octets(found: re.Match[str]) -> bytes | None:
    numbers = [int(digits) for digits in found.groups()]
    return bytes(numbers) if max(numbers) < 256 else None


def _six(text: str) -> bytes | None:
    if len(text) > _LONGEST:
        return None
    head, _, tail = text.rpartition(":")
    if "." in tail:
        # ipaddress rejects leading zeros, which VAST accepts.
        found = _QUAD.fullmatch(tail)
        octets = _octets(found) if found else None
        if not octets:
            return None
        text = f"{head}:{octets[:2].hex()}:{octets[2:].hex()}"
    try:
        return ipaddress.IPv6Address(text).packed
    except ipaddress.AddressValueError:
        return None


_OPENED = {quote: rf"{quote}(?>[^{quote}\\\x00-\x1f\x7f]++|\\[{quote}\\]?+)*+" for quote in '"/'}
QUOTED = _OPENED['"'] + '"'
_BODY = {quote: re.compile(opened) for quote, opened in _OPENED.items()}
_ESCAPE = {quote: re.compile(rf"\\\\|\\{quote}") for quote in '"/'}
_NULL = pa.nulls(1, pa.string())


def string(text: str, at: int) -> tuple[String, int] | None:
    r"""Parse ``"text"``; ``\"`` is a quote, every other backslash is literal."""
    if not text.startswith('"', at):
        return None
    body, end = _body(text, at, "string")
    return String(unescaped(body)), end


def pattern(text: str, at: int) -> tuple[Pattern, int] | None:
    r"""Parse ``/regex/`` or ``/regex/i``; ``\/`` is a slash."""
    if not text.startswith("/", at):
        return None
    body, end = _body(text, at, "pattern")
    ignore_case = text.startswith("i", end)
    regex = unescaped(body, "/")
    problem = pattern_error(regex, ignore_case=ignore_case)
    if problem:
        reason, offset = problem
        place = at + 1 + _source_offset(body, offset)
        raise ExpressionSyntaxError(
            f"invalid pattern: {reason}", text, place, ("a regular expression",)
        )
    return Pattern(regex, ignore_case), end + ignore_case


def pattern_error(regex: str, *, ignore_case: bool = False) -> tuple[str, int] | None:
    """Compile a pattern with RE2; return the reason and the offset of an error."""
    try:
        pc.match_substring_regex(_NULL, regex, ignore_case=ignore_case)
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        reason, _, part = reason.partition(": ")
        # RE2 reports the invalid part; a missing character is missing at the end.
        found = -1 if reason.startswith("missing") else regex.find(part or "\\")
        return reason, len(regex) if found < 0 else found
    return None


def _body(text: str, at: int, kind: str) -> tuple[str, int]:
    quote = text[at]
    found = _BODY[quote].match(text, at)
    end = found.end() if found else at
    if text.startswith(quote, end):
        return text[at + 1 : end], end + 1
    closing = f"a closing {quote}"
    if end == len(text):
        raise syntax_error(f"the {kind} is not closed", text, end, closing)
    hint = r"use a pattern with \t, \n or \x.. instead"
    raise syntax_error(f"the {kind} contains a control character", text, end, closing, hint=hint)


def unescaped(body: str, quote: str = '"') -> str:
    """Return the text between quotes."""
    if "\\" not in body:
        return body
    # Two backslashes stay two, so that a quote after them is not escaped.
    return _ESCAPE[quote].sub(lambda m: quote if m[0][1] == quote else m[0], body)


def _source_offset(body: str, offset: int) -> int:
    """Map an offset in the unescaped regex to the source text."""
    at = 0
    for found in _ESCAPE["/"].finditer(body):
        if found.start() - at >= offset:
            break
        if found[0] == r"\/":
            at += 1
    return min(offset + at, len(body))
