from __future__ import annotations

from decimal import Decimal
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.readers import reading
from vastlab import readers
from vastlab.arrow import schema as arrow_schema

CONN = {
    "ts": 1258531221.486539,
    "uid": "Pii6cUUq1v4",
    "id.orig_h": "192.168.1.102",
    "id.orig_p": 68,
    "id.resp_h": "fe80::1",
    "id.resp_p": 67,
    "proto": "udp",
    "duration": 0.16382,
    "tunnel_parents": [],
}


read = partial(reading.read_events, format="zeek-json")


def names(batches: list[pa.RecordBatch]) -> list[str]:
    return [arrow_schema.name_of(batch.schema) for batch in batches]


def test_fields_have_the_types_of_the_log():
    """The same types as in Zeek's own format, dotted names as records."""
    (batch,), problems = read(CONN)
    assert problems.count == 0
    schema = arrow_schema.from_arrow(batch.schema)
    found = {leaf.name: str(leaf.type) for leaf in schema.leaves}
    assert found["ts"] == "timestamp"
    assert found["id.orig_h"] == "ip"
    assert found["id.resp_p"] == "port"
    assert found["duration"] == "duration"
    assert found["tunnel_parents"] == "list<string>"
    assert next(str(f.type) for f in schema.fields if f.name == "id") == "zeek.conn_id"
    assert batch.column("ts")[0].value == 1258531221486539000
    assert batch.column("duration")[0].value == 163_820_000


def test_the_log_is_named_by_path_file_or_fields():
    """``_path`` decides line by line, else the file's name, else the fields."""
    assert names(read({"_path": "dns", **CONN}, {"_path": "my_log", "a": 1})[0]) == [
        "zeek.dns",
        "zeek.my_log",
    ]
    assert names(read(CONN, name="logs/weird.10:00.log.gz")[0]) == ["zeek.weird"]
    assert names(read(CONN, name="<stdin>")[0]) == ["zeek.conn"]
    assert names(read({"ts": 1, "a": 2, "b": 3, "c": 4}, name="custom.log")[0]) == ["zeek.custom"]
    assert names(read(CONN, schema="mine")[0]) == ["mine"]


@pytest.mark.parametrize(
    "text, nanoseconds",
    [
        ("1258531221.486539", 1258531221486539000),
        ("1258531221486", 1258531221486000000),
        ("1258531221", 1258531221000000000),
        ('"2009-11-18T08:00:21.486539Z"', 1258531221486539000),
        ("1258531221.123456789", 1258531221123456789),
        ("-0.5", -500_000_000),
    ],
)
def test_times_in_all_forms_that_zeek_writes(text, nanoseconds):
    """Seconds, milliseconds and ISO 8601 give the same exact times."""
    (batch,), problems = read(f'{{"ts":{text}}}', f'{{"ts":{text}}}', name="conn.log")
    assert [str(problem) for problem in problems] == []
    assert batch.column("ts").cast(pa.int64()).to_pylist() == [nanoseconds] * 2


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_durations_are_rounded_to_nanoseconds_once(durations):
    """The shortest text of any double is read without passing through a float."""
    batches, problems = read(*({"ts": 1, "duration": d} for d in durations), name="conn.log")
    assert [str(problem) for problem in problems] == []
    found = [n for b in batches for n in b.column("duration").cast(pa.int64()).to_pylist()]
    assert found == [round(Decimal(repr(d)).scaleb(9)) for d in durations]


def test_mixed_forms_of_time_in_one_file():
    """Lines of different writers in one file are all read."""
    (batch,), problems = read('{"ts":1}', '{"ts":"1970-01-01T00:00:02Z"}', name="conn.log")
    assert problems.count == 0
    assert batch.column("ts").cast(pa.int64()).to_pylist() == [10**9, 2 * 10**9]


def test_unknown_fields_are_kept():
    """Fields of scripts and packages that the schema does not name are inferred."""
    (batch,), _ = read({**CONN, "ja4": "x", "geo.lat": 1.5}, name="conn.log")
    assert batch.column("ja4").to_pylist() == ["x"]
    assert batch.column("geo").to_pylist() == [{"lat": 1.5}]


def test_a_value_that_is_not_of_its_type_is_null_and_reported():
    """The line is named with the field and the value; the event stays."""
    batches, problems = read(CONN, {**CONN, "id.orig_h": "nowhere"}, name="conn.log")
    hosts = [host for b in batches for host in b.column("id").field("orig_h").to_pylist()]
    assert [str(host) for host in hosts] == ["192.168.1.102", "None"]
    assert [(problem.line, problem.reason) for problem in problems] == [
        (2, "id.orig_h: 'nowhere' is not an IP address; the value is null now")
    ]


def test_the_format_zeek_covers_both():
    """Who asks for Zeek need not know which of its two formats a file has."""
    assert names(read(CONN, name="conn.log", format="zeek")[0]) == ["zeek.conn"]


def test_both_formats_of_zeek_agree(shared):
    """Real logs as JSON are read whole, and typed as the schema says."""
    for log, count in (("conn", 729), ("http", 9)):
        problems = readers.Problems()
        path = shared / f"data/json/{log}.log.json.gz"
        batches = list(readers.read(path, problems=problems))
        assert problems.count == 0
        assert {(b.num_rows, n) for b, n in zip(batches, names(batches), strict=True)} == {
            (count, f"zeek.{log}")
        }
