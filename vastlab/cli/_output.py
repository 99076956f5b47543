"""Events in the formats of the shell.

``json`` is one object a line with the schema's name under ``#type``; ``csv`` repeats its header
where the schema changes; ``arrow`` is a sequence of Arrow IPC streams, as VAST exports them;
``parquet`` holds the events of one schema. Only ``table`` leaves something out, and says so.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vastlab._text import plain
from vastlab.arrow import nesting, render
from vastlab.collect import to_json_rows
from vastlab.display.preview import Column, Preview, preview
from vastlab.errors import UsageError
from vastlab.table_slice import TableSlice

TYPE = "#type"
ROWS = 50  # of each schema in a table, where nobody said how many
_CELL = 44
_MOST_COLUMNS = 100
_NARROW = 29  # what a column gets at least, if it wants as much
_GAP = 3
_BLANK = frozenset({None, "", "[]"})
_TELLING = frozenset({"timestamp", "ip", "port"})  # types
_TELLING_NAMES = frozenset(
    {"host", "hostname", "query", "service", "signature", "uri", "url", "user_agent"}
)
_IDENTIFIERS = frozenset(
    {
        "uid",
        "flow_id",
        "community_id",
        "pcap_cnt",
        "tx_id",
        "trans_id",
        "in_iface",
        "event_type",
        "vlan",
    }
)

Stream = AsyncIterator[TableSlice]
Counted = Callable[[int], None]


async def write(stream: Stream, format_: str, counted: Counted) -> None:
    """Write events to stdout.

    Parameters
    ----------
    stream
        What an export returns.
    format_
        Any format but ``table``.
    counted
        Told the number of events of each batch.
    """
    if format_ in ("arrow", "parquet") and sys.stdout.isatty():
        raise UsageError(
            f"{format_} is no text for a terminal", hint=f"vastlab query ... -f {format_} > FILE"
        )
    await _WRITERS[format_](_counting(stream, counted))
    sys.stdout.flush()


async def _counting(stream: Stream, counted: Counted) -> AsyncIterator[TableSlice]:
    async for part in stream:
        counted(part.num_rows)
        yield part
        sys.stdout.flush()  # what arrives late must not wait for more


async def _json(stream: Stream) -> None:
    async for row in to_json_rows(stream):
        line = json.dumps({TYPE: row.name, **row.data}, allow_nan=False)
        # The only control character that JSON may hold as it is.
        sys.stdout.write(line.replace("\x7f", "\\u007f") + "\n")


async def _csv(stream: Stream) -> None:
    write_line = csv_line()
    header: list[str] = []
    async for part in stream:
        flat = nesting.flatten(part.to_pyarrow())
        names = [TYPE, *flat.schema.names]
        if names != header:
            header = names
            write_line(names)
        fields = zip(flat.columns, flat.schema, strict=True)
        columns = [render.text(column, about).to_pylist() for column, about in fields]
        for values in zip([part.name] * part.num_rows, *columns, strict=True):
            write_line(values)


def csv_line() -> Callable[[Iterable[object]], None]:
    """Return what writes a line of CSV to stdout: exact, but on a terminal without controls."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    safe = plain if sys.stdout.isatty() else str

    def write_line(values: Iterable[object]) -> None:
        writer.writerow("" if value is None else safe(str(value)) for value in values)

    return write_line


async def _arrow(stream: Stream) -> None:
    writer: pa.RecordBatchStreamWriter | None = None
    schema: pa.Schema | None = None
    async for part in stream:
        batch = part.to_pyarrow()
        if writer is None or not batch.schema.equals(schema, check_metadata=True):
            if writer is not None:
                writer.close()
            schema = batch.schema
            writer = pa.ipc.new_stream(sys.stdout.buffer, schema)
        writer.write_batch(batch)
        sys.stdout.buffer.flush()
    if writer is not None:
        writer.close()


async def _parquet(stream: Stream) -> None:
    """Write through a temporary file: a second schema is noticed before anything is written."""
    with tempfile.TemporaryFile() as spool:
        first = await anext(stream, None)
        if first is None:
            raise UsageError("nothing matches, and a parquet file wants a schema")
        batch = nesting.flatten(first.to_pyarrow())
        with parquet.ParquetWriter(spool, batch.schema, compression="zstd") as writer:
            writer.write_batch(batch)
            async for part in stream:
                batch = nesting.flatten(part.to_pyarrow())
                if not batch.schema.equals(writer.schema, check_metadata=True):
                    raise UsageError(
                        "the events have several schemas, and parquet holds one",
                        hint=f"narrow the query: {TYPE} == {json.dumps(part.name)} && (...)",
                    )
                writer.write_batch(batch)
        _copy(spool)


