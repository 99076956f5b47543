"""A continuous export has one type for each field."""

from __future__ import annotations

import pyarrow as pa

from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.nodes.base import Notice, ignore
from vastlab.nodes.first_types import FirstTypes
from vastlab.table_slice import TableSlice


def part(tmp_path, text: str, schema: str = "app") -> TableSlice:
    """Read one batch of events."""
    path = tmp_path / "x.json"
    path.write_text(text)
    (batch,) = readers.read(path, schema=schema, format="json")
    return TableSlice(batch)


def test_batches_of_the_same_types_are_handed_on_as_they_are(tmp_path):
    """Nothing is converted; fields that are new, or were null, have their own type."""
    types = FirstTypes(ignore)
    for text in ('{"a":"192.0.2.1","b":null}', '{"a":"::1","b":5,"c":"x"}', '{"a":null,"b":6}'):
        batch = part(tmp_path, text)
        assert types.conform(batch) is batch


def test_later_batches_take_the_types_of_the_first(tmp_path):
    """Values that fit are converted, others are null, and one warning names the field."""
    reported: list[Notice] = []
    types = FirstTypes(reported.append)
    first = part(tmp_path, '{"r":{"a":"192.0.2.1","n":5,"s":"x"},"l":[1]}')
    assert types.conform(first) is first
    other = part(tmp_path, '{"r":{"a":"n/a","n":1.5,"s":7},"l":"x"}\n{"r":{"a":"::1","n":2}}')
    found = types.conform(other)
    fields = found.schema.types_by_name
    assert dict(fields) == {"r.a": "ip", "r.n": "int64", "r.s": "string", "l": "list<int64>"}
    rows = found.to_pyarrow().to_pylist()
    assert [str(row["r"]["a"]) for row in rows] == ["None", "::1"]
    assert [row["r"]["n"] for row in rows] == [None, 2]
    assert [row["r"]["s"] for row in rows] == ["7", None]
    assert [row["l"] for row in rows] == [None, None]
    named = sorted(notice.text.partition(" was ")[0] for notice in reported)
    assert named == ["app: l", "app: r.a", "app: r.n"]
    types.conform(other)
    assert len(reported) == 3


def test_schemas_do_not_mix(tmp_path):
    """Each name has its own types."""
    types = FirstTypes(ignore)
    types.conform(part(tmp_path, '{"a":5}', "one"))
    other = part(tmp_path, '{"a":"x"}', "two")
    assert types.conform(other) is other
    assert arrow_schema.name_of(other.to_pyarrow().schema) == "two"
    assert isinstance(other.to_pyarrow(), pa.RecordBatch)
