"""What the indexes of the VAST node of the tests answer, as those of a real VAST 3.1 do.

A comparison is looked up in the index of each field first, and evaluated only for the events
that this names. An index that does not support a comparison names none. This follows what was
seen of a real node, and shares no line with the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests import reference_evaluator as reference
from vastlab.expression.ast import (
    And,
    Constant,
    Expr,
    FieldExtractor,
    MetaExtractor,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import (
    Double,
    Int64,
    ListLiteral,
    Literal,
    Null,
    Pattern,
    RecordLiteral,
    String,
    UInt64,
)
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Schema, Type

ORDER = (Operator.LT, Operator.LE, Operator.GT, Operator.GE)
EQUALITY = (Operator.EQ, Operator.NE)
MEMBER = (Operator.IN, Operator.NOT_IN)
NUMBERS = {Kind.UINT64: UInt64, Kind.INT64: Int64, Kind.DOUBLE: Double}


@dataclass(frozen=True)
class Indexes:
    """The indexes of one schema."""

    schema: Schema
    taxonomy: Taxonomy
    same: reference.Same

    def answers(self, expr: Expr, rows: list[reference.Row]) -> list[bool]:
        """Which rows an indexed partition returns."""
        asked = pruned(self.expanded(expr))
        hit = self.bind(asked)
        found = reference.answers(asked, self.schema, rows, self.taxonomy, same=self.same)
        return [
            hit is not None and holds and hit(row) for row, holds in zip(rows, found, strict=True)
        ]

    def expanded(self, expr: Expr) -> Expr:
        """Replace concepts by their fields."""
        match expr:
            case And(operands) | Or(operands):
                return type(expr)(tuple(map(self.expanded, operands)))
            case Predicate(FieldExtractor(name), operator, literal) if (
                name in self.taxonomy.concepts
            ):
                fields = [
                    Predicate(FieldExtractor(e), operator, literal)
                    for e in reference.concept_fields(name, self.taxonomy, set())
                ]
                bound = [f for f in fields if reference.bind_extractor(f, self.schema, self.same)]
                return Or(tuple(bound)) if len(bound) > 1 else next(iter(bound), expr)
            case _:
                return expr

    def bind(self, expr: Expr) -> reference.Test | None:
        """Turn an expression into a test of whether the indexes name a row."""
        match expr:
            case And(operands):
                tests = [self.bind(operand) for operand in operands]
                return None if None in tests else lambda row: all(test(row) for test in tests)
            case Or(operands):
                return reference.any_bound([self.bind(operand) for operand in operands])
            case Constant() | Predicate(MetaExtractor()) | Predicate(_, _, RecordLiteral()):
                return reference.bind(expr, self.schema, self.taxonomy, self.same)
            case Predicate():
                return self.bind_extractor(expr)
            case _:
                raise AssertionError(expr)

    def bind_extractor(self, predicate: Predicate) -> reference.Test | None:
        """Join what the indexes of the fields say."""
        operator, literal = predicate.operator, predicate.literal
        leaves = [
            leaf
            for leaf in self.schema.leaves
            if reference.matches(predicate.extractor, leaf, self.schema)
            and reference.is_compatible(leaf.type, operator, literal, self.same)
        ]
        if not leaves:
            return None
        join = all if operator in reference.POSITIVE else any
        return lambda row: join(
            names(row[leaf.column], leaf.type, operator, literal) for leaf in leaves
        )


def names(value: Any, type_: Type, operator: Operator, literal: Literal) -> bool:
    """Whether the index of a field names an event with this value."""
    if not supports(type_, operator, literal):
        return False
    if type_.kind in (Kind.TIME, Kind.DURATION) and operator in ORDER and (value or 0) < 0:
        return False
    return reference.cell(value, type_, operator, literal)


def supports(type_: Type, operator: Operator, literal: Literal) -> bool:
    """Whether the index of a type supports a comparison."""
    attributes = dict(type_.attributes)
    if "skip" in attributes:
        return False
    if isinstance(literal, Null):
        return operator is Operator.NE
    if attributes.get("index") == "hash":
        return operator in EQUALITY + MEMBER and not isinstance(literal, Pattern)
    if operator in MEMBER and isinstance(literal, ListLiteral):
        own = NUMBERS.get(type_.kind)
        return own is None or all(isinstance(item, own) for item in literal.items)
    if type_.kind is Kind.LIST:
        return operator in (Operator.NI, Operator.NOT_NI)
    if type_.kind is Kind.STRING and operator in MEMBER:
        return False
    plain = (Kind.STRING, Kind.IP, Kind.SUBNET, Kind.BOOL, Kind.ENUM)
    return not (type_.kind in plain and operator in ORDER)


def pruned(expr: Expr) -> Expr:
    """Join comparisons with the same text into one of all text fields, as the catalog does."""
    match expr:
        case And(operands) | Or(operands):
            operands = tuple(map(pruned, operands))
            texts: dict[tuple[Operator, str], list[Predicate]] = {}
            for operand in operands:
                match operand:
                    case Predicate(FieldExtractor() | TypeExtractor(), operator, String(text)):
                        texts.setdefault((operator, text), []).append(operand)
            for (operator, text), same in texts.items():
                if len(same) > 1:
                    every = Predicate(TypeExtractor(Type(Kind.STRING)), operator, String(text))
                    operands = (*(o for o in operands if o not in same), every)
            return type(expr)(operands) if len(operands) > 1 else operands[0]
        case _:
            return expr
