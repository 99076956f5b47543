"""Hypothesis strategies for expressions that have something to do with given events.

``events()`` draws a schema with rows, ``expressions(events)`` trees over its fields, whose
literals are taken from, or lie near, the values in the rows: most of them hit something.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests.reference_evaluator import Row, is_compatible
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Constant,
    Expr,
    Extractor,
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
from vastlab.expression.taxonomy import Concept, Model, Taxonomy
from vastlab.types import Field, Kind, Leaf, Schema, Type

PATTERNS = (
    "",
    ".*",
    "(?s).*",
    "a|b",
    r"\d+",
    r"\W*",
    r"[^\s]+",
    r"[\d\-x]",
    r"\bnull\b",
    r"(?i)NULL",
    r"\x61\0b",
    r"\Q.\E?",
    "[[:alpha:]]+",
    r".*\.EXE",
    "^-$",
)
TEXTS = st.one_of(arrow.texts(), st.sampled_from(("a", "b", "A", "an", "\u0661", "x1", "nul")))
SPECIAL_FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, 2.0**53, 2.0**63, 2.0**64)
SPECIAL_INTEGERS = (0, 1, -1, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1)
_SCHEMA_NAMES = st.sampled_from(("zeek.conn", "conn", "a.b.c", "ä"))
SHAPES = ("predicate", "predicate", "predicate", "and", "or", "or", "not", "constant")
NUMERIC = (Kind.INT64, Kind.UINT64, Kind.DOUBLE)


def share(percent: int) -> settings:
    """Run this percentage of the examples that the profile asks for."""
    return settings(max_examples=settings().max_examples * percent // 100)


@dataclass(frozen=True)
class Events:
    """Some rows of one schema, in Python and in Arrow."""

    schema: Schema
    rows: list[Row]
    flat: pa.RecordBatch


@st.composite
def events(draw: st.DrawFn, max_rows: int = 8, **how: Any) -> Events:
    """Draw a schema, rows of it, and the same rows as flat columns beside ``#import_time``."""
    schema = draw(arrow.schemas(names=_SCHEMA_NAMES, **{"min_fields": 1, **how}))
    size = draw(st.integers(1, max_rows))
    columns = [
        [small(draw, member.type, draw(arrow.values(member.type))) for _ in range(size)]
        for member in schema.fields
    ]
    arrays = [arrow.array(e.type, c) for e, c in zip(schema.fields, columns, strict=True)]
    nested = arrow_arrays.record_batch(arrays, arrow_schema.to_arrow(schema), size)
    moments = draw(st.lists(st.integers(0, 9), min_size=size, max_size=size))
    flat = convert.flatten(nested).append_column(
        "#import_time", pa.array(moments, pa.timestamp("ns"))
    )
    cells = [list(leaf_values(schema.fields, [c[i] for c in columns])) for i in range(size)]
    names_ = [leaf.column for leaf in schema.leaves]
    rows = [
        {**dict(zip(names_, row, strict=True)), "#import_time": moment}
        for row, moment in zip(cells, moments, strict=True)
    ]
    return Events(schema, rows, flat)


def small(draw: st.DrawFn, type_: Type, value: Any) -> Any:
    """Replace some values by ones of a small set, so that rows repeat and meet each other."""
    if value is None or not draw(st.booleans()):
        return value
    few: dict[Kind, tuple[Any, ...]] = {
        Kind.INT64: (0, 1, 5, -1, 2**53 + 1),
        Kind.UINT64: (0, 1, 5, 80, 2**53 + 1),
        Kind.DOUBLE: SPECIAL_FLOATS,
        Kind.TIME: (0, 1, -1),
        Kind.DURATION: (0, 1, -1),
        Kind.STRING: ("a", "A", "an", "b", "x1", "\u0661"),
        Kind.IP: (arrow.V4_MAPPED + b"\x0a\0\0\1", arrow.V4_MAPPED + b"\x0a\1\0\1", bytes(16)),
        Kind.SUBNET: ((arrow.V4_MAPPED + b"\x0a\0\0\0", 104), (bytes(16), 0)),
    }
    if type_.kind is Kind.LIST:
        return [small(draw, type_.item or Type(Kind.NULL), item) for item in value]
    return draw(st.sampled_from(few[type_.kind])) if type_.kind in few else value


