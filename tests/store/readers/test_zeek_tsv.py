from __future__ import annotations

import datetime
import io
import ipaddress
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arrow_strategies import plain as plain_values
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.store import readers
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


def read(data: bytes, **options: object) -> tuple[list[pa.RecordBatch], readers.Problems]:
    problems = readers.Problems()
    batches = list(readers.read(io.BytesIO(data), format="zeek", problems=problems, **options))
    return batches, problems


def rows(data: bytes) -> list[dict[str, object]]:
    batches, problems = read(data)
    assert [str(problem) for problem in problems] == []
    return [row for batch in batches for row in batch.to_pylist()]


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
        # A set that holds nothing but an empty string cannot be told from an empty one.
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
    """The line ``#close`` has two columns as well, and is no event."""
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
    """Events after ``#close`` count; a header line that nobody knows is reported."""
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
def test_a_value_of_the_wrong_type_costs_its_own_line_only(zeek_type, text):
    """The line is reported with its number and field; the lines around it are read."""
    batches, problems = read(log({"x": zeek_type, "y": "count"}, "-\t1", f"{text}\t2", "-\t3"))
    assert [row["y"] for batch in batches for row in batch.to_pylist()] == [1, 3]
    assert [problem.line for problem in problems] == [9]
    assert next(iter(problems)).reason.startswith("x: ")


def test_a_line_with_the_wrong_number_of_fields():
    """Too few and too many are both reported."""
    batches, problems = read(log({"x": "count", "y": "count"}, "1", "1\t2", "1\t2\t3"))
    assert sum(batch.num_rows for batch in batches) == 1
    assert [(p.line, p.reason) for p in problems] == [
        (8, "1 fields instead of 2"),
        (10, "3 fields instead of 2"),
    ]


def test_bytes_that_are_no_text():
    """A line that is no UTF-8 is reported, not mangled."""
    data = log({"x": "string", "y": "count"}, "a\t1", "B\t2").replace(b"\nB\t", b"\n\xff\t")
    batches, problems = read(data)
    assert [row["y"] for batch in batches for row in batch.to_pylist()] == [1]
    assert [(p.line, p.reason) for p in problems] == [(9, "x: the text is no UTF-8")]


def test_strict_reading_stops_at_the_first_bad_line():
    """Without a place to report to, the first bad line is an error that names it."""
    data = log({"x": "count", "y": "count"}, "1\t2", "x\t3")
    with pytest.raises(FormatError, match=r"standard input:9: x: 'x' is no uint64"):
        list(readers.read(io.BytesIO(data)))


def test_carriage_returns_end_no_line():
    """Windows line ends are read; a lone carriage return stays in its text."""
    data = log({"x": "string", "y": "count"}, "a\t1")
    assert rows(data.replace(b"\n", b"\r\n")) == [{"x": "a", "y": 1}]
    assert rows(data.replace(b"\na\t", b"\na\rb\t")) == [{"x": "a\rb", "y": 1}]


def test_quotes_and_blank_lines_mean_nothing():
    """Quotes are text in this format, and blank lines are no events."""
    data = log({"x": "string", "y": "count"}, '"a\t1', "", 'b"\t2')
    assert [row["x"] for row in rows(data)] == ['"a', 'b"']


@given(bad=st.sets(st.integers(0, 59)), wide=st.sets(st.integers(0, 59)))
def test_every_line_is_an_event_or_a_problem(bad, wide):
    """Nothing is lost and nothing is counted twice, wherever the bad lines are."""
    lines = [
        f"{'x' if i in bad else i}\t1.2.3.{i}" + ("\t!" if i in wide else "") for i in range(60)
    ]
    batches, problems = read(log({"x": "count", "y": "addr"}, *lines))
    good = [row["x"] for batch in batches for row in batch.to_pylist()]
    assert good == [i for i in range(60) if i not in bad | wide]
    assert [problem.line - 8 for problem in problems] == sorted(bad | wide)


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
