"""Reader of CSV, TSV and other text tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vastlab.errors import FormatError
from vastlab.readers import csv_records, schemas
from vastlab.readers.csv_columns import ColumnConverter
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
from vastlab.readers.parsing import parsed_ahead
from vastlab.readers.problems import Problems
from vastlab.readers.source import Block, Source, blocks, encoding_error
from vastlab.readers.text_types import LineOf

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
    found = parsed_ahead(
        partial(_parts, source, start, table),
        parse=lambda part: part.header.parse(part.block.data),
        size=lambda part: len(part.block.data),
        problems=context.problems,
    )
    for part, columns in found:
        yield from table.batches(part, columns)


def _parts(source: Source, start: Start, table: _Table, problems: Problems) -> Iterator[_Part]:
    lines = _after(blocks(source, problems), start.end)
    delimiter = start.delimiter.encode()
    for block in csv_records.complete_records(lines, delimiter, source.name, problems):
        yield from table.sections(block)


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


class _Header:
    """The columns of a table, which another header can replace."""

    def __init__(self, names: Sequence[str], delimiter: str) -> None:
        self.own = names[:1] == [OWN_COLUMN]
        self.names = list(csv_records.unique(names, exact=self.own))
        self._delimiter = delimiter
        self._positions = [str(i) for i in range(len(names))]

    def parse(self, data: bytes) -> list[pa.Array] | None:
        """Split rows into columns of text; None if that must be done row by row."""
        if csv_records.has_misplaced_quotes(data, self._delimiter.encode()):
            return None
        try:
            return self.split(data)
        except _REFUSALS:
            return None

    def split(self, data: bytes) -> list[pa.Array]:
        """Split rows into columns of text; raises one of `_REFUSALS`."""
        if not data.strip(b"\r\n"):
            return [pa.array([], pa.string())] * len(self.names)
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


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows under one header."""

    header: _Header
    block: Block


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
        self._texts = list(names)  # of the header
        self._header = _Header(names, self._delimiter)

    # --- sections ---------------------------------------------------------------------------

    def sections(self, block: Block) -> Iterator[_Part]:
        """Remove comments, and split the block at new headers."""
        if self._named is None and self._texts[0] == csv_records.VAST_COLUMN:
            first = block.data.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8", "replace")
            row = split_line(first, self._delimiter)
            self._named = csv_records.is_vast_csv(self._texts, row)
        if not self._named:
            data = csv_records.blank_lines(block.data, b"#", self._is_comment)
            yield _Part(self._header, Block(data, block.line))
            return
        prefix = self._texts[0].encode()
        done, line = 0, block.line
        for at, end in csv_records.records_with(block.data, prefix):
            if (
                split_line(block.data[at:end].decode("utf-8", "replace"), self._delimiter)[:1]
                != self._texts[:1]
            ):
                continue
            yield _Part(self._header, Block(block.data[done:at], line))
            line += block.data.count(b"\n", done, end)
            done = end
            self._begin(block.data[at:end].decode("utf-8", "replace"))
        yield _Part(self._header, Block(block.data[done:], line))

    def _is_comment(self, line: bytes) -> bool:
        fields = split_line(line.decode("utf-8", "replace"), self._delimiter)
        return self._comments or len(fields) != len(self._texts) or len(fields) == 1

    def _begin(self, header: str) -> None:
        names = split_line(header, self._delimiter)
        if names != self._texts:
            self._use(names)

    # --- rows -------------------------------------------------------------------------------

    def batches(self, part: _Part, columns: list[pa.Array] | None) -> Iterator[pa.RecordBatch]:
        """Convert rows, which were parsed; one batch for each schema."""
        header, valid = part.header, part.block
        if columns is None:
            valid = self._valid(part)
            columns = header.split(valid.data)
        if not len(columns[0]):
            return
        lines = cache(partial(csv_records.record_lines, valid, self._delimiter))
        if not self._named:
            name = self._context.schema or self._source.stem
            yield self._batch(name, header, columns, lambda row: lines()[row])
            return
        names = pc.fill_null(columns[0], "").dictionary_encode()
        keys = names.indices.to_numpy()
        ends = np.cumsum(np.bincount(keys, minlength=len(names.dictionary)))
        rows_of = np.split(np.argsort(keys, kind="stable"), ends[:-1])
        for name, rows in zip(names.dictionary.to_pylist(), rows_of, strict=True):
            single = len(rows) == len(names)
            parts = columns if single else [column.take(rows) for column in columns]
            name = self._context.schema or name or self._source.stem
            yield self._batch(name, header, parts, partial(_line_at, lines, rows))

    def _batch(
        self, name: str, header: _Header, texts: Sequence[pa.Array], line_of: LineOf
    ) -> pa.RecordBatch:
        if name not in self._converters:
            self._converters[name] = ColumnConverter(
                name, self._source.name, self._context, own=header.own
            )
        cells = self._converters[name]
        skipped = 1 if self._named else 0
        columns = dict(zip(header.names[skipped:], texts[skipped:], strict=True))
        types, arrays = cells.convert(columns, line_of)
        schema = schemas.nested_schema(name, types)
        self._context.inference.check_types(schema)
        return schemas.nest(arrays, schema, len(texts[0]))

    def _valid(self, part: _Part) -> Block:
        """Report bad rows, and leave them out."""
        return csv_records.valid_records(
            part.block,
            self._delimiter,
            len(part.header.names),
            encoding_error(self._source.encoding),
            partial(self._context.problems.add, self._source.name),
        )
