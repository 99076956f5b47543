"""SchemaTree: what the node holds, to browse, and to insert into a QueryBox with a click."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import traitlets

from vastlab import _text
from vastlab._text import plural
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.errors import ExpressionError
from vastlab.expression import parse
from vastlab.expression.ast import FieldExtractor, Or
from vastlab.expression.checks import of_schema
from vastlab.notebook.widgets.query_box import QueryBox
from vastlab.notebook.widgets.views import ClosingBox
from vastlab.types import Schema

__all__ = ["SchemaTree"]

_LISTED = 1_000
_WIDTH = 60


class SchemaTree(ClosingBox):
    """Schemas, their fields and types; a click on a button puts what is chosen into a query.

    Without a browser: set `schema`, read `fields`, call `insert`.

    Parameters
    ----------
    connection
        What to browse: a connection, or an endpoint as in `vastlab.connect`.
    box
        The form that a click writes into; without one, `expression` is written only.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> with tempfile.TemporaryDirectory() as folder, Connection(f"{folder}/my.db") as vast:
    ...     report = vast.ingest(pa.table({"port": [80, 443]}), schema="my.ports")
    ...     tree = SchemaTree(vast)
    >>> tree.schema, tree.fields
    ('my.ports', {'port': 'int64'})
    >>> tree.insert("port")
    >>> tree.expression
    'port'
    """

    schema = traitlets.Unicode("")
    expression = traitlets.Unicode("")

    def __init__(
        self, connection: Connection | str | None = None, box: QueryBox | None = None
    ) -> None:
        self._connection = (
            connection if isinstance(connection, Connection) else Connection(connection)
        )
        self._schemas: dict[str, Schema] = {}
        self._build()
        if box is not None:
            traitlets.link((box, "expression"), (self, "expression"))
        self._words.observe(lambda _: self._filter(), "value")
        self._listed.observe(self._chosen, "value")
        self._part.observe(lambda _: self._open(), "value")
        # Arrow keys choose too: only a button may write into the form.
        self._members.observe(lambda change: self._offer(change["new"]), "value")
        self._field.on_click(lambda _: self._insert_field())
        self._type.on_click(lambda _: self._insert_type())
        self.observe(lambda _: self._open(), "schema")
        self.refresh()

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the schema that is open, with their types."""
        opened = self._schemas.get(self.schema)
        return {} if opened is None else dict(opened.types_by_name)

    def refresh(self) -> None:
        """Ask again what there is."""
        self._schemas = self._connection.schemas()
        if self.schema not in self._schemas:
            self.schema = min(self._schemas, default="")
        self._filter()
        self._open()

    def insert(self, text: str) -> None:
        """Append to the expression: a condition behind ``&&``, other text behind a blank.

        Parameters
        ----------
        text
            Such as the name of a field; one that needs backticks gets them.
        """
        written = str(FieldExtractor(text)) if text in self.fields else text
        self.expression = _joined(self.expression.rstrip(), written)

    def __repr__(self) -> str:
        return f"SchemaTree({plural(len(self._schemas), 'schema')})"

    # --- inside -----------------------------------------------------------------------------

    def _insert_type(self) -> None:
        if self.schema:
            self.insert(str(of_schema(self.schema)))

    def _insert_field(self) -> None:
        if self._members.value is not None:
            self.insert(self._members.value)

    def _offer(self, name: str | None) -> None:
        self._field.disabled = name is None

    def _chosen(self, change: Any) -> None:
        if change["new"] is not None:
            self.schema = change["new"]

    def _filter(self) -> None:
        word = self._words.value.lower()
        names = [name for name in sorted(self._schemas) if word in name.lower()][:_LISTED]
        self._listed.options = [(_shown(name), name) for name in names]
        self._listed.value = self.schema if self.schema in names else None

    def _open(self) -> None:
        if self.schema in (name for _, name in self._listed.options):
            self._listed.value = self.schema
        word = self._part.value.lower()
        found = [(name, type_) for name, type_ in self.fields.items() if word in name.lower()]
        rows = [(f"{_shown(name)}  ·  {_shown(type_)}", name) for name, type_ in found[:_LISTED]]
        self._members.options = rows
        self._members.value = None
        self._offer(None)
        self._type.disabled = not self.schema
        self._status.value = html.line(self._status_text(len(found)))

    def _status_text(self, found: int) -> str:
        if not self.schema:
            return "nothing is stored here yet"
        total = len(self.fields)
        those = "" if found == total else f"{found:,} of "
        more = f", the first {_LISTED:,} are listed" if found > _LISTED else ""
        return f"{self.schema}: {those}{plural(total, 'field')}{more}"

    def _build(self) -> None:
        self._words = _filter_form("part of a schema's name")
        self._listed = widgets.Select(rows=12, layout=_column())
        self._type = _insert_form("Insert #type", "only events of this schema")
        self._part = _filter_form("part of a field's name")
        self._members = widgets.Select(rows=12, layout=_column())
        self._field = _insert_form("Insert field", "the chosen field, at the end of the expression")
        self._status = widgets.HTML()
        sides = [
            widgets.VBox([self._words, self._listed, self._type]),
            widgets.VBox([self._part, self._members, self._field]),
        ]
        columns = widgets.HBox(sides, layout=widgets.Layout(flex_flow="row wrap", grid_gap="0 1em"))
        super().__init__([columns, self._status])


def _joined(expression: str, text: str) -> str:
    """Add a condition, or a part of one, to an expression."""
    try:
        asked = parse(expression)
        parse(text)
    except ExpressionError:  # what is there wants more, or this is no condition
        return f"{expression} {text}".lstrip()
    return f"({expression}) && {text}" if isinstance(asked, Or) else f"{expression} && {text}"


def _filter_form(placeholder: str) -> widgets.Text:
    return widgets.Text(placeholder=placeholder, layout=_column())


def _insert_form(description: str, tooltip: str) -> widgets.Button:
    return widgets.Button(description=description, tooltip=tooltip, icon="plus", disabled=True)


def _column() -> widgets.Layout:
    return widgets.Layout(width="26em")


def _shown(text: str) -> str:
    return _text.short(text, _WIDTH)
