"""The declared schemas of logs: those shipped with vastlab, and the user's own.

In the files of ``vastlab/data/schemas``, fields stand in the order of the logs; ``key`` and
``number`` are looked up whole. Fields of Suricata that changed their type between versions are left
out, so that they are inferred.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from vastlab import _yaml
from vastlab._text import did_you_mean
from vastlab.arrow import convert
from vastlab.arrow import types as arrow_arrays
from vastlab.errors import ConfigError
from vastlab.readers.shapes import MAX_DEPTH
from vastlab.types import Field, Kind, Schema, Type

_CONN_ID = ("orig_h", "orig_p", "resp_h", "resp_p")


def nested_schema(name: str, types: Mapping[str, Type]) -> Schema:
    """Turn dotted names into records, if all names stay unique."""
    return Schema(name, _nested_fields({_path(key, types): type_ for key, type_ in types.items()}))


def _path(name: str, types: Mapping[str, Type]) -> tuple[str, ...]:
    parts = tuple(name.split("."))
    if not all(parts) or len(parts) > MAX_DEPTH:
        return (name,)
    # If an event has both "a" and "a.b", the second stays a dotted name.
    above = (".".join(parts[:i]) for i in range(1, len(parts)))
    return (name,) if any(prefix in types for prefix in above) else parts


def _nested_fields(members: Mapping[tuple[str, ...], Type]) -> tuple[Field, ...]:
    groups: dict[str, dict[tuple[str, ...], Type]] = {}
    for path, type_ in members.items():
        groups.setdefault(path[0], {})[path[1:]] = type_
    return tuple(
        Field(name, group[()] if () in group else _record(name, group))
        for name, group in groups.items()
    )


def _record(name: str, group: Mapping[tuple[str, ...], Type]) -> Type:
    fields = _nested_fields(group)
    conn_id = name == "id" and tuple(field.name for field in fields) == _CONN_ID
    return Type(Kind.RECORD, ("zeek.conn_id",) if conn_id else (), fields=fields)


def nest(columns: Mapping[str, pa.Array], schema: Schema, num_rows: int) -> pa.RecordBatch:
    """Combine columns with dotted names into the records of `nested_schema`."""
    arrays = [columns[leaf.name] for leaf in schema.leaves]
    flat = arrow_arrays.record_batch(arrays, convert.flat_schema(schema), num_rows)
    return convert.nest(flat, schema)


@dataclass(frozen=True)
class Catalog:
    """The schemas of one tool by full name; `module` is their prefix, such as ``zeek``."""

    module: str
    schemas: Mapping[str, Schema]

    def find(self, event: str) -> Schema | None:
        """Return a schema by its short name, such as ``conn``."""
        return self.schemas.get(f"{self.module}.{event}")


@cache
def load(module: str) -> Catalog:
    """Load the schemas of ``zeek`` or ``suricata``."""
    file = f"{module}.json"
    return parse(_yaml.shipped("schemas", file), file)


@dataclass(frozen=True, slots=True)
class Schemas:
    """The declared schemas: the user's own, then those shipped with vastlab.

    Parameters
    ----------
    own
        The user's catalogs; the first one with a schema is used.

    Examples
    --------
    >>> Schemas().find("zeek.conn").event_time.name
    'ts'
    """

    own: tuple[Catalog, ...] = ()

    def find(self, name: str) -> Schema | None:
        """Return a schema by its full name, such as ``suricata.alert``."""
        for catalog in self.own:
            if name in catalog.schemas:
                return catalog.schemas[name]
        module, _, event = name.partition(".")
        return load(module).find(event) if module in ("zeek", "suricata") else None


SHIPPED = Schemas()


_MAX_FILE_SIZE = 4 << 20
_MAX_FILES = 1000
_MAX_FIELDS = 20_000
_MAX_DEPTH = 20
_MAX_NAME_LENGTH = 200
_EVENT = re.compile(r"[^\W\d][\w.\-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NESTED = (Kind.LIST, Kind.MAP, Kind.RECORD)
_WORDS = {kind.value: Type(kind) for kind in Kind if kind not in _NESTED}
_EXAMPLE = 'for example events: {"my.log": {ts: time, client: ip, tags: [string]}}'


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top of a file."""

    events: dict[str, Any]
    module: str = ""
    types: dict[str, Any] | None = None


