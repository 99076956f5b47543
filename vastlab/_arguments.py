"""Checks of the arguments that calls of both APIs share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from vastlab import _text
from vastlab.errors import ExpressionSyntaxError, UsageError, VastlabError
from vastlab.expression import bind, parse, parse_query
from vastlab.expression.ast import Predicate
from vastlab.expression.literals import Duration, RelativeTime, Time
from vastlab.expression.parameters import to_literal
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import ExportMode, Query

Moment = str | date | timedelta | None  # a datetime is a date

OLDEST, NEWEST = "oldest", "newest"
MOST = 2**63  # events
_LONGEST_REPR = 80  # characters


def shorten_repr(value: object) -> str:
    """Return the text of a wrong argument, which may be a frame or a number of any length."""
    with contextlib.suppress(Exception):
        return _text.cut(" ".join(repr(value).split()), _LONGEST_REPR)
    return f"a {type(value).__name__}"


def as_mode(mode: ExportMode | str) -> ExportMode:
    """Return the mode of that name."""
    try:
        return ExportMode(mode)
    except ValueError:
        known = ", ".join(repr(known.value) for known in ExportMode)
        raise UsageError(f"unknown mode: {shorten_repr(mode)}", hint=f"one of {known}") from None


def as_limit(limit: int, name: str = "limit") -> int:
    """Return a limit as a plain number, if it is one."""
    if isinstance(limit, bool) or not hasattr(limit, "__index__"):
        raise UsageError(
            f"{name} must be an integer, got {shorten_repr(limit)}", hint="0 for all events"
        )
    number = limit.__index__()
    if not 0 <= number <= MOST:
        rule = "must not be negative" if number < 0 else f"must be at most {MOST}"
        raise UsageError(f"{name} {rule}, got {shorten_repr(number)}", hint="0 for all events")
    return number


def as_newest(order: str, mode: ExportMode, per_schema: bool) -> bool:
    """Return whether the newest events come first, if a mode allows that."""
    if not isinstance(order, str) or order not in (OLDEST, NEWEST):
        raise UsageError(f"unknown order: {shorten_repr(order)}", hint=f"{OLDEST!r} or {NEWEST!r}")
    if not isinstance(per_schema, bool):
        raise UsageError(
            f"per_schema must be True or False, got {shorten_repr(per_schema)}",
            hint="limit=5, per_schema=True is 5 events of each schema",
        )
    live = mode is not ExportMode.HISTORICAL
    if live and order == NEWEST:
        raise UsageError(
            f"the mode {mode.value} has no newest events: more may come",
            hint="ask for what is stored: historical",
        )
    if live and per_schema:
        raise UsageError(
            f"the mode {mode.value} has no limit for each schema",
            hint="ask for what is stored: historical",
        )
    return order == NEWEST


def as_seconds(timeout: float | None) -> float | None:
    """Return a timeout in seconds, if it is one."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise UsageError(
            f"timeout must be a number of seconds above 0, got {shorten_repr(timeout)}"
        )
    return timeout


def as_instant(name: str, value: Moment, now: int) -> int | None:
    """Return nanoseconds since 1970; a span counts back from now."""
    if value is None:
        return None
    try:
        literal = _time_literal(value) if isinstance(value, str) else to_literal(value)
    except (VastlabError, ValueError):
        literal = None
    match literal:
        case Time(nanoseconds):
            return nanoseconds
        case RelativeTime(nanoseconds):
            return now + nanoseconds
        case Duration(nanoseconds):
            return now - nanoseconds
        case _:
            raise UsageError(
                f"{name} must be a point in time, got {shorten_repr(value)}",
                hint='ISO text such as "2009-11-18T08:00", a date or datetime, or a span back '
                'from now such as "2h" or "1d"',
            )


def as_query(
    expression: str,
    mode: ExportMode,
    limit: int,
    *,
    since: Moment,
    until: Moment,
    params: Mapping[str, object] | None,
    taxonomy: Taxonomy,
    order: str = OLDEST,
    per_schema: bool = False,
) -> Query:
    """Parse an expression, and fix its parameters, its relative times and its bounds."""
    if not isinstance(expression, str):
        raise UsageError(f"expression must be a text, got {shorten_repr(expression)}")
    newest = as_newest(order, mode, per_schema)
    now = time.time_ns()
    bound = bind(parse_query(expression), params or {})
    bounds = (as_instant("since", since, now), as_instant("until", until, now))
    match bounds:
        case int(first), int(last) if first > last:
            raise UsageError(f"since {since} is after until {until}", hint="swap the two")
    return Query(
        at(bound, now),
        mode,
        limit,
        *bounds,
        taxonomy,
        bound,
        newest=newest,
        per_schema=per_schema,
    )


def moment_text(name: str, value: Moment) -> str:
    """Return a bound of time as a form takes it; a text stays as it was written."""
    if value is None or isinstance(value, str):
        return value or ""
    found = as_instant(name, value, time.time_ns())
    return "" if found is None else str(Time(found))


def as_zone(tz: str | tzinfo | None) -> tzinfo | None:
    """Return the time zone of that name; None is UTC."""
    if tz is None or isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"no such time zone: {tz!r}", hint='use a name such as "Europe/Berlin"'
        ) from error


def _time_literal(text: str) -> object:
    """Read a time as the language writes it, or as ISO 8601 does."""
    try:
        expr = parse(f"bound >= {text.strip()}")
    except ExpressionSyntaxError:
        moment = datetime.fromisoformat(text.strip())
        return to_literal(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return expr.literal if isinstance(expr, Predicate) else None
