"""Suricata's EVE log: JSON lines, whose ``event_type`` names the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from vastlab.store.readers import _schemas
from vastlab.store.readers._json_events import EventReader, assemble_plain
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source
from vastlab.types import Schema, Type


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read a file of EVE events; their type is the schema's name where none is given."""
    catalog = _schemas.load("suricata")
    fallback = catalog.schemas["suricata.common"]

    def name(event_type: str | None) -> str:
        if not event_type:
            raise ValueError("the event has no event_type")
        return schema or f"suricata.{event_type}"

    def declared(full_name: str) -> Mapping[str, Type]:
        found: Schema = catalog.schemas.get(full_name, fallback)
        return {member.name: member.type for member in found.fields}

    reader = EventReader(
        source,
        problems,
        key="event_type",
        name=name,
        declared=declared,
        assemble=assemble_plain,
    )
    yield from reader.batches()
