"""Converts the text columns of a table to typed columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.readers import inference, json_documents, json_table, text_columns, text_types
from vastlab.readers.inference import Context
from vastlab.readers.json_columns import enumerate_labels
from vastlab.readers.json_table import build
from vastlab.readers.problems import Mismatches
from vastlab.readers.shapes import (
    MAX_FIELDS,
    Fixed,
    Leaf,
    ListShape,
    Observer,
    RecordShape,
    Shape,
    find,
    type_of,
)
from vastlab.readers.text_types import KINDS, NOT_FINITE, LineOf, Scalar, classify, convert, learn
from vastlab.readers.values import PLAIN_KINDS, type_error
from vastlab.types import Kind, Type

_JSON = r"^[\[{]"
_READ = (*PLAIN_KINDS, Kind.ENUM)


class ColumnConverter:
    """Converts the text columns of one schema; in vastlab's `own` files, "" is an empty text."""

    def __init__(self, schema: str, path: str, context: Context, *, own: bool) -> None:
        self._root = json_table.root(schema, context)
        self._observer = Observer(self._root, self._remark, infer=context.infer)
        self._schema = schema
        self._path = path
        self._context = context
        self._own = own

    def convert(
        self, texts: Mapping[str, pa.Array], line_of: LineOf
    ) -> tuple[dict[str, Type], dict[str, pa.Array]]:
        """Convert columns of text; returns the types and the values by dotted name."""
        mismatches = Mismatches(self._path, self._context.problems)
        types: dict[str, Type] = {}
        columns: dict[str, pa.Array] = {}
        for name, text in texts.items():
            usual = ".".join(self._root.aliases.get(name, (name,)))
            usual = name if usual in texts else usual
            found, column = self._column(usual, text, line_of, mismatches)
            for leaf, type_, array in _flattened(usual, found, column):
                types[leaf], columns[leaf] = type_, array
        mismatches.report()
        return types, columns

    def _column(
        self, name: str, texts: pa.Array, line_of: LineOf, mismatches: Mismatches
    ) -> tuple[Type, pa.Array]:
        shape = self._shape(name)
        match shape:
            case Fixed(type_) if type_.kind in _READ:
                return type_, _fixed(name, texts, type_, line_of, mismatches)
            case ListShape(Fixed(item), declared=True) if item.kind in _READ:
                return type_of(shape), _listed(name, texts, item, line_of, mismatches)
            case Leaf(state=Scalar.NULL) if not self._context.infer or _is_json(texts):
                pass
            case Leaf():
                return self._inferred(name, shape, texts, line_of)
            case RecordShape(declared=False) if not _is_json(texts):
                return self._inferred(name, self._beside(name), texts, line_of)
        if not self._context.infer and not isinstance(shape, ListShape | RecordShape):
            return Type(Kind.STRING), texts
        return self._decoded(name, texts, line_of, mismatches)

    def _shape(self, name: str) -> Shape:
        """Return the shape of a column; adds it if it is new."""
        if find(self._root, "", name) is None:
            if len(self._root.fields) < MAX_FIELDS:
                self._observer.observe({name: None})
            else:
                self._root.fields[name] = Leaf()
        place = find(self._root, "", name)
        if place is None:  # the record has too many fields
            return self._root.fields.setdefault(name, Leaf())
        return place.record.fields[place.name]

    def _beside(self, name: str) -> Leaf:
        """Use the name of a record for a column; the members become fields next to it."""
        self._observer.observe({name: True})
        place = find(self._root, "", name)
        if place is None or not isinstance(leaf := place.record.fields[place.name], Leaf):
            return Leaf(Scalar.TEXT)
        leaf.state = Scalar.NULL
        return leaf

    # --- inferred types ---------------------------------------------------------------------

    def _inferred(
        self, name: str, leaf: Leaf, texts: pa.Array, line_of: LineOf
    ) -> tuple[Type, pa.Array]:
        if leaf.state is Scalar.TEXT:
            return Type(Kind.STRING), texts
        filled = _without_empty(texts)
        if self._own and filled.null_count != texts.null_count:
            self._became_text(name, leaf, texts, pc.index(texts, "").as_py(), line_of)
            return Type(Kind.STRING), texts
        found = learn(leaf.state, filled, numbers=True)
        if found.mismatch is not None:
            self._became_text(name, leaf, filled, found.mismatch, line_of)
        only_words = self._own and found.state is Scalar.QUOTED_DOUBLE and _is_not_finite(filled)
        leaf.state = Scalar.DOUBLE if only_words else found.state
        leaf.first = leaf.state if leaf.first is Scalar.NULL else leaf.first
        leaf.reported = leaf.reported or leaf.state is Scalar.TEXT
        if KINDS[leaf.state] is Kind.STRING:
            return Type(Kind.STRING), texts
        column = convert(filled, Scalar.DOUBLE) if only_words else found.column
        return Type(KINDS[leaf.state]), column

    def _became_text(
        self, name: str, leaf: Leaf, texts: pa.Array, row: int, line_of: LineOf
    ) -> None:
        before = leaf.state
        if before is Scalar.NULL:
            before = classify(texts.drop_null()[0].as_py(), numbers=True)
        leaf.state = Scalar.TEXT
        if KINDS[before] is not Kind.STRING and not leaf.reported:
            reason = type_error(texts[row].as_py(), KINDS[before])
            place = f"{self._path}:{line_of(row)}"
            self._remark(name, f"{name} is text: {place}: {reason}")

    def _remark(self, field: str, sentence: str) -> None:
        self._context.inference.remark(self._schema, field, sentence)

    # --- JSON -------------------------------------------------------------------------------

    def _decoded(
        self, name: str, texts: pa.Array, line_of: LineOf, mismatches: Mismatches
    ) -> tuple[Type, pa.Array]:
        """Convert cells that contain JSON."""
        encoded = _without_empty(texts).dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        values = [_json(text) for text in distinct]
        for value in values:
            self._observer.observe({name: value})
        shape = self._shape(name)
        if isinstance(shape, Leaf):
            return Type(Kind.STRING), texts
        wrong: dict[int, str] = {}
        rows = []
        for key, value in enumerate(values):

            def report(_: str, reason: str, key: int = key) -> None:
                wrong.setdefault(key, reason)

            if isinstance(shape, RecordShape) and isinstance(value, dict):
                value = inference.arrange(value, shape, name, report)
            rows.append(inference.fit(value, shape, name, report))
        type_ = type_of(shape)
        if wrong:
            keys = encoded.indices.to_pylist()
            for row, key in enumerate(keys):
                if key in wrong:
                    mismatches.add(name, line_of(row), wrong[key])
        return type_, build(rows, type_).take(encoded.indices)


