"""CSV with a header line; the delimiter is told by that line.

Empty fields are null. Columns of numbers and of ``true``/``false`` are typed, all others are
text, unless the schema is one that vastlab ships.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vastlab.errors import FormatError
from vastlab.store.readers import _nested, _schemas, _values
from vastlab.store.readers._json_events import assemble_plain
from vastlab.store.readers._lines import LONGEST_LINE, Block, blocks
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._shapes import KINDS, Scalar, join
from vastlab.store.readers._source import Source
from vastlab.types import Kind, Type

DELIMITERS = ",\t;|"
_INTEGER = r"^-?(0|[1-9][0-9]*)$"  # a leading zero is part of an identifier, not of a number
_DOUBLE = r"^-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?$"
_BOOL = "^(true|false)$"
_REFUSALS = (ValueError, pa.ArrowException)


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read a CSV file, of which each column becomes one.

    The schema is named after the file where no name is given; one that vastlab ships a schema
    for brings that schema's types.
    """
    name = schema or source.stem
    table: _Table | None = None
    for block in _records(source, problems):
        if table is None:
            table, block = _start(block, source, name, problems)
        if (batch := table.batch(block)) is not None:
            yield batch


def delimiter_of(line: str) -> str:
    """Return the delimiter that occurs most often in a header line."""
    return max(DELIMITERS, key=line.count)


def _records(source: Source, problems: Problems) -> Iterator[Block]:
    """Cut a source where no quoted field is open."""
    data, line = b"", 1
    for block in blocks(source, problems):
        line = line if data else block.line
        data += block.data
        if data.count(b'"') % 2 == 0 or len(data) > LONGEST_LINE:
            yield Block(data, line)
            data = b""
    if data:
        yield Block(data, line)


def _start(block: Block, source: Source, name: str, problems: Problems) -> tuple[_Table, Block]:
    data = block.data.lstrip(b"\r\n")
    line = block.line + block.data.count(b"\n") - data.count(b"\n")
    head, _, rest = data.partition(b"\n")
    try:
        text = head.decode().strip("\r")
        delimiter = delimiter_of(text)
        names = _unique(next(csv.reader([text], delimiter=delimiter), []))
    except (UnicodeDecodeError, csv.Error) as error:
        reason = f"no header line: {error}"
        raise FormatError(reason, path=source.name, line=line) from error
    if not names:
        raise FormatError("no header line", path=source.name, line=line)
    return _Table(names, delimiter, name, source.name, problems), Block(rest, line + 1)


def _unique(names: Sequence[str]) -> list[str]:
    """Give columns without a name, or with one that is taken, a name of their own."""
    found: dict[str, None] = {}
    for i, raw in enumerate(names, 1):
        name = raw.strip() or f"column_{i}"
        while name in found:
            name += f"_{i}"
        found[name] = None
    return list(found)


