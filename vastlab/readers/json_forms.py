"""How JSON values are written, and the schema for Arrow's JSON parser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import Any

import pyarrow as pa

from vastlab.readers import values
from vastlab.readers.shapes import (
    Fixed,
    Leaf,
    ListShape,
    RecordShape,
    Shape,
    find,
    inside,
    takes_records,
)
from vastlab.readers.text_types import KINDS, Scalar, join, number_of
from vastlab.types import Kind

TYPE_KEY = "#type"  # names the schema, and is not a field
SECONDS = pa.decimal128(38, 24)  # the shortest text of a double can have 24 decimal places
_TIMES = (Kind.TIME, Kind.DURATION)
_NUMBERS = {
    Scalar.NULL: pa.int64(),
    Scalar.NATURAL: pa.int64(),
    Scalar.INT64: pa.int64(),
    Scalar.UINT64: pa.uint64(),
    Scalar.DOUBLE: pa.float64(),
}


class UnsupportedFormError(Exception):
    """Arrow's parser does not support these values."""


class Form(Enum):
    """The JSON type of a value."""

    NULL = auto()
    TEXT = auto()
    NUMBER = auto()
    BOOL = auto()
    LIST = auto()
    RECORD = auto()


@dataclass(slots=True)
class KeyForm:
    """How the values of one key are written."""

    form: Form = Form.NULL  # the form of the last value
    numbers: Scalar = Scalar.NULL  # the common type of the numbers
    nonstandard: bool = False  # whether there is text that Arrow's parser cannot read as a time
    members: dict[str, KeyForm] = field(default_factory=dict)
    item: KeyForm | None = None  # of lists

    def note(self, value: Any) -> None:
        """Add a value."""
        match value:
            case None:
                return
            case dict():
                self.form = Form.RECORD
                for key, member in value.items():
                    self.members.setdefault(key, KeyForm()).note(member)
            case list():
                self.form = Form.LIST
                self.item = self.item or KeyForm()
                for member in value:
                    self.item.note(member)
            case str():
                self.form = Form.TEXT
                self.nonstandard = self.nonstandard or _is_nonstandard(value)
            case bool():
                self.form = Form.BOOL
            case _:
                self.form = Form.NUMBER
                self.numbers = join(self.numbers, _number(value))


def _number(value: int | float | Decimal) -> Scalar:
    found = number_of(value) if isinstance(value, int) else Scalar.DOUBLE
    return Scalar.DOUBLE if found is Scalar.TEXT else found


def _is_nonstandard(text: str) -> bool:
    try:
        values.iso_time(text)
    except ValueError:
        return True
    return "," in text or text.endswith("C") or " " in text[11:]


def schema_of(members: Mapping[str, KeyForm], root: RecordShape) -> pa.Schema:
    """Return the schema for Arrow's parser; raises `UnsupportedFormError`."""
    return pa.schema(_fields(members, root, "", whole=True))


def _fields(
    members: Mapping[str, KeyForm], record: RecordShape, prefix: str, *, whole: bool = False
) -> list[tuple[str, pa.DataType]]:
    fields = []
    for key, key_form in members.items():
        if whole and key == TYPE_KEY:
            fields.append((key, pa.string()))
            continue
        place = find(record, prefix, key)
        if place is None:
            raise UnsupportedFormError
        shape = place.record.fields[place.name]
        if key_form.form is Form.RECORD and not takes_records(shape):
            owner, beside = inside(place)
            fields.append((key, pa.struct(_fields(key_form.members, owner, beside))))
        else:
            fields.append((key, _type(key_form, shape)))
    return fields


def _type(key_form: KeyForm, shape: Shape) -> pa.DataType:
    match key_form.form, shape:
        case Form.NULL, _:
            return pa.null()
        case Form.LIST, ListShape(item):
            return pa.list_(_type(key_form.item or KeyForm(), item))
        case Form.RECORD, RecordShape():
            return pa.struct(_fields(key_form.members, shape, ""))
        case ((Form.LIST | Form.RECORD), ListShape(item, declared=True)):
            return _type(key_form, item)
        case ((Form.LIST | Form.RECORD), (Leaf() | Fixed() | ListShape() | RecordShape())):
            raise UnsupportedFormError  # it becomes JSON text, or is reported
        case _, ListShape(item):
            return _type(key_form, item)
        case Form.TEXT, Fixed(type_) if type_.kind is Kind.TIME and not key_form.nonstandard:
            return pa.timestamp("ns")
        case Form.TEXT, _:
            return pa.string()
        case Form.BOOL, _:
            return pa.bool_()
        case _, Fixed(type_) if type_.kind in _TIMES:
            return SECONDS
        case _, Fixed(type_) if type_.kind is Kind.UINT64 and key_form.numbers is Scalar.NATURAL:
            return pa.uint64()
        case _, Fixed(type_) if type_.kind is Kind.DOUBLE:
            return pa.float64()
        case _, Leaf(state) if KINDS[state] is Kind.DOUBLE:
            return pa.float64()
        case _:
            if key_form.numbers is Scalar.DOUBLE and _is_text(shape):
                raise UnsupportedFormError  # as text, 1.50 must stay 1.50
            return _NUMBERS[key_form.numbers]


def _is_text(shape: Shape) -> bool:
    match shape:
        case Fixed(type_):
            return type_.kind is Kind.STRING
        case Leaf(state):
            return KINDS[state] is Kind.STRING
        case _:
            return False


def has_decimals(schema: pa.Schema) -> bool:
    """Return whether a schema contains decimals."""
    return any(_holds_decimals(field.type) for field in schema)


def _holds_decimals(type_: pa.DataType) -> bool:
    if pa.types.is_nested(type_):
        return any(_holds_decimals(type_.field(i).type) for i in range(type_.num_fields))
    return bool(pa.types.is_decimal(type_))
