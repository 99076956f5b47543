"""What an expression means, row by row: sections 3 to 6 of the specification in plain Python.

Written for clarity, and from the text alone: it shares no line with the product, and the
product never uses it. `answers` says which rows satisfy an expression.

A row is a dictionary from `Leaf.column` (and ``#import_time``) to a value: nanoseconds for a
time or duration, 16 bytes for an ip, ``(bytes, length)`` for a subnet, its label for an enum, a
list for a list, `None` for null.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Constant,
    Expr,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    MapLiteral,
    Null,
    Pattern,
    RecordLiteral,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

Row = dict[str, Any]
Test = Callable[[Row], bool]
Same = Mapping[Kind, tuple[type, ...]]
EQ, NE, IN, NOT_IN, NI, NOT_NI = (
    Operator.EQ,
    Operator.NE,
    Operator.IN,
    Operator.NOT_IN,
    Operator.NI,
    Operator.NOT_NI,
)
POSITIVE = {NE: EQ, NOT_IN: IN, NOT_NI: NI}
NUMBERS = (Int64, UInt64, Double)
NUMERIC = (Kind.INT64, Kind.UINT64, Kind.DOUBLE)
SAME = {
    Kind.BOOL: (Bool,),
    Kind.INT64: NUMBERS,  # design.md, The language, 1: numbers compare by value
    Kind.UINT64: NUMBERS,
    Kind.DOUBLE: NUMBERS,
    Kind.DURATION: (Duration,),
    Kind.TIME: (Time,),
    Kind.STRING: (String, Pattern),
    Kind.IP: (IP,),
    Kind.SUBNET: (Subnet,),
    Kind.LIST: (ListLiteral,),
}


def answers(
    expr: Expr, schema: Schema, rows: list[Row], taxonomy: Taxonomy, same: Same = SAME
) -> list[bool]:
    """Which rows satisfy an expression; none if nothing in it binds.

    `same` says which literals compare with which leaves: another table gives VAST's own rule.
    """
    test = bind(expr, schema, taxonomy, same)
    return [test is not None and test(row) for row in rows]


# --- section 3: binding -----------------------------------------------------------------------


def bind(expr: Expr, schema: Schema, taxonomy: Taxonomy, same: Same = SAME) -> Test | None:
    """Turn an expression into a test of a row; `None` if it is unresolved."""
    match expr:
        case Constant(value):
            return lambda row: value
        case And(operands):
            tests = [bind(operand, schema, taxonomy, same) for operand in operands]
            return None if None in tests else lambda row: all(test(row) for test in tests)
        case Or(operands):
            return any_bound([bind(operand, schema, taxonomy, same) for operand in operands])
        case Not(operand):
            test = bind(operand, schema, taxonomy, same)
            return None if test is None else lambda row: not test(row)
        case Predicate(MetaExtractor(Meta.TYPE), operator, literal):
            of_name = Type(Kind.STRING)
            return lambda row: type_cell(schema.name, operator, literal, of_name)
        case Predicate(MetaExtractor(Meta.IMPORT_TIME), operator, literal):
            return lambda row: cell(row["#import_time"], Type(Kind.TIME), operator, literal)
        case Predicate(FieldExtractor(name), operator, RecordLiteral() as record) if (
            name in taxonomy.models
        ):
            return bind_model(name, operator, record, schema, taxonomy, same)
        case Predicate(FieldExtractor(name)) if name in taxonomy.concepts:
            return bind_concept(name, expr, schema, taxonomy, same)
        case Predicate():
            return bind_extractor(expr, schema, same)


def any_bound(tests: list[Test | None]) -> Test | None:
    """Join what is bound by "or"."""
    bound = [test for test in tests if test is not None]
    return (lambda row: any(test(row) for test in bound)) if bound else None


def bind_extractor(predicate: Predicate, schema: Schema, same: Same = SAME) -> Test | None:
    """All leaves that match and fit; a conjunction for negated operators."""
    operator, literal = predicate.operator, predicate.literal
    leaves = [
        leaf
        for leaf in schema.leaves
        if matches(predicate.extractor, leaf, schema)
        and is_compatible(leaf.type, operator, literal, same)
    ]
    if not leaves:
        return None
    join = all if operator in POSITIVE else any
    return lambda row: join(cell(row[e.column], e.type, operator, literal) for e in leaves)


def matches(extractor: Any, leaf: Leaf, schema: Schema) -> bool:
    """Whether an extractor means a leaf."""
    match extractor:
        case FieldExtractor(_, (_, *_) as parts):
            stems = [parts[i:] for i in range(1, len(parts)) if is_stem(schema.name, parts[:i])]
            return leaf.path in stems or leaf.path[len(leaf.path) - len(parts) :] == parts
        case FieldExtractor(name):
            endings = dotted_endings(schema.name)
            qualified = {f"{ending}.{leaf.name}" for ending in endings}
            return name in dotted_endings(leaf.name) or name in qualified
        case TypeExtractor(type_):
            return type_ is not None and is_congruent(type_, leaf.type)
        case AliasExtractor(name):
            return name in leaf.type.names
        case _:
            raise AssertionError(extractor)


def is_stem(name: str, parts: tuple[str, ...]) -> bool:
    """Whether the first names of a path are those of a schema, or the end of it."""
    return ".".join(parts) in dotted_endings(name)


def dotted_endings(text: str) -> set[str]:
    """Return a dotted text and everything behind one of its dots."""
    return {text} | {text[i + 1 :] for i, character in enumerate(text) if character == "."}


def is_congruent(asked: Type, type_: Type) -> bool:
    """Compare types without their names."""
    if asked.kind != type_.kind:
        return False
    if asked.kind is Kind.LIST:
        if asked.item is None or asked.item.kind is Kind.NULL:
            return True
        return type_.item is not None and is_congruent(asked.item, type_.item)
    if asked.kind is Kind.RECORD:
        if len(asked.fields) != len(type_.fields):
            return False
        pairs = zip(asked.fields, type_.fields, strict=True)
        return all(is_congruent(one.type, other.type) for one, other in pairs)
    return asked.labels == type_.labels


# --- section 4: compatibility -----------------------------------------------------------------


def is_compatible(type_: Type, operator: Operator, literal: Literal, same: Same = SAME) -> bool:
    """Whether a leaf of this type can be compared with the literal at all."""
    kind = type_.kind
    container = isinstance(literal, ListLiteral | MapLiteral | RecordLiteral)
    match operator:
        case Operator.EQ | Operator.NE:
            return isinstance(literal, Null) or is_same(type_, literal, same)
        case Operator.LT | Operator.LE | Operator.GT | Operator.GE:
            return is_same(type_, literal, same)
        case Operator.IN | Operator.NOT_IN:
            if kind is Kind.STRING:  # patterns: design.md, The language, 3
                return container or isinstance(literal, String | Pattern)
            if kind in (Kind.IP, Kind.SUBNET):
                return container or isinstance(literal, Subnet)
            return container
        case Operator.NI | Operator.NOT_NI:
            if isinstance(literal, String):
                return kind in (Kind.STRING, Kind.LIST)
            if isinstance(literal, IP | Subnet):
                return kind in (Kind.SUBNET, Kind.LIST)
            return kind is Kind.LIST


def is_same(type_: Type, literal: Literal, same: Same = SAME) -> bool:
    """Decide what the table calls same-type."""
    if type_.kind is Kind.ENUM:
        return isinstance(literal, String) and literal.value in dict(type_.labels)
    return isinstance(literal, same.get(type_.kind, ()))


# --- section 5: evaluation --------------------------------------------------------------------


def cell(value: Any, type_: Type, operator: Operator, literal: Literal) -> bool:
    """Whether one cell satisfies a comparison."""
    if isinstance(literal, Null):
        if operator is EQ:
            return value is None
        return operator is NE and value is not None
    if value is None:
        return False
    if operator in POSITIVE:
        return not holds(value, type_, POSITIVE[operator], literal)
    return holds(value, type_, operator, literal)


def type_cell(name: str, operator: Operator, literal: Literal, type_: Type) -> bool:
    """``#type``: as a string; a pattern may also be searched for."""
    if operator in POSITIVE:
        return not type_cell(name, POSITIVE[operator], literal, type_)
    return holds(name, type_, operator, literal)


