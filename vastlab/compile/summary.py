"""Groups and aggregates, compiled for DataFusion: partial results that can be merged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial

import pyarrow as pa

from vastlab import _text
from vastlab._lazy import col, datafusion, lit
from vastlab._lazy import functions as f
from vastlab.arrow import render
from vastlab.arrow.schema import field_to_arrow
from vastlab.arrow.types import list_parts, null_mask, storage_of
from vastlab.compile.datafusion import column_named
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
_ADDRESS, _NUMBER = pa.binary(16), pa.decimal128(38)
_VALUE = "value"  # a column of different values


def _same_bytes(values: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return values of 16 bytes as another type of that size, without a copy."""
    buffers = values.buffers()
    return pa.Array.from_buffers(type_, len(values), buffers, values.null_count, values.offset)


@cache
def _address_as_number() -> Callable[[datafusion.Expr], datafusion.Expr]:
    """Return a function of the engine, which groups numbers faster than bytes."""
    same: Callable[[datafusion.Expr], datafusion.Expr] = datafusion.udf(
        partial(_same_bytes, type_=_NUMBER), [_ADDRESS], _NUMBER, "immutable", "address_as_number"
    )
    return same


# A literal of a Python value takes ten times as long.


def _number(value: int) -> datafusion.Expr:
    return lit(pa.scalar(value, pa.int64()))


def _true() -> datafusion.Expr:
    return lit(pa.scalar(True))


def _null() -> datafusion.Expr:
    return lit(pa.scalar(None))


def _events() -> datafusion.Expr:
    return f.count(_number(1))


Bounds = Mapping[str, tuple[int, int]]
_State = tuple[str, "datafusion.Expr"]  # a column of a partial result, and how it is computed
_States = dict[str, "datafusion.Expr"]


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
        self._states: list[_State] = [("n.sum", _events())]
        self._added: dict[str, tuple[datafusion.Expr, tuple[Leaf, ...]]] = {}
        self._listed: dict[tuple[Leaf, ...], tuple[datafusion.Expr, list[str]]] = {}
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
            key = _comparable(self._value(leaves), leaves[0])
            self._add_key(f"k{number}", key, leaves[0].type, leaves)
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
        small = self._small(known, rows)
        halves = {f"{name}.{half}.sum" for name in small for half in ("high", "low")}
        states = {name: state for name, state in self._states if name not in halves}
        states |= {f"{n}.sum": f.sum(value).cast(pa.int64()) for n, value in small.items()}
        keys = self._keys(known)
        if len(self._listed) == 1:
            frame, keys, states = self._with_values(frame, keys, states)
        grouped = frame.aggregate(keys, [state.alias(name) for name, state in states.items()])
        if small:
            names = [*(name for name, _ in self.keys), *(name for name, _ in self._states)]
            grouped = grouped.select(*(_part(name, halves).alias(name) for name in names))
        return _rendered(_collect(grouped), self.types)

    def is_plain(self, bounds: Bounds, rows: int) -> bool:
        """Return whether no sum can overflow and no time lies before 1970, as far as is known."""
        return len(self._small(bounds, rows)) == len(self._added) and self._is_recent(bounds)

    def _small(self, known: Bounds, rows: int) -> _States:
        return {
            name: value
            for name, (value, leaves) in self._added.items()
            if all(_is_small(known.get(leaf.column), rows) for leaf in leaves)
        }

    def _is_recent(self, known: Bounds) -> bool:
        if self._recent is None:
            return True
        column, first, _ = self._recent
        return column in known and known[column][0] >= first

    def _with_values(
        self, frame: datafusion.DataFrame, keys: list[datafusion.Expr], states: _States
    ) -> tuple[datafusion.DataFrame, list[datafusion.Expr], _States]:
        """Group by a value, too, which finds different values faster than a list of them does."""
        ((value, lists),) = self._listed.values()
        first = [state.alias(name) for name, state in states.items() if name not in lists]
        pairs = frame.aggregate([*keys, value.alias(_VALUE)], first)
        different = f.array_agg(_named(_VALUE), filter=_named(_VALUE).is_not_null())
        merged = {name: different if name in lists else _merged(name) for name in states}
        return pairs, [_named(name) for name, _ in self.keys], merged

    def _keys(self, known: Bounds) -> list[datafusion.Expr]:
        """Return what events are grouped by; times after 1970 need no rule for those before."""
        if self._recent is None or not self._is_recent(known):
            return self._groups
        return [self._recent[2], *self._groups[1:]]

    def _value(self, leaves: Sequence[Leaf]) -> datafusion.Expr:
        """Return the first value of several fields; NaN is no value."""
        columns = [self._column(leaf) for leaf in leaves]
        value = f.coalesce(*columns) if len(columns) > 1 else columns[0]
        if leaves[0].type.kind is not Kind.DOUBLE:
            return value
        return f.case(f.isnan(value)).when(_true(), _null()).otherwise(value)

    def _column(self, leaf: Leaf) -> datafusion.Expr:
        self.columns |= {leaf.column}
        return column_named(leaf.column)

    def _add_bucket(self, every: int) -> None:
        leaf = self.schema.event_time
        if leaf is None:
            self.missing = "the event time"
            return
        moment, span = self._column(leaf).cast(pa.int64()), _number(every)
        # The remainder has the sign of the time, which may lie before 1970.
        rest = (moment - _number(origin(every))) % span
        past = f.case(rest < _number(0)).when(_true(), rest + span).otherwise(rest)
        is_first = moment < _number(FIRST + every)  # its bucket begins before all times
        bucket = f.case(is_first).when(_true(), _null()).otherwise(moment - past)
        self._add_key(TIME, bucket, Type(Kind.INT64), (leaf,))
        self._recent = leaf.column, origin(every), (moment - rest).alias(TIME)

    def _add_key(
        self, column: str, key: datafusion.Expr, type_: Type, leaves: tuple[Leaf, ...]
    ) -> None:
        self._groups.append(key.alias(column))
        self.types[column] = type_
        self.keys.append((column, leaves))

    def _add_states(self, column: str, aggregate: Aggregate, taxonomy: Taxonomy) -> None:
        if aggregate.field is None:
            self._states.append((f"{column}.sum", _events()))
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
        if function in (Function.DISTINCT, Function.COUNT_DISTINCT):
            value = _comparable(value, leaf)
            self._listed.setdefault(leaves, (value, []))[1].append(f"{column}.list")
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
    whole, size = _named(f"{column}.sum"), _number(_HALF)
    return whole / size if half == "high" else whole - whole / size * size


