"""What a VAST node is asked so that every event that matches is returned: pure, no process.

Most schemas are asked with the expression itself. Where the indexes of a schema cannot answer
it, the node is asked for all events of that schema that may match, and they are filtered here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from vastlab.compile import vast as compiler
from vastlab.expression.ast import (
    And,
    Constant,
    Expr,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.checks import all_of, any_of, of_schema
from vastlab.expression.literals import Time
from vastlab.expression.rewrite import map_predicates, normalise, predicates
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import Query
from vastlab.nodes.plan import LocalFilter, bind
from vastlab.nodes.vast.indexes import Answer, Asked
from vastlab.table_slice import TableSlice
from vastlab.types import Kind, Schema, by_name

_WIDE = (Kind.LIST, Kind.MAP, Kind.STRING, Kind.BLOB)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a node is asked, and what remains to be done here.

    Parameters
    ----------
    exact
        The query for all schemas whose indexes can answer it; ``None`` if there are none.
    filtered
        The query for each other schema, by name.
    untimed
        Those of `filtered` without an event time, so that only the node can apply bounds.
    known
        The known schemas, where others may come while the query runs and this matters.
    counting
        Where events are only counted: one small field of each schema in `exact`, to leave out
        all others; empty if a schema has no field that can be named.
    """

    query: Query
    exact: Expr | None
    filtered: tuple[tuple[str, Expr], ...] = ()
    untimed: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    counting: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """The whole question; ``None`` where nothing has to be asked."""
        parts = [part for part in (self.exact, self.inexact) if part is not None]
        return str(normalise(Or(tuple(parts)) if len(parts) > 1 else parts[0])) if parts else None

    @property
    def inexact(self) -> Expr | None:
        """The question about the schemas that are filtered here; ``None`` without such."""
        groups: dict[Expr, list[str]] = {}
        for name, expr in self.filtered:
            groups.setdefault(expr, []).append(name)
        parts = [
            all_of([any_of(of_schema(name) for name in names), expr])
            for expr, names in groups.items()
        ]
        return any_of(parts) if parts else None

    def asked(self, name: str) -> str | None:
        """Return what the node is asked about a schema that is filtered here."""
        own = tuple(pair for pair in self.filtered if pair[0] == name)
        return replace(self, exact=None, filtered=own).text


def plans(query: Query, schemas: Iterable[Schema], *, counting: bool = False) -> tuple[Plan, ...]:
    """Decide how to ask: by one plan, or by several of which each finds other events.

    The bounds of a live query are applied here.
    """
    layouts = by_name(schemas)
    whole = _plan(query, layouts, counting)
    if not whole.filtered or query.is_live:
        return (whole,)
    # Only the node knows import times: a condition on one cannot be filtered here.
    return tuple(_plan(part, layouts, counting) for part in by_import_time(query))


def without(query: Query, names: Iterable[str]) -> Query:
    """Leave out the events of some schemas."""
    others = [of_schema(name, Operator.NE) for name in names]
    return replace(query, expression=normalise(all_of([*others, query.expression])))


def _plan(query: Query, named: Mapping[str, list[Schema]], counting: bool) -> Plan:
    live, bounded = query.is_live, query.is_bounded
    asked = replace(query, since=None, until=None) if live else query
    sent = compiler.to_vast(query.expression, chain.from_iterable(named.values()))
    filtered = dict(_filtered(asked, Asked(sent), named))
    whole = {name: layouts for name, layouts in named.items() if name not in filtered}
    untimed = {n for n in filtered if any(layout.event_time is None for layout in named[n])}
    return Plan(
        query,
        _exact(asked, sent, whole, filtered),
        tuple(filtered.items()),
        frozenset(untimed if bounded and not live else ()),
        frozenset(named if live and (bounded or filtered) else ()),
        _small(chain.from_iterable(whole.values())) if counting else (),
    )


def _filtered(
    query: Query, asked: Asked, named: Mapping[str, list[Schema]]
) -> Iterator[tuple[str, Expr]]:
    """Find the schemas that the node cannot answer for, and what it can be asked there."""
    taxonomy, live = query.taxonomy or Taxonomy(), query.is_live
    for name, layouts in sorted(named.items()):
        parts = [
            question.relaxed(layouts, taxonomy, live=live)
            for question in (asked, Asked(_bounds(query, layouts)))
        ]
        exact = max(answer for _, answer in parts) is Answer.EXACT
        if not exact and any(bind(query, layout) is not None for layout in layouts):
            yield name, normalise(all_of(part for part, _ in parts))


