"""Tables as they are in the wild: comments, encodings, delimiters, odd headers, several schemas."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from tests.readers import reading
from tests.readers.reading import types
from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, UsageError

SEEN = ("2026-03-04 05:06:07", "192.0.2.66")


read = partial(reading.read, name="x.csv")
events = partial(reading.rows, name="x.csv")


# --- headers --------------------------------------------------------------------------------

HEADERS = {
    "plain": "seen,ip\n{},{}\n",
    "comments": "####\n# a list\n#\nseen,ip\n{},{}\n# END 1 entries\n",
    "comments with slashes": "// a list\nseen,ip\n{},{}\n",
    "header in a comment": "# a list\n#\n# seen,ip\n{},{}\n",
    "header in a comment, and a line below": "# seen,ip\n####\n{},{}\n#\n",
    "all quoted": '# x\n"seen","ip"\n"{}","{}"\n',
    "sep": "sep=;\nseen;ip\n{};{}\n",
    "quoted sep": '"sep=|"\nseen|ip\n{}|{}\n',
    "tabs": "seen\tip\n{}\t{}\n",
    "bars": "seen|ip\n{}|{}\n",
    "semicolons": "seen;ip\n{};{}\n",
    "blank lines": "\n\nseen,ip\n\n{},{}\n\n",
    "windows": "seen,ip\r\n{},{}\r\n",
    "no last newline": "seen,ip\n{},{}",
    "one delimiter too many": "seen,ip\n{},{},\n",
    "blanks around names": " seen , ip \n{},{}\n",
    "mark": "\ufeffseen,ip\n{},{}\n",
}


@pytest.mark.parametrize("form", HEADERS)
def test_a_header_is_found(form):
    """Whatever stands before and after it, the two columns have their names and types."""
    batches, problems = read(HEADERS[form].format(*SEEN))
    assert problems.count == 0
    assert types(*batches) == {"seen": "time", "ip": "ip"}
    assert sum(batch.num_rows for batch in batches) == 1


@pytest.mark.parametrize("sign", [b"\x80", "é".encode(), b"a", b"0", b'"'])
def test_a_separator_that_cannot_be_one_is_found_out(sign):
    """A letter, a quote or a sign of several bytes delimits nothing: the header line tells."""
    batches, _ = read(b"sep=" + sign + b"\nip;name\n192.0.2.1;a\n")
    assert types(*batches) == {"ip": "ip", "name": "string"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
def test_wide_encodings_are_recognised(encoding):
    """A byte order mark, or the zeros of UTF-16, say how the text is encoded."""
    assert events("seen,näme\n5,é\n".encode(encoding)) == [{"seen": 5, "näme": "é"}]


def test_an_encoding_can_be_named():
    """Text that is not UTF-8 costs its line, with advice; a named encoding reads it."""
    data = "port,label\n80,ok\n443,Web \u2013 XSS\n".encode("cp1252")
    assert [row["label"] for row in events(data, encoding="cp1252")] == ["ok", "Web \u2013 XSS"]
    batches, problems = read(data)
    assert sum(batch.num_rows for batch in batches) == 1
    (problem,) = problems
    assert problem.line == 3
    assert 'the text is not UTF-8; set its encoding with encoding="cp1252"' in problem.reason


def test_bytes_that_a_named_encoding_does_not_have_cost_their_line():
    """What is not text in the encoding that was named is reported by line."""
    _, problems = read(b"a,b\n1,x\n2,\x81\n", encoding="cp1252")
    assert [str(problem) for problem in problems] == ["x.csv:3: the text is not cp1252"]


@pytest.mark.parametrize("name", ["cp1525", "zlib", "rot13", "undefined", "a\0b", ""])
def test_an_unknown_encoding_is_one_error(name):
    """Codecs of bytes are not text encodings."""
    with pytest.raises(UsageError, match="unknown encoding"):
        read("a,b\n1,2\n", encoding=name)


def test_a_named_encoding_leaves_binary_formats_alone(tmp_path):
    """Parquet and Arrow are not text."""
    path = tmp_path / "x.arrow"
    table = pa.table({"a": [1]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (batch,) = readers.read(path, encoding="cp1252")
    assert batch.to_pylist() == [{"a": 1}]


def test_names_as_they_come():
    """Dashes, blanks, slashes, signs and line ends are parts of names; dots make records."""
    (row,) = events('account-id,a b,x/y,@t,"p\nq",id.orig_h\n1,2,3,4,5,6\n')
    assert row == {
        "account-id": 1, "a b": 2, "x/y": 3, "@t": 4, "p\nq": 5, "id": {"orig_h": 6},
    }  # fmt: skip


@pytest.mark.parametrize("head", ["a.b,a", "a,a.b"])
def test_a_column_that_is_a_record_and_a_value(head):
    """Both are kept, whichever comes first."""
    (row,) = events(f"{head}\n1,1\n")
    assert row == {"a": 1, "a.b": 1}


@pytest.mark.parametrize(
    "name, format_",
    [
        ("x.tsv", "a-b\tc d\n1\t2\n"),
        ("x.psv", "a-b|c d\n1|2\n"),
        ("flows.csv.1", "a\n1\n"),
        ("export", "account-id\taction\n1\tOK\n"),
        ("shell", "#type,a\nx,1\n"),
    ],
)
def test_tables_are_recognised(name, format_):
    """By their suffix, or by lines with as many fields as names."""
    stream = io.BytesIO(format_.encode())
    stream.name = name
    assert readers.detect(stream) == "csv"


@pytest.mark.parametrize(
    "text",
    ["Dear Sir, thanks\nRegards, Bob\n", "one\ntwo\n", "a: b, c\nd: e, f\n", "a,b\n", "a,b\n1\n"],
)
def test_prose_is_not_a_table(text):
    """Text with some commas, in a file that does not say so, is not a log."""
    with pytest.raises(FormatError, match="unknown log format"):
        readers.detect(io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    "name, stem",
    [
        ("conn.10-11.log.gz", "conn"),
        ("zeek.conn.csv", "zeek.conn"),
        ("eve.json.1.gz", "eve"),
        ("flows.2024-01-01.csv", "flows"),
        ("conn.log.bak", "conn"),
        ("my.log", "my"),
        ("plain", "plain"),
        (".hidden", ".hidden"),
    ],
)
def test_a_file_names_its_schema(name, stem):
    """Extensions, dates and numbers are not part of the name; other dots are."""
    batches, _ = read("a,b\n1,2\n", name=name, format="csv")
    assert arrow_schema.name_of(batches[0].schema) == stem


# --- values ---------------------------------------------------------------------------------


def test_two_quotes_are_empty_text_and_nothing_is_null():
    """In columns of text; other types have no empty value."""
    assert events('s,n,e\nx,1,""\n"","",""\n,,\n') == [
        {"s": "x", "n": 1, "e": None},
        {"s": "", "n": None, "e": None},
        {"s": None, "n": None, "e": None},
    ]


def test_columns_of_a_declared_schema_have_its_types():
    """Also under other spellings, in lists as JSON and with semicolons, and as Zeek's letters."""
    data = (
        "ts,id_orig_h,local_orig,duration,tunnel_parents\n"
        '1.5,192.0.2.1,T,163.82ms,"[""a"",""b;c""]"\n'
        "2026-03-04T05:06:07Z,::1,false,2.5,x;y\n"
    )
    batches, problems = read(data, name="zeek.conn.csv")
    assert problems.count == 0
    assert list(types(*batches).values()) == [
        "timestamp", "ip", "bool", "duration", "list<string>",
    ]  # fmt: skip
    first, second = (row for batch in batches for row in batch.to_pylist())
    assert str(first["id"]["orig_h"]) == "192.0.2.1"
    assert (first["local_orig"], second["local_orig"]) == (True, False)
    assert (first["tunnel_parents"], second["tunnel_parents"]) == (["a", "b;c"], ["x", "y"])
    assert first["duration"].value == 163_820_000


