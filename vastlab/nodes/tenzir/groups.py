"""What a Tenzir node computes of a summary, layout by layout; of all else it sends the events."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from vastlab.arrow.schema import name_of
from vastlab.compile import tql
from vastlab.compile.groups import Groups
from vastlab.compile.tql_groups import NodeGrouping
from vastlab.expression.aggregates import Summary
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import Query
from vastlab.nodes.plan import bind
from vastlab.nodes.tenzir import conditions
from vastlab.nodes.tenzir.catalog import Catalog
from vastlab.types import Schema, Type, by_name

_MOST_BRANCHES = 64  # one inside the other


@dataclass(frozen=True, slots=True)
class _Branch:
    """The layout that a node groups, and what tells its events from all others."""

    layout: Schema
    condition: str
    grouping: NodeGrouping


@dataclass(frozen=True, slots=True)
class Branches:
    """The layouts that a node groups; their groups come as events with names of their own."""

    branches: tuple[_Branch, ...]
    mark: str

    @classmethod
    def of(cls, query: Query, summary: Summary, catalog: Catalog) -> Branches | None:
        """Decide which layouts a node groups; ``None`` if it is not worth asking."""
        found = tuple(_branches(query, summary, catalog))
        if not 0 < len(found) <= _MOST_BRANCHES:
            return None
        # The name is random, so that no event can imitate a group.
        return cls(found, f"vastlab_{secrets.token_hex(8)}_")

    def step(self, otherwise: str) -> str:
        """Write the step that groups events; those of other layouts take the other step."""
        text = otherwise
        for number, branch in reversed(tuple(enumerate(self.branches))):
            name = f"@name = {tql.quote(f'{self.mark}{number}')}"
            steps = " | ".join([*branch.grouping.steps, name])
            text = f"if {branch.condition} {{ {steps} }} else {{ {text} }}"
        return text

    def takes(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch holds groups."""
        return name_of(batch.schema).startswith(self.mark)

    def add(self, batch: pa.RecordBatch, groups: Groups) -> None:
        """Add a batch of groups to those of all layouts.

        Raises
        ------
        FormatError
            The node's values have other types than its catalog says.
        UsageError
            A field cannot be grouped or aggregated, or there are more groups than fit.
        """
        branch = self.branches[int(name_of(batch.schema).removeprefix(self.mark))]
        partial = branch.grouping.read(batch)
        if partial.num_rows and groups.grouping(branch.layout, branch.layout) is not None:
            groups.add(branch.layout, partial)


def _branches(query: Query, summary: Summary, catalog: Catalog) -> Iterator[_Branch]:
    taxonomy = query.taxonomy or Taxonomy()
    for name, alike in by_name(catalog.layouts).items():
        if not _can_be_told_apart(alike):
            continue
        for layout in alike:
            if bind(query, layout) is None:
                continue
            grouping = NodeGrouping.of(summary, layout, taxonomy)
            if grouping is not None:
                guard = f" and {conditions.guard(layout, alike)}" if len(alike) > 1 else ""
                yield _Branch(layout, f"@name == {tql.quote(name)}{guard}", grouping)


def _can_be_told_apart(alike: Iterable[Schema]) -> bool:
    """Whether the presence of fields tells which layout of a name an event has.

    Their types do not, since a null has none.
    """
    known: dict[tuple[str, ...], Type] = {}
    shapes: set[frozenset[tuple[str, ...]]] = set()
    for layout in alike:
        paths = frozenset(leaf.path for leaf in layout.leaves)
        if paths in shapes:
            return False
        shapes.add(paths)
        if any(known.setdefault(leaf.path, leaf.type) != leaf.type for leaf in layout.leaves):
            return False
    return not any(path[:depth] in known for path in known for depth in range(1, len(path)))
