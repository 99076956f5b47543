"""What an explorer shows: events over time, a table of each schema, and one event."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from typing import Any, Protocol

import ipywidgets as widgets
import pandas as pd
import pyarrow as pa

from vastlab import _loop, _text
from vastlab._held import joined
from vastlab._text import plural
from vastlab.arrow import convert, render
from vastlab.display.columns import fields_of, sensible
from vastlab.display.preview import RIGHT_ALIGNED
from vastlab.errors import UsageError
from vastlab.expression.checks import of_schema
from vastlab.expression.literals import Time
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import ignore
from vastlab.notebook.explorer import histogram
from vastlab.notebook.explorer.histogram import Histogram
from vastlab.notebook.explorer.narrow import Cell, Choice, around, only, without
from vastlab.notebook.explorer.pages import Pages
from vastlab.notebook.explorer.question import Question
from vastlab.notebook.explorer.sources import Source
from vastlab.notebook.explorer.table import Table
from vastlab.table_slice import tables_of
from vastlab.types import Schema

PAGE = 100  # rows
_MOST_BYTES = 1 << 30  # of one schema's events in the kernel
_MOST_COLUMNS = 12
_VALUE = 2_000  # characters of a value of the chosen event


class Owner(Protocol):
    """What holds a panel."""

    def narrowed(self, question: Question) -> None:
        """Ask another question, which a click led to."""
        ...

    def tell(self, text: str) -> None:
        """Show a line of text."""
        ...

    def fail(self, error: BaseException) -> None:
        """Show an error."""
        ...

    def begin(self, work: Coroutine[Any, Any, None]) -> _loop.Job[None]:
        """Start what a click asks for, and return at once."""
        ...

    def check(self) -> None:
        """Raise an error where nothing can be asked any more."""
        ...


@dataclass
class _Shown:
    """How the events of one schema are looked at."""

    pages: Pages
    page: int = 0
    sort: tuple[str, bool] | None = None
    filters: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    chosen: int | None = None
    """The place of the event that is shown whole."""


class Panel(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """Widgets that show the answer to a question, and ask the next one.

    All widgets are made at once and only filled later, since that may happen in the thread of
    vastlab's loop.

    Parameters
    ----------
    owner
        What is called on clicks and errors.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._zone: tzinfo | None = None
        self._lock = asyncio.Lock()
        self._source: Source | None = None
        self._question = Question()
        self._version = 0  # of the order of rows and columns that is shown
        self._counts: dict[str, int] = {}
        self._schemas: dict[str, Schema] = {}
        self._shown: dict[str, _Shown] = {}
        self._jobs: list[_loop.Job[None]] = []
        self.schema = ""
        """The schema of the table: the largest one, until another is chosen."""
        self._is_picked = False
        self.histogram = Histogram(self._brushed)
        self.table = Table(self._shielded(self._on_table))
        self.event = Table(self._shielded(self._on_event))
        self._columns = widgets.SelectMultiple(rows=8, layout=widgets.Layout(width="30em"))
        chooser = widgets.Accordion([self._columns], titles=("columns",), selected_index=None)
        self._chooser = chooser
        super().__init__([self.histogram, self.table, chooser, self.event])
        self._columns.observe(self._on_columns, "value")
        self._is_offering = False
        self.layout.display = "none"

    # --- filling ----------------------------------------------------------------------------

    async def show(
        self,
        source: Source,
        question: Question,
        tables: Mapping[str, list[pa.Table]],
        zone: tzinfo | None,
    ) -> None:
        """Show an answer: first the events that have arrived, then what is found out.

        Parameters
        ----------
        source
            What can be asked for more.
        question
            The question.
        tables
            The first events of the answer.
        zone
            The time zone of displays.
        """
        async with self._lock:
            self._source, self._question, self._zone = source, question, zone
            self._shown = {n: _Shown(Pages(t, complete=False)) for n, t in tables.items() if t}
            self._counts = {}
            if self.schema not in self._shown:
                self.schema = next(iter(self._shown), "")
            self.layout.display = None if self._shown else "none"
            await self._draw()
            # What is to be warned of was said with the first events.
            found = await source.timeline(
                question.expression, **question.bounds, tz=self._zone, report=ignore
            )
            self._schemas = await source.schemas()
            totals: Counter[str] = Counter()
            for name, events in zip(found.get("#type", ()), found.get("events", ()), strict=True):
                totals[name] += events
            if found.attrs["left_out"]:  # schemas without a time
                totals.update(await self._counts_without_time(source, question, found))
            self._counts = {name: int(events) for name, events in totals.most_common()}
            self.histogram.show(histogram.draw(found, self._zone))
            if self.schema not in self._counts or not self._is_picked:
                self.schema = next(iter(self._counts), "")
            self.layout.display = None if self._counts else "none"
            await self._draw()

    @staticmethod
    async def _counts_without_time(
        source: Source, question: Question, found: pd.DataFrame
    ) -> dict[str, int]:
        counts = await source.counts(question.expression, **question.bounds, report=ignore)
        return {name: counts[name] for name in found.attrs["left_out"] if name in counts}

    @property
    def question(self) -> Question:
        """What is shown, with bounds that do not move."""
        return self._question

    @property
    def counts(self) -> dict[str, int]:
        """How many events match, by schema, most first; empty before that is known."""
        return dict(self._counts)

    def as_html(self) -> str:
        """Return the chart for a page without widgets."""
        return histogram.as_html(self.histogram.chart)

    def dim(self) -> None:
        """Show that what is seen is the answer to an earlier question."""
        for part in (self.histogram, self.table, self.event):
            part.view = {**part.view, "dimmed": True}

    async def choose(self, schema: str) -> None:
        """Show the table of a schema."""
        if schema in self._counts or schema in self._shown:
            self.schema, self._is_picked = schema, True
            await self._draw()

    async def turn(self, page: int) -> None:
        """Show a page of the table; the first one is 0."""
        shown = self._shown[self.schema]
        last = max(0, math.ceil(self._total(shown) / PAGE) - 1)
        shown.page, shown.chosen = min(max(0, page), last), None
        await self._draw()

    async def sort(self, column: str) -> None:
        """Sort the table by a column: upwards, then downwards, then by time again."""
        shown = self._shown[self.schema]
        following = {None: (column, False), (column, False): (column, True), (column, True): None}
        shown.sort = following.get(shown.sort, (column, False))
        await self._arrange(shown)

    async def filter(self, column: str, text: str) -> None:
        """Filter the table by a column; an empty text ends that."""
        shown = self._shown[self.schema]
        shown.filters = {**shown.filters, column: text}
        if not text.strip():
            del shown.filters[column]
        await self._arrange(shown)

    async def look(self, row: int) -> None:
        """Show a whole event: the one in a row of the page."""
        shown = self._shown[self.schema]
        shown.chosen = shown.page * PAGE + row
        await self._draw(is_new=False)

    def wait(self) -> None:
        """Wait for what clicks have started."""
        while self._jobs:
            self._jobs.pop().result()

    def stop(self) -> None:
        """Cancel what clicks have started."""
        for job in reversed(self._jobs):  # those that wait for the first one do not begin
            job.cancel()

    # --- clicks -----------------------------------------------------------------------------

    def act(self, choice: Choice, cell: Cell) -> None:
        """Do what was chosen for a value."""
        if choice is Choice.COPY:
            text = str(only(cell))
            self.table.copy(text)
            self._owner.tell(f"copied: {text}")
            return
        asked = self._question
        if choice is not Choice.ONLY and not self._counts:
            raise UsageError(
                "what matches was not counted yet", hint="wait for it, or run the query again"
            )
        if choice is Choice.PIVOT:
            taxonomy = Taxonomy.default() if self._source is None else self._source.taxonomy
            expression = str(around(cell, self._schemas, taxonomy))
        elif choice is Choice.ONLY:
            expression = joined(asked.expression, only(cell))
        else:
            others = {n: self._schemas[n] for n in self._counts if n in self._schemas}
            expression = joined(asked.expression, without(cell, others))
        self._owner.narrowed(Question(expression, asked.since, asked.until))

    def _brushed(self, first: pd.Timestamp, end: pd.Timestamp) -> None:
        bounds = (str(Time(first.as_unit("ns").value)), str(Time(end.as_unit("ns").value)))
        self._owner.narrowed(Question(self._question.expression, *bounds))

    def _shielded(
        self, act: Callable[[Mapping[str, Any]], None]
    ) -> Callable[[Mapping[str, Any]], None]:
        def received(message: Mapping[str, Any]) -> None:
            try:
                act(message)
            except Exception as error:  # noqa: BLE001 - nothing may raise into a callback
                self._owner.fail(error)

        return received

    def _on_table(self, message: Mapping[str, Any]) -> None:
        shown = self._shown.get(self.schema)
        if message.get("version") != self._version:
            return  # a click on what is not shown any more
        match message:
            case {"do": "schema", "name": str(name)}:
                self._start(partial(self.choose, name))
            case {"do": "page", "page": int(page)} if shown:
                self._start(partial(self.turn, page))
            case {"do": "sort", "column": int(column)} if shown:
                self._start(partial(self.sort, shown.columns[column]))
            case {"do": "filter", "column": int(column), "text": str(text)} if shown:
                self._start(partial(self.filter, shown.columns[column], text))
            case {"do": "event", "row": int(row)} if shown:
                self._start(partial(self.look, row))
            case {"do": str(choice), "row": int(row), "column": int(column)} if shown:
                self._clicked(choice, shown, shown.page * PAGE + row, shown.columns[column])

    def _on_event(self, message: Mapping[str, Any]) -> None:
        shown = self._shown.get(self.schema)
        if message.get("version") != self._version or shown is None or shown.chosen is None:
            return
        match message:
            case {"do": str(choice), "row": int(row)} if choice != "event":
                self._clicked(choice, shown, shown.chosen, list(shown.pages.leaves)[row])

    def _clicked(self, choice: str, shown: _Shown, place: int, column: str) -> None:
        leaf = shown.pages.leaves[column]
        self.act(Choice(choice), Cell(shown.pages.event(place), self.schema, leaf))

    def _on_columns(self, change: Any) -> None:
        if not self._is_offering and self.schema in self._shown:
            self._shown[self.schema].columns = tuple(change["new"])
            self._start(self._draw)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def shown_if_it_fails() -> None:
            try:
                async with self._lock:
                    await work()
            except Exception as error:  # noqa: BLE001 - shown in the widget, since it is not awaited
                self._owner.fail(error)

        self._jobs = [job for job in self._jobs if not job.done()]
        self._jobs.append(self._owner.begin(shown_if_it_fails()))

    # --- inside -----------------------------------------------------------------------------

    def _total(self, shown: _Shown) -> int:
        """Return how many rows the table has, shown and to come."""
        pages = shown.pages
        is_whole = pages.complete or shown.filters or shown.sort
        return pages.chosen if is_whole else max(self._counts.get(self.schema, 0), pages.chosen)

    async def _arrange(self, shown: _Shown) -> None:
        await self._load(shown, None)
        await asyncio.to_thread(shown.pages.arrange, shown.sort, shown.filters)
        shown.page, shown.chosen = 0, None
        await self._draw()

    async def _load(self, shown: _Shown, rows: int | None) -> None:
        """Ask for the first rows of a schema, or for all, if they are not here."""
        count = self._counts.get(self.schema)
        if shown.pages.complete or (rows is not None and shown.pages.held >= rows):
            return
        if count is not None and shown.pages.held >= count:
            shown.pages.complete = True
            return
        if self._source is None:
            return
        self._owner.check()
        expression = joined(self._question.expression, of_schema(self.schema))
        limit = rows if rows is not None and rows <= PAGE else 0
        batches, size, whole = [], 0, not limit
        parts = self._source.export(expression, limit=limit, **self._question.bounds, report=ignore)
        async with aclosing(parts):
            async for part in parts:
                batches.append(part.to_pyarrow())
                size += batches[-1].nbytes
                if size > _MOST_BYTES:
                    self._owner.tell(_too_many(sum(map(len, batches)), count))
                    break
        tables = tables_of(batches).get(self.schema, [])
        shown.pages = await asyncio.to_thread(Pages, tables, complete=whole)

    async def _draw(self, *, is_new: bool = True) -> None:
        """Show the page, and the event that was chosen."""
        version = self._version + 1 if is_new else self._version
        if self.schema not in self._counts and self.schema not in self._shown:
            self.table.show()
            self.event.show()
            return
        shown = self._shown.setdefault(self.schema, _Shown(Pages([], complete=False)))
        if self._counts:
            await self._load(shown, min((shown.page + 1) * PAGE, self._counts[self.schema]))
        self._offer_columns(shown)
        columns = [c for c in shown.columns if c in shown.pages.leaves]
        rows = shown.pages.page(shown.page * PAGE, PAGE, columns, self._zone)
        total = self._total(shown)
        place = None if shown.chosen is None else shown.chosen - shown.page * PAGE
        self._version = version
        self.table.show(
            version=version,
            schemas=[
                {"name": n, "label": _title(n, c), "chosen": n == self.schema}
                for n, c in (self._counts or dict.fromkeys(self._shown)).items()
            ],
            columns=[self._column(shown, name) for name in columns],
            rows=rows,
            chosen=place,
            sorts=True,
            page=shown.page,
            pages=math.ceil(total / PAGE),
            note=self._note(shown, len(rows), total),
        )
        self._draw_event(shown)

    def _column(self, shown: _Shown, name: str) -> dict[str, Any]:
        leaf = shown.pages.leaves[name]
        is_sorted = shown.sort is not None and shown.sort[0] == name
        downwards = shown.sort is not None and shown.sort[1]
        return {
            "label": _text.short(name, 60),
            "type": _text.short(str(leaf.type), 60),
            "right": leaf.type.kind in RIGHT_ALIGNED,
            "sorted": ("down" if downwards else "up") if is_sorted else "",
            "filter": shown.filters.get(name, ""),
        }

    def _note(self, shown: _Shown, rows: int, total: int) -> str:
        first = shown.page * PAGE + 1
        part = f"{first:,} to {first + rows - 1:,} of " if rows and total > rows else ""
        of_all = self._counts.get(self.schema, total)
        filtered = f", filtered from {of_all:,}" if shown.filters else ""
        hidden = len(shown.pages.leaves) - len(shown.columns)
        more = f", {plural(hidden, 'more column')}" if hidden > 0 else ""
        return f"{part}{plural(total, 'event')}{filtered}{more}"

    def _offer_columns(self, shown: _Shown) -> None:
        names = tuple(shown.pages.leaves)
        if not shown.columns and names:
            first = shown.pages.first(PAGE)
            taxonomy = None if self._source is None else self._source.taxonomy
            asked = fields_of(self._question.expression, self.schema, first, taxonomy)
            shown.columns = tuple(sensible(self.schema, first, asked)[:_MOST_COLUMNS])
        self._is_offering = True
        try:
            self._columns.options = [(_text.short(name, 60), name) for name in names]
            self._columns.value = [name for name in shown.columns if name in names]
        finally:
            self._is_offering = False

    def _draw_event(self, shown: _Shown) -> None:
        if shown.chosen is None or shown.chosen >= shown.pages.chosen:
            self.event.show()
            return
        event = shown.pages.event(shown.chosen)
        (batch,) = event.combine_chunks().to_batches()
        flat = convert.flatten(convert.normalise(batch))
        texts = {
            name: render.text(column, column_field)[0].as_py()
            for name, column, column_field in zip(
                flat.schema.names, flat.columns, flat.schema, strict=True
            )
        }
        self.event.show(
            version=self._version,
            columns=[_heading("field"), _heading("type"), _heading("value")],
            rows=[
                [_text.short(name, 80), _text.short(str(leaf.type), 60), _value(texts.get(name))]
                for name, leaf in shown.pages.leaves.items()
            ],
            fixed=[0, 1],
            note=f"event {shown.chosen + 1:,} of {_text.short(self.schema, 60)}",
        )


def _too_many(held: int, count: int | None) -> str:
    of = "" if count is None else f" of {count:,}"
    return f"the table holds the first {held:,}{of} events: narrow the query to see the others"


def _heading(text: str) -> dict[str, Any]:
    return {"label": text, "type": "", "right": False, "sorted": "", "filter": ""}


def _title(name: str, count: int | None) -> str:
    short = _text.short(name, 40)
    return short if count is None else f"{short} ({count:,})"


def _value(text: str | None) -> str | None:
    return None if text is None else _text.short(text, _VALUE)