def leaf_values(fields: tuple[Field, ...], values: list[Any]) -> Any:
    """Yield the values of all leaves of a record, in the order of `Schema.leaves`."""
    for member, value in zip(fields, values, strict=True):
        if member.type.kind is Kind.RECORD:
            inside = [None] * len(member.type.fields) if value is None else list(value)
            yield from leaf_values(member.type.fields, inside)
        else:
            yield value


# --- literals -------------------------------------------------------------------------------


def literals(type_: Type, samples: list[Any]) -> st.SearchStrategy[Literal]:
    """Literals that have a meaning for cells of a type, and some that have none."""
    near = [st.sampled_from(samples).flatmap(lambda v: near_value(type_, v))] if samples else []
    kind = type_.item.kind if type_.item is not None else type_.kind
    scalar = st.one_of(*near, *near, *near, literal_of(kind), any_literal())
    list_ = st.lists(scalar, max_size=4).map(lambda items: ListLiteral(tuple(items)))
    return st.one_of(scalar, scalar, list_)


@functools.cache
def any_literal() -> st.SearchStrategy[Literal]:
    """Draw a literal of any kind but a parameter or a relative time."""
    numbers = [literal_of(kind) for kind in NUMERIC]
    others = (Kind.BOOL, Kind.STRING, Kind.IP, Kind.SUBNET, Kind.TIME, Kind.DURATION)
    constants = (Null(), ListLiteral(()), MapLiteral(()), RecordLiteral(()))
    return st.one_of(*numbers, *map(literal_of, others), st.sampled_from(constants))


@functools.cache
def literal_of(kind: Kind) -> st.SearchStrategy[Literal]:
    """Draw a literal of one kind."""
    match kind:
        case Kind.BOOL:
            return st.builds(Bool, st.booleans())
        case Kind.INT64:
            return st.builds(Int64, st.sampled_from([e for e in SPECIAL_INTEGERS if e < 2**63]))
        case Kind.UINT64:
            return st.builds(UInt64, st.sampled_from([e for e in SPECIAL_INTEGERS if e >= 0]))
        case Kind.DOUBLE:
            return st.builds(Double, st.one_of(st.sampled_from(SPECIAL_FLOATS), st.floats()))
        case Kind.TIME:
            return st.builds(Time, st.sampled_from((0, 5, -(2**63) - 1, 2**63)))
        case Kind.DURATION:
            return st.builds(Duration, st.sampled_from((0, 5, -(2**63) - 1, 2**63)))
        case Kind.IP:
            return st.builds(IP, arrow.addresses())
        case Kind.SUBNET:
            return arrow.networks().map(lambda network: Subnet(*network))
        case _:
            patterns = st.builds(Pattern, st.sampled_from(PATTERNS), st.booleans())
            return st.one_of(TEXTS.map(String), patterns)


def near_value(type_: Type, value: Any) -> st.SearchStrategy[Literal]:
    """Literals that equal a value, contain it, lie in it, or differ by little."""
    match type_.kind:
        case _ if value is None:
            return st.just(Null())
        case Kind.BOOL:
            return st.sampled_from((Bool(value), UInt64(int(value)), Double(float(value))))
        case Kind.INT64 | Kind.UINT64 | Kind.DOUBLE:
            return near_number(value)
        case Kind.TIME | Kind.DURATION:
            make = Time if type_.kind is Kind.TIME else Duration
            return st.sampled_from((-1, 0, 1)).map(lambda step: make(value + step))
        case Kind.STRING:
            return near_text(value)
        case Kind.IP:
            nets = st.integers(0, 128).map(lambda length: masked(value, length))
            return st.one_of(st.just(IP(value)), nets)
        case Kind.SUBNET:
            nets = st.integers(0, value[1]).map(lambda length: masked(value[0], length))
            return st.one_of(st.just(Subnet(*value)), st.just(IP(value[0])), nets)
        case Kind.ENUM:
            key = dict(type_.labels)[value]
            return st.sampled_from((String(value), String("no label"), UInt64(key), Int64(key)))
        case Kind.LIST if value:
            item = type_.item or Type(Kind.NULL)
            return st.sampled_from(value).flatmap(lambda e: near_value(item, e))
        case Kind.LIST:
            return literal_of((type_.item or Type(Kind.NULL)).kind)
        case _:
            return any_literal()


