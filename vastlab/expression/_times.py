"""Points in time: dates, seconds since 1970, and what is relative to now."""

from __future__ import annotations

import datetime
import re

from vastlab.expression._numbers import (
    INT64_MAX,
    INT64_MIN,
    REAL,
    duration,
    nanoseconds,
)
from vastlab.expression._scan import Fault, blanks
from vastlab.expression.literals import Duration, RelativeTime, Time

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
_SECOND = 10**9
_LIMITS = "a time between 1677-09-21 and 2262-04-11"


def time(text: str, at: int) -> tuple[Time | RelativeTime | Fault, int] | None:
    """``2023-05-24T13:14:15``, ``@1684934055``, ``now - 1h``, ``in 5m`` or ``1h ago``."""
    if found := _DATE.match(text, at):
        return _date(text, found)
    if found := _EPOCH.match(text, at):
        return _checked(nanoseconds(found[1]), found.end())
    if text.startswith("now", at):
        return _from_now(text, at + len("now"))
    if text.startswith("in", at):
        span = duration(text, blanks(text, at + len("in")))
        return _shifted(span, 1) if span else None
    if span := duration(text, at):
        end = blanks(text, span[1])
        if text.startswith("ago", end):
            return _shifted((span[0], end + len("ago")), -1)
    return None


def _date(text: str, found: re.Match[str]) -> tuple[Time | Fault, int]:
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


def _from_now(text: str, at: int) -> tuple[RelativeTime | Fault, int]:
    if (sign := _SIGN.match(text, at)) and (span := duration(text, sign.end())):
        return _shifted(span, 1 if sign[1] == "+" else -1)
    return RelativeTime(0), at


def _shifted(
    span: tuple[Duration | Fault, int], direction: int
) -> tuple[RelativeTime | Fault, int]:
    value, end = span
    if isinstance(value, Fault):
        return value, end
    if direction * value.nanoseconds > INT64_MAX:
        return Fault("the time is out of range", _LIMITS), end
    return RelativeTime(direction * value.nanoseconds), end


def _checked(value: int | None, end: int) -> tuple[Time | Fault, int]:
    if value is None or not INT64_MIN <= value <= INT64_MAX:
        return Fault("the time is out of range", _LIMITS), end
    return Time(value), end
