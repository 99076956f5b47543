"""Groups and aggregates as TQL: the partial results of `summary`, computed by a Tenzir node.

`NodeGrouping.of` decides what a node computes: only what has exactly the answer of `Grouping`. Of
all else the events are grouped on this side. Measured on Tenzir 6.20:

- `min` and `max` accept numbers, times and spans of time alone, so no text and no address;
- a sum of integers that overflows is null: they are added in two halves, as `summary` does;
- NaN is a value, and 0.0 and -0.0 are two: NaN is replaced by null before, and fractions are
  neither keys nor compared;
- `any` and `all` are null if a value is null, unless another decides: they are computed as the
  largest and least of numbers;
- `floor` of a span of time is exact and rounds down, but wraps around near the first of all times;
- the program keeps all groups in memory unless it is set to send and drop them periodically.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert
from vastlab.compile import tql
from vastlab.compile.summary import FIRST, Grouping, origin, plain
from vastlab.errors import FormatError, UsageError
from vastlab.expression.aggregates import TIME, Function, Summary
from vastlab.expression.literals import Duration
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

_COUNTED = "n.sum"
_INTEGER = Type(Kind.INT64)
_HALF_BITS = 32
_LOW_BITS = 2**_HALF_BITS - 1
_LONGEST_BUCKET = 2**53  # a longer literal is a sum, which `floor` does not accept
_SENDING = 'options={emit: 1s, mode: "reset"}'

_COMPARED = frozenset({
    Kind.BOOL, Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION, Kind.STRING, Kind.IP,
})  # fmt: skip
_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.DURATION})
_COMPUTED = {
    Function.COUNT: _COMPARED | {Kind.DOUBLE},
    Function.SUM: _NUMBERS,
    Function.MEAN: _NUMBERS,
    Function.MIN: _NUMBERS | {Kind.TIME},
    Function.MAX: _NUMBERS | {Kind.TIME},
    Function.COUNT_DISTINCT: _COMPARED,
    Function.DISTINCT: _COMPARED,
    Function.ANY: frozenset({Kind.BOOL}),
    Function.ALL: frozenset({Kind.BOOL}),
}


@dataclass(frozen=True, slots=True)
class _Output:
    """A column of a partial result: a key if it has no function, else an aggregate of a value."""

    name: str
    type: Type
    value: str = ""
    function: str = ""
    is_flag: bool = False  # of which the node computes a number


@dataclass(frozen=True, slots=True)
class NodeGrouping:
    """How a node groups the events of one layout, and how its answer is read."""

    _outputs: tuple[_Output, ...]
    _constants: tuple[str, ...] = ()  # keys that are the name of the schema
    _schema: str = ""

    @classmethod
    def of(cls, summary: Summary, schema: Schema, taxonomy: Taxonomy) -> NodeGrouping | None:
        """Decide what a node computes; ``None`` where the events have to be grouped here.

        Where there is nothing to compute or an error to raise if there are any events, these are
        only counted.
        """
        counted = _Output(_COUNTED, _INTEGER, function="count")
        try:
            grouping = Grouping(summary, schema, taxonomy)
        except UsageError:
            return cls((counted,))
        if grouping.missing is not None:
            return cls((counted,))
        if summary.every > _LONGEST_BUCKET or not all(map(_is_computed, _asked(grouping))):
            return None
        outputs = [
            *(_key(name, leaves, summary.every) for name, leaves in grouping.keys if leaves),
            counted,
            *(each for asked in grouping.values for each in _aggregates(*asked)),
        ]
        constants = tuple(name for name, leaves in grouping.keys if not leaves)
        return cls(tuple(outputs), constants, schema.name)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of a pipeline that turn the events of the layout into groups."""
        values = dict.fromkeys(each.value for each in self._outputs if each.value)
        inputs = {value: f"i{number}" for number, value in enumerate(values)}
        record = ", ".join(f"{name}: {value}" for value, name in inputs.items())
        results = [
            f"o{number}="
            + (
                f"{each.function}({inputs.get(each.value, '')})"
                if each.function
                else inputs[each.value]
            )
            for number, each in enumerate(self._outputs)
        ]
        return f"this = {{{record}}}", f"summarize {', '.join([*results, _SENDING])}"

    def read(self, batch: pa.RecordBatch) -> pa.Table:
        """Return a partial result as `Grouping.partial` would.

        Raises
        ------
        FormatError
            The values are not of the types of the layout.
        """
        columns = {
            each.name: self._column(batch, number) for number, each in enumerate(self._outputs)
        }
        for name in self._constants:
            columns[name] = pa.repeat(pa.scalar(self._schema, pa.string()), batch.num_rows)
        table = pa.table(columns)
        # Without keys, no events are a group as well.
        return table.filter(pc.greater(table.column(_COUNTED), 0))

    def _column(self, batch: pa.RecordBatch, number: int) -> pa.Array:
        place, type_ = batch.schema.get_field_index(f"o{number}"), self._outputs[number].type
        if place < 0:
            raise FormatError("a column of the groups is missing")
        found = convert.convert(batch.column(place), batch.schema.field(place), type_)
        return found.cast(pa.bool_()) if self._outputs[number].is_flag else plain(found)


