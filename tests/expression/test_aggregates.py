"""What a summary asks for, and what is wrong with it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vastlab.errors import UsageError
from vastlab.expression.aggregates import (
    Aggregate,
    Function,
    Name,
    Summary,
    check_unnamed,
    field_of,
)
from vastlab.expression.ast import FieldExtractor, MetaExtractor, TypeExtractor
from vastlab.expression.parser import parse_extractor
from vastlab.expression.taxonomy import Concept, Taxonomy
from vastlab.types import Field, Kind, Schema, Type

CONN = Schema(
    "zeek.conn",
    (
        Field(
            "id",
            Type(Kind.RECORD, fields=(Field("h", Type(Kind.IP)), Field("p", Type(Kind.UINT64)))),
        ),
        Field("src", Type(Kind.IP)),
        Field("name", Type(Kind.STRING)),
    ),
)


def test_a_summary_without_aggregates_counts_events():
    """The column is called events."""
    summary = Summary.parse("src", "1h", {})
    assert summary.every == 3_600 * 10**9
    assert [name.column for name in summary.by] == ["src"]
    assert summary.aggregates == (Aggregate("events", Function.COUNT),)


@pytest.mark.parametrize("call", ["sum(x)", " max ( id.h ) "])
def test_an_aggregate_in_place_of_an_expression_lacks_a_name(call):
    """The hint gives it one; a field of that name is none."""
    with pytest.raises(UsageError, match=r"has no name .*such as (sum=sum|max=max)"):
        check_unnamed(call)
    check_unnamed("sum == 3")


@pytest.mark.parametrize("every", ["90s", timedelta(seconds=90), "1.5min"])
def test_a_bucket_is_a_span_of_time(every):
    """As text of the language, or as a timedelta."""
    assert Summary.parse((), every, {}).every == 90 * 10**9


@pytest.mark.parametrize(
    "by, every, aggregates, message",
    [
        ("a ==", None, {}, "by must be the name of a field, got 'a =='"),
        ('"text"', None, {}, "by must be the name of a field"),
        ("\ud800", None, {}, "by must be the name of a field"),
        ("", None, {}, "by must be the name of a field"),
        ([1], None, {}, "by must be a text, got int"),
        (3, None, {}, "by must be a field or several, got 3"),
        ((), None, "count()", "aggregates must be a dict, got 'count\\(\\)'"),
        ((), None, {"x": "count(#type)"}, "x: count\\(\\) takes a field, and #type is none"),
        ("#import_time", None, {}, "by cannot be #import_time"),
        ((), "0s", {}, "every must be more than 0 s"),
        ((), "-1h", {}, "every must be more than 0 s"),
        ((), timedelta(0), {}, "every must be more than 0 s"),
        ((), "hour", {}, "every must be a span of time, got 'hour'"),
        ((), timedelta(days=10**6), {}, "every must be at most 100 years"),
        ((), 3600, {}, "every must be a span of time, got 3600"),
        ((), None, {"x": "sum"}, "x must be an aggregate, got 'sum'"),
        ((), None, {"x": 1}, "x must be an aggregate, got 1"),
        ((), None, {"x": "total(a)"}, "x: unknown function total"),
        ((), None, {"x": "sum()"}, r"x: sum\(\) needs a field"),
        ((), None, {"x": "sum(a b)"}, r"x: sum\(...\) must be the name of a field"),
        ("x", None, {"x": "sum(a)"}, "two columns are called 'x'"),
        ((), "1h", {"time": "count()"}, "'time': the buckets of time, and an aggregate"),
        ("time", "1h", {}, r"the buckets of time, and a field \(.* such as SCHEMA.time\)"),
    ],
)
def test_a_wrong_summary_is_one_clear_line(by, every, aggregates, message):
    """Each names the argument, and what it must be."""
    with pytest.raises(UsageError, match=message):
        Summary.parse(by, every, aggregates)


def test_an_aggregate_is_a_function_of_a_field():
    """Blanks do not matter."""
    parsed = Aggregate.parse("bytes", " sum( id.p ) ")
    field = Name("id.p", FieldExtractor("id.p"), of_values=True)
    assert (parsed.function, parsed.field) == (Function.SUM, field)
    assert Function.SUM.kinds < Function.COUNT.kinds


def test_names_are_those_of_the_language():
    """Fields, types and the schema; a literal is no name."""
    assert isinstance(parse_extractor("#type"), MetaExtractor)
    assert isinstance(parse_extractor(":ip"), TypeExtractor)
    assert parse_extractor("a.b") == FieldExtractor("a.b")
    assert parse_extractor("10.0.0.1") is None


def test_a_name_means_one_field_of_a_schema():
    """The end of a path, or a concept; several fields are an error that lists them."""
    taxonomy = Taxonomy.default()
    assert [leaf.column for leaf in field_of(Name.parse("p", "by"), CONN, taxonomy)] == ["id.p"]
    assert field_of(Name.parse("nothing", "by"), CONN, taxonomy) == ()
    with pytest.raises(UsageError, match=r":ip means several fields of zeek.conn: id.h, src"):
        field_of(Name.parse(":ip", "by"), CONN, taxonomy)


def test_a_concept_means_all_its_fields_of_one_type():
    """The first one with a value counts; fields of different types are an error."""
    fields = ("zeek.conn.id.h", "zeek.conn.src")
    taxonomy = Taxonomy({"source": Concept("source", fields=fields)})
    found = field_of(Name.parse("source", "by"), CONN, taxonomy)
    assert [leaf.column for leaf in found] == ["id.h", "src"]
    mixed = Taxonomy({"source": Concept("source", fields=("zeek.conn.id.h", "zeek.conn.name"))})
    with pytest.raises(UsageError, match=r"source means fields of different types in zeek.conn"):
        field_of(Name.parse("source", "by"), CONN, mixed)
    unknown = Taxonomy({"src": Concept("src", fields=("zeek.dns.src",))})
    assert [leaf.column for leaf in field_of(Name.parse("src", "by"), CONN, unknown)] == ["src"]


def test_a_field_that_is_always_null_is_none_to_aggregate():
    """What another schema has under its name counts; to group by it is possible."""
    empty = Schema("a.log", (Field("bytes", Type(Kind.NULL)),))
    (total,) = Summary.parse((), None, {"x": "sum(bytes)"}).aggregates
    assert total.field is not None
    assert field_of(total.field, empty, Taxonomy()) == ()
    assert [leaf.column for leaf in field_of(Name.parse("bytes", "by"), empty, Taxonomy())] == [
        "bytes"
    ]
