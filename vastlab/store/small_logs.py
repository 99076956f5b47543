"""Small logs of a folder: their events share files, since each file takes time of its own.

A shared file is a group. The segments of a log in it are a name of its own, with the import times
of its events, and the group. When one of the logs is gone or was rewritten, the group is split: it
is replaced by one without the events of that log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow.schema import IMPORT_TIME
from vastlab.store import checksums, writer
from vastlab.store.buffer import Buffer
from vastlab.store.layout import GROUP, DataFile, Source, new_segment
from vastlab.store.place import Place
from vastlab.store.snapshot import Snapshot
from vastlab.store.writer import StagedFile

_SMALL = 1 << 20  # bytes of the events in memory
_FULL = 32 << 20
_MIN_GROUP = 8  # logs

Segments = tuple[str, ...]


@dataclass(slots=True)
class SmallLogs:
    """Events of small logs that are not yet written, by the segment of each log."""

    buffers: dict[str, Buffer] = field(default_factory=dict)
    size: int = 0

    @property
    def is_full(self) -> bool:
        """Whether they should be written."""
        return self.size >= _FULL

    def add(self, segment: str, buffer: Buffer) -> bool:
        """Take over the events of a log, if it is small."""
        is_small = buffer.new_events and buffer.size <= _SMALL and not buffer.has_files
        if is_small:
            self.buffers[segment] = buffer
            self.size += buffer.size
        return bool(is_small)

    def write(
        self, used: Collection[str], place: Place, staging: Path
    ) -> tuple[list[StagedFile], dict[str, Segments]]:
        """Write the events; return the files, and what replaces segments that are now in groups.

        Those of segments that are not `used` are discarded.
        """
        logs = {segment: buffer for segment, buffer in self.buffers.items() if segment in used}
        self.buffers, self.size = {}, 0
        files: list[StagedFile] = []
        new: dict[str, Segments] = {}
        for members in _groups(logs):
            if len(members) < _MIN_GROUP:
                for segment in members:
                    files += logs[segment].finish()
                continue
            group = new_segment(GROUP)
            shared = Buffer(place, staging, source=group)
            for segment in members:
                new[segment] = _member(logs[segment].import_times), group
                shared.absorb(logs[segment])
            files += shared.finish()
        return files, new


def _groups(logs: Mapping[str, Buffer]) -> Iterator[list[str]]:
    """Yield segments of logs with the same layouts, and with import times that tell them apart."""
    groups: dict[frozenset[str], list[str]] = {}
    last = -1
    for segment, buffer in logs.items():
        if buffer.import_times[0] > last:
            groups.setdefault(frozenset(buffer.layouts), []).append(segment)
        else:
            yield [segment]
        last = max(last, buffer.import_times[1])
    yield from groups.values()


def _member(import_times: tuple[int, int]) -> str:
    first, last = import_times
    return f"{first}-{last}-{new_segment()}"


def _import_times(member: str) -> tuple[int, int]:
    first, last, _ = member.split("-")
    return int(first), int(last)


def with_segments(source: Source, new: Mapping[str, Segments]) -> Source:
    """Replace segments of a source."""
    if new.keys().isdisjoint(source.segments):
        return source
    segments = (new.get(segment, (segment,)) for segment in source.segments)
    return replace(source, segments=tuple(part for parts in segments for part in parts))


def split(
    snapshot: Snapshot, sources: Iterable[Source], place: Place, staging: Path
) -> tuple[list[StagedFile], dict[str, Segments]]:
    """Write groups without the events of logs that no source names any more.

    Returns the files, and what replaces the segments of the groups. Raises `CorruptFileError` if
    a file of them is damaged.
    """
    files: list[StagedFile] = []
    new: dict[str, Segments] = {}
    before, now = _members(snapshot.sources.values()), _members(sources)
    lost = {group: before[group] - members for group, members in now.items() if group in before}
    for group, members in lost.items():
        if members:
            new[group] = (new_segment(GROUP),)
            for file in snapshot.files.of_sources({group}):
                files += _without(file, members, snapshot, place, staging, new[group][0])
    return files, new


def _members(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Return the members of each group."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for member, segment in pairwise(source.segments):
            if segment.startswith(GROUP):
                found.setdefault(segment, set()).add(member)
    return found


def _without(
    file: DataFile,
    members: Iterable[str],
    snapshot: Snapshot,
    place: Place,
    staging: Path,
    source: str,
) -> list[StagedFile]:
    """Copy a file without the events of some members; what is left is as old as it was."""
    layout = snapshot.layouts[file.fingerprint]
    batches = []
    for batch in checksums.read(file, layout):
        times = batch.column(IMPORT_TIME).cast(pa.int64())
        kept = pa.array([True] * len(times))
        for first, last in map(_import_times, members):
            kept = pc.and_(kept, pc.or_(pc.less(times, first), pc.greater(times, last)))
        batches.append(batch.filter(kept))
    if not any(batch.num_rows for batch in batches):
        return []
    written = writer.write(
        batches, layout, place, staging, source=source, replaces=[Path(file.path).name]
    )
    return [
        StagedFile(item.staged, replace(item.file, generation=file.generation, oldest=file.oldest))
        for item in written
    ]
