"""A form for a query, with its history, and the explorer of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import pyarrow as pa
import traitlets

from vastlab import _loop, _text, errors
from vastlab._call import Arrived, Call, asked_for, interruptible, looks_ahead, query_interrupted
from vastlab._text import plural
from vastlab.client import VAST, ExportMode
from vastlab.config import Settings, state_folder
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.display.preview import Outcome
from vastlab.expression.literals import Time
from vastlab.notebook.explorer.keys import Keys
from vastlab.notebook.explorer.panel import Panel
from vastlab.notebook.explorer.question import Question, among_all
from vastlab.notebook.explorer.sources import Held
from vastlab.notebook.notes import Pace
from vastlab.notebook.options import MODES, written
from vastlab.notebook.widgets.history import History
from vastlab.notebook.widgets.query_form import back_button, forms, past_form
from vastlab.notebook.widgets.saved import ParameterForms, SavedQueries
from vastlab.notebook.widgets.views import RunningBox
from vastlab.queries import SavedQuery
from vastlab.result import Result

_LINE = 200  # characters of an expression in the history
_EVERY = 0.25  # seconds between two updates of the status
_TRAIL = 100  # questions


class QueryBox(RunningBox):
    """A form for queries, and an explorer of their answers.

    The answer is shown as events over time, of which a span can be chosen with the mouse, a
    table for each schema that can be sorted, filtered and paged, and one event. A click on a
    value narrows the query; `back` returns.

    The state is in plain traits, so that everything works without a browser too: set
    `expression`, `mode` and `limit`, call `run`, read `result` or `error`.

    Parameters
    ----------
    connection
        What to ask: a connection, an endpoint as in `vastlab.connect`, or a result, of which
        the events are explored.
    expression, mode, limit, since, until
        What the form says at first.

    Examples
    --------
    >>> box = QueryBox(Connection("logs"), limit=10)
    >>> box.mode, box.limit
    ('historical', 10)
    >>> box.query
    '%vast -e ...logs -n 10'
    """

    expression = traitlets.Unicode("")
    mode = traitlets.Enum(MODES, "historical")
    limit = traitlets.Int(100, min=0)
    since = traitlets.Unicode("")
    """The first event time; empty for no bound."""
    until = traitlets.Unicode("")
    """The end of the event time, exclusive; empty for no bound."""
    profile = traitlets.Unicode("")
    """A profile of ``vast.yaml``; empty for the connection that the box was made with."""
    result = traitlets.Instance(Result, allow_none=True)
    """The answer, with at most `limit` events."""

    def __init__(
        self,
        connection: Connection | Result | str | None = None,
        *,
        expression: str = "",
        mode: str = "historical",
        limit: int = 100,
        since: str = "",
        until: str = "",
    ) -> None:
        self._opened: dict[str, Connection] = {}
        self._answering: Connection | None = None  # what was asked, and the panel may ask
        self._held = connection if isinstance(connection, Result) else None
        self._given: Connection | None = None
        if isinstance(connection, Result):
            source = connection.source
            self._given = source if isinstance(source, Connection) else None
        elif isinstance(connection, Connection):
            self._given = connection
        else:
            self._given = self._opened[""] = Connection(connection)
        self._profiles = {} if self._held is not None else Settings.load().profiles
        self._params: Mapping[str, object] = {}
        self._asked = History(state_folder() / "history.jsonl")
        self._trail: list[Question] = []
        self._question: Question | None = None
        self._failure: BaseException | None = None
        self._build()
        for name, form in self._forms.items():
            traitlets.link((self, name), (form, "value"))
        self.expression, self.mode, self.limit = expression, mode, limit
        self.since, self.until = since, until
        self._past.observe(self._recalled, "value")
        self.observe(lambda change: self._parameters.offer(change["new"]), "expression")
        self._parameters.offer(expression)
        self.observe(self._offer_history, "profile")
        self._offer_history()

    # --- asking -----------------------------------------------------------------------------

    @property
    def history(self) -> tuple[str, ...]:
        """What was asked of this profile or endpoint, newest first; at most fifty expressions.

        All forms of the user's have it, also those of other notebooks.
        """
        return self._asked.of(self._place())

    @property
    def query(self) -> str:
        """The line that asks what the form says, for another notebook or a colleague.

        Of a result in memory, it asks for all events that match, whatever its limit was.
        """
        asked = self._asked_for()
        if self._held is not None:
            asked = among_all(self._held, asked)
        return written(
            asked.expression,
            endpoint="" if self._given is None else self._connection().endpoint,
            mode=self.mode,
            limit=self.limit,
            since=asked.since or "",
            until=asked.until or "",
        )

    @property
    def trail(self) -> tuple[Question, ...]:
        """The questions before the one that is shown, oldest first."""
        return tuple(self._trail)

    def run(self) -> Result:
        """Ask, wait, and show the answer.

        Returns
        -------
        Result
            Also in `result`.

        Raises
        ------
        VastlabError
            Also in `error`, as text.
        """
        self.start()
        with interruptible(self._interrupted):
            self.wait()
        if self._failure is not None:
            raise self._failure
        answer: Result = self.result
        return answer

    def start(self) -> None:
        """Run the query without waiting, as a click on Run does; no effect while it runs."""
        if self.running:
            return
        self._begin()
        try:
            self._params = self._parameters.values()
            if self._held is None:
                self._answering = self._connection()
                self._job = self._answering.start(self._ask)
            else:
                held = Held(self._held.to_arrow(), self._held.taxonomy)
                self._job = _loop.background().start(self._ask(held))
        except BaseException as error:
            self.running = False
            self._fail(error)
            raise

    def stop(self) -> None:
        """End what `start` began, and show what has arrived; twice is once."""
        self.panel.stop()
        if self._job is not None:
            self._job.cancel()

    def wait(self) -> None:
        """Wait until what `start` or a click began has ended."""
        while (job := self._job) is not None:
            job.result()
            if self._job is job:
                break
        self.panel.wait()

    def back(self) -> None:
        """Ask the question before the one that is shown; no effect at the first one."""
        if self._trail:
            question = self._trail.pop()
            self._question = None
            self._ask_for(question)

    def narrowed(self, question: Question) -> None:
        """Ask a question that a click in the answer led to; it ends the one that runs."""
        if question.bounds == self.panel.question.bounds:  # the form says them as they were written
            written_so = self._question or self._asked_for()
            question = replace(question, since=written_so.since, until=written_so.until)
        self._ask_for(question)

    def begin(self, work: Coroutine[Any, Any, None]) -> _loop.Job[None]:
        """Start what a click asks for; it ends with the connection that it may ask."""
        if self._answering is None or self._answering.closed:
            return _loop.background().start(work)
        return self._answering.start(lambda _: work)

    def check(self) -> None:
        """Raise an error where the connection is closed that the answer came from."""
        if self._answering is not None:
            self._answering.check()

    def close(self) -> None:
        """Stop, and take the form away with everything in it; its answer stays as a table."""
        self.stop()
        for connection in getattr(self, "_opened", {}).values():
            connection.close()
        super().close()

    def final_mime_bundle(self) -> dict[str, str]:
        """Return the answer, by MIME type."""
        if self.result is None:
            return super().final_mime_bundle()
        page = self.panel.as_html() + self.result._repr_html_()
        return {**super().final_mime_bundle(), "text/html": page}

    def __repr__(self) -> str:
        asked = _text.plain(repr(_text.cut(self.expression, 80)))
        bounds = [f"{n} {b}" for n in ("since", "until") if (b := getattr(self, n))]
        facts = ", ".join([asked, self.mode, f"limit {self.limit}", *map(_text.plain, bounds)])
        form = f"QueryBox({facts})"
        return form if self.result is None else f"{form}\n{self.result!r}"

    # --- on the loop ------------------------------------------------------------------------

    async def _ask(self, source: VAST | Held) -> None:
        call, arrived = Call(), Arrived(self.limit)
        try:
            question, asked, failure = await self._collect(source, call, arrived)
            outcome = arrived.ended(replace(asked, partial=failure is not None))
            if (connection := self._answering or self._given) is not None:
                outcome = replace(outcome, endpoint=connection.endpoint, origin=connection.origin)
            tables = await arrived.tables()
            answer, remarks = self._result(tables, outcome), call.pop_warnings()
            self._finish(answer, failure, remarks)
            if failure is None and outcome.mode == ExportMode.HISTORICAL.value:
                await self.panel.show(source, question, tables, answer.zone)
                self._count(tables, outcome, remarks)
            elif tables or failure is None:  # nothing more can be asked
                self._answering = None
                held = Held(tables, answer.taxonomy)
                await self.panel.show(held, Question(), tables, answer.zone)
        except asyncio.CancelledError:
            self.tell("stopped before all that matches was counted")
        except Exception as error:  # noqa: BLE001 - a display that fails is shown as well
            self._fail(error)
        finally:
            self.running = False

    async def _collect(
        self, source: VAST | Held, call: Call, arrived: Arrived
    ) -> tuple[Question, Outcome, BaseException | None]:
        """Collect the answer; return what was asked, without parameters, and what ended it."""
        question, mode, limit = self._asked_for(), ExportMode(self.mode), self.limit
        asked = Outcome(question.expression, mode.value, limit)
        look = looks_ahead(source.endpoint if isinstance(source, VAST) else None, mode, limit)
        ticker = asyncio.ensure_future(self._tick(call, arrived))
        failure: BaseException | None = None
        try:
            query = source.prepare(
                question.expression,
                mode,
                limit + int(look),
                since=question.since,
                until=question.until,
                params=self._params,
            )
            # A span such as "2h" means the same in all that is asked for the panel.
            bounds = (None if t is None else str(Time(t)) for t in (query.since, query.until))
            question = Question(query.text, *bounds)
            asked = asked_for(query, limit)
            await arrived.take(lambda: source.run(query, report=call), look=look)
        except asyncio.CancelledError:
            failure = errors.QueryInterrupted("stopped")
        except Exception as error:  # noqa: BLE001 - shown in the box, since it is not awaited
            failure = error
        finally:
            ticker.cancel()
        return question, asked, failure

    async def _tick(self, call: Call, arrived: Arrived) -> None:
        pace = Pace()
        while True:
            await asyncio.sleep(_EVERY)
            step = call.step(replace(arrived.step(), doing="asking …"))
            self._status.value = html.line(pace.say(step, arrived.elapsed))

    def _result(self, tables: Mapping[str, list[pa.Table]], outcome: Outcome) -> Result:
        # Not that of the form: another profile may have been chosen since.
        connection = self._answering or self._given
        shown = self._held or connection
        zone = None if shown is None else shown.zone
        return Result(tables, outcome, zone=zone, source=connection)

    # --- showing ----------------------------------------------------------------------------

    def _begin(self) -> None:
        self.error, self._failure = "", None
        self.running = True
        self.panel.stop()
        self._status.value = html.line("asking …")
        question = self._asked_for()
        if self._question not in (None, question):
            self._trail = [*self._trail, self._question][-_TRAIL:]
        self._question = question
        self._back.disabled = not self._trail
        self._asked.add(self._place(), self.expression)
        self._offer_history()

    def _finish(
        self, answer: Result, failure: BaseException | None, remarks: Sequence[str]
    ) -> None:
        if failure is not None and not isinstance(failure, errors.QueryInterrupted):
            if answer.num_rows:
                self.result = answer
            self._fail(failure)
            return
        if failure is not None:
            remarks = [*remarks, f"partial: stopped after {plural(answer.num_rows, 'event')}"]
        self.result = answer
        self._status.value = "".join(map(html.note, remarks)) + html.line(answer.line())

    def _count(
        self, tables: Mapping[str, list[pa.Table]], outcome: Outcome, remarks: Sequence[str]
    ) -> None:
        """Say how many events match; where the limit hid schemas, the result says which."""
        counts = self.panel.counts
        total = f"{plural(sum(counts.values()), 'event')} in {plural(len(counts), 'schema')} match"
        line = html.line(f"{total} · result: {self._result(tables, outcome).line()}")
        self._status.value = "".join(map(html.note, remarks)) + line
        if outcome.limit_reached:
            hidden = tuple((name, count) for name, count in counts.items() if name not in tables)
            self.result = self._result(tables, replace(outcome, left_out=hidden))

    def fail(self, error: BaseException) -> None:
        """Show an error, and that what is seen is not the answer."""
        self.set_error(error)
        self._status.value = html.failure(self.error)

    def tell(self, text: str) -> None:
        """Show a line of text."""
        self._status.value = html.note(_text.plain_lines(text))

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self.fail(error)
        self.panel.dim()

    # --- the form ---------------------------------------------------------------------------

    def _asked_for(self) -> Question:
        since, until = self.since.strip() or None, self.until.strip() or None
        return Question(self.expression.strip(), since, until)

    def _ask_for(self, question: Question) -> None:
        if self.running:
            self.stop()
        self.expression = question.expression
        self.since, self.until = question.since or "", question.until or ""
        self.mode = ExportMode.HISTORICAL.value
        try:
            self.start()
        except errors.VastlabError as error:
            self.fail(error)

    def _interrupted(self) -> errors.QueryInterrupted:
        self.stop()
        return query_interrupted(0 if self.result is None else self.result.num_rows)

    def _connection(self) -> Connection:
        if not self.profile and self._given is not None:
            return self._given
        if self.profile not in self._opened:
            zone = None if self._given is None else self._given.zone
            endpoint = Settings.load().profile(self.profile)
            self._opened[self.profile] = Connection(endpoint, tz=zone)
        return self._opened[self.profile]

    def _place(self) -> str:
        if self._given is None:
            return "a result"
        return f"profile {self.profile}" if self.profile else self._given.endpoint

    def _offer_history(self, _: Any = None) -> None:
        # What is offered has to be one line of text that a browser shows as it is.
        lines = {_text.short(" ".join(e.split()), _LINE): e for e in self.history[::-1]}
        self._lines = dict(reversed(lines.items()))
        self._past.options = list(self._lines)

    def _take(self, query: SavedQuery) -> None:
        self.expression = query.expression
        self._parameters.offer(query.expression, query)

    def _recalled(self, change: Any) -> None:
        if change["new"] in self._lines:
            self.expression = self._lines[change["new"]]
            self._past.value = ""

    def _run_text(self, text: str) -> None:
        self.expression = text
        try:
            self.start()
        except Exception as error:  # noqa: BLE001 - nothing may raise into a callback
            self.fail(error)

    def _build(self) -> None:
        self._button = self.make_button("Run", self.start, self.stop, "warning")
        self._back = back_button()
        self._back.on_click(lambda _: self.back())
        self._past = past_form()
        self._status = widgets.HTML()
        self._parameters = ParameterForms()
        self._saved = SavedQueries(self._take, lambda: self.expression, self.tell)
        self.panel = Panel(self)
        """What shows the answer."""
        here = "a result" if self._given is None else self._given.endpoint
        self._forms = forms(here, list(self._profiles))
        names = ("mode", "limit", "since", "until", "profile")
        controls = widgets.HBox(
            [*(self._forms[name] for name in names), self._button, self._back],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 1em"),
        )
        asked = widgets.VBox([self._forms["expression"], self._parameters])
        known = widgets.HBox(
            [self._past, self._saved], layout=widgets.Layout(flex_flow="row wrap", grid_gap="0 1em")
        )
        keys = Keys(self._run_text)
        super().__init__([asked, controls, known, self._status, self.panel, keys])
        self.add_class("vastlab-box")
