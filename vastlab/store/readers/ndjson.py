"""Any JSON lines: one object per line, all of one schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from vastlab.store.readers import _schemas
from vastlab.store.readers._json_events import EventReader, assemble_plain
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source
from vastlab.types import Type


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read a file of JSON lines.

    The schema is named after the file where no name is given; one that vastlab ships a schema
    for brings that schema's types.
    """
    name = schema or source.stem

    def declared(full_name: str) -> Mapping[str, Type]:
        found = _schemas.find(full_name)
        return {member.name: member.type for member in found.fields} if found else {}

    reader = EventReader(
        source,
        problems,
        key=None,
        name=lambda _: name,
        declared=declared,
        assemble=assemble_plain,
    )
    yield from reader.batches()
