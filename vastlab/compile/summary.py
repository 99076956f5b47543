"""Groups and aggregates, compiled for DataFusion: partial results that can be merged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import pyarrow as pa

from vastlab import _text
from vastlab._lazy import col, datafusion, lit
from vastlab._lazy import functions as f
from vastlab.arrow import render
from vastlab.arrow.schema import field_to_arrow
from vastlab.arrow.types import list_parts
from vastlab.errors import UsageError
from vastlab.expression.aggregates import TIME, Aggregate, Function, Summary, field_of
from vastlab.expression.ast import Meta, MetaExtractor
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Leaf, Schema, Type

FIRST = -(2**63)
"""The first of all times, in nanoseconds."""

_WEEK = 7 * 86_400 * 10**9  # nanoseconds
_MONDAY = 4 * 86_400 * 10**9  # 1970-01-05
_HALF = 2**32  # integers are added in two halves, so that no sum overflows
_AS_TEXT = frozenset({Kind.ENUM, Kind.SUBNET})  # of which the engine cannot compare the values


Bounds = Mapping[str, tuple[int, int]]
_State = tuple[str, "datafusion.Expr"]  # a column of a partial result, and how it is computed


def _merge_lists(lists: datafusion.Expr) -> datafusion.Expr:
    return f.array_distinct(f.flatten(f.array_agg(lists, filter=lists.is_not_null())))


_MERGE: dict[str, Callable[[datafusion.Expr], datafusion.Expr]] = {
    "sum": lambda state: f.sum(state),
    "min": lambda state: f.min(state),
    "max": lambda state: f.max(state),
    "any": lambda state: f.bool_or(state),
    "all": lambda state: f.bool_and(state),
    "list": _merge_lists,
}


def origin(every: int) -> int:
    """Return a time at which a bucket begins: weeks begin on Mondays."""
    return _MONDAY if every % _WEEK == 0 else 0


class Grouping:
    """How the events of one layout are grouped.

    Parameters
    ----------
    summary
        What is asked for.
    schema
        The layout.
    taxonomy
        The concepts that may be named.

    Raises
    ------
    UsageError
        A field is ambiguous, or of a type that cannot be grouped or aggregated.
    """

    def __init__(self, summary: Summary, schema: Schema, taxonomy: Taxonomy) -> None:
        self.schema = schema
        self.missing: str | None = None
        """The name of a field to group by that the layout lacks."""
        self.types: dict[str, Type] = {}
        """The types of keys and values in partial results."""
        self.columns: frozenset[str] = frozenset()
        """The columns of the events that are read."""
        self.keys: list[tuple[str, tuple[Leaf, ...]]] = []
        """The columns of keys, and of which fields; none for the name of the schema."""
        self.values: list[tuple[str, Function, tuple[Leaf, ...]]] = []
        """The columns of aggregates, what is computed, and of which fields; none for events."""
        self._groups: list[datafusion.Expr] = []
        self._states: list[_State] = [("n.sum", f.count(lit(1)))]
        self._added: dict[str, tuple[datafusion.Expr, tuple[Leaf, ...]]] = {}
        self._recent: tuple[str, int, datafusion.Expr] | None = None
        if summary.every:
            self._add_bucket(summary.every)
        for number, name in enumerate(summary.by):
            if name.extractor == MetaExtractor(Meta.TYPE):
                self._add_key(f"k{number}", lit(schema.name), Type(Kind.STRING), ())
                continue
            leaves = field_of(name, schema, taxonomy)
            if not leaves:
                self.missing = self.missing or name.column
                continue
            _check_key(leaves[0])
            self._add_key(f"k{number}", self._value(leaves), leaves[0].type, leaves)
        for number, aggregate in enumerate(summary.aggregates):
            self._add_states(f"a{number}", aggregate, taxonomy)

    def partial(
        self, frame: datafusion.DataFrame, bounds: Bounds | None = None, rows: int = 0
    ) -> pa.Table:
        """Group the events of a frame; its columns are named by `Leaf.column`.

        Parameters
        ----------
        frame
            The events.
        bounds
            The smallest and the largest value of columns, as far as they are known. Sums that
            cannot overflow are added at once, and only their totals are parted.
        rows
            The largest number of events in the frame.
        """
        known = bounds or {}
        small = {
            name: value
            for name, (value, leaves) in self._added.items()
            if all(_is_small(known.get(leaf.column), rows) for leaf in leaves)
        }
        halves = {f"{name}.{half}.sum" for name in small for half in ("high", "low")}
        states = [state.alias(name) for name, state in self._states if name not in halves]
        states += [f.sum(value).cast(pa.int64()).alias(name) for name, value in small.items()]
        grouped = frame.aggregate(self._keys(known), states)
        if small:
            names = [*(name for name, _ in self.keys), *(name for name, _ in self._states)]
            grouped = grouped.select(*(_part(name, halves).alias(name) for name in names))
        return _rendered(_collect(grouped), self.types)

    def _keys(self, known: Bounds) -> list[datafusion.Expr]:
        """Return what events are grouped by; times after 1970 need no rule for those before."""
        if self._recent is None:
            return self._groups
        column, first, bucket = self._recent
        low, _ = known.get(column, (first - 1, first))
        return [bucket, *self._groups[1:]] if low >= first else self._groups

    def _value(self, leaves: Sequence[Leaf]) -> datafusion.Expr:
        """Return the first value of several fields; NaN is no value."""
        columns = [self._column(leaf) for leaf in leaves]
        value = f.coalesce(*columns) if len(columns) > 1 else columns[0]
        if leaves[0].type.kind is not Kind.DOUBLE:
            return value
        return f.case(f.isnan(value)).when(lit(True), lit(None)).otherwise(value)

    def _column(self, leaf: Leaf) -> datafusion.Expr:
        self.columns |= {leaf.column}
        return col('"' + leaf.column.replace('"', '""') + '"')

    def _add_bucket(self, every: int) -> None:
        leaf = self.schema.event_time
        if leaf is None:
            self.missing = "the event time"
            return
        moment, span = self._column(leaf).cast(pa.int64()), lit(every)
        # The remainder has the sign of the time, which may lie before 1970.
        rest = (moment - lit(origin(every))) % span
        past = f.case(rest < lit(0)).when(lit(True), rest + span).otherwise(rest)
        is_first = moment < lit(FIRST + every)  # its bucket begins before all times
        bucket = f.case(is_first).when(lit(True), lit(None)).otherwise(moment - past)
        self._add_key(TIME, bucket, Type(Kind.INT64), (leaf,))
        recent = moment - (moment - lit(origin(every))) % span
        self._recent = leaf.column, origin(every), recent.alias(TIME)

    def _add_key(
        self, column: str, key: datafusion.Expr, type_: Type, leaves: tuple[Leaf, ...]
    ) -> None:
        self._groups.append(key.alias(column))
        self.types[column] = type_
        self.keys.append((column, leaves))

    def _add_states(self, column: str, aggregate: Aggregate, taxonomy: Taxonomy) -> None:
        if aggregate.field is None:
            self._states.append((f"{column}.sum", f.count(lit(1))))
            self.values.append((column, aggregate.function, ()))
            return
        leaves = field_of(aggregate.field, self.schema, taxonomy)
        if not leaves:
            return
        leaf = leaves[0]
        function, kind = aggregate.function, leaf.type.kind
        if kind not in function.kinds:
            raise UsageError(
                f"{aggregate.column}: {function.value}() takes no {kind.value}, which "
                f"{_text.plain(leaf.column)} is in {_text.plain(self.schema.name)}",
                hint="count_distinct() takes any single value",
            )
        value = self._value(leaves)
        if kind is Kind.DURATION and function in (Function.SUM, Function.MEAN):
            value = value.cast(pa.int64())
        self.types[column] = leaf.type
        self.values.append((column, function, leaves))
        self._states += _states(column, function, kind, value)
        if kind is not Kind.DOUBLE and function in (Function.SUM, Function.MEAN):
            self._added[column] = (value, leaves)


def _states(
    column: str, function: Function, kind: Kind, value: datafusion.Expr
) -> Iterator[_State]:
    match function:
        case Function.COUNT:
            yield f"{column}.sum", f.count(value)
        case Function.MIN:
            yield f"{column}.min", f.min(value)
        case Function.MAX:
            yield f"{column}.max", f.max(value)
        case Function.ANY:
            yield f"{column}.any", f.bool_or(value)
        case Function.ALL:
            yield f"{column}.all", f.bool_and(value)
        case Function.DISTINCT | Function.COUNT_DISTINCT:
            known = value.is_not_null()
            yield f"{column}.list", f.array_agg(value, distinct=True, filter=known)
        case _:  # a sum or a mean
            if kind is Kind.DOUBLE:
                yield f"{column}.sum", f.sum(value)
            else:
                half = lit(pa.scalar(_HALF, pa.uint64() if kind is Kind.UINT64 else pa.int64()))
                high = value / half  # a division takes longer than all the rest
                yield f"{column}.high.sum", f.sum(high).cast(pa.int64())
                yield f"{column}.low.sum", f.sum(value - high * half).cast(pa.int64())
            if function is Function.MEAN:
                yield f"{column}.count.sum", f.count(value)


def _is_small(bounds: tuple[int, int] | None, rows: int) -> bool:
    """Whether no sum of values within bounds needs more than 63 bits."""
    return bounds is not None and max(map(abs, bounds)) * rows < 2**63


def _part(name: str, halves: Collection[str]) -> datafusion.Expr:
    """Return a column of a partial result, or one of the halves of a sum."""
    if name not in halves:
        return _named(name)
    column, half, _ = name.rsplit(".", 2)
    whole, size = _named(column), lit(_HALF)
    return whole / size if half == "high" else whole - whole / size * size


def _check_key(leaf: Leaf) -> None:
    if leaf.type.kind in (Kind.LIST, Kind.MAP, Kind.RECORD):
        raise UsageError(
            f"by cannot be {_text.plain(leaf.column)}, which is a {leaf.type.kind.value}",
            hint="group by a field that has one value an event",
        )


def merge(context: datafusion.SessionContext, tables: Sequence[pa.Table]) -> pa.Table:
    """Merge partial results: the end of a column's name says how; without a dot it is a key."""
    whole = pa.concat_tables(tables, promote_options="default")
    names = whole.column_names
    keys = [_named(name) for name in names if "." not in name]
    merged = [
        _MERGE[name.rpartition(".")[2]](_named(name)).alias(name) for name in names if "." in name
    ]
    frame = context.from_arrow(whole)
    return _collect(frame.aggregate(keys, merged))


