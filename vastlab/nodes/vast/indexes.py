"""Which comparisons a VAST node answers wrongly, because of its indexes.

A node looks a comparison up in the index of the field, and evaluates it only for the events
that the index names. An index that does not support an operator names none: the node answers 0
without an error. `show schemas` tells of each field which index it has. What is not listed as
supported here was seen to fail on a VAST 3.1 node, or is not known to work there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import assert_never

from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    Extractor,
    FieldExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.checks import all_of, any_of, fit
from vastlab.expression.literals import (
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    Null,
    Pattern,
    RecordLiteral,
    String,
    Time,
    UInt64,
)
from vastlab.expression.resolve import match, resolve
from vastlab.expression.rewrite import predicates
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

__all__ = ["Answer", "Asked", "is_certain"]

_EQUALITY = (Operator.EQ, Operator.NE)
_NUMBERS: dict[Kind, type] = {Kind.UINT64: UInt64, Kind.INT64: Int64, Kind.DOUBLE: Double}
_HASHED = (("index", "hash"),)


class Answer(IntEnum):
    """What a node answers to an expression."""

    EXACT = 0
    """The events that match."""
    TOO_MANY = 1
    """All events that match, and perhaps others."""
    TOO_FEW = 2
    """Perhaps not all events that match."""


def is_certain(expr: Expr) -> bool:
    """Whether a node answers an expression exactly whatever indexes its fields have.

    Fields without any index are ignored: there are few.
    """
    asked = [(p.operator, p.literal) for p in predicates(expr)]
    strings = [pair for pair in asked if isinstance(pair[1], String)]
    return len(strings) == len(set(strings)) and all(
        _supports(Type(kind, attributes=_HASHED), operator, literal)
        for operator, literal in asked
        for kind in Kind
    )


class Asked:
    """An expression of `vastlab.compile.vast.spelled`, analysed once for all schemas."""

    def __init__(self, expr: Expr) -> None:
        self.expr = expr
        # A list of indicators has thousands of predicates, and few kinds of them.
        self.kinds = {_kind_of(predicate): predicate for predicate in predicates(expr)}
        self.same_texts = dict(_same_texts(expr))

    def relaxed(
        self, layouts: Iterable[Schema], taxonomy: Taxonomy, *, live: bool = False
    ) -> tuple[Expr, Answer]:
        """Leave out what a node cannot be asked about the events of one schema.

        Returns an expression that finds all matching events, and maybe more, and what the node
        answers to the original: for `Answer.EXACT` both are the same. With `live` only arriving
        events are asked for: a node knows no concepts there.
        """
        return _Schema(self, tuple(layouts), taxonomy, live).relaxed()


_PredicateKind = tuple[Extractor, Operator, object]


def _kind_of(predicate: Predicate) -> _PredicateKind:
    """Name what predicates have in common to which a node's answers are equally good."""
    match predicate.literal:
        case Time() | Duration() | RecordLiteral() as literal:
            return predicate.extractor, predicate.operator, literal
        case ListLiteral(items):
            return predicate.extractor, predicate.operator, frozenset(map(type, items))
        case literal:
            return predicate.extractor, predicate.operator, type(literal)


def _same_texts(expr: Expr) -> Iterator[tuple[int, list[list[Predicate]]]]:
    """Find the connectives, by identity, in which several operands name the same text."""
    match expr:
        case And(operands) | Or(operands):
            texts: dict[tuple[Operator, str], list[Predicate]] = {}
            for operand in operands:
                match operand:
                    case Predicate(FieldExtractor() | TypeExtractor(), operator, String(text)):
                        texts.setdefault((operator, text), []).append(operand)
                    case And() | Or():
                        yield from _same_texts(operand)
            if several := [same for same in texts.values() if len(same) > 1]:
                yield id(expr), several


