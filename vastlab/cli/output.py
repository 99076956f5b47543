"""What the command line writes: events, tables, progress."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vastlab._text import plain, plural
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.render import TYPE
from vastlab.display.columns import fields_of
from vastlab.display.preview import Preview, make_preview
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy
from vastlab.readers import portable
from vastlab.table_slice import TableSlice, row_values
from vastlab.types import Kind

ROWS = 50  # of each schema in a table, by default
_CELL = 44
_MOST_COLUMNS = 100
# What a column gets at least, if it wants as much: a time to the second.
_NARROW, _NARROWER = 29, {Kind.TIME: 20, Kind.STRING: 20}
_GAP = 3

Stream = AsyncIterator[TableSlice]
Counted = Callable[[int], None]


async def write(stream: Stream, format_: str, counted: Counted) -> None:
    """Write events to stdout, not as ``table``; `counted` is called with the size of each batch."""
    if format_ in ("arrow", "parquet") and sys.stdout.isatty():
        raise UsageError(
            f"{format_} is binary and cannot be shown in a terminal",
            hint=f"vastlab query ... -f {format_} > FILE",
        )
    await _WRITERS[format_](_counting(stream, counted))
    sys.stdout.flush()


async def _counting(stream: Stream, counted: Counted) -> AsyncIterator[TableSlice]:
    async for part in stream:
        counted(part.num_rows)
        yield part
        sys.stdout.flush()  # what arrives late must not wait for more


async def _json(stream: Stream) -> None:
    encode = json.JSONEncoder(allow_nan=False).encode
    async for part in stream:
        name = part.name
        for values in row_values(part, durations=render.span_text, reserved=[TYPE]):
            line = encode({TYPE: name, **values})
            # The only control character that JSON may hold as it is.
            sys.stdout.write(line.replace("\x7f", "\\u007f") + "\n")


async def _csv(stream: Stream) -> None:
    header = ""
    async for part in stream:
        texts = render.columns(part.to_pyarrow())
        if (line := render.header(texts)) != header:
            header = line
            write_lines([header])
        names = pa.array([part.name] * part.num_rows, pa.string())
        write_lines(render.lines(names, texts.values()))


def write_counts(counts: Mapping[str, int]) -> None:
    """Write a number for each schema as CSV to stdout."""
    write_table([TYPE, "events"], [list(counts), list(map(str, counts.values()))])


def write_table(names: Sequence[str], columns: Sequence[Sequence[str | None]]) -> None:
    """Write columns of text as CSV to stdout; null is nothing, an empty text is quoted."""
    columns = columns or [[] for _ in names]
    if names[0] == TYPE:
        write_lines([render.header(names[1:])])
    else:
        columns = [[name, *column] for name, column in zip(names, columns, strict=True)]
    first, *others = (pa.array(column, pa.string()) for column in columns)
    write_lines(render.lines(first, others))


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout: exact, but on a terminal without controls."""
    safe = plain if sys.stdout.isatty() else str
    sys.stdout.writelines(f"{safe(line)}\n" for line in lines)


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
        batch = convert.normalise(first.to_pyarrow())
        schema = arrow_schema.from_arrow(batch.schema)
        if not schema.leaves:
            raise UsageError("the events have no fields, and a parquet file needs one")
        with portable.open_writer(spool, schema) as writer:
            writer.write_batch(portable.export(batch, schema))
            async for part in stream:
                batch = convert.normalise(part.to_pyarrow())
                if arrow_schema.from_arrow(batch.schema) != schema:
                    raise UsageError(
                        "the events have several schemas, and parquet holds one",
                        hint=f"narrow the query: {TYPE} == {json.dumps(part.name)} && (...)",
                    )
                writer.write_batch(portable.export(batch, schema))
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout.buffer)


_WRITERS = {"json": _json, "csv": _csv, "arrow": _arrow, "parquet": _parquet}


# --- tables ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Sample:
    """The first events of each schema, and how many there were."""

    rows: int = ROWS
    expression: str = ""  # the columns that it names are shown
    taxonomy: Taxonomy | None = None
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    newest: bool = False  # whether the events come so

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
            asked = fields_of(self.expression, name, tables, self.taxonomy)
            shown = make_preview(
                name,
                tables,
                rows=self.rows,
                columns=_MOST_COLUMNS,
                asked=asked,
                newest=self.newest,
            )
            _draw(out, shown, self.counts[name])


def _draw(out: Console, shown: Preview, events: int) -> None:
    widths = _fitting(shown, out.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column, width in zip(shown.columns, widths, strict=False):
        table.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            max_width=width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in shown.rows:
        cells = row[: len(widths)]
        table.add_row(*(Text("-", "dim") if cell is None else Text(cell) for cell in cells))
    counted = _of(len(shown.rows), events, "events")
    columns = _of(len(widths), shown.summary.columns, "columns")
    title = Text.assemble((plain(shown.summary.name), "bold cyan"), f"  {counted}, {columns}")
    out.print(title, soft_wrap=True)
    out.print(table)
    out.print()


def _of(shown: int, total: int, noun: str) -> str:
    noun = noun[:-1] if total == 1 else noun
    return f"{total:,} {noun}" if shown == total else f"{shown:,} of {total:,} {noun}"


def _fitting(shown: Preview, width: int) -> list[int]:
    """Say how wide each of the first columns may be, as many as fit side by side.

    Before a column has no room, texts are shortened, and times to the second.
    """
    wanted: list[int] = []
    widths: list[int] = []
    left = width + _GAP
    for index, column in enumerate(shown.columns):
        texts = [column.name, *(row[index] or "-" for row in shown.rows)]
        full = min(_CELL, max(map(cell_len, texts)))
        least = min(full, _NARROWER.get(column.kind, _NARROW))
        if left < _GAP + least and wanted:
            break
        wanted.append(full)
        widths.append(least)
        left -= _GAP + least
    # The fraction of a second tells least.
    order = sorted(range(len(widths)), key=lambda at: shown.columns[at].kind is Kind.TIME)
    for index in order:
        wider = min(wanted[index] - widths[index], max(0, left))
        widths[index] += wider
        left -= wider
    return widths


def draw_counts(out: Console, counts: Iterable[tuple[str, int]], most: int | None = None) -> None:
    """Draw a number for each schema, most first, and their sum; at most some schemas."""
    ordered = sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    total = sum(number for _, number in ordered)
    shown, rest = ordered[:most], ordered[len(ordered[:most]) :]
    others = [(f"and {plural(len(rest), 'more schema')}", sum(n for _, n in rest))] if rest else []
    draw_pairs(out, [*shown, *others, ("all", total)], ("schema", "events"))


def draw_pairs(
    out: Console,
    pairs: Sequence[tuple[str, Any]],
    header: tuple[str, str] = ("", ""),
    most: int | None = None,
) -> None:
    """Draw a table of names and values; at most some."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.show_header = any(header)
    table.add_column(header[0], style="cyan")
    table.add_column(header[1], justify="right" if any(header) else "left")
    for name, value in pairs[:most]:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(Text(plain(name)), Text(plain(text)))
    if rest := len(pairs) - len(pairs[:most]):
        table.add_row(Text(f"and {plural(rest, 'more line')}"))
    out.print(table)
