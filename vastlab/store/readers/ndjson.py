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

    Parameters
    ----------
    source
        The file.
    problems
        Where lines are reported that cannot be read.
    schema
        The schema name; the file's name without it. A name that vastlab ships a schema for
        brings that schema's types.

    Yields
    ------
    pyarrow.RecordBatch
        In nested form.
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
