"""The literals of the language: one frozen class for each kind of value.

Numbers keep the type that their spelling gives them (``42`` is a `UInt64`, ``+42`` an
`Int64`, ``42.0`` a `Double`). Times and durations are integers of nanoseconds, addresses
are 16 bytes in network order with IPv4 in its v4-mapped form, and a subnet's length counts
in the 128-bit space, so that ``10.0.0.0/8`` and ``::ffff:10.0.0.0/104`` are one value.

``str`` of a literal is its canonical text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from vastlab.expression import printer
from vastlab.types import Field, Kind, Type

# A quotation to its end, which is the first group; or an escaped character.
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
        return printer.double(self.value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time in nanoseconds."""

    nanoseconds: int

    def __str__(self) -> str:
        return printer.duration(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class Time:
    """A point in time, in nanoseconds since 1970-01-01 UTC."""

    nanoseconds: int

    def __str__(self) -> str:
        return printer.time(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class RelativeTime:
    """``now`` and what is written relative to it; it becomes a `Time` when a query starts."""

    nanoseconds: int

    def __str__(self) -> str:
        return printer.relative_time(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class String:
    """A text."""

    value: str

    def __str__(self) -> str:
        return printer.string(self.value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression in RE2 syntax."""

    regex: str
    ignore_case: bool = False

    @property
    def closed(self) -> str:
        """The regex, with the end of a quotation that it leaves open: text may follow."""
        quotations = [found[1] for found in _QUOTATION.finditer(self.regex)]
        return self.regex + r"\E" if quotations and quotations[-1] == "" else self.regex

    def __str__(self) -> str:
        return printer.pattern(self.regex, ignore_case=self.ignore_case)


@dataclass(frozen=True, slots=True)
class IP:
    """An address: 16 bytes, IPv4 as ``::ffff:a.b.c.d``.

    `mapped` remembers that an IPv4 address was written in the long form; it is no part of the
    value.
    """

    packed: bytes
    mapped: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        return printer.ip(self.packed)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network: 16 bytes without host bits, and a prefix length between 0 and 128."""

    packed: bytes
    length: int

    def __str__(self) -> str:
        return printer.subnet(self.packed, self.length)


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``[a, b]``."""

    items: tuple[Literal, ...]

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.items))}]"


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """``{key -> value}``; accepted as VAST does, no field has this type."""

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
    """``$name``: a place for a value, replaced by a literal before a query is resolved."""

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
    """Return the type whose fields a literal alone asks about; ``null`` has none.

    Examples
    --------
    >>> str(type_of(ListLiteral((UInt64(1),))))
    'list<uint64>'
    """
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
            return printer.ip(packed, expanded=True)
        case Subnet(packed, length):
            return printer.subnet(packed, length, expanded=True)
        case _:
            return str(value)
