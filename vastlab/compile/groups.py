"""The groups of a summary: partial results of all layouts, and what they give together."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from vastlab import _text
from vastlab._lazy import datafusion
from vastlab.arrow.schema import field_to_arrow
from vastlab.arrow.types import storage_type_of
from vastlab.compile.summary import Grouping, merge, text_of
from vastlab.errors import UsageError
from vastlab.expression.aggregates import TIME, Function, Summary
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Schema, Type

MAX_GROUPS = 2_000_000
"""The largest number of groups, and of distinct values in total."""

_MERGED_ROWS = 262_144
_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE})
_TEXT = Type(Kind.STRING)
_JOINED = "joined"


@dataclass(slots=True)
class _Layout:
    """The partial results of one layout."""

    grouping: Grouping
    tables: list[pa.Table] = field(default_factory=list)
    merged: int = 0  # rows after the last merge


class Groups:
    """Merges partial results; may be used by several threads.

    Parameters
    ----------
    summary
        What is asked for.
    taxonomy
        The concepts that may be named.
    """

    def __init__(self, summary: Summary, taxonomy: Taxonomy | None) -> None:
        self.summary = summary
        self.left_out: dict[str, str] = {}
        """The schemas of which events lack a field to group by, and which one."""
        self._taxonomy = taxonomy or Taxonomy()
        settings = {"datafusion.execution.target_partitions": "1"}
        self._context = datafusion.SessionContext(datafusion.SessionConfig(settings))
        self._layouts: dict[Hashable, _Layout] = {}
        self._result: tuple[pa.Table | None, dict[str, Type]] | None = None
        self._lock = threading.Lock()

    def grouping(self, key: Hashable, schema: Schema) -> Grouping | None:
        """Return how a layout is grouped; None where it is left out."""
        with self._lock:
            if key not in self._layouts:
                self._layouts[key] = _Layout(Grouping(self.summary, schema, self._taxonomy))
            grouping = self._layouts[key].grouping
            if grouping.missing is None:
                return grouping
            self.left_out[schema.name] = grouping.missing
            return None

    def add(self, key: Hashable, partial: pa.Table) -> None:
        """Add the partial result of a layout.

        Raises
        ------
        UsageError
            There are more groups than fit.
        """
        with self._lock:
            layout, self._result = self._layouts[key], None
            layout.tables.append(partial)
            rows = sum(map(_size, layout.tables))
            if len(layout.tables) > 1 and rows > 2 * layout.merged + _MERGED_ROWS:
                layout.tables = [merge(self._context, layout.tables)]
                rows = layout.merged = _size(layout.tables[0])
            if rows > MAX_GROUPS and (len(layout.tables) == 1 or rows > 2 * MAX_GROUPS):
                raise _too_many()

    def partial(self, key: Hashable) -> pa.Table | None:
        """Return the partial result of a layout, to be added to other groups; None for none."""
        with self._lock:
            tables = self._layouts[key].tables
            return merge(self._context, tables) if len(tables) > 1 else next(iter(tables), None)

    def result(self) -> tuple[pa.Table | None, dict[str, Type]]:
        """Return the groups of all layouts, and the types of keys and values; None for none."""
        if self._result is None:
            self._result = self._joined()
        return self._result

    def _joined(self) -> tuple[pa.Table | None, dict[str, Type]]:
        layouts = [layout for layout in self._layouts.values() if layout.tables]
        if not layouts:
            return None, {}
        types = {
            name: self._common(name, [each for each in layouts if name in each.grouping.types])
            for name in dict.fromkeys(name for each in layouts for name in each.grouping.types)
        }
        tables = [
            _converted(table, layout.grouping.types, types)
            for layout in layouts
            for table in layout.tables
        ]
        groups = self.merged(tables)
        return groups.filter(pc.greater(groups.column("n.sum"), 0)), types

    def merged(self, tables: list[pa.Table]) -> pa.Table:
        """Merge converted tables."""
        table = merge(self._context, tables)
        if _size(table) > MAX_GROUPS:
            raise _too_many()
        return table

    def _common(self, name: str, layouts: list[_Layout]) -> Type:
        """Return the type of a key or a value in the result."""
        types = {each.grouping.types[name].kind: each.grouping.types[name] for each in layouts}
        if len(types) > 1:
            types.pop(Kind.NULL, None)  # of a layout in which it never has a value
        if len(types) == 1:
            type_ = next(iter(types.values()))
            return _TEXT if type_.kind in (Kind.ENUM, Kind.SUBNET) else type_
        if set(types) <= _NUMBERS:
            # With a name, so that it is equal to none of them and all are converted.
            return Type(Kind.DOUBLE if Kind.DOUBLE in types else Kind.INT64, (_JOINED,))
        function = self._function(name)
        if function in (None, Function.DISTINCT, Function.COUNT_DISTINCT):
            return _TEXT
        if function is Function.COUNT:
            return next(iter(types.values()))
        aggregate = self.summary.aggregates[int(name[1:])]
        found = " and ".join(
            f"{each.grouping.types[name].kind.value} in {_text.plain(each.grouping.schema.name)}"
            for each in layouts[:1] + layouts[-1:]
        )
        raise UsageError(
            f"{aggregate.column}: the values cannot be compared, they are {found}",
            hint='choose schemas, such as #type == "zeek.conn"',
        )

    def _function(self, name: str) -> Function | None:
        is_key = name == TIME or name.startswith("k")
        return None if is_key else self.summary.aggregates[int(name[1:])].function


def _too_many() -> UsageError:
    return UsageError(
        f"there are more than {MAX_GROUPS:,} groups or different values",
        hint="narrow the expression, or group by fewer fields or longer buckets",
    )


def _size(table: pa.Table) -> int:
    """Return the number of groups, or that of the values in the longest column of lists."""
    lists = [column for column in table.columns if pa.types.is_list(column.type)]
    values = [int(pc.sum(pc.list_value_length(each)).as_py() or 0) for each in lists]
    return max(int(table.num_rows), *values, 0)


def _converted(table: pa.Table, own: dict[str, Type], common: dict[str, Type]) -> pa.Table:
    columns = dict(_columns(table, own, common))
    return pa.table(columns)


def _columns(
    table: pa.Table, own: dict[str, Type], common: dict[str, Type]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    for name, column in zip(table.column_names, table.columns, strict=True):
        base, _, ending = name.partition(".")
        mine, wanted = own.get(base), common.get(base)
        is_list = pa.types.is_list(column.type)
        is_value = ending in ("", "min", "max", "list")
        joined = wanted is not None and wanted.names == (_JOINED,)
        if (
            mine is None
            or wanted is None
            or not is_value
            or not (joined or mine.kind is not wanted.kind)
        ):
            yield name, column
        elif wanted.kind is Kind.STRING:
            if pa.types.is_string(column.type.value_type if is_list else column.type):
                yield name, column  # it was rendered before
            else:
                member = field_to_arrow(Field(name, mine))
                yield name, pa.chunked_array([text_of(each, member) for each in column.chunks])
        elif mine.kind is Kind.NULL and not joined:
            type_ = storage_type_of(field_to_arrow(Field(name, wanted)).type)
            yield name, pa.chunked_array([pa.nulls(len(column), type_)])
        else:
            plain = _plain(wanted)
            yield name, _exactly(column, pa.list_(plain) if is_list else plain)


def _exactly(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(type_)
    except pa.ArrowInvalid:
        raise UsageError(
            "whole numbers beyond 2^53 and fractions are in one field of different schemas",
            hint='choose schemas, such as #type == "zeek.conn"',
        ) from None


def _plain(type_: Type) -> pa.DataType:
    return pa.float64() if type_.kind is Kind.DOUBLE else pa.decimal128(20, 0)
