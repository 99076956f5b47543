"""What holds for every reader of JSON; `vastlab.readers.json` stands for them."""

from __future__ import annotations

import gzip
import io
import ipaddress
import json
from decimal import Decimal
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readers import reading
from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.readers import json as json_reader
from vastlab.readers import json_table, source
from vastlab.readers.source import encoding_error

read = partial(reading.read, format="json", schema="x")
rows = partial(reading.rows, format="json", schema="x")


def types(data: str) -> dict[str, str]:
    return reading.types(*read(data)[0])


@pytest.fixture(params=["arrow", "python"])
def each_way(request, monkeypatch):
    """Run a test with Arrow's parser, and without it."""
    if request.param == "python":
        monkeypatch.setattr(json_table.JSONTable, "fast", lambda *_: None)


# --- round trips ----------------------------------------------------------------------------

SCALARS = st.sampled_from(
    [
        st.booleans(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.integers(0, (1 << 64) - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.sampled_from(["2024-01-01", "2024-01-01T00:00:00Z", "1.2.3.4", "12:00", "null", "1"]),
    ]
)
NAMES = st.text("abcé", min_size=1, max_size=3)


def records(values: st.SearchStrategy[object]) -> st.SearchStrategy[st.SearchStrategy[object]]:
    return st.dictionaries(NAMES, values, min_size=1, max_size=3).map(
        lambda fields: st.fixed_dictionaries({k: st.none() | v for k, v in fields.items()})
    )


COLUMNS = st.recursive(
    SCALARS,
    lambda inner: (
        inner.map(lambda values: st.lists(st.none() | values, max_size=3)) | records(inner)
    ),
    max_leaves=4,
)


@given(st.data())
def test_events_survive_being_written_as_lines(data):
    """Whatever typed records JSON holds come back equal, where text stays text."""
    event = data.draw(records(COLUMNS))
    events = data.draw(st.lists(event, min_size=1, max_size=6))
    text = "\n".join(json.dumps(event, ensure_ascii=data.draw(st.booleans())) for event in events)
    found = rows(text, infer=False)
    assert found == events


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(
    st.characters(exclude_categories=["Cs"])), lambda inner: st.lists(inner) | st.dictionaries(
    NAMES, inner), max_leaves=5), min_size=1, max_size=6))  # fmt: skip
def test_values_of_any_shape_find_room(values):
    """Values that have no type in common become text; no event is lost."""
    text = "\n".join(json.dumps({"a": value, "n": i}) for i, value in enumerate(values))
    assert [row["n"] for row in rows(text)] == list(range(len(values)))


@given(st.lists(st.sampled_from(
    ['{"a":1}', '{"a":"x","b":2}', '{"b":18446744073709551615}', '{"c":{"d":[1]}}', "{}",
     '{"a":1.5}', "[1]", '{"a":1', '{"a":1,"a":2}', '{"a":"\\ud800"}', '{"a":nul}'])))  # fmt: skip
def test_both_ways_read_the_same(lines):
    """Arrow's parser is only a faster way to the same events and the same problems."""
    text = "\n".join(lines)
    batches, problems = read(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_table.JSONTable, "fast", lambda *_: None)
        others, other_problems = read(text)
    assert [b.to_pylist() for b in batches] == [b.to_pylist() for b in others]
    assert [b.schema for b in batches] == [b.schema for b in others]
    assert sorted(map(str, problems)) == sorted(map(str, other_problems))


