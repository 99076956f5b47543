"""Converts columns of JSON values to declared or inferred types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.arrow.types import empty_records, storage_of
from vastlab.readers import inference, text_columns, text_types
from vastlab.readers.json_forms import Form, KeyForm, UnsupportedFormError
from vastlab.readers.problems import BECAME_NULL, Mismatches
from vastlab.readers.shapes import (
    Fixed,
    Leaf,
    ListShape,
    RecordShape,
    Shape,
    find,
    inside,
    takes_records,
    type_of,
)
from vastlab.readers.text_types import KINDS, Scalar
from vastlab.types import Kind, Type

_PLAIN = {
    pa.bool_(): Scalar.BOOL,
    pa.int64(): Scalar.NATURAL,
    pa.uint64(): Scalar.UINT64,
    pa.float64(): Scalar.DOUBLE,
}
_MILLISECONDS_FROM = 10**10

Lines = npt.NDArray[np.int64]
Remark = Callable[[str, int, object, Leaf], None]


@dataclass(slots=True)
class _Source:
    """Values of one field, from one key."""

    array: pa.Array
    key_form: KeyForm
    learned: text_types.Learned | None = None


@dataclass(slots=True)
class _Found:
    """The values of the fields of nested records, by the ``id`` of the record."""

    values: dict[tuple[int, str], list[_Source]] = field(default_factory=dict)
    records: dict[int, list[pa.Array]] = field(default_factory=dict)  # where they are not null


@dataclass(frozen=True, slots=True)
class Columns:
    """Converts the columns of some lines; calls `remark` if a value changes an inferred type."""

    mismatches: Mismatches
    remark: Remark
    infer: bool

    def convert(
        self,
        columns: Mapping[str, pa.Array],
        key_forms: Mapping[str, KeyForm],
        record: RecordShape,
        lines: Lines,
        path: str = "",
    ) -> dict[str, pa.Array]:
        """Return the fields of a record; values of undeclared fields may change their types."""
        found = _Found()
        _collect(columns, key_forms, record, "", found)
        return self._fields(record, found, lines, path)

    def _fields(
        self, record: RecordShape, found: _Found, lines: Lines, path: str
    ) -> dict[str, pa.Array]:
        above = f"{path}." if path else ""
        return {
            name: self._field(record, name, found, lines, f"{above}{name}")
            for name in record.fields
        }

    def _field(
        self, record: RecordShape, name: str, found: _Found, lines: Lines, path: str
    ) -> pa.Array:
        shape = record.fields[name]
        sources = found.values.get((id(record), name), [])
        if isinstance(shape, RecordShape):
            for source in sources:
                self._note_no_records(source.array, shape, lines, path)
            members = self._fields(shape, found, lines, path)
            return _records(members, found.records.get(id(shape)), len(lines))
        for source in sources:
            source.learned = self._learn(source.array, shape, lines, path)
        arrays = [self._of_source(source, shape, lines, path) for source in sources]
        if not arrays:
            return pa.nulls(len(lines), arrow_schema.type_to_arrow(type_of(shape)))
        return arrays[0] if len(arrays) == 1 else self._merge(arrays, lines, path)

    def _merge(self, arrays: Sequence[pa.Array], lines: Lines, path: str) -> pa.Array:
        """Return the first value of each row that is not null."""
        merged = arrays[0]
        for other in arrays[1:]:
            ours, theirs = (_valid(array) for array in (merged, other))
            self._compare(merged, other, np.flatnonzero(ours & theirs), lines, path)
            rows = np.arange(len(merged)) + np.where(ours, 0, len(merged))
            if merged.type != other.type:
                other = other.cast(merged.type)
            merged = pa.concat_arrays([merged, other]).take(pa.array(rows))
        return merged

    def _compare(
        self, ours: pa.Array, theirs: pa.Array, rows: npt.NDArray[np.int64], lines: Lines, path: str
    ) -> None:
        one, other = (storage_of(a).take(pa.array(rows)) for a in (ours, theirs))
        if one.equals(other):
            return
        pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
        unlike = np.array([i for i, (left, right) in enumerate(pairs) if left != right], np.int64)
        shown = (ours.take(pa.array(rows)), theirs.take(pa.array(rows)))

        def reason(i: int) -> str:
            kept, left = (array[int(unlike[i])].as_py() for array in shown)
            return inference.duplicate_message(_plain(left), _plain(kept))

        self.mismatches.add_many(path, lines[rows[unlike]].tolist(), reason)

    # --- undeclared text --------------------------------------------------------------------

    def _learn(
        self, array: pa.Array, shape: Shape, lines: Lines, path: str
    ) -> text_types.Learned | None:
        """Extend the inferred types so that they fit all values."""
        match shape:
            case ListShape(item) if pa.types.is_list(array.type):
                values, parents = _elements(array)
                self._learn(values, item, lines[parents], path)
            case Leaf():
                return self._learn_leaf(array, shape, lines, path)
            case _:
                pass
        return None

    def _learn_leaf(
        self, array: pa.Array, leaf: Leaf, lines: Lines, path: str
    ) -> text_types.Learned | None:
        if array.null_count == len(array):
            return None
        learned = None
        if pa.types.is_string(array.type) and self.infer and leaf.state is not Scalar.TEXT:
            learned = text_types.learn(leaf.state, array)
            leaf.state = learned.state
        else:
            leaf.state = text_types.join(leaf.state, _PLAIN.get(array.type, Scalar.TEXT))
        if not leaf.reported:
            self._report_change(array, leaf, lines, path)
        return learned

    def _report_change(self, array: pa.Array, leaf: Leaf, lines: Lines, path: str) -> None:
        """Report the first value that does not match the type of earlier ones, once per field."""
        texts = array if pa.types.is_string(array.type) and self.infer else None
        start = pc.index(array.is_valid(), True).as_py()
        plain = _PLAIN.get(array.type, Scalar.TEXT)
        if leaf.first is Scalar.NULL:
            text = plain if texts is None else text_types.classify(texts[start].as_py())
            leaf.first = text
        if leaf.state is Scalar.TEXT:
            row = start if text_types.join(leaf.first, plain) is Scalar.TEXT else None
            if texts is not None:
                row = text_types.learn(leaf.first, texts).mismatch
            if row is not None and KINDS[leaf.first] is not Kind.STRING:
                self.remark(path, int(lines[row]), array[row].as_py(), leaf)
        leaf.reported = leaf.reported or KINDS[leaf.first] is Kind.STRING

    def _of_source(self, source: _Source, shape: Shape, lines: Lines, path: str) -> pa.Array:
        learned = source.learned
        if learned is not None and isinstance(shape, Leaf) and learned.state is shape.state:
            return learned.column
        return self._values(source.array, source.key_form, shape, lines, path)

    # --- values -----------------------------------------------------------------------------

    def _values(
        self, array: pa.Array, key_form: KeyForm, shape: Shape, lines: Lines, path: str
    ) -> pa.Array:
        """Convert parsed values to the type of a shape."""
        match shape:
            case _ if pa.types.is_null(array.type):
                return pa.nulls(len(array), arrow_schema.type_to_arrow(type_of(shape)))
            case ListShape(item) if pa.types.is_list(array.type):
                values, parents = _elements(array)
                inner = self._item(values, key_form.item or KeyForm(), item, lines[parents], path)
                return _lists(array.offsets, inner, array)
            case ListShape(item):
                # Some tools write a list of one element without brackets.
                inner = self._item(array.drop_null(), key_form, item, lines[_valid(array)], path)
                offsets = np.concatenate([[0], np.cumsum(_valid(array))]).astype(np.int32)
                return _lists(pa.array(offsets), inner, array)
            case Leaf(state):
                return _not_rounded(_of_state(array, state))
            case Fixed(type_):
                return self._fixed(array, type_, lines, path)
            case RecordShape():
                raise AssertionError("records are built from their members")

    def _item(
        self, values: pa.Array, key_form: KeyForm, item: Shape, lines: Lines, path: str
    ) -> pa.Array:
        if not isinstance(item, RecordShape):
            return self._values(values, key_form, item, lines, path)
        if not pa.types.is_struct(values.type):
            self._note_no_records(values, item, lines, path)
            return pa.nulls(len(values), arrow_schema.type_to_arrow(type_of(item)))
        columns = self.convert(_members(values), key_form.members, item, lines, path)
        return _records(columns, [values.is_valid()], len(values))

    def _fixed(self, array: pa.Array, type_: Type, lines: Lines, path: str) -> pa.Array:
        found = _not_rounded(_of_type(array, type_))
        rows = text_columns.lost_rows(array, found)
        if len(rows):
            self._note(array, rows, type_, lines, path)
        return found

    def _note(
        self,
        array: pa.Array,
        rows: npt.NDArray[np.int64],
        type_: Type,
        lines: Lines,
        path: str,
    ) -> None:
        def reason(i: int) -> str:
            value = array[int(rows[i])].as_py()
            try:
                inference.convert(value, type_)
            except ValueError as error:
                return f"{error}{BECAME_NULL}"
            return f"{inference.type_error(value, type_)}{BECAME_NULL}"

        self.mismatches.add_many(path, lines[rows].tolist(), reason)

    def _note_no_records(
        self, array: pa.Array, shape: RecordShape, lines: Lines, path: str
    ) -> None:
        rows = np.flatnonzero(_valid(array))
        if len(rows):
            self._note(array, rows, type_of(shape), lines, path)


# --- building records -----------------------------------------------------------------------


def _collect(
    columns: Mapping[str, pa.Array],
    key_forms: Mapping[str, KeyForm],
    record: RecordShape,
    prefix: str,
    found: _Found,
) -> None:
    """Assign columns to the fields to which they belong."""
    for key, array in columns.items():
        place = find(record, prefix, key)
        if place is None:
            continue  # only TYPE_KEY is not a field
        key_form = key_forms[key]
        for owner in place.through:
            found.records.setdefault(id(owner), []).append(array.is_valid())
        shape = place.record.fields[place.name]
        if key_form.form is Form.RECORD and not takes_records(shape):
            inner, beside = inside(place)
            if not beside:
                found.records.setdefault(id(inner), []).append(array.is_valid())
            _collect(_members(array), key_form.members, inner, beside, found)
        else:
            slot = found.values.setdefault((id(place.record), place.name), [])
            slot.append(_Source(array, key_form))


def _members(records: pa.Array) -> dict[str, pa.Array]:
    # In a null record, Arrow's parser sets the members to null.
    return {member.name: records.field(i) for i, member in enumerate(records.type)}


def _records(
    members: Mapping[str, pa.Array], valid: Sequence[pa.Array] | None, count: int
) -> pa.Array:
    """Build records; null if none of the keys belongs to one."""
    mask = _null_mask(valid, count)
    if not members:
        records = empty_records(count, pa.struct([]))
        return records if mask is None else pc.if_else(mask, None, records)
    return pa.StructArray.from_arrays([*members.values()], names=[*members], mask=mask)


def _null_mask(valid: Sequence[pa.Array] | None, count: int) -> pa.Array | None:
    if not valid:
        return pa.array(np.ones(count, bool))
    some = valid[0]
    for other in valid[1:]:
        some = pc.or_(some, other)
    return None if pc.all(some).as_py() in (True, None) else pc.invert(some)


def _elements(lists: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the values of lists, and the row of each."""
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    return lists.values, parents


