from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from tests import language_strategies as language
from vastlab.errors import ExpressionSyntaxError
from vastlab.expression import parse
from vastlab.expression.ast import Meta, MetaExtractor, Operator, TypeExtractor
from vastlab.expression.checks import problem
from vastlab.expression.literals import ListLiteral, Null, Parameter, String, UInt64
from vastlab.types import Kind, Type


@hypothesis.given(language.extractors(), st.sampled_from(Operator), language.literals())
def test_fields_and_aliases_accept_any_literal(extractor, operator, literal):
    """What a field is, only its schema knows."""
    assert problem(extractor, operator, literal) is None


@pytest.mark.parametrize("kind", language.BUILT_IN)
@hypothesis.given(data=st.data())
def test_type_accepts_its_own_values(kind, data):
    """Every built-in type compares with its own literals, and an operator with its complement."""
    literal = data.draw(language.of_kind(kind))
    operator = data.draw(st.sampled_from((Operator.EQ, Operator.LT, Operator.GE, Operator.NE)))
    extractor = TypeExtractor(Type(kind))
    assert problem(extractor, operator, literal) is None
    for any_operator in Operator:
        refused = problem(extractor, any_operator, literal)
        assert (refused is None) == (problem(extractor, any_operator.complement, literal) is None)


def test_null_has_no_order():
    """Types compare with null for equality only."""
    for kind in language.BUILT_IN:
        extractor = TypeExtractor(Type(kind))
        assert problem(extractor, Operator.NE, Null()) is None
        assert problem(extractor, Operator.GT, Null()) is not None


def test_unbound_parameter_is_accepted():
    """Before it has a value, nothing can be wrong with it."""
    assert problem(TypeExtractor(Type(Kind.BLOB)), Operator.LT, Parameter("x")) is None


def test_type_without_values_accepts_only_null():
    """A type that no literal has says so."""
    found = problem(TypeExtractor(Type(Kind.BLOB)), Operator.EQ, String("x"))
    assert found is not None
    assert found.expected == "null"
    assert problem(TypeExtractor(Type(Kind.BLOB)), Operator.NI, UInt64(1)).in_operator


@pytest.mark.parametrize(
    "operator, names, hint",
    [
        (Operator.IN, ("a", "b"), 'write #type == "a" || #type == "b"'),
        (Operator.EQ, ("a",), 'write #type == "a"'),
        (Operator.NOT_IN, ("a", "b"), 'write #type != "a" && #type != "b"'),
        (Operator.IN, "abcd", 'write #type == "a" || #type == "b" || #type == "c" || …'),
        (Operator.IN, (), 'write #type == "zeek.conn" || #type == "zeek.dns"'),
        (Operator.EQ, ("x" * 1_000_000,), f'write #type == "{"x" * 58}…'),
    ],
)
def test_hint_for_list_of_schema_names(operator, names, hint):
    """Who gives several names for the type is shown the comparisons that say the same."""
    found = problem(MetaExtractor(Meta.TYPE), operator, ListLiteral(tuple(map(String, names))))
    assert found is not None
    assert found.hint == hint


def test_no_hint_for_other_values():
    """Other values have no hint."""
    found = problem(MetaExtractor(Meta.TYPE), Operator.EQ, UInt64(5))
    assert found is not None
    assert (found.expected, found.hint) == ("a string or a pattern", None)


@pytest.mark.parametrize("literal", ["<1>", "[1]"])
def test_a_record_type_compares_with_records_and_lists(literal):
    """As in VAST, although nothing matches; `ni` is refused."""
    assert parse(f":record{{a: int64}} == {literal}")
    with pytest.raises(ExpressionSyntaxError, match="ni is never true"):
        parse(f":record{{a: int64}} ni {literal}")