def test_types_that_change_between_blocks_read_the_same(monkeypatch):
    """Blocks that were parsed ahead, with earlier types, are parsed again with the later ones."""
    monkeypatch.setattr(source.blocks, "__kwdefaults__", {"size": 1 << 15, "longest": 1 << 20})
    monkeypatch.setattr(json_reader, "_MIN_SIZE_AHEAD", 1)
    monkeypatch.setattr(json_reader, "_MIN_LINES", 100)
    kinds = ("1", "-5", "2.5", '"1.2.3.4"', '"x"', "[1]", "null", '{"c": 1}')
    lines = [
        f'{{"n":{i},"a":{kinds[i // 1500 % len(kinds)]},"k{i // 4000}":{i}}}' for i in range(15_000)
    ]
    lines[7_000:7_000] = ['{"n":', "", "  "]
    batches, problems = read("\n".join(lines))
    monkeypatch.setattr(json_table.JSONTable, "fast", lambda *_: None)
    others, other_problems = read("\n".join(lines))
    assert [row["n"] for batch in batches for row in batch.to_pylist()] == list(range(15_000))
    assert [str(problem) for problem in problems] == [str(problem) for problem in other_problems]
    assert batches[-1].schema == others[-1].schema


def test_events_before_damage_are_read_first():
    """What was found before the end of an incomplete file is converted before the error."""
    text = "\n".join(f'{{"a":{i},"b":"{i * 7919:x}"}}' for i in range(3_000)).encode()
    packed = gzip.compress(text)
    found = []
    with pytest.raises(FormatError, match="incomplete"):
        for batch in readers.read(io.BytesIO(packed[:-100]), format="json", schema="x"):
            found += batch.column("a").to_pylist()
    assert len(found) > 2_000
    assert found == list(range(len(found)))


# --- inference ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, expected",
    [
        (["1", "2"], "int64"),
        (["1", "18446744073709551615"], "uint64"),
        (["-1", "1"], "int64"),
        (["-1", "18446744073709551615"], "double"),
        (["1", "1.5"], "double"),
        (["1", '"x"'], "string"),
        (["true", "1"], "string"),
        (["36893488147419103232"], "string"),
        (["null"], "null"),
        (["null", "true"], "bool"),
        (["[]"], "list<null>"),
        (["[1]", "[1.5]"], "list<double>"),
        (["[1]", "1"], "string"),
        (['{"b":1}', '"x"'], "string"),
        (['"2024-01-01T00:00:00Z"', '"2024-01-01"'], "time"),
        (['"192.0.2.1"', "null", '"::1"'], "ip"),
        (['"192.0.2.0/24"', '"fe80::/10"'], "subnet"),
        (['"163.82ms"', '"1h30m"'], "duration"),
        (['"true"', "false"], "bool"),
        (['["192.0.2.1"]', '["::1",null]'], "list<ip>"),
        (['"5"', '"1.5"'], "string"),
        (['"5"', "5"], "int64"),
        (["5", '"1.5"'], "double"),
        (["5", '"05"'], "string"),
        (['"192.0.2.1"', '"n/a"'], "string"),
        (['"192.0.2.1"', '"192.0.2.0/24"'], "string"),
        (['"192.0.2.1"', "5"], "string"),
        (['"2024-01-01"', '"9999-12-31"'], "string"),
        (['"007"'], "string"),
        (['"1.2.3.4.5"'], "string"),
    ],
)
@pytest.mark.usefixtures("each_way")
def test_undeclared_values_widen_step_by_step(values, expected):
    """Numbers widen, text has a type where all of it has, and all else is text."""
    assert types("\n".join(f'{{"a":{value}}}' for value in values))["a"] == expected


@pytest.mark.usefixtures("each_way")
def test_large_numbers_keep_their_bits():
    """Numbers beyond the signed range are not rounded to doubles."""
    assert rows('{"a":18446744073709551615}\n{"a":1}') == [{"a": (1 << 64) - 1}, {"a": 1}]


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("lines", [1, 2000])
@pytest.mark.parametrize(
    "value", ["9007199254740993", '"9007199254740993"', "[9007199254740993]", "-9007199254740993"]
)
def test_a_whole_number_that_a_double_rounds_is_a_problem(value, lines):
    """Beside fractions, numbers beyond 2**53 are counted and named where they lose digits."""
    fraction = "[0.5]" if value.startswith("[") else "0.5"
    batches, problems = read(f'{{"a":{fraction}}}\n' * lines + f'{{"a":{value}}}')
    assert [problem.line for problem in problems] == [lines + 1]
    assert "stored as" in next(iter(problems)).reason
    assert "9007199254740992" in str(batches[-1].to_pylist()[-1]["a"]).replace(".0", "")


