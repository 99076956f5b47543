"""How often each value of a column occurs in a file, where the column has few distinct values.

Such a column is compared once for each distinct value of all files, so that another question about
it reads nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vastlab._lazy import datafusion
from vastlab.arrow.types import storage_of, storage_type_of
from vastlab.store.checksums import VerifiedFile
from vastlab.store.layout import DataFile

_FEW = 4  # bytes of a column for each row, of which a dictionary of few values needs less
_FEWEST = 4096  # rows for which it pays off
_CLOSE = 1 << 16  # how far numbers lie apart that are counted in a row
_MOST_SHARED = 1 << 15  # values of a column that files share
_MOST_BYTES = 1 << 25  # of all tallies

Compute: TypeAlias = Callable[["datafusion.Expr", pa.RecordBatch], npt.NDArray[np.bool_]]
_Numbers: TypeAlias = npt.NDArray[np.int64]


class _Column:
    """The distinct values of a column in all files of which there is a tally, null as well."""

    def __init__(self, name: str, type_: pa.DataType) -> None:
        self._schema = pa.schema([pa.field(name, type_)])
        self._values = pa.nulls(0, type_)
        self._answers: tuple[datafusion.Expr, npt.NDArray[np.bool_]] | None = None
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many bytes the values hold."""
        return int(self._values.nbytes)

    @property
    def is_full(self) -> bool:
        """Whether files have to share other values: each looks up all that are known."""
        return len(self._values) >= _MOST_SHARED

    def places(self, values: pa.Array) -> npt.NDArray[np.int32]:
        """Return the place of each value among the distinct ones, which it is added to."""
        with self._lock:
            joined = pa.concat_arrays([self._values, values]).dictionary_encode("encode")
            places = joined.indices[len(self._values) :]
            self._values = joined.dictionary
        return np.asarray(places.to_numpy(), np.int32)

    def matching(self, compute: Compute, condition: datafusion.Expr) -> npt.NDArray[np.bool_]:
        """Return which of the distinct values match; a condition is computed once for all files."""
        with self._lock:
            known, answers = self._answers or (None, np.empty(0, np.bool_))
            if known is not condition:
                answers = np.empty(0, np.bool_)
            if len(answers) < len(self._values):
                new = self._values.slice(len(answers))
                batch = pa.RecordBatch.from_arrays([new], schema=self._schema)
                answers = np.concatenate([answers, compute(condition, batch)])
                self._answers = condition, answers
            return answers


@dataclass(frozen=True, slots=True)
class _Tally:
    """How often each value of a column occurs in a file; a value may be there repeatedly."""

    column: _Column
    places: npt.NDArray[np.int32]
    numbers: _Numbers

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return int(self.places.nbytes + self.numbers.nbytes)


