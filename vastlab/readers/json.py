"""Readers of JSON logs: Suricata EVE, Zeek JSON and NDJSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.json

from vastlab.readers import json_documents, json_table, schemas
from vastlab.readers.inference import Context
from vastlab.readers.json_documents import Documents, first_events, spans_lines, wrapper_of
from vastlab.readers.json_forms import TYPE_KEY
from vastlab.readers.json_table import REFUSALS, JSONTable
from vastlab.readers.source import Source, blocks

_BLANKS = b" \t\r"
_HEAD = 1 << 16
_MIN_LINES = 500
_SPLITS = 8
_MAX_PENDING_SIZE = 4 << 20  # bytes of lines that wait for more of their schema
_Numbered = tuple[list[int], list[bytes]]
_Keys = tuple[str | None, str | None]


@dataclass(slots=True)
class _Group:
    """Lines of one schema, as text, and decoded if that was necessary."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    data: bytes | None = None  # the joined lines, if they are available


class EventReader:
    """Reads a file of JSON lines."""

    def __init__(
        self,
        source: Source,
        context: Context,
        *,
        key: str | None,
        name: Callable[[str | None], str],
    ) -> None:
        self._source = source
        self._context = context
        self._key = key
        self._name = name
        self._tables: dict[str, JSONTable] = {}
        self._pending: dict[str, _Group] = {}
        self._size = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the file."""
        head = self._source.peek(_HEAD)
        wrapper = wrapper_of(head)
        lines = self._documents(wrapper) if wrapper or spans_lines(head) else self._lines()
        for numbers, texts in lines:
            if texts:
                yield from self._block(texts, numbers)
        yield from self._flush()

    def _lines(self) -> Iterator[_Numbered]:
        for block in blocks(self._source, self._context.problems):
            split = [line.strip(_BLANKS) for line in block.data.split(b"\n")]
            numbers = [number for number, line in enumerate(split, block.line) if line]
            yield numbers, [line for line in split if line]

    def _documents(self, wrapper: int) -> Iterator[_Numbered]:
        documents = Documents(self._source.name, self._context.problems, wrapper)
        for block in blocks(self._source, self._context.problems):
            found = list(documents.feed(block))
            yield [number for number, _ in found], [text for _, text in found]
        documents.close()

    def _block(self, lines: list[bytes], numbers: list[int]) -> Iterator[pa.RecordBatch]:
        data = b"\n".join(lines)
        groups = None if json_documents.has_deep(data) else self._groups(data, lines, numbers)
        if groups is not None:
            for name, group in groups.items():
                yield from self._collect(name, group)
        elif len(lines) > _MIN_LINES:
            for piece in _split(lines, numbers):
                yield from self._block(*piece)
        else:
            for name, group in self._decoded_groups(lines, numbers).items():
                yield from self._convert(name, group)

    def _collect(self, name: str, group: _Group) -> Iterator[pa.RecordBatch]:
        """Convert lines of one schema; collects lines until a batch is worth its cost."""
        pending = self._pending.pop(name, None)
        if pending is not None:
            self._size -= sum(map(len, pending.lines))
            group = _Group(pending.lines + group.lines, pending.numbers + group.numbers)
        if len(group.lines) >= _MIN_LINES:
            yield from self._convert(name, group)
            return
        self._pending[name] = group
        self._size += sum(map(len, group.lines))
        if self._size > _MAX_PENDING_SIZE:
            yield from self._flush()

    def _flush(self) -> Iterator[pa.RecordBatch]:
        pending, self._pending, self._size = self._pending, {}, 0
        for name, group in pending.items():
            yield from self._convert(name, group)

    def _convert(self, name: str, group: _Group) -> Iterator[pa.RecordBatch]:
        """Convert lines of one schema; if Arrow cannot parse them, split them."""
        table = self._table(name)
        batch = table.fast(group.lines, group.numbers, group.data) if group.lines else None
        if batch is None and len(group.lines) > _MIN_LINES and not group.events:
            for lines, numbers in _split(group.lines, group.numbers):
                yield from self._convert(name, _Group(lines, numbers))
            return
        if batch is None:
            batch = self._decode_and_convert(table, group)
        if batch is not None:
            yield batch

    def _table(self, name: str) -> JSONTable:
        if name not in self._tables:
            root = json_table.root(name, self._context)
            self._tables[name] = JSONTable(name, root, self._source.name, self._context)
        return self._tables[name]

    def _decode_and_convert(self, table: JSONTable, group: _Group) -> pa.RecordBatch | None:
        events = group.events or list(self._decode(group.lines, group.numbers))
        table.observe(events)
        readable = {number for number, _ in events}
        pairs = [p for p in zip(group.lines, group.numbers, strict=True) if p[1] in readable]
        batch = None
        if pairs and len(pairs) == len(events):
            # Without the bad lines, and with the shapes of the others, Arrow may parse them.
            batch = table.fast([line for line, _ in pairs], [number for _, number in pairs])
        return table.slow(events) if batch is None else batch

    def _decode(
        self, lines: Sequence[bytes], numbers: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        source, problems = self._source, self._context.problems
        return json_documents.decode_lines(lines, numbers, source.name, problems, source.encoding)

    # --- schemas ----------------------------------------------------------------------------

    def _name_of(self, keys: _Keys) -> str:
        """Return the schema name of an event, or raise ValueError."""
        value, named = keys
        return self._context.schema or named or self._name(value)

    def _groups(
        self, data: bytes, lines: list[bytes], numbers: list[int]
    ) -> dict[str, _Group] | None:
        """Group lines by schema without decoding them; ``None`` if that is not possible."""
        named = b'"#type"' in data
        if self._key is None and not named:
            return {self._name_of((None, None)): _Group(lines, numbers, data=data)}
        wanted = [] if self._key is None else [self._key]
        keys = _columns(data, [*wanted, TYPE_KEY] if named else wanted)
        if keys is None or any(len(texts) != len(lines) for texts in keys.values()):
            return None
        nothing = [None] * len(lines)
        values = keys.get(self._key or "", nothing)
        types = keys.get(TYPE_KEY, nothing)
        groups: dict[str, _Group] = {}
        names: dict[_Keys, str] = {}
        for line, number, *pair in zip(lines, numbers, values, types, strict=True):
            value = (pair[0], pair[1])
            if value not in names:
                try:
                    names[value] = self._name_of(value)
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
            pair = (_text(event, self._key), _text(event, TYPE_KEY))
            try:
                name = self._name_of(pair)
            except ValueError as error:
                self._context.problems.add(self._source.name, number, str(error))
                continue
            group = groups.setdefault(name, _Group())
            group.events.append((number, event))
            group.lines.append(whole[number])
            group.numbers.append(number)
            if number == last:
                # Two objects on one line can only be separated by decoding.
                group.lines.clear()
            last = number
        for group in groups.values():
            if len(group.lines) != len(group.events):
                group.lines.clear()
                group.numbers.clear()
        return groups


def _text(event: dict[str, Any], key: str | None) -> str | None:
    value = None if key is None else event.get(key)
    return value if isinstance(value, str) else None


def _split(lines: list[bytes], numbers: list[int]) -> Iterator[tuple[list[bytes], list[int]]]:
    """Split lines into a few shorter lists."""
    step = len(lines) // _SPLITS + 1
    for start in range(0, len(lines), step):
        yield lines[start : start + step], numbers[start : start + step]


def _columns(data: bytes, keys: list[str]) -> dict[str, list[str | None]] | None:
    """Read text fields of all lines with Arrow's parser."""
    schema = pa.schema([(key, pa.string()) for key in keys])
    try:
        data.isascii() or data.decode()
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 64),
            pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except REFUSALS:
        return None
    return {key: table.column(key).to_pylist() for key in keys}


