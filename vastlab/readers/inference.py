"""The types of fields that no schema declares, for all files of an import."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from math import isinf
from typing import Any

from vastlab.readers import values
from vastlab.readers.json_forms import KeyForm
from vastlab.readers.problems import BECAME_NULL, Problems
from vastlab.readers.schemas import SHIPPED, Schemas
from vastlab.readers.shapes import (
    Fixed,
    Leaf,
    ListShape,
    RecordShape,
    Shape,
    add_fields,
    split,
    type_of,
)
from vastlab.readers.text_types import KINDS
from vastlab.types import Kind, Schema, Type


@dataclass(slots=True)
class Inference:
    """The inferred types of one import."""

    roots: dict[str, RecordShape] = field(default_factory=dict)  # events of each schema name
    remarks: dict[tuple[str, str], str] = field(default_factory=dict)  # on fields that became text
    forms: dict[str, dict[str, KeyForm]] = field(default_factory=dict)  # of the JSON of a schema
    outdated: set[str] = field(default_factory=set)  # schemas whose types have changed since
    lines_before: int = 0  # lines of the current file that earlier imports read
    _seeds: dict[str, list[Schema]] = field(default_factory=dict)
    _types: dict[str, Type] = field(default_factory=dict)
    _read_with: dict[str, Type] | None = None

    @property
    def is_outdated(self) -> bool:
        """Whether to read the files again, since some types have changed.

        Files with conflicting columns, such as ``a.b`` and ``a.b.c``, would give the same result
        again; they keep separate layouts.
        """
        return bool(self.outdated) and self._known() != self._read_with

    def _known(self) -> dict[str, Type]:
        return {name: type_of(root) for name, root in self.roots.items()}

    def root(self, name: str, make: Callable[[], RecordShape]) -> RecordShape:
        """Return the shape of the events of a schema; fields are added while they are read."""
        if name not in self.roots:
            self.roots[name] = make()
            for schema in self._seeds.pop(name, ()):
                add_fields(self.roots[name], schema.fields)
        return self.roots[name]

    def seed(self, schema: Schema) -> None:
        """Start with the types of earlier events of a schema."""
        if schema.name not in self.roots:
            self._seeds.setdefault(schema.name, []).append(schema)

    def remarks_on(self, path: str) -> tuple[str, ...]:
        """Return the remarks on a file."""
        return tuple(remark for remark in self.remarks.values() if path in remark)

    def remark(self, name: str, field_: str, sentence: str) -> None:
        """Add a remark on a field; only the first one is kept."""
        self.remarks.setdefault((name, field_), f"{name}: {sentence}")

    def check_types(self, schema: Schema) -> None:
        """Compare the types of the next batch with those of earlier ones."""
        now = Type(Kind.RECORD, fields=schema.fields)
        before = self._types.get(schema.name)
        if before is not None and not _is_compatible(before, now):
            self.outdated.add(schema.name)
        self._types[schema.name] = now

    def restart(self) -> None:
        """Prepare for reading the same files again with the types that are known now."""
        self._read_with = self._known()
        self.outdated.clear()
        self._types.clear()


@dataclass(frozen=True, slots=True)
class Context:
    """How to read one source."""

    problems: Problems
    format: str | None = None  # this and the next four: as in `ReadOptions`
    schema: str | None = None
    infer: bool = True
    encoding: str | None = None
    schemas: Schemas = SHIPPED
    inference: Inference = field(default_factory=Inference)  # for the whole import


def _is_compatible(before: Type, now: Type) -> bool:
    """Return whether values of two types can be in one column."""
    if Kind.NULL in (before.kind, now.kind):
        return True
    if before.kind is not now.kind:
        return False
    if before.item is not None and now.item is not None:
        return _is_compatible(before.item, now.item)
    members = {member.name: member.type for member in now.fields}
    return all(
        member.name not in members or _is_compatible(member.type, members[member.name])
        for member in before.fields
    )


_SHOWN = 60
_WHOLE = re.compile(r"-?[0-9]{1,400}")
Report = Callable[[str, str], None]


def arrange(
    event: dict[str, Any], record: RecordShape, path: str, report: Report
) -> dict[str, Any]:
    """Move the members of an event, or of the record `path`, to their fields in its shape."""
    row: dict[str, Any] = {}
    work = _Arranger(path, report)
    for key, value in event.items():
        work.put(row, record, "", key, value)
    return row


@dataclass(frozen=True, slots=True)
class _Arranger:
    path: str
    report: Report

    def put(
        self, row: dict[str, Any], record: RecordShape, prefix: str, key: str, value: Any
    ) -> None:
        name = f"{prefix}.{key}" if prefix else key
        if name in record.fields:
            self._place(row, record, name, value)
            return
        path = None if prefix else record.aliases.get(key)
        pair = (path[0], ".".join(path[1:])) if path else split(key)
        if value is None:
            return
        if pair is not None:
            self.put(row, record, prefix, pair[0], {pair[1]: value})
        elif record.overflow is not None:
            row.setdefault(record.overflow, {})[name] = value

    def _place(self, row: dict[str, Any], record: RecordShape, name: str, value: Any) -> None:
        match record.fields[name], value:
            case RecordShape() as inner, dict():
                below = row.get(name)
                if not isinstance(below, dict):
                    below = row[name] = {}
                for key, member in value.items():
                    self.put(below, inner, "", key, member)
            case Leaf(whole=True), dict():
                row[name] = {**(row[name] if isinstance(row.get(name), dict) else {}), **value}
            case ListShape(RecordShape(), declared=True), dict():
                self._set(row, name, value)
            case _, dict():
                for key, member in value.items():
                    self.put(row, record, name, key, member)
            case _:
                self._set(row, name, value)

    def _set(self, row: dict[str, Any], name: str, value: Any) -> None:
        known = row.get(name)
        if known is None:
            row[name] = value
        elif value is not None and value != known:
            place = f"{self.path}.{name}" if self.path else name
            self.report(place, duplicate_message(value, known))


def duplicate_message(value: object, kept: object) -> str:
    """Return the reason for a field with two values in one event."""
    shown, other = brief(value), brief(kept)
    return f"the event has it twice, {other} and {shown}; the first is kept"


def fit(value: Any, shape: Shape, path: str, report: Report) -> Any:
    """Convert a decoded JSON value to what Arrow stores for a shape; mismatches become null."""
    if value is None:
        return None
    match shape:
        case Fixed(type_):
            return _fixed(value, type_, path, report)
        case RecordShape() if isinstance(value, dict):
            return fit_record(value, shape, path, report)
        case ListShape(item) if isinstance(value, list):
            return [_item(member, item, path, report) for member in value]
        case ListShape(item, declared=True):
            # Some tools write a list of one element without brackets.
            return [_item(value, item, path, report)]
        case Leaf(state):
            return _fixed(value, Type(KINDS[state]), path, report)
        case _:
            what = values.name_of(shape.type.kind)
            report(path, f"{brief(value)} is not {what}{BECAME_NULL}")
            return None


def fit_record(
    row: dict[str, Any], shape: RecordShape, path: str, report: Report
) -> dict[str, Any]:
    """Fit the members of a record."""
    above = f"{path}." if path else ""
    return {
        name: fit(member, shape.fields[name], f"{above}{name}", report)
        for name, member in row.items()
    }


def _item(value: Any, item: Shape, path: str, report: Report) -> Any:
    if isinstance(value, dict) and isinstance(item, RecordShape):
        value = arrange(value, item, path, report)
    return fit(value, item, path, report)


def _fixed(value: Any, type_: Type, path: str, report: Report) -> Any:
    try:
        found = convert(value, type_)
    except ValueError as error:
        report(path, f"{error}{BECAME_NULL}")
        return None
    if type_.kind is Kind.DOUBLE and (exact := _whole(value)) is not None and exact != found:
        report(path, f"{brief(value)} is stored as {found:.0f}: a double does not keep all digits")
    return found


def _whole(value: Any) -> int | None:
    """Return the whole number that a value is, also in quotes."""
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    return value if isinstance(value, int) else None


# --- text -----------------------------------------------------------------------------------


def brief(value: Any) -> str:
    """Return a value for a message, shortened if it is long."""
    if not isinstance(value, bool | list | dict):
        return values.brief(value)
    text = to_text(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def to_text(value: Any) -> str:
    """Return the JSON text of a value, and a string as it is."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """Return JSON that keeps all digits of a decimal."""
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


# --- one value ------------------------------------------------------------------------------


def convert(value: Any, type_: Type) -> Any:
    """Convert a value to the stored form of a plain type; raises ValueError with the reason."""
    convert_kind = _CONVERTERS.get(type_.kind)
    if convert_kind is None:
        raise type_error(value, type_)
    return convert_kind(value, type_)


def type_error(value: Any, type_: Type) -> ValueError:
    return ValueError(f"{brief(value)} is not {values.name_of(type_.kind)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _bool(value: Any, type_: Type) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return values.boolean(value)
    raise type_error(value, type_)


def _integer(value: Any, type_: Type) -> int:
    number = value
    if isinstance(value, Decimal) and abs(value) < 2**64 and value == int(value):
        number = int(value)
    if isinstance(number, str):
        return values.integer(number, type_.kind)
    if _is_number(number) and isinstance(number, int):
        with suppress(ValueError):
            return values.integer(str(number), type_.kind)
    raise type_error(value, type_)


def _double(value: Any, type_: Type) -> float:
    if isinstance(value, str):
        return values.double(value)
    if not _is_number(value):
        raise type_error(value, type_)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if isinf(number) and not isinstance(value, float):
        raise ValueError(f"{brief(value)} is too large for a double")
    return number


def _time(value: Any, type_: Type) -> int:
    if isinstance(value, str):
        return values.time(value)
    if not _is_number(value) or isinstance(value, float):
        raise type_error(value, type_)
    return values.epoch(value, milliseconds=is_event_time(type_))


def is_event_time(type_: Type) -> bool:
    """Return whether a time is the event time, which some tools write in milliseconds."""
    return "timestamp" in type_.names


def _duration(value: Any, type_: Type) -> int:
    if isinstance(value, str):
        return values.duration(value)
    if not _is_number(value) or isinstance(value, float):
        raise type_error(value, type_)
    return values.nanoseconds(value)


def _ip(value: Any, type_: Type) -> bytes:
    if not isinstance(value, str):
        raise type_error(value, type_)
    return values.address(value)


def _subnet(value: Any, type_: Type) -> tuple[bytes, int]:
    if not isinstance(value, str):
        raise type_error(value, type_)
    return values.subnet(value)


def _enum(value: Any, type_: Type) -> str:
    labels = [label for label, _ in type_.labels]
    if isinstance(value, str) and value in labels:
        return value
    raise ValueError(f"{brief(value)} is not one of {', '.join(labels)}")


_CONVERTERS: dict[Kind, Callable[[Any, Type], Any]] = {
    Kind.BOOL: _bool,
    Kind.INT64: _integer,
    Kind.UINT64: _integer,
    Kind.DOUBLE: _double,
    Kind.STRING: lambda value, _: to_text(value),
    Kind.TIME: _time,
    Kind.DURATION: _duration,
    Kind.IP: _ip,
    Kind.SUBNET: _subnet,
    Kind.ENUM: _enum,
}
