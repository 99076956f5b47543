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
here: ``winlog.event.@timestamp`` is ``winlog.event.`@timestamp``` in an expression. Concepts of
vastlab without fields are names that other tools use; users may add fields to them.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from vastlab import _yaml
from vastlab.endpoints import as_path
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


def load(*paths: str | os.PathLike[str]) -> Taxonomy:
    """Read concepts and models from YAML files, and from folders at any depth."""
    taxonomy = Taxonomy()
    for path in _files(paths):
        taxonomy = taxonomy.merge(_parse(_yaml.load(path, "the taxonomy"), str(path)))
    return taxonomy


# --- reading --------------------------------------------------------------------------------


_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Texts = tuple[str, ...]
_EXAMPLE = "write '- concept: {name: ..., fields: [...]}'"


class _ConceptEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a concept."""

    name: _Name
    description: str | None = None
    fields: _Texts | None = None
    concepts: _Texts | None = None


class _ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a model."""

    name: _Name
    description: str | None = None
    definition: _Texts | None = None


class _Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item of a file: one of the two."""

    concept: _ConceptEntry | None = None
    model: _ModelEntry | None = None


@functools.cache
def _default() -> Taxonomy:
    taxonomy = Taxonomy()
    for name in ("ecs", "file", "net", "proc"):
        file = f"{name}.json"
        taxonomy = taxonomy.merge(_parse(_yaml.shipped("taxonomy", file), f"vastlab's {file}"))
    return taxonomy


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    for path in (as_path(each, "the taxonomy") for each in paths):
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES)
        else:
            yield path


def _parse(items: object, source: str) -> Taxonomy:
    taxonomy = Taxonomy()
    hint = f"a list of concepts and models: {_EXAMPLE}"
    for number, item in enumerate(_yaml.convert(items or [], list[Any], source, hint=hint), 1):
        place = f"{source}: item {number}"
        taxonomy = taxonomy.merge(_part(_yaml.convert(item, _Item, place), place, source))
    return taxonomy


def _part(item: _Item, place: str, source: str) -> Taxonomy:
    match item:
        case _Item(concept=_ConceptEntry() as entry, model=None):
            fields = tuple(field for text in entry.fields or () for field in _expand(text))
            concept = Concept(entry.name, entry.description or "", fields, entry.concepts or ())
            return Taxonomy(concepts={entry.name: _join(Concept(entry.name), concept)})
        case _Item(concept=None, model=_ModelEntry() as entry):
            model = Model(entry.name, entry.description or "", entry.definition or (), source)
            return Taxonomy(models={entry.name: model})
        case _:
            raise ConfigError(f"{place} must be either a concept or a model", hint=_EXAMPLE)


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
