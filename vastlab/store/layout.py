"""What a snapshot consists of: layouts, data files and sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from uuid import uuid4

import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.readers import columns
from vastlab.types import Field, Kind, Schema, Type

__all__ = [
    "COPY",
    "GROUP",
    "TAIL",
    "DataFile",
    "Layout",
    "Range",
    "Source",
    "new_segment",
    "union",
]

RangeValue = int | float | str | bytes
_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE})


@dataclass(frozen=True, slots=True)
class Range:
    """The bounds of the values of one column of one file."""

    # Nanoseconds for times, 16 bytes for addresses; shortened for long strings. None if a bound is
    # not known, for instance if there is a NaN.
    minimum: RangeValue | None
    maximum: RangeValue | None
    null_count: int
    num_rows: int  # including nulls


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a database, as described in the manifest."""

    path: str  # absolute
    schema_name: str
    fingerprint: str  # of its layout
    rows: int
    size: int  # bytes
    first: int  # of the event time in nanoseconds; without one, of the import time
    last: int
    import_first: int
    import_last: int
    ranges: Mapping[str, Range] = field(default_factory=dict, compare=False, repr=False)
    # The generations of its newest and oldest events, which differ if files were merged; 0 before
    # the commit, and `oldest` also if it is the same.
    generation: int = field(default=0, compare=False)
    oldest: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)  # see `new_segment`; ``""`` for several sources
    # The length and the SHA-256 of its last bytes, which contain the checksums of all others (see
    # `vastlab.store.checksums`); ``(0, "")`` in databases of vastlab 1.0.
    tail: tuple[int, str] = field(default=(0, ""), compare=False, repr=False)

    @property
    def is_held_back(self) -> bool:
        """Whether a continuous export leaves it out."""
        return self.source.startswith((TAIL, COPY))


TAIL = "tail-"  # an incomplete last line, which is read again when it is complete
COPY = "copy-"  # a copy of the beginning of another file
GROUP = "group-"  # of several small logs, see `vastlab.store.small_logs`


def new_segment(kind: str = "") -> str:
    """Return a name for a part of a source; `kind` is TAIL, COPY, GROUP or empty."""
    return kind + uuid4().hex


@dataclass(frozen=True)
class Layout:
    """The nested schema of data files, and its fingerprint (see `vastlab.arrow.schema`)."""

    fingerprint: str
    schema: Schema

    @classmethod
    def of(cls, schema: pa.Schema) -> Layout:
        """Return the layout of nested events."""
        found = arrow_schema.from_arrow(schema)
        return cls(arrow_schema.fingerprint(found), found)

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
    """A file that was read into a database."""

    key: str  # the absolute path
    size: int  # the number of bytes that were read
    digest: str  # see `vastlab.store.sources`
    stamp: str = ""  # size, times and inode
    segments: tuple[str, ...] = ()  # the values of `DataFile.source` of its events
    format: str = ""  # ``""`` if it is not a log
    lines: int = 0
    appendable: bool = False  # whether appended lines can be read without the lines before them
    problems: tuple[tuple[int | None, str], ...] = ()  # the first line numbers and reasons
    problem_count: int = 0
    remarks: tuple[str, ...] = ()
    tail_size: int = 0  # of an incomplete last line; its events are in the last segment
    tail_digest: str = ""  # of all bytes, including these
    tail_problem: str = ""  # why the incomplete line cannot be read, or ``""``
    origin: str = ""  # the path under which the content was first found

    @property
    def content(self) -> tuple[int, str]:
        """The size and digest of the whole content, including an incomplete last line."""
        return self.size + self.tail_size, self.tail_digest or self.digest

    @property
    def without_tail(self) -> Source:
        """The part of the file that consists of complete lines."""
        return replace(
            self,
            segments=tuple(name for name in self.segments if not name.startswith(TAIL)),
            tail_size=0,
            tail_digest="",
            tail_problem="",
        )

    @property
    def all_problems(self) -> tuple[tuple[int | None, str], ...]:
        """Line numbers and reasons, including those of an incomplete last line."""
        tail = ((self.lines + 1, self.tail_problem),) if self.tail_problem else ()
        return self.problems + tail


# --- unions of schemas ----------------------------------------------------------------------


def union(schemas: Iterable[Schema]) -> Schema:
    """Merge the layouts of one name: all their fields, with types that fit all values.

    Integers and doubles become doubles; other conflicting types become strings.
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
