"""Data files as Arrow columns: a row for each file, and the bounds of the columns by layout.

Two sorts of Parquet tables hold them (see `vastlab.store.checkpoint`):

- one for all files, sorted by schema name, first event time and path, with the attributes of
  `DataFile`; paths are relative to the database;
- one for each layout, whose rows are the files of that layout in the same order. For the column of
  number N in the list of names, ``null_count_N`` is null if the file does not know the column;
  ``minimum_N`` and ``maximum_N`` are there if values of its type have an order.

Bounds are decoded when they are first asked for, and a `DataFile` is made when it is looked at.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab.arrow.schema import IMPORT_TIME
from vastlab.store.layout import DataFile, Layout, Range
from vastlab.types import Kind

Rows = npt.NDArray[np.int64]

_NAMES = b"vastlab.columns"
_BOUND_TYPES: dict[Kind, pa.DataType] = {
    **dict.fromkeys((Kind.INT64, Kind.TIME, Kind.DURATION), pa.int64()),
    Kind.UINT64: pa.uint64(),
    Kind.BOOL: pa.bool_(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.IP: pa.binary(16),
}
_NUMBERS = (
    *("rows", "size", "first", "last", "import_first", "import_last"),
    *("generation", "oldest", "tail_size"),
)
_LABEL = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("schema", _LABEL),
        pa.field("layout", _LABEL),
        *(pa.field(name, pa.int64()) for name in _NUMBERS),
        pa.field("source", pa.string()),
        pa.field("tail_digest", pa.string()),
    ]
)
_OUTSIDE = r"^$|^/|(^|/)\.\.(/|$)"


@dataclass(frozen=True, slots=True)
class Extent:
    """How many files and events there are of a schema, and between which times."""

    files: int
    events: int
    first: int  # as in `DataFile`
    last: int
    import_first: int
    import_last: int

    def joined(self, other: Extent) -> Extent:
        """Return that of both."""
        return Extent(
            self.files + other.files,
            self.events + other.events,
            min(self.first, other.first),
            max(self.last, other.last),
            min(self.import_first, other.import_first),
            max(self.import_last, other.import_last),
        )


@dataclass(frozen=True, slots=True)
class ColumnBounds:
    """The bounds of one column in the files of a layout; all arrays have a value for each file."""

    minimum: pa.Array  # null if it is not known
    maximum: pa.Array
    null_count: Rows  # -1 if the file does not know the column
    num_rows: Rows

    def of(self, row: int) -> Range | None:
        """Return the bounds in one file, or None if it does not know the column."""
        nulls = int(self.null_count[row])
        if nulls < 0:
            return None
        low, high = self.minimum[row].as_py(), self.maximum[row].as_py()
        return Range(low, high, nulls, int(self.num_rows[row]))


class LayoutBounds(Mapping[str, ColumnBounds]):
    """The bounds of all columns of one layout, decoded one by one.

    Parameters
    ----------
    data
        A Parquet file.
    num_rows
        The number of events of each file.
    """

    def __init__(self, data: bytes, num_rows: Rows) -> None:
        self.data = data
        self.num_rows = num_rows
        with self._open() as parquet:
            self._stored = frozenset(parquet.schema_arrow.names)
            self._names = {
                name: number
                for number, name in enumerate(json.loads(parquet.schema_arrow.metadata[_NAMES]))
            }
            if parquet.metadata.num_rows != len(num_rows):
                raise ValueError("the tables have different numbers of files")
        self._decoded: dict[str, ColumnBounds] = {}

    def __getitem__(self, name: str) -> ColumnBounds:
        known = self._decoded.get(name)
        if known is None:
            known = self._decoded[name] = self._decode(self._names[name])
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(pa.BufferReader(self.data))

    def _decode(self, number: int) -> ColumnBounds:
        names = [f"{part}_{number}" for part in ("minimum", "maximum", "null_count")]
        with self._open() as parquet:
            stored = [name for name in names if name in self._stored]
            table = parquet.read(stored, use_threads=False).combine_chunks()
        empty = pa.nulls(len(self.num_rows))
        low, high = (_array(table, n) if n in self._stored else empty for n in names[:2])
        nulls = _array(table, names[2]).fill_null(-1).to_numpy()
        return ColumnBounds(low, high, nulls, self.num_rows)


class _FileRanges(Mapping[str, Range]):
    """The bounds of the columns of one file."""

    __slots__ = ("_bounds", "_row")

    def __init__(self, bounds: LayoutBounds, row: int) -> None:
        self._bounds = bounds
        self._row = row

    def __getitem__(self, name: str) -> Range:
        found = self._bounds[name].of(self._row)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._bounds if self._bounds[name].null_count[self._row] >= 0)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # without the other files


class FileTable:
    """Many files of a database, sorted.

    Parameters
    ----------
    root
        The folder of the database.
    table
        The table of all files.
    bounds
        The tables of the layouts, by fingerprint.
    """

    def __init__(self, root: str, table: pa.Table, bounds: Mapping[str, bytes]) -> None:
        if table.schema != _SCHEMA:
            raise ValueError("the table of files has other columns")
        table = table.combine_chunks()
        self.root = root
        self.table = table
        self.paths = _array(table, "path")
        if pc.any(pc.match_substring_regex(self.paths, _OUTSIDE)).as_py():
            raise ValueError("it names a file outside the database")
        self.num_rows, self.first, self.generation = (
            _array(table, name).to_numpy() for name in ("rows", "first", "generation")
        )
        self.schemas, self._schema_of = _codes(table, "schema")
        self.fingerprints, self._layout_of = _codes(table, "layout")
        self.rows_of = {
            fingerprint: np.flatnonzero(self._layout_of == code)
            for code, fingerprint in enumerate(self.fingerprints)
        }
        self.bounds = {
            fingerprint: LayoutBounds(bounds[fingerprint], self.num_rows[rows])
            for fingerprint, rows in self.rows_of.items()
        }

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def rank(self) -> Rows:
        """The row of each file in the table of its layout."""
        rank = np.empty(len(self), np.int64)
        for rows in self.rows_of.values():
            rank[rows] = np.arange(len(rows))
        return rank

    def column(self, name: str) -> Rows:
        """Return a column of numbers."""
        return _array(self.table, name).to_numpy()  # type: ignore[no-any-return]  # of pyarrow

    def are_in(self, name: str, values: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return which files have one of some texts in a column."""
        found = pc.is_in(_array(self.table, name), value_set=pa.array(values, pa.string()))
        return found.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]  # of pyarrow

    def schema_rows(self, name: str) -> tuple[int, int]:
        """Return the rows of a schema, or twice the row before which it belongs."""
        # Schemas are numbered in the order of their names.
        code = bisect_left(self.schemas, name)
        is_here = code < len(self.schemas) and self.schemas[code] == name
        start = int(np.searchsorted(self._schema_of, code))
        return start, int(np.searchsorted(self._schema_of, code, "right")) if is_here else start

    def counts(self, is_kept: npt.NDArray[np.bool_]) -> dict[str, int]:
        """Return the number of events of some files by schema name."""
        spans = ((name, slice(*self.schema_rows(name))) for name in self.schemas)
        return {
            name: int(self.num_rows[span][is_kept[span]].sum())
            for name, span in spans
            if is_kept[span].any()
        }

    def extents(self, is_kept: npt.NDArray[np.bool_]) -> dict[str, Extent]:
        """Return how much there is of some files by schema name."""
        found = {}
        names = ("rows", "first", "last", "import_first", "import_last")
        for name in self.schemas:
            span = slice(*self.schema_rows(name))
            kept = is_kept[span]
            if kept.any():
                rows, *times = (self.column(each)[span][kept] for each in names)
                ends = (op(part) for op, part in zip((np.min, np.max) * 2, times, strict=True))
                found[name] = Extent(len(rows), int(rows.sum()), *map(int, ends))
        return found

    def used_layouts(self, is_kept: npt.NDArray[np.bool_]) -> set[str]:
        """Return the fingerprints of some files."""
        return {name for name, rows in self.rows_of.items() if is_kept[rows].any()}

    def files(self, rows: Rows) -> list[DataFile]:
        """Make the files of some rows."""
        # A list, since Arrow imports numpy.ma to convert an array, which takes 7 ms.
        part = self.table.take(pa.array(rows.tolist(), pa.int64())).combine_chunks()
        paths, sources, tails = (
            _array(part, name).to_pylist() for name in ("path", "source", "tail_digest")
        )
        *numbers, generation, oldest, tail_size = (
            _array(part, name).to_numpy().tolist() for name in _NUMBERS
        )
        fingerprints = [self.fingerprints[code] for code in self._layout_of[rows].tolist()]
        bounds = [self.bounds[fingerprint] for fingerprint in fingerprints]
        values = (  # in the order of the attributes
            [f"{self.root}/{path}" for path in paths],
            [self.schemas[code] for code in self._schema_of[rows].tolist()],
            fingerprints,
            *numbers,
            map(_FileRanges, bounds, self.rank[rows].tolist()),
            generation,
            oldest,
            sources,
            zip(tail_size, tails, strict=True),
        )
        return list(map(DataFile, *values))