def _asked(grouping: Grouping) -> Iterator[tuple[frozenset[Kind], Leaf]]:
    """Return the fields that are read, and the types that a node could use there."""
    for _, leaves in grouping.keys:
        yield from ((_COMPARED, leaf) for leaf in leaves)
    for _, function, leaves in grouping.values:
        yield from ((_COMPUTED[function], leaf) for leaf in leaves)


def _is_computed(asked: tuple[frozenset[Kind], Leaf]) -> bool:
    kinds, leaf = asked
    return leaf.type.kind in kinds


def _key(name: str, leaves: Sequence[Leaf], every: int) -> _Output:
    value = _value(leaves)
    return _Output(name, leaves[0].type, value) if name != TIME else _bucket(value, every)


def _bucket(moment: str, every: int) -> _Output:
    """Write the beginning of a bucket in nanoseconds; null for one that begins before all times."""
    past, start, width = f"{moment}.since_epoch()", origin(every), tql.constant(Duration(every))
    first = tql.constant(Duration(FIRST + every))
    if start:
        floor = f"({past} - {tql.constant(Duration(start))}).floor({width})"
        begin = f"{floor}.count_nanoseconds() + {start}"
    else:
        begin = f"{past}.floor({width}).count_nanoseconds()"
    return _Output(TIME, _INTEGER, f"({begin} if {past} >= {first} else null)")


def _value(leaves: Sequence[Leaf]) -> str:
    """Write the first value of several fields; NaN is no value."""
    *others, value = (tql.path(leaf.path) for leaf in leaves)
    for field in reversed(others):
        value = f"({field} if {field} != null else {value})"
    is_double = leaves[0].type.kind is Kind.DOUBLE
    return f"({value} if {value} == {value} else null)" if is_double else value


def _aggregates(column: str, function: Function, leaves: Sequence[Leaf]) -> Iterator[_Output]:
    """Write the states of one aggregate, named as `summary` names them."""
    if not leaves:
        yield _Output(f"{column}.sum", _INTEGER, function="count")
        return
    value, type_ = _value(leaves), leaves[0].type
    match function:
        case Function.COUNT:
            yield _Output(f"{column}.sum", _INTEGER, value, "count")
        case Function.DISTINCT | Function.COUNT_DISTINCT:
            yield _Output(f"{column}.list", Type(Kind.LIST, item=type_), value, "distinct")
        case Function.SUM | Function.MEAN:
            yield from _sums(column, value, type_)
            if function is Function.MEAN:
                yield _Output(f"{column}.count.sum", _INTEGER, value, "count")
        case Function.ANY | Function.ALL:
            flag = f"(null if {value} == null else (1 if {value} else 0))"
            name = "max" if function is Function.ANY else "min"
            yield _Output(f"{column}.{function.value}", _INTEGER, flag, name, is_flag=True)
        case _:
            yield _Output(f"{column}.{function.value}", type_, value, function.value)


def _sums(column: str, value: str, type_: Type) -> Iterator[_Output]:
    if type_.kind is Kind.DOUBLE:
        yield _Output(f"{column}.sum", type_, value, "sum")
        return
    number = f"{value}.count_nanoseconds()" if type_.kind is Kind.DURATION else value
    mask = f"uint({_LOW_BITS})" if type_.kind is Kind.UINT64 else str(_LOW_BITS)
    yield _Output(f"{column}.high.sum", _INTEGER, f"shift_right({number}, {_HALF_BITS})", "sum")
    yield _Output(f"{column}.low.sum", _INTEGER, f"bit_and({number}, {mask})", "sum")
