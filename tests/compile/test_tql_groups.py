"""Names of fields and schemas stay names in the text that a node is asked to group by."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.arrow import schema as arrow_schema
from vastlab.compile.tql_groups import NodeGrouping
from vastlab.errors import FormatError
from vastlab.expression.aggregates import Aggregate, Function, Name, Summary
from vastlab.expression.ast import Column, FieldExtractor, Meta, MetaExtractor
from vastlab.expression.taxonomy import Concept, Taxonomy
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


def every_function(every=0):
    """Return how a node groups a layout by all it can, with every function."""
    fields = [Field(kind.value, Type(kind)) for kind in (*KINDS, Kind.IP)]
    schema = Schema("my.events", tuple(fields))
    named = {leaf.name: Name(leaf.name, Column(leaf)) for leaf in schema.leaves}
    asked = (
        Aggregate("events", Function.COUNT, None),
        Aggregate("known", Function.COUNT, named["string"]),
        Aggregate("addresses", Function.DISTINCT, named["ip"]),
        Aggregate("total", Function.SUM, named["int64"]),
        Aggregate("share", Function.SUM, named["double"]),
        Aggregate("average", Function.MEAN, named["uint64"]),
        Aggregate("any", Function.ANY, named["bool"]),
        Aggregate("all", Function.ALL, named["bool"]),
        Aggregate("latest", Function.MAX, named["time"]),
    )
    by = (named["string"], Name("#type", MetaExtractor(Meta.TYPE)))
    return NodeGrouping.of(Summary(by, every, asked), schema, Taxonomy())


def test_every_function_is_written_and_read_back():
    """Weeks begin on Mondays; the name of the schema and flags are put back."""
    hours, weeks = (" | ".join(every_function(n * 3_600 * 10**9).steps) for n in (1, 168))
    assert "floor" in hours
    assert "floor" in weeks
    assert weeks.count(" - ") > hours.count(" - ")
    grouping = every_function()
    outputs = grouping._outputs
    columns = {}
    for number, output in enumerate(outputs):
        if output.type.kind is Kind.LIST:
            columns[f"o{number}"] = pa.array([[None]], pa.list_(pa.binary(16)))
        else:
            value = "a" if output.type.kind is Kind.STRING else 1
            columns[f"o{number}"] = pa.array([value], arrow_schema.type_to_arrow(output.type))
    table = grouping.read(pa.record_batch(columns))
    assert table.num_rows == 1
    assert table.column("k1").to_pylist() == ["my.events"]
    with pytest.raises(FormatError, match="a column of the groups is missing"):
        grouping.read(pa.record_batch({"x": [1]}))


def test_the_first_of_several_fields_is_written():
    """As a concept that stands for two fields of one schema is."""
    schema = Schema("my.events", tuple(Field(n, Type(Kind.STRING)) for n in ("a", "b")))
    concepts = {"both": Concept("both", "", ("my.events.a", "my.events.b"), ())}
    name = Name("both", FieldExtractor("both"))
    count = (Aggregate("n", Function.COUNT, None),)
    grouping = NodeGrouping.of(Summary((name,), 0, count), schema, Taxonomy(concepts, {}))
    assert "if this" in " ".join(grouping.steps) or "!= null else" in " ".join(grouping.steps)
