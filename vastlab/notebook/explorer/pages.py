"""The events of one schema, sorted and filtered here, of which a page is rendered at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.display.preview import cells, sort_keys
from vastlab.errors import VastlabError
from vastlab.expression.ast import FieldExtractor, Operator, Predicate
from vastlab.expression.parser import parse_literal
from vastlab.nodes.base import Query
from vastlab.nodes.plan import LocalFilter
from vastlab.table_slice import TableSlice
from vastlab.types import Kind, Leaf

Rows = npt.NDArray[np.int64]

_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_NONE = np.empty(0, np.int64)
_TEXT = frozenset({Kind.LIST, Kind.MAP, Kind.ENUM, Kind.BLOB, Kind.SUBNET, Kind.NULL})


class Pages:
    """Events in an order and a choice that a user can change.

    Parameters
    ----------
    tables
        The events: a table for each layout.
    complete
        Whether these are all events of the answer.
    """

    def __init__(self, tables: Sequence[pa.Table], *, complete: bool) -> None:
        self.complete = complete
        self._tables = [table.combine_chunks() for table in tables if table.num_rows]
        self._flat = [_flat(table) for table in self._tables]
        self._ends = np.cumsum([0, *(table.num_rows for table in self._tables)])
        self.leaves: dict[str, Leaf] = {}
        """The fields by their columns, over all layouts."""
        for table in self._tables:
            for leaf in arrow_schema.from_arrow(table.schema).leaves:
                self.leaves.setdefault(leaf.column, leaf)
        self._rows = self._in_time_order()

    @property
    def held(self) -> int:
        """How many events are here, shown or not."""
        return int(self._ends[-1])

    @property
    def chosen(self) -> int:
        """How many of them the filters let through."""
        return len(self._rows)

    def arrange(self, sort: tuple[str, bool] | None, filters: Mapping[str, str]) -> None:
        """Choose and order the events.

        Parameters
        ----------
        sort
            A column, and whether the largest value comes first; the event time by default.
            Events without a value come last.
        filters
            A text for each column to be filtered: a comparison such as ``> 1k``, or a part of
            what is shown, in upper or lower case.
        """
        rows = self._in_time_order()
        for column, wanted in filters.items():
            if wanted.strip() and column in self.leaves:
                mask = np.zeros(self.held, np.bool_)
                mask[self._matching(column, wanted.strip())] = True
                rows = rows[mask[rows]]
        if sort is not None and sort[0] in self.leaves:
            rows = rows[self._sorted(sort[0], rows, descending=sort[1])]
        self._rows = rows

    def page(
        self, first: int, count: int, columns: Sequence[str], zone: tzinfo | None
    ) -> list[list[str | None]]:
        """Return the cells of a page as text that is safe to show, row by row."""
        chosen = self._rows[first : first + count]
        shown: list[list[str | None]] = [[None] * len(columns) for _ in chosen]
        for number, flat in enumerate(self._flat):
            low, high = self._ends[number], self._ends[number + 1]
            places = np.flatnonzero((chosen >= low) & (chosen < high))
            if not len(places):
                continue
            part = flat.take(pa.array(chosen[places] - low))
            for at, column in enumerate(columns):
                if (i := part.schema.get_field_index(column)) >= 0:
                    texts = cells(part.column(i), part.schema.field(i), zone)
                    for place, text in zip(places.tolist(), texts, strict=True):
                        shown[place][at] = text
        return shown

    def first(self, count: int) -> list[pa.Table]:
        """Return the first events of each layout, as they arrived."""
        return [table.slice(0, count) for table in self._tables]

    def event(self, place: int) -> pa.Table:
        """Return the event at a place in the order of now, as a table of one row."""
        row = int(self._rows[place])
        number = int(np.searchsorted(self._ends, row, side="right")) - 1
        return self._tables[number].slice(row - int(self._ends[number]), 1)

    # --- inside -----------------------------------------------------------------------------

    def _in_time_order(self) -> Rows:
        keys = [sort_keys(table) for table in self._tables]
        return np.argsort(np.concatenate(keys), kind="stable") if keys else _NONE

    def _columns(self, column: str) -> list[tuple[pa.Array, pa.Field] | None]:
        """Return a column of each table, where it has it."""
        places = [(flat, flat.schema.get_field_index(column)) for flat in self._flat]
        return [None if i < 0 else (flat.column(i), flat.schema.field(i)) for flat, i in places]

    def _matching(self, column: str, wanted: str) -> Rows:
        """Return the rows that a filter lets through."""
        compared = self._compared(column, wanted)
        if compared is not None:
            return compared
        hits = [_NONE]
        for start, found in zip(self._ends, self._columns(column), strict=False):
            if found is not None:
                mask = pc.match_substring(render.text(*found), wanted, ignore_case=True)
                kept = mask.fill_null(False).to_numpy(zero_copy_only=False)
                hits.append(np.flatnonzero(kept) + start)
        return np.concatenate(hits)

    def _compared(self, column: str, wanted: str) -> Rows | None:
        """Return the rows for which a comparison holds; None where the text is none."""
        operator = next((sign for sign in _COMPARISONS if wanted.startswith(sign)), None)
        literal = parse_literal(wanted.removeprefix(operator or "").strip())
        kind = self.leaves[column].type.kind
        if operator is None and literal is not None and kind is Kind.IP and "/" in wanted:
            operator = "in"
        if operator is None or literal is None:
            return None
        asked = Predicate(FieldExtractor.of(self.leaves[column].path), Operator(operator), literal)
        local = LocalFilter(Query(asked))
        hits = [_NONE]
        for start, table in zip(self._ends, self._tables, strict=False):
            (batch,) = table.to_batches()
            with contextlib.suppress(VastlabError):  # such a field is not compared with this
                hits.append(local.rows(TableSlice(batch)) + start)
        return np.concatenate(hits)

    def _sorted(self, column: str, rows: Rows, *, descending: bool) -> Rows:
        """Return the order of some rows by a column; it is stable."""
        found = self._columns(column)
        parts = [None if each is None else _sortable(*each) for each in found]
        types = {part.type for part in parts if part is not None}
        if len(types) > 1:  # layouts that differ are sorted as they are shown
            parts = [None if each is None else render.text(*each) for each in found]
            types = {pa.string()}
        type_ = next(iter(types), pa.null())
        if pa.types.is_null(type_):
            return np.arange(len(rows))
        filled = [
            pa.nulls(flat.num_rows, type_) if part is None else part
            for part, flat in zip(parts, self._flat, strict=True)
        ]
        joined = pa.chunked_array(filled, type_).combine_chunks()
        values = joined.take(pa.array(rows))
        # Equal values stay in the order of time, both ways; null comes last.
        direction = "descending" if descending else "ascending"
        ranks = pc.rank(values, sort_keys=direction, tiebreaker="first")
        return np.argsort(ranks.to_numpy(), kind="stable")


def _flat(table: pa.Table) -> pa.RecordBatch:
    (batch,) = table.to_batches()
    return convert.flatten(convert.normalise(batch))


def _sortable(array: pa.Array, field: pa.Field) -> pa.Array:
    """Return an array in whose order the values are sorted."""
    (member,) = arrow_schema.from_arrow(pa.schema([field])).fields
    as_text = member.type.kind in _TEXT
    return render.text(array, field) if as_text else arrow_arrays.storage_of(array)
