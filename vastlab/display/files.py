"""A result in other forms: frames of polars, dictionaries, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab._optional import import_optional
from vastlab._text import file_name
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.convert import flatten
from vastlab.display.preview import sort_keys
from vastlab.endpoints import as_path
from vastlab.errors import DatabaseError, UsageError
from vastlab.frames import common_kind
from vastlab.readers import portable
from vastlab.store import disk
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

if TYPE_CHECKING:
    import polars as pl

_UTC = pa.timestamp("ns", "UTC")
_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
_FORMULA = r"^(\s*[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}])"  # also the full-width ones
_DEFANGED = (
    (r"(?i)\bhttp(s?):", r"hxxp\1:"),
    (r"(\d{1,3}\.\d{1,3}\.\d{1,3})\.(\d{1,3})", r"\1[.]\2"),
    (r"([\pL\pN_-])\.(\pL[\pL\pN-]*)", r"\1[.]\2"),
    (r"([0-9A-Fa-f:]*:[0-9A-Fa-f]*):([0-9A-Fa-f]+)\b", r"\1[:]\2"),
)  # fmt: skip


def plain_tables(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Flatten records, write addresses, networks and enumerations as text, give times their zone.

    A column has one type in all tables: numbers widen, and what has nothing in common becomes text,
    with a warning.
    """
    flat = [_flat(table) for table in tables]
    fields: dict[str, list[tuple[pa.Field, pa.ChunkedArray]]] = {}
    for table in flat:
        for field, column in zip(table.schema, table.columns, strict=True):
            fields.setdefault(field.name, []).append((field, column))
    common = {name: _common_kind(name, found) for name, found in fields.items()}
    return [_plain_columns(table, common) for table in flat]


def _flat(table: pa.Table) -> pa.Table:
    batches = table.to_batches() or [_empty(table)]
    return pa.Table.from_batches([flatten(convert.normalise(batch)) for batch in batches])


def _common_kind(name: str, found: list[tuple[pa.Field, pa.ChunkedArray]]) -> Kind:
    kinds = [leaf.type.kind for leaf in _leaves(field for field, _ in found)]
    return common_kind(name, kinds, [column for _, column in found])


def _leaves(fields: Iterable[pa.Field]) -> Iterator[Field]:
    for field in fields:
        yield from arrow_schema.from_arrow(pa.schema([field])).fields


def _plain_columns(table: pa.Table, common: Mapping[str, Kind]) -> pa.Table:
    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        (leaf,) = _leaves([field])
        kind = common[field.name]
        if leaf.type.kind in (kind, Kind.NULL):
            chunks = [_plain(chunk, field) for chunk in column.chunks]
        elif kind is Kind.STRING:
            chunks = [render.text(chunk, field) for chunk in column.chunks]
        else:
            target = arrow_schema.type_to_arrow(Type(kind))
            # Doubles take integers of any size: that is what widening means.
            chunks = [chunk.cast(target, safe=False) for chunk in column.chunks]
        columns[field.name] = pa.chunked_array(chunks)
    return pa.table(columns)


def text_table(tables: Sequence[pa.Table], *, safe: bool, defanged: bool) -> pa.Table:
    """Join all layouts of a schema in event-time order, every value as text.

    `safe` quotes what a spreadsheet would run; `defanged` breaks addresses, names and links.
    """

    def convert(text: pa.StringArray, type_: pa.DataType) -> pa.StringArray:
        if any(test(type_) for test in _NUMERIC):
            return text
        text = defang(text) if defanged and not pa.types.is_temporal(type_) else text
        return guard(text) if safe else text

    parts = [_texts(table, convert) for table in tables]
    joined = pa.concat_tables(parts, promote_options="default")
    if safe:
        joined = joined.rename_columns(
            guard(pa.array(joined.column_names, pa.string())).to_pylist()
        )
    keys = np.concatenate([sort_keys(table) for table in tables])
    if bool(np.all(keys[1:] >= keys[:-1])):
        return joined
    return joined.take(pa.array(np.argsort(keys, kind="stable")))


def guard(text: pa.StringArray) -> pa.StringArray:
    """Quote what a spreadsheet would take for a formula."""
    return pc.replace_substring_regex(text, _FORMULA, r"'\1")


def defang(text: pa.StringArray) -> pa.StringArray:
    """Break links, host names and addresses, so that they are not followed by accident."""
    for pattern, replacement in _DEFANGED:
        text = pc.replace_substring_regex(text, pattern, replacement)
    return text