def empty(root: str) -> FileTable:
    """Return a table without files."""
    return FileTable(root, _SCHEMA.empty_table(), {})


def merge(
    old: FileTable, order: Rows, added: Sequence[DataFile], layouts: Mapping[str, Layout]
) -> FileTable:
    """Return a table with other files.

    Parameters
    ----------
    old
        A table.
    order
        The rows of the old table, and -1 for the first added file, -2 for the second and so on.
    added
        Other files.
    layouts
        The layouts of all files.
    """
    new = _table_of(old.root, added)
    places = np.where(order >= 0, order, len(old) - 1 - order)
    table = pa.concat_tables([old.table, new]).unify_dictionaries()
    # The numbers of schemas follow their order.
    table = _with_sorted_labels(table.combine_chunks().take(pa.array(places)))
    by_layout: dict[str, list[int]] = {}
    for number, file in enumerate(added):
        by_layout.setdefault(file.fingerprint, []).append(number)
    rank = np.concatenate([old.rank, np.zeros(len(added), np.int64)])
    for fingerprint, numbers in by_layout.items():
        start = len(old.rows_of.get(fingerprint, ()))
        rank[len(old) + np.array(numbers)] = start + np.arange(len(numbers))
    fingerprints, codes = _codes(table, "layout")
    bounds = {}
    for code, fingerprint in enumerate(fingerprints):
        known, rows = old.bounds.get(fingerprint), rank[places[codes == code]]
        files = [added[number] for number in by_layout.get(fingerprint, ())]
        is_same = known and not files and np.array_equal(rows, np.arange(len(known.num_rows)))
        bounds[fingerprint] = (
            known.data if known and is_same else _encode(layouts[fingerprint], known, files, rows)
        )
    return FileTable(old.root, table, bounds)


