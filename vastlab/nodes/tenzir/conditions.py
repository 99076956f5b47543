"""Expressions as conditions in TQL, and the other filters of a pipeline."""

from __future__ import annotations

import secrets
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.compile import tql
from vastlab.expression.ast import Meta, MetaExtractor, Operator, Predicate
from vastlab.expression.literals import Time
from vastlab.nodes.base import Query
from vastlab.nodes.plan import bind
from vastlab.nodes.tenzir.catalog import KINDS, Catalog, Stored
from vastlab.types import Field, Kind, Leaf, Schema, Type, by_name

SHAPE = '@name + " " + type_id(this)'
"""What events must have in common to go into one stream; a type's id does not tell its name."""

# What TQL's `type_kind` says.
_KIND_NAMES = {kind: name for name, kind in KINDS.items() if kind is not Kind.STRING} | {
    Kind.INT64: "int",
    Kind.UINT64: "uint",
    Kind.DOUBLE: "float",
    Kind.STRING: "string",
    Kind.LIST: "list",
    Kind.RECORD: "record",
}


def where(query: Query, layouts: Iterable[Schema]) -> str | None:
    """Write the condition of a query over all layouts; ``None`` where none can answer."""
    guarded = [
        f"(@name == {tql.quote(name)} and {condition})"
        for name, alike in by_name(layouts).items()
        for condition in _conditions(query, alike)
    ]
    return f"({' or '.join(guarded)})" if guarded else None


def unknown(names: Iterable[str]) -> str:
    """Write the condition that holds for events of other schemas than these.

    The node's catalog leaves all partitions of these schemas out, so it costs nothing.
    """
    return (
        "("
        + (" and ".join(f"@name != {tql.quote(name)}" for name in sorted(names)) or "true")
        + ")"
    )


def later(name: str, stored: Stored | None) -> str:
    """Write the condition that holds for events of a schema that came after the stored ones."""
    guard = f"@name == {tql.quote(name)}"
    if stored is None:
        return f"({guard})"
    came = Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.GT, Time(stored.last))
    return f"({guard} and {tql.condition(came)})"


def is_of(layout: Schema) -> str:
    """Write the condition that holds for events of a layout, and for no event of another one.

    It costs about a microsecond for each event, so let few events come that far.
    """
    tests = [f"@name == {tql.quote(layout.name)}", *_has_fields("this", layout.fields)]
    return f"({' and '.join(tests)})"


def any_of(conditions: Iterable[str | None]) -> str | None:
    """Join conditions; ``None`` if there is none."""
    return " or ".join(condition for condition in conditions if condition is not None) or None


def _conditions(query: Query, layouts: list[Schema]) -> list[str]:
    """Write one condition for all layouts of a name, or one each where they differ."""
    bound = [bind(query, layout) for layout in layouts]
    texts = [None if expr is None else tql.condition(expr) for expr in bound]
    if None not in texts and len(set(texts)) == 1:
        return [texts[0]] if texts[0] is not None else []
    return [
        f"({guard(layout, layouts)} and {text})"
        for layout, text in zip(layouts, texts, strict=True)
        if text is not None
    ]


def guard(layout: Schema, layouts: list[Schema]) -> str:
    """Tell a layout from the others of its name by its fields and their types."""
    mine = {leaf.path: leaf.type.kind for leaf in layout.leaves}
    others = [{leaf.path: leaf.type.kind for leaf in other.leaves} for other in layouts]
    tests = [_has(path) for path in sorted(mine) if any(path not in other for other in others)]
    foreign = sorted(set().union(*others) - mine.keys())
    tests += [f"not {_has(path)}" for path in foreign if not _inside(path, mine)]
    tests += [
        _is(path, kind)
        for path, kind in sorted(mine.items())
        if any(other.get(path, kind) is not kind for other in others)
    ]
    return " and ".join(tests) or "true"


def _has_fields(subject: str, fields: tuple[Field, ...], depth: int = 0) -> Iterator[str]:
    """Write the tests for a record of these fields and no others, each of its type.

    To ask for each field and their number is quick; to compare lists of names is not.
    """
    for field in fields:
        yield f"{subject}.has({tql.quote(field.name)})"
    yield f"{subject}.keys().length() == {len(fields)}"
    for field in fields:
        yield _is_like(f"{subject}[{tql.quote(field.name)}]", field.type, depth)


def _is_like(subject: str, type_: Type, depth: int) -> str:
    """Write the test for a value of a type, inside `depth` lists; a null passes for any."""
    if type_.kind is Kind.NULL:
        return f"{subject} == null"
    test = f"type_kind({subject}) == {tql.quote(_KIND_NAMES[type_.kind])}"
    inner = None
    if type_.kind is Kind.RECORD:
        inner = " and ".join(_has_fields(subject, type_.fields, depth))
    elif type_.item is not None:
        item = f"x{depth}"
        inner = f"all({subject}.map({item} => {_is_like(item, type_.item, depth + 1)}))"
    if inner is not None:  # which can only be asked of the right kind
        test = f"(({inner}) if {test} else false)"
    return f"({subject} == null or {test})"


