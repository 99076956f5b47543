"""Zeek's own format: lines of fields between tabs, typed by a header.

A block of lines is parsed by Arrow in one go. When Arrow refuses it, the lines that no value
of their column's type can be read from are reported and left out, and the rest is tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vastlab.store.readers import _nested, _values
from vastlab.store.readers._lines import Block, blocks
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source
from vastlab.store.readers._zeek_header import Header, HeaderParser
from vastlab.types import Kind, Type

_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})|\\\\")
_TEXT = pa.string()
_SMALL = 1 << 19
_PIECES = 16
_CSV_TYPES = {
    Kind.BOOL: pa.bool_(),
    Kind.INT64: pa.int64(),
    Kind.UINT64: pa.uint64(),
    Kind.DOUBLE: pa.float64(),
    Kind.TIME: pa.decimal128(19, 9),
    Kind.DURATION: pa.decimal128(19, 9),
    Kind.IP: pa.dictionary(pa.int32(), _TEXT),
}


def read(source: Source, problems: Problems, schema: str | None = None) -> Iterator[pa.RecordBatch]:
    """Read the logs of one file; each header starts a new one, and names the schema if need be."""
    parser = HeaderParser()
    log: _Log | None = None
    for block in blocks(source, problems):
        for part in _parts(block):
            if part.data.startswith(b"#"):
                for reason in parser.feed(part.data.rstrip(b"\r\n")):
                    problems.add(source.name, part.line, reason)
                header = parser.header
                if header is None:
                    log = None
                elif log is None or log.header is not header:
                    name = schema or f"zeek.{header.path or source.stem}"
                    log = _Log(header, name, source.name, problems)
            elif log is not None:
                yield from log.batches(part)
            else:
                _report_all(part, source.name, problems)


def _parts(block: Block) -> Iterator[Block]:
    """Cut a block into single header lines and the runs of data lines between them."""
    data, line, start = block.data, block.line, 0
    if b"#" not in data:
        yield block
        return
    while start < len(data):
        header = data.startswith(b"#", start)
        end = data.find(b"\n" if header else b"\n#", start) + 1 or len(data)
        part = data[start:end] if end - start < len(data) else data
        yield Block(part, line)
        line += part.count(b"\n") if end < len(data) else 0
        start = end


def _pieces(part: Block) -> Iterator[Block]:
    """Cut a block into some smaller ones."""
    data, line, start = part.data, part.line, 0
    step = len(data) // _PIECES + 1
    while start < len(data):
        end = data.find(b"\n", start + step) + 1 or len(data)
        piece = data[start:end]
        yield Block(piece, line)
        line += piece.count(b"\n")
        start = end


def _report_all(part: Block, path: str, problems: Problems) -> None:
    for offset, text in enumerate(part.data.split(b"\n")):
        if text.strip():
            problems.add(path, part.line + offset, "no usable header stands before this line")


class _Log:
    """The lines under one header."""

    def __init__(self, header: Header, name: str, path: str, problems: Problems) -> None:
        self.header = header
        self.schema = _nested.nested_schema(name, header.types)
        self._path = path
        self._problems = problems
        self._separator = header.separator.encode()
        # Positions, not names: Arrow need not care what they look like.
        self._names = [str(i) for i in range(len(header.types))]
        types = zip(self._names, header.types.values(), strict=True)
        self._csv_types = {name: _CSV_TYPES.get(type_.kind, _TEXT) for name, type_ in types}

    def batches(self, part: Block) -> Iterator[pa.RecordBatch]:
        """Convert some lines; where Arrow refuses them, smaller and smaller parts of them."""
        yield from self._try(Block(_single_newlines(part.data), part.line))

    def _try(self, part: Block) -> Iterator[pa.RecordBatch]:
        try:
            batch = self._convert(part.data)
        except ValueError:
            if len(part.data) > _SMALL:
                for piece in _pieces(part):
                    yield from self._try(piece)
            else:
                yield from self._rescue(part)
        else:
            yield batch

    def _convert(self, data: bytes) -> pa.RecordBatch:
        columns = self._parse(data)
        escaped = b"\\" in data
        types = self.header.types
        arrays = {
            name: self._finish(column, type_, escaped)
            for column, (name, type_) in zip(columns, types.items(), strict=True)
        }
        return _nested.nest(arrays, self.schema, len(columns[0]))

    def _parse(self, data: bytes) -> list[pa.Array]:
        if not data.lstrip(b"\n"):
            return [pa.array([], type_) for type_ in self._csv_types.values()]
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=self._names
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self.header.separator, quote_char=False, escape_char=False
            ),
            pyarrow.csv.ConvertOptions(
                column_types=self._csv_types,
                null_values=[self.header.unset_field],
                strings_can_be_null=True,
                true_values=["T"],
                false_values=["F"],
            ),
        )
        return [column.combine_chunks() for column in table.columns]

    def _finish(self, column: pa.Array, type_: Type, escaped: bool) -> pa.Array:
        match type_.kind:
            case Kind.TIME | Kind.DURATION:
                return _values.from_decimal(column, type_.kind)
            case Kind.IP:
                return _values.addresses(column)
            case Kind.SUBNET:
                return _values.subnets(column)
            case Kind.STRING:
                return self._text(column, escaped)
            case Kind.LIST:
                return self._list(column, type_.item or Type(Kind.STRING), escaped)
            case _:
                return column

    def _text(self, column: pa.Array, escaped: bool) -> pa.Array:
        empty = pc.equal(column, self.header.empty_field)
        if pc.any(empty).as_py():
            column = pc.if_else(empty, "", column)
        return unescape(column) if escaped else column

    def _list(self, column: pa.Array, item: Type, escaped: bool) -> pa.Array:
        """Split the distinct values, convert all their elements at once, and spread them."""
        encoded = column.dictionary_encode()
        rows = [self._elements(text) for text in encoded.dictionary.to_pylist()]
        lists = pa.array(rows, pa.list_(_TEXT))
        if item.kind is Kind.STRING:
            values = self._text(lists.values, escaped)
        else:
            values = _values.from_text(lists.values, item.kind)
        return pa.ListArray.from_arrays(lists.offsets, values).take(encoded.indices)

    def _elements(self, text: str) -> list[str | None]:
        if text == self.header.empty_field:
            return []
        unset = self.header.unset_field
        return [None if part == unset else part for part in text.split(self.header.set_separator)]

    # --- lines that cannot be read ----------------------------------------------------------

    def _rescue(self, part: Block) -> Iterator[pa.RecordBatch]:
        """Report the lines that cannot be read; convert the others."""
        good = list(self._good_lines(part))
        yield from self._halve(good)

    def _good_lines(self, part: Block) -> Iterator[tuple[int, bytes]]:
        numbered = enumerate(part.data.split(b"\n"), part.line)
        rows = [(number, line, line.split(self._separator)) for number, line in numbered if line]
        width = len(self._names)
        whole = [row for row in rows if len(row[2]) == width]
        wrong: dict[int, str] = {
            number: f"{len(fields)} fields instead of {width}"
            for number, _, fields in rows
            if len(fields) != width
        }
        columns = zip(*(fields for _, _, fields in whole), strict=True)
        for column, (name, type_) in zip(columns, self.header.types.items(), strict=False):
            reasons = {} if self._fits(column, type_) else self._unreadable(set(column), type_)
            for (number, _, _), text in zip(whole, column, strict=True):
                if text in reasons:
                    wrong.setdefault(number, f"{name}: {reasons[text]}")
        for number, reason in sorted(wrong.items()):
            self._problems.add(self._path, number, reason)
        yield from ((number, line) for number, line, _ in whole if number not in wrong)

    def _fits(self, column: Sequence[bytes], type_: Type) -> bool:
        """Try a whole column at once: most are sound, whatever made Arrow refuse the block."""
        try:
            texts = pa.array(column, pa.binary()).cast(_TEXT)
            texts = pc.if_else(pc.equal(texts, self.header.unset_field), None, texts)
            if type_.kind is Kind.LIST:
                self._list(texts, type_.item or Type(Kind.STRING), escaped=False)
            else:
                _values.from_text(texts, type_.kind)
        except ValueError:
            return False
        return True

    def _unreadable(self, texts: set[bytes], type_: Type) -> dict[bytes, str]:
        reasons = {}
        for text in texts:
            try:
                self._check(text.decode(), type_)
            except UnicodeDecodeError:
                reasons[text] = "the text is no UTF-8"
            except ValueError as error:
                reasons[text] = str(error)
        return reasons

    def _check(self, text: str, type_: Type) -> None:
        if text == self.header.unset_field:
            return
        match type_.kind:
            case Kind.LIST if text != self.header.empty_field:
                for part in text.split(self.header.set_separator):
                    self._check(part, type_.item or Type(Kind.STRING))
            case Kind.BOOL if text not in ("T", "F"):
                raise ValueError(f"{text!r} is neither T nor F")
            case Kind.INT64 | Kind.UINT64:
                _values.integer(text, type_.kind)
            case Kind.DOUBLE:
                _values.double(text)
            case Kind.TIME | Kind.DURATION:
                _values.nanoseconds(text)
            case Kind.IP:
                _values.address(text)
            case Kind.SUBNET:
                _values.subnet(text)
            case _:
                pass

    def _halve(self, lines: list[tuple[int, bytes]]) -> Iterator[pa.RecordBatch]:
        """Convert lines; whatever Arrow refuses all the same is found by halving."""
        if not lines:
            return
        try:
            batch = self._convert(b"\n".join(line for _, line in lines) + b"\n")
        except ValueError as error:
            if len(lines) == 1:
                self._problems.add(self._path, lines[0][0], str(error).split("\n", 1)[0])
                return
            middle = len(lines) // 2
            yield from self._halve(lines[:middle])
            yield from self._halve(lines[middle:])
        else:
            yield batch


def _single_newlines(data: bytes) -> bytes:
    r"""End lines with ``\n`` alone, and keep other carriage returns from ending one."""
    if b"\r" not in data:
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\\x0d")


def unescape(column: pa.Array) -> pa.Array:
    r"""Resolve ``\xNN``; what would be no UTF-8 stays as it is written."""
    mask = pc.fill_null(pc.match_substring(column, "\\"), False)
    texts = column.filter(mask).to_pylist()
    if not texts:
        return column
    return pc.replace_with_mask(column, mask, pa.array([_unescaped(t) for t in texts], _TEXT))


def _unescaped(text: str) -> str:
    data = _ESCAPE.sub(
        lambda match: bytes([int(match.group(1), 16)]) if match.group(1) else b"\\", text.encode()
    )
    try:
        return data.decode()
    except UnicodeDecodeError:
        return text
