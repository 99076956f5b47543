"""Names of fields and schemas stay names in the text that a node is asked to group by."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from vastlab.compile.tql_groups import NodeGrouping
from vastlab.expression.aggregates import Aggregate, Function, Name, Summary
from vastlab.expression.ast import Column, Meta, MetaExtractor
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Schema, Type

QUOTED = re.compile(r'this((?:\["(?:[^"\\]|\\.)*"\])+)')
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
HOSTILE = st.sampled_from(['"]', "\\", '\\"', '"]) | shell "x" //', "{1+1}", "\n", "`", "$a"])
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
)
KINDS = (Kind.TIME, Kind.STRING, Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.BOOL, Kind.DURATION)


def text_for(schema_name, names, every):
    """Write the steps for a layout of these fields."""
    fields = [Field(name, Type(kind)) for name, kind in zip(names, KINDS, strict=True)]
    record = Field(names[0] + "!", Type(Kind.RECORD, fields=tuple(fields)))
    schema = Schema(schema_name, (*fields, record))
    named = [Name(f"c{number}", Column(leaf)) for number, leaf in enumerate(schema.leaves)]
    functions = [Function.MAX, Function.DISTINCT, Function.SUM, Function.SUM, Function.MEAN]
    functions += [Function.ANY, Function.MEAN]
    asked = tuple(
        Aggregate(f"a{number}", function, named[number % len(KINDS) + number // 7 * 7])
        for number, function in enumerate(functions * 2)
    )
    by = (named[1], named[9], Name("#type", MetaExtractor(Meta.TYPE)))
    grouping = NodeGrouping.of(Summary(by, every, asked), schema, Taxonomy())
    return " | ".join(grouping.steps)


@given(
    NAMES | HOSTILE,
    st.lists(NAMES | HOSTILE, min_size=len(KINDS), max_size=len(KINDS), unique=True),
    st.integers(0, 2**53),
)
def test_the_text_differs_by_quoted_names_alone(schema_name, names, every):
    """Whatever the names, nothing but their places holds them, and there they are whole."""
    text = text_for(schema_name, names, every)
    plain = text_for("x", [f"f {number}" for number in range(len(KINDS))], every)
    assert QUOTED.sub("F", text) == QUOTED.sub("F", plain)
    parts = [json.loads(part) for path in QUOTED.findall(text) for part in STRING.findall(path)]
    assert set(parts) <= {*names, names[0] + "!"}
    assert {names[1], names[2]} <= set(parts)
