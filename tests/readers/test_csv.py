from __future__ import annotations

import csv
import io
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.readers import reading
from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.readers.source import encoding_error

read = partial(reading.read, format="csv", schema="x")
rows = partial(reading.rows, format="csv", schema="x")


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.text("0123456789-.eE,;|\t\"\n ").map(lambda text: f"t{text}"),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(",\t;|"),
)  # fmt: skip
def test_tables_survive_being_written(table, delimiter):
    """Numbers and text come back equal, whatever stands between them."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([("i", "d", "s"), *table])
    found = rows(text.getvalue())
    assert [(row["i"], row["d"], row["s"]) for row in found] == table


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["1", "-2"], "int64"),
        (["1", "18446744073709551615"], "uint64"),
        (["1", "1.5"], "double"),
        (["1", "x"], "string"),
        (["007"], "string"),
        (["true", "FALSE"], "bool"),
        (["true", "1"], "string"),
        (["2024-01-01", "2024-01-01T10:00:00.5Z"], "time"),
        (["1.2.3.4", "::1"], "ip"),
        (["10.0.0.0/8"], "subnet"),
        (["1.5s", "163.82ms"], "duration"),
        (["1.2.3.4", "n/a"], "string"),
        (["1.2.3.4.5"], "string"),
        (["1e-999999999"], "string"),
        (["1e309"], "string"),
        (["nan"], "string"),
        (["nan", "n/a"], "string"),
        (["nan", "1.5", "-inf"], "double"),
        (["Infinity", "5.5", "NaN", "-Infinity"], "double"),
        (["5", "NaN"], "double"),
        (["NaN", "Infinity"], "string"),
        (["NaN", "Name"], "string"),
        (["Infinity", "192.0.2.1"], "string"),
        (["0.00018108032137626934"], "double"),
        (["0.12345678901234567890"], "string"),
        (["9007199254740993", "0.5"], "string"),
        (["9007199254740992", "0.5"], "double"),
        (["99999999999999999999"], "string"),
        (["", ""], "null"),
        (["", "1"], "int64"),
    ],
)
def test_columns_widen_step_by_step(texts, expected):
    """A column has the narrowest type that keeps every digit of all its values."""
    batches, _ = read("\n".join(["a,b", *(f"{text},x" for text in texts)]))
    schema = arrow_schema.from_arrow(batches[0].schema)
    assert str(schema.fields[0].type) == expected


def test_types_are_carried_over_the_file():
    """A later block widens a column, and never goes back."""
    lines = ["a,text", *(f"1,{'x' * 200}" for _ in range(40_000)), "2.5,x"]
    lines += [f"1,{'x' * 200}" for _ in range(40_000)]
    batches, _ = read("\n".join(lines))
    found = [str(batch.schema.field("a").type) for batch in batches]
    assert len(found) > 3
    assert found == sorted(found, reverse=True)
    assert sum(batch.num_rows for batch in batches) == 80_001


def test_quoted_fields():
    """Delimiters, quotes and line ends inside quotes belong to the value."""
    assert rows('a,b\n"x,1","say ""hi"""\n"two\nlines",y\n') == [
        {"a": "x,1", "b": 'say "hi"'},
        {"a": "two\nlines", "b": "y"},
    ]


def test_bad_rows_cost_themselves_only():
    """Rows of the wrong width, broken quotes and bad bytes are reported by line."""
    data = b'a,b\n1,"two\nlines"\n2\n3,x,y\n\xff,x\n5,"x"y\n6,ok\n'
    batches, problems = read(data)
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 6]
    assert [(problem.line, problem.reason.split(":")[0]) for problem in problems] == [
        (4, "1 field instead of 2"),
        (5, "3 fields instead of 2"),
        (6, encoding_error(None)),
        (7, "not CSV"),
    ]


def test_a_schema_that_vastlab_knows_brings_its_types():
    """Naming a known schema types addresses and times, and opens records."""
    text = "ts,id.orig_h,id.orig_p,proto\n1258531221.486539,1.2.3.4,80,tcp\n2024-01-01,::1,,\n"
    batches, problems = read(text, schema="zeek.conn")
    assert problems.count == 0
    schema = arrow_schema.from_arrow(batches[0].schema)
    assert [str(leaf.type) for leaf in schema.leaves] == ["timestamp", "ip", "port", "string"]
    assert schema.leaves[1].path == ("id", "orig_h")
    assert batches[0].column("ts")[0].value == 1258531221486539000