def _has(path: tuple[str, ...]) -> str:
    """Write the test for a field; that of a missing record is null, so it counts as false."""
    steps, record = [], "this"
    for part in map(tql.quote, path):
        steps.append(f"{record}.has({part})")
        record += f"[{part}]"
    return f"({' and '.join(steps)})"


def _is(path: tuple[str, ...], kind: Kind) -> str:
    """Write the test for a field's type; a null passes for any."""
    subject = tql.path(path)
    return f"({subject} == null or type_kind({subject}) == {tql.quote(_KIND_NAMES[kind])})"


def _inside(path: tuple[str, ...], leaves: Container[tuple[str, ...]]) -> bool:
    # Below a field that is not a record in this layout, `has` cannot be asked.
    return any(path[:depth] in leaves for depth in range(1, len(path)))


_MOST_LAYOUTS = 64  # a probe each, in a pipeline of its own
_SAMPLES = {
    Kind.NULL: '""',  # which type does not matter: nulls are all that there is
    Kind.BOOL: "true",
    Kind.INT64: "1",
    Kind.UINT64: "uint(1)",
    Kind.DOUBLE: "1.0",
    Kind.DURATION: "1ns",
    Kind.TIME: "2000-01-01",
    Kind.STRING: '""',
    Kind.BLOB: 'b""',
    Kind.IP: "0.0.0.0",  # noqa: S104 - a value, not where anything listens
    Kind.SUBNET: "0.0.0.0/0",
}


