"""The content of a database at one generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from vastlab.readers.problems import Problem
from vastlab.store.files import Files
from vastlab.store.layout import DataFile, Layout, Source, union
from vastlab.types import Schema

__all__ = ["Snapshot", "make_snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """The content of a database at one generation."""

    generation: int  # 0 for the empty database
    layouts: Mapping[str, Layout]  # by fingerprint; only those of existing files
    files: Files  # sorted by schema name, first event time and path
    sources: Mapping[str, Source] = field(default_factory=dict)  # by key
    digest: str = ""  # of the generation
    # The id of the database; another one may replace it at the same path.
    database: str = field(default="", compare=False)
    # The generation of the checkpoint that it was read from; 0 without one.
    checkpoint: int = field(default=0, compare=False)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of the sources: first those of logs, then files that are not logs."""
        return tuple(
            Problem(source.key, line, reason)
            for source in sorted(self.sources.values(), key=lambda source: not source.format)
            for line, reason in source.all_problems
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on the fields of the sources, without duplicates."""
        found = (text for source in self.sources.values() for text in source.remarks)
        return tuple(dict.fromkeys(found))

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of events by schema name."""
        return self.files.counts()

    def schemas(self) -> dict[str, Schema]:
        """Return the union of all layouts of each name."""
        named: dict[str, list[Schema]] = {}
        for layout in self.layouts.values():
            named.setdefault(layout.schema.name, []).append(layout.schema)
        return {name: union(named[name]) for name in sorted(named)}


def make_snapshot(
    generation: int,
    layouts: Mapping[str, Layout],
    files: Files | Iterable[DataFile],
    sources: Mapping[str, Source],
) -> Snapshot:
    """Sort the files, and leave out layouts that no file has."""
    ordered = files if isinstance(files, Files) else Files.of(files)
    kept = {key: layouts[key] for key in sorted(ordered.layouts())}
    return Snapshot(generation, kept, ordered, sources)
