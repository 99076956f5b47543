from __future__ import annotations

import datetime
import io
import ipaddress
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arrow_strategies import plain as plain_values
from tests.readers import reading
from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.types import Kind

UTC = datetime.UTC


def log(fields: dict[str, str], *lines: str, path: str = "x", head: str = "") -> bytes:
    header = [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        f"#path\t{path}",
        *([head] if head else []),
        "\t".join(["#fields", *fields]),
        "\t".join(["#types", *fields.values()]),
    ]
    return "\n".join([*header, *lines, "#close\t2024-01-01-00-00-00", ""]).encode()


read = partial(reading.read, format="zeek")
rows = partial(reading.rows, format="zeek")


def column(zeek_type: str, *texts: str) -> list[object]:
    return [row["x"] for row in rows(log({"x": zeek_type, "y": "count"}, *lines_of(texts)))]


def lines_of(texts: tuple[str, ...]) -> list[str]:
    return [f"{text}\t1" for text in texts]


# --- values ---------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Write text as Zeek does."""
    if text in ("-", "(empty)"):
        return "".join(f"\\x{byte:02x}" for byte in text.encode())
    if not text:
        return "(empty)"
    special = set("\\\t\n\r,#") | {chr(i) for i in range(0x20)} | {"\x7f"}
    return "".join(
        c if c not in special else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in text
    )


NANOSECONDS = st.integers(-(1 << 63), (1 << 63) - 1)


def decimal(number: int) -> str:
    return f"{Decimal(number).scaleb(-9):.9f}"


VALUES = {
    "count": (st.integers(0, (1 << 64) - 1), str),
    "int": (st.integers(-(1 << 63), (1 << 63) - 1), str),
    "port": (st.integers(0, 65535), str),
    "double": (st.floats(allow_nan=False, allow_infinity=False), repr),
    "bool": (st.booleans(), lambda value: "T" if value else "F"),
    "string": (st.text(st.characters(exclude_categories=["Cs"])), escaped),
    "time": (NANOSECONDS, decimal),
    "interval": (NANOSECONDS, decimal),
    "addr": (st.ip_addresses(), str),
    "subnet": (st.ip_addresses().map(lambda ip: ipaddress.ip_network(ip)), str),
}
VALUES |= {
    f"{container}[{inner}]": (
        # A set that holds nothing but an empty string cannot be distinguished from an empty one.
        st.lists(values.filter(lambda value: value != ""), max_size=4),
        lambda items, write=write: ",".join(map(write, items)) or "(empty)",
    )
    for container, inner in (("set", "string"), ("vector", "interval"), ("table", "addr"))
    for values, write in [VALUES[inner]]
}


def plain(value: object, zeek_type: str) -> object:
    """Bring what the test wrote into the form of a storage array's values."""
    match zeek_type, value:
        case _, None:
            return None
        case _, list():
            inner = zeek_type.partition("[")[2].rstrip("]")
            return [plain(item, inner) for item in value]
        case "addr", _:
            return mapped(value)
        case "subnet", _:
            bits = 96 if value.version == 4 else 0
            return {"address": mapped(value.network_address), "length": value.prefixlen + bits}
        case _:
            return value


def mapped(ip: object) -> bytes:
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


@given(st.data())
def test_tables_survive_being_written_as_a_log(data):
    """Whatever typed values Zeek writes are read back equal, with nulls everywhere."""
    types = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=2, max_size=5))
    fields = {f"f{i}": type_ for i, type_ in enumerate(types)}
    row = st.tuples(*(st.none() | VALUES[type_][0] for type_ in types))
    table = data.draw(st.lists(row, min_size=1, max_size=8))
    lines = [
        "\t".join("-" if v is None else VALUES[t][1](v) for v, t in zip(r, types, strict=True))
        for r in table
    ]
    batches, problems = read(log(fields, *lines))
    assert [str(problem) for problem in problems] == []
    (batch,) = batches
    for i, type_ in enumerate(types):
        assert plain_values(batch.column(i)).to_pylist() == [plain(r[i], type_) for r in table]


def test_types_carry_the_names_that_queries_use():
    """Ports, the timestamp and the record id have their aliases."""
    fields = {"ts": "time", "id.orig_h": "addr", "id.orig_p": "port", "id.resp_h": "addr"}
    fields |= {"id.resp_p": "port", "ports": "set[port]", "seen": "time"}
    batches, _ = read(log(fields, "1\t1.2.3.4\t1\t::1\t2\t3,4\t5", path="foo"))
    schema = arrow_schema.from_arrow(batches[0].schema)
    assert schema.name == "zeek.foo"
    assert [str(leaf.type) for leaf in schema.leaves] == [
        "timestamp", "ip", "port", "ip", "port", "list<port>", "time",
    ]  # fmt: skip
    assert str(schema.fields[1].type) == "zeek.conn_id"
    assert [leaf.name for leaf in schema.leaves][1] == "id.orig_h"


