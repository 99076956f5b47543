"""What a query reads: schemas, layouts and files, and its explanation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vastlab._lazy import datafusion
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.compile import masks
from vastlab.compile.datafusion import disjuncts, predicate
from vastlab.compile.groups import Groups
from vastlab.compile.pruning import Range, may_match, must_match
from vastlab.errors import CorruptFileError
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    Extractor,
    Meta,
    MetaExtractor,
    Operator,
    Predicate,
)
from vastlab.expression.checks import all_of
from vastlab.expression.literals import ListLiteral, Time
from vastlab.expression.resolve import resolve
from vastlab.expression.rewrite import predicates
from vastlab.nodes.base import Explanation, LayoutPlan, Query
from vastlab.store import layout as store_layout
from vastlab.store.checksums import VerifiedFile, verified
from vastlab.store.file_table import FileTable
from vastlab.store.files import Files
from vastlab.store.layout import DataFile, Layout
from vastlab.store.snapshot import Snapshot
from vastlab.table_slice import TableSlice
from vastlab.types import Kind, Paths, Schema


class Filters:
    """Compiles the expressions of one layout, each only once for all of its files."""

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

    The union of `disjuncts` is `bound`, and each of them prunes better than the whole. All tasks of
    one layout share `filters`. Of the leaves only `fields` are wanted, if not None; of the events,
    if `limit` is not 0, no more than that many, whichever come first in the file.
    """

    file: DataFile
    layout: Layout
    bound: Expr
    disjuncts: tuple[Expr, ...]
    filters: Filters = field(compare=False)
    fields: Paths | None = None
    limit: int = 0

    def narrowed(self, *conditions: Expr) -> Task:
        """Return the same for the events that satisfy these bound conditions, too."""
        return replace(
            self,
            bound=all_of((self.bound, *conditions)),
            disjuncts=tuple(all_of((expr, *conditions)) for expr in self.disjuncts),
            filters=Filters(self.layout.schema),
            limit=0,
        )


def bind(query: Query, schema: Schema) -> Expr | None:
    """Bind a query to one layout; ``None`` where it can have no answer there."""
    bound = resolve(query.expression, schema, query.taxonomy)
    if bound is None or bound == Constant(False):
        return None
    bounds = tuple(_bounds(query, schema))
    if not bounds:
        return bound
    operands = _operands(bound) + bounds
    kept = tuple(operand for operand in operands if operand != Constant(True))
    return And(kept) if len(kept) > 1 else kept[0]


def tasks(query: Query, layouts: Mapping[str, Layout], files: Iterable[DataFile]) -> Iterator[Task]:
    """Choose the files that may hold an answer, in the order given.

    What the manifest says to be true of all events of a file is left out of its expressions.
    """
    chooser = _Chooser(query, layouts)
    if isinstance(files, Files):
        return chooser.of_table(files)
    return (task for file in files if (task := chooser.of(file)) is not None)


_Parts = tuple[Expr, tuple[Expr, ...]]  # the bound expression, and its disjuncts
_FEW = 64  # files, for which masks are not worth it
_UNWANTED, _SINGLE = -2, -1