class _Enum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An enumeration under ``types``."""

    enum: Annotated[list[str], msgspec.Meta(max_length=256)]


class _Attributed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A type with attributes under ``types``."""

    type: Any
    attributes: dict[str, str]


def load_user_schemas(folders: Iterable[Path]) -> Schemas:
    """Load the schemas of ``*.yaml`` in the folders that exist; the first one of a name is used."""
    paths = [path for folder in folders for path in _files(folder)]
    return Schemas(
        tuple(parse(_yaml.load(path, "the schemas", _MAX_FILE_SIZE), path) for path in paths)
    )


def _files(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            return []
        found = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        raise ConfigError(f"cannot read {str(folder)!r}: {error.strerror}") from error
    if len(found) > _MAX_FILES:
        raise ConfigError(f"{str(folder)!r} contains more than {_MAX_FILES:,} schema files")
    return found


def parse(content: object, place: object) -> Catalog:
    """Build the schemas from the content of a file; `place` names it in errors."""
    file = _yaml.convert(content, _File, place, hint=_EXAMPLE)
    work = _Declarations(place)
    if file.module:
        work.check_name(file.module, "module", _EVENT)
    for name, definition in (file.types or {}).items():
        work.check_name(name, "types")
        work.types[name] = work.named_type(name, definition, f"types.{name}")
    schemas = {}
    for event, definition in file.events.items():
        work.check_name(event, "events", _EVENT)
        name = f"{file.module}.{event}" if file.module else event
        schemas[name] = Schema(name, work.fields(definition, f"events.{event}", 0))
    return Catalog(file.module, schemas)


class _Declarations:
    """Builds the types that a file declares; errors name the file and the place in it."""

    def __init__(self, file: object) -> None:
        self._file = file
        self._size = 0
        self.types = dict(_WORDS)

    def _fail(self, where: str, reason: str, hint: str = _EXAMPLE) -> ConfigError:
        return ConfigError(f"{self._file}: {where[:_MAX_NAME_LENGTH]}: {reason}", hint=hint)

    def check_name(self, name: str, where: str, pattern: re.Pattern[str] | None = None) -> None:
        if not name or len(name) > _MAX_NAME_LENGTH or _CONTROL.search(name):
            raise self._fail(where, f"{name[:60]!r} cannot be a name")
        if pattern is not None and not pattern.fullmatch(name):
            raise self._fail(where, f"{name!r} must be letters, digits, dots, dashes and _")

    def fields(self, definition: object, where: str, depth: int) -> tuple[Field, ...]:
        members = _yaml.convert(definition, dict[str, Any], self._file, where, _EXAMPLE)
        types = {}
        for name, inner in members.items():
            self.check_name(name, where)
            types[name] = self.type(inner, f"{where}.{name}", depth + 1)
        return nested_schema("", types).fields

    def named_type(self, name: str, definition: Any, where: str) -> Type:
        match definition:
            case {"enum": [*_]} if len(definition) == 1:
                labels = _yaml.convert(definition, _Enum, self._file, where).enum
                return Type(Kind.ENUM, labels=tuple(zip(labels, range(256), strict=False)))
            case {"type": _, "attributes": dict()} if len(definition) == 2:
                declared = _yaml.convert(definition, _Attributed, self._file, where)
                # This name is not a type alias that queries can use.
                attributes = tuple(declared.attributes.items())
                return replace(self.type(declared.type, where, 1), attributes=attributes)
            case _:
                base = self.type(definition, where, 1)
                return replace(base, names=(name, *base.names))

    def type(self, definition: object, where: str, depth: int) -> Type:
        self._size += 1
        if self._size > _MAX_FIELDS:
            raise self._fail(where, f"more than {_MAX_FIELDS:,} fields in one file")
        if depth > _MAX_DEPTH:
            raise self._fail(where, f"nested more than {_MAX_DEPTH} deep")
        match definition:
            case str():
                if definition not in self.types:
                    known = f"there are {', '.join(_WORDS)}"
                    hint = did_you_mean(definition[:_MAX_NAME_LENGTH], self.types, known)
                    raise self._fail(where, f"unknown type {definition[:60]!r}", hint)
                return self.types[definition]
            case [item]:
                return Type(Kind.LIST, item=self.type(item, where, depth + 1))
            case dict():
                return Type(Kind.RECORD, fields=self.fields(definition, where, depth))
            case _:
                raise self._fail(where, f"{str(definition)[:60]} is not a type")
