"""What a database consists of at one moment: layouts, data files, sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow as pa

from vastlab.store import columns
from vastlab.store.readers._problems import Problem
from vastlab.types import Field, Kind, Schema, Type

__all__ = ["DataFile", "Layout", "Range", "Snapshot", "Source", "union"]

RangeValue = int | float | str | bytes
_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE})


@dataclass(frozen=True, slots=True)
class Range:
    """What the values of one column of one file lie between.

    Parameters
    ----------
    minimum, maximum
        Bounds that every non-null value keeps to: nanoseconds for times and durations, 16
        bytes for addresses. They are values of the column, except that long strings have
        shorter bounds. ``None`` where nothing is known, as beside a NaN.
    null_count
        The number of nulls.
    num_rows
        The number of rows, nulls included.

    Examples
    --------
    >>> Range(22, 443, null_count=0, num_rows=10).maximum
    443
    """

    minimum: RangeValue | None
    maximum: RangeValue | None
    null_count: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a database, with what a reader wants to know before opening it.

    Parameters
    ----------
    path
        Absolute.
    schema_name, fingerprint
        Of its layout.
    rows, size
        The number of events and of bytes.
    first, last
        The bounds of the event time, in nanoseconds; the import time where the schema has
        no event time or no event of the file has one.
    import_first, import_last
        The bounds of the import time.
    ranges
        Per column name.
    generation
        The generation that added it; 0 before it is committed.
    source
        A name for the part of one source that it holds; ``""`` where sources are mixed.

    Examples
    --------
    >>> file = DataFile("/db/data/x.parquet", "zeek.conn", "0", 10, 2048, 1, 9, 20, 20)
    >>> file.rows, file.last - file.first
    (10, 8)
    """

    path: str
    schema_name: str
    fingerprint: str
    rows: int
    size: int
    first: int
    last: int
    import_first: int
    import_last: int
    ranges: Mapping[str, Range] = field(default_factory=dict, compare=False, repr=False)
    generation: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)