def _texts(
    table: pa.Table, convert: Callable[[pa.StringArray, pa.DataType], pa.StringArray]
) -> pa.Table:
    batches = []
    for batch in table.to_batches() or [_empty(table)]:
        texts = render.columns(batch)
        types = flatten(batch).schema.types
        arrays = [convert(text, type_) for text, type_ in zip(texts.values(), types, strict=True)]
        schema = pa.schema([(name, pa.string()) for name in texts])
        batches.append(arrow_arrays.record_batch(arrays, schema, batch.num_rows))
    return pa.Table.from_batches(batches)


def _empty(table: pa.Table) -> pa.RecordBatch:
    columns = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _plain(array: pa.Array, field: pa.Field) -> pa.Array:
    match arrow_schema.kind_of(field):
        case Kind.IP | Kind.SUBNET | Kind.ENUM:
            return render.text(array, field)
        case _ if pa.types.is_timestamp(array.type):
            return array.cast(_UTC)
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


Tables = Mapping[str, Sequence[pa.Table]]


def dictionaries(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    """Return one nested dictionary for each event, of values that JSON can hold."""
    return {
        name: [
            row
            for part in parts
            for batch in part.to_batches()
            for row in render.to_python(render.rows(batch))
        ]
        for name, parts in tables.items()
    }


def polars_frames(tables: Tables) -> dict[str, pl.DataFrame]:
    """Return one polars frame for each schema, of plain columns."""
    polars = import_optional("polars", extra="polars")
    return {
        name: polars.concat(
            [polars.from_arrow(table) for table in plain_tables(parts)],
            how="diagonal_relaxed",
        )
        for name, parts in tables.items()
    }


def write_parquet(tables: Tables, folder: str | Path) -> None:
    """Write a vastlab database."""
    with disk.complete_folder(folder) as target:
        Database.create(target).add(
            convert.normalise(batch, name)
            for name, parts in tables.items()
            for part in parts
            for batch in part.to_batches()
        )


def write_portable(tables: Tables, folder: str | Path) -> None:
    """Write Parquet files that any program reads, one for each layout of a schema."""
    with disk.complete_folder(folder) as target:
        for name, parts in tables.items():
            layouts: dict[Schema, list[pa.RecordBatch]] = {}
            for batch in (batch for part in parts for batch in part.to_batches() or [_empty(part)]):
                events = convert.normalise(batch, name)
                layouts.setdefault(arrow_schema.from_arrow(events.schema), []).append(events)
            for number, (schema, batches) in enumerate(layouts.items(), 1):
                # `file_name` never writes a tilde.
                suffix = f"~{number}" if number > 1 else ""
                _write_layout(target / f"{file_name(name)}{suffix}.parquet", schema, batches)


def _write_layout(path: Path, schema: Schema, batches: list[pa.RecordBatch]) -> None:
    rows = pa.Table.from_batches([portable.export(batch, schema) for batch in batches])
    keys = sort_keys(pa.Table.from_batches(batches))
    if not bool(np.all(keys[1:] >= keys[:-1])):
        rows = rows.take(pa.array(np.argsort(keys, kind="stable")))
    with portable.open_writer(path, schema) as writer:
        writer.write_table(rows)


def write_csv(tables: Tables, folder: str | Path, *, safe: bool, defang: bool) -> None:
    """Write one CSV file for each schema."""
    with disk.complete_folder(folder) as target:
        for name, parts in tables.items():
            rows = text_table(parts, safe=safe, defanged=defang)
            # Not the number of rows: a table without columns has lost it.
            names = pa.array([name] * sum(part.num_rows for part in parts), pa.string())
            columns = [guard(names) if safe else names, *rows.columns]
            named = pa.Table.from_arrays(columns, [render.TYPE, *rows.column_names])
            render.write_csv(named, target / f"{file_name(name)}.csv")


def write_page(text: str, path: str | Path, *, overwrite: bool) -> None:
    """Write a file that appears under its name when it is complete."""
    target = as_path(path, "the file")
    if target.is_dir():
        raise UsageError(f"{str(target)!r} is a folder, not a file")
    if target.exists() and not overwrite:
        raise UsageError(
            f"the file {str(target)!r} exists", hint="name a new one, or give overwrite=True"
        )
    try:
        with disk.staging_beside(target) as folder:
            made = folder / "page.html"
            disk.write_synced(made, text.encode())
            made.replace(target)
    except OSError as error:
        reason = error.strerror or error
        msg = f"the file {str(target)!r} cannot be written: {reason}; nothing was kept"
        raise DatabaseError(msg, hint="check free space and permissions") from error