def test_cells_of_json_are_typed_inside():
    """A column of which every value is an array or an object of JSON is not text."""
    batches, problems = read(
        'l,r\n"[""203.0.113.66""]","{""a"":1}"\n[],"{""a"":2,""b"":""x""}"\n,\n'
    )
    assert problems.count == 0
    assert types(*batches) == {"l": "list<ip>", "r.a": "int64", "r.b": "string"}
    batches, problems = read('l\n"[1]"\nnone\n')
    assert types(*batches) == {"l": "string"}


@pytest.mark.parametrize("text", ["1e-999999999", "1e999999999", "9" * 5000, "24:00", "[" * 5000])
def test_values_beyond_all_bounds_are_null_and_named(text):
    """No value ends the process, and none becomes another one."""
    data = f"ts,duration,orig_bytes\n{text},{text},{text}\n"
    batches, problems = read(data, name="zeek.conn.csv")
    (row,) = (row for batch in batches for row in batch.to_pylist())
    spoilt = [name for name, value in row.items() if value is None]
    assert problems.count == len(spoilt)
    assert len(spoilt) == 3 or text == "1e-999999999"
    (row,) = events(f"n,x\n{text},y\n")
    assert row["n"] == text


def test_raw_leaves_all_text_as_it_is():
    """Without inference, only declared columns have types."""
    assert events("ip,n\n192.0.2.1,007\n", infer=False) == [{"ip": "192.0.2.1", "n": "007"}]
    batches, _ = read("ip,ts\n192.0.2.1,5\n", name="zeek.conn.csv", infer=False)
    assert types(*batches) == {"ip": "string", "ts": "timestamp"}


