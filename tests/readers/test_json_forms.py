"""How the JSON of earlier files was written spares samples of later ones, and changes nothing."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.readers import reading
from vastlab import readers
from vastlab.readers import inference, json_table

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 7, -3, 2**53 + 1, 2**63, 2**64, 1.5, 1e300, 0.1]),
    st.sampled_from(["a", "7", "1.5", "1.2.3.4", "::1", "10.0.0.0/8", "5s", "true", "", "1e-400"]),
    st.sampled_from(
        ["2024-01-01T00:00:00Z", "2024-01-01 00:00:00 +01:00", "2024-01-01T00:00:00,5"]
    ),
    st.sampled_from([[], [1], ["a", "1.2.3.4"], {}, {"a": 1}, {"a": "x", "b": [1.5]}, [{"a": 1}]]),
)
# Most events of a file are alike, and most files.
KEYS = st.sampled_from(["ts", "uid", "id.orig_h", "orig_bytes", "duration", "a", "b", "b.a", "b.c"])


@st.composite
def files(draw):
    """Draw some files, each of which has lines like those of others, with a few changes."""
    usual = draw(st.dictionaries(KEYS, VALUES, min_size=1, max_size=6))
    change = st.integers(0, 9).map(lambda number: number == 9)
    found = []
    for _ in range(draw(st.integers(2, 5))):
        events = []
        for _ in range(draw(st.integers(1, 6))):
            changes = draw(st.dictionaries(KEYS, VALUES, max_size=2)) if draw(change) else {}
            kind = draw(st.sampled_from(["flow", "flow", "dns"]))
            events.append({"event_type": kind, **usual, **changes})
        lines = [json.dumps(event) for event in events]
        if draw(change):
            lines.append(draw(st.sampled_from(["{", "[]", "1", '{"a": 1} {"a": 2}', ""])))
        found.append("\n".join([*lines, ""]))
    return found


class Forgetful(dict):
    """Knows nothing of earlier files."""

    def setdefault(self, key, default=None):
        """Return what is not kept."""
        return default


def read_all(found, forms, **options):
    """Read files with common types; return all that comes of them."""
    shared = inference.Inference(forms=forms)
    results = []
    for i, text in enumerate(found):
        batches, problems = reading.read(text, f"{i}.json", inference=shared, **options)
        results.append(
            [
                [str(batch.schema) for batch in batches],
                [repr(batch.to_pylist()) for batch in batches],
                [str(problem) for problem in problems],
                problems.count,
            ]
        )
    types = {name: json_table.type_of(root) for name, root in shared.roots.items()}
    return results, shared.remarks, shared.outdated, types


WAYS = st.sampled_from([("json", "x"), ("json", "zeek.conn"), ("suricata", None)])


@given(files(), WAYS, st.booleans())
def test_known_forms_change_nothing(found, way, infer):
    """Events, types, problems and remarks are those of files that are sampled one by one."""
    options = {"format": way[0], "schema": way[1], "infer": infer}
    assert read_all(found, {}, **options) == read_all(found, Forgetful(), **options)


def test_files_like_the_first_are_not_sampled(monkeypatch):
    """One that is written in another way is, and the next ones need not be."""
    sampled = []
    sample = json_table.JSONTable._sample

    def noted(table, lines):
        sampled.append(table._path)
        return sample(table, lines)

    monkeypatch.setattr(json_table.JSONTable, "_sample", noted)
    lines = ['{"a": 1}\n', '{"a": 2}\n', '{"b": "x"}\n', '{"a": 3}\n', '{"a": 3, "b": "y"}\n']
    shared = readers.Inference()
    for i, line in enumerate(lines):
        reading.read(line, f"{i}.json", schema="x", inference=shared)
    assert sampled == ["0.json", "2.json"]
