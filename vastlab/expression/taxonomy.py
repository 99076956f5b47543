"""Concepts and models: one name for many fields with the same meaning.

A concept such as ``net.src.ip`` names fields of many schemas, and other concepts. A model such
as ``net.connection`` is a sequence of concepts and models, compared with a record as a whole.
Both come from YAML files in VAST's own form, a list of items of this kind::

    - concept:
        name: net.src.ip
        description: The IP address of a flow's source
        fields: [suricata.flow.src_ip, "zeek.{conn,dns}.id.orig_h"]
        concepts: []
    - model:
        name: net.connection
        definition: [net.src.ip, net.src.port, net.dst.ip, net.dst.port, net.proto]

Braces are a shorthand of vastlab: one field per alternative. Field names have no backticks
here: ``winlog.event.@timestamp`` is ``winlog.event.`@timestamp``` in an expression.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from vastlab import _yaml
from vastlab.errors import ConfigError

__all__ = ["Concept", "Model", "Taxonomy", "load"]

_BRACES = re.compile(r"\{([^{}]*)\}")
_SUFFIXES = (".yaml", ".yml")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Concept:
    """A name for fields with the same meaning; `fields` are qualified by their schema."""

    name: str
    description: str = ""
    fields: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A sequence of concepts and models that are compared together with a record."""

    name: str
    description: str = ""
    definition: tuple[str, ...] = ()
    source: str = field(default="", compare=False)


@dataclass(frozen=True)
class Taxonomy:
    """All concepts and models, by name.

    Parameters
    ----------
    concepts, models
        Each under its own name.

    Examples
    --------
    >>> taxonomy = Taxonomy.default()
    >>> taxonomy.leaves("net.connection")
    ('net.src.ip', 'net.src.port', 'net.dst.ip', 'net.dst.port', 'net.proto')
    >>> taxonomy.fields("net.dst.packets")
    ('zeek.conn.resp_pkts',)
    """

    concepts: Mapping[str, Concept] = field(default_factory=lambda: _NOTHING)
    models: Mapping[str, Model] = field(default_factory=lambda: _NOTHING)

    def __reduce__(self) -> tuple[type[Taxonomy], tuple[dict[str, Concept], dict[str, Model]]]:
        # A read-only view cannot be pickled.
        return Taxonomy, (dict(self.concepts), dict(self.models))

    @staticmethod
    def default() -> Taxonomy:
        """Return the concepts and models that come with vastlab."""
        return _default()

    def merge(self, other: Taxonomy) -> Taxonomy:
        """Add the concepts and models of another taxonomy.

        Parameters
        ----------
        other
            Fields of a concept that is here already are added to it.

        Returns
        -------
        Taxonomy
            The union; the first description of a concept is kept.

        Raises
        ------
        ConfigError
            A model is defined on both sides.
        """
        concepts = dict(self.concepts)
        for name, concept in other.concepts.items():
            concepts[name] = _join(concepts.get(name, Concept(name)), concept)
        models = dict(self.models)
        for name, model in other.models.items():
            if name in models:
                raise ConfigError(
                    f"{model.source or 'taxonomy'}: the model {name!r} is already defined"
                    + (f" in {models[name].source}" if models[name].source else ""),
                    hint="rename one of the two",
                )
            models[name] = model
        return Taxonomy(MappingProxyType(concepts), MappingProxyType(models))

    def fields(self, concept: str) -> tuple[str, ...]:
        """Return the fields of a concept: its own, then those of its concepts.

        Parameters
        ----------
        concept
            The name of a concept.
        """
        return self._fields[concept]

    def leaves(self, model: str) -> tuple[str, ...]:
        """Return the concepts of a model, those of the models in it expanded in place.

        Parameters
        ----------
        model
            The name of a model.
        """
        return tuple(self._expand(model, ()))

    @functools.cached_property
    def _fields(self) -> Mapping[str, tuple[str, ...]]:
        return {
            name: tuple(dict.fromkeys(f for c in self._nested(name) for f in c.fields))
            for name in self.concepts
        }

    def _nested(self, name: str) -> Iterator[Concept]:
        queue, seen = [name], {name}
        while queue:
            concept = self.concepts.get(queue.pop(0))
            if concept is not None:
                yield concept
                queue += [c for c in concept.concepts if c not in seen]
                seen.update(concept.concepts)

    def _expand(self, name: str, above: tuple[str, ...]) -> Iterator[str]:
        if name not in self.models:
            yield name
        elif name in above:
            raise ConfigError(f"the model {name!r} contains itself")
        else:
            for part in self.models[name].definition:
                yield from self._expand(part, (*above, name))


