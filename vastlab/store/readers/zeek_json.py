"""Zeek's logs as JSON lines, with the log's name in each line (``_path``) or without.

Without it the file's name tells the log, as Zeek names its files; else the fields do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa

from vastlab.store.readers import _nested, _schemas
from vastlab.store.readers._json_documents import first_events
from vastlab.store.readers._json_events import EventReader
from vastlab.store.readers._json_table import Assemble
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source
from vastlab.types import Schema, Type

_PATH = "_path"
_HEAD = 1 << 16


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read a file of Zeek's JSON.

    Where no schema is named, ``_path``, the file's name or the fields decide.
    """
    first = next(first_events(source.peek(_HEAD)), {})
    default = f"zeek.{guess_log(source.stem, first)}"

    def name(path: str | None) -> str:
        return schema or (f"zeek.{path}" if path else default)

    reader = EventReader(
        source,
        problems,
        key=_PATH if _PATH in first else None,
        name=name,
        declared=_declared,
        assemble=_assemble,
    )
    yield from reader.batches()


def guess_log(stem: str, event: Collection[str]) -> str:
    """Name the log that a file with this name, and events with these fields, belongs to.

    Examples
    --------
    >>> guess_log("conn", ["ts"]), guess_log("x", ["ts", "uid", "query", "qtype"])
    ('conn', 'dns')
    """
    catalog = _schemas.load("zeek")
    if catalog.find(stem):
        return stem
    keys = set(event)
    names = {
        schema.name.removeprefix("zeek."): {leaf.name for leaf in schema.leaves}
        for schema in catalog.schemas.values()
    }
    # Most fields known, then fewest fields that are not there.
    best = max(names, key=lambda name: (len(keys & names[name]), -len(names[name])))
    known = keys & names[best] - {"ts", "uid"}
    return best if known and len(keys & names[best]) * 2 > len(keys) else stem


def _declared(name: str) -> Mapping[str, Type]:
    found = _schemas.find(name)
    return {leaf.name: leaf.type for leaf in found.leaves} if found else _common()


def _common() -> Mapping[str, Type]:
    """Return what nearly every log has, for logs that vastlab does not know."""
    common: Schema = _schemas.load("zeek").schemas["zeek.conn"]
    return {leaf.name: leaf.type for leaf in common.leaves if leaf.name in ("ts", "uid")}


def _assemble(name: str) -> Assemble:
    def assemble(
        columns: Mapping[str, pa.Array], types: Mapping[str, Type], count: int
    ) -> pa.RecordBatch:
        return _nested.nest(columns, _nested.nested_schema(name, types), count)

    return assemble
