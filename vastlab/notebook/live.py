"""LiveView: events as they arrive, with counters, a rate and the newest rows."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import pyarrow as pa
import traitlets

from vastlab import _loop, _text, errors
from vastlab.client import VAST, ExportMode, Moment
from vastlab.collect import collect_pyarrow
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.display.outcome import Outcome, plural
from vastlab.display.preview import preview
from vastlab.display.tabs import MOST_TABS, title
from vastlab.expression import parse_query
from vastlab.expression.parameters import bind
from vastlab.nodes.base import Step
from vastlab.notebook.progress import Pace
from vastlab.notebook.ring import Ring
from vastlab.notebook.widgets.closing import ClosingBox
from vastlab.notebook.widgets.schema_views import SchemaViews
from vastlab.result import Result, View
from vastlab.table_slice import TableSlice

__all__ = ["LiveView", "running", "stop_all"]

_AT_ONCE = 4
_EVERY = 0.25  # seconds between two updates of the display
_RATE_OVER = 5.0  # seconds
_SHOWN = 20  # rows in a tab


class LiveView(ClosingBox):
    """A query that goes on while other cells run.

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

    running = traitlets.Bool(False)
    error = traitlets.Unicode("")

    _job: _loop.Job[None] | None = None  # also of a view that was refused
    _ring: Ring
    _started: float
    _stopped: float
    _told: list[str]
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
        # A slip fails the cell, here, and not a task that nobody looks at.
        self._expression = str(bind(parse_query(expression), params or {}))
        self._mode = ExportMode(mode) if mode in _MODES else _refuse_mode(mode)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise errors.UsageError(f"the limit is no number of events: {limit!r}")
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
            raise errors.UsageError(f"rows is no number of events: {rows!r}")
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
        """Ask anew; harmless while it runs.

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

    def left_behind(self) -> dict[str, str]:
        """Return the events that are kept, by MIME type."""
        kept: dict[str, str] = {}
        with contextlib.suppress(errors.VastlabError):  # of a connection that is closed
            kept["text/html"] = self.result()._repr_html_()
        return {**super().left_behind(), **kept}

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
            export = vast.export(self._source, self._mode, self._limit, **self._asked)
            async with aclosing(export) as parts:
                async for part in parts:
                    self._ring.add(part)
        except Exception as failure:  # noqa: BLE001 - shown in the widget: nobody waits here
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
        self._status.value = self._said(counts)
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
            shown = preview(
                name, parts, rows=_SHOWN, columns=html.COLUMNS, zone=self._connection.zone
            )
            self._views.fill(name, View(replace(shown, newest_of=arrived))._repr_html_())

    async def _collected(self, name: str | None = None, rows: int | None = None) -> Result:
        kept = self._ring.newest(name)
        batches = [batch for parts in kept.values() for batch in _tail(parts, rows)]

        async def again() -> AsyncIterator[TableSlice]:
            for batch in batches:
                yield TableSlice(batch)

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
        tables = await collect_pyarrow(again())
        return Result(tables, outcome, zone=self._connection.zone, source=self._connection)

    # --- inside -----------------------------------------------------------------------------

    def _begin(self) -> None:
        self._ring = Ring(self._rows)
        self._started, self._stopped = time.monotonic(), 0.0
        self._told = []
        self._samples = deque([(self._started, 0)])
        self._drawn = {}
        self._names = []

    def _end(self, error: BaseException | None) -> None:
        if self.running:
            self._stopped = time.monotonic()
        if error is not None:
            text = str(error) if isinstance(error, errors.VastlabError) else repr(error)
            self.error = _text.plain_lines(text)
        self.running = False
        _views().discard(self)
        self._status.value = self._said(self.counts)

    def _elapsed(self) -> float:
        return (self._stopped or time.monotonic()) - self._started

    def _said(self, counts: Mapping[str, int]) -> str:
        events = sum(counts.values())
        step = self._connection.step(Step("", events))
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
        remarks = "".join(map(html.note, self._remarks()))
        return failure + remarks + html.line(" · ".join(facts))

    def _remarks(self) -> list[str]:
        self._told += self._connection.remarks()
        return self._told

    def _rate(self, events: int) -> float:
        now = time.monotonic()
        self._samples.append((now, events))
        while len(self._samples) > 2 and now - self._samples[1][0] > _RATE_OVER:
            self._samples.popleft()
        then, before = self._samples[0]
        return (events - before) / max(now - then, _EVERY)

    def _build(self) -> None:
        self._button = widgets.Button(layout=widgets.Layout(width="7em"))
        self._status = widgets.HTML()
        self._views = SchemaViews()
        asked = self._expression or "all events"
        head = widgets.HTML(html.line(f"{self._mode.value}: {_text.cut(asked, 200)}"))
        row = widgets.HBox(
            [self._button, self._status],
            layout=widgets.Layout(align_items="center", grid_gap="0 1em"),
        )
        super().__init__([head, row, self._views])
        self._label(False)
        self.observe(lambda change: self._label(change["new"]), "running")
        self._button.on_click(self._clicked)
        self._views.observe(self._looked, "chosen")

    def _label(self, is_running: bool) -> None:
        self._button.description = "Stop" if is_running else "Start"
        self._button.icon = "stop" if is_running else "play"
        self._button.button_style = "" if is_running else "primary"

    def _clicked(self, _: Any) -> None:
        try:
            if self.running:
                self.stop()
            else:
                self.start()
        except Exception as error:  # noqa: BLE001 - nothing may raise into a callback
            self._end(error)

    def _looked(self, change: Mapping[str, Any]) -> None:
        with contextlib.suppress(errors.VastlabError):  # of a connection that is closed
            self._connection.start(lambda _: self._draw(change["new"]))


def running() -> tuple[LiveView, ...]:
    """Return the views that run.

    Examples
    --------
    >>> running()
    ()
    """
    return _views().all()


def stop_all() -> None:
    """Stop all views.

    Examples
    --------
    >>> stop_all()
    """
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


_MODES = (*ExportMode, *(mode.value for mode in ExportMode))


def _refuse_mode(mode: object) -> ExportMode:
    known = ", ".join(repr(known.value) for known in ExportMode)
    raise errors.UsageError(f"unknown mode: {mode!r}", hint=f"one of {known}")


def _tail(parts: list[pa.RecordBatch], rows: int | None) -> list[pa.RecordBatch]:
    """Take the last rows of several batches."""
    if rows is None:
        return parts
    taken: list[pa.RecordBatch] = []
    for part in reversed(parts):
        if rows <= 0:
            break
        taken.insert(0, part.slice(max(0, part.num_rows - rows)))
        rows -= part.num_rows
    return taken
