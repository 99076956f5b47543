"""A form for a query, with its history."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import traitlets

from vastlab import _text, errors
from vastlab._call import Arrived, Call
from vastlab._text import plural
from vastlab.client import VAST, ExportMode
from vastlab.config import Settings, state_folder
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.display.preview import Outcome
from vastlab.notebook.notes import Pace, warnings_kept
from vastlab.notebook.options import MODES
from vastlab.notebook.widgets.views import Answer, RunningBox
from vastlab.result import Result

REMEMBERED = 50
_LONGEST = 10_000  # characters of an expression that goes to disk
_LARGEST = 1 << 20  # bytes of the file before it is rewritten


class History:
    """The expressions of each endpoint, newest first, in a private file with a line for each.

    Lines are appended whole, so that several kernels can write; malformed lines are skipped. Where
    no file can be written, expressions are remembered until the process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten: dict[str, list[str]] = defaultdict(list)

    def of(self, place: str) -> tuple[str, ...]:
        """Return the newest different expressions of a profile or an endpoint (without secrets)."""
        written = [expression for where, expression in self._lines() if where == place]
        newest = [*reversed(self._unwritten[place]), *reversed(written)]
        return tuple(dict.fromkeys(newest))[:REMEMBERED]

    def add(self, place: str, expression: str) -> None:
        """Remember an expression."""
        if not expression.strip():
            return
        if len(expression) <= _LONGEST:
            with contextlib.suppress(OSError):
                self._append(_line(place, expression))
                return
        kept = self._unwritten[place]
        kept.append(expression)
        del kept[:-REMEMBERED]

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(self._path, os.O_APPEND) as descriptor:
            # One call for the whole line; the break before it ends a line that was cut.
            os.write(descriptor, b"\n" + line)
            size = os.fstat(descriptor).st_size
        if size > _LARGEST:
            self._shorten()

    def _shorten(self) -> None:
        """Rewrite the file with the newest lines of each place."""
        kept: dict[tuple[str, str], None] = {}
        counts: dict[str, int] = defaultdict(int)
        room = _LARGEST // 2
        for place, expression in reversed(list(self._lines())):
            if (place, expression) in kept or counts[place] >= REMEMBERED:
                continue
            room -= len(_line(place, expression)) + 1
            if room < 0:
                break
            kept[place, expression] = None
            counts[place] += 1
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with _private(temporary, os.O_TRUNC) as descriptor:
            os.write(descriptor, b"\n".join(_line(*entry) for entry in reversed(kept)))
        temporary.replace(self._path)

    def _lines(self) -> Iterator[tuple[str, str]]:
        content = b""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * _LARGEST))
            content = file.read(2 * _LARGEST)
        for line in content.split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                match json.loads(line):
                    case {"place": str(place), "expression": str(expression)}:
                        yield place, expression


def _line(place: str, expression: str) -> bytes:
    return json.dumps({"place": place, "expression": expression}).encode()


@contextlib.contextmanager
def _private(path: Path, how: int) -> Iterator[int]:
    """Open a file that only its owner may read, also one that existed before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
        yield descriptor
    finally:
        os.close(descriptor)


_LARGEST_LIMIT = 2**31 - 1
_LINE = 200  # characters of an expression in the history
_EVERY = 0.25  # seconds between two updates of the status


class QueryBox(RunningBox):
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
    mode = traitlets.Enum(MODES, "historical")
    limit = traitlets.Int(100, min=0)
    profile = traitlets.Unicode("")
    """A profile of ``vast.yaml``; empty for the connection that the box was made with."""
    result = traitlets.Instance(Result, allow_none=True)

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
        self._build()
        for name, form in self._forms.items():
            traitlets.link((self, name), (form, "value"))
        self.expression, self.mode, self.limit = expression, mode, limit
        self._past.observe(self._recalled, "value")
        self.observe(self._offer_history, "profile")
        self._offer_history()

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
        """Run the query without waiting, as a click on Run does; no effect while it runs."""
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
        self.stop()
        for connection in getattr(self, "_opened", {}).values():
            connection.close()
        super().close()

    def final_mime_bundle(self) -> dict[str, str]:
        """Return the answer, by MIME type."""
        answer = {} if self.result is None else {"text/html": self.result._repr_html_()}
        return {**super().final_mime_bundle(), **answer}

    def __repr__(self) -> str:
        asked = _text.plain(repr(_text.cut(self.expression, 80)))
        form = f"QueryBox({asked}, {self.mode}, limit {self.limit})"
        return form if self.result is None else f"{form}\n{self.result!r}"

    # --- on the loop ------------------------------------------------------------------------

    async def _ask(self, vast: VAST) -> None:
        asked = Outcome(self.expression, self.mode, self.limit)
        call, arrived = Call(), Arrived(asked.limit)
        ticker = asyncio.ensure_future(self._tick(call, arrived))
        failure: BaseException | None = None
        try:
            question = vast.prepare(asked.expression, ExportMode(asked.mode), asked.limit)
            others = functools.partial(vast.left_out, question)
            await arrived.take(lambda: vast.run(question, report=call), others=others)
        except asyncio.CancelledError:
            failure = errors.QueryInterrupted("stopped")
        except Exception as error:  # noqa: BLE001 - shown in the box, since it is not awaited
            failure = error
        finally:
            ticker.cancel()
        try:
            answer = await self._answer(arrived, asked, partial=failure is not None)
            self._finish(answer, failure, call.pop_warnings())
        except Exception as error:  # noqa: BLE001 - a display that fails is shown as well
            self._fail(error, None)
        finally:
            self.running = False

    async def _tick(self, call: Call, arrived: Arrived) -> None:
        pace = Pace()
        while True:
            await asyncio.sleep(_EVERY)
            step = call.step(replace(arrived.step(), doing="asking …"))
            self._status.value = html.line(pace.say(step, arrived.elapsed))

    async def _answer(self, arrived: Arrived, asked: Outcome, *, partial: bool) -> Result:
        connection = self._connection()
        outcome = replace(
            asked,
            elapsed=arrived.elapsed,
            limit_reached=not partial and arrived.limited,
            left_out=arrived.left_out,
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

    def _finish(
        self, answer: Result, failure: BaseException | None, remarks: Sequence[str]
    ) -> None:
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
        self.set_error(error)
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

    def _build(self) -> None:
        self._button = self.make_button("Run", self.start, self.stop, "warning")
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
        options=MODES,
        tooltips=("what is stored", "what arrives from now on", "first the one, then the other"),
        style={"button_width": "auto"},
    )


def _limit_form() -> widgets.BoundedIntText:
    return widgets.BoundedIntText(
        max=_LARGEST_LIMIT,
        description="limit",
        tooltip="the largest number of events; 0 for all",
        style={"description_width": "auto"},
        layout=widgets.Layout(width="11em"),
    )
