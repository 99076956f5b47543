"""One type per field in an export, whatever later files say."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.nodes.base import Notice, Report
from vastlab.readers import text_columns, values
from vastlab.table_slice import TableSlice
from vastlab.types import Field, Kind, Leaf, Schema, Type

_Path = tuple[str, ...]


class FirstTypes:
    """Converts the batches of each schema to the types of its first batch.

    Later files may have other inferred types, but an export has one type per field. Values that do
    not fit become null, with one warning per field.
    """

    def __init__(self, report: Report) -> None:
        self._types: dict[str, dict[_Path, Type]] = {}
        self._report = report
        self._reported: set[tuple[str, _Path]] = set()

    def conform(self, part: TableSlice) -> TableSlice:
        """Return a batch in the types that the first batch of its name had."""
        schema = part.schema
        known = self._types.setdefault(part.name, {})
        wanted: dict[_Path, Type] = {}
        for leaf in schema.leaves:
            first = known.get(leaf.path)
            if first is None or first.kind is Kind.NULL:
                known[leaf.path] = leaf.type
            elif leaf.type.kind not in (first.kind, Kind.NULL):
                wanted[leaf.path] = first
        return self._converted(part, schema, wanted) if wanted else part

    def _converted(self, part: TableSlice, schema: Schema, wanted: dict[_Path, Type]) -> TableSlice:
        flat = convert.flatten(part.to_pyarrow())
        target = replace(schema, fields=_retyped(schema.fields, wanted, ()))
        columns = [
            self._column(flat.column(i), flat.schema.field(i), part.name, leaf, wanted)
            for i, leaf in enumerate(schema.leaves)
        ]
        fields = convert.flat_schema(target)
        return TableSlice(convert.nest(pa.RecordBatch.from_arrays(columns, schema=fields), target))

    def _column(
        self, column: pa.Array, field: pa.Field, name: str, leaf: Leaf, wanted: dict[_Path, Type]
    ) -> pa.Array:
        type_ = wanted.get(leaf.path)
        if type_ is None:
            return column
        texts = render.text(column, field)
        if pa.types.is_floating(column.type) and type_.kind in (Kind.INT64, Kind.UINT64):
            # 2.0 is a whole number, but its text is not that of one.
            texts = pc.replace_substring_regex(texts, r"\.0$", "")
        if type_.kind in values.PLAIN_KINDS:
            found = text_columns.from_text(texts, type_.kind)
        else:
            found = pa.nulls(len(texts), arrow_schema.type_to_arrow(type_))
        if len(text_columns.lost_rows(texts, found)) and (name, leaf.path) not in self._reported:
            self._reported.add((name, leaf.path))
            line = (
                f"{name}: {leaf.name} was {type_} in the first events of this export; later "
                f"values of other types are null in it, but kept in the database"
            )
            self._report(Notice(line))
        return found


def _retyped(
    fields: tuple[Field, ...], wanted: dict[_Path, Type], above: _Path
) -> tuple[Field, ...]:
    return tuple(_retyped_field(member, wanted, (*above, member.name)) for member in fields)


def _retyped_field(member: Field, wanted: dict[_Path, Type], path: _Path) -> Field:
    if path in wanted:
        return Field(member.name, wanted[path])
    if member.type.kind is Kind.RECORD:
        fields = _retyped(member.type.fields, wanted, path)
        return Field(member.name, replace(member.type, fields=fields))
    return member
