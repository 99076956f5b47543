"""The start of a table, and the records in its lines."""

from __future__ import annotations

import pytest

from vastlab.readers import csv_records
from vastlab.readers.csv_records import Start
from vastlab.readers.json import guess_log


@pytest.mark.parametrize(
    "lines,start",
    [
        (["sep=;", "a;b", "1;2"], Start("a;b", ";", 2, comments=False)),
        (
            ["# a list", "# seen,ip", "2026-03-04,192.0.2.1"],
            Start("seen,ip", ",", 2, comments=True),
        ),
    ],
)
def test_the_header_is_found(lines, start):
    """It follows a line with the delimiter, or it is the last comment."""
    assert csv_records.find_header(lines) == start


@pytest.mark.parametrize(
    "function,arguments,expected",
    [
        (csv_records.delimiter_of, ("seen;a,b,c,d", "2026;x"), ";"),
        (csv_records.delimiter_of, ('"a,b";c',), ";"),
        (csv_records.has_cr_line_ends, ("a,b\r1,2\r",), True),
        (csv_records.has_cr_line_ends, ('a,"b\rc"\r',), False),
        (csv_records.holds_values, (["192.0.2.1", "evil"],), True),
        (csv_records.holds_values, (["src", "2026-03-04", "443"],), False),
        (csv_records.split_line, ('a,"b,c"', ","), ["a", "b,c"]),
        (csv_records.open_record, (b'a,"b"\nc,"d\n', b","), 6),
        (csv_records.open_record, (b'a,5"\n', b","), None),
        (csv_records.has_misplaced_quotes, (b'"a","b"\n', b","), False),
        (csv_records.has_misplaced_quotes, (b'"a"b,c\n', b","), True),
        (csv_records.blank_lines, (b"a\n# b\nc\n", b"#", lambda _: True), b"a\n\nc\n"),
        (guess_log, ("conn", {}), "conn"),
        (guess_log, ("x", {"ts": 1, "uid": "C", "query": "a", "qtype": 1}), "dns"),
    ],
)
def test_lines_are_recognised(function, arguments, expected):
    """Delimiters, line ends, quotes and types of logs are found in the text."""
    assert function(*arguments) == expected
