"""Dotted field names into records: Zeek writes ``id.orig_h`` for the field of a record."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import nesting
from vastlab.types import Field, Kind, Schema, Type

_CONN_ID = ("orig_h", "orig_p", "resp_h", "resp_p")


def nested_schema(name: str, types: Mapping[str, Type]) -> Schema:
    """Open dotted names into records, where that leaves every name unique.

    Examples
    --------
    >>> schema = nested_schema("zeek.x", {"id.orig_h": Type(Kind.IP), "a": Type(Kind.BOOL)})
    >>> [(field.name, str(field.type)) for field in schema.fields]
    [('id', 'record<orig_h: ip>'), ('a', 'bool')]
    """
    return Schema(name, _fields({_path(key, types): type_ for key, type_ in types.items()}))


def _path(name: str, types: Mapping[str, Type]) -> tuple[str, ...]:
    parts = tuple(name.split("."))
    if not all(parts):
        return (name,)
    # "a" and "a.b" in one event: the second stays as it is.
    above = (".".join(parts[:i]) for i in range(1, len(parts)))
    return (name,) if any(prefix in types for prefix in above) else parts


def _fields(members: Mapping[tuple[str, ...], Type]) -> tuple[Field, ...]:
    groups: dict[str, dict[tuple[str, ...], Type]] = {}
    for path, type_ in members.items():
        groups.setdefault(path[0], {})[path[1:]] = type_
    return tuple(
        Field(name, group[()] if () in group else _record(name, group))
        for name, group in groups.items()
    )


def _record(name: str, group: Mapping[tuple[str, ...], Type]) -> Type:
    fields = _fields(group)
    conn_id = name == "id" and tuple(field.name for field in fields) == _CONN_ID
    return Type(Kind.RECORD, ("zeek.conn_id",) if conn_id else (), fields=fields)


def nest(columns: Mapping[str, pa.Array], schema: Schema, num_rows: int) -> pa.RecordBatch:
    """Put columns with dotted names into the records of `nested_schema`."""
    arrays = [columns[leaf.name] for leaf in schema.leaves]
    flat = arrow_arrays.record_batch(arrays, nesting.flat_schema(schema), num_rows)
    return nesting.nest(flat, schema)
