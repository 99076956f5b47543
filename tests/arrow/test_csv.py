"""CSV that keeps what events say."""

from __future__ import annotations

import csv as python_csv
import io
import math

import pyarrow as pa
import pyarrow.csv
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import render


def text_lines(*texts: list[str | None]) -> list[str]:
    """Return the lines of events with these columns."""
    names = pa.array(["t"] * len(texts[0]), pa.string())
    return list(render.lines(names, [pa.array(text, pa.string()) for text in texts]))


def test_only_what_needs_it_is_quoted():
    """Only values with blanks at an end, delimiters or comment signs are quoted."""
    plain = ["a", "a b", "10.0.0.1", "-1.5", "[1]", "ä", "=1+1", "a#"]
    assert text_lines(plain) == [f"t,{text}" for text in plain]
    odd = ["", " a", "a\t", "\u00a0a", "a\x1f", "#a", "a,b", "a;b", "a|b", "a\nb", "a\rb"]
    assert text_lines(odd) == [f't,"{text}"' for text in odd]
    assert text_lines(['say "a"']) == ['t,"say ""a"""']


def test_null_is_not_empty_text():
    """A null is nothing, an empty text is two quotes."""
    assert text_lines([None, ""], ["", None]) == ['t,,""', 't,"",']


def test_schema_name_is_quoted_like_any_text():
    """A schema name cannot leave its cell or start a comment."""
    assert list(render.lines(pa.array(["#a,b"]), [])) == ['"#a,b"']
    assert render.header([]) == "#type"
    assert render.header(["a b", "c\nd", " e", "#type#2"]) == '#type,a b,"c\nd"," e","#type#2"'


def test_a_field_may_be_called_type():
    """The first column stays the only one that is called #type."""
    batch = pa.RecordBatch.from_pydict({"#type": ["x"], "a": [math.nan]})
    assert {name: text.to_pylist() for name, text in render.columns(batch).items()} == {
        "#type#2": ["x"],
        "a": ["nan"],
    }


@given(st.lists(st.tuples(*[st.none() | arrow_st.texts()] * 2), max_size=5))
def test_other_programs_read_the_same_cells(rows):
    """Python and Arrow read back every cell, and Arrow tells null from empty text."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    text = "".join(f"{line}\n" for line in [render.header(["a", "b"]), *text_lines(*columns)])
    read = list(python_csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [["#type", "a", "b"], *(["t", a or "", b or ""] for a, b in rows)]
    if rows:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text.encode()),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"a": pa.string(), "b": pa.string()},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        assert [tuple(row) for row in zip(*table.to_pydict().values(), strict=True)] == [
            ("t", *row) for row in rows
        ]


def test_a_file_has_a_line_for_each_event(tmp_path):
    """Long tables are written in pieces, and empty ones have a header."""
    table = pa.table({"#type": ["t"] * 3000, "n": [str(i) for i in range(3000)]})
    render.write_csv(table, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["#type,n", *(f"t,{i}" for i in range(3000))]
    render.write_csv(table.slice(0, 0), tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "#type,n\n"
