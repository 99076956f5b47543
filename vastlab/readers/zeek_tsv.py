"""Reader of Zeek's TSV format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vastlab.readers import schemas, text_columns, text_types
from vastlab.readers.csv_records import MAX_COLUMNS, unique
from vastlab.readers.inference import Context
from vastlab.readers.parsing import parsed_ahead
from vastlab.readers.problems import Mismatches, Problems, wrong_width
from vastlab.readers.schemas import SHIPPED, Schemas
from vastlab.readers.source import Block, Source, blocks, encoding_error
from vastlab.types import Kind, Type

_KINDS = {
    "bool": Kind.BOOL,
    "int": Kind.INT64,
    "count": Kind.UINT64,
    "counter": Kind.UINT64,
    "port": Kind.UINT64,
    "double": Kind.DOUBLE,
    "time": Kind.TIME,
    "interval": Kind.DURATION,
    "addr": Kind.IP,
    "subnet": Kind.SUBNET,
    "string": Kind.STRING,
    "pattern": Kind.STRING,
    "enum": Kind.STRING,
    "file": Kind.STRING,
    "func": Kind.STRING,
    "any": Kind.STRING,
}
_CONTAINER = re.compile(r"(?:set|table|vector|list)\[([^\[\]]+)\]")
_SEPARATOR = re.compile(rb"#separator(?:[ \t](.*))?", re.DOTALL)
_NEWLINE = re.compile(rb"[\r\n]")
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")
_FORMAT = {
    "separator": b"\t",
    "set_separator": b",",
    "empty_field": b"(empty)",
    "unset_field": b"-",
}


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a log."""

    separator: bytes
    set_separator: str
    empty_field: str
    unset_field: str
    path: str | None  # the name of the log, such as ``conn``, if the header contains it
    types: dict[str, Type]  # the columns, in order


@dataclass(slots=True)
class HeaderParser:
    """Reads header lines one by one; `header` is ``None`` until the columns are known."""

    schemas: Schemas = SHIPPED
    header: Header | None = None
    _format: dict[str, bytes] = field(default_factory=lambda: dict(_FORMAT))
    _path: str | None = None
    _columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def feed(self, line: bytes) -> Iterator[str]:
        """Read one line that starts with ``#``; yields its problems."""
        name, values = self._split(line)
        match name:
            case "fields" | "types":
                if self._columns.keys() >= {"fields", "types"}:
                    self._columns.clear()
                self._columns[name] = tuple(_text(value) for value in values)
            case "path":
                self._path = _text(values[0]) or None if values else None
            case "separator":
                # A new log starts, perhaps in the same file.
                self._format, self._path = dict(_FORMAT), None
                self._columns.clear()
                yield from self._set(name, values)
            case _ if name in _FORMAT:
                yield from self._set(name, values)
            case "open" | "close" | "start" | "end":
                return
            case _:
                yield f"unknown header line #{name[:40]}"
                return
        yield from self._build(reported=name not in ("fields", "types"))

    def _split(self, line: bytes) -> tuple[str, tuple[bytes, ...]]:
        if found := _SEPARATOR.fullmatch(line):
            return "separator", (found.group(1),) if found.group(1) else ()
        name, *values = line[1:].split(self._format["separator"])
        return _text(name).strip(), tuple(values)

    def _set(self, name: str, values: tuple[bytes, ...]) -> Iterator[str]:
        value = _unescape(values[0]) if values else b""
        may_be_empty = bool(values) and name in ("empty_field", "unset_field")
        if (value or may_be_empty) and not _NEWLINE.search(value):
            self._format[name] = value
        else:
            yield f"#{name} has no value; {_text(_FORMAT[name])!r} is used"

    def _build(self, *, reported: bool) -> Iterator[str]:
        """Build the header when names and types are known, and again after changes."""
        self.header = None
        if not self._columns.keys() >= {"fields", "types"}:
            return
        fields, types = self._columns["fields"], self._columns["types"]
        if len(types) != len(fields):
            yield from [] if reported else [f"{len(types)} types for {len(fields)} fields"]
            return
        if len(fields) > MAX_COLUMNS:
            reason = f"{len(fields):,} fields; at most {MAX_COLUMNS:,} are allowed"
            yield from [] if reported else [reason]
            return
        names = list(unique(fields))
        if names != list(fields) and not reported:
            yield "field names that are empty or not unique; they were renamed"
        if types:
            declared = _leaves(self._path, self.schemas)
            typed = {
                name: _declared(name, _plain_type(name, text), declared)
                for name, text in zip(names, types, strict=True)
            }
            texts = {key: _text(value) for key, value in self._format.items()}
            separator = self._format["separator"]
            self.header = Header(
                separator,
                texts["set_separator"],
                texts["empty_field"],
                texts["unset_field"],
                self._path,
                typed,
            )


