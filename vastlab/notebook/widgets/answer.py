"""Answer: a result as tabs, and one event of it as a tree."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import numpy as np
import pyarrow as pa

from vastlab.display.preview import first_in_order, sort_keys
from vastlab.display.tabs import title
from vastlab.display.tree import tree
from vastlab.notebook.widgets.schema_views import SchemaViews
from vastlab.result import Result

_ROWS = 20  # in a tab
_HIGHEST = "24em"
_DETAILS = 1_000  # events that the slider reaches


class Answer(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """The events of a result: a tab for each schema, a slider, and the event that it is at.

    All widgets are made at once and only filled later, since that may happen in the thread of
    vastlab's loop.
    """

    def __init__(self) -> None:
        self._result: Result | None = None
        self._order: dict[str, list[tuple[pa.Table, int]]] = {}
        # A table may be longer than a screen, and what follows should stay in sight.
        self._views = SchemaViews(_HIGHEST)
        self._slider = widgets.IntSlider(
            min=1,
            value=1,
            continuous_update=False,
            style={"description_width": "auto"},
            layout=widgets.Layout(width="30em"),
        )
        self._tree = widgets.HTML(layout=widgets.Layout(max_height=_HIGHEST, overflow="auto"))
        super().__init__(
            [self._views, self._slider, self._tree], layout=widgets.Layout(display="none")
        )
        self._views.observe(self._chosen, "chosen")
        self._slider.observe(self._look, "value")

    def show(self, result: Result) -> None:
        """Fill in a result."""
        self._result, self._order = None, {}  # or what is offered would be looked for in the old
        self._views.offer({name: title(name, _events(result, name)) for name in result.names})
        self._result = result
        for name in self._views.shown if len(result) else ():
            self._views.fill(name, result.show(name, _ROWS)._repr_html_())
        self.layout.display = None if len(result) else "none"
        self._slider.value = 1
        self._look()

    def _chosen(self, change: Any) -> None:
        name = change["new"]
        if self._result is not None and name in self._result:
            self._views.fill(name, self._result.show(name, _ROWS)._repr_html_())
            self._look()

    def _look(self, _: Any = None) -> None:
        name = self._views.chosen
        if self._result is None or name not in self._result:
            self._tree.value = ""
            return
        events = self._reached(self._result, name)
        self._slider.max = max(1, len(events))
        first = "the first " if len(events) == _DETAILS else ""
        self._slider.description = f"event of {first}{len(events):,}"
        self._tree.value = tree(*events[self._slider.value - 1]) if events else ""

    def _reached(self, result: Result, name: str) -> list[tuple[pa.Table, int]]:
        """Find the events that come first, in the order of the table above."""
        if name not in self._order:
            parts = result.to_arrow()[name]
            keys = np.concatenate([sort_keys(part) for part in parts])
            ends = np.cumsum([part.num_rows for part in parts])
            self._order[name] = [
                (parts[i], int(at - (ends[i - 1] if i else 0)))
                for at in first_in_order(keys, _DETAILS).tolist()
                for i in [int(np.searchsorted(ends, at, side="right"))]
            ]
        return self._order[name]


def _events(result: Result, name: str) -> int:
    return sum(part.num_rows for part in result.to_arrow()[name])
