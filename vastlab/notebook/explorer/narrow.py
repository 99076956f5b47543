"""What a click on a value asks for: only this, not this, pivot on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from vastlab import _text, pivot
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import UsageError
from vastlab.expression import bind, parse
from vastlab.expression.ast import (
    Expr,
    FieldExtractor,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.checks import all_of, of_schema
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Literal,
    Null,
    Pattern,
    String,
    Time,
    UInt64,
    escaped,
    is_quotable,
)
from vastlab.expression.parameters import to_literal
from vastlab.expression.parser import parse_literal
from vastlab.expression.resolve import resolve
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

# A value is equal to this one or not, if it has the type.
_SOME_VALUE: Mapping[Kind, Literal] = {
    Kind.BOOL: Bool(True),
    Kind.INT64: UInt64(0),
    Kind.UINT64: UInt64(0),
    Kind.DOUBLE: UInt64(0),
    Kind.STRING: String(""),
    Kind.TIME: Time(0),
    Kind.DURATION: Duration(0),
    Kind.IP: IP(bytes(16)),
}
_MOST_ITEMS = 50  # of a list; each is looked for on its own


class Choice(Enum):
    """What can be done with a value; the page names them so."""

    ONLY = "only"
    NOT = "not"
    PIVOT = "pivot"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of one event.

    Parameters
    ----------
    event
        A table of this event alone.
    schema
        The name of its schema.
    leaf
        The field.
    """

    event: pa.Table
    schema: str
    leaf: Leaf

    @property
    def field(self) -> FieldExtractor:
        """The field, as an expression names it: with its schema where it is one of several."""
        named = arrow_schema.from_arrow(self.event.schema).leaves_by_suffix[self.leaf.name]
        above = tuple(self.schema.split(".")) if len(named) > 1 else ()
        return FieldExtractor.of((*above, *self.leaf.path))

    def literals(self) -> list[Literal]:
        """Return the value as a literal; of a list, each of its values.

        Raises
        ------
        UsageError
            A value that an expression cannot compare with.
        """
        (batch,) = self.event.combine_chunks().to_batches()
        flat = convert.flatten(convert.normalise(batch))
        place = flat.schema.get_field_index(self.leaf.column)
        value, type_ = flat.column(place), self.leaf.type
        if not value.is_valid()[0].as_py():
            return [Null()]
        if type_.kind is Kind.LIST and type_.item is not None:
            items, type_ = value.flatten(), type_.item
            value = items.filter(items.is_valid())
            if type_.kind is Kind.ENUM:  # the language finds no labels inside of lists
                raise UsageError("an expression cannot compare with labels in a list")
        if len(value) > _MOST_ITEMS:
            raise UsageError(f"the list has {len(value):,} values, more than {_MOST_ITEMS}")
        found = [_literal(value.slice(i, 1), type_) for i in range(len(value))]
        if not found:
            raise UsageError("the list is empty: there is no value to look for")
        if self.leaf.type.kind is Kind.LIST:
            found = [_as_item(literal) for literal in found]
        return list(dict.fromkeys(found))


def _literal(value: pa.Array, type_: Type) -> Literal:
    """Return the literal of an array of one value."""
    match type_.kind:
        case Kind.STRING | Kind.ENUM:
            text = render.render(value, type_)[0].as_py()
            if type_.kind is Kind.STRING or is_quotable(text):  # labels do not match patterns
                return String(text)
        case Kind.TIME:
            return Time(value.cast(pa.timestamp("ns", value.type.tz)).cast(pa.int64())[0].as_py())
        case Kind.DURATION:
            return Duration(value.cast(pa.duration("ns")).cast(pa.int64())[0].as_py())
        case Kind.IP | Kind.SUBNET:
            literal = parse_literal(render.render(value, type_)[0].as_py())
            if literal is not None:
                return literal
        case Kind.BOOL | Kind.INT64 | Kind.UINT64 | Kind.DOUBLE:
            literal = to_literal(value[0].as_py())
            if not (isinstance(literal, Double) and math.isnan(literal.value)):
                return literal
    raise UsageError(f"an expression cannot compare with this value of type {type_}")


