"""Lists of indicators from files."""

from __future__ import annotations

import csv
from functools import partial
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vastlab
from vastlab.errors import UsageError
from vastlab.expression import bind, parse
from vastlab.expression.literals import IP, ListLiteral, String
from vastlab.expression.parameters import indicators, to_literal

DIGEST = "D41D8CD98F00B204E9800998ECF8427E"
LINES = f"""\
# feed of today
203.0.113.7
  "203.0.113.8"\t
'evil.example'

   # 198.51.100.1
198.51.100.9/24
0.0.0.0/0
2001:db8::1
2001:db8::/32
203.0.113[.]9
hxxps://evil[.]example/path?a=[1]
hXXp[:]//c2(.)example[dot]net
user[@]evil[.]example
{DIGEST}
1.2.3.4:443
010.1.1.1
1.2.3
1.2.3.4/33
::1/129
fe80::1%eth0
:
evil.example
198.51.100.0/25 ; SBL1
198.51.100.2 # campaign
c3.example	#
"a # b"
x #1.exe
a b # c
$x || #type != ""
"""
EXPECTED = [
    ip_address("203.0.113.7"),
    ip_address("203.0.113.8"),
    "evil.example",
    ip_network("198.51.100.0/24"),
    ip_network("0.0.0.0/0"),
    ip_address("2001:db8::1"),
    ip_network("2001:db8::/32"),
    ip_address("203.0.113.9"),
    "https://evil.example/path?a=[1]",
    "http://c2.example.net",
    "user@evil.example",
    DIGEST,
    "1.2.3.4:443",
    "010.1.1.1",
    "1.2.3",
    "1.2.3.4/33",
    "::1/129",
    "fe80::1%eth0",
    ":",
    ip_network("198.51.100.0/25"),
    ip_address("198.51.100.2"),
    "c3.example",
    "a # b",
    "x #1.exe",
    "a b # c",
    '$x || #type != ""',
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_read_lines(tmp_path, encoding):
    """Comments and blanks are left out, defanged values restored, and each value is there once."""
    file = tmp_path / "iocs.txt"
    file.write_text(LINES, encoding=encoding)
    assert vastlab.indicators(file) == EXPECTED
    assert indicators(str(file)) == EXPECTED


CSV = """\
# first line
"type", indicator ,note
ip,203.0.113.7,"two
lines"
domain,"evil[.]example",
# a comment between
short
,,
subnet, 10.0.0.0/8 ,x
"""


@pytest.mark.parametrize(
    "text, column, expected",
    [
        (CSV, "indicator", [ip_address("203.0.113.7"), "evil.example", ip_network("10.0.0.0/8")]),
        ("a;b\n1;x\n", "b", ["x"]),
        ("a\tb\n1\tx\n", "b", ["x"]),
        ("a|b\n1|x\n", "a", ["1"]),
        ('# title\n# "when", "ioc"\n# end\n"now", "::1"\n', "ioc", [ip_address("::1")]),
        ("ioc\n", "ioc", []),
    ],
)
def test_a_column_of_a_csv_file(tmp_path, text, column, expected):
    """The header may be a comment; delimiters other than commas are detected."""
    (tmp_path / "iocs.csv").write_text(text)
    assert indicators(f"{tmp_path}/iocs.csv:{column}") == expected


def test_table_of_one_column(tmp_path):
    """A CSV file with one column is read as a list."""
    (tmp_path / "iocs.csv").write_text("::1\nevil.example\n")
    assert indicators(tmp_path / "iocs.csv") == [ip_address("::1"), "evil.example"]


def test_a_file_with_a_colon_in_its_name(tmp_path):
    """A name that exists is never taken apart."""
    (tmp_path / "iocs:2026.txt").write_text("::1\n")
    assert indicators(tmp_path / "iocs:2026.txt") == [ip_address("::1")]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("missing.txt", None, r"cannot read .*missing\.txt"),
        ("C:x", None, "cannot read 'C:x'"),
        ("a\0b", None, "null character"),
        (".", None, "cannot read"),
        ("", None, "has no file name"),
        (
            "x.csv",
            b"# x\nioc,type\n::1,ip\n",
            r"has 2 columns \(name one, as in x.csv:ioc; .*type\)",
        ),
        ("x.csv:a", b"b" * 200_000, "no column 'a'"),
        ("x.TSV", b"ioc\ttype\n", "has 2 columns"),
        ("latin.txt", b"ok\nm\xfcll\n", "not valid UTF-8 text: line 2"),
        ("x.csv:no", b"a,b\n1,2\n", r"no column 'no' \(its columns are a, b\)"),
        ("x.csv:no", b"# nothing\n", r"no column 'no' \(the file is empty\)"),
        ("x.csv:a", b"a,b\n" + b"x" * 200_000, "not valid CSV"),
    ],
)
def test_invalid_files(request, tmp_path, monkeypatch, name, content, message):
    """What cannot be read is an error that names the file and what is wrong."""
    monkeypatch.chdir(tmp_path)
    request.addfinalizer(partial(csv.field_size_limit, csv.field_size_limit(131_072)))
    if content is not None:
        (tmp_path / name.partition(":")[0]).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        indicators(name)


def test_file_too_large(tmp_path, monkeypatch):
    """A file without end is refused before it fills the memory."""
    monkeypatch.setattr("vastlab.expression.parameters._MAX_BYTES", 10)
    (tmp_path / "x").write_bytes(b"0123456789")
    assert indicators(tmp_path / "x") == ["0123456789"]
    (tmp_path / "x").write_bytes(b"0123456789a")
    with pytest.raises(UsageError, match="larger than"):
        indicators(tmp_path / "x")


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_any_text_gives_valid_values(tmp_path_factory, lines):
    """Whatever a file says, its values are literals, and no part of an expression."""
    file = tmp_path_factory.mktemp("list") / "iocs.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    literal = to_literal(indicators(file))
    assert isinstance(literal, ListLiteral)
    assert len(set(literal.items)) == len(literal.items)
    assert str(bind(parse("x in $list"), {"list": literal}))


@given(st.lists(st.ip_addresses() | st.sampled_from(["a", "b.example"]), unique=True))
def test_addresses_round_trip(tmp_path_factory, values):
    """Every address that is written is read as the same value."""
    file = tmp_path_factory.mktemp("list") / "iocs.txt"
    file.write_text("".join(f"{value}\n" for value in values))
    assert indicators(file) == values
    kinds = {type(item) for item in to_literal(indicators(file)).items}
    assert kinds <= {IP, String}