@pytest.mark.usefixtures("each_way")
@given(
    st.lists(
        st.integers(-(1 << 64), 1 << 64).map(str)
        | st.floats(allow_nan=False, allow_infinity=False).map(str)
        | st.integers(0, 1 << 12).map(lambda n: str((1 << 53) + n)),
        min_size=1,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_number_changes_silently(texts):
    """Each number is stored exactly as written, or as its double, with a problem if it is whole."""
    batches, problems = read("\n".join(f'{{"a":{text}}}' for text in texts))
    stored = [row["a"] for batch in batches for row in batch.to_pylist()]
    changed = []
    for number, (text, value) in enumerate(zip(texts, stored, strict=True), start=1):
        if isinstance(value, str):
            assert Decimal(value) == Decimal(text)
        elif text.lstrip("-").isdigit() and int(text) != value:
            changed.append(number)
            assert value in (float(text), None)
    # Ten are named, the rest are counted.
    assert [p.line for p in problems][:10] == changed[:10]
    assert problems.count == len(changed)


@pytest.mark.usefixtures("each_way")
def test_text_of_mixed_values_is_their_json():
    """Whatever becomes text can be read as JSON again."""
    text = '{"a":[1,2.5,{"b":"é"}]}\n{"a":"x"}\n{"a":12}\n{"a":1.50}\n{"a":true}'
    assert [row["a"] for row in rows(text)] == ['[1,2.5,{"b":"é"}]', "x", "12", "1.50", "true"]


def test_schemas_stay_few():
    """Types are kept over the file: later blocks continue with them."""
    line = json.dumps({"a": 1, "text": "x" * 500})
    other = json.dumps({"b": 1.5, "text": "y" * 500})
    text = "\n".join([line, other, *[line] * 10_000, *[other] * 10_000])
    batches, problems = read(text)
    assert problems.count == 0
    assert len(batches) > 2
    assert {str(batch.schema) for batch in batches} == {str(batches[0].schema)}


def test_new_fields_join_later():
    """A field that shows up in a later block is kept, and earlier events are unchanged."""
    line = json.dumps({"a": 1, "text": "x" * 500})
    text = "\n".join([*[line] * 9000, '{"a":2.5,"new":{"b":[true]}}'])
    batches, _ = read(text)
    assert sum(batch.num_rows for batch in batches) == 9001
    assert batches[0].schema.names == ["a", "text"]
    last = batches[-1].to_pylist()[-1]
    assert last == {"a": 2.5, "text": None, "new": {"b": [True]}}


def test_keys_that_are_data_do_not_become_columns():
    """A record with endlessly many keys turns into text."""
    lines = [json.dumps({"n": i, "hosts": {f"h{i}": 1}}) for i in range(5000)]
    batches, problems = read("\n".join(lines))
    assert problems.count == 0
    assert sum(batch.num_rows for batch in batches) == 5000
    assert pa.types.is_string(batches[-1].schema.field("hosts").type)


def test_a_schema_that_vastlab_knows_brings_its_types():
    """Naming a known schema types what would be text otherwise."""
    (row,) = rows('{"ts":"2024-01-01T00:00:00Z","host":"1.2.3.4"}', schema="zeek.known_hosts")
    assert row["ts"].value == 1704067200 * 10**9
    assert row["host"] == ipaddress.ip_address("1.2.3.4")


# --- lines that cannot be read --------------------------------------------------------------


@pytest.mark.parametrize(
    "line, reason",
    [
        (b'{"a":1', "not JSON: Expecting ',' delimiter at column 7"),
        (b'{"a":yes}', "not JSON: Expecting value at column 6"),
        (b"[1]", "the line is not a JSON object"),
        (b"5", "the line is not a JSON object"),
        (b'{"a":1} x', "not JSON: Expecting value at column 9"),
        (b'{"a":1,"a":2}', "the key 'a' occurs twice"),
        (b'{"b":{"a":1,"a":2}}', "the key 'a' occurs twice"),
        (b'{"a":"\xff"}', encoding_error(None)),
        (b'{"b":"\\ud800"}', "the text contains an incomplete surrogate pair"),
        (b'{"\\ud800":1}', "the text contains an incomplete surrogate pair"),
        (b'{"b\\u0000":1}', "the name of a field contains a NUL"),
        (b"\0\0\0\0", "not JSON: Expecting value at column 1"),
        (b'{"b":' + b"[" * 200 + b"]" * 200 + b"}", "the JSON is nested too deeply"),
        (b'{"b":' + b"[" * 100_000, "the JSON is nested too deeply"),
        (b'{"b":1e99999999999999999999}', "a number is out of range"),
    ],
)
@pytest.mark.usefixtures("each_way")
def test_a_bad_line_costs_itself_only(line, reason):
    """It is reported with its number and the reason, and the lines around it are read."""
    batches, problems = read(b'{"a":1}\n\n' + line + b'\n{"a":3}\n')
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 3]
    assert [(problem.line, problem.reason) for problem in problems] == [(3, reason)]


def test_a_number_with_too_many_digits_is_reported():
    """Numbers that would take long to read are not read."""
    _, problems = read('{"a":' + "9" * 5000 + "}")
    assert problems.count == 1


@pytest.mark.usefixtures("each_way")
def test_two_objects_on_one_line_are_two_events():
    """A missing newline loses no event, and line numbers stay right."""
    batches, problems = read('{"a":1}{"a":2} {"a":3}\nx\n{"a":4}')
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 2, 3, 4]
    assert [problem.line for problem in problems] == [2]


