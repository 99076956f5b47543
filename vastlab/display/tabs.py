"""A result as widgets: one tab for each schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ipywidgets as widgets

from vastlab import _text
from vastlab.display import html

MOST_TABS = 12
_MOST_LISTED = 1_000
_TITLE_WIDTH = 32


class _View(Protocol):
    def _repr_html_(self) -> str: ...


Show = Callable[[str], _View]


def tabs(schemas: Sequence[tuple[str, int]], show: Show) -> widgets.Widget:
    """Make a tab for each schema, or a list with a filter if there are many."""
    if not schemas:
        return widgets.HTML(html.line("no events"))
    if len(schemas) > MOST_TABS:
        return _listed(schemas, show)
    tab = widgets.Tab([widgets.HTML(show(name)._repr_html_()) for name, _ in schemas])
    tab.titles = [title(name, events) for name, events in schemas]
    tab.selected_index = 0
    return tab


def title(name: str, events: int | None) -> str:
    """Write the title of a tab, with the number of events or without."""
    short = _text.short(name, _TITLE_WIDTH)
    return short if events is None else f"{short} ({events:,})"


def _listed(schemas: Sequence[tuple[str, int]], show: Show) -> widgets.VBox:
    words = widgets.Text(placeholder="part of a name", description="schemas")
    listed = widgets.Select(rows=8, layout=widgets.Layout(width="24em"))
    view = widgets.HTML()

    def choose(_: Any = None) -> None:
        fitting = [(name, n) for name, n in schemas if words.value.lower() in name.lower()]
        listed.options = [(title(*schema), schema[0]) for schema in fitting[:_MOST_LISTED]]
        listed.value = fitting[0][0] if fitting else None  # a list begins with no choice

    def look(_: Any = None) -> None:
        view.value = "" if listed.value is None else show(listed.value)._repr_html_()

    words.observe(choose, "value")
    listed.observe(look, "value")
    choose()
    look()
    return widgets.VBox([words, listed, view])