# --- several schemas ------------------------------------------------------------------------


def test_what_the_shell_writes_has_several_schemas():
    """The first column names the schema, and a header stands where the columns change."""
    data = '#type,a,b\nmy.x,1,""\nmy.y,2,z\n#type,c\nmy.z,192.0.2.1\n#type,a,b\nmy.x,3,"#type,q"\n'
    batches, problems = read(data)
    assert problems.count == 0
    found = [(arrow_schema.name_of(batch.schema), batch.num_rows) for batch in batches]
    assert found == [("my.x", 1), ("my.y", 1), ("my.z", 1), ("my.x", 1)]
    assert batches[0].to_pylist() == [{"a": 1, "b": ""}]
    assert batches[-1].to_pylist() == [{"a": 3, "b": "#type,q"}]


def test_what_vast_exports_has_several_schemas():
    """Its first column is ``type``; a column of that name with other values is a column."""
    batches, _ = read("type,ts,n\nzeek.conn,2026-03-04T05:06:07,1\ntype,c\nmy.z,192.0.2.1\n")
    assert [arrow_schema.name_of(batch.schema) for batch in batches] == ["zeek.conn", "my.z"]
    batches, _ = read("type,n\nalert,1\n")
    assert types(*batches) == {"type": "string", "n": "int64"}


# --- broken files ---------------------------------------------------------------------------


def test_a_quote_that_never_ends_costs_its_line(monkeypatch):
    """What stands before and behind it is read, however far the end of the file is."""
    monkeypatch.setattr("vastlab.readers.csv_records.MAX_RECORD_SIZE", 1000)
    rows = [f"{i},x" for i in range(10_000)]
    rows[5000] = '5000,"open'
    batches, problems = read("\n".join(["a,b", *rows, ""]))
    assert sum(batch.num_rows for batch in batches) == 9999
    assert [(problem.line, problem.reason) for problem in problems] == [
        (5002, "a quote is not closed")
    ]


def test_quotes_within_text_open_nothing():
    """Inch marks are not quotes: later fields with line ends are read completely."""
    rows = ['1,5" pipe\n', '2,"z\nq"\n', "3,x\n"]
    found = events("a,b\n" + "".join(rows))
    assert [row["b"] for row in found] == ['5" pipe', "z\nq", "x"]


def test_long_fields_beside_bad_lines():
    """A field may be larger than what Python's module takes by itself."""
    batches, problems = read(f"a,b\n1,{'x' * 200_000}\n2\n")
    assert [len(row["b"]) for batch in batches for row in batch.to_pylist()] == [200_000]
    assert problems.count == 1


def test_too_many_columns_are_one_clear_error():
    """A hundred thousand columns are refused before any is made."""
    data = ",".join(f"c{i}" for i in range(100_000)) + "\n1,2\n"
    with pytest.raises(FormatError, match=r"100,000 columns; at most 20,000"):
        read(data)


def test_deep_names_are_columns_of_their_own():
    """A name of ten thousand dots does not become nested records."""
    (row,) = events(f"{'.'.join('a' * 10_000)},b\n1,2\n")
    assert row["b"] == 2


@pytest.mark.parametrize("data", ["a,b\n", "a,b", "# x\n# a,b\n"])
def test_a_header_alone_has_no_events(data):
    """A table without rows is sound."""
    assert events(data) == []


def test_comments_without_rows_are_not_a_table(tmp_path: Path):
    """The file has no header."""
    path = tmp_path / "x.csv"
    path.write_text("# nothing\n# at all\n")
    with pytest.raises(FormatError, match="no header line"):
        list(readers.read(path))
