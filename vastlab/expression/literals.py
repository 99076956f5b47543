"""The literals of the language: one frozen class for each kind of value.

Numbers keep the type that their spelling gives them (``42`` is a `UInt64`, ``+42`` an
`Int64`, ``42.0`` a `Double`). Times and durations are integers of nanoseconds, addresses
are 16 bytes in network order with IPv4 in its v4-mapped form, and a subnet's length counts
in the 128-bit space, so that ``10.0.0.0/8`` and ``::ffff:10.0.0.0/104`` are one value.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Null:
    """``null`` or ``_``."""


@dataclass(frozen=True, slots=True)
class Bool:
    """``true`` or ``false``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Int64:
    """A signed integer: it is written with its sign."""

    value: int


@dataclass(frozen=True, slots=True)
class UInt64:
    """An integer without a sign."""

    value: int


@dataclass(frozen=True, slots=True)
class Double:
    """A number with a dot or an exponent, an infinity or NaN."""

    value: float


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time in nanoseconds."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Time:
    """A point in time, in nanoseconds since 1970-01-01 UTC."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class RelativeTime:
    """``now`` and what is written relative to it; it becomes a `Time` when a query starts."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class String:
    """A text."""

    value: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression in RE2 syntax."""

    regex: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class IP:
    """An address: 16 bytes, IPv4 as ``::ffff:a.b.c.d``."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network: 16 bytes without host bits, and a prefix length between 0 and 128."""

    packed: bytes
    length: int


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``[a, b]``."""

    items: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """``{key -> value}``; accepted as VAST does, no field has this type."""

    items: tuple[tuple[Literal, Literal], ...]


@dataclass(frozen=True, slots=True)
class RecordLiteral:
    """``<name: value>`` or ``<value, value>``; unnamed fields have the name ``""``."""

    fields: tuple[tuple[str, Literal], ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """``$name``: a place for a value, replaced by a literal before a query is resolved."""

    name: str


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
Number = Int64 | UInt64 | Double
Container = ListLiteral | MapLiteral | RecordLiteral