def near_number(value: float) -> st.SearchStrategy[Literal]:
    """Draw the number in all its spellings, and its neighbours."""
    choices: list[Literal] = [Double(float(value)), Double(float(value) + 0.5)]
    if math.isfinite(value):
        for whole in (int(value) - 1, int(value), int(value) + 1):
            choices += [UInt64(whole)] if 0 <= whole < 2**64 else []
            choices += [Int64(whole)] if -(2**63) <= whole < 2**63 else []
    return st.sampled_from(choices)


def near_text(value: str) -> st.SearchStrategy[Literal]:
    """Draw the text, parts of it, texts around it, and patterns that match it."""
    quoted = "".join(f"\\x{{{ord(c):x}}}" for c in value)
    return st.sampled_from(
        (
            String(value),
            String(value[1:]),
            String(f"a{value}b"),
            String(value.swapcase()),
            Pattern(quoted),
            Pattern(quoted, True),
            Pattern(f".*{quoted}"),
        )
    )


def masked(packed: bytes, length: int) -> Subnet:
    """Return the network of an address."""
    host = 128 - length
    return Subnet((int.from_bytes(packed, "big") >> host << host).to_bytes(16, "big"), length)


# --- expressions ----------------------------------------------------------------------------


def expressions(some: Events, *, depth: int = 2) -> st.SearchStrategy[Expr]:
    """Trees over the fields of some events; `Not` and constants are among them."""
    return tree(some, depth)


@st.composite
def tree(draw: st.DrawFn, some: Events, depth: int) -> Expr:
    """One tree, at most so deep."""
    shape = draw(st.sampled_from(SHAPES)) if depth else "predicate"
    match shape:
        case "not":
            return Not(draw(tree(some, depth - 1)))
        case "and" | "or":
            size = draw(st.integers(2, 3))
            operands = tuple(draw(tree(some, depth - 1)) for _ in range(size))
            return And(operands) if shape == "and" else Or(operands)
        case "constant":
            return Constant(draw(st.booleans()))
        case _:
            return draw(predicates(some))


@st.composite
def predicates(draw: st.DrawFn, some: Events) -> Expr:
    """Draw a comparison that mostly means a leaf of the events."""
    leaf = draw(st.sampled_from(some.schema.leaves)) if some.schema.leaves else None
    if leaf is None or draw(st.integers(0, 9)) == 9:
        return draw(metadata(some, draw(st.sampled_from(Operator))))
    operator, literal = draw(comparisons(some, leaf))
    parts = leaf.name.split(".")
    names = [".".join(parts[i:]) for i in range(len(parts))]
    stems = some.schema.name.split(".")
    names += [".".join((*stems[i:], leaf.name)) for i in range(len(stems))]
    wrong = [f"{some.schema.name}.{parts[-1]}", f"x.{leaf.name}", "nowhere"]
    name = st.integers(0, 19).flatmap(lambda i: st.sampled_from(wrong if i == 19 else names))
    start = draw(st.integers(0, len(leaf.path) - 1))
    path = draw(st.sampled_from(((), ("x",), (some.schema.name,), tuple(stems)))) or ()
    choices: list[Extractor] = [FieldExtractor(draw(name))] * 3
    choices.append(FieldExtractor.of((*path, *leaf.path[0 if path else start :])))
    choices += [TypeExtractor(leaf.type)]
    choices += [AliasExtractor(name) for name in leaf.type.names]
    return Predicate(draw(st.sampled_from(choices)), operator, literal)


