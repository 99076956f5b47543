"""Literals: their types, values and text form."""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from vastlab.types import Field, Kind, Type

MAPPED = bytes(10) + b"\xff\xff"
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
    """Format a double; a dot or an exponent with a dot marks it as one."""
    text = repr(float(value))
    if "e" in text and "." not in text:
        return text.replace("e", ".0e")
    return text


def duration(nanoseconds: int) -> str:
    """Format a duration in whole units."""
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
    """Format a time as a date, or as seconds since 1970 before the year 1900."""
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
        seconds = (
            f"{rest // _SECOND}.{rest % _SECOND:09}5"  # the extra half nanosecond is truncated
        )
    return f"{clock}:{seconds}" if rest >= 10 * _SECOND else f"{clock}:0{seconds}"


def relative_time(nanoseconds: int) -> str:
    """Format a time relative to now."""
    if not nanoseconds:
        return "now"
    if -(2**63) < nanoseconds < 0:
        return f"now - {duration(-nanoseconds)}"
    return f"now + {duration(nanoseconds)}"


def ip(packed: bytes, *, expanded: bool = False) -> str:
    """Format an address; `expanded` avoids text that reads like the name of a record field."""
    if packed.startswith(MAPPED):
        return ".".join(map(str, packed[12:]))
    address = ipaddress.IPv6Address(packed)
    text = address.exploded if expanded else str(address)
    return text.upper() if _READS_AS_DURATION.match(text) else text


def subnet(packed: bytes, length: int, *, expanded: bool = False) -> str:
    """Format a network."""
    short = length - 96 if packed.startswith(MAPPED) else length
    return f"{ip(packed, expanded=expanded)}/{short}"


def is_quotable(text: str) -> bool:
    r"""Whether quotes can hold a text: VAST has no escape sequence but ``\"``."""
    return not _UNQUOTABLE.search(text)


def string(text: str) -> str:
    """Format a string, or the equivalent pattern if quotes cannot hold it."""
    if not is_quotable(text):
        return pattern(f"^{escaped(text)}$")
    return '"' + text.replace('"', r"\"") + '"'


def pattern(regex: str, *, ignore_case: bool = False) -> str:
    """Format a pattern."""
    return f"/{_PIECE.sub(_source, regex)}/{'i' if ignore_case else ''}"


def escaped(text: str) -> str:
    """Escape a text so that a pattern matches it literally."""
    return _SPECIAL.sub(lambda m: _escape(m[0]), text)


# Marks a record whose fields are the operands of type algebra, such as ``record{} + record{}``.
ALGEBRA = (("$algebra", ""),)


def type_name(type_: Type) -> str:
    """Format a type as it follows a colon."""
    match type_:
        case Type(names=(name, *_)):
            return name
        case Type(kind=Kind.LIST, item=Type() as item):
            return f"list<{type_name(item)}>"
        case Type(kind=Kind.ENUM):
            return f"enum{{{', '.join(label for label, _ in type_.labels)}}}"
        case Type(kind=Kind.RECORD) if type_.attributes == ALGEBRA:
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
    # An escaped slash is a slash; another backslash would end the pattern there.
    if found[1] is None:
        return found[0]
    return r"\/" if found[1] == "/" else _escape(found[1])


def _escape(character: str) -> str:
    if character < " " or character == "\x7f":
        return f"\\x{ord(character):02x}"
    return f"\\{character}"


# Up to this length, comparing one by one is faster than a lookup table. For longer lists, a Bloom
# filter with 1 % false positives excludes almost nothing.
LONG_LIST_LENGTH = 100
_T = TypeVar("_T")
_BITS = 128

