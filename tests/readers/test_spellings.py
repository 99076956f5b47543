"""Nested, dotted and joined names of fields are spellings of the same events."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.readers import reading
from vastlab import readers
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.readers import json_table, shapes
from vastlab.store.database import Database
from vastlab.store.ingest import ingest

read = partial(reading.read_events, format="json")


def flat(batches: list[pa.RecordBatch]) -> tuple[dict[str, str], list[dict[str, object]]]:
    """Return the types and the rows of one schema, without what is null."""
    types: dict[str, str] = {}
    rows = []
    for batch in batches:
        for leaf in arrow_schema.from_arrow(batch.schema).leaves:
            types[leaf.name] = str(leaf.type)
        rows += [
            {name: value for name, value in row.items() if value is not None}
            for row in convert.flatten(batch).to_pylist()
        ]
    return types, rows


@pytest.fixture(params=["arrow", "python"])
def each_way(request, monkeypatch):
    """Run a test with Arrow's parser, and without it."""
    if request.param == "python":
        monkeypatch.setattr(json_table.JSONTable, "fast", lambda *_: None)


CONN = ("192.0.2.10", 50000, "203.0.113.5", 443)
MEMBERS = ("orig_h", "orig_p", "resp_h", "resp_p")
IDS = [
    {"id": dict(zip(MEMBERS, CONN, strict=True))},
    {f"id.{name}": value for name, value in zip(MEMBERS, CONN, strict=True)},
    *(
        {f"id{mark}{name}": value for name, value in zip(MEMBERS, CONN, strict=True)}
        for mark in ("_", ":", "__", "-")
    ),
    {"id": {"orig_h": CONN[0]}, "id.orig_p": CONN[1], "id_resp_h": CONN[2], "id.resp_p": CONN[3]},
]


@pytest.mark.parametrize("name", ["conn", "my_log"])
@pytest.mark.usefixtures("each_way")
def test_every_spelling_of_zeek_reaches_the_declared_fields(name):
    """Alone, and mixed in one file, for a log that is known and for one that is not."""
    separate = [flat(read({"ts": 1, **spelled}, format="zeek-json", schema=f"zeek.{name}")[0])
                for spelled in IDS]  # fmt: skip
    mixed, problems = read(
        *({"ts": 1, **spelled} for spelled in IDS), format="zeek-json", schema=f"zeek.{name}"
    )
    assert problems.count == 0
    types, rows = flat(mixed)
    assert (types["id.orig_h"], types["id.resp_p"]) == ("ip", "port")
    for one_types, (row,) in separate:
        assert [row] * len(IDS) == rows
        assert {k: v for k, v in one_types.items() if k in types} == types
    assert next(str(f.type) for f in arrow_schema.from_arrow(mixed[0].schema).fields
                if f.name == "id") == "zeek.conn_id"  # fmt: skip


@pytest.mark.usefixtures("each_way")
def test_every_spelling_of_eve_reaches_the_declared_fields():
    """Also below records, and in those of lists."""
    base = {"event_type": "dns", "timestamp": "2024-01-01T00:00:00Z"}
    nested = {**base, "dns": {"rrname": "a", "answers": [{"rdata": "b", "x": {"y": 1}}]}}
    dotted = {**base, "dns.rrname": "a", "dns.answers": [{"rdata": "b", "x.y": 1}]}
    batches, problems = read(nested, dotted, format="suricata")
    types, rows = flat(batches)
    assert problems.count == 0
    assert types["dns.rrname"] == "string"
    assert rows[0] == rows[1]
    assert rows[0]["dns.answers"][0]["x"] == {"y": 1}


@pytest.mark.usefixtures("each_way")
def test_a_leaf_and_a_record_of_one_name_lose_nothing():
    """The leaf keeps the name, and the members of the record stand beside it."""
    for events in (
        [{"a": 1}, {"a": {"b": 2, "c": {"d": 3}}}],
        [{"a": {"b": 2, "c": {"d": 3}}}, {"a": 1}],
        [{"a": 1}, {"a.b": 2, "a.c.d": 3}],
        [{"a.b": 2, "a.c": {"d": 3}}, {"a": 1}],
        [{"a": 1, "a.b": 2, "a.c.d": 3}],
    ):
        types, rows = flat(read(*events)[0])
        assert types == {"a": "int64", "a.b": "int64", "a.c.d": "int64"}
        assert {k: v for row in rows for k, v in row.items()} == {"a": 1, "a.b": 2, "a.c.d": 3}


def test_a_field_that_an_event_has_twice_is_reported():
    """The first value is kept, and the event stays."""
    batches, problems = read({"a": {"b": 1}, "a.b": 2}, {"a": {"b": 3}, "a.b": 3})
    assert [row["a.b"] for row in flat(batches)[1]] == [1, 3]
    assert [str(problem) for problem in problems] == [
        "x:1: a.b: the event has it twice, 1 and 2; the first is kept"
    ]


