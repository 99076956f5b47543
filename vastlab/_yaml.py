"""YAML from untrusted files: bounded, and of a declared shape."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from vastlab._lazy import yaml
from vastlab._text import cut, did_you_mean
from vastlab.errors import ConfigError

LARGEST = 1 << 20
# What a document may be at most.
_DEEPEST, _LONGEST_NUMBER, _MOST_NODES = 50, 100, 1_000_000
_LONGEST_REASON, _LONGEST_KEY = 300, 100
_NUMBERS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_PLACE = re.compile(
    r"(?P<reason>.*?)(?: - at (?P<of_key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL
)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)

_T = TypeVar("_T")


def shipped(*path: str) -> Any:
    """Return the content of a file in vastlab's data: JSON, read in a hundredth of YAML's time."""
    return msgspec.json.decode(resources.files("vastlab").joinpath("data", *path).read_bytes())


def load(path: Path, what: str, largest: int = LARGEST) -> Any:
    """Read a YAML file of at most `largest` bytes; `what` names its content in messages."""
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            limit = f"{largest >> 20} MiB"
            raise ConfigError(f"cannot read {what} in {path}: the file is larger than {limit}")
        return parse(data.decode())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = cut(" ".join(str(error).split()), _LONGEST_REASON)
        raise ConfigError(f"cannot read {what} in {path}: {reason}") from error


def parse(text: str) -> Any:
    """Read a YAML document that may be hostile, in time and memory bounded by its length.

    Duplicate keys, deep nesting, very long numbers and aliases that repeat each other are errors.
    """
    try:
        _check_depth(text)
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {})
        return loader.construct_document(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise yaml.YAMLError(f"a value does not match its type: {error}") from None


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that of libyaml is ten times as fast


def _check_depth(text: str) -> None:
    """Refuse what is nested too deep, before it is composed, which is recursive."""
    depth = 0
    for event in yaml.parse(text, _loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _refusal(f"nested more than {_DEEPEST} levels deep", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _measure(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the nodes below one, those behind aliases each time; refuse too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_NODES  # until it is known: what contains itself is endless
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > _LONGEST_NUMBER and node.tag in _NUMBERS:
            raise _refusal("a number is too long", node)
        inner: Iterable[yaml.Node] = ()
    elif isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node)
        inner = itertools.chain.from_iterable(node.value)
    else:
        inner = node.value
    known[id(node)] = number = 1 + sum(_measure(part, known) for part in inner)
    if number > _MOST_NODES:
        raise _refusal("aliases repeat too much", node)
    return number


def _refuse_duplicates(mapping: yaml.MappingNode) -> None:
    known = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in known:
                name = cut(key.value, _LONGEST_KEY)
                raise _refusal(f"the key {name!r} occurs twice; remove one of the two", key)
            known.add((key.tag, key.value))


def _refusal(problem: str, where: yaml.Node | yaml.Event) -> yaml.YAMLError:
    mark: Any = where.start_mark  # the two loaders have a class each
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


# --- shapes ---------------------------------------------------------------------------------


def convert(
    content: object, type_: type[_T], place: object, key: str = "", hint: str | None = None
) -> _T:
    """Return content as a declared type, or raise a `ConfigError` with the file and the key."""
    try:
        return msgspec.convert(content, type_)
    except msgspec.ValidationError as error:
        found = _PLACE.fullmatch(str(error))
        reason, path = (found["reason"], found["path"] or "") if found else (str(error), "")
        where = f"{key}{path}".lstrip(".")
        if unknown := _UNKNOWN.fullmatch(reason):
            name = cut(unknown[1], _LONGEST_KEY)
            hint = did_you_mean(name, _keys(type_, path), hint)
            where, reason = "", f"unknown key {f'{where}.{name}'.lstrip('.')!r}"
        elif found and found["of_key"]:
            reason, hint = "each key must be text", "put it in quotes"
        # The words of YAML instead of those of JSON.
        reason = reason.replace("`object", "`mapping").replace("`array", "`list")
        reason = reason.replace("Object missing required field", "missing key")
        reason = cut(reason[:1].lower() + reason[1:], _LONGEST_REASON)
        where = f" {cut(where, _LONGEST_REASON)}:" if where else ""
        raise ConfigError(f"{place}:{where} {reason}", hint=hint) from None


def _keys(type_: Any, path: str) -> tuple[str, ...]:
    """Return the keys of the struct at a path such as ``.vastlab`` in another struct."""
    for name in path.split(".")[1:]:
        type_ = get_type_hints(type_).get(name, type_)
        structs = (part for part in get_args(type_) if hasattr(part, "__struct_fields__"))
        type_ = next(structs, type_)
    return getattr(type_, "__struct_fields__", ())