def test_unset_and_empty_fields():
    """A hyphen is null, ``(empty)`` an empty set or text."""
    assert column("set[count]", "-", "(empty)", "1,2", "-") == [None, [], [1, 2], None]
    assert column("string", "-", "(empty)", "a") == [None, "", "a"]
    assert column("vector[string]", "a,-,(empty)") == [["a", None, ""]]


def test_escapes_give_back_the_text():
    """Escaped separators and backslashes are text; bytes that are none stay as written."""
    assert column("string", r"a\x09b", r"\x2d", r"c:\\x41", r"\xff\xfe") == [
        "a\tb", "-", r"c:\x41", r"\xff\xfe",
    ]  # fmt: skip
    assert column("set[string]", r"a\x2cb,c") == [["a,b", "c"]]


def test_times_are_exact():
    """Microseconds do not pass through floats, and exponents are numbers."""
    (time,) = column("time", "1258531221.486539")
    assert time.value == 1258531221486539000
    small, none = column("interval", "1e-05", "-")
    assert (small.value, none) == (10_000, None)


# --- headers --------------------------------------------------------------------------------


def test_several_logs_in_one_file():
    """Each header begins a new log, also without blank lines between."""
    one = log({"x": "count", "y": "bool"}, "1\tT", path="a")
    two = log({"z": "string", "u": "count"}, "s\t2", path="b")
    batches, problems = read(one + two + one)
    names = [arrow_schema.name_of(batch.schema) for batch in batches]
    assert names == ["zeek.a", "zeek.b", "zeek.a"]
    assert problems.count == 0


@pytest.mark.parametrize("separator", [",", "|", " ", ";"])
def test_other_separators(separator):
    """The header says what stands between fields."""
    data = log({"x": "string", "y": "count"}, "a\t1").replace(b"\t", separator.encode())
    data = data.replace(b"\\x09", f"\\x{ord(separator):02x}".encode())
    data = data.replace(b"#set_separator" + separator.encode() + b",", b"#set_separator?:")
    batches, _ = read(data)
    assert batches[0].to_pylist() == [{"x": "a", "y": 1}]


def test_a_log_of_two_columns_with_a_footer():
    """The line ``#close`` also has two columns, and is not an event."""
    assert len(rows(log({"x": "string", "y": "string"}, "a\tb"))) == 1


def test_headers_without_values_fall_back_and_say_so():
    """What a header leaves open is assumed, and the assumption is reported."""
    data = log({"x": "set[count]", "y": "count"}, "(empty)\t-")
    data = data.replace(b"#empty_field\t(empty)", b"#empty_field")
    data = data.replace(b"#unset_field\t-", b"#unset_field")
    batches, problems = read(data)
    assert batches[0].to_pylist() == [{"x": [], "y": None}]
    assert [problem.line for problem in problems] == [3, 4]


def test_lines_under_a_header_that_contradicts_itself_are_reported():
    """Without one type per field no line can be read, and none is dropped silently."""
    data = log({"x": "string", "y": "count"}, "a\t1", "b\t2").replace(b"\tcount", b"")
    batches, problems = read(data)
    assert batches == []
    assert [problem.line for problem in problems] == [7, 8, 9]


def test_lines_before_any_header_are_reported():
    """A line without a header above it cannot be typed."""
    batches, problems = read(b"stray\n" + log({"x": "count", "y": "count"}, "1\t2"))
    assert batches[0].num_rows == 1
    assert [problem.line for problem in problems] == [1]


def test_lines_after_the_footer_and_unknown_headers():
    """Events after ``#close`` count; an unknown header line is reported."""
    data = log({"x": "count", "y": "count"}, "1\t2", head="#colour\tred") + b"3\t4\n"
    batches, problems = read(data)
    assert sum(batch.num_rows for batch in batches) == 2
    assert [problem.reason for problem in problems] == ["unknown header line #colour"]


def test_the_name_can_be_given_or_come_from_the_file(tmp_path):
    """An argument decides, then the header, then the file's name."""
    data = log({"x": "count", "y": "count"}, "1\t2")
    batches, _ = read(data, schema="my.events")
    assert arrow_schema.name_of(batches[0].schema) == "my.events"
    path = tmp_path / "weird.2024.log"
    path.write_bytes(data.replace(b"#path\tx\n", b""))
    (batch,) = readers.read(path)
    assert arrow_schema.name_of(batch.schema) == "zeek.weird"


def test_dotted_names_that_contradict_each_other_stay_flat():
    """A field cannot be a value and a record; both are kept."""
    (row,) = rows(log({"a": "count", "a.b": "count", "c.d": "count"}, "1\t2\t3"))
    assert row == {"a": 1, "a.b": 2, "c": {"d": 3}}


