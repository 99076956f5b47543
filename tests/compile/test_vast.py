"""What a VAST node is asked means there what the expression means here."""

from __future__ import annotations

import pytest

from vastlab.compile.vast import text
from vastlab.errors import ExpressionError
from vastlab.expression import parse, parse_query
from vastlab.types import Field, Kind, Schema, Type

TEXTS = [
    ("", ""),
    ("x == 80", "x == 80 || x == +80 || x == 80.0"),
    ("80 <= :port", ":port >= 80 || :port >= +80 || :port >= 80.0"),
    ("x == 0.5", "x == 0.5"),
    ("x == 1e300 && y", "x == 1.0e+300 && y != null"),
    ("x < -1", "x < -1 || x < -1.0"),
    ("x > -1", "x >= 0 || x > -1 || x > -1.0"),
    ("x != 0.5", "x >= 0 || x >= -9223372036854775808 || x != 0.5"),
    ("x == nan", "x == nan"),
    ("x != nan", "x >= 0 || x >= -9223372036854775808 || x != nan"),
    ("x != 80 && s == \"a\"", "(x != 80 || x != +80 || x != 80.0) && s == \"a\""),
    ("x in [1, 0.5]", "x == 1 || x == +1 || x == 1.0 || x == 0.5"),
    ("x !in [0.5, \"a\"]",
     "x != \"a\" && (x >= 0 || x >= -9223372036854775808 || x != 0.5)"),
    ("x in [1, 10.0.0.1]", "x == 1 || x == +1 || x == 1.0 || x in [10.0.0.1]"),
    ("x in [10.0.0.1, 10.0.0.2]", "x in [10.0.0.1, 10.0.0.2]"),
    (":uint64 == 5", ":uint64 == 5"),
    ("#import_time > 2023-01-01", "#import_time > 2023-01-01"),
    ("src in [10.0.0.0/8]", "src in 10.0.0.0/8"),
]  # fmt: skip


@pytest.mark.parametrize("expression,expected", TEXTS)
def test_numbers_are_asked_for_in_every_type(expression, expected):
    """A number is compared once for each type that can represent it."""
    assert text(parse_query(expression)) == expected
    if expected:
        parse(expected)


@pytest.mark.parametrize("expression", ["`@timestamp` > 2026-01-01", "a || !`b c`", "`5` == 1"])
def test_unsupported_field_name_is_an_error(expression):
    """A field that needs backticks is named in the error, with what works."""
    with pytest.raises(
        ExpressionError, match=r"VAST has no syntax for the field name `.*`.*the type of the field"
    ):
        text(parse(expression))


def schema(name, *kinds):
    """Make a schema with a field ``x`` of each kind, in records of their own."""
    records = (
        Field(f"r{i}", Type(Kind.RECORD, fields=(Field("x", Type(kind)),)))
        for i, kind in enumerate(kinds)
    )
    return Schema(name, tuple(records))


def test_a_negation_over_fields_of_several_types_is_a_conjunction_there():
    """Where a schema's matching fields differ in type, all of them must differ from the value."""
    schemas = [schema("mixed", Kind.UINT64, Kind.DOUBLE), schema("plain", Kind.INT64, Kind.INT64)]
    assert text(parse("x != 80"), schemas) == (
        '#type == "mixed" && x != 80 && x != 80.0 || '
        '#type != "mixed" && (x != 80 || x != +80 || x != 80.0)'
    )


@pytest.mark.parametrize("kind", [Kind.BOOL, Kind.ENUM])
def test_a_list_of_numbers_stays_one_where_a_field_compares_with_lists_only(kind):
    """Booleans and enumerations equal numbers only in lists."""
    assert text(parse("x in [0, 1]"), [schema("test", kind)]) == "x in [0, 1]"


def test_a_positive_comparison_needs_no_guard():
    """Any matching field that equals is enough, whatever its type."""
    schemas = [schema("mixed", Kind.UINT64, Kind.DOUBLE)]
    assert text(parse("x == 80"), schemas) == "x == 80 || x == +80 || x == 80.0"
