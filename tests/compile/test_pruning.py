"""What extremes of columns rule out."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from vastlab.compile.pruning import Range, may_match, must_match
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
from vastlab.expression.parameters import to_literal
from vastlab.expression.resolve import resolve
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Type


def ranges(draw, events):
    """Draw what is known of the extremes of all columns."""
    known = {}
    for leaf in (*events.schema.leaves, Leaf(("#import_time",), Type(Kind.TIME), "#import_time")):
        values = [row[leaf.column] for row in events.rows]
        there = [v for v in values if v is not None and v == v]  # NaN differs from itself
        text = leaf.type.kind in (Kind.STRING, Kind.ENUM)
        order = (lambda v: v.encode()) if text else None
        comparable = leaf.type.kind not in (Kind.LIST, Kind.MAP)
        low = min(there, key=order) if there and comparable else None
        high = max(there, key=order) if there and comparable else None
        keep = [draw(st.integers(0, 5)) > 0 for _ in range(4)]
        if keep[0]:
            known[leaf.column] = Range(
                low if keep[1] else None,
                high if keep[2] else None,
                values.count(None) if keep[3] else None,
                len(values),
            )
    return known


@strategies.share(60)
@given(st.data())
def test_sound(data):
    """Data that holds an answer is never ruled out."""
    events = data.draw(strategies.events(max_rows=4))
    exprs = data.draw(st.lists(strategies.expressions(events), min_size=6, max_size=12))
    known = ranges(data.draw, events)
    for expr in exprs:
        bound = resolve(expr, events.schema)
        answers = reference.answers(expr, events.schema, events.rows, Taxonomy())
        if any(answers):
            assert may_match(bound, known), (expr, known)
        if bound is not None and must_match(bound, known):
            assert all(answers), (expr, known)


@strategies.share(60)
@given(st.data())
def test_long_lists_are_sound(data):
    """A list that is looked up by halving rules out nothing that holds an answer either."""
    kinds = (Kind.STRING, Kind.IP, Kind.INT64, Kind.UINT64)
    events = data.draw(strategies.events(kinds=kinds, depth=0, max_rows=4))
    known = ranges(data.draw, events)
    for expr in data.draw(st.lists(strategies.long_lists(events), min_size=4, max_size=8)):
        with mock.patch.object(literals, "LONG_LIST_LENGTH", 1):
            may = may_match(resolve(expr, events.schema) or Constant(False), known)
        assert may or not any(reference.answers(expr, events.schema, events.rows, Taxonomy())), (
            expr,
            known,
        )


@pytest.mark.parametrize(
    "low, high, holds",
    [
        (0, 1999, True),
        (2, 1999, False),
        (2001, 2001, True),
        (2200, 2300, False),
        (None, 0, False),
        (None, 1, True),
        (2199, None, True),
        (2200, None, False),
        (None, None, True),
        ("a", "b", True),
    ],
)
def test_long_lists_rule_out(low, high, holds):
    """A file counts whose extremes enclose one of many values, or are of another sort."""
    many = ListLiteral(tuple(map(UInt64, (*range(2000, 2200), 1))))
    asked = Predicate(column(Kind.UINT64), Operator.IN, many)
    assert may_match(asked, {"x": Range(low, high, 0, 9)}) is holds


@pytest.mark.parametrize(
    "low, high, holds", [("text 3", "text 3", True), ("text 9", "text 91", True), ("u", "v", False)]
)
def test_long_lists_of_texts_rule_out(low, high, holds):
    """Also where no value among the first lies between."""
    many = to_literal([f"text {number}" for number in range(101)][::-1])
    asked = Predicate(column(Kind.STRING), Operator.IN, many)
    assert may_match(asked, {"x": Range(low, high, 0, 9)}) is holds
    assert may_match(asked, {"x": Range("text", "text", 0, 9)}) is False


@pytest.mark.parametrize("first, last, holds", [(0, 5, True), (7, 8, False), (50, 51, True)])
def test_long_lists_of_networks_rule_out(first, last, holds):
    """A network counts with all of its addresses, and a single address beside it."""
    nets = [Subnet(bytes(14) + bytes([number, 0]), 120) for number in range(9, 199)]
    many = ListLiteral((*nets, IP(bytes(16))))
    low, high = (bytes(14) + bytes([end, 7]) for end in (first, last))
    asked = Predicate(column(Kind.IP), Operator.IN, many)
    low = bytes(16) if first == 0 else low
    assert may_match(asked, {"x": Range(low, high, 0, 9)}) is holds


def column(kind, labels=()):
    """Make a column x of a kind."""
    return Column(Leaf(("x",), Type(kind, labels=labels), "x"))


NET = Subnet(arrow.V4_MAPPED + b"\x0a\0\0\0", 104)
LOW, HIGH = (arrow.V4_MAPPED + bytes(e) for e in ((11, 0, 0, 1), (12, 0, 0, 1)))
INT, DOUBLE, TEXT, ADDRESS = map(column, (Kind.INT64, Kind.DOUBLE, Kind.STRING, Kind.IP))


@pytest.mark.parametrize(
    "expr, known",
    [
        (Predicate(INT, Operator.EQ, Int64(5)), Range(6, 9)),
        (Predicate(INT, Operator.EQ, Int64(10)), Range(6, 9)),
        (Predicate(INT, Operator.LT, Int64(6)), Range(6, 9)),
        (Predicate(INT, Operator.LE, Int64(5)), Range(6, 9)),
        (Predicate(INT, Operator.GT, Int64(9)), Range(6, 9)),
        (Predicate(INT, Operator.GE, Int64(10)), Range(6, 9)),
        (Predicate(INT, Operator.NE, Int64(6)), Range(6, 6)),
        (Predicate(INT, Operator.NE, Int64(6)), Range(1, 9, 3, 3)),
        (Predicate(INT, Operator.NE, Null()), Range(None, None, 3, 3)),
        (Predicate(INT, Operator.EQ, Null()), Range(1, 9, 0, 3)),
        (Predicate(INT, Operator.IN, ListLiteral((Int64(1), Int64(11)))), Range(6, 9)),
        (Predicate(DOUBLE, Operator.GT, Double(2.0)), Range(0.5, 1.5)),
        (Predicate(TEXT, Operator.EQ, String("b")), Range("c", "d")),
        (Predicate(ADDRESS, Operator.EQ, IP(bytes(16))), Range(LOW, HIGH)),
        (Predicate(ADDRESS, Operator.IN, NET), Range(LOW, HIGH)),
        (Predicate(column(Kind.BOOL), Operator.EQ, Bool(True)), Range(False, False)),
        (Predicate(column(Kind.TIME), Operator.LT, Time(0)), Range(1, 2)),
        (
            And((Predicate(INT, Operator.EQ, Int64(5)), Predicate(INT, Operator.EQ, Int64(7)))),
            Range(6, 9),
        ),
        (
            Or((Predicate(INT, Operator.EQ, Int64(5)), Predicate(INT, Operator.EQ, Int64(3)))),
            Range(6, 9),
        ),
        (Predicate(TEXT, Operator.EQ, String("x")), Range(may_contain=b"y".__eq__)),
        (Predicate(ADDRESS, Operator.EQ, IP(LOW)), Range(LOW, HIGH, may_contain=HIGH.__eq__)),
        (
            Predicate(TEXT, Operator.IN, ListLiteral((String("x"), String("z")))),
            Range(may_contain=b"y".__eq__),
        ),
        (Constant(False), Range()),
        (Not(Constant(True)), Range()),
    ],
)
def test_rules_out(expr, known):
    """What the extremes exclude is ruled out."""
    assert not may_match(expr, {"x": known})


@pytest.mark.parametrize(
    "expr, known",
    [
        (Predicate(TEXT, Operator.EQ, String("ü")), Range(may_contain="ü".encode().__eq__)),
        (Predicate(INT, Operator.EQ, Int64(7)), Range(6, 9, may_contain=b"y".__eq__)),
        (Predicate(TEXT, Operator.NE, String("x")), Range(may_contain=b"y".__eq__)),
        (Predicate(DOUBLE, Operator.NE, Double(1.0)), Range(1.0, 1.0)),  # NaN may be there
        (Predicate(INT, Operator.EQ, Int64(5)), Range(None, None)),
        (Predicate(INT, Operator.EQ, Int64(5)), Range("a", "b")),
        (Predicate(TEXT, Operator.EQ, Pattern("a")), Range("c", "d")),
        (Predicate(TEXT, Operator.NI, String("a")), Range("c", "d")),
        (Predicate(column(Kind.SUBNET), Operator.EQ, NET), Range(0, 0, 9, 9)),
        (Predicate(FieldExtractor("x"), Operator.EQ, UInt64(5)), Range(6, 9)),
        (Predicate(INT, Operator.NOT_IN, ListLiteral((Int64(6), Int64(7)))), Range(6, 6)),
    ],
)
def test_keeps_files_without_usable_statistics(expr, known):
    """What the extremes cannot exclude stays."""
    assert may_match(expr, {"x": known})
    assert may_match(expr, {})


def test_import_time():
    """The import time prunes like a field."""
    expr = Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.LT, Time(5))
    assert not may_match(expr, {"#import_time": Range(5, 9)})
    assert may_match(expr, {"#import_time": Range(4, 9)})


NUMBERS, FLOATS = Range(6, 9, 0, 3), Range(0.5, 1.5, 0, 3)


@pytest.mark.parametrize(
    "expr, known",
    [
        (Predicate(INT, Operator.GE, Int64(6)), NUMBERS),
        (Predicate(INT, Operator.GT, Int64(5)), NUMBERS),
        (Predicate(INT, Operator.LE, Int64(9)), NUMBERS),
        (Predicate(INT, Operator.LT, Int64(10)), NUMBERS),
        (Predicate(INT, Operator.NE, Int64(5)), NUMBERS),
        (Predicate(INT, Operator.EQ, Int64(6)), Range(6, 6, 0, 3)),
        (Predicate(INT, Operator.NOT_IN, ListLiteral((Int64(1), Int64(2)))), NUMBERS),
        (Predicate(INT, Operator.NE, Null()), NUMBERS),
        (Predicate(INT, Operator.EQ, Null()), Range(None, None, 3, 3)),
        (Predicate(ADDRESS, Operator.IN, NET), Range(NET.packed, NET.extremes[1], 0, 3)),
        (Not(Predicate(INT, Operator.EQ, Int64(5))), Range(6, 9, 2, 3)),
        (
            Or((Predicate(INT, Operator.EQ, Int64(6)), Predicate(INT, Operator.GT, Int64(0)))),
            NUMBERS,
        ),
        (
            And((Predicate(INT, Operator.LT, Int64(10)), Predicate(INT, Operator.GT, Int64(0)))),
            NUMBERS,
        ),
    ],
)
def test_proves(expr, known):
    """What the extremes prove of every row needs no look at the rows."""
    assert must_match(expr, {"x": known})
    assert not must_match(expr, {})


@pytest.mark.parametrize(
    "expr, known",
    [
        (Predicate(INT, Operator.GE, Int64(7)), NUMBERS),
        (Predicate(INT, Operator.GE, Int64(6)), Range(6, 9, 1, 3)),
        (Predicate(INT, Operator.GE, Int64(6)), Range(6, 9)),
        (Predicate(INT, Operator.GE, Int64(6)), Range(None, 9, 0, 3)),
        (Predicate(INT, Operator.NE, Null()), Range(6, 9)),
        (Predicate(DOUBLE, Operator.GT, Double(0.0)), FLOATS),  # NaN may be there
        (Predicate(DOUBLE, Operator.NE, Double(2.0)), FLOATS),
        (Predicate(TEXT, Operator.NI, String("a")), Range("a", "a", 0, 3)),
        (Predicate(TEXT, Operator.NOT_NI, String("x")), Range("a", "a", 0, 3)),
        (Predicate(TEXT, Operator.EQ, Pattern("a")), Range("a", "a", 0, 3)),
        (Predicate(ADDRESS, Operator.IN, NET), Range(NET.packed, HIGH, 0, 3)),
        (Predicate(ADDRESS, Operator.IN, NET), Range(None, NET.packed, 0, 3)),
        (Predicate(column(Kind.SUBNET), Operator.NE, NET), Range(0, 0, 0, 9)),
        (Predicate(FieldExtractor("x"), Operator.GE, UInt64(0)), NUMBERS),
        (Not(Predicate(INT, Operator.EQ, Int64(7))), NUMBERS),
        (Constant(False), Range()),
    ],
)
def test_proves_nothing_without_usable_statistics(expr, known):
    """What only may hold for every row has to be looked at."""
    assert not must_match(expr, {"x": known})


def test_import_time_is_proved():
    """The import time counts like a field."""
    expr = Predicate(MetaExtractor(Meta.IMPORT_TIME), Operator.LT, Time(10))
    assert must_match(expr, {"#import_time": Range(5, 9, 0, 3)})
    assert not must_match(expr, {"#import_time": Range(5, 10, 0, 3)})