def _leaves(path: str | None, schemas: Schemas) -> dict[str, Type]:
    schema = schemas.find(f"zeek.{path}") if path else None
    return {leaf.name: leaf.type for leaf in schema.leaves} if schema else {}


def _declared(name: str, found: Type, declared: Mapping[str, Type]) -> Type:
    known = declared.get(name)
    return known if known is not None and _same(known, found) else found


def _plain_type(name: str, zeek_type: str) -> Type:
    if container := _CONTAINER.fullmatch(zeek_type):
        return Type(Kind.LIST, item=_plain_type("", container.group(1)))
    kind = _KINDS.get(zeek_type, Kind.STRING)
    alias = "port" if zeek_type == "port" else ""
    if kind is Kind.TIME and name == "ts":
        alias = "timestamp"
    return Type(kind, (alias,) if alias else ())


def _same(one: Type, other: Type) -> bool:
    if one.item and other.item:
        return _same(one.item, other.item)
    return one.kind is other.kind and one.names == other.names


def _unescape(value: bytes) -> bytes:
    return _HEX.sub(lambda match: bytes([int(match.group(1), 16)]), value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})|\\\\")
_TEXT = pa.string()
_PLAIN = re.compile(rb"[\t -!#-~]")  # separators that Arrow supports
_NO_HEADER = "no header with #fields and #types before this line"
_UNIT = b"\x1f"  # replaces separators that Arrow does not support
_CSV_TYPES = {
    Kind.BOOL: pa.bool_(),
    Kind.INT64: pa.int64(),
    Kind.UINT64: pa.uint64(),
    Kind.DOUBLE: pa.float64(),
    Kind.IP: pa.dictionary(pa.int32(), _TEXT),
}

# Types for which one bad value makes Arrow reject a whole block.
_STRICT = (pa.bool_(), pa.int64(), pa.uint64(), pa.float64())


_Parsed = tuple[bytes, list[pa.Array] | None]


