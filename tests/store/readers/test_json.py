"""What holds for every reader of JSON; `vastlab.store.readers.ndjson` stands for them."""

from __future__ import annotations

import io
import ipaddress
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.store import readers
from vastlab.store.readers import _json_table


def read(
    data: bytes | str, format_: str = "json", **options: object
) -> tuple[list[pa.RecordBatch], readers.Problems]:
    problems = readers.Problems()
    raw = data.encode() if isinstance(data, str) else data
    batches = list(
        readers.read(
            io.BytesIO(raw), format=format_, problems=problems, **{"schema": "x"} | options
        )
    )
    return batches, problems


def rows(data: bytes | str, **options: object) -> list[dict[str, object]]:
    batches, problems = read(data, **options)
    assert [str(problem) for problem in problems] == []
    return [row for batch in batches for row in batch.to_pylist()]


def types(data: str) -> dict[str, str]:
    batches, _ = read(data)
    schema = arrow_schema.from_arrow(batches[-1].schema)
    return {leaf.name: str(leaf.type) for leaf in schema.leaves}


@pytest.fixture(params=["arrow", "python"])
def each_way(request, monkeypatch):
    """Run a test with Arrow's parser, and without it."""
    if request.param == "python":
        monkeypatch.setattr(_json_table.JSONTable, "fast", lambda self, lines: None)


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
NAMES = st.text("abc.é", min_size=1, max_size=3)


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
    """Whatever typed records JSON holds come back equal, nested and with nulls."""
    event = data.draw(records(COLUMNS))
    events = data.draw(st.lists(event, min_size=1, max_size=6))
    text = "\n".join(json.dumps(event, ensure_ascii=data.draw(st.booleans())) for event in events)
    found = rows(text)
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
        patch.setattr(_json_table.JSONTable, "fast", lambda self, lines: None)
        others, other_problems = read(text)
    assert [b.to_pylist() for b in batches] == [b.to_pylist() for b in others]
    assert [b.schema for b in batches] == [b.schema for b in others]
    assert list(problems) == list(other_problems)


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
        (['"2024-01-01T00:00:00Z"'], "string"),
    ],
)
@pytest.mark.usefixtures("each_way")
def test_undeclared_values_climb_a_ladder(values, expected):
    """Numbers widen, what does not fit together is text, and text is never a time."""
    assert types("\n".join(f'{{"a":{value}}}' for value in values))["a"] == expected


@pytest.mark.usefixtures("each_way")
def test_large_numbers_keep_their_bits():
    """Numbers beyond the signed range are not rounded to doubles."""
    assert rows('{"a":18446744073709551615}\n{"a":1}') == [{"a": (1 << 64) - 1}, {"a": 1}]


@pytest.mark.usefixtures("each_way")
def test_text_of_mixed_values_is_their_json():
    """Whatever becomes text can be read as JSON again."""
    text = '{"a":{"b":[1,2.5,"é"]}}\n{"a":"x"}\n{"a":12}\n{"a":1.50}\n{"a":true}'
    assert [row["a"] for row in rows(text)] == ['{"b":[1,2.5,"é"]}', "x", "12", "1.50", "true"]


def test_schemas_stay_few():
    """What was learned is carried over the file: later blocks do not begin anew."""
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
        (b'{"a":1', "no JSON: Expecting ',' delimiter at column 7"),
        (b'{"a":yes}', "no JSON: Expecting value at column 6"),
        (b"[1]", "the line is no JSON object"),
        (b"5", "the line is no JSON object"),
        (b'{"a":1} x', "no JSON: Expecting value at column 9"),
        (b'{"a":1,"a":2}', "the key 'a' occurs twice"),
        (b'{"b":{"a":1,"a":2}}', "the key 'a' occurs twice"),
        (b'{"a":"\xff"}', "the text is no UTF-8"),
        (b'{"b":"\\ud800"}', "b: the text holds half a surrogate pair"),
        (b"\0\0\0\0", "no JSON: Expecting value at column 1"),
        (b'{"b":' + b"[" * 200 + b"]" * 200 + b"}", "the JSON is nested too deeply"),
        (b'{"b":' + b"[" * 100_000, "the JSON is nested too deeply"),
        (b'{"b":1e99999999999999999999}', "a number is out of range"),
        (b'{"b":1e400}', "b: 1E+400 is no double: it is too large"),
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
    """A lost newline loses no event, and line numbers stay right."""
    batches, problems = read('{"a":1}{"a":2} {"a":3}\nx\n{"a":4}')
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 2, 3, 4]
    assert [problem.line for problem in problems] == [2]


def test_line_ends_and_blank_lines():
    """Windows line ends and blank lines change nothing."""
    assert rows('{"a":1}\r\n\r\n \t\n{"a":2}') == [{"a": 1}, {"a": 2}]


def test_strict_reading_raises():
    """Without a place to report to, a bad line is an error."""
    with pytest.raises(FormatError, match="standard input:2: no JSON"):
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


def test_what_belongs_to_no_object_is_reported():
    """Text between objects, and an object without an end, are problems with their lines."""
    text = '{\n"a": 1\n}\nstray\n{\n"a": 2}\n}\n{\n"a":'
    batches, problems = read(text)
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == [1, 2]
    assert [(problem.line, problem.reason) for problem in problems] == [
        (4, "'stray' belongs to no JSON object"),
        (7, "'}' belongs to no JSON object"),
        (8, "a JSON object does not end"),
    ]