def _comparable(value: datafusion.Expr, leaf: Leaf) -> datafusion.Expr:
    return _address_as_number()(value) if leaf.type.kind is Kind.IP else value


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
    merged = [_merged(name).alias(name) for name in names if "." in name]
    frame = context.from_arrow(whole)
    return _collect(frame.aggregate(keys, merged))


def _merged(name: str) -> datafusion.Expr:
    return _MERGE[name.rpartition(".")[2]](_named(name))


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
    """Turn keys and lists of types that the engine cannot compare into text, or into addresses."""
    for place, name in enumerate(table.column_names):
        base, _, ending = name.partition(".")
        type_ = types.get(base)
        if type_ is None or ending not in ("", "list"):
            continue
        column = table.column(name)
        chunks = column.chunks or [pa.nulls(0, column.type)]
        if type_.kind in _AS_TEXT:
            member = field_to_arrow(Field(name, type_))
            chunks = [text_of(chunk, member) for chunk in chunks]
        elif type_.kind is Kind.IP:
            chunks = [_addresses_of(chunk) for chunk in chunks]
        else:
            continue
        table = table.set_column(place, name, pa.chunked_array(chunks))
    return table


def _addresses_of(array: pa.Array) -> pa.Array:
    """Return numbers, or lists of them, as addresses."""
    if not pa.types.is_list(array.type):
        return _same_bytes(array, _ADDRESS)
    offsets, (values,) = list_parts(array)
    # A group without any has null instead of a list.
    return pa.ListArray.from_arrays(offsets, _same_bytes(values, _ADDRESS), mask=null_mask(array))


def plain(array: pa.Array) -> pa.Array:
    """Return what a node computed as `Grouping.partial` does: addresses are their bytes."""
    if not pa.types.is_list(array.type):
        return storage_of(array)
    offsets, (values,) = list_parts(array)
    return pa.ListArray.from_arrays(offsets, storage_of(values))


def text_of(array: pa.Array, member: pa.Field) -> pa.Array:
    """Return values, or lists of them, as text."""
    if not pa.types.is_list(array.type):
        return render.text(array, member)
    offsets, (values,) = list_parts(array)
    return pa.ListArray.from_arrays(offsets, render.text(values, member))
