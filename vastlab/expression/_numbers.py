"""Numbers and durations, exact or an error: nothing wraps around."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal
from typing import TypeVar

from vastlab.expression._scan import Fault, continues
from vastlab.expression.literals import Double, Duration, Int64, UInt64

_Found = TypeVar("_Found")
INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

_UNSIGNED_REAL = r"(?>[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+"
REAL = rf"-?{_UNSIGNED_REAL}"
_LONGEST_NUMERAL = 1000
_EXACT = Context(prec=_LONGEST_NUMERAL)

_SECOND = 10**9
# In this order the first that fits wins, so that ``5min`` is not ``5m`` and a rest.
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


def number(text: str, at: int) -> tuple[UInt64 | Int64 | Double | Fault, int] | None:
    """``42`` is unsigned, ``+42`` and ``-42`` are signed, ``4.2`` and ``inf`` are real."""
    if found := _UNSIGNED.match(text, at):
        value = int(found[1]) * _SUFFIXES.get(found[2], 1)
        if value > UINT64_MAX:
            return Fault("the number is too large", f"at most {UINT64_MAX}"), found.end()
        return UInt64(value), found.end()
    if found := _SIGNED.match(text, at):
        value = int(found[1]) * _SUFFIXES.get(found[2], 1)
        if not INT64_MIN <= value <= INT64_MAX:
            limits = f"a signed number between {INT64_MIN} and {INT64_MAX}"
            return Fault("the number is out of range", limits), found.end()
        return Int64(value), found.end()
    if found := _REAL.match(text, at):
        return _double(found[0]), found.end()
    return None


def exponent(text: str, at: int) -> tuple[Double | Fault, int] | None:
    """``1e5``, which VAST reads as a field name or not at all."""
    if (found := _EXPONENT.match(text, at)) and not continues(text, found.end()):
        return _double(found[0]), found.end()
    return None


def plus(text: str, at: int) -> tuple[Double | Duration | Fault, int] | None:
    """``+4.2`` and ``+5s``, which VAST rejects."""
    if not text.startswith("+", at):
        return None
    if (span := duration(text, at + 1)) and text[at + 1] != "-":
        return _if_whole(text, span)
    if (found := _PLUS_REAL.match(text, at)) and not found[1].isdigit():
        return _if_whole(text, (_double(found[1]), found.end()))
    return None


def duration(text: str, at: int) -> tuple[Duration | Fault, int] | None:
    """One part or several adjoining ones; the sign of the first covers the first only."""
    found = _PART.match(text, at)
    if not found:
        return None
    total, end = _product(found), found.end()
    while (found := _PART.match(text, end)) and (part := _product(found)) > 0:
        total, end = total + part, found.end()
    if math.isinf(total) or not INT64_MIN <= total <= INT64_MAX:
        return Fault("the duration is out of range", "at most 292 years"), end
    return Duration(int(total)), end


def nanoseconds(seconds: str) -> int | None:
    """Seconds in decimal as whole nanoseconds, cut towards zero; ``None`` if far too many."""
    rough = float(seconds)
    if len(seconds) > _LONGEST_NUMERAL or abs(rough) > UINT64_MAX:
        return None
    return int(Decimal(seconds).scaleb(9, _EXACT)) if rough else 0


def _product(found: re.Match[str]) -> int | float:
    # VAST multiplies doubles and cuts towards zero.
    value = float(found[1]) * _UNITS[found[2]]
    return value if math.isinf(value) else int(value)


def _double(numeral: str) -> Double | Fault:
    value = float(numeral)
    if math.isinf(value) and numeral.lstrip("-")[0] in ".0123456789":
        return Fault("the number is too large", "at most 1.7976931348623157e308")
    return Double(value)


def _if_whole(text: str, found: tuple[_Found, int]) -> tuple[_Found, int] | None:
    return None if continues(text, found[1]) else found