def read_ndjson(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read JSON lines; an event's ``#type`` or the file name gives the schema name."""
    yield from EventReader(source, context, key=None, name=lambda _: source.stem).batches()


def read_eve(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read a file of EVE events; by default the schema name is ``suricata.<event_type>``."""

    def name(event_type: str | None) -> str:
        if not event_type:
            raise ValueError("the event has no event_type")
        return f"suricata.{event_type}"

    yield from EventReader(source, context, key="event_type", name=name).batches()


_PATH = "_path"
_COMMON = ("ts", "uid")


def read_zeek_json(source: Source, context: Context) -> Iterator[pa.RecordBatch]:
    """Read Zeek JSON; ``_path``, the file name or the fields give the schema name."""
    first = next(first_events(source.peek(_HEAD)), {})
    default = f"zeek.{guess_log(source.log, first)}"

    def name(path: str | None) -> str:
        return f"zeek.{path}" if path else default

    key = _PATH if _PATH in first else None
    yield from EventReader(source, context, key=key, name=name).batches()


def guess_log(stem: str, event: Mapping[str, object]) -> str:
    """Return the Zeek log type of a file, by its name or by the fields of an event."""
    catalog = schemas.load("zeek")
    if catalog.find(stem):
        return stem
    keys = set(_spelled_out(event))
    names = {
        schema.name.removeprefix("zeek."): {leaf.name for leaf in schema.leaves}
        for schema in catalog.schemas.values()
    }
    # Prefer the schema with the most matching fields, then with the fewest fields.
    best = max(names, key=lambda name: (len(keys & names[name]), -len(names[name])))
    known = {key for key in keys & names[best] if key not in _COMMON and key[:3] != "id."}
    return best if known and len(keys & names[best]) * 2 > len(keys) else stem


def _spelled_out(event: Mapping[str, object]) -> Iterator[str]:
    """Yield dotted field names."""
    for key, value in event.items():
        if isinstance(value, dict):
            yield from (f"{key}.{name}" for name in _spelled_out(value))
        else:
            yield key.replace("id_", "id.", 1) if key.startswith("id_") else key