def holds(value: Any, type_: Type, operator: Operator, literal: Literal) -> bool:
    """Apply a positive operator to a value."""
    match operator:
        case Operator.EQ:
            return equals(value, type_, literal)
        case Operator.IN:
            return is_in(value, type_, literal)
        case Operator.NI:
            return contains(value, type_, literal)
        case _:
            return is_ordered(value, type_, operator, literal)


def equals(value: Any, type_: Type, literal: Literal) -> bool:
    """``==`` of the same type."""
    match literal:
        case Pattern():
            return re2(literal, value, full=True)
        case ListLiteral():
            return False
        case _:
            return bool(value == plain(literal))


def plain(literal: Literal) -> Any:
    """Return the value of a literal in the form that rows have."""
    match literal:
        case Subnet(packed, length):
            return (packed, length)
        case IP(packed):
            return packed
        case Time(nanoseconds) | Duration(nanoseconds):
            return nanoseconds
        case _:
            return literal.value


def is_ordered(value: Any, type_: Type, operator: Operator, literal: Literal) -> bool:
    """Compare by natural order; Python compares int and float exactly, and NaN as IEEE 754 asks."""
    if isinstance(literal, Pattern | ListLiteral):
        return False
    left, right = value, plain(literal)
    if type_.kind is Kind.ENUM:
        left, right = dict(type_.labels)[left], dict(type_.labels)[right]
    if type_.kind is Kind.STRING:
        left, right = left.encode(), right.encode()
    match operator:
        case Operator.LT:
            return left < right
        case Operator.LE:
            return left <= right
        case Operator.GT:
            return left > right
        case _:
            return left >= right


