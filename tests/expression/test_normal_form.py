from __future__ import annotations

import hypothesis
import pytest

from tests import language_strategies as language
from vastlab.expression import normal_form, parse
from vastlab.expression.ast import Column, Constant, Not, Operator, Predicate
from vastlab.expression.literals import Null
from vastlab.types import Kind, Leaf, Type


@hypothesis.given(language.expressions(), language.expressions())
def test_equal_forms_mean_equal_trees(a, b):
    """The form hides nothing of a tree but how an address was written."""
    assert (normal_form(a) == normal_form(b)) == (a == b) or "real" in normal_form(a)
    assert normal_form(parse(str(a))) == normal_form(a)


@pytest.mark.parametrize(
    "type_, form",
    [
        (":record{a: bool}", '(record ("a" bool))'),
        (':record{a: bool, "b.c": list<ip>}', '(record ("a" bool) ("b.c" (list ip)))'),
        (
            ":record{a: bool} + record{b: ip}",
            '(algebra ("" (record ("a" bool))) ("+" (record ("b" ip))))',
        ),
        (":enum{red, blue}", '(enum "red" "blue")'),
        (":list<enum{red}>", '(list (enum "red"))'),
    ],
)
def test_types_are_written_whole(type_, form):
    assert normal_form(parse(f"{type_} == null")) == f"(== (type {form}) null)"


def test_bound_trees_have_a_form():
    """Negations, constants and columns occur in bound trees only."""
    column = Column(Leaf(("a", "b"), Type(Kind.IP), "a.b#2"))
    tree = Not(Predicate(column, Operator.EQ, Null()))
    assert normal_form(tree) == '(not (== (column "a.b#2") null))'
    assert normal_form(Constant(False)) == "(constant false)"
