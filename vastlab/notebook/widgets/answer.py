"""Answer: a result as tabs, and one event of it as a tree."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import numpy as np
import pyarrow as pa

from vastlab.display import html
from vastlab.display.preview import first_in_order, sort_keys
from vastlab.display.tabs import MOST_TABS, title
from vastlab.display.tree import tree
from vastlab.result import Result

_ROWS = 20  # in a tab
_DETAILS = 1_000  # events that the slider reaches


class Answer(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """The events of a result: a tab for each schema, a slider, and the event that it is at.

    All widgets are made at once and only filled later, since that may happen in the thread of
    vastlab's loop.
    """

    def __init__(self) -> None:
        self._result: Result | None = None
        self._names: list[str] = []
        self._order: dict[str, list[tuple[pa.Table, int]]] = {}
        # A table may be longer than a screen, and what follows should stay in sight.
        box = widgets.Layout(max_height="24em", overflow="auto")
        self._panes = [widgets.HTML(layout=box) for _ in range(MOST_TABS)]
        self._tabs = widgets.Tab()
        self._more = widgets.HTML()
        self._slider = widgets.IntSlider(
            description="event",
            min=1,
            value=1,
            continuous_update=False,
            layout=widgets.Layout(width="30em"),
        )
        self._tree = widgets.HTML(layout=box)
        super().__init__(
            [self._tabs, self._more, self._slider, self._tree],
            layout=widgets.Layout(display="none"),
        )
        self._tabs.observe(self._look, "selected_index")
        self._slider.observe(self._look, "value")

    def show(self, result: Result) -> None:
        """Fill in a result."""
        self._result, self._order = result, {}
        self._names = names = result.names[:MOST_TABS]
        for pane, name in zip(self._panes, names, strict=False):
            pane.value = result.show(name, _ROWS)._repr_html_()
        self._tabs.children = self._panes[: len(names)]
        self._tabs.titles = [title(name, _events(result, name)) for name in names]
        self._tabs.selected_index = 0 if names else None
        others = len(result) - len(names)
        self._more.value = html.line(f"and {others:,} more schemas") if others > 0 else ""
        self.layout.display = None if names else "none"
        self._slider.value = 1
        self._look()

    def _look(self, _: Any = None) -> None:
        number = self._tabs.selected_index
        if self._result is None or number is None or number >= len(self._names):
            self._tree.value = ""
            return
        events = self._reached(self._result, self._names[number])
        self._slider.max = max(1, len(events))
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
