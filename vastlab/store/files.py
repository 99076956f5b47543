"""The files of a snapshot: a table of most of them, and those that came since."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vastlab.store import file_table
from vastlab.store.file_table import Extent, FileTable, Rows
from vastlab.store.layout import DataFile, Layout

__all__ = ["Files"]

_AT_ONCE = 1024  # files that are made from a table at the same time

Mask = npt.NDArray[np.bool_]


def _key(file: DataFile) -> tuple[str, int, str]:
    return file.schema_name, file.first, file.path


class Files(Sequence[DataFile]):
    """Immutable files, sorted by schema name, first event time and path.

    Parameters
    ----------
    table
        A table.
    is_kept
        Which of its files are still there.
    added
        Other files, sorted.
    """

    def __init__(self, table: FileTable, is_kept: Mask, added: tuple[DataFile, ...]) -> None:
        self.table = table
        self.added = added
        self._is_kept = is_kept

    @classmethod
    def of(cls, files: Iterable[DataFile], root: str = "") -> Files:
        """Sort files; `root` is the folder of a database."""
        return cls.of_table(file_table.empty(root)).changed(files)

    @classmethod
    def of_table(cls, table: FileTable) -> Files:
        """Return all files of a table."""
        return cls(table, np.ones(len(table), np.bool_), ())

    # --- as a sequence ----------------------------------------------------------------------

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_kept)) + len(self.added)

    def __iter__(self) -> Iterator[DataFile]:
        return (file for _, file in self._made(self._order))

    @overload
    def __getitem__(self, place: int) -> DataFile: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[DataFile, ...]: ...
    def __getitem__(self, place: int | slice) -> DataFile | tuple[DataFile, ...]:
        if isinstance(place, slice):
            return tuple(file for _, file in self._made(self._order[place]))
        if not -len(self) <= place < len(self):
            raise IndexError("there is no such file")
        row = int(self._order[place])
        return self.added[-1 - row] if row < 0 else self.table.files(np.array([row]))[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Files | tuple):
            return NotImplemented
        return len(self) == len(other) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as for a list: the content is compared

    def __repr__(self) -> str:
        return f"Files({len(self)} files)"

    def select(self, is_wanted: Mask) -> Iterator[tuple[int, DataFile]]:
        """Yield files with their rows in the table, or a negative number.

        Parameters
        ----------
        is_wanted
            Which files of the table to leave in; those that are not in it are all yielded.
        """
        order = self._order
        if len(self.table):
            order = order[(order < 0) | is_wanted[np.maximum(order, 0)]]
        return self._made(order)

    @cached_property
    def _order(self) -> Rows:
        """The rows of the table in order, and -1 for the first added file, -2 for the second."""
        rows = np.flatnonzero(self._is_kept)
        before = [
            self._rows_before(name, list(files))
            for name, files in groupby(self.added, lambda file: file.schema_name)
        ]
        places = np.searchsorted(rows, np.concatenate([np.empty(0, np.int64), *before]))
        return np.insert(rows, places, -1 - np.arange(len(self.added)))

    def _rows_before(self, schema: str, files: Sequence[DataFile]) -> Rows:
        """Return the rows of the table before which files of one schema belong."""
        table = self.table
        start, end = table.schema_rows(schema)
        first, new = table.first[start:end], [file.first for file in files]
        lows = start + np.searchsorted(first, new)
        highs = start + np.searchsorted(first, new, "right")
        for number in np.flatnonzero(lows < highs).tolist():  # files of the same time
            path = files[number].path[len(table.root) + 1 :]
            rows = range(int(highs[number]))
            lows[number] = bisect_left(
                rows, path, int(lows[number]), key=lambda row: table.paths[row].as_py()
            )
        return lows

    def _made(self, order: Rows) -> Iterator[tuple[int, DataFile]]:
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            made = iter(self.table.files(part[part >= 0]))
            for row in part.tolist():
                yield row, (next(made) if row >= 0 else self.added[-1 - row])

    # --- as a whole -------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return the number of events by schema name."""
        counts = self.table.counts(self._is_kept)
        for file in self.added:
            counts[file.schema_name] = counts.get(file.schema_name, 0) + file.rows
        return {name: counts[name] for name in sorted(counts)}

    def extents(self) -> dict[str, Extent]:
        """Return how much there is of each schema, by its name."""
        found = self.table.extents(self._is_kept)
        for file in self.added:
            times = file.first, file.last, file.import_first, file.import_last
            own = Extent(1, file.rows, *times)
            known = found.get(file.schema_name)
            found[file.schema_name] = own if known is None else known.joined(own)
        return {name: found[name] for name in sorted(found)}

    def numbers(self) -> dict[str, int]:
        """Return the number of files by the fingerprint of their layout."""
        numbers = Counter(file.fingerprint for file in self.added)
        for fingerprint, rows in self.table.rows_of.items():
            numbers[fingerprint] += int(np.count_nonzero(self._is_kept[rows]))
        return dict(numbers)

    def have(self, paths: Collection[str]) -> bool:
        """Return whether all of some different paths are those of files."""
        tabled = np.count_nonzero(self._are_at(paths) & self._is_kept)
        return bool(tabled + sum(file.path in paths for file in self.added) == len(paths))

    def paths(self) -> set[str]:
        """Return the paths, which are absolute."""
        start = f"{self.table.root}/"
        held = self.table.paths.filter(pa.array(self._is_kept)).to_pylist()
        return {start + path for path in held} | {file.path for file in self.added}

    def layouts(self) -> set[str]:
        """Return the fingerprints of the layouts."""
        return self.table.used_layouts(self._is_kept) | {file.fingerprint for file in self.added}

    def smaller(self, size: int) -> Iterator[DataFile]:
        """Return the files of less than so many bytes."""
        chosen = self.select(self.table.column("size") < size)
        return (file for _, file in chosen if file.size < size)

    def merged(self) -> Iterator[DataFile]:
        """Return the files with events of several generations."""
        chosen = self.select(self.table.column("oldest") > 0)
        return (file for _, file in chosen if file.oldest)

    def without_checksums(self) -> Iterator[DataFile]:
        """Return the files of vastlab 1.0."""
        chosen = self.select(self.table.column("tail_size") == 0)
        return (file for _, file in chosen if not any(file.tail))

    def of_sources(self, names: Collection[str]) -> Iterator[DataFile]:
        """Return the files whose events come from some sources."""
        chosen = self.select(self.table.are_in("source", names))
        return (file for _, file in chosen if file.source in names)

    def since(self, generation: int) -> tuple[DataFile, ...]:
        """Return the files of later generations."""
        chosen = self.select(self.table.generation > generation)
        return tuple(file for _, file in chosen if file.generation > generation)

    # --- changes ----------------------------------------------------------------------------

    def changed(self, added: Iterable[DataFile], dropped: Iterable[str] = ()) -> Files:
        """Return the files with others added, after dropping those of some paths."""
        new = {file.path: file for file in added}
        gone = {*dropped, *new}
        kept = [file for file in self.added if file.path not in gone]
        if len(new) < len(kept):
            for file in new.values():
                insort(kept, file, key=_key)
        else:
            kept = sorted((*kept, *new.values()), key=_key)
        return Files(self.table, self._is_kept & ~self._are_at(gone), tuple(kept))

    def _are_at(self, paths: Iterable[str]) -> Mask:
        if not len(self.table):
            return np.zeros(0, np.bool_)
        start = len(self.table.root) + 1
        return self.table.are_in("path", [path[start:] for path in paths])

    def tabled(self, layouts: Mapping[str, Layout]) -> Files:
        """Return the same files in one table, or as they are if a table cannot hold them."""
        try:
            table = file_table.merge(self.table, self._order, self.added, layouts)
        except (pa.ArrowException, ValueError, LookupError, TypeError, OverflowError):
            return self  # what is read of a manifest may be of any type
        return Files.of_table(table)