class _Chooser:
    """Chooses files for a query."""

    def __init__(self, query: Query, layouts: Mapping[str, Layout]) -> None:
        self._query = query
        self._layouts = layouts
        self._limit = 0 if query.newest else query.limit
        self._bound: dict[str, tuple[Expr, tuple[Expr, ...], Filters] | None] = {}
        self._shorten = _Shortener()

    def of(self, file: DataFile) -> Task | None:
        """Return what to read from a file, or None."""
        bound = self._bind(file.fingerprint)
        parts = None if bound is None else self._parts(*bound[:2], _Ranges(file.ranges))
        return None if parts is None else self._task(file, parts)

    def of_table(self, files: Files) -> Iterator[Task]:
        """Choose files by masks for the whole table; files for which all is the same share it."""
        classes = np.full(len(files.table), _UNWANTED)
        known: list[_Parts] = []
        for fingerprint in files.table.fingerprints:
            bound = self._bind(fingerprint) if fingerprint in self._layouts else None
            if bound is not None:
                self._classify(bound, files.table, fingerprint, classes, known)
        for row, file in files.select(classes != _UNWANTED):
            number = _SINGLE if row < 0 else int(classes[row])
            task = self.of(file) if number == _SINGLE else self._task(file, known[number])
            if task is not None:
                yield task

    def _classify(
        self,
        bound: tuple[Expr, tuple[Expr, ...], Filters],
        table: FileTable,
        fingerprint: str,
        classes: npt.NDArray[np.int64],
        known: list[_Parts],
    ) -> None:
        """Give files that have the same parts one number."""
        whole, disjuncts_, _ = bound
        rows, bounds = table.rows_of[fingerprint], table.bounds[fingerprint]
        may = [masks.may_match(expr, bounds, len(rows)) for expr in disjuncts_]
        wanted = np.flatnonzero(np.logical_or.reduce(may))
        if len(wanted) <= _FEW:
            classes[rows[wanted]] = _SINGLE
            return
        operands = {id(each): each for expr in (whole, *disjuncts_) for each in _operands(expr)}
        must = [masks.must_match(expr, bounds, len(rows)) for expr in operands.values()]
        firsts, numbers = _same([mask[wanted] for mask in (*may, *must)], len(wanted))
        classes[rows[wanted]] = len(known) + numbers
        for file in table.files(rows[wanted[firsts]]):
            parts = self._parts(whole, disjuncts_, _Ranges(file.ranges))
            if parts is None:
                raise AssertionError("a mask that differs from the rule for one file")
            known.append(parts)

    def _bind(self, fingerprint: str) -> tuple[Expr, tuple[Expr, ...], Filters] | None:
        if fingerprint not in self._bound:
            schema = self._layouts[fingerprint].schema
            bound = bind(self._query, schema)
            self._bound[fingerprint] = (
                None if bound is None else (bound, disjuncts(bound), Filters(schema))
            )
        return self._bound[fingerprint]

    def _parts(
        self, bound: Expr, parts: tuple[Expr, ...], ranges: Mapping[str, Range]
    ) -> _Parts | None:
        fitting = tuple(expr for expr in parts if may_match(expr, ranges))
        if not fitting:
            return None
        whole = self._shorten(bound, ranges)
        if whole == Constant(True):
            return whole, (whole,)  # the parts have no event in common
        return whole, tuple(self._shorten(expr, ranges) for expr in fitting)

    def _task(self, file: DataFile, parts: _Parts) -> Task:
        bound = self._bound[file.fingerprint]
        if bound is None:
            raise AssertionError("a file of a layout without answers")
        layout = self._layouts[file.fingerprint]
        return Task(file, layout, *parts, bound[2], self._query.fields, self._limit)


def _operands(expr: Expr) -> tuple[Expr, ...]:
    return expr.operands if isinstance(expr, And) else (expr,)