class _Schema:
    """What a node answers about one schema."""

    def __init__(
        self, asked: Asked, layouts: tuple[Schema, ...], taxonomy: Taxonomy, live: bool
    ) -> None:
        self._asked = asked
        self._layouts = layouts
        self._taxonomy = taxonomy
        self._live = live
        self._answers = {kind: self._answer(p) for kind, p in asked.kinds.items()}

    def relaxed(self) -> tuple[Expr, Answer]:
        """Relax the whole expression."""
        if not self._asked.same_texts and not any(self._answers.values()):
            return self._asked.expr, Answer.EXACT
        return self._relaxed(self._asked.expr, ())

    def _relaxed(self, expr: Expr, around: tuple[Expr, ...]) -> tuple[Expr, Answer]:
        match expr:
            case Predicate():
                answer = self._answers[_kind_of(expr)]
                if answer is Answer.TOO_FEW and self._is_bounded(expr, around):
                    answer = Answer.EXACT
                return (Constant(True) if answer is Answer.TOO_FEW else expr), answer
            case And(operands) | Or(operands):
                return self._joined(expr, operands)
            case Not():
                return Constant(True), Answer.TOO_FEW
            case Constant():
                return expr, Answer.EXACT
            case _:
                assert_never(expr)

    def _joined(self, expr: And | Or, operands: tuple[Expr, ...]) -> tuple[Expr, Answer]:
        merged = self._merged(self._asked.same_texts.get(id(expr), []))
        if merged is Answer.TOO_FEW:
            return Constant(True), merged
        around = operands if isinstance(expr, And) else ()
        parts = [self._relaxed(operand, around) for operand in operands]
        answer = max(merged, *(part for _, part in parts))
        if all(part is operand for (part, _), operand in zip(parts, operands, strict=True)):
            return expr, answer
        join = all_of if isinstance(expr, And) else any_of
        return join(part for part, _ in parts), answer

    def _answer(self, predicate: Predicate) -> Answer:
        answers = (self._answer_in(layout, predicate) for layout in self._layouts)
        return max(answers, default=Answer.EXACT)

    def _answer_in(self, layout: Schema, predicate: Predicate) -> Answer:
        name = _name_of(predicate)
        if name in self._taxonomy.models:
            return self._answer_of_model(predicate, layout)
        leaves = self._fitting(predicate, layout)
        if not all(_supports(leaf.type, predicate.operator, predicate.literal) for leaf in leaves):
            return Answer.TOO_FEW
        if name in self._taxonomy.concepts and leaves:
            if self._live:
                return Answer.TOO_FEW
            if len(leaves) > 1 and isinstance(predicate.literal, String):
                return _merge(predicate, leaves)
        return Answer.EXACT

    def _is_bounded(self, predicate: Predicate, around: tuple[Expr, ...]) -> bool:
        """Whether only values below zero would be missed, and another condition excludes them."""
        if not _is_above_zero(predicate, around) or _name_of(predicate) in self._taxonomy.concepts:
            return False
        fitting = [self._fitting(predicate, layout) for layout in self._layouts]
        # Of several fields, the other condition may hold for another one.
        return all(len(leaves) <= 1 for leaves in fitting) and all(
            _is_indexed_by_order(leaf.type)
            and _reaches_below_zero(predicate.operator, predicate.literal)
            for leaves in fitting
            for leaf in leaves
        )

    def _answer_of_model(self, predicate: Predicate, layout: Schema) -> Answer:
        bound = resolve(predicate, layout, self._taxonomy)
        if bound is None:
            return Answer.EXACT
        asked = [p for p in predicates(bound) if isinstance(p.extractor, Column)]
        supported = all(
            _supports(p.extractor.leaf.type, p.operator, p.literal)
            for p in asked
            if isinstance(p.extractor, Column)
        )
        plain = supported and not self._live and not predicate.operator.is_negated
        return Answer.EXACT if plain else Answer.TOO_FEW

    def _fitting(self, predicate: Predicate, layout: Schema) -> list[Leaf]:
        """Return the fields of a layout that the node compares for a predicate."""
        name = _name_of(predicate)
        if name in self._taxonomy.concepts:
            fields = (*self._taxonomy.fields(name), name)
            found = dict.fromkeys(e for f in fields for e in match(FieldExtractor(f), layout))
        else:
            found = dict.fromkeys(match(predicate.extractor, layout))
        return [leaf for leaf in found if _binds(leaf.type, predicate)]

    def _merged(self, same_texts: list[list[Predicate]]) -> Answer:
        """Tell what comes of it that a node merges operands that name the same text.

        ``a == "x" || b == "x"`` becomes ``:string == "x"`` there, and so it does with ``&&``.
        """
        answers = (
            _merge(
                same[0],
                [
                    leaf
                    for predicate in same
                    for layout in self._layouts
                    for leaf in self._fitting(predicate, layout)
                ],
            )
            for same in same_texts
        )
        return max(answers, default=Answer.EXACT)


