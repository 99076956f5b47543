"""Events as flat tables for other programs: plain types, and text that is safe to open.

A spreadsheet runs cells that look like formulas, and people click on what looks like a link;
`guard` and `defang` take both away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import nesting, render
from vastlab.arrow import schema as arrow_schema
from vastlab.display.preview import sort_keys
from vastlab.types import Kind

_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
_FORMULA = r"^(\s*[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}])"  # also the full-width ones
_DEFANGED = (
    (r"(?i)\bhttp(s?):", r"hxxp\1:"),
    (r"(\d{1,3}\.\d{1,3}\.\d{1,3})\.(\d{1,3})", r"\1[.]\2"),
    (r"([\pL\pN_-])\.(\pL[\pL\pN-]*)", r"\1[.]\2"),
    (r"([0-9A-Fa-f:]*:[0-9A-Fa-f]*):([0-9A-Fa-f]+)\b", r"\1[:]\2"),
)  # fmt: skip


def plain_table(table: pa.Table) -> pa.Table:
    """Open records, and write addresses, networks and enumerations as text.

    Parameters
    ----------
    table
        Events in nested form.
    """
    return _per_column(table, _plain)


def text_table(tables: Sequence[pa.Table], *, safe: bool, defanged: bool) -> pa.Table:
    """Join all layouts of a schema in event-time order, every value but numbers as text.

    Parameters
    ----------
    tables
        The events, one table for each layout.
    safe
        Whether text that a spreadsheet would run is quoted.
    defanged
        Whether addresses, names and links in text are broken.
    """

    def convert(array: pa.Array, field: pa.Field) -> pa.Array:
        text = _text(array, field)
        if not pa.types.is_string(text.type):
            return text
        text = defang(text) if defanged else text
        return guard(text) if safe else text

    parts = [_per_column(table, convert) for table in tables]
    joined = pa.concat_tables(_alike(parts), promote_options="default")
    if safe:
        joined = joined.rename_columns(
            guard(pa.array(joined.column_names, pa.string())).to_pylist()
        )
    keys = np.concatenate([sort_keys(table) for table in tables])
    if bool(np.all(keys[1:] >= keys[:-1])):
        return joined
    return joined.take(pa.array(np.argsort(keys, kind="stable")))


def guard(text: pa.StringArray) -> pa.StringArray:
    """Quote what a spreadsheet would take for a formula.

    Examples
    --------
    >>> guard(pa.array(["=1+1", "1+1"])).to_pylist()
    ["'=1+1", '1+1']
    """
    return pc.replace_substring_regex(text, _FORMULA, r"'\1")


def defang(text: pa.StringArray) -> pa.StringArray:
    """Break links, host names and addresses, so that nobody follows them by accident.

    Examples
    --------
    >>> defang(pa.array(["http://evil.example/x", "10.0.0.1"])).to_pylist()
    ['hxxp://evil[.]example/x', '10.0.0[.]1']
    """
    for pattern, replacement in _DEFANGED:
        text = pc.replace_substring_regex(text, pattern, replacement)
    return text


def _per_column(table: pa.Table, convert: Callable[[pa.Array, pa.Field], pa.Array]) -> pa.Table:
    batches = []
    for batch in table.to_batches() or [_empty(table)]:
        flat = nesting.flatten(batch)
        arrays = [convert(flat.column(i), field) for i, field in enumerate(flat.schema)]
        batches.append(pa.RecordBatch.from_arrays(arrays, names=flat.schema.names))
    return pa.Table.from_batches(batches)


def _empty(table: pa.Table) -> pa.RecordBatch:
    columns = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _plain(array: pa.Array, field: pa.Field) -> pa.Array:
    match arrow_schema.kind_of(field):
        case Kind.IP | Kind.SUBNET | Kind.ENUM:
            return render.text(array, field)
        case _ if pa.types.is_list(array.type):
            return _plain_list(array)
        case _ if pa.types.is_struct(array.type) and array.type.num_fields:
            members = [_plain(array.field(i), member) for i, member in enumerate(array.type)]
            names = [member.name for member in array.type]
            return pa.StructArray.from_arrays(members, names, mask=array.is_null())
        case _ if pa.types.is_map(array.type):
            return render.text(array, field)
        case _:
            return array


def _plain_list(array: pa.ListArray) -> pa.ListArray:
    if array.offset:
        array = pa.concat_arrays([array])  # from_arrays refuses a mask beside sliced offsets
    values = _plain(array.values, array.type.value_field)
    return pa.ListArray.from_arrays(array.offsets, values, mask=array.is_null())


def _text(array: pa.Array, field: pa.Field) -> pa.Array:
    if pa.types.is_string(array.type) or any(test(array.type) for test in _NUMERIC):
        return array
    return render.text(array, field)


def _alike(parts: Sequence[pa.Table]) -> list[pa.Table]:
    """Turn columns to text whose types differ between layouts."""
    types: dict[str, set[pa.DataType]] = {}
    for part in parts:
        for field in part.schema:
            types.setdefault(field.name, set()).add(field.type)
    return [
        part.cast(
            pa.schema(
                field.with_type(pa.string()) if len(types[field.name]) > 1 else field
                for field in part.schema
            )
        )
        for part in parts
    ]