def _as_item(literal: Literal) -> Literal:
    """Return a text that quotes cannot hold as a pattern: as part of a text, it is in no list."""
    if isinstance(literal, String) and not is_quotable(literal.value):
        return Pattern(f"^{escaped(literal.value)}$")
    return literal


def only(cell: Cell) -> Expr:
    """Return what holds for the events that have this value, or all values of this list."""
    operator = Operator.NI if cell.leaf.type.kind is Kind.LIST else Operator.EQ
    return all_of(Predicate(cell.field, _or_equals(operator, v), v) for v in cell.literals())


def without(cell: Cell, others: Mapping[str, Schema]) -> Expr:
    """Return what holds for all events but those that have this value.

    A comparison never holds for events without a value, nor for schemas without the field, or
    where it has a type that is not compared with the value: these are named, so that "not this"
    removes nothing else.

    Parameters
    ----------
    cell
        The value.
    others
        The schemas of the answer.
    """
    operator = Operator.NI if cell.leaf.type.kind is Kind.LIST else Operator.EQ
    values = cell.literals()
    parts: list[Expr] = [
        Predicate(cell.field, _or_equals(operator, value).complement, value) for value in values
    ]
    if Null() not in values:
        parts.append(Predicate(cell.field, Operator.EQ, Null()))
    for name in sorted(others):
        parts += _other_layouts(cell.leaf, parts[0], others[name])
    parts += _elsewhere(parts[0], others)
    return Or(tuple(parts)) if len(parts) > 1 else parts[0]


def _elsewhere(compared: Expr, schemas: Mapping[str, Schema]) -> list[Expr]:
    """Return what holds in the schemas where a comparison means nothing, in few words."""
    known = [name for name in sorted(schemas) if _split(compared, schemas[name])[0]]
    lacking = [name for name in sorted(schemas) if name not in known]
    if not lacking:
        return []
    if len(lacking) < len(known):
        return [of_schema(name) for name in lacking]
    return [all_of(of_schema(name, Operator.NE) for name in known)]


def _other_layouts(leaf: Leaf, compared: Expr, schema: Schema) -> Iterator[Expr]:
    """Yield what holds in the layouts of a schema, and only there, where others are compared.

    Raises
    ------
    UsageError
        No expression tells such a layout from the others.
    """
    here, elsewhere = _split(compared, schema)
    if not here:
        return
    for layout in elsewhere:
        typed = (each for each in layout.leaves if each.path == leaf.path)
        if (other := next(typed, None)) and (value := _SOME_VALUE.get(other.type.kind)):
            told, literal = other, value  # nulls were let through with those of all layouts
        else:
            named = {each.path for each in (own for each in here for own in each.leaves)}
            own = (each for each in layout.leaves if each.path not in named)
            if (found := next(own, None)) is None:
                raise UsageError(
                    f"some events of {_text.plain(schema.name)} lack {_text.plain(leaf.column)} or "
                    "have another type there, and an expression cannot tell them from the others",
                    hint="filter the table instead",
                )
            told, literal = found, Null()
        field = FieldExtractor.of((*schema.name.split("."), *told.path))
        yield Predicate(field, Operator.EQ, literal)
        yield Predicate(field, Operator.NE, literal)


def _split(compared: Expr, schema: Schema) -> tuple[list[Schema], list[Schema]]:
    """Return the layouts of a schema in which a comparison means something, and the others."""
    layouts = schema.layouts or (schema,)
    here = [layout for layout in layouts if resolve(compared, layout) is not None]
    return here, [layout for layout in layouts if layout not in here]


def around(cell: Cell, schemas: Mapping[str, Schema], taxonomy: Taxonomy) -> Expr:
    """Return what holds for the events of any schema that have this value.

    Raises
    ------
    UsageError
        A value that cannot be followed.
    """
    named = str(FieldExtractor.of((*cell.schema.split("."), *cell.leaf.path)))
    question = pivot.plan(named, {cell.schema: [cell.event]}, schemas, taxonomy)
    if not question.expression:
        raise UsageError("there is no value here to pivot on")
    return bind(parse(question.expression), question.params or {})


def _or_equals(operator: Operator, value: Literal) -> Operator:
    """Only whole fields are compared with null."""
    return Operator.EQ if isinstance(value, Null) else operator
