"""A view that follows a continuous query."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import pyarrow as pa

from vastlab import _text, errors
from vastlab._arguments import Moment, as_mode
from vastlab._call import Call
from vastlab._text import plural
from vastlab.client import VAST, ExportMode
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.display.columns import fields_of
from vastlab.display.html import View
from vastlab.display.preview import Outcome, make_preview
from vastlab.display.tabs import MOST_TABS, title
from vastlab.expression import parse_query
from vastlab.expression.ast import echo
from vastlab.expression.parameters import bind
from vastlab.nodes.base import Step
from vastlab.notebook.notes import Pace
from vastlab.notebook.widgets.views import RunningBox, SchemaViews
from vastlab.result import Result
from vastlab.table_slice import TableSlice, tables_of

_SCHEMAS = 100  # of more, events are only counted
_BYTES = 32 << 20  # for each schema


class Ring:
    """Keeps the newest events of each schema, and counts all; one thread adds while others read."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._kept: dict[str, deque[pa.RecordBatch]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, part: TableSlice) -> None:
        """Count events, keep the newest, and forget as many as that makes too many."""
        if not part.num_rows:
            return
        with self._lock:
            self._counts[part.name] += part.num_rows
            if self._rows and (part.name in self._kept or len(self._kept) < _SCHEMAS):
                kept = self._kept.setdefault(part.name, deque())
                kept.append(_end_of(part.to_pyarrow(), self._rows))
                _trim(kept, self._rows)

    def counts(self) -> dict[str, int]:
        """Return how many events of each schema came, most first."""
        with self._lock:
            return dict(self._counts.most_common())

    def newest(self, name: str | None = None) -> dict[str, list[pa.RecordBatch]]:
        """Return what is kept, in order of arrival."""
        with self._lock:
            kept = {key: list(parts) for key, parts in self._kept.items() if name in (None, key)}
        return {key: list(_last(parts, self._rows)) for key, parts in kept.items()}