def test_line_ends_and_blank_lines():
    """Windows line ends and blank lines change nothing."""
    assert rows('{"a":1}\r\n\r\n \t\n{"a":2}') == [{"a": 1}, {"a": 2}]


def test_a_line_that_is_not_of_the_named_encoding_is_reported_by_its_name():
    """The reason names the encoding that the user chose."""
    problems = readers.Problems()
    source = io.BytesIO(b'{"a":"\x81"}\n{"a":"b"}\n')
    (batch,) = readers.read(source, problems=problems, encoding="cp1252", format="json")
    assert batch.to_pylist() == [{"a": "b"}]
    assert [problem.reason for problem in problems] == ["the text is not cp1252"]


def test_strict_reading_raises():
    """Without a place to report to, a bad line is an error."""
    with pytest.raises(FormatError, match="standard input:2: not JSON"):
        list(readers.read(io.BytesIO(b'{"a":1}\nx\n')))


def test_empty_objects_are_events():
    """An object without members is an event without fields."""
    batches, _ = read("{}\n{}")
    assert [(batch.num_rows, batch.num_columns) for batch in batches] == [(2, 0)]
    assert rows('{"a":{}}') == [{"a": {}}]


# --- objects over several lines -------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [True, False])
@given(st.lists(st.fixed_dictionaries({"a": st.integers(0, 9), "s": st.text("{}[]\\\"',x")}),
                min_size=1, max_size=4))  # fmt: skip
def test_pretty_printed_json_and_arrays(indent, wrapped, events):
    """Objects over several lines are read, and so are arrays of objects."""
    if wrapped:
        text = json.dumps(events, indent=indent)
    else:
        text = "\n".join(json.dumps(event, indent=indent) for event in events)
    assert rows(text) == events


def test_text_outside_of_objects_is_reported():
    """Text between objects, and an object without an end, are problems with their lines."""
    text = '{\n"a": 1\n}\nstray\n{\n"a": 2}\n}\n{\n"a":'
    batches, problems = read(text)
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 2]
    assert [(problem.line, problem.reason) for problem in problems] == [
        (4, "'stray' is not part of a JSON object"),
        (7, "'}' is not part of a JSON object"),
        (8, "a JSON object is incomplete"),
    ]