class _Table:
    """The rows of one file."""

    def __init__(
        self, names: list[str], delimiter: str, name: str, path: str, problems: Problems
    ) -> None:
        declared = _schemas.find(name)
        leaves = {
            leaf.name: leaf.type
            for leaf in (declared.leaves if declared else ())
            if leaf.type.kind in _values.PLAIN_KINDS
        }
        self._declared: dict[str, Type] = {n: leaves[n] for n in names if n in leaves}
        self._seen: dict[str, Scalar] = {n: Scalar.NULL for n in names if n not in leaves}
        self._nested = declared is not None
        self._names = names
        self._delimiter = delimiter
        self._name = name
        self._path = path
        self._problems = problems

    def batch(self, block: Block) -> pa.RecordBatch | None:
        """Convert some rows: with Arrow's parser, or one by one where it refuses."""
        if not block.data.strip():
            return None
        open_quote = block.data.count(b'"') % 2 == 1
        try:
            if not open_quote:
                return self._convert(self._parse(block.data))
        except _REFUSALS:
            pass
        rows = list(self._good_rows(block, line_by_line=open_quote))
        if not rows:
            return None
        texts = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        return self._convert(texts)

    def _parse(self, data: bytes) -> list[pa.Array]:
        positions = [str(i) for i in range(len(self._names))]
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=positions
            ),
            pyarrow.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(positions, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        return [column.combine_chunks() for column in table.columns]

    def _convert(self, texts: Sequence[pa.Array]) -> pa.RecordBatch:
        columns, types = {}, {}
        for name, column in zip(self._names, texts, strict=True):
            types[name] = self._type(name, column)
            columns[name] = self._typed(column, types[name])
        return self._assemble(columns, types, len(texts[0]))

    def _assemble(
        self, columns: Mapping[str, pa.Array], types: Mapping[str, Type], count: int
    ) -> pa.RecordBatch:
        if self._nested:
            return _nested.nest(columns, _nested.nested_schema(self._name, types), count)
        return assemble_plain(self._name)(columns, types, count)

    def _type(self, name: str, column: pa.Array) -> Type:
        if name in self._declared:
            return self._declared[name]
        self._seen[name] = join(self._seen[name], _observe(column))
        return Type(KINDS[self._seen[name]])

    def _typed(self, column: pa.Array, type_: Type) -> pa.Array:
        match type_.kind:
            case Kind.NULL:
                return pa.nulls(len(column))
            case Kind.BOOL:
                return _values.booleans(pc.utf8_lower(column), "true", "false")
            case Kind.TIME:
                return _times(column)
            case kind:
                return _values.from_text(column, kind)

    def _good_rows(self, block: Block, *, line_by_line: bool) -> Iterator[list[str | None]]:
        """Read row by row; reports those that cannot be read."""
        width = len(self._names)
        rows = self._lines(block) if line_by_line else self._rows(block)
        for line, fields in rows:
            try:
                if isinstance(fields, str):
                    raise ValueError(fields)
                if len(fields) != width:
                    raise ValueError(f"{len(fields)} fields instead of {width}")
                row = [text or None for text in fields]
                self._check(row)
            except ValueError as error:
                self._problems.add(self._path, line, str(error))
            else:
                yield row

    def _rows(self, block: Block) -> Iterator[tuple[int, list[str] | str]]:
        """Yield each row with its first line; instead of a row that is none, why not."""
        text = io.StringIO(block.data.decode("utf-8", "surrogateescape"), newline="")
        reader = csv.reader(text, delimiter=self._delimiter, strict=True)
        while True:
            line = block.line + reader.line_num
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, f"no CSV: {error}"
                continue
            if fields:
                yield line, fields

    def _lines(self, block: Block) -> Iterator[tuple[int, list[str] | str]]:
        """Read as `_rows`, but end each row with its line: some quote before never ends."""
        for line, data in enumerate(block.data.split(b"\n"), block.line):
            for _, fields in self._rows(Block(data, line)):
                yield line, fields

    def _check(self, row: Sequence[str | None]) -> None:
        for name, text in zip(self._names, row, strict=True):
            if text is None:
                continue
            if not text.isascii():
                _check_utf8(text)
            if name in self._declared:
                try:
                    self._typed(pa.array([text]), self._declared[name])
                except _REFUSALS:
                    kind = self._declared[name]
                    raise ValueError(f"{name}: {text!r} is no {kind}") from None


def _check_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is no UTF-8") from None


def _observe(column: pa.Array) -> Scalar:
    """Find what all texts of a column can be read as."""
    if column.null_count == len(column):
        return Scalar.NULL
    if _all_match(column, _BOOL, ignore_case=True):
        return Scalar.BOOL
    if _all_match(column, _INTEGER):
        return _integers(column)
    return Scalar.DOUBLE if _all_match(column, _DOUBLE) else Scalar.TEXT


def _integers(column: pa.Array) -> Scalar:
    for type_, scalar in ((pa.int64(), Scalar.INT64), (pa.uint64(), Scalar.UINT64)):
        try:
            numbers = column.cast(type_)
        except pa.ArrowInvalid:
            continue
        negative = scalar is Scalar.INT64 and pc.min(numbers).as_py() < 0
        return scalar if negative or scalar is Scalar.UINT64 else Scalar.NATURAL
    return Scalar.TEXT


def _all_match(column: pa.Array, pattern: str, *, ignore_case: bool = False) -> bool:
    matches = pc.match_substring_regex(column, pattern, ignore_case=ignore_case)
    return bool(pc.all(matches).as_py())


def _times(column: pa.Array) -> pa.Array:
    encoded = column.dictionary_encode()
    numbers = [None if t is None else _time(t) for t in encoded.dictionary.to_pylist()]
    return pa.array(numbers, pa.timestamp("ns")).take(encoded.indices)


def _time(text: str) -> int:
    try:
        return _values.iso_time(text)
    except ValueError:
        return _values.nanoseconds(text)
