"""Files that were added since the last look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from vastlab._text import plain
from vastlab.store.database import Database
from vastlab.store.layout import DataFile, Range
from vastlab.store.snapshot import Snapshot

_SEPARATE = 256  # files of one schema; of more, the oldest count as one


class Arrivals:
    """Finds the files that came since a moment.

    A log that was rewritten is read again, and what was read of it before is dropped. If some
    event may be in both, a warning names the file: no column separates new events from old ones.
    Files that were merged are not new, and those that they were made of are not dropped.
    """

    def __init__(self, place: str, snapshot: Snapshot) -> None:
        self._place = place
        self._generation, self._digest = snapshot.generation, snapshot.digest
        self._given = {file.path: file for file in settled(snapshot.files)}
        self._owners = _owners(snapshot)
        self._dropped: dict[str, list[DataFile]] = {}
        self._warned: set[tuple[str, str]] = set()

    def next(self, database: Database) -> tuple[Snapshot, tuple[DataFile, ...], list[str]]:
        """Return the current snapshot, the files that are new since the last call, and warnings."""
        warnings = []
        place, snapshot = str(database.place), database.snapshot()
        if (place, snapshot.digest) == (self._place, self._digest) and snapshot.digest:
            return snapshot, (), []  # without a look at each of many files
        if place != self._place or snapshot.generation < self._generation:
            warnings.append(
                "what was read of the logs was lost and is read again: all events that were "
                "given may be given twice"
            )
            self._place, self._generation = place, 0
            self._given, self._dropped = {}, {}
        new = settled(database.added(self._generation, snapshot)[1])
        owners = _owners(snapshot)
        here = snapshot.files.paths()
        known = (*self._given.values(), *new)
        kept = {file.path: file for file in known if file.path in here}
        gone = [file for file in known if file.path not in here]
        merged = list(snapshot.files.merged()) if gone else []
        for file in gone:
            owner = self._owners.get(file.source) or owners.get(file.source)
            holders = (each for each in merged if owners.get(each.source) == owner)
            into = next((each for each in holders if _holds(each, file)), None)
            if into is not None:
                kept[into.path] = into
            elif file.source:
                self._drop(file)
        warnings += self._repeated(new, owners)
        self._given, self._owners = kept, owners
        self._generation, self._digest = snapshot.generation, snapshot.digest
        return snapshot, new, warnings

    def _drop(self, file: DataFile) -> None:
        dropped = self._dropped.setdefault(file.schema_name, [])
        dropped.append(file)
        if len(dropped) > _SEPARATE:
            dropped[:2] = [_joined(dropped[0], dropped[1])]

    def _repeated(self, new: Iterable[DataFile], names: Mapping[str, str]) -> Iterator[str]:
        for file in new:
            for dropped in self._dropped.get(file.schema_name, ()):
                reason = (names.get(file.source, ""), dropped.path)
                if reason not in self._warned and may_share(dropped, file):
                    self._warned.add(reason)
                    yield (
                        f"{plain(reason[0])} was rewritten, or holds what was in another file: "
                        f"events of {plain(file.schema_name)} in it may be given twice"
                    )


def _owners(snapshot: Snapshot) -> dict[str, str]:
    """Return the key of the source to which each segment belongs."""
    return {segment: key for key, source in snapshot.sources.items() for segment in source.segments}


def _holds(merged: DataFile, file: DataFile) -> bool:
    """Tell whether the events of a file can be in one that was merged."""
    ages = file.oldest or file.generation, file.generation
    is_inside = merged.oldest <= ages[0] and ages[1] <= merged.generation
    return is_inside and merged.fingerprint == file.fingerprint


def settled(files: Iterable[DataFile]) -> tuple[DataFile, ...]:
    """Leave out events that are not final: half lines, and copies that are being made."""
    return tuple(file for file in files if not file.is_held_back)


def may_share(one: DataFile, other: DataFile) -> bool:
    """Tell whether some event may be in both files, by what their columns lie between."""
    if one.fingerprint != other.fingerprint:
        return one.schema_name == other.schema_name
    columns = one.ranges.keys() & other.ranges.keys()
    return not any(
        _are_disjoint(one.ranges[name], other.ranges[name])
        for name in columns
        if not name.startswith("#")
    )


def _are_disjoint(one: Range, other: Range) -> bool:
    if one.null_count and other.null_count:
        return False
    if _is_null(one) or _is_null(other):
        return True
    if None in (one.minimum, one.maximum, other.minimum, other.maximum):
        return False
    return bool(one.maximum < other.minimum or other.maximum < one.minimum)  # type: ignore[operator]  # of one column


def _is_null(range_: Range) -> bool:
    return range_.null_count == range_.num_rows


def _joined(one: DataFile, other: DataFile) -> DataFile:
    """Describe two files as one: what may be in either may be in it."""
    if one.fingerprint != other.fingerprint:
        return replace(other, fingerprint="", ranges={})
    columns = one.ranges.keys() & other.ranges.keys()
    ranges = {name: _union(one.ranges[name], other.ranges[name]) for name in columns}
    return replace(other, ranges=ranges)


def _union(one: Range, other: Range) -> Range:
    lows = [range_.minimum for range_ in (one, other) if not _is_null(range_)]
    highs = [range_.maximum for range_ in (one, other) if not _is_null(range_)]
    return Range(
        None if None in lows else min(lows, default=None),  # type: ignore[type-var]  # of one column
        None if None in highs else max(highs, default=None),  # type: ignore[type-var]  # of one column
        one.null_count + other.null_count,
        one.num_rows + other.num_rows,
    )
