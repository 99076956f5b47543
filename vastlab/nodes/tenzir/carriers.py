"""The fastest way to get events from a Tenzir node: one stream for each schema.

The node's writer wants one layout in a stream, and holds events back as long as it has seen
only nulls in some field. So one event of made-up values is sent ahead in each stream, which
shows the writer all types; it carries a mark and is left out here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.compile import tql
from vastlab.nodes.tenzir.catalog import Catalog
from vastlab.nodes.tenzir.conditions import SHAPE, any_of, later, unknown
from vastlab.types import Kind, Schema, Type

_MOST_LAYOUTS = 64  # a carrier each, in a pipeline of its own
_SAMPLES = {
    Kind.NULL: '""',  # which type does not matter: nulls are all that there is
    Kind.BOOL: "true",
    Kind.INT64: "1",
    Kind.UINT64: "uint(1)",
    Kind.DOUBLE: "1.0",
    Kind.DURATION: "1ns",
    Kind.TIME: "2000-01-01",
    Kind.STRING: '""',
    Kind.BLOB: 'b""',
    Kind.IP: "0.0.0.0",  # noqa: S104 - a value, not where anything listens
    Kind.SUBNET: "0.0.0.0/0",
}


@dataclass(frozen=True, slots=True)
class Carriers:
    """Events of made-up values, one of each layout that is asked for.

    Parameters
    ----------
    layouts
        Of different names.
    mark
        The field that only they have a value in.
    """

    layouts: tuple[Schema, ...]
    mark: str

    @classmethod
    def of(cls, layouts: Iterable[Schema]) -> Carriers | None:
        """Make carriers; ``None`` where a name has several layouts, or one that has no sample."""
        wanted = tuple(layouts)
        names = {layout.name for layout in wanted}
        if not wanted or len(names) < len(wanted) or len(wanted) > _MOST_LAYOUTS:
            return None
        if not all(layout.fields and _is_plain(layout) for layout in wanted):
            return None
        # Nobody can know it, so no event can pass for a carrier.
        return cls(wanted, f"vastlab_{secrets.token_hex(8)}")

    def steps(self, catalog: Catalog, send: str) -> list[str]:
        """Write what follows the export in a pipeline.

        Events that came after the last partition was written may have another layout than
        the catalog says: they are grouped by what they are.
        """
        mine = {layout.name: catalog.stored.get(layout.name) for layout in self.layouts}
        stored = {name: known for name, known in mine.items() if known is not None}
        recent = any_of([
            *(later(name, known) for name, known in stored.items()), unknown(stored)
        ])  # fmt: skip
        mark = tql.quote(self.mark)
        return [
            f"this = {{{mark}: null, ...this}}",
            *(
                f"merge {{ from {_record({self.mark: 'true'}, layout)}"
                f" | @name = {tql.quote(layout.name)} }}"
                for layout in self.layouts
            ),
            f"group ({SHAPE} if ({recent}) else @name) {{ {send} }}",
        ]

    def remove(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Take the carrier and its mark out of a batch; ``None`` if nothing else was in it."""
        position = batch.schema.get_field_index(self.mark)
        if position < 0:
            return batch
        marks = batch.column(position)
        events = batch.remove_column(position)
        if marks.null_count < len(marks):
            events = events.filter(pc.is_null(marks))
        return events if len(events) else None


def _is_plain(type_: Schema | Type) -> bool:
    """Whether a sample of a type can be written that fixes the type."""
    match type_.kind if isinstance(type_, Type) else Kind.RECORD:
        case Kind.RECORD:
            return all(_is_plain(field.type) for field in type_.fields)
        case Kind.LIST:
            item = type_.item  # type: ignore[union-attr]  # no schema is a list
            return item is not None and item.kind is not Kind.NULL and _is_plain(item)
        case kind:
            return kind in _SAMPLES


def _record(first: Mapping[str, str], record: Schema | Type) -> str:
    members = {**first, **{field.name: _sample(field.type) for field in record.fields}}
    return "{" + ", ".join(f"{tql.quote(name)}: {text}" for name, text in members.items()) + "}"


def _sample(type_: Type) -> str:
    match type_.kind:
        case Kind.RECORD:
            return _record({}, type_)
        case Kind.LIST:
            return "[]" if type_.item is None else f"[{_sample(type_.item)}]"
        case kind:
            return _SAMPLES[kind]
