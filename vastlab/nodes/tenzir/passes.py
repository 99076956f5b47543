"""The pipelines that an answer of a Tenzir node is made of, and what becomes of what they send."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from vastlab.arrow import convert
from vastlab.arrow.schema import name_of
from vastlab.nodes.base import ExportMode, Query
from vastlab.nodes.plan import LocalFilter
from vastlab.nodes.tenzir import conditions
from vastlab.nodes.tenzir.catalog import Catalog, InlineCatalog
from vastlab.nodes.tenzir.client import Aligner
from vastlab.nodes.tenzir.conditions import EmptyLists, TypeProbes, Unlisted, put_back
from vastlab.nodes.tenzir.groups import Branches
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_FEW = 8_192  # events for which probes cost more than they save
_MOST_HELD = 262_144  # events that wait for the catalog


class OtherCatalogError(Exception):
    """The catalog is another one than was thought; which one it is, if that is known."""

    def __init__(self, catalog: Catalog | None) -> None:
        super().__init__()
        self.catalog = catalog


class Confirmation:
    """Holds events back until the catalog that the pipeline was written for is confirmed."""

    def __init__(self, known: Catalog, learn: Callable[[Catalog], None]) -> None:
        self.inline = InlineCatalog.make()
        self.held: list[pa.RecordBatch] = []
        self.is_open = True
        self._known = known
        self._learn = learn

    def take(self, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        """Take what arrived, and return what may be used."""
        if not self.is_open:
            return [batch]
        if name_of(batch.schema) == self.inline.name:
            catalog = self.inline.read(batch)
            self._learn(catalog)
            if catalog.layouts != self._known.layouts:
                raise OtherCatalogError(catalog)
            self.is_open, held, self.held = False, self.held, []
            return held
        self.held.append(batch)
        if sum(part.num_rows for part in self.held) > _MOST_HELD:
            raise OtherCatalogError(None)
        return []


class Pass:
    """One pipeline, whose events are restored to their layouts; events of others are filtered."""

    def __init__(
        self,
        query: Query,
        catalog: Catalog,
        unlisted: Unlisted,
        steps: list[str],
        *,
        probes: TypeProbes | None = None,
        lists: EmptyLists | None = None,
        confirmation: Confirmation | None = None,
        branches: Branches | None = None,
    ) -> None:
        self.groups: deque[pa.RecordBatch] = deque()
        """The groups that arrived."""
        self.urgent = None if confirmation is None else confirmation.inline.name
        self._catalog, self._unlisted, self._steps = catalog, unlisted, steps
        self._probes, self._lists, self._confirmation = probes, lists, confirmation
        self._branches = branches
        self._aligner, self._local = Aligner.of(catalog.layouts), LocalFilter(query)

    def pipeline(self, send: str) -> str:
        """Write the pipeline, given the step that sends events."""
        steps = list(self._steps)
        if self._lists is not None:
            steps += self._lists.steps(self._unlisted.mark)
        if self._confirmation is not None:
            steps.append(self._confirmation.inline.step())
        if self._probes is not None:
            prepare, *rest = self._probes.steps(self._catalog, send)
        else:
            # Events of each shape have a stream of their own, which never has to wait for a type.
            prepare, rest = "drop_null_fields", [f"group {conditions.SHAPE} {{ {send} }}"]
        if self._branches is not None:
            prepare = self._branches.step(prepare)
        return " | ".join([*steps, prepare, *rest])

    def take(self, batch: pa.RecordBatch) -> Iterator[TableSlice]:
        """Return the events of a batch, or those that it confirms."""
        batches = [batch] if self._confirmation is None else self._confirmation.take(batch)
        return self._selected(batches)

    def held(self) -> Iterator[TableSlice]:
        """Return the events that are not confirmed."""
        return self._selected(() if self._confirmation is None else self._confirmation.held)

    def end(self) -> None:
        """Raise where the pipeline ended before the catalog was confirmed."""
        if self._confirmation is not None and self._confirmation.is_open:
            raise OtherCatalogError(None)

    def _selected(self, batches: Iterable[pa.RecordBatch]) -> Iterator[TableSlice]:
        for batch in batches:
            if self._branches is not None and self._branches.takes(batch):
                self.groups.append(batch)
                continue
            events = batch if self._probes is None else self._probes.remove(batch)
            if events is None:
                continue
            events, lengths = (events, {}) if self._lists is None else self._lists.take(events)
            name = self._unlisted.name(name_of(events.schema))
            if name is None:
                yield TableSlice(put_back(self._aligner.align(events), lengths))
            elif kept := self._local.keep(TableSlice(convert.normalise(events, name))):
                yield kept


def stored_passes(
    query: Query, catalog: Catalog, confirmation: Confirmation | None = None
) -> deque[Pass]:
    """Plan how to get what is stored, and what is only in the node's memory."""
    known, unlisted = conditions.where(query, catalog.layouts), Unlisted.of(catalog)
    probes = None
    if 0 < query.limit < _FEW:
        # A program that stops by itself leaves the processor to us; what is filtered here
        # would not count.
        passes = [unlisted.select_unlisted()]
        if known is not None:
            passes.insert(0, [*unlisted.select_listed(known), f"head {query.limit}"])
    else:
        passes = [unlisted.select(known)]
        probes = _probes(query, catalog.layouts)
    # The first one tells whether the catalog is right.
    confirmations = (confirmation, *(None for _ in passes[1:]))
    return deque(
        Pass(query, catalog, unlisted, ["export", *steps], probes=probes, confirmation=each)
        for steps, each in zip(passes, confirmations, strict=True)
    )


def grouping_pass(
    query: Query, catalog: Catalog, branches: Branches, confirmation: Confirmation | None
) -> Pass:
    """Plan how to get groups, and the events that are not grouped by the node."""
    unlisted = Unlisted.of(catalog)
    steps = ["export", *unlisted.select(conditions.where(query, catalog.layouts))]
    grouped = {branch.layout for branch in branches.branches}
    others = [layout for layout in catalog.layouts if layout not in grouped]
    probes = _probes(query, others)
    return Pass(
        query, catalog, unlisted, steps, probes=probes, confirmation=confirmation, branches=branches
    )


def _probes(query: Query, layouts: Iterable[Schema]) -> TypeProbes | None:
    return TypeProbes.of(
        layout for layout in layouts if conditions.where(query, (layout,)) is not None
    )


def live_pass(query: Query, catalog: Catalog) -> Pass:
    retro = ", retro=true" if query.mode is ExportMode.UNIFIED else ""
    unlisted = Unlisted.of(catalog)
    steps = unlisted.select(conditions.where(query, catalog.layouts))
    steps.insert(0, f"export live=true{retro}")
    return Pass(query, catalog, unlisted, steps, lists=EmptyLists.of(catalog.layouts))
