"""What a VAST node computes of a summary: groups by plain fields; of all else it sends events.

Its ``summarize`` of 3.1, as its source says and as one recorded answer shows:

- it cannot count events: ``count`` skips nulls, and no index finds nulls;
- a sum of integers wraps around: it is used where the smallest, the largest and the number of
  values prove that it does not;
- values inside a record are read without the nulls of the record, so that only fields at the
  top of the event are used;
- each layout is grouped by itself, and columns are named as they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert
from vastlab.compile.summary import Grouping, plain
from vastlab.errors import FormatError, UsageError
from vastlab.expression.aggregates import Function, Summary
from vastlab.expression.checks import all_of, of_schema
from vastlab.expression.rewrite import normalise
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.vast.plan import Plan
from vastlab.types import Kind, Leaf, Schema, Type, by_name

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS = frozenset({
    Kind.BOOL, Kind.INT64, Kind.UINT64, Kind.TIME, Kind.DURATION, Kind.STRING, Kind.IP,
})  # fmt: skip
_INTEGERS = frozenset({Kind.INT64, Kind.UINT64, Kind.DURATION})
_COMPUTED = {
    Function.COUNT: _KEYS,
    Function.SUM: _INTEGERS,
    Function.MEAN: _INTEGERS,
    Function.MIN: _INTEGERS | {Kind.TIME},
    Function.MAX: _INTEGERS | {Kind.TIME},
}
_ASKED = {
    Function.COUNT: ("count",),
    Function.MIN: ("min",),
    Function.MAX: ("max",),
    Function.SUM: ("sum", "min", "max", "count"),
    Function.MEAN: ("sum", "min", "max", "count"),
}
_COUNT = Type(Kind.UINT64)
_HALF_BITS = 32
_LIMIT = 2.0**62  # half of the largest sum, for what is lost by counting in fractions


@dataclass(frozen=True, slots=True)
class NodeGroups:
    """How a node is asked for the groups of one layout, and how its answer is read."""

    layout: Schema
    text: str
    """Which events."""
    _grouping: Grouping

    @property
    def step(self) -> str:
        """The step of the pipeline that groups the events."""
        return f"summarize {', '.join(self._calls)} by {', '.join(self._fields)}"

    @property
    def _calls(self) -> dict[str, None]:
        return dict.fromkeys(
            f"{function}({leaf.name})"
            for _, asked, (leaf,) in self._grouping.values
            for function in _ASKED[asked]
        )

    @property
    def _fields(self) -> dict[str, None]:
        return dict.fromkeys(leaf.name for _, leaves in self._grouping.keys for leaf in leaves)

    def read(self, batch: pa.RecordBatch) -> pa.Table | None:
        """Return a partial result as `Grouping.partial` would.

        ``None`` where the answer cannot be used: these are no such groups, or a sum may have
        wrapped around.
        """
        if {*batch.schema.names} != {*self._fields, *self._calls}:
            return None
        try:
            return pa.table(dict(self._columns(batch)))
        except (FormatError, OverflowError):
            return None

    def _columns(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
        # No group is without events; how many they are was not asked for.
        yield "n.sum", pa.repeat(pa.scalar(1, pa.int64()), batch.num_rows)
        for name, leaves in self._grouping.keys:
            if leaves:
                yield name, _column(batch, leaves[0].name, leaves[0].type)
            else:
                yield name, pa.repeat(pa.scalar(self.layout.name, pa.string()), batch.num_rows)
        for name, function, (leaf,) in self._grouping.values:
            found = {
                asked: _column(
                    batch, f"{asked}({leaf.name})", _COUNT if asked == "count" else leaf.type
                )
                for asked in _ASKED[function]
            }
            yield from _states(name, function, found)


def groups_of(plan: Plan, summary: Summary, schemas: Iterable[Schema]) -> Iterator[NodeGroups]:
    """Find the layouts of which the node groups the events that a plan finds."""
    taxonomy, filtered = plan.query.taxonomy or Taxonomy(), {name for name, _ in plan.filtered}
    if plan.exact is None:
        return
    for name, layouts in sorted(by_name(schemas).items()):
        if name in filtered or len(layouts) > 1:
            continue
        grouping = _grouping(summary, layouts[0], taxonomy)
        if grouping is not None:
            expr = normalise(all_of([of_schema(name), plan.exact]))
            yield NodeGroups(layouts[0], str(expr), grouping)


def _grouping(summary: Summary, layout: Schema, taxonomy: Taxonomy) -> Grouping | None:
    """Return how a layout is grouped; ``None`` where this is done on this side."""
    try:
        grouping = Grouping(summary, layout, taxonomy)
    except UsageError:
        return None  # it is raised if there are events
    keys = [(leaves, _KEYS) for _, leaves in grouping.keys if leaves]
    values = [(leaves, _COMPUTED.get(asked, frozenset())) for _, asked, leaves in grouping.values]
    usable = (
        grouping.missing is None
        and not summary.every
        and keys
        and values
        and all(_is_usable(leaves, kinds, layout) for leaves, kinds in [*keys, *values])
    )
    return grouping if usable else None


def _is_usable(leaves: tuple[Leaf, ...], kinds: frozenset[Kind], layout: Schema) -> bool:
    """Whether a node reads exactly one field, which it finds by the end of its path."""
    if len(leaves) != 1 or leaves[0].type.kind not in kinds or len(leaves[0].path) > 1:
        return False
    name = leaves[0].name
    same = [each for each in layout.leaves if f".{each.name}".endswith(f".{name}")]
    return len(same) == 1 and _NAME.fullmatch(name) is not None


def _column(batch: pa.RecordBatch, name: str, type_: Type) -> pa.Array:
    return plain(convert.convert(batch.column(name), batch.schema.field(name), type_))


def _states(
    column: str, function: Function, found: dict[str, pa.Array]
) -> Iterator[tuple[str, pa.Array]]:
    """Name the states of one aggregate as `summary` names them."""
    if function in (Function.MIN, Function.MAX):
        yield f"{column}.{function.value}", found[function.value]
        return
    if function in (Function.SUM, Function.MEAN):
        yield from _halves(column, found)
    if function in (Function.COUNT, Function.MEAN):
        state = "sum" if function is Function.COUNT else "count.sum"
        yield f"{column}.{state}", found["count"].cast(pa.int64())


def _halves(column: str, found: dict[str, pa.Array]) -> Iterator[tuple[str, pa.Array]]:
    """Part the sums, after a proof that none wrapped around."""
    ends = (pc.abs(_fraction(_number(found[end]))) for end in ("min", "max"))
    largest = pc.max_element_wise(*ends)
    reached = pc.max(pc.multiply(largest, _fraction(found["count"]))).as_py()
    if reached is not None and reached >= _LIMIT:
        raise OverflowError
    whole = _number(found["sum"]).cast(pa.int64())
    yield f"{column}.high.sum", pc.shift_right(whole, _HALF_BITS)
    yield f"{column}.low.sum", pc.bit_wise_and(whole, 2**_HALF_BITS - 1)


def _fraction(values: pa.Array) -> pa.Array:
    return values.cast(pa.float64(), safe=False)


def _number(values: pa.Array) -> pa.Array:
    return values.cast(pa.int64()) if pa.types.is_duration(values.type) else values
