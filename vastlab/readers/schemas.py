"""The declared schemas of logs: those shipped with vastlab, and the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from vastlab._text import did_you_mean
from vastlab.arrow import convert
from vastlab.arrow import types as arrow_arrays
from vastlab.errors import ConfigError
from vastlab.readers.shapes import MAX_DEPTH
from vastlab.types import Field, Kind, Schema, Type

_CONN_ID = ("orig_h", "orig_p", "resp_h", "resp_p")


def nested_schema(name: str, types: Mapping[str, Type]) -> Schema:
    """Turn dotted names into records, if all names stay unique.

    Examples
    --------
    >>> schema = nested_schema("zeek.x", {"id.orig_h": Type(Kind.IP), "a": Type(Kind.BOOL)})
    >>> [(field.name, str(field.type)) for field in schema.fields]
    [('id', 'record<orig_h: ip>'), ('a', 'bool')]
    """
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


_PLAIN = {kind.value: Type(kind) for kind in Kind}


@dataclass(frozen=True)
class Catalog:
    """The schemas of one tool.

    Parameters
    ----------
    module
        The prefix of the schema names, such as ``zeek``.
    schemas
        By full name, such as ``zeek.conn``.
    """

    module: str
    schemas: Mapping[str, Schema]

    def find(self, event: str) -> Schema | None:
        """Return a schema by its short name, such as ``conn``."""
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


def parse(content: Mapping[str, Any]) -> Catalog:
    """Build the schemas from the content of a file."""
    module = content["module"]
    named: dict[str, Type] = {}
    for name, definition in content.get("types", {}).items():
        named[name] = _named_type(name, definition, named)
    schemas = {
        name: Schema(name, _fields(fields, named))
        for event, fields in content["events"].items()
        for name in [f"{module}.{event}" if module else event]
    }
    return Catalog(module, schemas)


def _named_type(name: str, definition: Any, named: Mapping[str, Type]) -> Type:
    match definition:
        case {"type": inner, "attributes": attributes}:
            # This name is not a type alias that queries can use.
            return replace(_type(inner, named), attributes=tuple(attributes.items()))
        case {"enum": labels}:
            return Type(Kind.ENUM, labels=tuple((label, key) for key, label in enumerate(labels)))
        case _:
            base = _type(definition, named)
            return replace(base, names=(name, *base.names))


def _fields(fields: Mapping[str, Any], named: Mapping[str, Type]) -> tuple[Field, ...]:
    types = {name: _type(text, named) for name, text in fields.items()}
    return nested_schema("", types).fields


def _type(definition: Any, named: Mapping[str, Type]) -> Type:
    match definition:
        case str():
            return named[definition] if definition in named else _PLAIN[definition]
        case [item]:
            return Type(Kind.LIST, item=_type(item, named))
        case _:
            return Type(Kind.RECORD, fields=_fields(definition, named))


_MAX_FILE_SIZE = 4 << 20
_MAX_FILES = 1000
_MAX_FIELDS = 20_000
_MAX_DEPTH = 20
_MAX_NAME_LENGTH = 200
_EVENT = re.compile(r"[^\W\d][\w.\-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_KEYS = ("module", "types", "events")
_WORDS = tuple(kind.value for kind in Kind if kind not in (Kind.LIST, Kind.MAP, Kind.RECORD))
_EXAMPLE = 'events: {"my.log": {ts: time, client: ip, tags: [string]}}'


def load_user_schemas(folders: Iterable[Path]) -> Schemas:
    r"""Load the schemas of ``*.yaml`` in some folders; the first one with a schema is used.

    Folders that do not exist are skipped.

    Raises
    ------
    ConfigError
        With the file, the place in it, and the reason.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "proxy.yaml")
    ...     _ = file.write_text("module: acme\nevents: {proxy: {client: ip, port: uint64}}")
    ...     print(load_user_schemas([Path(folder)]).find("acme.proxy"))
    acme.proxy
      client  ip
      port    uint64
    """
    return Schemas(tuple(_load(path) for folder in folders for path in _files(folder)))


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


def _load(path: Path) -> Catalog:
    content = _content(path)
    check = _Check(path)
    top = check.mapping(content, "the file")
    check.keys(top, _KEYS)
    module = top.get("module", "")
    if module != "":
        check.name(module, "module", _EVENT)
    types = check.mapping(top.get("types") or {}, "types")
    for name, definition in types.items():
        check.name(name, "types")
        check.named_type(definition, f"types.{name}")
        check.known.append(name)
    events = check.mapping(top.get("events"), "events")
    for name, fields in events.items():
        check.name(name, "events", _EVENT)
        check.fields(fields, f"events.{name}", 0)
    return parse({"module": module, "types": types, "events": events})


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_SIZE + 1)
        if len(text) > _MAX_FILE_SIZE:
            raise ConfigError(f"{path}: larger than {_MAX_FILE_SIZE:,} bytes")
        return yaml.safe_load(text)
    except RecursionError:
        raise ConfigError(f"{path}: the YAML is nested too deeply") from None
    except (OSError, ValueError, OverflowError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"cannot read the schemas in {path}: {reason}") from error


class _Check:
    """Checks the declarations of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self.known: list[str] = list(_WORDS)

    def fail(self, where: str, reason: str, hint: str = f"for example {_EXAMPLE}") -> ConfigError:
        return ConfigError(f"{self._path}: {where[:_MAX_NAME_LENGTH]}: {reason}", hint=hint)

    def mapping(self, value: Any, where: str) -> Mapping[Any, Any]:
        if not isinstance(value, dict) or (not value and where == "the file"):
            raise self.fail(where, "must be a mapping of names")
        return value

    def keys(self, top: Mapping[Any, Any], keys: tuple[str, ...]) -> None:
        for key in top:
            if key not in keys:
                hint = did_you_mean(str(key)[:_MAX_NAME_LENGTH], keys)
                raise self.fail("the file", f"unknown key {str(key)[:60]!r}", hint)

    def name(self, name: Any, where: str, pattern: re.Pattern[str] | None = None) -> None:
        if not isinstance(name, str):
            raise self.fail(where, f"the name {str(name)[:60]} must be text", "put it in quotes")
        if not name or len(name) > _MAX_NAME_LENGTH or _CONTROL.search(name):
            raise self.fail(where, f"{name[:60]!r} cannot be a name")
        if pattern is not None and not pattern.fullmatch(name):
            raise self.fail(where, f"{name!r} must be letters, digits, dots, dashes and _")

    def fields(self, value: Any, where: str, depth: int) -> None:
        for name, definition in self.mapping(value, where).items():
            self.name(name, where)
            self.type(definition, f"{where}.{name}", depth + 1)

    def named_type(self, value: Any, where: str) -> None:
        match value:
            case {"enum": [*labels]} if len(value) == 1:
                if len(labels) > 256 or not all(isinstance(label, str) for label in labels):
                    raise self.fail(where, "the labels of an enum must be at most 256 texts")
            case {"type": inner, "attributes": dict() as attributes} if len(value) == 2:
                if not all(isinstance(t, str) for pair in attributes.items() for t in pair):
                    raise self.fail(where, "attributes must be texts")
                self.type(inner, where, 1)
            case _:
                self.type(value, where, 1)

    def type(self, value: Any, where: str, depth: int) -> None:
        self._size += 1
        if self._size > _MAX_FIELDS:
            raise self.fail(where, f"more than {_MAX_FIELDS:,} fields in one file")
        if depth > _MAX_DEPTH:
            raise self.fail(where, f"nested more than {_MAX_DEPTH} deep")
        match value:
            case str():
                if value not in self.known:
                    known = f"there are {', '.join(_WORDS)}"
                    hint = did_you_mean(value[:_MAX_NAME_LENGTH], self.known, known)
                    raise self.fail(where, f"unknown type {value[:60]!r}", hint)
            case [item]:
                self.type(item, where, depth + 1)
            case dict():
                self.fields(value, where, depth)
            case _:
                raise self.fail(where, f"{str(value)[:60]} is not a type")