def test_a_value_that_is_not_of_its_type_is_reported():
    """A value that does not fit the declared type is null and named, and the event stays."""
    batches, problems = read("ts,host\n1,1.2.3.4\n2,nowhere\n", schema="zeek.known_hosts")
    assert [str(row["host"]) for batch in batches for row in batch.to_pylist()] == [
        "1.2.3.4",
        "None",
    ]
    assert [(problem.line, problem.reason) for problem in problems] == [
        (3, "host: 'nowhere' is not an IP address; the value is null now")
    ]


def test_a_value_within_json_that_is_not_of_its_type_is_reported_once(tmp_path):
    """The reason says once that the value is null."""
    (tmp_path / "x.yaml").write_text("events: {x: {peers: [{ip: ip}]}}")
    schemas = readers.load_schemas([tmp_path])
    _, problems = read('peers,n\n"[{""ip"":""bad""}]",1\n', schemas=schemas)
    assert [problem.reason for problem in problems] == [
        "peers: 'bad' is not an IP address; the value is null now"
    ]


def test_columns_without_a_name_of_their_own():
    """Missing and repeated names are made unique."""
    (row,) = rows("a,,a,a\n1,2,3,4\n")
    assert row == {"a": 1, "column_2": 2, "a_3": 3, "a_4": 4}


def test_a_quote_that_does_not_end():
    """The row with the open quote is reported, and the others are read."""
    batches, problems = read('a,b\n1,x\n2,"y\n3,z\n"4","5"\n')
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 3, 4]
    assert [(problem.line, problem.reason) for problem in problems] == [
        (3, "not CSV: ',' expected after '\"'")
    ]


def test_windows_line_ends_and_a_file_without_rows():
    """Carriage returns are not part of values; a file with only a header has no events."""
    assert rows("a,b\r\n1,x\r\n") == [{"a": 1, "b": "x"}]
    assert rows("a,b\n") == []


@pytest.mark.parametrize("data", ["a,b\r1,2\r3,4\r", "a,b\r1,2\r3,4\n"])
def test_single_carriage_returns_do_not_end_a_line(data):
    """Such a file is refused with what to do, instead of being a header without rows."""
    with pytest.raises(FormatError, match="lines end with a carriage return only") as caught:
        read(data)
    assert "tr" in caught.value.hint
    assert rows('"a\rb",c\r\n1,2\r\n') == [{"a\rb": 1, "c": 2}]


@pytest.mark.parametrize(
    "header, remarks",
    [
        ("192.0.2.1,443", 1),
        ("1,2", 1),
        ("10.0.0.0/8,x", 1),
        ("a,b", 0),
        ("host,2026-03-04", 0),
        ("#type,192.0.2.1", 0),
    ],
)
def test_a_header_of_values_is_remarked(header, remarks):
    """In a file without a header, the first event is taken for one; a problem names the line."""
    inference = readers.Inference()
    read(f"{header}\n192.0.2.2,80\n", inference=inference)
    assert len(inference.remarks) == remarks
    assert all("(standard input:1) contains values" in text for text in inference.remarks.values())


def test_a_file_named_as_a_table_may_hold_a_nul(tmp_path):
    """A NUL in a value does not cost the whole file; other data with such a name is not taken."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,x\0y\n")
    (batch,) = readers.read(path)
    assert batch.to_pylist() == [{"a": 1, "b": "x\0y"}]
    path.write_bytes(b"PK\x03\x04\0\n\0,a\n")
    with pytest.raises(FormatError, match="unknown log format"):
        list(readers.read(path))


def test_words_for_infinity_and_nan_are_numbers_among_numbers():
    """Rates as flow meters write them, ``Infinity`` and ``NaN``, can be compared as numbers."""
    found = rows("Flow Bytes/s,b\nInfinity,1\n5.5,2\n-Infinity,3\nNaN,4\n")
    first, second, third, fourth = [row["Flow Bytes/s"] for row in found]
    assert (first, second, third) == (float("inf"), 5.5, float("-inf"))
    assert fourth != fourth
