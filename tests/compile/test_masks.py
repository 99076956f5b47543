"""Pruning many files at once gives what pruning them one by one gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests import expression_strategies as strategies
from vastlab.compile import masks, pruning
from vastlab.compile.pruning import Range
from vastlab.expression import literals
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Int64,
    ListLiteral,
    Null,
    Pattern,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.resolve import resolve
from vastlab.types import Kind, Leaf, Type

TYPES = {
    **dict.fromkeys((Kind.INT64, Kind.TIME, Kind.DURATION), pa.int64()),
    Kind.UINT64: pa.uint64(),
    Kind.BOOL: pa.bool_(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.IP: pa.binary(16),
}
IMPORT = Leaf(("#import_time",), Type(Kind.TIME), "#import_time")


@dataclass
class Bounds:
    minimum: Any
    maximum: Any
    null_count: Any
    num_rows: Any


def together(kind, known):
    """Put the statistics of one column in several files together; None for a file without."""
    type_ = TYPES.get(kind, pa.null())
    parts = [each or Range(None, None, -1, 9) for each in known]
    return Bounds(
        pa.array([each.minimum for each in parts], type_),
        pa.array([each.maximum for each in parts], type_),
        np.array([each.null_count for each in parts]),
        np.array([each.num_rows for each in parts]),
    )


@st.composite
def statistics(draw, events, files):
    """Draw the statistics of some files as the manifest has them, by column."""
    found = {}
    for leaf in (*events.schema.leaves, IMPORT):
        values = [row[leaf.column] for row in events.rows]
        there = [v for v in values if v is not None and v == v and abs_(v) != float("inf")]
        if leaf.type.kind not in TYPES:
            there = []
        found[leaf.column] = [draw(one_range(there)) for _ in range(files)]
    return found


def abs_(value):
    return abs(value) if isinstance(value, float) else value


@st.composite
def one_range(draw, values):
    if draw(st.integers(0, 5)) == 0:
        return None
    rows = draw(st.integers(1, 3))
    nulls = draw(st.integers(0, rows))
    if not values or nulls == rows:
        return Range(None, None, nulls, rows)
    order = (lambda v: v.encode()) if isinstance(values[0], str) else None
    ends = sorted(draw(st.lists(st.sampled_from(values), min_size=2, max_size=2)), key=order)
    low, high = (None if draw(st.integers(0, 5)) == 0 else end for end in ends)
    return Range(low, high, nulls, rows)


def assert_same(expr, known, columns, size):
    """Compare the masks with the answers for each file."""
    each = [{name: k[i] for name, k in known.items() if k[i] is not None} for i in range(size)]
    may, must = (rule(expr, columns, size) for rule in (masks.may_match, masks.must_match))
    assert may.dtype == must.dtype == np.bool_
    assert may.tolist() == [pruning.may_match(expr, one) for one in each], (expr, known)
    assert must.tolist() == [pruning.must_match(expr, one) for one in each], (expr, known)


def columns_of(schema, known):
    kinds = {leaf.column: leaf.type.kind for leaf in (*schema.leaves, IMPORT)}
    return {name: together(kinds[name], ranges) for name, ranges in known.items()}


@strategies.share(100)
@given(st.data(), st.integers(0, 5))
def test_masks_equal_the_rule_for_one_file(data, size):
    """Every expression gives the same for each file, alone and among others."""
    events = data.draw(strategies.events(max_rows=4))
    exprs = data.draw(st.lists(strategies.expressions(events), min_size=6, max_size=12))
    known = data.draw(statistics(events, size))
    columns = columns_of(events.schema, known)
    for expr in exprs:
        bound = resolve(expr, events.schema)
        if bound is not None:
            assert_same(bound, known, columns, size)


@strategies.share(60)
@given(st.data(), st.integers(1, 4))
def test_masks_equal_the_rule_for_long_lists(data, size):
    """The same for lists that are looked up by halving."""
    kinds = (Kind.STRING, Kind.IP, Kind.INT64, Kind.UINT64)
    events = data.draw(strategies.events(kinds=kinds, depth=0, max_rows=4))
    known = data.draw(statistics(events, size))
    columns = columns_of(events.schema, known)
    for expr in data.draw(st.lists(strategies.long_lists(events), min_size=4, max_size=8)):
        with mock.patch.object(literals, "LONG_LIST_LENGTH", 1):
            assert_same(resolve(expr, events.schema) or Constant(False), known, columns, size)


VALUES = [
    *map(Int64, (0, -1, 2**63 - 1, -(2**63))),
    *map(UInt64, (5, 2**53 + 1, 2**64 - 1)),
    *map(Double, (0.5, 5.0, 2.0**53, float("inf"), float("nan"))),
    *map(Bool, (True, False)),
    *map(String, ("a", "b", "\U0001f600", "\uffff", "\ud800")),
    *map(Time, (0, 2**70)),
    *map(IP, (bytes(16), arrow.V4_MAPPED + b"\x0a\0\0\1", b"\xff" * 16)),
    Subnet(arrow.V4_MAPPED + b"\x0a\0\0\0", 104),
    Null(),
    Pattern("a"),
]
SAMPLES = {
    Kind.INT64: (-(2**63), -1, 0, 5, 2**53, 2**53 + 1, 2**63 - 1),
    Kind.UINT64: (0, 5, 2**53 + 1, 2**64 - 1),
    Kind.BOOL: (False, True),
    Kind.DOUBLE: (-1.5, 0.5, 5.0, 2.0**53),
    Kind.STRING: ("", "a", "b", "\uffff", "\U0001f600"),
    Kind.IP: (bytes(16), arrow.V4_MAPPED + b"\x0a\0\0\1", b"\xff" * 16),
    Kind.TIME: (0, 5),
    Kind.ENUM: (),
    Kind.SUBNET: (),
    Kind.LIST: (),
}
OPERATORS = [op for op in Operator]  # noqa: C416 - an enumeration


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.value)
def test_masks_equal_the_rule_for_values_of_any_sort(kind):
    """Also where a literal has another type than the column, or none that it can hold."""
    ends = [None, *SAMPLES[kind]]
    known = [
        None,
        Range(None, None, 3, 3),
        *(
            Range(low, high, nulls, 3)
            for i, low in enumerate(ends)
            for high in (None, *ends[max(i, 1) :])
            for nulls in (0, 1)
        ),
    ]
    columns = {"x": together(kind, known)}
    asked = [*VALUES, ListLiteral(()), ListLiteral(tuple(VALUES[:3])), ListLiteral((Null(),))]
    for operator in OPERATORS:
        for literal in asked:
            expr = Predicate(Column(Leaf(("x",), Type(kind), "x")), operator, literal)
            assert_same(expr, {"x": known}, columns, len(known))


INT = Column(Leaf(("x",), Type(Kind.INT64), "x"))
HIT, MISS = (Predicate(INT, Operator.GE, Int64(n)) for n in (0, 100))


@pytest.mark.parametrize(
    "expr",
    [
        Constant(True),
        Constant(False),
        And(()),
        Or(()),
        And((HIT, MISS)),
        Or((MISS, HIT)),
        Not(HIT),
        Not(MISS),
        Not(Constant(True)),
        Predicate(FieldExtractor("x"), Operator.EQ, Int64(5)),
        Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.LT, Time(5)),
        Predicate(Column(Leaf(("y",), Type(Kind.INT64), "y")), Operator.EQ, Int64(5)),
        Predicate(INT, Operator.IN, ListLiteral(tuple(map(Int64, range(200, 500))))),
        Predicate(INT, Operator.IN, ListLiteral(tuple(map(Int64, range(300))))),
    ],
    ids=str,
)
@pytest.mark.parametrize("has_import_time", [True, False])
def test_masks_equal_the_rule_for_trees(expr, has_import_time):
    """Operators of the language join masks as they join answers."""
    known = {"x": [Range(0, 9, 0, 3), Range(50, 200, 0, 3), None]}
    if has_import_time:
        known["#import_time"] = [Range(0, 3, 0, 3), Range(5, 7, 0, 3), Range(3, 5, 0, 3)]
    columns = {name: together(Kind.INT64, ranges) for name, ranges in known.items()}
    assert_same(expr, known, columns, 3)
