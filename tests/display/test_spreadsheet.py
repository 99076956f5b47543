"""Tables for other programs."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests.display.conftest import conn, wide
from vastlab.display.files import defang, guard, plain_tables, text_table
from vastlab.errors import VastlabWarning


@given(st.lists(arrow.texts()))
def test_guarded_text_is_not_a_formula(texts):
    """No guarded cell begins like a formula, and harmless text is left alone."""
    guarded = guard(pa.array(texts, pa.string())).to_pylist()
    for before, after in zip(texts, guarded, strict=True):
        assert after in (before, f"'{before}")
        assert not after.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    "text, safe",
    [
        ("http://evil.example/a.b", "hxxp://evil[.]example/a[.]b"),
        ("see HTTPS://evil.example", "see hxxpS://evil[.]example"),
        ("10.1.2.3:80", "10.1.2[.]3:80"),
        ("2001:db8::1", "2001:db8:[:]1"),
        ("no link, 1.5 s", "no link, 1.5 s"),
    ],
)
def test_defanged_text_leads_nowhere(text, safe):
    """Links, host names and addresses are broken; other text is left alone."""
    assert defang(pa.array([text])).to_pylist() == [safe]


def test_plain_tables_have_plain_types(connections):
    """Addresses become text, records columns."""
    (table,) = plain_tables([connections])
    assert table.column_names == ["ts", "id.orig_h", "id.resp_p", "note"]
    assert table.schema.field("id.orig_h").type == pa.string()
    assert table.column("id.orig_h")[0].as_py() == "10.0.0.1"


@given(arrow.tables())
def test_any_event_becomes_plain(drawn):
    """Whatever types events have, no extension type is left and no event is lost."""
    _, batch = drawn
    (table,) = plain_tables([pa.Table.from_batches([batch])])
    assert table.num_rows == batch.num_rows or not table.num_columns
    assert "extension" not in str(table.schema.types)


@given(arrow.tables(), st.booleans(), st.booleans())
def test_any_event_becomes_text(drawn, safe, defanged):
    """Whatever types events have, they can be written as text."""
    _, batch = drawn
    table = text_table([pa.Table.from_batches([batch])], safe=safe, defanged=defanged)
    assert set(table.schema.types) <= {pa.string()}


def test_layouts_are_joined_in_event_time_order(connections):
    """All layouts stand in one table, ordered by event time, also where their types differ."""
    other = wide(1, 1, "x").rename_columns(["note"])
    joined = text_table([connections, conn([5], ["mid"]), other], safe=False, defanged=False)
    assert joined.column("note").to_pylist() == ["n1", "mid", "n2", "n0", "x"]
    number = pa.table({"note": pa.array([7], pa.int64())})
    mixed = text_table([connections, number], safe=False, defanged=False)
    assert mixed.column("note").to_pylist() == ["n1", "n2", "n0", "7"]


def test_field_names_are_guarded_too():
    """The head of a column may be a formula as well."""
    table = wide(1, 1, "x").rename_columns(["=cmd()"])
    assert text_table([table], safe=True, defanged=False).column_names == ["'=cmd()"]


def test_numbers_and_times_are_what_they_are():
    """Neither a number nor a time is quoted or broken, and both are exact."""
    table = pa.table({
        "n": pa.array([-(2**63)], pa.int64()),
        "u": pa.array([2**64 - 1], pa.uint64()),
        "d": pa.array([-1.0]),
        "t": pa.array([1], pa.timestamp("ns")),
        "s": pa.array([1500], pa.duration("ms")),
    })  # fmt: skip
    assert text_table([table], safe=True, defanged=True).to_pylist() == [
        {
            "n": "-9223372036854775808",
            "u": "18446744073709551615",
            "d": "-1.0",
            "t": "1970-01-01T00:00:00.000000001",
            "s": "1500ms",
        }
    ]


@pytest.mark.parametrize(
    "one, other, found, type_",
    [
        (pa.array([2**53 + 1], pa.uint64()), pa.array([-1]), [2**53 + 1, -1], pa.int64()),
        (pa.array([1], pa.uint64()), pa.array([0.5]), [1.0, 0.5], pa.float64()),
        (pa.array([None]), pa.array([True]), [None, True], pa.bool_()),
        (
            pa.array([1], pa.timestamp("us", "Asia/Tokyo")),
            pa.array([1], pa.timestamp("ns")),
            [1000, 1],
            pa.timestamp("ns", "UTC"),
        ),
    ],
)
def test_layouts_agree_on_a_type(one, other, found, type_):
    """Numbers widen, and times are in UTC whatever their zones and units, without a warning."""
    joined = pa.concat_tables(
        plain_tables([pa.table({"x": one}), pa.table({"x": other})]), promote_options="default"
    )
    (column,) = joined.columns
    assert column.type == type_
    values = column.cast(pa.int64()) if pa.types.is_timestamp(type_) else column
    assert values.to_pylist() == found


@pytest.mark.parametrize(
    "one, other, found",
    [
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1]), [str(2**64 - 1), "-1"]),
        (pa.array([True]), pa.array(["x"]), ["true", "x"]),
        (pa.array([0], pa.timestamp("ns")), pa.array([b"\xff"]), ["1970-01-01T00:00:00", "/w=="]),
        (pa.array([[1]]), pa.array([1]), ["[1]", "1"]),
    ],
)
def test_layouts_without_a_common_type_become_text(one, other, found):
    """No value is lost where no type holds all of them, and a warning names the column."""
    with pytest.warns(VastlabWarning, match="'x' holds .* and .*: it became text"):
        tables = plain_tables([pa.table({"x": one}), pa.table({"x": other})])
    assert pa.concat_tables(tables).column("x").to_pylist() == found
