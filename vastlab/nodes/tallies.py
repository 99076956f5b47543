"""How often each value of a column occurs in a file, where the column has few distinct values.

Such a column is compared once for each distinct value of all files, so that another question about
it reads nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vastlab._lazy import datafusion
from vastlab.arrow.types import storage_of, storage_type_of
from vastlab.store.checksums import VerifiedFile
from vastlab.store.layout import DataFile

if TYPE_CHECKING:
    from vastlab.nodes.engine import Engine

_FEW = 4  # bytes of a column for each row, of which a dictionary of few values needs less
_FEWEST = 4096  # rows for which it pays off
_CLOSE = 1 << 16  # how far numbers lie apart that are counted in a row
_MOST_BYTES = 1 << 25  # of all tallies

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

    def places(self, values: pa.Array) -> npt.NDArray[np.int32]:
        """Return the place of each value among the distinct ones, which it is added to."""
        with self._lock:
            joined = pa.concat_arrays([self._values, values]).dictionary_encode("encode")
            places = joined.indices[len(self._values) :]
            self._values = joined.dictionary
        return np.asarray(places.to_numpy(), np.int32)

    def matching(self, engine: Engine, condition: datafusion.Expr) -> npt.NDArray[np.bool_]:
        """Return which of the distinct values match; a condition is computed once for all files."""
        with self._lock:
            known, answers = self._answers or (None, np.empty(0, np.bool_))
            if known is not condition:
                answers = np.empty(0, np.bool_)
            if len(answers) < len(self._values):
                new = self._values.slice(len(answers))
                batch = pa.RecordBatch.from_arrays([new], schema=self._schema)
                answers = np.concatenate([answers, _computed(engine, condition, batch)])
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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
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
            elif _is_close(file, field):
                made = self._of_numbers(file.path, field)
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
        return int(made.numbers[made.column.matching(self._engine, condition)[made.places]].sum())

    def _keep(self, tallies: dict[str, _Tally | None], name: str, made: _Tally | None) -> None:
        with self._lock:
            self._bytes += made.size if made else 0
            held = sum(column.size for column in self._columns.values())
            if self._bytes + held > _MOST_BYTES:
                self._known.clear()
                self._columns.clear()
                self._bytes = 0
            else:
                tallies[name] = made

    def _tally(self, field: pa.Field, values: pa.Array, numbers: _Numbers) -> _Tally:
        key = field.name, storage_type_of(field.type)
        with self._lock:
            column = self._columns.setdefault(key, _Column(*key))
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

    def _of_numbers(self, path: str, field: pa.Field) -> _Tally | None:
        with pq.ParquetFile(path) as parquet:
            # A name also selects the columns that begin with it and a dot.
            column = parquet.read([field.name], use_threads=False)[field.name]
        low, high = pc.min_max(column).as_py().values()
        if low is None or high - low >= _CLOSE:
            return None
        numbers = np.zeros(high - low + 1, np.int64)
        for chunk in column.chunks:
            steps = pc.subtract(chunk.drop_null(), pa.scalar(low, chunk.type)).to_numpy()
            numbers += np.bincount(steps.astype(np.int64), minlength=len(numbers))
        present = np.flatnonzero(numbers)
        values = pa.array([*(low + step for step in present.tolist()), None], field.type)
        return self._tally(field, values, np.append(numbers[present], column.null_count))

    def _of_groups(self, field: pa.Field, frame: datafusion.DataFrame) -> _Tally:
        parts = frame.collect()
        values = pa.concat_arrays([storage_of(part.column(0)) for part in parts])
        numbers = pa.concat_arrays([part.column(1) for part in parts])
        return self._tally(field, values, numbers.to_numpy())


def _computed(
    engine: Engine, condition: datafusion.Expr, values: pa.RecordBatch
) -> npt.NDArray[np.bool_]:
    parts = engine.usual.read_batch(values).select(condition.alias("found")).collect()
    columns = [part.column(0).fill_null(False) for part in parts]
    return np.concatenate([part.to_numpy(zero_copy_only=False) for part in columns])


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type))


def _is_close(file: DataFile, field: pa.Field) -> bool:
    """Whether the numbers of a column lie close together, so that they can be counted in a row."""
    known = file.ranges.get(field.name)
    if not pa.types.is_integer(field.type) or known is None:
        return False
    low, high = known.minimum, known.maximum
    return isinstance(low, int) and isinstance(high, int) and high - low < _CLOSE


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
