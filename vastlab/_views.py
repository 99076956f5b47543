"""Results as people look at them: overviews, previews, pictures and pages."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from vastlab import errors
from vastlab._held import Events
from vastlab._text import listed
from vastlab.display import columns as shown_columns
from vastlab.display import files, html, page, pictures, preview
from vastlab.display.html import View
from vastlab.display.pictures import at_most
from vastlab.display.preview import Outcome, Preview, Summary, make_preview, most_first
from vastlab.expression.taxonomy import Taxonomy

if TYPE_CHECKING:
    from vastlab.display.figures import Picture


class Views(Mapping[str, pd.DataFrame]):
    """The views of a result, which has the events and knows how the query went."""

    _tables: Events
    _outcome: Outcome
    _zone: tzinfo | None
    _summaries: list[Summary] | None = None

    @property
    @abstractmethod
    def taxonomy(self) -> Taxonomy:
        """The concepts that expressions may name."""

    def summary(self) -> pd.DataFrame:
        """Return one row for each schema, most events first: events, columns, first, last."""
        return preview.summary_frame(self._summarised())

    def show(
        self, name: str | None = None, n: int = 10, *, columns: Sequence[str] | None = None
    ) -> View:
        """Return a view of the first events that is safe to look at.

        Event data is written by attackers: a plain frame shows it as it is, this view makes
        control characters visible.

        Parameters
        ----------
        name
            The schema; may be left out where there is only one.
        n
            How many events.
        columns
            The fields to show, named as in an expression: by the end of their paths. If not
            given, those that tell most: the event time, addresses and ports, what the query
            names, and what matters in events of this schema; columns without a value are left
            out.

        Examples
        --------
        >>> from vastlab.result import Result
        >>> events = pa.table({"uid": ["C1"], "port": pa.array([443], pa.uint64())})
        >>> Result({"my.events": [events]}).show(columns=["uid"])
        my.events
        uid
        C1
        1 event, 1 of 2 columns
        """
        if name is None:
            if len(self) != 1:
                raise errors.UsageError(f"show() needs one of the schemas: {listed(self)}")
            name = next(iter(self))
        rows = at_most("show", "events", n)
        if columns is None:
            return View(self._preview(name, rows, html.COLUMNS))
        only = shown_columns.chosen(name, self._first(name, rows), columns)
        return View(self._preview(name, rows, len(only), only))

    def tabs(self) -> Any:
        """Return widgets: a tab for each schema, largest first, with its first events.

        Returns
        -------
        ipywidgets.Widget
            Above twelve schemas a list that can be filtered.
        """
        from vastlab.display import tabs  # here: it imports ipywidgets

        return tabs.tabs([(s.name, s.events) for s in most_first(self._summarised())], self.show)

    def timeline(self, by: str | None = None) -> Picture:
        """Draw events over time (the extra ``plots``).

        Parameters
        ----------
        by
            A field whose values get a colour each; the schemas do if not given.
        """
        return pictures.timeline(self._tables, self._zone, by)

    def top(self, field: str, n: int = 20, *, once_per: str | None = None) -> Picture:
        """Draw the most frequent values of a field, over all schemas (the extra ``plots``).

        Parameters
        ----------
        field
            Named as in an expression: by the end of its path, with its schema or without, or by
            a concept such as ``net.src.ip``.
        n
            How many values, at most 200.
        once_per
            A field such as ``uid`` or ``community_id``: events that share its value count once,
            such as a connection that Zeek and Suricata both describe. Events without a value
            count each.

        Returns
        -------
        matplotlib.figure.Figure
            Which a notebook shows as it is.
        """
        return pictures.top(self._tables, field, n, once_per, self.taxonomy)

    def graph(
        self, source: str | None = None, target: str | None = None, *, n: int = 60
    ) -> Picture:
        """Draw who talks to whom, wider lines for more events (the extra ``plots``).

        Parameters
        ----------
        source, target
            The fields of the two ends; the addresses of connections if not given.
        n
            How many pairs, at most 500; those with most events.

        Returns
        -------
        matplotlib.figure.Figure
            Which a notebook shows as it is.
        """
        return pictures.graph(self._tables, source, target, n, self.taxonomy)

    def line(self) -> str:
        """Describe the result in one line."""
        return preview.line(self._outcome, self._summarised(), self._zone)

    def __repr__(self) -> str:
        return preview.overview(self._outcome, self._summarised(), self._zone)

    def _repr_html_(self) -> str:
        return html.overview(self._outcome, self._summarised(), self._preview, self._zone)

    def to_html(self, path: str | Path, *, rows: int = page.ROWS, overwrite: bool = False) -> None:
        """Write one page to hand to a colleague: the summary, a picture, tables and the queries.

        The page has no script and loads nothing; every value is escaped. It is light or dark as
        the reader's system is. Without the extra ``plots`` it has no picture.

        Parameters
        ----------
        path
            The file, such as ``"case.html"``.
        rows
            The most events that are shown of each schema, the first in time.
        overwrite
            Whether to replace a file of this name.

        Examples
        --------
        >>> import tempfile
        >>> from vastlab.result import Result
        >>> hits = Result({"my.ports": [pa.table({"port": [80, 443]})]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hits.to_html(folder + "/case.html")
        ...     "<td" in Path(folder, "case.html").read_text()
        True
        """
        count = at_most("to_html", "events", rows)
        timed = any(summary.first is not None for summary in self._summarised())
        text = page.page(
            self._outcome,
            self._summarised(),
            lambda name: self._preview(name, count, page.COLUMNS),
            pictures.timeline_png(self._tables, self._zone) if timed else None,
            self._zone,
        )
        files.write_page(text, path, overwrite=overwrite)

    # --- inside -----------------------------------------------------------------------------

    def _known(self, name: str) -> str:
        if name in self._tables:
            return name
        raise errors.UnknownSchemaError(
            f"no events of the schema {name!r} in this result",
            hint=f"there are {listed(self)}" if self else "it is empty",
        )

    def _first(self, name: str, rows: int) -> Sequence[pa.Table]:
        return self._tables.first(self._known(name), rows, newest=self._outcome.newest)

    def _summarised(self) -> list[Summary]:
        if self._summaries is None:
            self._summaries = self._tables.summaries()
        return self._summaries

    def _preview(
        self, name: str, rows: int, columns: int, only: Sequence[str] | None = None
    ) -> Preview:
        parts = self._first(name, rows)
        shown = make_preview(
            name,
            parts,
            rows=rows,
            columns=columns,
            zone=self._zone,
            asked=shown_columns.fields_of(self._outcome.expression, name, parts, self.taxonomy),
            only=only,
            newest=self._outcome.newest,
        )
        summary = next(each for each in self._summarised() if each.name == name)
        return dataclasses.replace(shown, summary=summary)
