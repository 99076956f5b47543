"""From a query and a snapshot to the files that have to be read. Pure: no file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import datafusion

from vastlab.compile.datafusion import arms, predicate
from vastlab.compile.pruning import Range, may_match
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    Extractor,
    Meta,
    MetaExtractor,
    Predicate,
)
from vastlab.expression.literals import Time
from vastlab.expression.operators import Operator
from vastlab.expression.resolve import resolve
from vastlab.nodes.base import Query
from vastlab.store import layout as store_layout
from vastlab.store.layout import DataFile, Layout
from vastlab.types import Schema


class Filters:
    """Compiles the expressions of one layout, each only once for all of its files.

    Parameters
    ----------
    schema
        What they are bound to.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._compiled: dict[int, tuple[Expr, datafusion.Expr]] = {}

    def of(self, expr: Expr) -> datafusion.Expr:
        """Return the filter for an expression."""
        # By identity: to hash thousands of values for each file would cost what is saved.
        known = self._compiled.get(id(expr))
        if known is None:
            known = self._compiled[id(expr)] = expr, predicate(expr, self._schema)
        return known[1]


@dataclass(frozen=True, slots=True)
class Task:
    """What to read from one file.

    Parameters
    ----------
    file, layout
        The file and its layout.
    bound
        The expression, bound to the layout.
    arms
        Disjoint expressions whose union is `bound`: each prunes better than the whole.
    filters
        Shared by the tasks of one layout.
    """

    file: DataFile
    layout: Layout
    bound: Expr
    arms: tuple[Expr, ...]
    filters: Filters = field(compare=False)


def bind(query: Query, schema: Schema) -> Expr | None:
    """Bind a query to one layout; ``None`` where it can have no answer there."""
    bound = resolve(query.expression, schema, query.taxonomy)
    if bound is None or bound == Constant(False):
        return None
    bounds = tuple(_bounds(query, schema))
    if not bounds:
        return bound
    operands = (bound.operands if isinstance(bound, And) else (bound,)) + bounds
    kept = tuple(operand for operand in operands if operand != Constant(True))
    return And(kept) if len(kept) > 1 else kept[0]


def tasks(query: Query, layouts: Mapping[str, Layout], files: Iterable[DataFile]) -> Iterator[Task]:
    """Choose the files that may hold an answer, in the order given."""
    known: dict[str, tuple[Expr, tuple[Expr, ...], Filters] | None] = {}
    for file in files:
        layout = layouts[file.fingerprint]
        if file.fingerprint not in known:
            bound = bind(query, layout.schema)
            known[file.fingerprint] = (
                None if bound is None else (bound, arms(bound), Filters(layout.schema))
            )
        compiled = known[file.fingerprint]
        if compiled is None:
            continue
        bound, parts, filters = compiled
        ranges = _Ranges(file.ranges)
        fitting = tuple(arm for arm in parts if may_match(arm, ranges))
        if fitting:
            yield Task(file, layout, bound, fitting, filters)


class _Ranges(Mapping[str, Range]):
    """The manifest's bounds as the pruning wants them; a query looks at few of the columns."""

    def __init__(self, ranges: Mapping[str, store_layout.Range]) -> None:
        self._ranges = ranges

    def __getitem__(self, column: str) -> Range:
        known = self._ranges[column]
        return Range(known.minimum, known.maximum, known.null_count, known.num_rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)


def _bounds(query: Query, schema: Schema) -> Iterator[Predicate]:
    leaf = schema.event_time
    moment: Extractor = MetaExtractor(Meta.IMPORT_TIME) if leaf is None else Column(leaf)
    if query.since is not None:
        yield Predicate(moment, Operator.GE, Time(query.since))
    if query.until is not None:
        yield Predicate(moment, Operator.LT, Time(query.until))