def _json(text: str | None) -> Any:
    if text is None or not text.startswith(("[", "{")):
        return text
    try:
        return json_documents.value(text)
    except ValueError:
        return text


def _is_json(texts: pa.Array) -> bool:
    first = pc.index(pc.is_valid(texts), True).as_py()
    if first < 0 or not texts[first].as_py().startswith(("[", "{")):
        return False
    return bool(pc.all(pc.match_substring_regex(texts, _JSON)).as_py())


def _is_not_finite(texts: pa.Array) -> bool:
    """Return whether all values are NaN or infinity, as vastlab writes them."""
    return bool(pc.all(pc.is_in(texts.drop_null(), pa.array(NOT_FINITE))).as_py())


def _flattened(name: str, type_: Type, column: pa.Array) -> Iterator[tuple[str, Type, pa.Array]]:
    """Yield the members of a record."""
    if type_.kind is not Kind.RECORD or not type_.fields:
        yield name, type_, column
        return
    for member, array in zip(type_.fields, column.flatten(), strict=True):
        yield from _flattened(f"{name}.{member.name}", member.type, array)


# --- declared types ---------------------------------------------------------------------------


def _fixed(
    name: str, texts: pa.Array, type_: Type, line_of: LineOf, mismatches: Mismatches
) -> pa.Array:
    if type_.kind is Kind.STRING:
        return texts
    texts = _without_empty(texts)
    column = _read(texts, type_)
    rows = text_columns.lost_rows(texts, column).tolist()
    text_types.report_lost(
        mismatches, name, type_.kind, rows, lambda row: texts[row].as_py(), line_of
    )
    return column


def _listed(
    name: str, texts: pa.Array, item: Type, line_of: LineOf, mismatches: Mismatches
) -> pa.Array:
    texts = _without_empty(texts)
    column, lost = text_types.convert_lists(texts, _elements, lambda part: _read(part, item))
    text_types.report_lost(mismatches, name, item.kind, [*lost], lost.__getitem__, line_of)
    return column


def _read(texts: pa.Array, type_: Type) -> pa.Array:
    if type_.kind is Kind.ENUM:
        return enumerate_labels(texts, type_)
    found = text_columns.from_text(texts, type_.kind)
    if type_.kind is Kind.BOOL and found.null_count != texts.null_count:
        return pc.coalesce(found, text_columns.booleans(texts))  # T and F, as Zeek writes them
    return found


def _elements(text: str) -> list[str | None]:
    """Split a list: JSON, or separated by semicolons as Tenzir writes it."""
    value = _json(text)
    if isinstance(value, list):
        return [e if e is None or isinstance(e, str) else json.dumps(e, default=str) for e in value]
    try:
        return [*next(csv.reader([text], delimiter=";"), [])]
    except csv.Error:
        return [text]


def _without_empty(texts: pa.Array) -> pa.Array:
    """Replace empty text by null."""
    empty = pc.equal(texts, "")
    return pc.if_else(empty, None, texts) if pc.any(empty).as_py() else texts