def _same(
    masks_: Sequence[npt.NDArray[np.bool_]], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where each combination of masks occurs first, and the numbers of all of them."""
    numbers = np.zeros(size, np.int64)
    for mask in masks_:
        numbers = 2 * numbers + mask
        if numbers.max() > _MOST_NUMBERS:
            numbers = np.unique(numbers, return_inverse=True)[1]
    _, firsts, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    return firsts, numbers


_MOST_NUMBERS = 1 << 60


def span(query: Query, snapshot: Snapshot) -> int | None:
    """Return how long a time the files of a query cover within its bounds, in nanoseconds."""
    chosen = list(tasks(query, snapshot.layouts, snapshot.files))
    timed = [task.file for task in chosen if task.layout.schema.event_time is not None]
    if not timed:
        return None
    first, last = min(file.first for file in timed), max(file.last for file in timed)
    if query.since is not None:
        first = max(first, query.since)
    if query.until is not None:
        last = min(last, query.until - 1)
    return max(last - first + 1, 1)


class _Shortener:
    """Leaves out operands that every event of a file satisfies; equal results are one object."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[Expr, Expr]] = {}

    def __call__(self, expr: Expr, ranges: Mapping[str, Range]) -> Expr:
        operands = _operands(expr)
        kept = tuple(operand for operand in operands if not must_match(operand, ranges))
        if len(kept) == len(operands):
            return expr
        # By identity, as in `Filters`; what is kept belongs to `expr`, which is held here.
        key = tuple(map(id, (expr, *kept)))
        if key not in self._known:
            self._known[key] = expr, all_of(kept)
        return self._known[key][1]


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


_ROW = "#row"
_GROUPED_AT_ONCE = 65_536  # events
# In one partition nothing is handed to threads of the engine, which may not call Python.
_ONE_PARTITION = {"datafusion.execution.target_partitions": "1"}


class LocalFilter:
    """Keeps the events that match the expression and the bounds of a query."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._context = datafusion.SessionContext(datafusion.SessionConfig(_ONE_PARTITION))
        self._known: dict[Schema, tuple[Expr, datafusion.Expr] | None] = {}

    def keep(self, part: TableSlice) -> TableSlice | None:
        """Return the events of a slice that match, or ``None`` if there are none."""
        rows = self.rows(part)
        if not len(rows):
            return None
        if len(rows) == part.num_rows:
            return part
        return TableSlice(convert.normalise(part.to_pyarrow()).take(pa.array(rows)))

    def rows(self, part: TableSlice) -> npt.NDArray[np.int64]:
        """Return the positions of the events of a slice that match, in order."""
        batch = convert.normalise(part.to_pyarrow())
        schema = arrow_schema.from_arrow(batch.schema)
        if schema not in self._known:
            bound = bind(self._query, schema)
            self._known[schema] = None if bound is None else (bound, predicate(bound, schema))
        known = self._known[schema]
        if known is None:
            return np.empty(0, np.int64)
        places = np.arange(len(batch))
        bound, condition = known
        if bound == Constant(True):
            return places
        flat = convert.flatten(batch)
        # What is filtered here has only just arrived.
        arrived = pa.array([time.time_ns()] * len(batch), pa.timestamp("ns"))
        flat = flat.append_column(arrow_schema.IMPORT_TIME, arrived)
        flat = flat.append_column(_ROW, pa.array(places))
        found = self._context.read_batch(flat).filter(condition).select(f'"{_ROW}"').collect()
        return np.concatenate([places[:0], *(part.column(0).to_numpy() for part in found)])


_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION})


RowGroups = Callable[[Task], tuple[int, int]]


def explain(query: Query, snapshot: Snapshot, row_groups: RowGroups | None = None) -> Explanation:
    """Plan a query without running it; files that `row_groups` cannot count are one group."""
    layouts = sorted(
        snapshot.layouts.values(), key=lambda layout: (layout.schema.name, layout.fingerprint)
    )
    needed: dict[str, list[Task]] = {}
    for task in tasks(query, snapshot.layouts, snapshot.files):
        needed.setdefault(task.layout.fingerprint, []).append(task)
    numbers = snapshot.files.numbers()
    plans = (
        _plan_layout(
            query,
            layout,
            needed.get(layout.fingerprint, []),
            numbers[layout.fingerprint],
            row_groups,
        )
        for layout in layouts
    )
    return Explanation(str(query.expression), tuple(plans))


def _plan_layout(
    query: Query, layout: Layout, needed: list[Task], number: int, row_groups: RowGroups | None
) -> LayoutPlan:
    chosen, all_groups = len(needed), number
    if row_groups is not None:
        counted = [row_groups(task) for task in needed]
        chosen, all_groups = sum(read for read, _ in counted), sum(number for _, number in counted)
    bound = bind(query, layout.schema)
    return LayoutPlan(
        schema=layout.schema.name,
        bound=None if bound is None else str(bound),
        files=len(needed),
        all_files=number,
        row_groups=chosen,
        all_row_groups=all_groups,
        events=sum(task.file.rows for task in needed),
    )


def count_row_groups(task: Task) -> tuple[int, int]:
    """Return how many row groups of a file would be read, of how many."""
    try:
        file = verified(task.file) if any(task.file.tail) else None
        metadata = pq.read_metadata(task.file.path)
    except (OSError, pa.ArrowException) as error:
        raise CorruptFileError(f"cannot read {task.file.path}: {error}") from error
    return row_groups_of(task, metadata, file)


def row_groups_of(
    task: Task, metadata: pq.FileMetaData, file: VerifiedFile | None
) -> tuple[int, int]:
    """Do the same for a file that was opened; it is None if it has no checksums."""
    kinds = {leaf.column: leaf.type.kind for leaf in task.layout.schema.leaves}
    kinds[IMPORT_TIME] = Kind.TIME
    groups = [
        dict(_group_ranges(metadata.row_group(i), kinds)) for i in range(metadata.num_row_groups)
    ]
    chosen: set[int] = set()
    for expr in task.disjuncts:
        filtered = columns(expr) if file is not None and literals(expr) <= MOST_LITERALS else set()
        if file is not None:
            file.verify_filters(filtered)
        for i, ranges in enumerate(groups):
            if may_match(expr, _with_filters(ranges, file, i, filtered)):
                chosen.add(i)
    return len(chosen), len(groups)


def _with_filters(
    ranges: Mapping[str, Range], file: VerifiedFile | None, group: int, names: set[str]
) -> Mapping[str, Range]:
    """Add what the Bloom filters of a row group know to its statistics."""
    known = dict(ranges)
    for name in names:
        if file is not None and file.has_filter(group, name):
            contains = partial(file.may_contain, group, name)
            known[name] = replace(known.get(name, Range()), may_contain=contains)
    return known


MOST_LITERALS = 20  # with more of them, asking the filters costs more than reading the columns


def columns(expr: Expr) -> set[str]:
    """Return the stored columns that an expression compares."""
    found = set()
    for part in predicates(expr):
        match part.extractor:
            case Column(leaf):
                found.add(leaf.column)
            case MetaExtractor():
                found.add(IMPORT_TIME)
    return found


def literals(expr: Expr) -> int:
    """Count the values that an expression compares with."""
    return sum(
        len(part.literal.items) if isinstance(part.literal, ListLiteral) else 1
        for part in predicates(expr)
    )


def _group_ranges(group: Any, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Range]]:
    for i in range(group.num_columns):
        chunk = group.column(i)
        # Lists and records have several chunks, under longer paths.
        kind = kinds.get(chunk.path_in_schema)
        statistics = chunk.statistics
        if kind is None or statistics is None or not statistics.has_null_count:
            continue
        low, high = _min_max(statistics, kind) if statistics.has_min_max else (None, None)
        yield chunk.path_in_schema, Range(low, high, statistics.null_count, group.num_rows)


def _min_max(statistics: Any, kind: Kind) -> tuple[Any, Any]:
    if kind in _NUMBERS:
        return statistics.min_raw, statistics.max_raw
    if kind in (Kind.IP, Kind.STRING):
        return statistics.min, statistics.max  # also of a text that was cut, a bound
    # Writers leave NaN out, each in a way of its own.
    return None, None


def group_batches(groups: Groups, schema: Schema, batches: Sequence[pa.RecordBatch]) -> None:
    """Group flat events of one layout that are in memory."""
    grouping = groups.grouping(schema, schema)
    if grouping is not None and batches:
        context = datafusion.SessionContext(datafusion.SessionConfig(_ONE_PARTITION))
        groups.add(schema, grouping.partial(context.read_batches(batches)))


async def group_export(events: AsyncGenerator[TableSlice, None], groups: Groups) -> Groups:
    """Add the events of an export to groups as they arrive."""
    pending: dict[Schema, list[pa.RecordBatch]] = {}

    def add(schema: Schema) -> None:
        group_batches(groups, schema, pending.pop(schema))

    async with aclosing(events) as parts:
        async for part in parts:
            batch = convert.normalise(part.to_pyarrow())
            waiting = pending.setdefault(part.schema, [])
            waiting.append(convert.flatten(batch))
            if sum(map(len, waiting)) >= _GROUPED_AT_ONCE:
                await asyncio.to_thread(add, part.schema)
    for schema in tuple(pending):
        await asyncio.to_thread(add, schema)
    return groups
