from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.readers.reading import read_events, types
from vastlab import readers
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.readers import json_table

BASE = {
    "timestamp": "2011-08-12T14:52:57.716360+0200",
    "flow_id": 1031464864740687,
    "src_ip": "147.32.84.165",
    "src_port": 1181,
    "dest_ip": "fe80::1",
    "dest_port": 6667,
    "proto": "TCP",
}


def event(event_type: str, **fields: object) -> str:
    return json.dumps({**BASE, "event_type": event_type, **fields})


def test_the_event_type_names_the_schema():
    """Events of several types in one file come in batches of one type each."""
    batches, problems = read_events(event("flow"), event("dns"), event("flow"), event("new_thing"))
    counts = {arrow_schema.name_of(batch.schema): batch.num_rows for batch in batches}
    assert counts == {"suricata.flow": 2, "suricata.dns": 1, "suricata.new_thing": 1}
    assert problems.count == 0


def test_types_come_from_the_schema():
    """Zones are resolved, addresses and ports are typed, nested enumerations too."""
    alert = {"action": "allowed", "signature_id": 1, "source": {"ip": "1.2.3.4", "port": 5}}
    (batch,), problems = read_events(event("alert", alert=alert))
    assert problems.count == 0
    found = types(batch)
    assert found["timestamp"] == "timestamp"
    assert found["src_ip"] == found["alert.source.ip"] == "ip"
    assert found["dest_port"] == found["alert.source.port"] == "port"
    assert found["alert.action"] == "enum"
    flat = convert.flatten(batch)
    assert flat.column("timestamp")[0].as_py().isoformat() == "2011-08-12T12:52:57.716360"
    assert flat.column("alert.action").storage.to_pylist() == ["allowed"]
    assert arrow_schema.from_arrow(batch.schema).event_time.name == "timestamp"


def test_unknown_fields_are_kept_beside_and_inside_known_ones():
    """What the schema does not name is inferred, also in records that it does name."""
    lines = [event("dns", dns={"rrname": "a", "rcode_text": "x"}, extra=[1])] * 3
    (batch,), problems = read_events(*lines)
    assert problems.count == 0
    found = types(batch)
    assert (found["dns.rcode_text"], found["extra"]) == ("string", "list<int64>")
    assert batch.to_pylist()[2]["dns"]["rcode_text"] == "x"


def test_an_event_without_a_type_is_reported():
    """Without an event type no schema fits; the event is a problem."""
    batches, problems = read_events(event("flow"), '{"timestamp":"2011-08-12T14:52:57Z"}', "x")
    assert [batch.num_rows for batch in batches] == [1]
    assert [(problem.line, problem.reason) for problem in problems] == [
        (2, "the event has no event_type"),
        (3, "not JSON: Expecting value at column 1"),
    ]


def test_a_value_that_is_not_of_its_type_is_null_and_reported_with_its_place():
    """The path of the field and the value are named; the events and their other fields stay."""
    bad = event("alert", alert={"action": "waved through"})
    batches, problems = read_events(event("flow"), bad, event("alert"), event("flow", src_port=-1))
    assert sum(batch.num_rows for batch in batches) == 4
    flow = next(batch for batch in batches if batch.schema.metadata[b"VAST:name:0"][-4:] == b"flow")
    assert flow.column("src_port").to_pylist() == [1181, None]
    assert sorted((problem.line, problem.reason) for problem in problems) == [
        (
            2,
            "alert.action: 'waved through' is not one of allowed, blocked; the value is null now",
        ),
        (4, "src_port: -1 is not a uint64; the value is null now"),
    ]


def test_the_type_is_not_looked_for_in_payloads():
    """Text that looks like an event type inside other text changes nothing."""
    batches, _ = read_events(event("alert", payload_printable='"event_type":"flow"'))
    assert [arrow_schema.name_of(batch.schema) for batch in batches] == ["suricata.alert"]


NAMED = (
    ('{"event_type":"dns","a":1}', {"dns": 1}),
    ('{"event_type": "dns", "a": 1}', {"dns": 1}),
    ('{"event_type":"dns","m":"\\"event_type\\":\\"x\\""}', {"dns": 1}),
    ('{"event_type":"dns","m":"event_type"}', {"dns": 1}),
    ('{"event_type":"dns","m":{"event_type":"x"}}', {"dns": 1}),
    ('{"m":{"event_type":"x"},"event_type":"dns"}', {"dns": 1}),
    ('{"event_type":"d\\u006es","a":1}', {"dns": 1}),
    ('{"event\\u005ftype":"dns","m":{"event_type":"x"}}', {"dns": 1}),
    ('{"m":{"event_type":"x"}}', {}),
    ('{"event_type":5,"m":{"event_type":"x"}}', {}),
    ('{"event_type":"dns","#type":"other"}', {"other": 1}),
    ('{"event_type":"dns"}{"event_type":"flow"}', {"dns": 1, "flow": 1}),
    ("", {}),
    ("  ", {}),
    ('"event_type":"x"', {}),
)