@st.composite
def comparisons(draw: st.DrawFn, some: Events, leaf: Leaf) -> tuple[Operator, Literal]:
    """Draw an operator and a literal that mostly fit a leaf."""
    literal = draw(literals(leaf.type, [row[leaf.column] for row in some.rows]))
    fitting = [e for e in Operator if is_compatible(leaf.type, e, literal)]
    if not fitting:
        literal = Null() if draw(st.booleans()) else ListLiteral((literal,))
        fitting = [e for e in Operator if is_compatible(leaf.type, e, literal)]
    if draw(st.integers(0, 9)) == 9 or not fitting:
        return draw(st.sampled_from(Operator)), literal
    return draw(st.sampled_from(fitting)), literal


@st.composite
def metadata(draw: st.DrawFn, some: Events, operator: Operator) -> Expr:
    """``#type`` against texts and patterns, ``#import_time`` against times."""
    if draw(st.booleans()):
        name = some.schema.name
        texts = (name, name[:3], f"x{name}", "zeek.dns")
        patterns = ("conn", "(?i)ZEEK.*", r"[a.-c]+", ".*")
        choices = [*map(String, texts), *map(Pattern, patterns)]
        return Predicate(MetaExtractor(Meta.TYPE), operator, draw(st.sampled_from(choices)))
    ordering = draw(st.sampled_from([e for e in Operator if e.is_ordering]))
    moment = Time(draw(st.sampled_from((-(2**64), 0, 3, 9, 2**64))))
    return Predicate(MetaExtractor(Meta.IMPORT_TIME), ordering, moment)


@st.composite
def long_lists(draw: st.DrawFn, some: Events) -> Expr:
    """Whether a leaf, or every one of a type, is in a list or not."""
    leaf = draw(st.sampled_from(some.schema.leaves)) if some.schema.leaves else None
    if leaf is None:
        return Constant(True)
    cells = [row[leaf.column] for row in some.rows]
    values = literals(leaf.type, cells)
    if leaf.type.kind is Kind.IP:
        values |= literals(Type(Kind.SUBNET), [])
    items = draw(st.lists(values, min_size=2, max_size=8))
    extractor = draw(st.sampled_from((FieldExtractor(leaf.name), TypeExtractor(leaf.type))))
    operator = draw(st.sampled_from((Operator.IN, Operator.NOT_IN)))
    predicate = Predicate(extractor, operator, ListLiteral(tuple(items)))
    return Not(predicate) if draw(st.booleans()) else predicate


# --- taxonomies -----------------------------------------------------------------------------


@st.composite
def taxonomies(draw: st.DrawFn, some: Events) -> Taxonomy:
    """Concepts ``c0`` to ``c3`` over the fields of some events, and models over them."""
    names = [leaf.name for leaf in some.schema.leaves]
    fields = [*names, *(f"{some.schema.name}.{name}" for name in names), "zeek.dns.x"]
    concepts = {}
    for i in range(4):
        own = draw(st.lists(st.sampled_from(fields), max_size=2))
        inner = draw(st.lists(st.sampled_from(("c0", "c1", "c2", "c3")), max_size=2))
        concepts[f"c{i}"] = Concept(f"c{i}", fields=tuple(own), concepts=tuple(inner))
    models = {"m": Model("m", definition=("c0", "k")), "k": Model("k", definition=("c1", "c2"))}
    return Taxonomy(concepts, models)


@st.composite
def taxonomy_predicates(draw: st.DrawFn, some: Events) -> Expr:
    """Comparisons with concepts and models."""
    leaf = draw(st.sampled_from(some.schema.leaves))
    values = literals(leaf.type, [row[leaf.column] for row in some.rows])
    operator = draw(st.sampled_from(Operator))
    name = draw(st.sampled_from(("c0", "c1", "c2", "c3", "m", "m", "k", "k")))
    if name in ("m", "k"):
        size = 3 if name == "m" else 2
        keys = draw(st.sampled_from((("",) * size, ("c0", "c1", "c2"), ("c2", "zz"), ("c1",))))
        pairs = [(key, draw(st.one_of(values, st.just(Null())))) for key in keys]
        return Predicate(FieldExtractor(name), operator, RecordLiteral(tuple(pairs)))
    return Predicate(FieldExtractor(name), operator, draw(values))
