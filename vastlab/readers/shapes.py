"""Shapes: the declared and inferred types of the fields of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vastlab.readers.text_types import KINDS, Scalar, classify, join, number_of
from vastlab.types import Field, Kind, Schema, Type

MAX_DEPTH = 100  # records in records
_LIST, _RECORD = Type(Kind.LIST), Type(Kind.RECORD)
_STATES = {kind: scalar for scalar, kind in reversed(KINDS.items())}
# Separators that tools write between the names of a record and its member, instead of a dot.
_SEPARATORS = ("_", ":", "__", "-", "/")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A declared type that is not a list or record."""

    type: Type


@dataclass(slots=True)
class Leaf:
    """A field without a declared type that is not a list or record."""

    state: Scalar = Scalar.NULL  # the common type of all values so far
    first: Scalar = Scalar.NULL  # the type of the first value
    reported: bool = False  # a change of the type was reported, or needs no report
    whole: bool = False  # records become JSON text here: their members cannot become fields


@dataclass(slots=True)
class ListShape:
    """A list; a ``declared`` one never becomes text."""

    item: Shape
    declared: bool = False
    type: Type = _LIST


@dataclass(slots=True)
class RecordShape:
    """A record, to which members may be added even if it is declared."""

    fields: dict[str, Shape] = field(default_factory=dict)
    declared: bool = False  # whether it always stays a record
    type: Type = _RECORD  # for its names and attributes
    # Types of members that are added when an event has them.
    later: Mapping[str, Type] = field(default_factory=dict)
    # Paths of members by other spellings, such as ``id_orig_h``.
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overflow: str | None = None  # the member with all additional members as JSON text


Shape = Fixed | Leaf | ListShape | RecordShape


def shape_of(type_: Type) -> Shape:
    """Return the shape of a declared type."""
    match type_.kind:
        case Kind.LIST:
            return ListShape(shape_of(type_.item or Type(Kind.STRING)), True, type_)
        case Kind.RECORD:
            return RecordShape({m.name: shape_of(m.type) for m in type_.fields}, True, type_)
        case _:
            return Fixed(type_)


def root_of(fields: tuple[Field, ...], later: tuple[Field, ...] = ()) -> RecordShape:
    """Return the shape of events with declared fields, and fields that may be added later."""
    return RecordShape(
        {member.name: shape_of(member.type) for member in fields},
        declared=True,
        later={member.name: member.type for member in later},
        aliases=_aliases((*fields, *later)),
    )


def _aliases(fields: tuple[Field, ...]) -> dict[str, tuple[str, ...]]:
    """Return the paths of members of records by their spellings with other separators."""
    taken = {member.name for member in fields}
    found: dict[str, tuple[str, ...]] = {}
    for leaf in Schema("", fields).leaves:
        for separator in _SEPARATORS if len(leaf.path) > 1 else ():
            name = separator.join(leaf.path)
            if name not in taken:
                found.setdefault(name, leaf.path)
    return found


def add_fields(record: RecordShape, fields: tuple[Field, ...]) -> None:
    """Add the fields of an earlier layout; their types may still change."""
    for member in fields:
        known = record.fields.get(member.name)
        if known is None:
            known = record.fields[member.name] = _undeclared_shape(member.type)
        if isinstance(known, RecordShape):
            add_fields(known, member.type.fields)


def _undeclared_shape(type_: Type) -> Shape:
    match type_.kind:
        case Kind.RECORD:
            return RecordShape()
        case Kind.LIST:
            return ListShape(_undeclared_item(type_.item or Type(Kind.NULL)))
        case kind:
            state = _STATES.get(kind, Scalar.TEXT)
            return Leaf(state, state, reported=state is Scalar.TEXT)


def _undeclared_item(type_: Type) -> Shape:
    item = _undeclared_shape(type_)
    if isinstance(item, RecordShape):
        add_fields(item, type_.fields)
    elif isinstance(item, Leaf):
        item.whole = True
    return item