def _end_of(batch: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    """Copy the last rows, since a slice would hold on to all of its batch."""
    first = max(0, batch.num_rows - rows)
    if not batch.num_columns:
        return batch.slice(first)
    return batch.take(pa.array(np.arange(first, batch.num_rows)))


def _trim(kept: deque[pa.RecordBatch], rows: int) -> None:
    count = sum(batch.num_rows for batch in kept)
    size = sum(batch.nbytes for batch in kept)
    while len(kept) > 1 and (count - kept[0].num_rows >= rows or size > _BYTES):
        oldest = kept.popleft()
        count -= oldest.num_rows
        size -= oldest.nbytes


def _last(parts: list[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    surplus = max(0, sum(part.num_rows for part in parts) - rows)
    for part in parts:
        skipped = min(surplus, part.num_rows)
        surplus -= skipped
        if skipped < part.num_rows:
            yield part.slice(skipped)


_AT_ONCE = 4
_EVERY = 0.25  # seconds between two updates of the display
_RATE_OVER = 5.0  # seconds
_SHOWN = 20  # rows in a tab


class LiveView(RunningBox):
    """A query that runs while other cells run.

    The newest events of each schema are kept, all are counted. Everything works without a
    browser too: `start`, `stop`, `result`.

    Parameters
    ----------
    connection
        What to ask: a connection, or an endpoint as in `vastlab.connect`.
    expression, mode, limit, since, until, params
        As in `vastlab.Connection.query`, but that all events count unless a limit is set.
    rows
        How many events of each schema to keep.
    start
        Whether to start at once.

    Examples
    --------
    >>> view = LiveView("logs", "resp_p == 443", rows=20, start=False)
    >>> view
    LiveView('resp_p == 443', unified, stopped, 0 events)
    """

    _ring: Ring
    _started: float
    _stopped: float
    _call: Call
    _warnings: list[str]
    _samples: deque[tuple[float, int]]
    _drawn: dict[str, int]
    _names: list[str]

    def __init__(
        self,
        connection: Connection | str | None = None,
        expression: str = "",
        mode: str | ExportMode = "unified",
        limit: int = 0,
        *,
        rows: int = 100,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        start: bool = True,
    ) -> None:
        # A wrong expression fails the cell here, not a task in the background.
        self._expression = echo(bind(parse_query(expression), params or {}))
        self._mode = as_mode(mode)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise errors.UsageError(f"limit must be a number of events, got {limit!r}")
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
            raise errors.UsageError(f"rows must be a number of events, got {rows!r}")
        self._limit, self._rows = limit, rows
        self._asked: dict[str, Any] = {"since": since, "until": until, "params": params}
        self._source = expression
        self._connection = (
            connection if isinstance(connection, Connection) else Connection(connection)
        )
        self._begin()
        self._build()
        if start:
            self.start()

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the query again; no effect while it runs.

        Raises
        ------
        UsageError
            Where four views run already.
        """
        if self.running:
            return
        _views().add(self)
        self._begin()
        self.error = ""
        self.running = True
        try:
            self._job = self._connection.start(self._follow)
        except BaseException as error:
            self._end(error)
            raise

    def stop(self) -> None:
        """End the query and keep what arrived; twice is once."""
        job, self._job = self._job, None
        if job is None:
            return
        job.cancel()
        self._end(None)
        with contextlib.suppress(errors.VastlabError):  # of a connection that is closed
            self._connection.start(lambda _: self._show()).result()

    def close(self) -> None:
        """Stop, and take the widgets away; the newest events stay as tables."""
        self.stop()
        super().close()

    def final_mime_bundle(self) -> dict[str, str]:
        """Return the events that are kept, by MIME type."""
        kept: dict[str, str] = {}
        with contextlib.suppress(errors.VastlabError):  # of a connection that is closed
            kept["text/html"] = self.result()._repr_html_()
        return {**super().final_mime_bundle(), **kept}

    # --- what arrived -----------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """How many events of each schema arrived, most first."""
        return self._ring.counts()

    @property
    def events(self) -> int:
        """How many events arrived."""
        return sum(self.counts.values())

    def result(self) -> Result:
        """Return the events that are kept, as they are now.

        Returns
        -------
        Result
            Partial where it does not hold all that arrived.
        """
        job = self._connection.start(lambda _: self._collected())
        return job.result()

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        asked = _text.plain(repr(_text.cut(self._expression, 80)))
        return f"LiveView({asked}, {self._mode.value}, {state}, {plural(self.events, 'event')})"

    # --- on the loop ------------------------------------------------------------------------

    async def _follow(self, vast: VAST) -> None:
        ticker = asyncio.ensure_future(self._tick())
        error: BaseException | None = None
        try:
            export = vast.export(
                self._source, self._mode, self._limit, report=self._call, **self._asked
            )
            async with aclosing(export) as parts:
                async for part in parts:
                    self._ring.add(part)
        except Exception as failure:  # noqa: BLE001 - shown in the widget, since it is not awaited
            error = failure
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])
            self._end(error)
        await self._show()

    async def _tick(self) -> None:
        while True:
            await self._show()
            await asyncio.sleep(_EVERY)

    async def _show(self) -> None:
        try:
            await self._redraw()
        except Exception as failure:  # noqa: BLE001 - a display must not end the query
            self._status.value = html.failure(repr(failure))

    async def _redraw(self) -> None:
        counts = self.counts
        self._status.value = self._status_html(counts)
        if counts == self._drawn:
            return
        self._drawn = counts
        names = list(dict.fromkeys([*self._names, *counts]))
        self._names = names
        # A list that changes while it is open closes: many schemas have no numbers there.
        many = len(names) > MOST_TABS
        self._views.offer({n: title(n, None if many else counts[n]) for n in names})
        await self._draw(self._views.chosen)

    async def _draw(self, name: str) -> None:
        if name in self._names:
            arrived = self._drawn.get(name, 0)  # which the tab says; there may be more by now
            newest = await self._collected(name, min(_SHOWN, arrived))
            parts = newest.to_arrow().get(name, [])  # none where there are too many schemas
            taxonomy = self._connection.taxonomy
            shown = make_preview(
                name,
                parts,
                rows=_SHOWN,
                columns=html.COLUMNS,
                zone=self._connection.zone,
                asked=fields_of(self._expression, name, parts, taxonomy),
            )
            newest_first = replace(shown, rows=shown.rows[::-1], newest_of=arrived)
            self._views.fill(name, View(newest_first)._repr_html_())

    async def _collected(self, name: str | None = None, rows: int | None = None) -> Result:
        kept = self._ring.newest(name)
        batches = [
            batch
            for parts in kept.values()
            for batch in (parts if rows is None else _last(parts, rows))
        ]
        held, events, failed = sum(batch.num_rows for batch in batches), self.events, self.error
        outcome = Outcome(
            self._expression,
            self._mode.value,
            self._limit,
            elapsed=self._elapsed(),
            partial=held < events or bool(failed),
            limit_reached=0 < self._limit <= events,
            chosen_from=events if held < events and failed else 0,
            newest_of=events if held < events and not failed else 0,
        )
        return Result(
            tables_of(batches), outcome, zone=self._connection.zone, source=self._connection
        )

    # --- inside -----------------------------------------------------------------------------

    def _begin(self) -> None:
        self._ring = Ring(self._rows)
        self._started, self._stopped = time.monotonic(), 0.0
        self._call = Call()
        self._warnings = []
        self._samples = deque([(self._started, 0)])
        self._drawn = {}
        self._names = []

    def _end(self, error: BaseException | None) -> None:
        if self.running:
            self._stopped = time.monotonic()
        if error is not None:
            self.set_error(error)
        self.running = False
        _views().discard(self)
        self._status.value = self._status_html(self.counts)

    def _elapsed(self) -> float:
        return (self._stopped or time.monotonic()) - self._started

    def _status_html(self, counts: Mapping[str, int]) -> str:
        events = sum(counts.values())
        step = self._call.step(Step("", events))
        if self.running and step.doing:  # a folder of logs may have to be read first
            facts = [Pace().say(step, self._elapsed())]
        else:
            facts = [f"{plural(events, 'event')} in {plural(len(counts), 'schema')}"]
            facts += [f"{self._rate(events):,.0f}/s"] if self.running else []
            facts.append(f"{self._elapsed():.0f} s")
        if 0 < self._limit <= events:
            facts.append("limit reached")
        elif not self.running:
            facts.append("stopped")
        failure = html.failure(self.error) if self.error else ""
        self._warnings += self._call.pop_warnings()
        return failure + "".join(map(html.note, self._warnings)) + html.line(" · ".join(facts))

    def _rate(self, events: int) -> float:
        now = time.monotonic()
        self._samples.append((now, events))
        while len(self._samples) > 2 and now - self._samples[1][0] > _RATE_OVER:
            self._samples.popleft()
        then, before = self._samples[0]
        return (events - before) / max(now - then, _EVERY)

    def _build(self) -> None:
        self._button = self.make_button("Start", self.start, self.stop)
        self._status = widgets.HTML()
        self._views = SchemaViews()
        asked = self._expression or "all events"
        head = widgets.HTML(html.line(f"{self._mode.value}: {_text.cut(asked, 200)}"))
        row = widgets.HBox(
            [self._button, self._status],
            layout=widgets.Layout(align_items="center", grid_gap="0 1em"),
        )
        super().__init__([head, row, self._views])
        self._views.observe(self._on_view_chosen, "chosen")

    def show_error(self, error: BaseException) -> None:
        """Show an error of a click in the status line."""
        self._end(error)

    def _on_view_chosen(self, change: Mapping[str, Any]) -> None:
        with contextlib.suppress(errors.VastlabError):  # of a connection that is closed
            self._connection.start(lambda _: self._draw(change["new"]))


def running() -> tuple[LiveView, ...]:
    """Return the views that run."""
    return _views().all()


def stop_all() -> None:
    """Stop all views."""
    for view in running():
        view.stop()


class _Views:
    """The views of this process that run; they are stopped before it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, LiveView] = {}
        atexit.register(stop_all)

    def add(self, view: LiveView) -> None:
        with self._lock:
            if len(self._running) >= _AT_ONCE:
                raise errors.UsageError(
                    f"{_AT_ONCE} live views are running", hint="stop one of them: view.stop()"
                )
            self._running[id(view)] = view

    def discard(self, view: LiveView) -> None:
        with self._lock:
            self._running.pop(id(view), None)

    def all(self) -> tuple[LiveView, ...]:
        with self._lock:
            return tuple(self._running.values())


@functools.cache
def _views() -> _Views:
    return _Views()