def _copy(spool: IO[bytes]) -> None:
    spool.seek(0)
    shutil.copyfileobj(spool, sys.stdout.buffer)


_WRITERS = {"json": _json, "csv": _csv, "arrow": _arrow, "parquet": _parquet}


# --- tables ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Sample:
    """The first events of each schema, and how many there were."""

    rows: int = ROWS
    asked: frozenset[str] = frozenset()  # names that the expression mentions: always telling
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, part: TableSlice) -> None:
        """Count a batch, and keep what will be shown of it."""
        seen = self.counts.get(part.name, 0)
        self.counts[part.name] = seen + part.num_rows
        if seen < self.rows:
            batch = part.to_pyarrow().slice(0, self.rows - seen)
            self.tables.setdefault(part.name, []).append(pa.Table.from_batches([batch]))

    def draw(self, out: Console) -> None:
        """Draw one table for each schema."""
        for name, tables in self.tables.items():
            shown = preview(name, tables, rows=self.rows, columns=_MOST_COLUMNS)
            _draw(out, shown, self.counts[name], _TELLING_NAMES | self.asked)


def _draw(out: Console, shown: Preview, events: int, telling: frozenset[str]) -> None:
    widths = _fitting(shown, out.width, telling)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for index, width in widths.items():
        column = shown.columns[index]
        table.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            max_width=width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in shown.rows:
        table.add_row(*(_cell(row[index]) for index in widths))
    counted = _of(len(shown.rows), events, "events")
    columns = _of(len(widths), shown.summary.columns, "columns")
    title = Text.assemble((plain(shown.summary.name), "bold cyan"), f"  {counted}, {columns}")
    out.print(title, soft_wrap=True)
    out.print(table)
    out.print()


def _cell(value: str | None) -> Text:
    return Text("-", "dim") if value is None else Text(value)


def _of(shown: int, total: int, noun: str) -> str:
    noun = noun[:-1] if total == 1 else noun
    return f"{total:,} {noun}" if shown == total else f"{shown:,} of {total:,} {noun}"


def _fitting(shown: Preview, width: int, telling: frozenset[str]) -> dict[int, int]:
    """Choose the most telling columns that fit side by side, and how wide each may be."""
    values = [[row[index] for row in shown.rows] for index in range(len(shown.columns))]
    ranks = [_rank(column, values[i], telling) for i, column in enumerate(shown.columns)]
    wanted: dict[int, int] = {}
    left = width
    for index in sorted(range(len(ranks)), key=lambda i: ranks[i]):
        if ranks[index] is _Rank.EMPTY:
            break
        texts = [shown.columns[index].name, *(value or "-" for value in values[index])]
        wanted[index] = min(_CELL, max(map(cell_len, texts)))
        left -= _GAP + min(_NARROW, wanted[index])
        if left < 0 and len(wanted) > 1:
            left += _GAP + min(_NARROW, wanted.pop(index))
            break
    for index, full in wanted.items():
        wider = min(max(0, full - _NARROW), max(0, left))
        wanted[index] = min(full, _NARROW) + wider
        left -= wider
    return dict(sorted(wanted.items()))


class _Rank(IntEnum):
    """How much a column tells at a glance: when and who with whom comes first."""

    CENTRAL = 0
    VARIED = 1
    CONSTANT = 2
    IDENTIFIER = 3
    EMPTY = 4


def _rank(column: Column, values: list[str | None], telling: frozenset[str]) -> _Rank:
    distinct = set(values)
    if distinct <= _BLANK and values:
        return _Rank.EMPTY
    name = column.name.rsplit(".", 1)[-1]
    if column.type in _TELLING or name in telling:
        return _Rank.CENTRAL
    if name in _IDENTIFIERS:
        return _Rank.IDENTIFIER
    return _Rank.CONSTANT if len(distinct) < min(2, len(values)) else _Rank.VARIED


def draw_counts(out: Console, counts: Iterable[tuple[str, int]]) -> None:
    """Draw a number for each schema, most first, and their sum."""
    ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    total = sum(number for _, number in ordered)
    draw_pairs(out, [*ordered, ("all", total)], ("schema", "events"))


def draw_pairs(
    out: Console, pairs: Sequence[tuple[str, Any]], header: tuple[str, str] = ("", "")
) -> None:
    """Draw names beside values."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.show_header = any(header)
    table.add_column(header[0], style="cyan")
    table.add_column(header[1], justify="right" if any(header) else "left")
    for name, value in pairs:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(Text(plain(name)), Text(plain(text)))
    out.print(table)