def _lists(offsets: pa.Array, values: pa.Array, like: pa.Array) -> pa.Array:
    mask = like.is_null() if like.null_count else None
    type_ = pa.list_(pa.field("item", values.type))
    return pa.ListArray.from_arrays(offsets, values, type=type_, mask=mask)


def _valid(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | list | dict) else str(value)


# --- types ----------------------------------------------------------------------------------


def _of_state(array: pa.Array, state: Scalar) -> pa.Array:
    """Convert values of an undeclared field."""
    if pa.types.is_string(array.type):
        return text_types.convert(array, state)
    return array.cast(arrow_schema.type_to_arrow(Type(KINDS[state])))


def _not_rounded(array: pa.Array) -> pa.Array:
    """Refuse doubles that may be rounded whole numbers: only decoding can tell."""
    if pa.types.is_float64(array.type):
        bounds = pc.min_max(array).as_py()
        if (
            bounds["min"] is not None
            and max(-bounds["min"], bounds["max"]) >= text_columns.MAX_EXACT
        ):
            raise UnsupportedFormError
    return array


def _of_type(array: pa.Array, type_: Type) -> pa.Array:
    """Convert values to a declared type; null if one does not match."""
    kind, source = type_.kind, array.type
    if kind is Kind.ENUM:
        return enumerate_labels(array, type_)
    if pa.types.is_string(source):
        return text_columns.from_text(array, kind)
    if kind is Kind.STRING:
        return array.cast(pa.string())
    if pa.types.is_decimal(source):
        return _of_seconds(array, type_)
    target = arrow_schema.type_to_arrow(type_)
    if source == target:
        return array
    if kind is Kind.DOUBLE and not pa.types.is_boolean(source):
        return array.cast(target, safe=False)
    if kind in (Kind.INT64, Kind.UINT64) and not pa.types.is_boolean(source):
        return text_columns.whole_numbers(array, target)
    return pa.nulls(len(array), target)


def _of_seconds(seconds: pa.Array, type_: Type) -> pa.Array:
    """Convert decimals to times or durations."""
    if type_.kind is Kind.TIME and inference.is_event_time(type_):
        bound = pa.scalar(_MILLISECONDS_FROM, pa.decimal128(38, 24))
        large = pc.greater_equal(pc.abs(seconds), bound)
        if pc.any(large).as_py():
            thousandth = pa.scalar("0.001").cast(pa.decimal128(4, 3))
            scaled = pc.multiply(seconds.cast(pa.decimal128(33, 19)), thousandth)
            seconds = pc.if_else(large, scaled.cast(seconds.type), seconds)
    return text_columns.rounded(seconds, type_.kind)


def enumerate_labels(array: pa.Array, type_: Type) -> pa.Array:
    labels = pa.array([label for label, _ in type_.labels], pa.string())
    texts = array if pa.types.is_string(array.type) else pa.nulls(len(array), pa.string())
    keys = pc.index_in(texts, value_set=labels)
    encoded = pa.DictionaryArray.from_arrays(keys.cast(pa.uint8()), labels)
    target = arrow_types.EnumerationType(type_.labels)
    return pa.ExtensionArray.from_storage(target, encoded)
