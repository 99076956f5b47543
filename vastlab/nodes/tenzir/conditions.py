"""Conditions that ask a Tenzir node for events, and tell their layouts apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator

from vastlab.compile import tql
from vastlab.expression.ast import Meta, MetaExtractor, Predicate
from vastlab.expression.literals import Time
from vastlab.expression.operators import Operator
from vastlab.nodes._plan import bind
from vastlab.nodes.base import Query
from vastlab.nodes.tenzir.catalog import KINDS, Stored
from vastlab.types import Field, Kind, Schema, Type

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
    by_name: dict[str, list[Schema]] = defaultdict(list)
    for layout in layouts:
        by_name[layout.name].append(layout)
    guarded = [
        f"(@name == {tql.quote(name)} and {condition})"
        for name, alike in by_name.items()
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
        f"({_guard(layout, layouts)} and {text})"
        for layout, text in zip(layouts, texts, strict=True)
        if text is not None
    ]


def _guard(layout: Schema, layouts: list[Schema]) -> str:
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
    """Write the test for a value of a type, inside so many lists; a null passes for any."""
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


def _record(path: tuple[str, ...]) -> str:
    return "this" + "".join(f"[{tql.quote(part)}]" for part in path)


def _has(path: tuple[str, ...]) -> str:
    """Write the test for a field; that of a missing record is null, so it counts as false."""
    steps = [f"{_record(path[:depth])}.has({tql.quote(path[depth])})" for depth in range(len(path))]
    return f"({' and '.join(steps)})"


def _is(path: tuple[str, ...], kind: Kind) -> str:
    """Write the test for a field's type; a null passes for any."""
    subject = tql.path(path)
    return f"({subject} == null or type_kind({subject}) == {tql.quote(_KIND_NAMES[kind])})"


def _inside(path: tuple[str, ...], leaves: Container[tuple[str, ...]]) -> bool:
    # Below a field that is no record in this layout, `has` cannot be asked.
    return any(path[:depth] in leaves for depth in range(1, len(path)))