# --- events within one object ---------------------------------------------------------------

EVENTS = [{"a": 1, "s": "}]"}, {"a": 2, "x": {"y": []}}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "wrapper",
    [
        {"Records": EVENTS},
        {"value": EVENTS},
        {"@odata.context": "x", "count": 2, "value": EVENTS, "nextLink": "https://example.org"},
        {"events": EVENTS, "more": False},
    ],
)
def test_a_list_of_events_in_one_object_gives_its_events(wrapper, indent):
    """As CloudTrail and Azure write them, in one line or in many."""
    found = rows(json.dumps(wrapper, indent=indent))
    assert [{k: v for k, v in row.items() if v is not None} for row in found] == EVENTS


def test_a_list_of_many_events_in_one_line_is_read_whole():
    """Whatever its size: the first bytes are enough."""
    events = [{"a": i, "t": "x" * 1000} for i in range(300)]
    assert rows(json.dumps({"Records": events})) == events


@pytest.mark.parametrize(
    "text",
    [
        '{"Records":[{"a":1}]}\n{"Records":[{"a":2}]}',
        '{"Records":[{"a":1}],"x":{"b":1}}',
        '{"Records":[{"a":1},2]}',
        '{"#type":"x","Records":[{"a":1}]}',
        '{"answers":[{"a":1}]}',
        '{"Records":[]}',
    ],
)
def test_an_event_that_only_looks_like_a_wrapper_stays_one(text):
    """Where other objects follow, or it has more than a list of events."""
    assert len(rows(text)) == text.count("\n") + 1
    assert not any("a" in row for row in rows(text))


def test_objects_after_a_list_of_events_are_reported():
    """Values without parts are of no interest; anything else would be lost silently."""
    events = [{"t": "x" * 1000}] * 100
    text = json.dumps({"Records": events})[:-1] + ', "next": {"a": 1}}'
    batches, problems = read(text)
    assert sum(batch.num_rows for batch in batches) == 100
    assert [problem.reason for problem in problems] == [
        """unexpected ', "next": {"a": 1}}' after the list of events"""
    ]


# --- schemas that events name ---------------------------------------------------------------


def test_an_event_may_name_its_schema():
    """As vastlab writes them, mixed in one file; the name is not a field."""
    text = """{"#type":"zeek.conn","ts":"2024-01-01T00:00:00","id":{"orig_h":"192.0.2.1"}}
{"#type":"mine","a":1}
{"a":2}
{"#type":"zeek.conn","uid":"C1"}"""
    assert readers.detect(io.BytesIO(text.encode())) == "json"
    for format_ in (None, "json", "zeek-json"):
        batches, problems = read(text, format=format_, schema=None)
        assert problems.count == 0
        names = {arrow_schema.name_of(b.schema): b for b in batches}
        assert {n: b.num_rows for n, b in names.items() if n in ("zeek.conn", "mine")} == {
            "zeek.conn": 2,
            "mine": 1,
        }
        assert len(names) == 3
        assert names["mine"].to_pylist() == [{"a": 1}]
        assert str(names["zeek.conn"].to_pylist()[0]["id"]["orig_h"]) == "192.0.2.1"


def test_a_schema_that_the_user_names_decides():
    """Also for events that name another."""
    batches, _ = read('{"#type":"mine","a":1}', schema="theirs")
    assert [arrow_schema.name_of(batch.schema) for batch in batches] == ["theirs"]
    assert batches[0].to_pylist() == [{"a": 1}]


# --- values that do not fit -----------------------------------------------------------------


