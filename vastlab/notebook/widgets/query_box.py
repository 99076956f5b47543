"""QueryBox: a query with its mode, limit and expression, and a tab for each schema."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import traitlets

from vastlab import _loop, _text, errors
from vastlab._arrived import Arrived
from vastlab.client import VAST
from vastlab.config import Settings, state_folder
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.display.outcome import Outcome, plural
from vastlab.notebook.notes import warnings_kept
from vastlab.notebook.progress import Pace
from vastlab.notebook.widgets.answer import Answer
from vastlab.notebook.widgets.closing import ClosingBox
from vastlab.notebook.widgets.history import History
from vastlab.result import Result

__all__ = ["QueryBox"]

_MODES = ("historical", "continuous", "unified")
_LARGEST_LIMIT = 2**31 - 1
_LINE = 200  # characters of an expression in the history
_EVERY = 0.25  # seconds between two updates of the status


class QueryBox(ClosingBox):
    """A form for queries.

    The state is in plain traits, so that everything works without a browser too: set
    `expression`, `mode` and `limit`, call `run`, read `result` or `error`.

    Parameters
    ----------
    connection
        What to ask: a connection, or an endpoint as in `vastlab.connect`.
    expression, mode, limit
        What the form says at first.

    Examples
    --------
    >>> box = QueryBox(Connection("logs"), limit=10)
    >>> box.mode, box.limit
    ('historical', 10)
    """

    expression = traitlets.Unicode("")
    mode = traitlets.Enum(_MODES, "historical")
    limit = traitlets.Int(100, min=0)
    profile = traitlets.Unicode("")
    """A profile of ``vast.yaml``; empty for the connection that the box was made with."""
    running = traitlets.Bool(False)
    result = traitlets.Instance(Result, allow_none=True)
    error = traitlets.Unicode("")

    def __init__(
        self,
        connection: Connection | str | None = None,
        *,
        expression: str = "",
        mode: str = "historical",
        limit: int = 100,
    ) -> None:
        self._given = connection if isinstance(connection, Connection) else Connection(connection)
        self._profiles = Settings.load().profiles
        self._opened: dict[str, Connection] = {}
        self._asked = History(state_folder() / "history.jsonl")
        self._job: _loop.Job[None] | None = None
        self._build()
        for name, form in self._forms.items():
            traitlets.link((self, name), (form, "value"))
        self.expression, self.mode, self.limit = expression, mode, limit
        self._button.on_click(self._clicked)
        self._past.observe(self._recalled, "value")
        self.observe(self._offer_history, "profile")
        self._offer_history()
        self.observe(lambda change: self._label(change["new"]), "running")

    # --- asking -----------------------------------------------------------------------------

    @property
    def history(self) -> tuple[str, ...]:
        """What was asked of this profile or endpoint, newest first; at most fifty expressions.

        All forms of the user's have it, also those of other notebooks.
        """
        return self._asked.of(self._place())

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
        self._begin()
        try:
            with warnings_kept() as remarks:
                answer = self._connection().query(
                    self.expression, limit=self.limit, mode=self.mode, quiet=True
                )
        except BaseException as error:
            self._fail(error, getattr(error, "partial", None))
            raise
        finally:
            self.running = False
        self._show(answer, remarks)
        return answer

    def start(self) -> None:
        """Ask without waiting, as a click on Run does; harmless while it runs."""
        if self.running:
            return
        self._begin()
        try:
            self._job = self._connection().start(self._ask)
        except BaseException as error:
            self.running = False
            self._fail(error, None)
            raise

    def stop(self) -> None:
        """End what `start` began, and show what has arrived; twice is once."""
        if self._job is not None:
            self._job.cancel()

    def wait(self) -> None:
        """Wait until what `start` began has ended."""
        if self._job is not None:
            self._job.result()

    def close(self) -> None:
        """Stop, and take the form away with everything in it; its answer stays as a table."""
        if getattr(self, "_job", None) is not None:
            self.stop()
        for connection in getattr(self, "_opened", {}).values():
            connection.close()
        super().close()

    def left_behind(self) -> dict[str, str]:
        """Return the answer, by MIME type."""
        answer = {} if self.result is None else {"text/html": self.result._repr_html_()}
        return {**super().left_behind(), **answer}

    def __repr__(self) -> str:
        asked = _text.plain(repr(_text.cut(self.expression, 80)))
        form = f"QueryBox({asked}, {self.mode}, limit {self.limit})"
        return form if self.result is None else f"{form}\n{self.result!r}"

    # --- on the loop ------------------------------------------------------------------------

    async def _ask(self, vast: VAST) -> None:
        asked = Outcome(self.expression, self.mode, self.limit)
        arrived = Arrived(asked.limit)
        ticker = asyncio.ensure_future(self._tick(arrived))
        failure: BaseException | None = None
        try:
            await arrived.take(lambda: vast.export(asked.expression, asked.mode, asked.limit))
        except asyncio.CancelledError:
            failure = errors.QueryInterrupted("stopped")
        except Exception as error:  # noqa: BLE001 - shown in the box: nobody waits here
            failure = error
        finally:
            ticker.cancel()
        try:
            self._finish(await self._answer(arrived, asked, partial=failure is not None), failure)
        except Exception as error:  # noqa: BLE001 - a display that fails is shown as well
            self._fail(error, None)
        finally:
            self.running = False

    async def _tick(self, arrived: Arrived) -> None:
        connection, pace = self._connection(), Pace()
        while True:
            await asyncio.sleep(_EVERY)
            step = connection.step(replace(arrived.step(), doing="asking …"))
            self._status.value = html.line(pace.say(step, arrived.elapsed))

    async def _answer(self, arrived: Arrived, asked: Outcome, *, partial: bool) -> Result:
        connection = self._connection()
        outcome = replace(
            asked,
            elapsed=arrived.elapsed,
            limit_reached=not partial and arrived.limited,
            partial=partial,
        )
        tables = await arrived.tables()
        return Result(tables, outcome, zone=connection.zone, source=connection)

    # --- showing ----------------------------------------------------------------------------

    def _begin(self) -> None:
        self.error = ""
        self.running = True
        self._status.value = html.line("asking …")
        self._asked.add(self._place(), self.expression)
        self._offer_history()

    def _finish(self, answer: Result, failure: BaseException | None) -> None:
        remarks = self._connection().remarks()
        if failure is None:
            self._show(answer, remarks)
        elif isinstance(failure, errors.QueryInterrupted):
            note = f"partial: stopped after {plural(answer.num_rows, 'event')}"
            self._show(answer, [*remarks, note])
        else:
            self._fail(failure, answer if answer.num_rows else None)

    def _fail(self, error: BaseException, partial: Result | None) -> None:
        if isinstance(partial, Result):
            self._show(partial, [])
        text = str(error) if isinstance(error, errors.VastlabError) else repr(error)
        self.error = _text.plain_lines(text)
        self._status.value = html.failure(self.error)

    def _show(self, answer: Result, remarks: Sequence[str]) -> None:
        self.result = answer
        self._status.value = "".join(map(html.note, remarks)) + html.line(answer.line())
        self._view.show(answer)

    # --- the form ---------------------------------------------------------------------------

    def _connection(self) -> Connection:
        if not self.profile:
            return self._given
        if self.profile not in self._opened:
            self._opened[self.profile] = Connection(Settings.load().profile(self.profile))
        return self._opened[self.profile]

    def _clicked(self, _: Any) -> None:
        try:
            if self.running:
                self.stop()
            else:
                self.start()
        except Exception:  # noqa: BLE001 - the box shows it; nothing may raise into a callback
            return

    def _place(self) -> str:
        return f"profile {self.profile}" if self.profile else self._given.endpoint

    def _offer_history(self, _: Any = None) -> None:
        # What is offered has to be one line of text that a browser shows as it is.
        lines = {_text.cut(_text.plain(" ".join(e.split())), _LINE): e for e in self.history[::-1]}
        self._lines = dict(reversed(lines.items()))
        self._past.options = list(self._lines)

    def _recalled(self, change: Any) -> None:
        if change["new"] in self._lines:
            self.expression = self._lines[change["new"]]
            self._past.value = ""

    def _label(self, is_running: bool) -> None:
        self._button.description = "Stop" if is_running else "Run"
        self._button.icon = "stop" if is_running else "play"
        self._button.button_style = "warning" if is_running else "primary"

    def _build(self) -> None:
        self._button = widgets.Button(layout=widgets.Layout(width="6em"))
        self._label(False)
        self._past = widgets.Combobox(
            placeholder="history: type a part of what was asked before",
            layout=widgets.Layout(width="auto"),
            continuous_update=False,
        )
        self._status = widgets.HTML()
        self._view = Answer()
        self._forms = {
            "mode": _mode_form(),
            "limit": _limit_form(),
            "profile": self._profile_form(),
            "expression": widgets.Textarea(
                placeholder="a VAST expression, such as  resp_p == 443 && id.orig_h in 10.0.0.0/8",
                rows=3,
                layout=widgets.Layout(width="auto"),
            ),
        }
        controls = widgets.HBox(
            [self._forms["mode"], self._forms["limit"], self._forms["profile"], self._button],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 1em"),
        )
        text = self._forms["expression"]
        super().__init__([controls, text, self._past, self._status, self._view])

    def _profile_form(self) -> widgets.Dropdown:
        named = [(_text.cut(_text.plain(name), 40), name) for name in self._profiles]
        return widgets.Dropdown(
            options=[(_text.cut(_text.plain(self._given.endpoint), 40), ""), *named],
            description="profile",
            style={"description_width": "auto"},
            layout=widgets.Layout(width="16em", display=None if named else "none"),
        )


def _mode_form() -> widgets.ToggleButtons:
    return widgets.ToggleButtons(
        options=_MODES,
        tooltips=("what is stored", "what arrives from now on", "first the one, then the other"),
        style={"button_width": "auto"},
    )


def _limit_form() -> widgets.BoundedIntText:
    return widgets.BoundedIntText(
        max=_LARGEST_LIMIT,
        description="limit",
        tooltip="at most so many events; 0 for all",
        style={"description_width": "auto"},
        layout=widgets.Layout(width="11em"),
    )