@dataclass(frozen=True)
class Layout:
    """A schema that files of a database have.

    Parameters
    ----------
    fingerprint
        `vastlab.arrow.schema.fingerprint` of the schema.
    schema
        The original, nested schema.

    Examples
    --------
    >>> port = Field("port", Type(Kind.UINT64))
    >>> Layout("0", Schema("zeek.conn", (port,))).stored_schema.names
    ['port', '#import_time']
    """

    fingerprint: str
    schema: Schema

    @cached_property
    def stored_schema(self) -> pa.Schema:
        """The Arrow schema of the files: one column per leaf, then the import time."""
        return columns.stored_schema(self.schema)

    def rows(self, batch: pa.RecordBatch, import_time: int) -> pa.RecordBatch:
        """Turn nested events into rows of a file; the import time is in nanoseconds."""
        return columns.store(batch, self.schema, self.stored_schema, import_time)

    def events(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Turn rows of a file back into nested events, without the import time."""
        return columns.restore(batch, self.schema)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a database has read.

    Parameters
    ----------
    key
        What it is remembered by: its absolute path.
    size
        Bytes that were read.
    digest
        Over these bytes; see `vastlab.store._digest`.
    stamp
        What the file system says about the file, for a cheap look whether it has changed.
    segments
        The values of `DataFile.source` that its events have, where files are not mixed.
    format
        The name of its format; ``""`` where it is no log.
    lines
        The number of lines that were read, where it has lines.
    appendable
        Whether lines that are added to it can be read without what stands before them.
    problems
        What was wrong with it: line numbers and reasons, the first so many.
    problem_count
        How many problems there were.

    Examples
    --------
    >>> Source("/logs/conn.log", size=2048, digest="00").key
    '/logs/conn.log'
    """

    key: str
    size: int
    digest: str
    stamp: str = ""
    segments: tuple[str, ...] = ()
    format: str = ""
    lines: int = 0
    appendable: bool = False
    problems: tuple[tuple[int | None, str], ...] = ()
    problem_count: int = 0


@dataclass(frozen=True)
class Snapshot:
    """All that a database holds at one generation.

    Parameters
    ----------
    generation
        Counts commits; 0 is the empty database.
    layouts
        By fingerprint; only those that a file has.
    files
        Sorted by schema name, first event time and path.
    sources
        What has been read, by key.

    Examples
    --------
    >>> Snapshot(0, {}, ()).counts
    {}
    """

    generation: int
    layouts: Mapping[str, Layout]
    files: tuple[DataFile, ...]
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was wrong with the sources: first with logs, then with files that are none."""
        return tuple(
            Problem(source.key, line, reason)
            for source in sorted(self.sources.values(), key=lambda source: not source.format)
            for line, reason in source.problems
        )

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of events by schema name, from the manifest alone."""
        counts: dict[str, int] = {}
        for file in self.files:
            counts[file.schema_name] = counts.get(file.schema_name, 0) + file.rows
        return counts

    def schemas(self) -> dict[str, Schema]:
        """Describe the events under each name: the union over all layouts of that name."""
        named: dict[str, list[Schema]] = {}
        for layout in self.layouts.values():
            named.setdefault(layout.schema.name, []).append(layout.schema)
        return {name: union(named[name]) for name in sorted(named)}


def make_snapshot(
    generation: int,
    layouts: Mapping[str, Layout],
    files: Iterable[DataFile],
    sources: Mapping[str, Source],
) -> Snapshot:
    """Put files in order and leave out the layouts that no file has any more."""
    ordered = sorted(files, key=lambda file: (file.schema_name, file.first, file.path))
    used = {file.fingerprint for file in ordered}
    kept = {key: layouts[key] for key in sorted(used)}
    return Snapshot(generation, kept, tuple(ordered), dict(sources))


# --- unions of schemas ----------------------------------------------------------------------


def union(schemas: Iterable[Schema]) -> Schema:
    """Join the layouts of one name: all their fields, with types that hold the values of all.

    Integers beside doubles become doubles, other conflicts strings.

    Examples
    --------
    >>> narrow = Schema("x", (Field("a", Type(Kind.INT64)),))
    >>> wide = Schema("x", (Field("a", Type(Kind.DOUBLE)), Field("b", Type(Kind.IP))))
    >>> [(f.name, f.type.kind.value) for f in union([narrow, wide]).fields]
    [('a', 'double'), ('b', 'ip')]
    """
    distinct = tuple(dict.fromkeys(schemas))
    first = distinct[0]
    if len(distinct) == 1:
        return first
    fields = first.fields
    for schema in distinct[1:]:
        fields = _join_fields(fields, schema.fields)
    attributes = dict(pair for schema in reversed(distinct) for pair in schema.attributes)
    return Schema(first.name, fields, tuple(attributes.items()), distinct)


def _join_fields(left: tuple[Field, ...], right: tuple[Field, ...]) -> tuple[Field, ...]:
    joined = {member.name: member.type for member in left}
    for member in right:
        known = joined.get(member.name)
        joined[member.name] = member.type if known is None else _join(known, member.type)
    return tuple(Field(name, type_) for name, type_ in joined.items())


def _join(left: Type, right: Type) -> Type:
    if left == right or right.kind is Kind.NULL:
        return left
    if left.kind is Kind.NULL:
        return right
    names = left.names if left.names == right.names else ()
    attributes = left.attributes if left.attributes == right.attributes else ()
    if left.kind is not right.kind:
        kind = Kind.DOUBLE if {left.kind, right.kind} <= _NUMBERS else Kind.STRING
        return Type(kind, names, attributes)
    joined = replace(left, names=names, attributes=attributes)
    match left.kind:
        case Kind.RECORD:
            return replace(joined, fields=_join_fields(left.fields, right.fields))
        case Kind.LIST | Kind.MAP if left.item and right.item and left.key == right.key:
            return replace(joined, item=_join(left.item, right.item))
        case Kind.ENUM if left.labels != right.labels:
            return Type(Kind.STRING, names, attributes)
        case Kind.LIST | Kind.MAP if left.item != right.item or left.key != right.key:
            return Type(Kind.STRING, names, attributes)
        case _:
            return joined
