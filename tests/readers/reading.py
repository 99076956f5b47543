"""Read bytes, text or events as the tests of the readers do."""

from __future__ import annotations

import io
import json

import pyarrow as pa

from vastlab import readers
from vastlab.arrow import schema as arrow_schema

Read = tuple[list[pa.RecordBatch], readers.Problems]


def read(data: bytes | str, name: str | None = None, **options: object) -> Read:
    """Read a log, which has a file name where one is given."""
    problems = readers.Problems()
    stream = io.BytesIO(data if isinstance(data, bytes) else data.encode())
    if name is not None:
        stream.name = name
    return list(readers.read(stream, problems=problems, **options)), problems


def read_events(*events: dict[str, object] | str, name: str = "x", **options: object) -> Read:
    """Read a log of one JSON object per line."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return read("\n".join(lines), name, **options)


def rows(data: bytes | str, name: str | None = None, **options: object) -> list[dict[str, object]]:
    """Read a log in which nothing is wrong."""
    batches, problems = read(data, name, **options)
    assert [str(problem) for problem in problems] == []
    return [row for batch in batches for row in batch.to_pylist()]


def types(*batches: pa.RecordBatch) -> dict[str, str]:
    """Return the type of each field, as it is after the last batch."""
    schema = arrow_schema.from_arrow(batches[-1].schema)
    return {leaf.name: str(leaf.type) for leaf in schema.leaves}
