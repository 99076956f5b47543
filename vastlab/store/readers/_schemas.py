"""The event types of Zeek and Suricata that vastlab ships: names, types, aliases.

The files in ``vastlab/data/schemas`` are YAML with three keys. ``module`` comes before each
event's name. ``types`` names types that several fields share. ``events`` maps an event to its
fields. A type is written as

- a word: ``string``, ``uint64``, ``ip``, ..., or a name from ``types``;
- ``[type]``: a list;
- ``{name: type, ...}``: a record;
- ``{type: type, attributes: {...}}`` or ``{enum: [label, ...]}``, in ``types`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from vastlab.types import Field, Kind, Schema, Type

_PLAIN = {kind.value: Type(kind) for kind in Kind}


@dataclass(frozen=True)
class Catalog:
    """The schemas of one tool.

    Parameters
    ----------
    module
        What comes before the name of each event: ``zeek``.
    schemas
        By full name, ``zeek.conn``.
    """

    module: str
    schemas: Mapping[str, Schema]

    def find(self, event: str) -> Schema | None:
        """Return the schema of an event by its short name, ``conn``."""
        return self.schemas.get(f"{self.module}.{event}")


@cache
def load(module: str) -> Catalog:
    """Load the schemas of ``zeek`` or ``suricata``.

    Examples
    --------
    >>> load("zeek").find("conn").event_time.name
    'ts'
    """
    folder = resources.files("vastlab").joinpath("data", "schemas")
    text = folder.joinpath(f"{module}.yaml").read_text(encoding="utf-8")
    return parse(yaml.safe_load(text))


def find(name: str) -> Schema | None:
    """Return a schema of any tool by its full name, ``suricata.alert``."""
    module, _, event = name.partition(".")
    return load(module).find(event) if module in ("zeek", "suricata") else None


def parse(content: Mapping[str, Any]) -> Catalog:
    """Build the schemas from the content of a file."""
    module = content["module"]
    named: dict[str, Type] = {}
    for name, definition in content.get("types", {}).items():
        named[name] = _named_type(name, definition, named)
    schemas = {
        f"{module}.{event}": Schema(f"{module}.{event}", _fields(fields, named))
        for event, fields in content["events"].items()
    }
    return Catalog(module, schemas)


def _named_type(name: str, definition: Any, named: Mapping[str, Type]) -> Type:
    match definition:
        case {"type": inner, "attributes": attributes}:
            # Only a hint: no alias that a query could name.
            return replace(_type(inner, named), attributes=tuple(attributes.items()))
        case {"enum": labels}:
            return Type(Kind.ENUM, labels=tuple((label, key) for key, label in enumerate(labels)))
        case _:
            base = _type(definition, named)
            return replace(base, names=(name, *base.names))


def _fields(fields: Mapping[str, Any], named: Mapping[str, Type]) -> tuple[Field, ...]:
    return tuple(Field(name, _type(text, named)) for name, text in fields.items())


def _type(definition: Any, named: Mapping[str, Type]) -> Type:
    match definition:
        case str():
            return named[definition] if definition in named else _PLAIN[definition]
        case [item]:
            return Type(Kind.LIST, item=_type(item, named))
        case _:
            return Type(Kind.RECORD, fields=_fields(definition, named))
