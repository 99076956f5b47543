"""Reader of CSV, TSV and other text tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vastlab.errors import FormatError
from vastlab.readers import (
    csv_records,
    inference,
    json_documents,
    json_table,
    schemas,
    text_columns,
    text_types,
)
from vastlab.readers.csv_records import (
    MAX_COLUMNS,
    OWN_COLUMN,
    Start,
    find_header,
    has_cr_line_ends,
    holds_values,
    split_line,
)
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
from vastlab.readers.source import Block, Source, blocks, encoding_error
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


_REFUSALS = (ValueError, pa.ArrowException)
_HEAD = 1 << 20

Rows = npt.NDArray[np.int64]


def read(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read a table; the first column or the file name gives the schema names."""
    start = _find_header(source)
    if start.names[:1] != [OWN_COLUMN] and holds_values(start.names):
        sentence = (
            f"the header ({source.name}:{start.end}) contains values: if it is an event, "
            "add a line with the column names before it"
        )
        context.inference.remark(context.schema or source.stem, "", sentence)
    table = _Table(source, context, start, start.names)
    lines = _after(blocks(source, context.problems), start.end)
    delimiter = start.delimiter.encode()
    for block in csv_records.complete_records(lines, delimiter, source.name, context.problems):
        for part in table.sections(block):
            yield from table.batches(part)


def _find_header(source: Source) -> Start:
    """Find the header in the first bytes; comments may precede it."""
    head = source.peek(_HEAD)
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    start = find_header(lines)
    if start is None:
        raise FormatError("no header line", path=source.name)
    try:
        start.header.encode()
    except UnicodeEncodeError:
        reason = f"no header line: {encoding_error(source.encoding)}"
        raise FormatError(reason, path=source.name, line=start.end) from None
    if has_cr_line_ends(start.header):
        hint = "convert the line ends, for example with: tr '\\r' '\\n'"
        raise FormatError("lines end with a carriage return only", path=source.name, hint=hint)
    return start


def _after(parts: Iterator[Block], count: int) -> Iterator[Block]:
    """Skip the first lines."""
    for block in parts:
        data, line = block.data, block.line
        while line <= count and data:
            _, _, data = data.partition(b"\n")
            line += 1
        if data:
            yield Block(data, line)


def _line_at(lines: Callable[[], list[int]], rows: Rows, row: int) -> int:
    return lines()[int(rows[row])]


class _Table:
    """The rows of one file."""

    def __init__(
        self, source: Source, context: Context, start: Start, names: Sequence[str]
    ) -> None:
        self._source = source
        self._context = context
        self._delimiter = start.delimiter
        self._comments = start.comments
        self._named: bool | None = True if names[:1] == [OWN_COLUMN] else None
        self._converters: dict[str, ColumnConverter] = {}
        self._use(names)

    def _use(self, names: Sequence[str]) -> None:
        if len(names) > MAX_COLUMNS:
            reason = f"the header has {len(names):,} columns; at most {MAX_COLUMNS:,} are allowed"
            raise FormatError(reason, path=self._source.name)
        self._header = list(names)
        self._names = list(csv_records.unique(names, exact=names[:1] == [OWN_COLUMN]))
        self._positions = [str(i) for i in range(len(names))]
        self._converters.clear()

    # --- sections ---------------------------------------------------------------------------

    def sections(self, block: Block) -> Iterator[Block]:
        """Remove comments, and split the block at new headers."""
        if self._named is None and self._header[0] == csv_records.VAST_COLUMN:
            first = block.data.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8", "replace")
            row = split_line(first, self._delimiter)
            self._named = csv_records.is_vast_csv(self._header, row)
        if not self._named:
            yield Block(csv_records.blank_lines(block.data, b"#", self._is_comment), block.line)
            return
        prefix = self._header[0].encode()
        done, line = 0, block.line
        for at, end in csv_records.records_with(block.data, prefix):
            if (
                split_line(block.data[at:end].decode("utf-8", "replace"), self._delimiter)[:1]
                != self._header[:1]
            ):
                continue
            yield Block(block.data[done:at], line)
            line += block.data.count(b"\n", done, end)
            done = end
            self._begin(block.data[at:end].decode("utf-8", "replace"))
        yield Block(block.data[done:], line)

    def _is_comment(self, line: bytes) -> bool:
        fields = split_line(line.decode("utf-8", "replace"), self._delimiter)
        return self._comments or len(fields) != len(self._names) or len(fields) == 1

    def _begin(self, header: str) -> None:
        names = split_line(header, self._delimiter)
        if names != self._header:
            self._use(names)

    # --- rows -------------------------------------------------------------------------------

    def batches(self, block: Block) -> Iterator[pa.RecordBatch]:
        """Convert rows; one batch for each schema."""
        if not block.data.strip(b"\r\n"):
            return
        columns, valid = self._columns(block)
        if not len(columns[0]):
            return
        lines = cache(partial(csv_records.record_lines, valid, self._delimiter))
        if not self._named:
            name = self._context.schema or self._source.stem
            yield self._batch(name, self._names, columns, lambda row: lines()[row])
            return
        names = pc.fill_null(columns[0], "").dictionary_encode()
        keys = names.indices.to_numpy()
        ends = np.cumsum(np.bincount(keys, minlength=len(names.dictionary)))
        rows_of = np.split(np.argsort(keys, kind="stable"), ends[:-1])
        for name, rows in zip(names.dictionary.to_pylist(), rows_of, strict=True):
            single = len(rows) == len(names)
            parts = columns if single else [column.take(rows) for column in columns]
            name = self._context.schema or name or self._source.stem
            yield self._batch(name, self._names, parts, partial(_line_at, lines, rows))

    def _batch(
        self, name: str, names: Sequence[str], texts: Sequence[pa.Array], line_of: LineOf
    ) -> pa.RecordBatch:
        if name not in self._converters:
            self._converters[name] = ColumnConverter(
                name, self._source.name, self._context, own=self._header[0] == OWN_COLUMN
            )
        cells = self._converters[name]
        skipped = 1 if self._named else 0
        columns = dict(zip(names[skipped:], texts[skipped:], strict=True))
        types, arrays = cells.convert(columns, line_of)
        schema = schemas.nested_schema(name, types)
        self._context.inference.check_types(schema)
        return schemas.nest(arrays, schema, len(texts[0]))

    def _columns(self, block: Block) -> tuple[list[pa.Array], Block]:
        """Split rows into columns of text; bad rows are reported and left out."""
        delimiter = self._delimiter.encode()
        if not csv_records.has_misplaced_quotes(block.data, delimiter):
            try:
                return self._parse(block.data), block
            except _REFUSALS:
                pass
        valid = csv_records.valid_records(
            block,
            self._delimiter,
            len(self._names),
            encoding_error(self._source.encoding),
            partial(self._context.problems.add, self._source.name),
        )
        return self._parse(valid.data), valid

    def _parse(self, data: bytes) -> list[pa.Array]:
        if not data.strip(b"\r\n"):
            return [pa.array([], pa.string())] * len(self._names)
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=self._positions
            ),
            pyarrow.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self._positions, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        return [column.combine_chunks() for column in table.columns]
