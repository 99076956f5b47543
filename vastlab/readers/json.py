"""Readers of JSON logs: Suricata EVE, Zeek JSON and NDJSON."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from vastlab.errors import FormatError
from vastlab.readers import json_documents, json_table, schemas
from vastlab.readers.inference import Context
from vastlab.readers.json_documents import Documents, Lines, first_events, spans_lines, wrapper_of
from vastlab.readers.json_forms import TYPE_KEY
from vastlab.readers.json_table import REFUSALS, JSONTable, Parsed
from vastlab.readers.source import Source, blocks

_HEAD = 1 << 16
_MIN_LINES = 500
_MAX_PENDING_SIZE = 4 << 20  # bytes of lines that wait for more of their schema
_AHEAD = 2  # groups that are parsed or wait for it
_MIN_SIZE_AHEAD = 1 << 18  # bytes
_Keys = tuple[str | None, str | None]
_Wanted = tuple[str, str]


@dataclass(slots=True)
class _Group:
    """Lines of one schema, and their events if decoding them was necessary.

    `wanted` is the field and the text by which the lines were found: a parser must confirm it.
    """

    lines: Lines
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    wanted: _Wanted | None = None


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
        self._pending: dict[tuple[str, _Wanted | None], Lines] = {}
        self._size = 0
        self._queue: deque[tuple[str, _Group, Parsed | None]] = deque()
        # One thread parses while this one finds lines and converts what was parsed.
        self._pool = ThreadPoolExecutor(1, "vastlab-json")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the file."""
        with self._pool:
            yield from self._batches()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        head = self._source.peek(_HEAD)
        wrapper = wrapper_of(head)
        parts = self._documents(wrapper) if wrapper or spans_lines(head) else self._lines()
        damage = None
        while True:
            try:
                lines = next(parts, None)
            except FormatError as error:  # the events before it come first
                damage = error
                break
            if lines is None:
                break
            if len(lines):
                yield from self._block(lines)
        yield from self._flush()
        yield from self._take(0)
        if damage is not None:
            raise damage

    def _lines(self) -> Iterator[Lines]:
        for block in blocks(self._source, self._context.problems):
            yield Lines.of_block(block)

    def _documents(self, wrapper: int) -> Iterator[Lines]:
        documents = Documents(self._source.name, self._context.problems, wrapper)
        for block in blocks(self._source, self._context.problems):
            found = list(documents.feed(block))
            yield Lines.of([text for _, text in found], [number for number, _ in found])
        documents.close()

    def _block(self, lines: Lines, *, by_text: bool = True) -> Iterator[pa.RecordBatch]:
        """Convert lines; `by_text` finds their schemas before they are parsed."""
        groups = self._groups_by_text(lines) if by_text else None
        if groups is None and not json_documents.has_deep(lines.data):
            groups = self._groups(lines)
        if groups is not None and by_text:
            for name, group in groups.items():
                yield from self._collect(name, group)
            return
        if by_text:
            yield from self._take(0)
        if groups is None and len(lines) > _MIN_LINES:
            for piece in lines.split():
                yield from self._block(piece, by_text=by_text)
            return
        for name, group in (groups or self._decoded_groups(lines)).items():
            yield from self._convert(name, group)

    def _collect(self, name: str, group: _Group) -> Iterator[pa.RecordBatch]:
        """Convert lines of one schema; collects lines until a batch is worth its cost."""
        key = name, group.wanted
        pending = self._pending.pop(key, None)
        if pending is not None:
            self._size -= len(pending.data)
            group = _Group(pending + group.lines, wanted=group.wanted)
        if len(group.lines) >= _MIN_LINES:
            yield from self._add(name, group)
            return
        self._pending[key] = group.lines
        self._size += len(group.lines.data)
        if self._size > _MAX_PENDING_SIZE:
            yield from self._flush()

    def _flush(self) -> Iterator[pa.RecordBatch]:
        pending, self._pending, self._size = self._pending, {}, 0
        for (name, wanted), lines in pending.items():
            yield from self._add(name, _Group(lines, wanted=wanted))

    def _add(self, name: str, group: _Group) -> Iterator[pa.RecordBatch]:
        """Parse large groups in the other thread, and convert those before."""
        large = len(group.lines.data) >= _MIN_SIZE_AHEAD
        ahead = self._table(name).parse_ahead(group.lines, self._pool) if large else None
        self._queue.append((name, group, ahead))
        yield from self._take(_AHEAD if large else 0)

    def _take(self, left: int) -> Iterator[pa.RecordBatch]:
        """Convert the groups of the queue in order, until only some are left."""
        while len(self._queue) > left:
            yield from self._convert(*self._queue.popleft())

    def _convert(
        self, name: str, group: _Group, ahead: Parsed | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Convert lines of one schema; if Arrow cannot parse them, split them."""
        table, lines = self._table(name), group.lines
        batch = table.fast(lines, group.wanted, ahead) if len(lines) else None
        if batch is None and len(lines) > _MIN_LINES and not group.events:
            for part in lines.split():
                yield from self._convert(name, _Group(part, wanted=group.wanted))
            return
        if batch is None and group.wanted is not None:
            yield from self._block(lines, by_text=False)
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
        events = group.events or list(self._decode(group.lines))
        table.observe(events)
        readable = {number for number, _ in events}
        pairs = [
            pair
            for pair in zip(group.lines.texts(), group.lines.numbers.tolist(), strict=True)
            if pair[1] in readable
        ]
        batch = None
        if pairs and len(pairs) == len(events):
            # Without the bad lines, and with the shapes of the others, Arrow may parse them.
            texts, numbers = zip(*pairs, strict=True)
            batch = table.fast(Lines.of(texts, numbers))
        return table.slow(events) if batch is None else batch

    def _decode(self, lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
        source, problems = self._source, self._context.problems
        return json_documents.decode_lines(
            lines.texts(), lines.numbers.tolist(), source.name, problems, source.encoding
        )

    # --- schemas ----------------------------------------------------------------------------

    def _name_of(self, keys: _Keys) -> str:
        """Return the schema name of an event, or raise ValueError."""
        value, named = keys
        return self._context.schema or named or self._name(value)

    def _groups_by_text(self, lines: Lines) -> dict[str, _Group] | None:
        """Group lines by the text after a key, which may also be that of a member of a record.

        ``None`` if a line has not exactly one such key.
        """
        named = b"#" in lines.data and b'"#type"' in lines.data  # the former is found fast
        if self._context.schema or (self._key is None and not named):
            return {self._name_of((None, None)): _Group(lines)}
        if self._key is not None and named:
            return None
        key = self._key or TYPE_KEY
        start = re.search(rb'"%s": ?"' % re.escape(key.encode()), lines.data)
        found = lines.texts_after(start.group()) if start else None
        if found is None:
            return None
        texts, codes = found
        groups: dict[str, _Group] = {}
        parts = [lines] if len(texts) == 1 else lines.grouped(codes)
        for text, part in zip(texts, parts, strict=True):
            try:
                value = text.decode()
                name = self._name_of((None, value) if named else (value, None))
            except ValueError:
                return None
            if name in groups:
                return None
            groups[name] = _Group(part, wanted=(key, value))
        return groups

    def _groups(self, lines: Lines) -> dict[str, _Group] | None:
        """Group lines by schema after parsing their keys; ``None`` if that is not possible."""
        wanted = [*([] if self._key is None else [self._key]), TYPE_KEY]
        keys = _columns(lines.data, wanted)
        if keys is None or any(len(texts) != len(lines) for texts in keys.values()):
            return None
        values = keys.get(self._key or "", [None] * len(lines))
        names: dict[_Keys, str] = {}
        codes: dict[str, int] = {}
        found = []
        for pair in zip(values, keys[TYPE_KEY], strict=True):
            if pair not in names:
                try:
                    names[pair] = self._name_of(pair)
                except ValueError:
                    return None
            found.append(codes.setdefault(names[pair], len(codes)))
        parts = lines.grouped(np.array(found))
        return {name: _Group(part) for name, part in zip(codes, parts, strict=True)}

    def _decoded_groups(self, lines: Lines) -> dict[str, _Group]:
        events: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for number, event in self._decode(lines):
            pair = (_text(event, self._key), _text(event, TYPE_KEY))
            try:
                name = self._name_of(pair)
            except ValueError as error:
                self._context.problems.add(self._source.name, number, str(error))
                continue
            events.setdefault(name, []).append((number, event))
        whole = dict(zip(lines.numbers.tolist(), lines.texts(), strict=True))
        groups: dict[str, _Group] = {}
        for name, found in events.items():
            numbers = [number for number, _ in found]
            # Two objects on one line can only be separated by decoding.
            single = len({*numbers}) == len(numbers)
            used = numbers if single else []
            groups[name] = _Group(Lines.of([whole[number] for number in used], used), found)
        return groups


def _text(event: dict[str, Any], key: str | None) -> str | None:
    value = None if key is None else event.get(key)
    return value if isinstance(value, str) else None


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
    if schemas.load("zeek").find(stem):
        return stem
    keys, names = set(_spelled_out(event)), _zeek_fields()
    # Prefer the schema with the most matching fields, then with the fewest fields.
    best = max(names, key=lambda name: (len(keys & names[name]), -len(names[name])))
    known = {key for key in keys & names[best] if key not in _COMMON and key[:3] != "id."}
    return best if known and len(keys & names[best]) * 2 > len(keys) else stem


@cache
def _zeek_fields() -> dict[str, set[str]]:
    """Return the names of the fields of each type of log."""
    return {
        schema.name.removeprefix("zeek."): {leaf.name for leaf in schema.leaves}
        for schema in schemas.load("zeek").schemas.values()
    }


def _spelled_out(event: Mapping[str, object]) -> Iterator[str]:
    """Yield dotted field names."""
    for key, value in event.items():
        if isinstance(value, dict):
            yield from (f"{key}.{name}" for name in _spelled_out(value))
        else:
            yield key.replace("id_", "id.", 1) if key.startswith("id_") else key