def is_in(value: Any, type_: Type, literal: Literal) -> bool:
    """``in``."""
    match literal:
        case String(text):
            return value in text
        case Pattern():
            return re2(literal, value, full=False)
        case Subnet():
            network = value if type_.kind is Kind.SUBNET else (value, 128)
            return has_prefix(network, (literal.packed, literal.length))
        case ListLiteral(items):
            return any(is_member(value, type_, item) for item in items)
        case _:
            return False


def is_member(value: Any, type_: Type, item: Literal) -> bool:
    """Whether a cell is, or for design.md (The language, 3 and 4) lies in, an element."""
    if type_.kind in (Kind.IP, Kind.SUBNET) and isinstance(item, Subnet):
        return is_in(value, type_, item)
    if type_.kind is Kind.ENUM and isinstance(item, String):
        return bool(value == item.value)
    return equals_element(value, type_, item)


def contains(value: Any, type_: Type, literal: Literal) -> bool:
    """``ni``."""
    if type_.kind is Kind.LIST:
        item = type_.item or Type(Kind.NULL)
        return any(e is not None and equals_element(e, item, literal) for e in value)
    match literal:
        case String(text):
            return text in value
        case Subnet(packed, length):
            return has_prefix((packed, length), value)
        case IP(packed):
            return has_prefix((packed, 128), value)
        case _:
            return False


def equals_element(value: Any, type_: Type, literal: Literal) -> bool:
    """Equality across numbers, bools and the keys of enumerations: in lists only."""
    if isinstance(literal, Bool | Int64 | UInt64 | Double):
        if type_.kind is Kind.ENUM:
            return bool(dict(type_.labels)[value] == literal.value)
        return type_.kind in (*NUMERIC, Kind.BOOL) and bool(value == literal.value)
    if type_.kind in (Kind.ENUM, Kind.LIST, Kind.MAP, Kind.RECORD, Kind.BLOB):
        return False
    return isinstance(literal, SAME.get(type_.kind, ())) and equals(value, type_, literal)


def has_prefix(network: tuple[bytes, int], around: tuple[bytes, int]) -> bool:
    """Whether a network lies in another, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in network[0])[: network[1]]
    prefix = "".join(f"{byte:08b}" for byte in around[0])[: around[1]]
    return bits.startswith(prefix)


@functools.lru_cache(maxsize=10_000)
def re2(pattern: Pattern, text: str, *, full: bool) -> bool:
    """Match with RE2 itself, which Arrow's kernels wrap."""
    regex = rf"\A(?:{pattern.closed})\z" if full else pattern.regex
    found = pc.match_substring_regex(pa.scalar(text), regex, ignore_case=pattern.ignore_case)
    return bool(found.as_py())


# --- section 6: taxonomies --------------------------------------------------------------------


def bind_concept(
    name: str, predicate: Predicate, schema: Schema, taxonomy: Taxonomy, same: Same
) -> Test | None:
    """Join all fields by "or", for negated operators too; else a plain field."""
    fields = [
        Predicate(FieldExtractor(e), predicate.operator, predicate.literal)
        for e in concept_fields(name, taxonomy, set())
    ]
    test = any_bound([bind_extractor(field, schema, same) for field in fields])
    return bind_extractor(predicate, schema, same) if test is None else test


def concept_fields(name: str, taxonomy: Taxonomy, seen: set[str]) -> list[str]:
    """Collect the fields of a concept and of the concepts in it."""
    if name in seen or name not in taxonomy.concepts:
        return []
    concept = taxonomy.concepts[name]
    nested = [concept_fields(e, taxonomy, seen | {name}) for e in concept.concepts]
    return [*concept.fields, *(field for fields in nested for field in fields)]


def bind_model(
    name: str,
    operator: Operator,
    record: RecordLiteral,
    schema: Schema,
    taxonomy: Taxonomy,
    same: Same,
) -> Test | None:
    """Existence of what is unrestricted, and the comparison of what is restricted."""
    leaves = model_leaves(name, taxonomy)
    if not record.fields:
        return None
    if record.fields[0][0] == "":
        assert len(record.fields) == len(leaves), "invalid query"
        values = {leaf: value for leaf, (_, value) in zip(leaves, record.fields, strict=True)}
    else:
        values = dict(record.fields)
    exist, compare = [], []
    for leaf in leaves:
        value = values.get(leaf, Null())
        if isinstance(value, Null):
            exist.append(bind(Predicate(FieldExtractor(leaf), NE, Null()), schema, taxonomy, same))
        else:
            positive = POSITIVE.get(operator, operator)
            test = Predicate(FieldExtractor(leaf), positive, value)
            compare.append(bind(test, schema, taxonomy, same))
    if None in exist or None in compare:
        return None

    def test_row(row: Row) -> bool:
        compared = all(test(row) for test in compare)
        if compare and operator in POSITIVE:
            compared = not compared
        return compared and all(test(row) for test in exist)

    return test_row


def model_leaves(name: str, taxonomy: Taxonomy) -> list[str]:
    """List the concepts of a model, left to right."""
    if name not in taxonomy.models:
        return [name]
    definition = taxonomy.models[name].definition
    return [leaf for part in definition for leaf in model_leaves(part, taxonomy)]
