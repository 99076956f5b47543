"""SchemaViews: one view for each schema, as tabs where they are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import traitlets

from vastlab.display.tabs import MOST_TABS

_LEGIBLE = 150  # characters of titles; more would have to be cut in each tab


class SchemaViews(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """Several schemas, one of which is looked at: chosen by tabs, or from a list where many.

    All widgets are made at once and only filled later, since that may happen in the thread of
    vastlab's loop.

    Parameters
    ----------
    max_height
        Of each view, in CSS; what is longer scrolls.

    Examples
    --------
    >>> views = SchemaViews()
    >>> views.offer({f"my.schema{number}": "title" for number in range(100)})
    >>> views.chosen, views.shown
    ('my.schema0', ['my.schema0'])
    >>> views.fill("my.schema0", "<p>text</p>")
    """

    chosen = traitlets.Unicode("")
    """The schema that is looked at; empty where there is none."""

    def __init__(self, max_height: str | None = None) -> None:
        self._titles: dict[str, str] = {}
        self._is_list = False
        self._offering = False
        self._panes = [_pane(max_height) for _ in range(MOST_TABS)]
        self._tabs = widgets.Tab()
        self._list = widgets.Dropdown(
            description="schema",
            style={"description_width": "auto"},
            layout=widgets.Layout(width="30em"),
        )
        self._pane = _pane(max_height)
        super().__init__([self._tabs, self._list, self._pane])
        self._arrange()
        self._tabs.observe(self._picked, "selected_index")
        self._list.observe(self._picked, "value")
        self.observe(self._point, "chosen")

    @property
    def shown(self) -> list[str]:
        """The schemas that have a view: all that have a tab, or the one chosen from the list."""
        return [self.chosen] if self._is_list else list(self._titles)

    def offer(self, titles: Mapping[str, str]) -> None:
        """Say which schemas there are; the one that is looked at stays if it is among them.

        Parameters
        ----------
        titles
            What to call each schema, which is plain text.
        """
        if dict(titles) == self._titles:
            return
        is_same = list(titles) == list(self._titles)
        self._titles = dict(titles)
        self._is_list = len(titles) > MOST_TABS or sum(map(len, titles.values())) > _LEGIBLE
        self._offering = True
        try:
            self._arrange(is_same=is_same)
        finally:
            self._offering = False
        self.chosen = self.chosen if self.chosen in titles else next(iter(titles), "")
        self._point()

    def fill(self, name: str, markup: str) -> None:
        """Put markup into the view of a schema, where it has one.

        Parameters
        ----------
        name
            The schema.
        markup
            HTML that is safe.
        """
        if not self._is_list and name in self._titles:
            self._panes[list(self._titles).index(name)].value = markup
        elif name == self.chosen:
            self._pane.value = markup

    @property
    def spare(self) -> tuple[widgets.Widget, ...]:
        """All views, also those that have no tab now."""
        return tuple(self._panes)

    # --- inside -----------------------------------------------------------------------------

    def _arrange(self, *, is_same: bool = False) -> None:
        """Show the tabs or the list."""
        tabs = {} if self._is_list else self._titles
        if not is_same or len(self._tabs.children) != len(tabs):
            self._tabs.children = self._panes[: len(tabs)]
        self._tabs.titles = list(tabs.values())
        if self._is_list:
            self._list.options = [(title, name) for name, title in self._titles.items()]
        self._tabs.layout.display = None if tabs else "none"
        for widget in (self._list, self._pane):
            widget.layout.display = None if self._is_list else "none"

    def _picked(self, _: Any) -> None:
        if self._offering or not self._titles:
            return
        number = self._tabs.selected_index
        if self._is_list:
            self.chosen = self._list.value or ""
        elif number is not None and number < len(self._titles):
            self.chosen = list(self._titles)[number]

    def _point(self, _: Any = None) -> None:
        """Let the tabs or the list show what is chosen."""
        if self._offering or self.chosen not in self._titles:
            return
        if self._is_list:
            self._list.value = self.chosen
        else:
            self._tabs.selected_index = list(self._titles).index(self.chosen)


def _pane(max_height: str | None) -> widgets.HTML:
    # Each has a layout of its own, since each is shown and hidden on its own.
    overflow = None if max_height is None else "auto"
    return widgets.HTML(layout=widgets.Layout(max_height=max_height, overflow=overflow))
