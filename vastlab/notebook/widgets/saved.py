"""Saved queries in a form: a list to choose from, a button that saves, values of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from vastlab import _text, errors, queries
from vastlab.expression import parse_query
from vastlab.expression.parameters import names
from vastlab.expression.parser import parse_literal
from vastlab.queries import SavedQuery

_NONE = "saved queries"
_WIDTH = 60


class SavedQueries(widgets.HBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """The saved queries of the notebook and of the user.

    Parameters
    ----------
    choose
        Called with a query that was chosen.
    expression
        Returns what is to be saved.
    say
        Shows a line: what was saved, or why not.
    """

    def __init__(
        self,
        choose: Callable[[SavedQuery], None],
        expression: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self._choose, self._expression, self._say = choose, expression, say
        self._queries: Mapping[str, SavedQuery] = {}
        self._list = widgets.Dropdown(layout=widgets.Layout(width="22em"))
        self._name = widgets.Text(
            placeholder="a name to save it under", layout=widgets.Layout(width="14em")
        )
        self._button = widgets.Button(
            description="Save",
            icon="save",
            tooltip=f"write the expression to {queries.FILE} beside the notebook",
            layout=widgets.Layout(width="6em"),
        )
        super().__init__(
            [self._list, self._name, self._button],
            layout=widgets.Layout(flex_flow="row wrap", grid_gap="0 .5em"),
        )
        self._list.observe(self._chosen, "value")
        self._button.on_click(lambda _: self._save())
        self.refresh()

    def refresh(self) -> None:
        """Read the saved queries again; a file that cannot be read has none."""
        found: Mapping[str, SavedQuery] = {}
        try:
            found = queries.load()
        except errors.VastlabError as error:
            self._say(str(error))
        self._queries = found
        shown = [
            (_text.cut(queries.describe(query), _WIDTH), name) for name, query in found.items()
        ]
        self._list.options = [(_NONE, ""), *shown]
        self._list.value = ""
        self._list.layout.display = None if shown else "none"

    def _chosen(self, change: Any) -> None:
        if change["new"] in self._queries:
            self._list.value = ""  # it can be chosen again
            self._choose(self._queries[change["new"]])

    def _save(self) -> None:
        try:
            path = queries.save(self._name.value.strip(), self._expression())
        except errors.VastlabError as error:
            self._say(str(error))
            return
        self._say(f"saved as {self._name.value.strip()} in {path}")
        self._name.value = ""
        self.refresh()


class ParameterForms(widgets.HBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """A field for the value of each ``$name`` of an expression."""

    def __init__(self) -> None:
        self._forms: dict[str, widgets.Text] = {}
        self._query: SavedQuery | None = None
        super().__init__(layout=widgets.Layout(flex_flow="row wrap", display="none"))

    @property
    def spare(self) -> tuple[widgets.Widget, ...]:
        """All fields, also those that are not shown now."""
        return tuple(self._forms.values())

    def offer(self, expression: str, query: SavedQuery | None = None) -> None:
        """Show the fields of an expression; that of a saved query has types and defaults."""
        if query is not None:
            self._query = query
        elif self._query is not None and self._query.expression != expression:
            self._query = None
        try:
            wanted = names(parse_query(expression))
        except errors.ExpressionError:
            return  # it is being typed
        for name in wanted:
            if name not in self._forms:
                self._forms[name] = widgets.Text(
                    description=f"${name}",
                    style={"description_width": "auto"},
                    layout=widgets.Layout(width="18em"),
                )
        for parameter in () if query is None else query.parameters:
            self._forms[parameter.name].placeholder = _hint(parameter)
            self._forms[parameter.name].value = ""
        self.children = [self._forms[name] for name in wanted]
        self.layout.display = None if wanted else "none"

    def values(self) -> dict[str, object]:
        """Return the values; text is read as the parameter's type, or as a value if it is one."""
        given = {form.description.removeprefix("$"): form.value for form in self.children}
        given = {name: text for name, text in given.items() if text.strip()}
        if self._query is not None:
            return self._query.values(given)
        return {name: _value(text) for name, text in given.items()}


def _hint(parameter: queries.Parameter) -> str:
    default = f" = {parameter.default}" if parameter.optional else ""
    return _text.short(f"{parameter.type}{default}", _WIDTH)


def _value(text: str) -> object:
    literal = parse_literal(text)
    return text if literal is None else literal