# A quotation \Q...\E (the first group is its end), or an escaped character.
_QUOTATION = re.compile(r"\\Q(?:(?!\\E).)*+(\\E|)|\\.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Null:
    """``null`` or ``_``."""

    def __str__(self) -> str:
        return "null"


@dataclass(frozen=True, slots=True)
class Bool:
    """``true`` or ``false``."""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class Int64:
    """A signed integer: it is written with its sign."""

    value: int

    def __str__(self) -> str:
        return f"{self.value:+}"


@dataclass(frozen=True, slots=True)
class UInt64:
    """An integer without a sign."""

    value: int

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Double:
    """A number with a dot or an exponent, an infinity or NaN."""

    value: float

    def __post_init__(self) -> None:
        if math.isnan(self.value):  # one object, so that NaN literals are equal
            object.__setattr__(self, "value", math.nan)

    def __str__(self) -> str:
        return double(self.value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time in nanoseconds."""

    nanoseconds: int

    def __str__(self) -> str:
        return duration(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class Time:
    """A point in time, in nanoseconds since 1970-01-01 UTC."""

    nanoseconds: int

    def __str__(self) -> str:
        return time(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class RelativeTime:
    """A time relative to ``now``; it becomes a `Time` when a query starts."""

    nanoseconds: int

    def __str__(self) -> str:
        return relative_time(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class String:
    """A string."""

    value: str

    def __str__(self) -> str:
        return string(self.value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression in RE2 syntax."""

    regex: str
    ignore_case: bool = False

    @property
    def closed(self) -> str:
        r"""The regex with an open quotation ``\Q`` closed, so that text can be appended."""
        quotations = [found[1] for found in _QUOTATION.finditer(self.regex)]
        return self.regex + r"\E" if quotations and quotations[-1] == "" else self.regex

    def __str__(self) -> str:
        return pattern(self.regex, ignore_case=self.ignore_case)


@dataclass(frozen=True, slots=True)
class IP:
    """An address: 16 bytes, IPv4 as ``::ffff:a.b.c.d``.

    `mapped` marks an IPv4 address that was written in the long form; equality ignores it.
    """

    packed: bytes
    mapped: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        return ip(self.packed)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network: 16 bytes without host bits, and a prefix length between 0 and 128."""

    packed: bytes
    length: int

    @property
    def extremes(self) -> tuple[bytes, bytes]:
        """The first address and the last."""
        host = (1 << (_BITS - self.length)) - 1
        last = int.from_bytes(self.packed, "big") | host
        return self.packed, last.to_bytes(_BITS // 8, "big")

    def __str__(self) -> str:
        return subnet(self.packed, self.length)


class Values(Sequence[String | IP]):
    """The items of a long list as one array; a literal is made of each that is asked for."""

    __slots__ = ("make", "plain")

    def __init__(self, make: type[String] | type[IP], plain: pa.Array) -> None:
        self.make = make
        self.plain = plain

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, at: Any) -> Any:
        found = self.plain[at]
        if isinstance(at, slice):
            return tuple(map(self.make, found.to_pylist()))
        return self.make(found.as_py())

    def __iter__(self) -> Iterator[String | IP]:
        return map(self.make, self.plain.to_pylist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Values):
            return self.make is other.make and bool(self.plain.equals(other.plain))
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


_HASHED = 8  # items of a list: to hash thousands takes longer than to compare the few lists alike


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``[a, b]``. Lists may be long, so that derived values are cached."""

    items: Sequence[Literal]
    _cache: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: threading.RLock = field(
        default_factory=threading.RLock, init=False, repr=False, compare=False
    )

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.items))}]"

    def __hash__(self) -> int:
        return hash((len(self.items), *self.items[:_HASHED]))

    def __reduce__(self) -> tuple[type[ListLiteral], tuple[Sequence[Literal]]]:
        return ListLiteral, (self.items,)

    def cached(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """Return a value derived from the list, computed once, whichever thread asks first."""
        with self._lock:
            if key not in self._cache:
                self._cache[key] = compute()
        found: _T = self._cache[key]
        return found

    @property
    def is_long(self) -> bool:
        """Whether the list is long enough for a lookup table."""
        return len(self.items) > LONG_LIST_LENGTH

    @property
    def kinds(self) -> frozenset[type[Literal]]:
        """The classes of the items."""
        if isinstance(self.items, Values):
            return frozenset({self.items.make})
        return self.cached("kinds", lambda: frozenset(map(type, self.items)))


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """``{key -> value}``; accepted as in VAST, although no field has this type."""

    items: tuple[tuple[Literal, Literal], ...]

    def __str__(self) -> str:
        return f"{{{', '.join(f'{key} -> {value}' for key, value in self.items)}}}"


@dataclass(frozen=True, slots=True)
class RecordLiteral:
    """``<name: value>`` or ``<value, value>``; unnamed fields have the name ``""``."""

    fields: tuple[tuple[str, Literal], ...]

    def __str__(self) -> str:
        return f"<{', '.join(_record_field(*field) for field in self.fields)}>"


@dataclass(frozen=True, slots=True)
class Parameter:
    """``$name``: a placeholder, replaced by a literal before a query is resolved."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


Literal = (
    Null
    | Bool
    | Int64
    | UInt64
    | Double
    | Duration
    | Time
    | RelativeTime
    | String
    | Pattern
    | IP
    | Subnet
    | ListLiteral
    | MapLiteral
    | RecordLiteral
    | Parameter
)


_KINDS: dict[type[Literal], Kind] = {
    Bool: Kind.BOOL,
    Int64: Kind.INT64,
    UInt64: Kind.UINT64,
    Double: Kind.DOUBLE,
    Duration: Kind.DURATION,
    Time: Kind.TIME,
    RelativeTime: Kind.TIME,
    String: Kind.STRING,
    Pattern: Kind.STRING,
    IP: Kind.IP,
    Subnet: Kind.SUBNET,
}


def type_of(literal: Literal) -> Type | None:
    """Return the type of the fields that a bare literal is compared with; ``null`` has none."""
    match literal:
        case Null() | Parameter():
            return None
        case ListLiteral(items):
            return Type(Kind.LIST, item=_type_or_null(items[0] if items else Null()))
        case MapLiteral(items):
            key, value = items[0] if items else (Null(), Null())
            return Type(Kind.MAP, key=_type_or_null(key), item=_type_or_null(value))
        case RecordLiteral(fields):
            members = tuple(Field(name, _type_or_null(value)) for name, value in fields)
            return Type(Kind.RECORD, fields=members)
        case _:
            return Type(_KINDS[type(literal)])


def _type_or_null(literal: Literal) -> Type:
    return type_of(literal) or Type(Kind.NULL)


def _record_field(name: str, value: Literal) -> str:
    if name:
        return f"{name}: {value}"
    match value:  # <a:b::1> would be a field "a"
        case IP(packed):
            return ip(packed, expanded=True)
        case Subnet(packed, length):
            return subnet(packed, length, expanded=True)
        case _:
            return str(value)


def python_call(literal: Literal) -> str:
    """Write the call of Python's `ipaddress` that makes an address or network; else nothing."""
    match literal:
        case IP():
            return f'ip_address("{literal}")'
        case Subnet():
            return f'ip_network("{literal}")'
    return ""
