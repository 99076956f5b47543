"""QueryBox: a query with its mode, limit and expression, and a tab for each schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import traitlets

from vastlab import _text, errors
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.notebook.notes import warnings_kept
from vastlab.result import Result

__all__ = ["QueryBox"]

_MODES = ("historical", "continuous", "unified")
_LARGEST_LIMIT = 2**31 - 1
_TABS = 20
_TITLE_WIDTH = 32


class QueryBox(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
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
        self._connection = (
            connection if isinstance(connection, Connection) else Connection(connection)
        )
        self._mode = widgets.ToggleButtons(
            options=_MODES,
            tooltips=(
                "what is stored",
                "what arrives from now on",
                "first the one, then the other",
            ),
            style={"button_width": "auto"},
        )
        self._limit = widgets.BoundedIntText(
            max=_LARGEST_LIMIT,
            description="limit",
            tooltip="at most so many events; 0 for all",
            style={"description_width": "auto"},
            layout=widgets.Layout(width="11em"),
        )
        self._button = widgets.Button(description="Run", icon="play", button_style="primary")
        self._text = widgets.Textarea(
            placeholder="a VAST expression, such as  resp_p == 443 && id.orig_h in 10.0.0.0/8",
            rows=3,
            layout=widgets.Layout(width="100%"),
        )
        self._status = widgets.HTML()
        self._tabs = widgets.Tab(layout=widgets.Layout(display="none"))
        controls = widgets.HBox(
            [self._mode, self._limit, self._button],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 1em"),
        )
        super().__init__([controls, self._text, self._status, self._tabs])
        traitlets.link((self, "expression"), (self._text, "value"))
        traitlets.link((self, "mode"), (self._mode, "value"))
        traitlets.link((self, "limit"), (self._limit, "value"))
        self.expression, self.mode, self.limit = expression, mode, limit
        self._button.on_click(self._clicked)

    def run(self) -> Result:
        """Ask, and show the answer.

        Returns
        -------
        Result
            Also in `result`.

        Raises
        ------
        VastlabError
            Also in `error`, as text.
        """
        self.error = ""
        self._button.disabled = True
        self._status.value = html.line("asking …")
        try:
            with warnings_kept() as remarks:
                answer = self._connection.query(
                    self.expression, limit=self.limit, mode=self.mode, quiet=True
                )
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._button.disabled = False
        self._show(answer, remarks)
        return answer

    def _clicked(self, _: Any) -> None:
        try:
            self.run()
        except Exception:  # noqa: BLE001 - the box shows it; nothing may raise into a callback
            return

    def _fail(self, error: BaseException) -> None:
        partial = getattr(error, "partial", None)
        if isinstance(partial, Result):
            self._show(partial, [])
        text = str(error) if isinstance(error, errors.VastlabError) else repr(error)
        self.error = "\n".join(map(_text.plain, text.split("\n")))
        self._status.value = html.failure(self.error)

    def _show(self, answer: Result, remarks: Sequence[str]) -> None:
        self.result = answer
        self._status.value = "".join(map(html.note, remarks)) + html.line(answer.line())
        names = answer.names[:_TABS]
        old = self._tabs.children
        self._tabs.children = [widgets.HTML(answer.show(name)._repr_html_()) for name in names]
        self._tabs.titles = [_title(name, answer) for name in names]
        self._tabs.selected_index = 0 if names else None
        self._tabs.layout.display = None if names else "none"
        for child in old:
            child.close()


def _title(name: str, answer: Result) -> str:
    events = sum(part.num_rows for part in answer.to_arrow()[name])
    return f"{_text.cut(_text.plain(name), _TITLE_WIDTH)} ({events:,})"