@pytest.mark.parametrize(
    "member, field, shown",
    [
        ('"ts":"9999-12-31T23:59:59"', "ts", "'9999-12-31T23:59:59'"),
        ('"ts":"1601-01-01"', "ts", "'1601-01-01'"),
        ('"ts":"2024-01-01T23:59:60"', "ts", "'2024-01-01T23:59:60'"),
        ('"ts":"2024-01-01T24:00:00"', "ts", "'2024-01-01T24:00:00'"),
        ('"ts":"2024-01-01T00:00:00.1234567891"', "ts", "'2024-01-01T00:00:00.1234567891'"),
        ('"ts":true', "ts", "true"),
        ('"duration":1e400', "duration", "1E+400"),
        ('"duration":99999999999', "duration", "99999999999"),
        ('"duration":"soon"', "duration", "'soon'"),
        ('"id.orig_p":-1', "id.orig_p", "-1"),
        ('"id.orig_p":1.5', "id.orig_p", "1.5"),
        ('"id.orig_p":18446744073709551616', "id.orig_p", "18446744073709551616"),
        ('"id.orig_p":"x"', "id.orig_p", "'x'"),
        ('"id.orig_h":"nowhere"', "id.orig_h", "'nowhere'"),
        ('"id.orig_h":5', "id.orig_h", "5"),
        ('"id.orig_h":[1]', "id.orig_h", "[1]"),
        ('"local_orig":5', "local_orig", "5"),
    ],
)
@pytest.mark.usefixtures("each_way")
def test_a_value_that_does_not_fit_costs_itself_only(member, field, shown):
    """It is null, counted and named with its line; the event and its neighbours are whole."""
    text = f'{{"uid":"a","ts":1}}\n{{"uid":"b",{member}}}\n{{"uid":"c","ts":3}}'
    batches, problems = read(text, "zeek-json", schema="zeek.conn")
    found = [row for batch in batches for row in batch.to_pylist()]
    assert [row["uid"] for row in found] == ["a", "b", "c"]
    value = found[1]
    for name in field.split("."):
        value = value and value.get(name)
    assert value is None
    ((line, reason),) = [(problem.line, problem.reason) for problem in problems]
    assert line == 2
    assert reason.startswith(f"{field}: {shown} ")
    assert reason.endswith("; the value is null now")


def test_many_values_that_do_not_fit_are_counted_and_few_named():
    """Each is counted; the first ten of a field are named, then how many more there are."""
    text = "\n".join('{"ts":"9999-01-01"}' for _ in range(1000))
    batches, problems = read(text, "zeek-json", schema="zeek.conn")
    assert sum(batch.num_rows for batch in batches) == 1000
    assert problems.count == 1000
    assert [problem.line for problem in problems][:10] == list(range(1, 11))
    assert list(problems)[-1].reason.startswith("ts: also 990 more values")


def test_milliseconds_are_read_where_an_event_has_its_time():
    """In other fields a far time is one that does not fit, never one of the past."""
    text = '{"ts":1700000000123,"uid":"a"}'
    (batch,), problems = read(text, "zeek-json", schema="zeek.conn")
    assert batch.column("ts").cast(pa.int64()).to_pylist() == [1700000000123 * 10**6]
    assert problems.count == 0
    text = '{"certificate":{"not_valid_after":1700000000123}}'
    (batch,), problems = read(text, "zeek-json", schema="zeek.x509")
    assert batch.column("certificate").field("not_valid_after").null_count == 1
    assert problems.count == 1


@pytest.mark.parametrize("number", ["1e-999999999", "0e-999999999", "1E-400", "1.5e-31", "1e999"])
@pytest.mark.usefixtures("each_way")
def test_no_exponent_ends_the_process(number):
    """Arrow's parser for decimals reads out of bounds where an exponent is long."""
    text = f'{{"uid":"a","ts":{number},"duration": {number}}}\n{{"uid":"b","ts":1}}'
    batches, _ = read(text, "zeek-json", schema="zeek.conn")
    assert [row["uid"] for batch in batches for row in batch.to_pylist()] == ["a", "b"]


def test_a_number_too_large_for_a_double_is_not_infinite():
    """It is null and named, in a field without a type, too."""
    batches, problems = read('{"a":1.5}\n{"a":1e309}')
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1.5, None]
    assert [problem.line for problem in problems] == [2]