def _name_of(predicate: Predicate) -> str:
    return predicate.extractor.name if isinstance(predicate.extractor, FieldExtractor) else ""


def _merge(predicate: Predicate, leaves: list[Leaf]) -> Answer:
    """Tell what is found by asking every text field instead of these."""
    if not leaves:
        return Answer.EXACT
    texts_only = all(leaf.type.kind is Kind.STRING for leaf in leaves)
    return Answer.TOO_MANY if texts_only and not predicate.operator.is_negated else Answer.TOO_FEW


def _binds(type_: Type, predicate: Predicate) -> bool:
    """Whether the node compares a field with a literal at all: numbers only of its own type."""
    literal = predicate.literal
    if type_.kind in _NUMBERS and isinstance(literal, UInt64 | Int64 | Double):
        return isinstance(literal, _NUMBERS[type_.kind])
    if type_.kind is Kind.ENUM and isinstance(literal, String):
        return True  # for one of its labels
    if isinstance(literal, ListLiteral) and predicate.operator.positive is Operator.IN:
        return True
    return fit(Leaf((), type_, ""), predicate.operator, literal) is not None


def _supports(type_: Type, operator: Operator, literal: Literal) -> bool:
    """Whether the index of a field answers a comparison that fits it."""
    attributes = dict(type_.attributes)
    if "skip" in attributes:
        return False
    if isinstance(literal, Null):
        return operator is Operator.NE
    if isinstance(literal, ListLiteral):
        return _supports_list(type_, operator, literal, hashed=attributes.get("index") == "hash")
    if attributes.get("index") == "hash":
        return operator in _EQUALITY and not isinstance(literal, Pattern)
    match type_.kind:
        case Kind.STRING if isinstance(literal, Pattern):
            return operator is Operator.EQ
        case Kind.STRING:
            # The index looks for a text in the values, never for a value in a text.
            return operator in (*_EQUALITY, Operator.NI, Operator.NOT_NI)
        case Kind.UINT64 | Kind.INT64:
            return True
        case Kind.DOUBLE:
            # It holds rounded values, which may be equal where the exact ones differ.
            return operator is not Operator.NE
        case Kind.TIME | Kind.DURATION:
            return operator is not Operator.NE and not _reaches_below_zero(operator, literal)
        case Kind.IP | Kind.SUBNET:
            return operator in (*_EQUALITY, Operator.IN, Operator.NOT_IN)
        case Kind.LIST:
            # Only the first 256 elements are indexed; lists are shorter in practice.
            plain = type_.item is None or type_.item.kind not in (Kind.BOOL, Kind.ENUM)
            return plain and operator is Operator.NI and not isinstance(literal, Pattern)
        case _:
            return operator in _EQUALITY


def _supports_list(type_: Type, operator: Operator, values: ListLiteral, *, hashed: bool) -> bool:
    """Whether an index answers ``in`` and ``!in``: its list must be of the field's own type."""
    own: dict[Kind, type] = {**_NUMBERS, Kind.STRING: String}
    expected = own.get(type_.kind)
    if operator.positive is not Operator.IN or hashed:
        return False
    if operator is Operator.NOT_IN and type_.kind in (Kind.DOUBLE, Kind.TIME, Kind.DURATION):
        return False
    if type_.kind in (Kind.BOOL, Kind.ENUM, Kind.LIST, Kind.SUBNET):
        return False
    if expected is not None:
        return all(isinstance(value, expected) for value in values.items)
    return not any(isinstance(value, Pattern) for value in values.items)


def _reaches_below_zero(operator: Operator, literal: Literal) -> bool:
    """Whether times before 1970 or negative durations would match, which an order misses."""
    if not isinstance(literal, Time | Duration):
        return False
    below = operator in (Operator.LT, Operator.LE)
    return below or (operator in (Operator.GT, Operator.GE) and literal.nanoseconds < 0)


def _is_indexed_by_order(type_: Type) -> bool:
    return dict(type_.attributes).keys().isdisjoint({"skip", "index"})


def _is_above_zero(predicate: Predicate, around: tuple[Expr, ...]) -> bool:
    """Whether another condition rules negative values out."""
    return any(
        isinstance(other, Predicate)
        and other.extractor == predicate.extractor
        and other.operator in (Operator.EQ, Operator.GT, Operator.GE)
        and isinstance(other.literal, Time | Duration)
        and other.literal.nanoseconds >= 0
        for other in around
    )