def test_a_value_in_place_of_a_declared_record_is_null():
    """The record is declared, so the value is what does not fit."""
    batches, problems = read(
        {"ts": 1, "id": "x", "uid": "C"}, {"ts": 2, "id": {"orig_p": 5}}, format="zeek-json",
        schema="zeek.conn",
    )  # fmt: skip
    assert [row.get("id.orig_p") for row in flat(batches)[1]] == [None, 5]
    assert [str(p) for p in problems] == ["x:1: id: 'x' is not a record; the value is null now"]


# --- properties -----------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.sampled_from(
    [st.integers(0, 9), st.just("192.0.2.1"), st.just("x"), st.booleans(), st.just("5s")]
)


def tree(depth: int) -> st.SearchStrategy[object]:
    """Draw the values of a record of which each field has one type."""
    inner = LEAVES if depth == 0 else LEAVES | tree(depth - 1).map(st.fixed_dictionaries)
    return st.dictionaries(NAMES, inner, min_size=1, max_size=3)


def spelled(data: st.DataObject, event: dict[str, object]) -> dict[str, object]:
    """Write some records of an event as dotted names."""
    found: dict[str, object] = {}
    for name, value in event.items():
        if not isinstance(value, dict):
            found[name] = value
            continue
        inner = spelled(data, value)
        dotted = data.draw(st.sets(st.sampled_from(sorted(inner))))
        if rest := {key: member for key, member in inner.items() if key not in dotted}:
            found[name] = rest
        found |= {f"{name}.{key}": inner[key] for key in dotted}
    return found


@given(st.data(), st.booleans())
def test_any_mixture_of_spellings_gives_the_same_events(data, fast):
    """Each line may spell its fields as it likes, with Arrow's parser and without it."""
    events = data.draw(st.lists(st.fixed_dictionaries(data.draw(tree(2))), min_size=1, max_size=5))
    lines = [spelled(data, event) for event in events]
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(json_table.JSONTable, "fast", lambda *_: None)
        expected, problems = read(*events)
        found, others = read(*lines)
    assert flat(found) == flat(expected)
    assert problems.count == others.count == 0


VALUES = st.sampled_from(
    [1, -1, 2**63, 1.5, "5", "x", "192.0.2.1", "2024-01-01", "1s", True, "true", None, [1],
     ["192.0.2.1"], {"b": 1}, {"b": "x"}, {"c": [1.5]}, {}]
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "d", "a.b"]), VALUES, max_size=3),
                min_size=1, max_size=6), st.sets(st.integers(1, 5)))  # fmt: skip
def test_any_split_into_files_gives_the_same_types(tmp_path_factory, events, cuts):
    """What an ingest infers is a property of all its events, wherever files begin."""
    folder = tmp_path_factory.mktemp("split")
    edges = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    parts = [events[a:b] for a, b in pairwise(edges)]
    types = []
    for number, files in enumerate([[events], parts]):
        paths = []
        for i, part in enumerate(files):
            path = Path(folder, str(number), str(i), "x.json")
            path.parent.mkdir(parents=True)
            path.write_text("\n".join(map(json.dumps, part)) + "\n")
            paths.append(path)
        database = Database.create(folder / f"{number}.db")
        report = ingest(database, paths, force=True, format="json")
        assert report.events == {"x": len(events)}
        found = database.snapshot().schemas().get("x")
        assert found is not None
        types.append({n: t for n, t in found.types_by_name.items() if "null" not in t})
    assert types[0] == types[1]


# --- limits ---------------------------------------------------------------------------------


def test_fields_beyond_the_limit_are_kept_as_json(monkeypatch):
    """A key on each line that is data does not become a column each, and is not lost."""
    monkeypatch.setattr(shapes, "MAX_FIELDS", 5)
    inference = readers.Inference()
    (batch,), problems = read(*({"n": i, f"k{i}": i} for i in range(10)), inference=inference)
    rows = batch.to_pylist()
    assert [row["n"] for row in rows] == list(range(10))
    assert json.loads(rows[9]["more_fields"]) == {"k9": 9}
    assert problems.count == 0
    ((_, remark),) = inference.remarks.items()
    assert "more than 5 different fields" in remark


def test_thousands_of_event_types_make_one_batch_each():
    """Lines of a type wait for each other, so that the cost is that of the lines."""
    lines = [{"event_type": f"t{i % 1000}", "timestamp": "2024-01-01"} for i in range(3000)]
    batches, problems = read(*lines, format="suricata")
    assert problems.count == 0
    assert len(batches) == 1000
    assert {batch.num_rows for batch in batches} == {3}
