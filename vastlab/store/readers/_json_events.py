"""Blocks of JSON lines into batches, each line under the schema that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.json

from vastlab.arrow import arrays as arrow_arrays
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.store.readers import _json_text
from vastlab.store.readers._json_documents import Documents, spans_lines
from vastlab.store.readers._json_table import REFUSALS, Assemble, JSONTable
from vastlab.store.readers._lines import blocks
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source
from vastlab.types import Field, Schema, Type

_BLANKS = b" \t\r"
_HEAD = 1 << 16
_FEW = 500
_PIECES = 8
_Numbered = tuple[list[int], list[bytes]]


@dataclass(slots=True)
class _Group:
    """Lines of one schema: as text, and decoded where that had to be done anyway."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


class EventReader:
    """Reads a file of JSON lines.

    Parameters
    ----------
    source
        The file.
    problems
        Where lines are reported that cannot be read.
    key
        The field that tells the event type; ``None`` where all lines are of one.
    name
        Turns that field's text (``None`` without it) into a schema name, or raises ValueError
        with a reason.
    declared
        The fields and types of a schema name.
    assemble
        Makes a batch of a schema name, columns and their types.
    """

    def __init__(
        self,
        source: Source,
        problems: Problems,
        *,
        key: str | None,
        name: Callable[[str | None], str],
        declared: Callable[[str], Mapping[str, Type]],
        assemble: Callable[[str], Assemble],
    ) -> None:
        self._source = source
        self._problems = problems
        self._key = key
        self._name = name
        self._declared = declared
        self._assemble = assemble
        self._tables: dict[str, JSONTable] = {}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the file."""
        lines = self._documents() if spans_lines(self._source.peek(_HEAD)) else self._lines()
        for numbers, texts in lines:
            if texts:
                yield from self._block(texts, numbers)

    def _lines(self) -> Iterator[_Numbered]:
        for block in blocks(self._source, self._problems):
            split = [line.strip(_BLANKS) for line in block.data.split(b"\n")]
            numbers = [number for number, line in enumerate(split, block.line) if line]
            yield numbers, [line for line in split if line]

    def _documents(self) -> Iterator[_Numbered]:
        documents = Documents(self._source.name, self._problems)
        for block in blocks(self._source, self._problems):
            found = list(documents.feed(block))
            yield [number for number, _ in found], [text for _, text in found]
        documents.close()

    def _block(self, lines: list[bytes], numbers: list[int]) -> Iterator[pa.RecordBatch]:
        deep = any(map(_json_text.is_deep, lines))
        groups = None if deep else self._groups(lines, numbers)
        if groups is not None:
            for name, group in groups.items():
                yield from self._convert(name, group)
        elif len(lines) > _FEW:
            for piece in _pieces(lines, numbers):
                yield from self._block(*piece)
        else:
            for name, group in self._decoded_groups(lines, numbers).items():
                yield from self._convert(name, group)

    def _convert(self, name: str, group: _Group) -> Iterator[pa.RecordBatch]:
        """Convert lines of one schema; where Arrow refuses them, smaller parts of them."""
        if name not in self._tables:
            self._tables[name] = JSONTable(
                self._declared(name), self._source.name, self._problems, self._assemble(name)
            )
        table = self._tables[name]
        batch = table.fast(group.lines) if group.lines else None
        if batch is None and len(group.lines) > _FEW and not group.events:
            for lines, numbers in _pieces(group.lines, group.numbers):
                yield from self._convert(name, _Group(lines, numbers))
            return
        if batch is None:
            batch = self._decode_and_convert(table, group)
        if batch is not None:
            yield batch

    def _decode_and_convert(self, table: JSONTable, group: _Group) -> pa.RecordBatch | None:
        if group.events:
            return table.slow(group.events)
        events = list(self._decode(group.lines, group.numbers))
        readable = {number for number, _ in events}
        pairs = zip(group.lines, group.numbers, strict=True)
        lines = [line for line, number in pairs if number in readable]
        # Without the bad lines Arrow may take the rest.
        batch = table.fast(lines) if len(lines) == len(events) < len(group.lines) else None
        return table.slow(events) if batch is None else batch

    def _decode(
        self, lines: Sequence[bytes], numbers: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        return _json_text.decode_lines(lines, numbers, self._source.name, self._problems)

    def _groups(self, lines: list[bytes], numbers: list[int]) -> dict[str, _Group] | None:
        """Sort lines by schema without decoding them; ``None`` where that fails."""
        if self._key is None:
            return {self._name(None): _Group(lines, numbers)}
        values = _column(lines, self._key)
        if values is None:
            return None
        groups: dict[str, _Group] = {}
        names: dict[str | None, str] = {}
        for line, number, value in zip(lines, numbers, values, strict=True):
            if value not in names:
                try:
                    names[value] = self._name(value)
                except ValueError:
                    return None
            group = groups.setdefault(names[value], _Group())
            group.lines.append(line)
            group.numbers.append(number)
        return groups

    def _decoded_groups(self, lines: list[bytes], numbers: list[int]) -> dict[str, _Group]:
        groups: dict[str, _Group] = {}
        whole = dict(zip(numbers, lines, strict=True))
        last = 0
        for number, event in self._decode(lines, numbers):
            value = event.get(self._key or "")
            try:
                name = self._name(value if isinstance(value, str) else None)
            except ValueError as error:
                self._problems.add(self._source.name, number, str(error))
                continue
            group = groups.setdefault(name, _Group())
            group.events.append((number, event))
            group.lines.append(whole[number])
            if number == last:
                # Two objects on one line: only the decoded form knows where each ends.
                group.lines.clear()
            last = number
        for group in groups.values():
            if len(group.lines) != len(group.events):
                group.lines.clear()
        return groups


def _pieces(lines: list[bytes], numbers: list[int]) -> Iterator[tuple[list[bytes], list[int]]]:
    """Cut lines into some shorter lists."""
    step = len(lines) // _PIECES + 1
    for start in range(0, len(lines), step):
        yield lines[start : start + step], numbers[start : start + step]


def _column(lines: list[bytes], key: str) -> list[str | None] | None:
    """Read one field of text of all lines with Arrow's parser."""
    data = b"\n".join(lines)
    try:
        data.isascii() or data.decode()
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 64),
            pyarrow.json.ParseOptions(
                explicit_schema=pa.schema([(key, pa.string())]), unexpected_field_behavior="ignore"
            ),
        )
    except REFUSALS:
        return None
    values: list[str | None] = table.column(key).to_pylist()
    return values if len(values) == len(lines) else None


def assemble_plain(name: str) -> Assemble:
    """Make batches whose fields are the columns."""

    def assemble(
        columns: Mapping[str, pa.Array], types: Mapping[str, Type], count: int
    ) -> pa.RecordBatch:
        schema = Schema(name, tuple(Field(key, type_) for key, type_ in types.items()))
        return make_batch(columns, schema, count)

    return assemble


def make_batch(columns: Mapping[str, pa.Array], schema: Schema, count: int) -> pa.RecordBatch:
    """Make a batch; the columns may lack the metadata of fields within them."""
    target = arrow_schema.to_arrow(schema)
    arrays = [
        convert.convert(column, pa.field("", column.type), member.type)
        for column, member in zip(columns.values(), schema.fields, strict=True)
    ]
    return arrow_arrays.record_batch(arrays, target, count)