def load(*paths: str | Path) -> Taxonomy:
    """Read concepts and models from YAML files, and from folders at any depth.

    Raises
    ------
    ConfigError
        A file is missing, is not valid YAML or has another structure, or a model is defined twice.
    """
    taxonomy = Taxonomy()
    for path in _files(paths):
        taxonomy = taxonomy.merge(_parse(_yaml.load(path, "the taxonomy"), str(path)))
    return taxonomy


# --- reading --------------------------------------------------------------------------------


@functools.cache
def _default() -> Taxonomy:
    folder = resources.files("vastlab") / "data" / "taxonomy"
    taxonomy = Taxonomy()
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        items = yaml.safe_load(entry.read_text(encoding="utf-8"))
        taxonomy = taxonomy.merge(_parse(items, entry.name))
    return taxonomy


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES)
        else:
            yield path


def _parse(items: object, source: str) -> Taxonomy:
    if items is not None and not isinstance(items, list):
        raise ConfigError(f"{source}: a taxonomy must be a list of concepts and models")
    taxonomy = Taxonomy()
    for number, item in enumerate(items or (), start=1):
        taxonomy = taxonomy.merge(_item(item, f"{source}: item {number}", source))
    return taxonomy


def _item(item: object, place: str, source: str) -> Taxonomy:
    match item:
        case {"concept": dict(body), **rest} if not rest:
            part = _text(body, "name", place), str(body.get("description") or "")
            fields = tuple(e for text in _texts(body, "fields", place) for e in _expand(text))
            _only(body, ("name", "description", "fields", "concepts"), place)
            concept = Concept(*part, fields, _texts(body, "concepts", place))
            return Taxonomy(concepts={concept.name: _join(Concept(concept.name), concept)})
        case {"model": dict(body), **rest} if not rest:
            part = _text(body, "name", place), str(body.get("description") or "")
            _only(body, ("name", "description", "definition"), place)
            model = Model(*part, _texts(body, "definition", place), source)
            return Taxonomy(models={model.name: model})
        case _:
            raise ConfigError(
                f"{place} is neither a concept nor a model",
                hint="write '- concept: {name: ..., fields: [...]}'",
            )


def _text(body: dict[object, object], key: str, place: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{place}: {key!r} must be a non-empty string")
    return value


def _texts(body: dict[object, object], key: str, place: str) -> tuple[str, ...]:
    values = body.get(key)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{place}: {key!r} must be a list of strings")
    return tuple(values)


def _only(body: dict[object, object], keys: tuple[str, ...], place: str) -> None:
    unknown = [key for key in body if key not in keys]
    if unknown:
        raise ConfigError(
            f"{place}: unknown key {unknown[0]!r}", hint=f"known keys: {', '.join(keys)}"
        )


def _expand(text: str) -> Iterator[str]:
    braces = _BRACES.search(text)
    if braces is None:
        yield text
        return
    for choice in braces.group(1).split(","):
        yield from _expand(text[: braces.start()] + choice.strip() + text[braces.end() :])


def _join(first: Concept, second: Concept) -> Concept:
    return Concept(
        first.name,
        first.description or second.description,
        tuple(dict.fromkeys((*first.fields, *second.fields))),
        tuple(dict.fromkeys((*first.concepts, *second.concepts))),
    )