def write(table: pa.Table) -> bytes:
    """Return a Parquet file."""
    sink = pa.BufferOutputStream()
    labels = [member.name for member in table.schema if pa.types.is_dictionary(member.type)]
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=labels or False,
        write_statistics=False,
    )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow carries no types


def read(data: bytes) -> pa.Table:
    """Read a Parquet file."""
    with pq.ParquetFile(pa.BufferReader(data)) as parquet:
        return parquet.read(use_threads=False)


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _codes(table: pa.Table, name: str) -> tuple[list[str], npt.NDArray[np.int32]]:
    labels = _array(table, name)
    return labels.dictionary.to_pylist(), labels.indices.to_numpy()


def _with_sorted_labels(table: pa.Table) -> pa.Table:
    """Give the labels of each column numbers in their order; leave out those without a file."""
    for place, member in enumerate(table.schema):
        if pa.types.is_dictionary(member.type):
            text, codes = _codes(table, member.name)
            used = sorted({text[code] for code in np.unique(codes)})
            numbers = {label: number for number, label in enumerate(used)}
            places = np.array([numbers.get(label, -1) for label in text], np.int32)
            labels = pa.DictionaryArray.from_arrays(places[codes], pa.array(used, pa.string()))
            table = table.set_column(place, member, labels)
    return table


def _table_of(root: str, files: Sequence[DataFile]) -> pa.Table:
    start = len(root) + 1
    if not all(file.path.startswith(f"{root}/") for file in files):
        raise ValueError("a file outside the database")
    values = {
        "path": [file.path[start:] for file in files],
        "schema": [file.schema_name for file in files],
        "layout": [file.fingerprint for file in files],
        **{name: [getattr(file, name) for file in files] for name in _NUMBERS[:-1]},
        "tail_size": [file.tail[0] for file in files],
        "source": [file.source for file in files],
        "tail_digest": [file.tail[1] for file in files],
    }
    return pa.table({each.name: pa.array(values[each.name], each.type) for each in _SCHEMA})


def _encode(layout: Layout, old: LayoutBounds | None, files: list[DataFile], order: Rows) -> bytes:
    """Write the table of a layout: old rows, then new files, in an order."""
    kinds = {leaf.column: leaf.type.kind for leaf in layout.schema.leaves} | {
        IMPORT_TIME: Kind.TIME
    }
    names = dict.fromkeys((*(old or ()), *(name for file in files for name in file.ranges)))
    columns: dict[str, pa.Array] = {}
    for number, name in enumerate(names):
        type_ = _BOUND_TYPES.get(kinds[name])
        known = [file.ranges.get(name) for file in files]
        if any(each and each.num_rows != f.rows for each, f in zip(known, files, strict=True)):
            raise ValueError("bounds of another number of rows")
        size = 0 if old is None else len(old.num_rows)
        before = None if old is None or name not in old else old[name]
        for part in ("minimum", "maximum"):
            values = [each and getattr(each, part) for each in known]
            if type_ is not None:
                earlier = pa.nulls(size, type_) if before is None else getattr(before, part)
                joined = pa.concat_arrays([earlier, pa.array(values, type_)])
                columns[f"{part}_{number}"] = joined.take(pa.array(order))
            elif any(value is not None for value in values):
                raise ValueError(f"bounds of a column without an order: {name!r}")
        nulls = np.full(size, -1) if before is None else before.null_count
        counts = [-1 if each is None else each.null_count for each in known]
        joined = np.concatenate([nulls, np.array(counts, np.int64)])[order]
        columns[f"null_count_{number}"] = pa.array(joined, mask=joined < 0)
    if not columns:  # a table needs a column to have rows
        columns["file"] = pa.array(order)
    schema = pa.schema(
        [(name, column.type) for name, column in columns.items()],
        metadata={_NAMES: json.dumps(list(names)).encode()},
    )
    return write(pa.Table.from_arrays(list(columns.values()), schema=schema))