@dataclass(frozen=True, slots=True)
class TypeProbes:
    """One made-up event of each layout; only they have a value in the field `mark`."""

    layouts: tuple[Schema, ...]
    mark: str

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> TypeProbes | None:
        """Make probes; ``None`` where a name has several layouts, or one that has no sample."""
        wanted = tuple(layouts)
        names = {layout.name for layout in wanted}
        if not wanted or len(names) < len(wanted) or len(wanted) > _MOST_LAYOUTS:
            return None
        if not all(layout.fields and _is_plain(layout) for layout in wanted):
            return None
        # The name is random, so that no event can imitate a probe.
        return cls(wanted, f"vastlab_{secrets.token_hex(8)}")

    def steps(self, catalog: Catalog, send: str) -> list[str]:
        """Write what follows the export in a pipeline.

        Events that came after the last partition was written may have another layout than
        the catalog says: they are grouped by what they are.
        """
        mine = {layout.name: catalog.stored.get(layout.name) for layout in self.layouts}
        stored = {name: known for name, known in mine.items() if known is not None}
        recent = any_of([
            *(later(name, known) for name, known in stored.items()), unknown(stored)
        ])  # fmt: skip
        mark = tql.quote(self.mark)
        return [
            f"this = {{{mark}: null, ...this}}",
            *(
                f"merge {{ from {_sample_record({self.mark: 'true'}, layout)}"
                f" | @name = {tql.quote(layout.name)} }}"
                for layout in self.layouts
            ),
            f"group ({SHAPE} if ({recent}) else @name) {{ {send} }}",
        ]

    def remove(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Remove the probe and its mark from a batch; ``None`` if nothing else is in it."""
        position = batch.schema.get_field_index(self.mark)
        if position < 0:
            return batch
        marks = batch.column(position)
        events = batch.remove_column(position)
        if marks.null_count < len(marks):
            events = events.filter(pc.is_null(marks))
        return events if len(events) else None


def _is_plain(type_: Schema | Type) -> bool:
    """Whether a sample of a type can be written that fixes the type."""
    match type_.kind if isinstance(type_, Type) else Kind.RECORD:
        case Kind.RECORD:
            return all(_is_plain(field.type) for field in type_.fields)
        case Kind.LIST:
            item = type_.item  # type: ignore[union-attr]  # no schema is a list
            return item is not None and item.kind is not Kind.NULL and _is_plain(item)
        case kind:
            return kind in _SAMPLES


def _sample_record(first: Mapping[str, str], record: Schema | Type) -> str:
    members = {**first, **{field.name: _sample(field.type) for field in record.fields}}
    return "{" + ", ".join(f"{tql.quote(name)}: {text}" for name, text in members.items()) + "}"


def _sample(type_: Type) -> str:
    match type_.kind:
        case Kind.RECORD:
            return _sample_record({}, type_)
        case Kind.LIST:
            return "[]" if type_.item is None else f"[{_sample(type_.item)}]"
        case kind:
            return _SAMPLES[kind]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Marks the schema names of recent events that have no listed layout.

    `recent` is the condition for events that may not be stored; all others have a listed layout.
    """

    recent: str
    listed: str
    mark: str

    @classmethod
    def of(cls, catalog: Catalog) -> Unlisted:
        """Write the conditions for what a catalog does not list."""
        recent = any_of([
            *(later(name, catalog.stored.get(name)) for name in sorted(catalog.names)),
            unknown(catalog.names),
        ])  # fmt: skip
        listed = any_of(is_of(layout) for layout in catalog.layouts)
        # The mark is random, so that no event can imitate it.
        return cls(recent or "true", listed or "false", f"vastlab_{secrets.token_hex(8)}.")

    @property
    def prefix(self) -> str:
        """The mark as a text in a pipeline."""
        return tql.quote(self.mark)

    def select(self, condition: str | None) -> list[str]:
        """Write the steps that select what satisfies a condition, and all that is not listed."""
        return [
            # The node's catalog makes use of this one alone.
            f"where {any_of([condition, self.recent])}",
            self._marking(),
            f"where {any_of([condition, self._is_marked()])}",
        ]

    def select_listed(self, condition: str) -> list[str]:
        """Write the steps that select what satisfies a condition and is listed."""
        return [f"where {condition}", self._marking(), f"where not {self._is_marked()}"]

    def select_unlisted(self) -> list[str]:
        """Write the steps that select what is not listed."""
        return self.select(None)

    def name(self, found: str) -> str | None:
        """Return the name without the mark; ``None`` for one without it."""
        return found.removeprefix(self.mark) if found.startswith(self.mark) else None

    def _marking(self) -> str:
        # Stored events are not tested: that would take long.
        is_listed = f"(({self.listed}) if ({self.recent}) else true)"
        return f"@name = @name if {is_listed} else ({self.prefix} + @name)"

    def _is_marked(self) -> str:
        return f"@name.starts_with({self.prefix})"


@dataclass(frozen=True, slots=True)
class EmptyLists:
    """The lists that may be sent as their length, in fields whose names begin with `mark`."""

    names: tuple[tuple[str, tuple[str, ...]], ...]
    mark: str

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> EmptyLists:
        """Find the lists of all layouts."""
        found = dict.fromkeys(
            (layout.name, leaf.path)
            for layout in layouts
            for leaf in layout.leaves
            if leaf.type.kind is Kind.LIST
        )
        # The mark is random, so that no field of an event can imitate a length.
        return cls(tuple(found), f"vastlab_{secrets.token_hex(8)}_")

    def steps(self, prefix: str) -> list[str]:
        """Write what follows the export in a pipeline; some schema names begin with `prefix`."""
        steps_of: dict[str, list[str]] = {}
        for number, (name, path) in enumerate(self.names):
            steps_of.setdefault(name, []).append(self._step(number, tql.path(path)))
        return [
            f"if @name in [{tql.quote(name)}, {tql.quote(prefix + name)}]"
            f" {{ {' | '.join(steps)} }} else {{ pass }}"
            for name, steps in steps_of.items()
        ]

    def take(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[tuple[str, ...], pa.Array]]:
        """Take the lengths out of a batch: the events, and the lengths by the path of the list."""
        lengths = {}
        for name in [name for name in batch.schema.names if name.startswith(self.mark)]:
            position = batch.schema.get_field_index(name)
            _, path = self.names[int(name.removeprefix(self.mark))]
            lengths[path] = batch.column(position)
            batch = batch.remove_column(position)
        return batch, lengths

    def _step(self, number: int, field: str) -> str:
        length = f"{self.mark}{number}"
        present = f"{field}.where(x => x != null).length()"
        return (
            f"{length} = {field}.length() if {present} == 0 else null"
            f" | {field} = {field} if {length} == null else null"
        )


def put_back(batch: pa.RecordBatch, lengths: dict[tuple[str, ...], pa.Array]) -> pa.RecordBatch:
    """Restore the lists of a batch, null in it, from the lengths of `EmptyLists.take`."""
    if not lengths:
        return batch
    schema = arrow_schema.from_arrow(batch.schema)
    flat = convert.flatten(batch)
    for leaf in schema.leaves:
        if leaf.path in lengths:
            position = flat.schema.get_field_index(leaf.column)
            field = flat.schema.field(position)
            flat = flat.set_column(position, field, _lists(lengths[leaf.path], leaf, field))
    return convert.nest(flat, schema)


def _lists(lengths: pa.Array, leaf: Leaf, field: pa.Field) -> pa.Array:
    """Make lists of nulls; a null length stands for a null list."""
    sizes = lengths.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    values = pa.nulls(int(offsets[-1]), field.type.value_type)
    mask = lengths.is_null() if lengths.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=field.type, mask=mask)