def _exact(
    query: Query, sent: Expr, whole: Mapping[str, list[Schema]], filtered: Iterable[str]
) -> Expr | None:
    """Write the question for all schemas but some; a live one is also for those to come."""
    others = [of_schema(name, Operator.NE) for name in filtered]
    layouts = chain.from_iterable(whole.values())
    live = query.is_live
    if others and not live and all(bind(query, layout) is None for layout in layouts):
        return None
    if live and _names_concept(query.expression, query.taxonomy or Taxonomy()):
        # A node knows no concepts there: of schemas that are new, everything is filtered here.
        sent = any_of([sent, all_of(of_schema(name, Operator.NE) for name in whole)])
    bounds: list[Expr] = []
    if query.is_bounded:
        parts = (all_of((of_schema(n), _bounds(query, own))) for n, own in whole.items())
        bounds.append(any_of(parts))
    return normalise(all_of((*others, sent, *bounds)))


def _names_concept(expr: Expr, taxonomy: Taxonomy) -> bool:
    return any(
        isinstance(predicate.extractor, FieldExtractor)
        and (
            predicate.extractor.name in taxonomy.concepts
            or predicate.extractor.name in taxonomy.models
        )
        for predicate in predicates(expr)
    )


def _bounds(query: Query, layouts: Iterable[Schema]) -> Expr:
    """Write the bounds of the event time for the layouts of one schema."""
    if not query.is_bounded:
        return Constant(True)
    parts = []
    for layout in layouts:
        leaf = layout.event_time
        subject = (
            MetaExtractor(Meta.IMPORT_TIME)
            if leaf is None
            else FieldExtractor(f"{layout.name}.{leaf.name}")
        )
        since = [] if query.since is None else [Predicate(subject, Operator.GE, Time(query.since))]
        until = [] if query.until is None else [Predicate(subject, Operator.LT, Time(query.until))]
        parts.append(all_of([*since, *until]))
    return any_of(parts)


# --- import times ---------------------------------------------------------------------------


def by_import_time(query: Query) -> Iterator[Query]:
    """Split a query so that conditions on the import time are joined to all others by ``and``.

    Events have no import time, so that only the node can test it. Every event matches at most one
    of the queries.

    >>> from vastlab.expression import parse
    >>> for part in by_import_time(Query(parse("#import_time > 2023-01-01 || a == 1"))):
    ...     print(part.expression)
    #import_time > 2023-01-01
    a == 1 && #import_time <= 2023-01-01
    """
    operands = (
        query.expression.operands if isinstance(query.expression, And) else (query.expression,)
    )
    inner = [o for o in operands if not _is_import_time(o)]
    nested = next((p for o in inner for p in predicates(o) if _is_import_time(p)), None)
    if nested is None:
        yield query
        return
    for condition in (nested, replace(nested, operator=nested.operator.complement)):
        holds = Constant(condition is nested)
        rest = map_predicates(
            And((*inner, Constant(True))),
            lambda p, h=holds: h if p == nested else p,  # type: ignore[misc]  # no type for h
        )
        import_times = [o for o in operands if _is_import_time(o)]
        expr = normalise(And((rest, *import_times, condition)))
        if expr != Constant(False):
            yield from by_import_time(replace(query, expression=expr))


def _is_import_time(expr: Expr) -> bool:
    return (
        isinstance(expr, Predicate)
        and expr.extractor == MetaExtractor(Meta.IMPORT_TIME)
        and expr.operator.is_ordering
    )


# --- what is filtered here ------------------------------------------------------------------


class Filter:
    """Filters what a node returned for a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan, query = plan, plan.query
        self._filtered = {name for name, _ in plan.filtered}
        self._live = query.is_live
        self._bounded = self._live and query.is_bounded
        # The node has looked at the import time of what is stored.
        here = query.expression
        if not self._live:
            here = normalise(
                map_predicates(here, lambda p: Constant(True) if _is_import_time(p) else p)
            )
        self._whole = LocalFilter(replace(query, expression=here))
        self._unbounded = LocalFilter(replace(query, expression=here, since=None, until=None))
        self._bounds = LocalFilter(replace(query, expression=Constant(True)))

    def keep(self, part: TableSlice) -> TableSlice | None:
        """Return the events of a slice that match, or ``None`` if there are none."""
        if part.name in self._filtered:
            return (self._unbounded if part.name in self._plan.untimed else self._whole).keep(part)
        if not self._live or not self._plan.known:
            return part
        if part.name not in self._plan.known:
            return self._whole.keep(part)
        return self._bounds.keep(part) if self._bounded else part


# --- counting -------------------------------------------------------------------------------


def _small(layouts: Iterable[Schema]) -> tuple[str, ...]:
    """Name one small field of each layout."""
    names: dict[str, None] = {}
    for layout in layouts:
        # A time is eight bytes; any other field counts as well.
        leaves = sorted(layout.leaves, key=lambda leaf: leaf.type.kind in _WIDE)
        chosen = layout.event_time or next(iter(leaves), None)
        if chosen is None or not _PLAIN_NAME.fullmatch(chosen.name):
            return ()
        names[chosen.name] = None
    return tuple(names)