@pytest.mark.parametrize("line, found", NAMED)
@pytest.mark.parametrize("other", ["dns", "flow"])
def test_the_schema_is_that_of_the_member_of_the_event(line, found, other):
    """However a line spells its type, and whatever looks like one, among many plain lines."""
    plain = [f'{{"event_type":"{other}","a":{i}}}' for i in range(700)]
    batches, problems = read_events(*plain[:350], line, *plain[350:], format="suricata")
    counts: dict[str, int] = {}
    for batch in batches:
        name = arrow_schema.name_of(batch.schema).removeprefix("suricata.")
        counts[name] = counts.get(name, 0) + batch.num_rows
    expected = {other: 700}
    for name, count in found.items():
        expected[name] = expected.get(name, 0) + count
    assert counts == expected
    bad = bool(line.strip()) and not found
    assert [problem.line for problem in problems] == [351] * bad
    values = [v for b in batches if "a" in b.schema.names for v in b.column("a").to_pylist()]
    assert sorted(v for v in values if v is not None) == sorted(
        [*range(700), *[1] * line.count('"a"')]
    )


def test_numbers_beyond_the_signed_range_are_exact():
    """Flow identifiers use all 64 bits."""
    (batch,), _ = read_events(event("flow", flow_id=(1 << 64) - 1))
    assert batch.column("flow_id").to_pylist() == [(1 << 64) - 1]


def test_two_events_on_one_line_of_different_types():
    """Objects that share a line are sorted by their own types."""
    batches, problems = read_events(event("flow") + event("dns"), event("flow"))
    assert sorted(arrow_schema.name_of(b.schema) for b in batches for _ in range(b.num_rows)) == [
        "suricata.dns",
        "suricata.flow",
        "suricata.flow",
    ]
    assert problems.count == 0


def maybe(*values: object) -> st.SearchStrategy[object]:
    return st.sampled_from([None, *values])


EVENTS = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["alert", "dns", "tls", "other"])},
    optional={
        "timestamp": maybe("2024-01-01T00:00:00.123456+0100", "2024-01-01", 5, 1.5, "soon"),
        "flow_id": maybe(0, (1 << 64) - 1, -1, "7", 1.0, True),
        "vlan": maybe([], [1, None], 5, ["x"], {}),
        "src_ip": maybe("1.2.3.4", "::1", "nowhere", 5),
        "proto": maybe("TCP", 6, ["x"], {"a": 1.5}),
        "alert": maybe({}, {"action": "allowed"}, {"action": "x"}, {"new": 1}, [], "x"),
        "dns": maybe(
            {"answers": [{"rrname": "a", "ttl": 1}, None, {"new": "x"}]},
            {"grouped": {"A": ["1.2.3.4", None], "AAAA": ["x"]}},
        ),
        "tls": maybe({"notbefore": "2024-01-01T00:00:00", "ja3": {"hash": "x"}}),
    },
)


def _plain(problem):
    """Leave out the fraction that a whole number has beside numbers with one."""
    return str(problem).replace(".0 is", " is")


@given(st.lists(EVENTS, min_size=1, max_size=6))
def test_both_ways_read_the_same(events):
    """Arrow's parser is only a faster way to the same events, types and problems."""
    lines = [json.dumps(event) for event in events]
    batches, problems = read_events(*lines, format="suricata")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_table.JSONTable, "fast", lambda *_: None)
        others, other_problems = read_events(*lines, format="suricata")
    assert [batch.schema for batch in batches] == [batch.schema for batch in others]
    assert [batch.to_pylist() for batch in batches] == [batch.to_pylist() for batch in others]
    assert sorted(map(_plain, problems)) == sorted(map(_plain, other_problems))
    assert sum(batch.num_rows for batch in batches) == len(events)
    for batch in (*batches, *others):
        batch.validate(full=True)


def test_a_list_without_brackets_is_a_list():
    """A single element in place of a list does not cost the event."""
    (batch,), problems = read_events(event("flow", vlan=5))
    assert batch.column("vlan").to_pylist() == [[5]]
    assert problems.count == 0


def test_real_events(shared):
    """Every event of the sample files is read, under its type."""
    for name, count in (("eve.json", 8), ("rrdata-eve.json", 2)):
        problems = readers.Problems()
        batches = list(readers.read(shared / "data/suricata" / name, problems=problems))
        assert sum(batch.num_rows for batch in batches) == count
        assert problems.count == 0