class Tallies:
    """Tallies of the columns of verified files, made where one is asked for.

    To read text as a dictionary is the fastest way to compare it, and gives a tally besides; to
    count numbers that lie close together takes as long as to compare them. A column of another type
    is grouped when it is asked for again: that takes twice as long as to compare it.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._columns: dict[tuple[str, pa.DataType], _Column] = {}
        self._known: WeakKeyDictionary[VerifiedFile, dict[str, _Tally | None]] = WeakKeyDictionary()
        self._asked: WeakKeyDictionary[VerifiedFile, set[str]] = WeakKeyDictionary()
        self._bytes = 0
        self._lock = threading.Lock()

    def count(
        self,
        file: DataFile,
        verified: VerifiedFile,
        field: pa.Field,
        condition: datafusion.Expr,
        grouped: Callable[[], datafusion.DataFrame],
    ) -> int | None:
        """Count the rows that match a condition, which is computed once for each distinct value.

        Parameters
        ----------
        file
            The file.
        verified
            The same, whose column was verified.
        field
            Of the column, as it is stored; the condition is about nothing else.
        condition
            Null does not match.
        grouped
            Returns the values of the column, and how often each occurs.

        Returns
        -------
        int or None
            None if the column may have many distinct values, or is not worth it yet.
        """
        tallies = self._known.setdefault(verified, {})
        if field.name in tallies:
            made = tallies[field.name]
        else:
            if not _is_small(verified, field.name):
                made = None
            elif _is_text(field):
                made = self._of_text(file.path, field)
            elif (low := _least_close(file, field)) is not None:
                made = self._of_numbers(file.path, field, low)
            elif not _is_countable(field.type):
                made = None
            elif field.name not in (asked := self._asked.setdefault(verified, set())):
                asked.add(field.name)
                return None
            else:
                made = self._of_groups(field, grouped())
            self._keep(tallies, field.name, made)
        if made is None:
            return None
        return int(made.numbers[made.column.matching(self._compute, condition)[made.places]].sum())

    def _keep(self, tallies: dict[str, _Tally | None], name: str, made: _Tally | None) -> None:
        with self._lock:
            tallies[name] = made
            self._bytes += made.size + made.column.size if made else 0
            if self._bytes <= _MOST_BYTES:
                return
            self._bytes = self._held()  # without files that are gone, and what is shared once
            if self._bytes > _MOST_BYTES // 2:
                self._known.clear()
                self._columns.clear()
                self._bytes = 0

    def _held(self) -> int:
        kept = [tally for tallies in self._known.values() for tally in tallies.values() if tally]
        columns = {id(tally.column): tally.column for tally in kept}
        return sum(tally.size for tally in kept) + sum(each.size for each in columns.values())

    def _tally(self, field: pa.Field, values: pa.Array, numbers: _Numbers) -> _Tally:
        key = field.name, storage_type_of(field.type)
        with self._lock:
            column = self._columns.get(key)
            if column is None or column.is_full:
                column = self._columns[key] = _Column(*key)
        return _Tally(column, column.places(values), numbers)

    def _of_text(self, path: str, field: pa.Field) -> _Tally | None:
        with pq.ParquetFile(path, read_dictionary=[field.name]) as parquet:
            if not _has_dictionaries(parquet, field.name):
                return None
            chunks = [
                chunk
                for group in range(parquet.num_row_groups)
                for chunk in parquet.read_row_group(group, [field.name], use_threads=False)
                .column(field.name)
                .chunks
            ]
        values = [*(chunk.dictionary for chunk in chunks), pa.nulls(1, pa.string())]
        nulls = sum(chunk.null_count for chunk in chunks)
        numbers = [*map(_occurrences, chunks), np.array([nulls])]
        return self._tally(
            field, pa.concat_arrays(values).cast(pa.string()), np.concatenate(numbers)
        )

    def _of_numbers(self, path: str, field: pa.Field, low: int) -> _Tally | None:
        """Count each number; None if one is not within the bounds that the manifest knows."""
        found, nulls = np.zeros(_CLOSE, np.int64), 0
        with pq.ParquetFile(path) as parquet:
            for group in range(parquet.num_row_groups):
                # A name also selects the columns that begin with it and a dot.
                column = parquet.read_row_group(group, [field.name], use_threads=False)[field.name]
                nulls += column.null_count
                for chunk in column.chunks:
                    numbers = chunk.drop_null().to_numpy()
                    steps = numbers - numbers.dtype.type(low)  # wraps where it is less
                    if len(steps) and not 0 <= steps.min() <= steps.max() < _CLOSE:
                        return None
                    found += np.bincount(steps.astype(np.int64), minlength=_CLOSE)
        present = np.flatnonzero(found)
        values = pa.array([*(low + step for step in present.tolist()), None], field.type)
        return self._tally(field, values, np.append(found[present], nulls))

    def _of_groups(self, field: pa.Field, frame: datafusion.DataFrame) -> _Tally:
        parts = frame.collect()
        values = pa.concat_arrays([storage_of(part.column(0)) for part in parts])
        numbers = pa.concat_arrays([part.column(1) for part in parts])
        return self._tally(field, values, numbers.to_numpy())


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type))


def _least_close(file: DataFile, field: pa.Field) -> int | None:
    """Return the least number of a column whose numbers lie close together, or None."""
    known = file.ranges.get(field.name)
    if not pa.types.is_integer(field.type) or known is None:
        return None
    low, high = known.minimum, known.maximum
    if isinstance(low, int) and isinstance(high, int) and high - low < _CLOSE:
        return low
    return None


def _is_countable(type_: pa.DataType) -> bool:
    """Whether equal values of a type are the same; doubles and labels are not."""
    storage = storage_type_of(type_)
    return bool(
        pa.types.is_integer(storage)
        or pa.types.is_temporal(storage)
        or pa.types.is_fixed_size_binary(storage)
    )


def _is_small(file: VerifiedFile, column: str) -> bool:
    place = file.columns.index(column)
    rows = sum(group.rows for group in file.groups)
    size = sum(group.chunks[place].length for group in file.groups)
    return rows >= _FEWEST and size < _FEW * rows


def _has_dictionaries(parquet: pq.ParquetFile, column: str) -> bool:
    """Whether the column is stored as numbers of distinct values, of which there are few."""
    metadata = parquet.metadata
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    place = names.index(column)
    chunks = [metadata.row_group(i).column(place) for i in range(metadata.num_row_groups)]
    return all(
        chunk.has_dictionary_page and chunk.total_uncompressed_size < _FEW * chunk.num_values
        for chunk in chunks
    )


def _occurrences(chunk: pa.DictionaryArray) -> _Numbers:
    """Count how often each value of a dictionary occurs."""
    indices = chunk.indices.drop_null() if chunk.null_count else chunk.indices
    return np.bincount(indices.to_numpy(), minlength=len(chunk.dictionary))