def _named(column: str) -> datafusion.Expr:
    return col(f'"{column}"')


def _collect(frame: datafusion.DataFrame) -> pa.Table:
    batches = frame.collect()
    table = pa.Table.from_batches(batches, None if batches else frame.schema())
    # Nullable like all others, and without metadata, so that tables can be joined.
    fields = [pa.field(each.name, _without_views(each.type)) for each in table.schema]
    return table.cast(pa.schema(fields)) if table.schema.names else table


def _without_views(type_: pa.DataType) -> pa.DataType:
    """Return the type of texts that Arrow's functions take."""
    if pa.types.is_list(type_):
        return pa.list_(_without_views(type_.value_type))
    return pa.string() if pa.types.is_string_view(type_) else type_


def _rendered(table: pa.Table, types: dict[str, Type]) -> pa.Table:
    """Turn keys and lists of types that the engine cannot compare into text."""
    for place, name in enumerate(table.column_names):
        base, _, ending = name.partition(".")
        type_ = types.get(base)
        if type_ is not None and type_.kind in _AS_TEXT and ending in ("", "list"):
            member = field_to_arrow(Field(name, type_))
            chunks = [text_of(chunk, member) for chunk in table.column(name).chunks]
            table = table.set_column(place, name, pa.chunked_array(chunks))
    return table


def text_of(array: pa.Array, member: pa.Field) -> pa.Array:
    """Return values, or lists of them, as text."""
    if not pa.types.is_list(array.type):
        return render.text(array, member)
    offsets, (values,) = list_parts(array)
    return pa.ListArray.from_arrays(offsets, render.text(values, member))
