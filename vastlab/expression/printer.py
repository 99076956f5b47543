r"""How values are spelled so that VAST 3.1 reads the same value.

The nodes of the tree and the literals print themselves with these functions. VAST multiplies
doubles where it reads durations and fractions of a second, takes the first kind of literal
that fits (``5d::1`` is no address), and cannot quote control characters: each is avoided here.
"""

from __future__ import annotations

import datetime
import ipaddress
import re

from vastlab.types import Kind, Type

_MAPPED = bytes(10) + b"\xff\xff"
_UNITS = {
    "w": 604_800 * 10**9,
    "d": 86_400 * 10**9,
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
_EXACT_UNITS = {unit: size for unit, size in _UNITS.items() if unit != "w"}
_DAY = _UNITS["d"]
_SECOND = _UNITS["s"]
_UNIX = datetime.date(1970, 1, 1).toordinal()
_FIRST_YEAR = 1900
_UNQUOTABLE = re.compile(r'[\x00-\x1f\x7f]|(?<!\\)(?:\\\\)*\\("|\Z)')
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$\x00-\x1f\x7f]")
_PIECE = re.compile(r"\\?([/\x00-\x1f\x7f])|\\.", re.DOTALL)
_READS_AS_DURATION = re.compile(r"[0-9]+(?:e[0-9]+)?d")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.]+")


def double(value: float) -> str:
    """Spell a number with the dot that makes it real.

    Examples
    --------
    >>> double(4.2), double(1e300)
    ('4.2', '1.0e+300')
    """
    text = repr(float(value))
    if "e" in text and "." not in text:
        return text.replace("e", ".0e")
    return text


def duration(nanoseconds: int) -> str:
    """Spell a duration in whole units.

    Examples
    --------
    >>> duration(5_400_000_000_000), duration(-1_500_000)
    ('90m', '-1500us')
    """
    if not nanoseconds:
        return "0s"
    unit, size = next((u, s) for u, s in _UNITS.items() if nanoseconds % s == 0)
    count = nanoseconds // size
    if int(float(count) * size) == nanoseconds:
        return f"{count}{unit}"
    days, rest = divmod(nanoseconds, _DAY)
    parts = [f"{days}d"]
    for unit, size in list(_EXACT_UNITS.items())[1:]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def time(nanoseconds: int) -> str:
    """Spell a point in time as a date, or as seconds since 1970 where a date cannot say it.

    Examples
    --------
    >>> time(1_684_934_055_250_000_000), time(0)
    ('2023-05-24T13:14:15.25', '1970-01-01')
    """
    days, rest = divmod(nanoseconds, _DAY)
    date = datetime.date.fromordinal(_UNIX + days)
    if date.year < _FIRST_YEAR:
        return f"@{_decimal(nanoseconds)}"
    if not rest:
        return date.isoformat()
    minutes, rest = divmod(rest, _UNITS["m"])
    clock = f"{date.isoformat()}T{minutes // 60:02}:{minutes % 60:02}"
    seconds = _decimal(rest)
    if int(float(seconds) * _SECOND) != rest:
        seconds = f"{rest // _SECOND}.{rest % _SECOND:09}5"  # half a nanosecond more is cut off
    return f"{clock}:{seconds}" if rest >= 10 * _SECOND else f"{clock}:0{seconds}"


def relative_time(nanoseconds: int) -> str:
    """Spell a time relative to now.

    Examples
    --------
    >>> relative_time(0), relative_time(-3_600_000_000_000)
    ('now', 'now - 1h')
    """
    if not nanoseconds:
        return "now"
    if -(2**63) < nanoseconds < 0:
        return f"now - {duration(-nanoseconds)}"
    return f"now + {duration(nanoseconds)}"


def ip(packed: bytes, *, expanded: bool = False) -> str:
    """Spell an address; `expanded` leaves nothing that could be taken for a record's name.

    Examples
    --------
    >>> ip(bytes(10) + bytes([255, 255, 10, 0, 0, 1]))
    '10.0.0.1'
    """
    if packed.startswith(_MAPPED):
        return ".".join(map(str, packed[12:]))
    address = ipaddress.IPv6Address(packed)
    text = address.exploded if expanded else str(address)
    return text.upper() if _READS_AS_DURATION.match(text) else text


def subnet(packed: bytes, length: int, *, expanded: bool = False) -> str:
    """Spell a network.

    Examples
    --------
    >>> subnet(bytes(10) + bytes([255, 255, 10, 0, 0, 0]), 104)
    '10.0.0.0/8'
    """
    short = length - 96 if packed.startswith(_MAPPED) else length
    return f"{ip(packed, expanded=expanded)}/{short}"


def is_quotable(text: str) -> bool:
    r"""Whether quotes can hold a text: VAST has no escapes but ``\"``.

    Examples
    --------
    >>> is_quotable('say "hi"'), is_quotable("two\nlines"), is_quotable("C:\\")
    (True, False, False)
    """
    return not _UNQUOTABLE.search(text)


def string(text: str) -> str:
    r"""Spell a string, or the pattern that matches nothing else where quotes cannot hold it.

    Examples
    --------
    >>> print(string('say "hi"'), string("two\nlines"))
    "say \"hi\"" /^two\x0alines$/
    """
    if not is_quotable(text):
        return pattern(f"^{escaped(text)}$")
    return '"' + text.replace('"', r"\"") + '"'


def pattern(regex: str, *, ignore_case: bool = False) -> str:
    r"""Spell a pattern.

    Examples
    --------
    >>> pattern("a/b", ignore_case=True)
    '/a\\/b/i'
    """
    return f"/{_PIECE.sub(_source, regex)}/{'i' if ignore_case else ''}"


def escaped(text: str) -> str:
    r"""Escape a text so that a pattern takes it literally.

    Examples
    --------
    >>> escaped("a.b\n")
    'a\\.b\\x0a'
    """
    return _SPECIAL.sub(lambda m: _escape(m[0]), text)


def type_name(type_: Type) -> str:
    """Spell a type as it stands behind a colon.

    Examples
    --------
    >>> type_name(Type(Kind.LIST, item=Type(Kind.STRING)))
    'list<string>'
    """
    match type_:
        case Type(names=(name, *_)):
            return name
        case Type(kind=Kind.LIST, item=Type() as item):
            return f"list<{type_name(item)}>"
        case Type(kind=Kind.ENUM):
            return f"enum{{{', '.join(label for label, _ in type_.labels)}}}"
        case Type(kind=Kind.RECORD, attributes=(_, *_)):
            first, *steps = type_.fields
            steps_text = "".join(f" {step.name} {type_name(step.type)}" for step in steps)
            return type_name(first.type) + steps_text
        case Type(kind=Kind.RECORD):
            return f"record{{{', '.join(_field(f.name, f.type) for f in type_.fields)}}}"
        case _:
            return type_.kind.value


def _field(name: str, type_: Type) -> str:
    quoted = f'"{name}"'
    return f"{name if _IDENTIFIER.fullmatch(name) else quoted}: {type_name(type_)}"


def _decimal(nanoseconds: int) -> str:
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{seconds}.{rest:09}".rstrip("0").rstrip(".")


def _source(found: re.Match[str]) -> str:
    # An escaped slash means a slash, and one backslash more would end the pattern there.
    if found[1] is None:
        return found[0]
    return r"\/" if found[1] == "/" else _escape(found[1])


def _escape(character: str) -> str:
    if character < " " or character == "\x7f":
        return f"\\x{ord(character):02x}"
    return f"\\{character}"