def test_a_separator_of_several_bytes():
    """What stands between fields may be longer than a byte, and of any bytes."""
    for separator in (b"||", b"\xc2\xa7", b"\x01", b"<>"):
        data = log({"x": "string", "y": "set[count]"}, "a\t1;2", r"\x1fb" + "\t3")
        data = data.replace(b"\t,", b"\t;").replace(b"\t", separator)
        data = data.replace(b"\\x09", separator)
        assert rows(data) == [{"x": "a", "y": [1, 2]}, {"x": "\x1fb", "y": [3]}]


def test_unset_and_empty_fields_may_be_written_as_nothing():
    """An empty value of a header line counts; a line without one does not."""
    data = log({"x": "string", "y": "count", "z": "set[count]"}, "\t\t(empty)", "-\t5\t1")
    data = data.replace(b"#unset_field\t-", b"#unset_field\t")
    assert rows(data) == [{"x": None, "y": None, "z": []}, {"x": "-", "y": 5, "z": [1]}]
    data = log({"x": "string", "z": "set[count]"}, "\t", "-\t-")
    data = data.replace(b"#empty_field\t(empty)", b"#empty_field\t")
    assert rows(data) == [{"x": "", "z": []}, {"x": None, "z": None}]


def test_header_lines_in_any_order():
    """Names, types and the path may come in any order, and again for another log."""
    data = b"#types\tcount\tstring\n#fields\tx\ty\n#path\tone\n1\ta\n"
    data += b"#fields\tz\tu\n#types\tcount\tbool\n#path\ttwo\n2\tT\n"
    batches, problems = read(data)
    assert problems.count == 0
    found = [(arrow_schema.name_of(b.schema), b.to_pylist()) for b in batches]
    assert found == [("zeek.one", [{"x": 1, "y": "a"}]), ("zeek.two", [{"z": 2, "u": True}])]


def test_names_that_are_taken_get_one_of_their_own():
    """A header with a name twice loses no column, and says so."""
    batches, problems = read(log({"x": "count", "y": "count"}, "1\t2").replace(b"\ty", b"\tx"))
    assert batches[0].to_pylist() == [{"x": 1, "x_2": 2}]
    assert problems.count == 1


def test_comments_before_the_header():
    """They are named, and the log is recognised behind them."""
    data = b"# exported by hand\n" + log({"x": "count", "y": "count"}, "1\t2")
    assert readers.detect(io.BytesIO(data)) == "zeek"
    batches, problems = read(data)
    assert batches[0].num_rows == problems.count == 1


def test_too_many_fields_are_refused():
    """A hundred thousand columns are one problem, and one for each line."""
    fields = {f"f{i}": "count" for i in range(100_000)}
    batches, problems = read(log(fields, "1"))
    assert batches == []
    assert "at most 20,000" in next(iter(problems)).reason


# --- lines that cannot be read --------------------------------------------------------------

BAD = {
    "count": ["x", "-1", "1.5", "18446744073709551616", ""],
    "int": ["x", "9223372036854775808"],
    "bool": ["true", "x"],
    "double": ["x", "1,5"],
    "time": ["x", "1e300", "2024-01-01"],
    "interval": ["x"],
    "addr": ["x", "1.2.3", "fe80::1%eth0"],
    "subnet": ["x", "10.0.0.0/99"],
    "set[count]": ["1,x", ""],
    "vector[addr]": ["1.2.3.4,x"],
    "set[bool]": ["T,x"],
}


@pytest.mark.parametrize(
    "zeek_type, text", [(t, text) for t, texts in BAD.items() for text in texts]
)
def test_a_value_of_the_wrong_type_becomes_null(zeek_type, text):
    """The value is reported with its line and field; the event stays, and those around it."""
    batches, problems = read(log({"x": zeek_type, "y": "count"}, "-\t1", f"{text}\t2", "-\t3"))
    events = [row for batch in batches for row in batch.to_pylist()]
    assert [row["y"] for row in events] == [1, 2, 3]
    spoilt = events[1]["x"]
    assert spoilt is None or None in spoilt
    assert [problem.line for problem in problems] == [9]
    (problem,) = problems
    assert problem.reason.startswith("x: ")
    assert problem.reason.endswith("; the value is null now")


@pytest.mark.parametrize("zeek_type", ["time", "interval", "double", "count"])
def test_exponents_beyond_all_bounds(zeek_type):
    """They neither end the process nor become infinite; the lines around them are read."""
    texts = ["1e-999999999", "1e999999999", "-1E+99999", "1e309", "9" * 400]
    lines = [f"{text}\t{i}" for i, text in enumerate(texts)]
    batches, problems = read(log({"x": zeek_type, "y": "count"}, *lines, "1\t9"))
    events = [row for batch in batches for row in batch.to_pylist()]
    assert [row["y"] for row in events] == [0, 1, 2, 3, 4, 9]
    values = [row["x"] for row in events[:-1]]
    assert all(value is None or value == 0 for value in values)
    assert problems.count == values.count(None)