def type_of(shape: Shape) -> Type:
    """Return the type in which values of a shape are stored."""
    match shape:
        case Fixed(type_):
            return type_
        case ListShape(item, _, type_):
            return Type(Kind.LIST, type_.names, type_.attributes, item=type_of(item))
        case RecordShape(fields, _, type_):
            members = tuple(Field(name, type_of(inner)) for name, inner in fields.items())
            return Type(Kind.RECORD, type_.names, type_.attributes, fields=members)
        case Leaf(state):
            return Type(KINDS[state])


# --- the fields of keys ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """The field of a key."""

    record: RecordShape
    name: str  # in that record
    through: tuple[RecordShape, ...] = ()  # the nested records on the path of the key


def split(key: str) -> tuple[str, str] | None:
    """Split a dotted key into the name of a record and the rest."""
    head, dot, rest = key.partition(".")
    if not dot or key.count(".") > MAX_DEPTH:
        return None
    return (head, rest) if all(key.split(".")) else None


def find(record: RecordShape, prefix: str, key: str) -> Place | None:
    """Find the field of a key; `prefix` is the leaf whose name the record of the key has."""
    name = f"{prefix}.{key}" if prefix else key
    if name in record.fields:
        return Place(record, name)
    parts = None if prefix else record.aliases.get(key)
    pair = (parts[0], ".".join(parts[1:])) if parts else split(key)
    if pair is None or (above := find(record, prefix, pair[0])) is None:
        return None
    inner, beside = inside(above)
    found = find(inner, beside, pair[1])
    if found is None:
        return None
    through = (*above.through, inner) if not beside else above.through
    return Place(found.record, found.name, (*through, *found.through))


def inside(place: Place) -> tuple[RecordShape, str]:
    """Return the record for the members of a record at a place, and the prefix of their names."""
    shape = place.record.fields[place.name]
    return (shape, "") if isinstance(shape, RecordShape) else (place.record, place.name)


def takes_records(shape: Shape) -> bool:
    """Return whether a record is a value here, and its members do not become fields."""
    match shape:
        case Leaf(whole=True) | ListShape(RecordShape(), declared=True):
            return True
        case _:
            return False


MAX_FIELDS = 2000  # of one record
MAX_TOTAL_FIELDS = 20_000
_OVERFLOW = "more_fields"


class _TooManyFieldsError(Exception):
    """A record has the maximum number of fields."""

    def __init__(self, record: RecordShape) -> None:
        super().__init__()
        self.record = record


