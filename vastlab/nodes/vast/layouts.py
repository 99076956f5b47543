"""What ``vast show schemas`` prints, as schemas.

A layout is a word (``"ip"``), or an object with one key: ``record``, ``list``, ``enum`` or
``map`` for a type, anything else for an alias of what follows. Where a type has attributes, it
stands behind ``type``, and they behind ``attributes``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from vastlab.errors import NodeError
from vastlab.types import Field, Kind, Schema, Type

_WORDS = {
    kind.value: kind
    for kind in Kind
    if kind not in (Kind.LIST, Kind.MAP, Kind.RECORD, Kind.ENUM, Kind.BLOB)
}


def parse_layouts(text: bytes) -> tuple[Schema, ...]:
    """Read the answer to ``vast show schemas``.

    Raises
    ------
    NodeError
        It is no such answer.
    """
    try:
        return tuple(
            _schema(name, layout) for entry in json.loads(text) for name, layout in entry.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NodeError(f"vast prints schemas in an unknown form: {error}") from error


def _schema(name: str, layout: Any) -> Schema:
    type_ = _type(layout)
    return Schema(name, type_.fields, type_.attributes)


def _type(layout: Any) -> Type:
    if isinstance(layout, str):
        return Type(_WORDS[layout])
    if layout.keys() == {"type", "attributes"}:
        return _with_attributes(_type(layout["type"]), layout["attributes"])
    ((word, inner),) = layout.items()
    match word, inner:
        case "record", list():
            return Type(Kind.RECORD, fields=tuple(_field(member) for member in inner))
        case "list", _:
            return Type(Kind.LIST, item=_type(inner))
        case "map", dict():
            return Type(Kind.MAP, key=_type(inner["key"]), item=_type(inner["value"]))
        case "enum", list():
            return Type(Kind.ENUM, labels=tuple((label, key) for key, label in enumerate(inner)))
        case _:
            type_ = _type(inner)
            return replace(type_, names=(word, *type_.names))


def _field(member: dict[str, Any]) -> Field:
    ((name, layout),) = member.items()
    return Field(name, _type(layout))


def _with_attributes(type_: Type, attributes: dict[str, Any]) -> Type:
    pairs = tuple((key, "" if value is None else str(value)) for key, value in attributes.items())
    return replace(type_, attributes=pairs + type_.attributes)