def read(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read the logs of one file; each header starts a new one, and gives its default schema."""
    found = parsed_ahead(
        partial(_lines, source, context),
        parse=lambda lines: lines.log.parse(lines.block.data),
        size=lambda lines: len(lines.block.data),
        problems=context.problems,
    )
    for lines, parsed in found:
        yield from lines.log.batches(lines.block, parsed)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines with events under one header."""

    log: _Log
    block: Block


def _lines(source: Source, context: Context, problems: Problems) -> Iterator[_Lines]:
    parser = HeaderParser(context.schemas)
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
                    name = context.schema or f"zeek.{header.path or source.log}"
                    log = _Log(header, name, source, context.problems)
            elif log is not None:
                yield _Lines(log, part)
            else:
                _report_all(part, source.name, problems)


def _parts(block: Block) -> Iterator[Block]:
    """Split a block into single header lines and groups of data lines."""
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


def _report_all(part: Block, path: str, problems: Problems) -> None:
    for offset, text in enumerate(part.data.split(b"\n")):
        if text.strip():
            problems.add(path, part.line + offset, _NO_HEADER)


class _Log:
    """The lines under one header."""

    def __init__(self, header: Header, name: str, source: Source, problems: Problems) -> None:
        self.header = header
        self.schema = schemas.nested_schema(name, header.types)
        self._path = source.name
        self._encoding_error = encoding_error(source.encoding)
        self._problems = problems
        self._separator = header.separator
        if not _PLAIN.fullmatch(self._separator):
            self._separator = _UNIT
        # Positions are safe column names for Arrow.
        self._names = [str(i) for i in range(len(header.types))]
        self._csv_types = [_CSV_TYPES.get(type_.kind, _TEXT) for type_ in header.types.values()]

    def parse(self, lines: bytes) -> _Parsed:
        """Split lines into columns; None if a value or a line does not match the header."""
        data = _single_newlines(lines)
        if self._separator != self.header.separator:
            data = data.replace(_UNIT, b"\\x1f").replace(self.header.separator, _UNIT)
        if not data.strip(b"\n"):
            return data, []
        try:
            columns = self._parse(data, self._csv_types)
        except pa.ArrowInvalid:
            return data, None
        # The text of an infinite number may be 1e999, which is not a double.
        return data, None if any(map(_is_infinite, columns)) else columns

    def batches(self, part: Block, parsed: _Parsed) -> Iterator[pa.RecordBatch]:
        """Convert some lines, which were parsed."""
        data, columns = parsed
        if columns is None:
            data, columns = self._as_text(Block(data, part.line))
        if columns and len(columns[0]):
            yield self._convert(columns, Block(data, part.line))

    def _as_text(self, part: Block) -> tuple[bytes, list[pa.Array]]:
        """Parse lines with values or fields that do not match the header."""
        types = [_TEXT if type_ in _STRICT else type_ for type_ in self._csv_types]
        try:
            return part.data, self._parse(part.data, types)
        except pa.ArrowInvalid:
            data = self._valid_lines(part)
        if not data.strip(b"\n"):
            return data, [pa.array([], _TEXT) for _ in types]
        return data, self._parse(data, types)

    def _valid_lines(self, part: Block) -> bytes:
        """Report bad lines, and replace them by empty ones."""
        lines = part.data.split(b"\n")
        between = len(self._names) - 1
        for i, line in enumerate(lines):
            reason = None
            if line and line.count(self._separator) != between:
                fields = line.count(self._separator) + 1
                reason = wrong_width(fields, between + 1)
            elif not line.isascii() and not _is_text(line):
                reason = self._encoding_error
            if reason is not None:
                self._problems.add(self._path, part.line + i, reason)
                lines[i] = b""
        return b"\n".join(lines)

    def _parse(self, data: bytes, types: Sequence[pa.DataType]) -> list[pa.Array]:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=self._names
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self._separator.decode(), quote_char=False, escape_char=False
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict(zip(self._names, types, strict=True)),
                null_values=[self.header.unset_field],
                strings_can_be_null=True,
                true_values=["T"],
                false_values=["F"],
            ),
        )
        return [column.combine_chunks() for column in table.columns]

    # --- columns ----------------------------------------------------------------------------

    def _convert(self, columns: Sequence[pa.Array], part: Block) -> pa.RecordBatch:
        escaped = b"\\" in part.data
        arrays: dict[str, pa.Array] = {}
        mismatches = Mismatches(self._path, self._problems)
        lines = cache(partial(_line_numbers, part))
        for column, (name, type_) in zip(columns, self.header.types.items(), strict=True):
            if type_.kind is Kind.LIST:
                item = type_.item or Type(Kind.STRING)
                arrays[name], lost = self._list(column, item, escaped)
                text_of, kind, rows = lost.__getitem__, item.kind, [*lost]
            else:
                arrays[name] = self._values(column, type_.kind, escaped)
                text_of, kind = partial(_text_of, column), type_.kind
                rows = text_columns.lost_rows(column, arrays[name]).tolist()
            text_types.report_lost(mismatches, name, kind, rows, text_of, lambda row: lines()[row])
        mismatches.report()
        return schemas.nest(arrays, self.schema, len(columns[0]))

    def _values(self, column: pa.Array, kind: Kind, escaped: bool) -> pa.Array:
        match kind:
            case Kind.TIME | Kind.DURATION:
                return text_columns.seconds(column, kind)
            case Kind.IP:
                return text_columns.addresses(column)
            case Kind.STRING:
                return self._text(column, escaped)
            case Kind.BOOL if pa.types.is_string(column.type):
                return text_columns.booleans(column)
            case _ if pa.types.is_string(column.type):
                return text_columns.from_text(column, kind)
            case _:
                return column

    def _text(self, column: pa.Array, escaped: bool) -> pa.Array:
        empty = pc.equal(column, self.header.empty_field)
        if pc.any(empty).as_py():
            column = pc.if_else(empty, "", column)
        return unescape(column) if escaped else column

    def _list(self, column: pa.Array, item: Type, escaped: bool) -> tuple[pa.Array, dict[int, str]]:
        return text_types.convert_lists(
            column, self._elements, lambda texts: self._values(texts, item.kind, escaped)
        )

    def _elements(self, text: str) -> list[str | None]:
        if text == self.header.empty_field:
            return []
        unset = self.header.unset_field
        return [None if part == unset else part for part in text.split(self.header.set_separator)]


def _text_of(column: pa.Array, row: int) -> str:
    return str(column[row])


def _line_numbers(part: Block) -> list[int]:
    return [number for number, line in enumerate(part.data.split(b"\n"), part.line) if line]


def _is_infinite(column: pa.Array) -> bool:
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_inf(column)).as_py())


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _single_newlines(data: bytes) -> bytes:
    r"""End lines with ``\n`` only, and escape other carriage returns."""
    if b"\r" not in data:
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\\x0d")


def unescape(column: pa.Array) -> pa.Array:
    r"""Decode ``\xNN``; values that would not be UTF-8 are unchanged."""
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
