"""What every node can do, and what a query says to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from vastlab._text import plain
from vastlab.expression.ast import Constant, Expr
from vastlab.expression.taxonomy import Taxonomy
from vastlab.store.ingest import IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

_EVERYTHING: Expr = Constant(True)


class ExportMode(Enum):
    """Which events an export returns.

    Examples
    --------
    >>> ExportMode("unified") is ExportMode.UNIFIED
    True
    """

    HISTORICAL = "historical"
    """What is stored."""
    CONTINUOUS = "continuous"
    """What arrives from now on."""
    UNIFIED = "unified"
    """First what is stored, then what arrives."""


@dataclass(frozen=True, slots=True)
class Query:
    """Everything that a node must know to answer.

    Parameters
    ----------
    expression
        Which events: parsed, parameters bound, relative times fixed.
    mode
        Stored events, arriving events, or both.
    limit
        At most so many events; 0 for all.
    since, until
        Bounds of the event time in nanoseconds, the second one exclusive.
    taxonomy
        The concepts and models that the expression may name.
    """

    expression: Expr = _EVERYTHING
    mode: ExportMode = ExportMode.HISTORICAL
    limit: int = 0
    since: int | None = None
    until: int | None = None
    taxonomy: Taxonomy | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """How far work is that somebody waits for.

    Parameters
    ----------
    doing
        What is being done; empty where the events say it.
    events
        How many events there are so far; None where that cannot be known.
    share
        Which share of the work is done, where that is known.

    Examples
    --------
    >>> Step("reading 4 logs", events=9000, share=0.7).events
    9000
    """

    doing: str = ""
    events: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class LayoutPlan:
    """What a query does with one layout of one schema.

    Parameters
    ----------
    schema
        The schema's name.
    bound
        The expression as it is bound to the layout; ``None`` where nothing binds.
    files, all_files
        How many files would be read, of how many.
    row_groups, all_row_groups
        How many row groups of these files would be read, of how many.
    events
        The number of events in the files that would be read.
    """

    schema: str
    bound: str | None
    files: int
    all_files: int
    row_groups: int
    all_row_groups: int
    events: int


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """How a node would answer a query.

    Parameters
    ----------
    expression
        The expression in its canonical form.
    layouts
        One plan for each layout that the node holds.

    Examples
    --------
    >>> plans = (
    ...     LayoutPlan("zeek.dns", None, 0, 1, 0, 0, 0),
    ...     LayoutPlan("zeek.conn", "id.resp_p == 22", 1, 3, 2, 4, 900),
    ... )
    >>> Explanation("resp_p == 22", plans)
    resp_p == 22
      zeek.conn: id.resp_p == 22
        reads 1 of 3 files, 2 of 4 row groups, 900 events
      nothing can match in zeek.dns
    """

    expression: str
    layouts: tuple[LayoutPlan, ...]

    def __repr__(self) -> str:
        matching = [plan for plan in self.layouts if plan.bound is not None]
        # What reads something comes first.
        lines = [_read(plan) for plan in sorted(matching, key=lambda plan: not plan.files)]
        others = dict.fromkeys(plan.schema for plan in self.layouts if plan.bound is None)
        if others:
            lines.append(f"  nothing can match in {plain(', '.join(others))}")
        return "\n".join([plain(self.expression), *lines])


def _read(plan: LayoutPlan) -> str:
    return (
        f"  {plain(plan.schema)}: {plain(str(plan.bound))}\n"
        f"    reads {plan.files} of {plan.all_files} files, "
        f"{plan.row_groups} of {plan.all_row_groups} row groups, {plan.events} events"
    )


class Node(Protocol):
    """What stands behind an endpoint."""

    def export(self, query: Query) -> AsyncGenerator[TableSlice, None]:
        """Return the events batch by batch; what arrives counts from this call on."""
        ...

    async def counts(self, query: Query) -> dict[str, int]:
        """Return the number of events per schema, without schemas that have none."""
        ...

    async def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        ...

    async def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        ...

    async def ingest(
        self,
        sources: Any,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        force: bool = False,
        progress: Any = None,
    ) -> IngestReport:
        """Add the events of files."""
        ...

    async def explain(self, query: Query) -> Explanation:
        """Say how the node would answer."""
        ...

    async def aclose(self) -> None:
        """End everything that runs and let go of everything held."""
        ...