class Observer:
    """Extends the shape of events so that it fits all values."""

    def __init__(
        self, root: RecordShape, remark: Callable[[str, str], None], *, infer: bool = True
    ) -> None:
        self._root = root
        self._remark = remark
        self._infer = infer
        self._size = _size(root)
        self._conflicts: set[tuple[int, str]] = set()

    def observe(self, event: dict[str, Any]) -> None:
        """Extend the shape for an event."""
        for key, value in event.items():
            self._member(self._root, "", key, value)

    def scalar(self, value: Any) -> Scalar:
        """Return the type of a value."""
        match value:
            case None:
                return Scalar.NULL
            case bool():
                return Scalar.BOOL
            case int():
                return number_of(value)
            case str():
                return classify(value) if self._infer else Scalar.TEXT
            case list() | dict():
                return Scalar.TEXT
            case _:
                return Scalar.DOUBLE

    def _member(self, record: RecordShape, prefix: str, key: str, value: Any) -> None:
        name = f"{prefix}.{key}" if prefix else key
        if name not in record.fields:
            path = None if prefix else record.aliases.get(key)
            pair = (path[0], ".".join(path[1:])) if path else split(key)
            if pair is not None:
                self._member(record, prefix, pair[0], {pair[1]: value})
                return
            if not self._add(record, name):
                return
        self._value(record, name, value)

    def _add(self, record: RecordShape, name: str) -> bool:
        """Add a field without a type; False if there are too many fields."""
        if name in record.later:
            record.fields[name] = shape_of(record.later[name])
        elif len(record.fields) < MAX_FIELDS and self._size < MAX_TOTAL_FIELDS:
            record.fields[name] = Leaf()
        elif not record.declared:
            # Such keys are usually data, and must not become columns.
            raise _TooManyFieldsError(record)
        else:
            self._overflow(record)
            return False
        self._size += 1
        return True

    def _overflow(self, record: RecordShape) -> None:
        if record.overflow is None:
            name = _OVERFLOW
            while name in record.fields:
                name += "_"
            record.overflow = name
            record.fields[name] = Leaf(Scalar.TEXT, Scalar.TEXT, reported=True, whole=True)
            self._remark(
                name,
                f"there are more than {MAX_FIELDS:,} different fields; the others are in "
                f"{name}, as JSON text",
            )

    def _value(self, record: RecordShape, name: str, value: Any) -> None:
        """Extend the shape of a field for a value."""
        shape = record.fields[name]
        match shape, value:
            case ((Leaf(state=Scalar.NULL) | ListShape(RecordShape(), declared=True)), dict()):
                pass
            case ((Fixed() | Leaf(whole=False) | ListShape()), dict()):
                self._report_conflict(record, name)
                for key, member in value.items():
                    self._member(record, name, key, member)
                return
            case RecordShape(declared=False), _ if not isinstance(value, dict | None):
                self._report_conflict(record, name)
                shape = _replace_record(record, name, shape)
            case _:
                pass
        record.fields[name] = self._widen(shape, value)

    def _report_conflict(self, record: RecordShape, name: str) -> None:
        """Add a remark that a field is a record in some events, and a value in others."""
        if (id(record), name) in self._conflicts:
            return
        self._conflicts.add((id(record), name))
        path = ".".join((*(_path_to(record, self._root) or ()), name))
        sentence = f"{path} is a record in some events; its members are fields next to {path}"
        self._remark(path, sentence)

    def _widen(self, shape: Shape, value: Any) -> Shape:
        """Return a shape that fits a value; records and lists are changed in place."""
        match shape, value:
            case (_, None) | (Fixed(), _):
                return shape
            case RecordShape(), dict():
                return self._record(shape, value)
            case ListShape(), list():
                for member in value:
                    shape.item = self._widen(shape.item, member)
                return shape
            case Leaf(state=Scalar.NULL), dict():
                return self._record(RecordShape(), value)
            case Leaf(state=Scalar.NULL), list():
                return self._widen(ListShape(Leaf(whole=True)), value)
            case Leaf(), _:
                if shape.state is not Scalar.TEXT:
                    shape.state = join(shape.state, self.scalar(value))
                return shape
            case ListShape(declared=True), _:
                shape.item = self._widen(shape.item, value)
                return shape
            case RecordShape(declared=True), _:
                return shape
            case _:
                return Leaf(
                    Scalar.TEXT, Scalar.TEXT, reported=True, whole=isinstance(shape, RecordShape)
                )

    def _record(self, shape: RecordShape, value: dict[str, Any]) -> Shape:
        try:
            for key, member in value.items():
                self._member(shape, "", key, member)
        except _TooManyFieldsError as error:
            if error.record is not shape:
                raise
            self._size -= _size(shape)
            return Leaf(Scalar.TEXT, Scalar.TEXT, reported=True, whole=True)
        return shape


def _replace_record(record: RecordShape, name: str, shape: RecordShape) -> Leaf:
    """Replace a record by a leaf; the members become fields with dotted names."""
    leaf = Leaf()
    for known in [*record.fields]:
        inner = record.fields.pop(known)
        if known != name:
            record.fields[known] = inner
            continue
        record.fields[name] = leaf
        for member, part in shape.fields.items():
            record.fields[f"{name}.{member}"] = part
    return leaf


def _path_to(record: RecordShape, shape: Shape) -> tuple[str, ...] | None:
    """Return the names that lead to a record, or None."""
    match shape:
        case RecordShape(fields):
            if shape is record:
                return ()
            for name, inner in fields.items():
                if (found := _path_to(record, inner)) is not None:
                    return (name, *found)
            return None
        case ListShape(item):
            return _path_to(record, item)
        case _:
            return None


def _size(shape: Shape) -> int:
    match shape:
        case RecordShape(fields):
            return 1 + sum(map(_size, fields.values()))
        case ListShape(item):
            return 1 + _size(item)
        case _:
            return 1