def test_many_values_that_do_not_fit_are_counted():
    """Year 9999 in a third of the lines costs these values; all are counted, some are named."""
    lines = [f"{'253402300799.0' if i % 3 else i}\t{i}" for i in range(30_000)]
    batches, problems = read(log({"x": "time", "y": "count"}, *lines))
    assert sum(batch.num_rows for batch in batches) == 30_000
    assert sum(batch.column("x").null_count for batch in batches) == 20_000
    assert problems.count == 20_000
    assert len(list(problems)) < 100


def test_a_line_with_the_wrong_number_of_fields():
    """Too few and too many are both reported."""
    batches, problems = read(log({"x": "count", "y": "count"}, "1", "1\t2", "1\t2\t3"))
    assert sum(batch.num_rows for batch in batches) == 1
    assert [(p.line, p.reason) for p in problems] == [
        (8, "1 field instead of 2"),
        (10, "3 fields instead of 2"),
    ]


def test_bytes_that_are_not_text():
    """A line that is not UTF-8 is reported and left out."""
    data = log({"x": "string", "y": "count"}, "a\t1", "B\t2").replace(b"\nB\t", b"\n\xff\t")
    batches, problems = read(data)
    assert [row["y"] for batch in batches for row in batch.to_pylist()] == [1]
    (problem,) = problems
    assert (problem.line, problem.reason.split(";")[0]) == (9, "the text is not UTF-8")


def test_strict_reading_stops_at_the_first_bad_line():
    """Without a place to report to, the first bad line is an error that names it."""
    data = log({"x": "count", "y": "count"}, "1\t2", "x\t3")
    with pytest.raises(FormatError, match=r"standard input:9: x: 'x' is not a uint64"):
        list(readers.read(io.BytesIO(data)))


def test_carriage_returns_do_not_end_a_line():
    """Windows line ends are read; a lone carriage return stays in its text."""
    data = log({"x": "string", "y": "count"}, "a\t1")
    assert rows(data.replace(b"\n", b"\r\n")) == [{"x": "a", "y": 1}]
    assert rows(data.replace(b"\na\t", b"\na\rb\t")) == [{"x": "a\rb", "y": 1}]


def test_quotes_and_blank_lines_mean_nothing():
    """Quotes are text in this format, and blank lines are not events."""
    data = log({"x": "string", "y": "count"}, '"a\t1', "", 'b"\t2')
    assert [row["x"] for row in rows(data)] == ['"a', 'b"']


@given(bad=st.sets(st.integers(0, 59)), wide=st.sets(st.integers(0, 59)))
def test_every_line_is_an_event_or_a_problem(bad, wide):
    """Nothing is lost and nothing is counted twice, wherever bad values and lines are."""
    lines = [
        f"{'x' if i in bad else i}\t1.2.3.{i}" + ("\t!" if i in wide else "") for i in range(60)
    ]
    batches, problems = read(log({"x": "count", "y": "addr"}, *lines))
    found = [row["x"] for batch in batches for row in batch.to_pylist()]
    assert found == [None if i in bad else i for i in range(60) if i not in wide]
    assert problems.count == len(bad | wide)
    named = {problem.line - 8 for problem in problems}
    assert named == bad | wide or len(bad - wide) > 10


def test_large_logs_come_in_batches():
    """No batch has more than 65,536 events, and none is lost between blocks."""
    lines = [f"{i}\tabc" for i in range(200_000)]
    batches, _ = read(log({"x": "count", "y": "string"}, *lines))
    assert max(batch.num_rows for batch in batches) <= 65_536
    numbers = [n for batch in batches for n in batch.column("x").to_pylist()]
    assert numbers == list(range(200_000))


def test_every_zeek_type_has_a_kind():
    """Types that are new to vastlab are text, so that their values are not lost."""
    batches, _ = read(log({"x": "opaque", "y": "count"}, "a\t1"))
    schema = arrow_schema.from_arrow(batches[0].schema)
    assert schema.fields[0].type.kind is Kind.STRING


def test_lines_without_a_complete_header_are_reported():
    """A log without types, or cut off at its beginning, names the header lines that it lacks."""
    problems = readers.Problems()
    data = b"#separator \\x09\n#path\tx\n#fields\tts\ta\n1.5\tb\n"
    assert list(readers.read(io.BytesIO(data), problems=problems)) == []
    assert [str(problem) for problem in problems] == [
        "standard input:4: no header with #fields and #types before this line"
    ]
