"""What JSON values look like: declared types, and what was observed where none is declared.

A `Shape` is a tree. It grows while a file is read (`observe`), gives a type (`type_of`), and
turns a JSON value into what Arrow can build an array from (`fit`). Undeclared numbers climb
int64, uint64, double; whatever does not fit together becomes text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from vastlab.store.readers import _values
from vastlab.types import Field, Kind, Type

MOST_FIELDS = 2000
_LIST, _RECORD = Type(Kind.LIST), Type(Kind.RECORD)
_INT64_MAX = (1 << 63) - 1
_UINT64_MAX = (1 << 64) - 1


class Scalar(Enum):
    """What undeclared values without parts have in common."""

    NULL = auto()
    BOOL = auto()
    NATURAL = auto()  # not negative, fits int64: may become int64 or uint64
    INT64 = auto()
    UINT64 = auto()
    DOUBLE = auto()
    TEXT = auto()


KINDS = {
    Scalar.NULL: Kind.NULL,
    Scalar.BOOL: Kind.BOOL,
    Scalar.NATURAL: Kind.INT64,
    Scalar.INT64: Kind.INT64,
    Scalar.UINT64: Kind.UINT64,
    Scalar.DOUBLE: Kind.DOUBLE,
    Scalar.TEXT: Kind.STRING,
}
_NUMBERS = (Scalar.NATURAL, Scalar.INT64, Scalar.UINT64, Scalar.DOUBLE)
_EXACT_JOINS = {
    frozenset((Scalar.NATURAL, Scalar.INT64)): Scalar.INT64,
    frozenset((Scalar.NATURAL, Scalar.UINT64)): Scalar.UINT64,
}


@dataclass(frozen=True, slots=True)
class Fixed:
    """A declared type without parts."""

    type: Type


@dataclass(slots=True)
class ListShape:
    """A list; ``declared`` ones do not turn into text."""

    item: Shape
    declared: bool = False
    type: Type = _LIST


@dataclass(slots=True)
class RecordShape:
    """A record; members may join it also where it is declared."""

    fields: dict[str, Shape] = field(default_factory=dict)
    declared: bool = False
    type: Type = _RECORD


Shape = Fixed | Scalar | ListShape | RecordShape


class MisfitError(ValueError):
    """A value does not fit its declared type."""


# --- types ----------------------------------------------------------------------------------


def shape_of(type_: Type) -> Shape:
    """Return the shape of a declared type."""
    match type_.kind:
        case Kind.LIST:
            return ListShape(shape_of(type_.item or Type(Kind.STRING)), True, type_)
        case Kind.RECORD:
            return RecordShape({m.name: shape_of(m.type) for m in type_.fields}, True, type_)
        case _:
            return Fixed(type_)


def type_of(shape: Shape) -> Type:
    """Return the type that values of a shape are stored in."""
    match shape:
        case Fixed(type_):
            return type_
        case ListShape(item, _, type_):
            return Type(Kind.LIST, type_.names, type_.attributes, item=type_of(item))
        case RecordShape(fields, _, type_):
            members = tuple(Field(name, type_of(inner)) for name, inner in fields.items())
            return Type(Kind.RECORD, type_.names, type_.attributes, fields=members)
        case Scalar():
            return Type(KINDS[shape])


# --- observing ------------------------------------------------------------------------------


def observe(shape: Shape, value: Any) -> Shape:
    """Widen a shape so that a value finds room; records and lists are changed in place."""
    if value is None or isinstance(shape, Fixed) or shape is Scalar.TEXT:
        return shape
    match shape, value:
        case RecordShape(), dict():
            for name, member in value.items():
                known = shape.fields.get(name)
                if known is None and len(shape.fields) >= MOST_FIELDS:
                    # Keys that are data themselves must not become columns.
                    return shape if shape.declared else Scalar.TEXT
                shape.fields[name] = observe(Scalar.NULL if known is None else known, member)
            return shape
        case ListShape(), list():
            for member in value:
                shape.item = observe(shape.item, member)
            return shape
        case Scalar.NULL, dict():
            return observe(RecordShape(), value)
        case Scalar.NULL, list():
            return observe(ListShape(Scalar.NULL), value)
        case ListShape(item, declared=True), _:
            shape.item = observe(item, value)
            return shape
        case RecordShape(declared=True), _:
            return shape
        case Scalar(), (bool() | int() | float() | Decimal() | str()):
            return join(shape, _scalar(value))
        case _:
            return Scalar.TEXT


def _scalar(value: Any) -> Scalar:
    match value:
        case bool():
            return Scalar.BOOL
        case int() if -_INT64_MAX - 1 <= value < 0:
            return Scalar.INT64
        case int() if 0 <= value <= _INT64_MAX:
            return Scalar.NATURAL
        case int() if 0 <= value <= _UINT64_MAX:
            return Scalar.UINT64
        case float() | Decimal():
            return Scalar.DOUBLE
        case _:
            return Scalar.TEXT


def join(one: Scalar, other: Scalar) -> Scalar:
    """Return what both have in common."""
    if one is other or other is Scalar.NULL:
        return one
    if one is Scalar.NULL:
        return other
    if one in _NUMBERS and other in _NUMBERS:
        return _EXACT_JOINS.get(frozenset((one, other)), Scalar.DOUBLE)
    return Scalar.TEXT


# --- fitting --------------------------------------------------------------------------------


def fit(value: Any, shape: Shape) -> Any:
    """Turn a JSON value into what Arrow builds the shape's storage from.

    Raises
    ------
    MisfitError
        Where a declared type cannot hold the value.
    """
    if value is None:
        return None
    match shape:
        case Fixed(type_):
            return _FITS[type_.kind](value, type_)
        case RecordShape(fields) if isinstance(value, dict):
            return _fit_record(value, fields)
        case ListShape(item) if isinstance(value, list):
            return [fit(member, item) for member in value]
        case ListShape(item, declared=True):
            return [fit(value, item)]  # some writers leave out the brackets around one element
        case RecordShape() | ListShape():
            raise MisfitError(f"{_brief(value)} is no {type_of(shape).kind.value}")
        case Scalar():
            return _FITS[KINDS[shape]](value, Type(KINDS[shape]))


def _fit_record(value: dict[str, Any], fields: dict[str, Shape]) -> dict[str, Any]:
    fitted = {}
    for name, member in value.items():
        if name not in fields:
            raise MisfitError(f"more than {MOST_FIELDS:,} different fields")
        try:
            fitted[name] = fit(member, fields[name])
        except MisfitError as error:
            raise MisfitError(f"{name}: {error}") from None
    return fitted


def _brief(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else to_text(value)
    return text if len(text) <= 60 else text[:59] + "…"


def to_text(value: Any) -> str:
    """Return the JSON text of a value, and a string as it is."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """Write JSON that keeps every digit of a decimal."""
    match value:
        case dict():
            members = (f"{_json(name)}:{_json(member)}" for name, member in value.items())
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(map(_json, value))}]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _fit_string(value: Any, _: Type) -> str:
    text = to_text(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MisfitError("the text holds half a surrogate pair") from None
    return text


def _fit_bool(value: Any, _: Type) -> bool:
    if isinstance(value, bool):
        return value
    raise MisfitError(f"{_brief(value)} is no bool")


def _fit_integer(value: Any, type_: Type) -> int:
    number = value
    if isinstance(value, Decimal) and abs(value) < 2**64 and value == int(value):
        number = int(value)
    try:
        if (isinstance(number, int) and not isinstance(number, bool)) or isinstance(number, str):
            return _values.integer(str(number), type_.kind)
    except ValueError:
        pass
    raise MisfitError(f"{_brief(value)} is no {type_}")


def _fit_double(value: Any, _: Type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise MisfitError(f"{_brief(value)} is no double")
    try:
        number = _values.double(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        raise MisfitError(f"{_brief(value)} is no double") from None
    if number in (float("inf"), float("-inf")) and isinstance(value, Decimal | int):
        raise MisfitError(f"{_brief(value)} is no double: it is too large")
    return number


def _fit_time(value: Any, _: Type) -> int:
    return _guard(value, "time", _values.iso_time, _values.epoch)


def _fit_duration(value: Any, _: Type) -> int:
    return _guard(value, "duration", _values.nanoseconds, _values.nanoseconds)


def _guard(
    value: Any, what: str, from_text: Callable[[str], int], from_number: Callable[[Any], int]
) -> int:
    try:
        if isinstance(value, str):
            return from_text(value)
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return from_number(value)
    except ValueError:
        pass
    raise MisfitError(f"{_brief(value)} is no {what}")


def _fit_ip(value: Any, _: Type) -> bytes:
    try:
        return _values.address(value if isinstance(value, str) else "")
    except ValueError:
        raise MisfitError(f"{_brief(value)} is no ip") from None


def _fit_subnet(value: Any, _: Type) -> tuple[bytes, int]:
    try:
        return _values.subnet(value if isinstance(value, str) else "")
    except ValueError:
        raise MisfitError(f"{_brief(value)} is no subnet") from None


def _fit_enum(value: Any, type_: Type) -> str:
    if isinstance(value, str) and any(value == label for label, _ in type_.labels):
        return value
    raise MisfitError(f"{_brief(value)} is no label of {[label for label, _ in type_.labels]}")


def _fit_null(value: Any, _: Type) -> None:
    raise MisfitError(f"{_brief(value)} is no null")


_FITS: dict[Kind, Callable[[Any, Type], Any]] = {
    Kind.NULL: _fit_null,
    Kind.BOOL: _fit_bool,
    Kind.INT64: _fit_integer,
    Kind.UINT64: _fit_integer,
    Kind.DOUBLE: _fit_double,
    Kind.STRING: _fit_string,
    Kind.TIME: _fit_time,
    Kind.DURATION: _fit_duration,
    Kind.IP: _fit_ip,
    Kind.SUBNET: _fit_subnet,
    Kind.ENUM: _fit_enum,
}
