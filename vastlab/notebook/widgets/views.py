"""Parts of widgets: an answer, tabs of schemas, and a button that closes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import traitlets
from IPython.display import display

from vastlab import _loop, _text
from vastlab.display.tabs import MOST_TABS
from vastlab.errors import VastlabError


class ClosingBox(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """A box that leaves text in its place when it is closed.

    A notebook that was saved would else show an error there, since what it refers to is gone.
    """

    _shown: tuple[Any, ...] = ()

    def final_mime_bundle(self) -> dict[str, str]:
        """Return what stays, by MIME type."""
        return {"text/plain": repr(self)}

    def close(self) -> None:
        """Take the box away with everything in it; twice is once."""
        if sys.is_finalizing():
            return  # what is left of Python cannot display, and there is no page any more
        shown, self._shown = self._shown, ()
        for handle in shown:
            handle.update(self.final_mime_bundle(), raw=True)
        close_all(self)

    def _ipython_display_(self) -> None:
        if self.comm is None:
            display(self.final_mime_bundle(), raw=True)
            return
        # For a page without widgets: the text that ipywidgets gives is cut. Only what has a name
        # can be replaced.
        bundle = {**self._repr_mimebundle_(), **self.final_mime_bundle()}
        self._shown = (*self._shown, display(bundle, raw=True, display_id=True))


class RunningBox(ClosingBox):
    """A box with a button that starts and stops a query; the state is in plain traits."""

    running = traitlets.Bool(False)
    error = traitlets.Unicode("")

    _job: _loop.Job[None] | None = None

    def make_button(
        self,
        text: str,
        start: Callable[[], None],
        stop: Callable[[], None],
        stop_style: str = "",
    ) -> widgets.Button:
        """Make the button; `text` is what it shows while nothing runs."""
        button = widgets.Button(layout=widgets.Layout(width="7em"))

        def show(is_running: bool) -> None:
            button.description = "Stop" if is_running else text
            button.icon = "stop" if is_running else "play"
            button.button_style = stop_style if is_running else "primary"

        def click(_: Any) -> None:
            try:
                if self.running:
                    stop()
                else:
                    start()
            except Exception as error:  # noqa: BLE001 - nothing may raise into a callback
                self.show_error(error)

        show(False)
        self.observe(lambda change: show(change["new"]), "running")
        button.on_click(click)
        return button

    def show_error(self, error: BaseException) -> None:
        """Show an error of a click."""
        self.set_error(error)

    def set_error(self, error: BaseException) -> None:
        """Keep the text of an error in `error`."""
        text = str(error) if isinstance(error, VastlabError) else repr(error)
        self.error = _text.plain_lines(text)


def close_all(widget: Any) -> None:
    """Close a widget with its children, layout and style, which ipywidgets leaves open.

    `spare` are widgets that may be its children at other times.
    """
    for child in (*getattr(widget, "children", ()), *getattr(widget, "spare", ())):
        close_all(child)
    for name in ("layout", "style"):
        if name in widget.trait_names() and (inside := getattr(widget, name)) is not None:
            inside.close()
    widgets.Widget.close(widget)


_LEGIBLE = 150  # characters of titles; more would have to be cut in each tab


class SchemaViews(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """Several schemas, of which one is shown: chosen by tabs, or from a list if there are many.

    All widgets are made first and only filled later, since filling may happen in the thread of
    vastlab's loop.
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
        self._tabs.observe(self._on_picked, "selected_index")
        self._list.observe(self._on_picked, "value")
        self.observe(self._point, "chosen")

    @property
    def shown(self) -> list[str]:
        """The schemas that have a view: all that have a tab, or the one chosen from the list."""
        return [self.chosen] if self._is_list else list(self._titles)

    def offer(self, titles: Mapping[str, str]) -> None:
        """Set the schemas and their titles; the shown one stays if it is among them."""
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
        """Put safe HTML into the view of a schema, if it has one."""
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

    def _on_picked(self, _: Any) -> None:
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
