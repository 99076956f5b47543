"""SchemaTree: what the node holds, to browse and to click into a QueryBox."""

from __future__ import annotations

import json
from typing import Any

import ipywidgets as widgets
import traitlets

from vastlab import _text, errors
from vastlab.connection import Connection
from vastlab.display import html
from vastlab.display.outcome import plural
from vastlab.expression import parse
from vastlab.notebook.widgets.closing import close_children
from vastlab.notebook.widgets.query_box import QueryBox
from vastlab.types import Schema

__all__ = ["SchemaTree"]

_LISTED = 1_000
_WIDTH = 60


class SchemaTree(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """Schemas, their fields and types; a click puts a field into a query.

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
        self._members.observe(self._clicked, "value")
        self._type.on_click(lambda _: self._insert_type())
        self.observe(lambda _: self._open(), "schema")
        self.refresh()

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the schema that is open, with their types."""
        opened = self._schemas.get(self.schema)
        return {} if opened is None else {leaf.name: str(leaf.type) for leaf in opened.leaves}

    def refresh(self) -> None:
        """Ask again what there is."""
        self._schemas = self._connection.schemas()
        if self.schema not in self._schemas:
            self.schema = min(self._schemas, default="")
        self._filter()
        self._open()

    def insert(self, text: str) -> None:
        """Append to the expression, behind a blank.

        Parameters
        ----------
        text
            Such as the name of a field.
        """
        self.expression = f"{self.expression.rstrip()} {text}".lstrip()

    def close(self) -> None:
        """Take the tree away with everything in it."""
        close_children(self)
        super().close()

    def __repr__(self) -> str:
        return f"SchemaTree({plural(len(self._schemas), 'schema')})"

    # --- inside -----------------------------------------------------------------------------

    def _insert_type(self) -> None:
        if self.schema:
            joined = "&& " if self.expression.strip() else ""
            self.insert(f"{joined}#type == {json.dumps(self.schema, ensure_ascii=False)}")

    def _clicked(self, change: Any) -> None:
        name = change["new"]
        if name is None:
            return
        self._members.value = None  # so that the same can be clicked again
        try:
            parse(f"{name} == null")
        except errors.ExpressionError:
            self._status.value = html.note(f"no expression can name the field {name}")
        else:
            self.insert(name)

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
        fields = list(self.fields.items())
        rows = [(f"{_shown(name)}  ·  {_shown(type_)}", name) for name, type_ in fields[:_LISTED]]
        self._members.options = rows
        self._members.value = None
        more = f", the first {_LISTED:,} are listed" if len(fields) > _LISTED else ""
        said = f"{self.schema}: {plural(len(fields), 'field')}{more}" if self.schema else "empty"
        self._status.value = html.line(said)

    def _build(self) -> None:
        self._words = widgets.Text(placeholder="part of a schema's name")
        self._listed = widgets.Select(rows=10)
        self._members = widgets.Select(rows=10, layout=widgets.Layout(width="30em"))
        self._type = widgets.Button(
            description="Insert #type", tooltip="only events of this schema", icon="plus"
        )
        self._status = widgets.HTML()
        lists = widgets.HBox([self._listed, self._members])
        super().__init__([widgets.HBox([self._words, self._type]), lists, self._status])


def _shown(text: str) -> str:
    return _text.cut(_text.plain(_text.cut(text, _WIDTH + 1)), _WIDTH)
