"""The result of a query."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import pyarrow as pa

from vastlab import errors, pivot
from vastlab._held import Events, Held, frame, joined
from vastlab._text import listed
from vastlab._views import Views
from vastlab.display import files
from vastlab.display.preview import Outcome, most_first
from vastlab.errors import VastlabWarning
from vastlab.expression import parse_query
from vastlab.expression.parameters import bind
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import Query
from vastlab.table_slice import tables_of
from vastlab.types import Schema

if TYPE_CHECKING:
    import dask.dataframe as dd
    import polars as pl

    from vastlab.notebook import QueryBox


class Source(Protocol):
    """Where a result came from, and where more can be asked: a connection."""

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts that expressions may name."""
        ...

    def schemas(self) -> dict[str, Schema]:
        """Return what there is."""
        ...

    def follow(self, question: pivot.Pivot, *, limit: int) -> Result:
        """Ask what a pivot wants to know."""
        ...


class Result(Views):
    """The events that a query found: a read-only mapping of schema name to DataFrame.

    Frames are made when they are asked for, in event-time order, or the newest first where that
    was asked for. The Arrow tables behind them stay as they arrived.

    Parameters
    ----------
    tables
        The events of each schema; several tables where a name has several layouts.
    outcome
        How the query went.
    zone
        Where the displays show times; the data stay in UTC.
    source
        The connection, which `pivot` asks.

    Examples
    --------
    >>> ports = pa.table({"id.resp_p": pa.array([80, 443, 80], pa.uint64())})
    >>> hits = Result({"zeek.conn": [ports]})
    >>> hits["zeek.conn"]["id.resp_p"].max()
    np.uint64(443)
    >>> len(hits), hits.num_rows
    (1, 3)
    """

    def __init__(
        self,
        tables: Mapping[str, Sequence[pa.Table]],
        outcome: Outcome | None = None,
        *,
        zone: tzinfo | None = None,
        source: Source | None = None,
    ) -> None:
        self._source = source
        self._tables = tables if isinstance(tables, Events) else Held(tables)
        self._outcome = outcome or Outcome()
        self._zone = zone
        self._frames: dict[str, pd.DataFrame] = {}

    # --- mapping ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            parts = self._tables[self._known(name)]
            self._frames[name] = frame(parts, name, newest=self._outcome.newest)
        return self._frames[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __reduce__(self) -> tuple[object, ...]:
        # A connection belongs to its process: what another one gets has no more than the events.
        return partial(Result, zone=self._zone), (self._tables, self._outcome)

    # A mapping would compare frame by frame, which has no single answer.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._tables)

    # --- facts ------------------------------------------------------------------------------

    @property
    def expression(self) -> str:
        """The final expression as it was written, with all parameters replaced."""
        return self._outcome.expression

    @property
    def since(self) -> pd.Timestamp | None:
        """The bound from which on event times were asked for, in UTC; displays show it."""
        return _moment(self._outcome.since)

    @property
    def until(self) -> pd.Timestamp | None:
        """The bound before which event times were asked for, in UTC; displays show it."""
        return _moment(self._outcome.until)

    @property
    def mode(self) -> str:
        """The export mode."""
        return self._outcome.mode

    @property
    def limit(self) -> int:
        """The most events that were asked for; 0 for all."""
        return self._outcome.limit

    @property
    def elapsed(self) -> float:
        """How long the query took, in seconds."""
        return self._outcome.elapsed

    @property
    def limit_reached(self) -> bool:
        """Whether the limit ended the query, so that there may be more; maybe there is not."""
        return self._outcome.limit_reached

    @property
    def left_out(self) -> dict[str, int] | None:
        """What matches in schemas of which the limit let no event through, by schema.

        None where the limit was reached and the other schemas were not looked at: a node is not
        asked for them, and nothing is counted for longer than a moment.
        """
        return None if self._outcome.left_out is None else dict(self._outcome.left_out)

    @property
    def partial(self) -> bool:
        """Whether an interrupt or a failure ended the query; never because of a limit."""
        return self._outcome.partial

    @property
    def zone(self) -> tzinfo | None:
        """Where displays show times; None for UTC."""
        return self._zone

    @property
    def source(self) -> Source | None:
        """Where the result came from: a connection; None where that is not known."""
        return self._source

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts that expressions may name."""
        return Taxonomy.default() if self._source is None else self._source.taxonomy

    @property
    def names(self) -> list[str]:
        """The schemas, most events first."""
        return [summary.name for summary in most_first(self._summarised())]

    @property
    def num_rows(self) -> int:
        """The number of events of all schemas."""
        return self._tables.num_rows

    # --- further questions ------------------------------------------------------------------

    def where(self, expression: str, *, params: Mapping[str, object] | None = None) -> Result:
        """Return the events of this result that match, without asking the node again.

        Parameters
        ----------
        expression
            A VAST expression; here its ``#import_time`` is now.
        params
            Values for the ``$names`` of the expression.

        Examples
        --------
        >>> ports = pa.table({"port": pa.array([80, 443, 8080], pa.uint64())})
        >>> Result({"my.ports": [ports]}).where("port > 100").one()["port"].tolist()
        [443, 8080]
        """
        if not isinstance(expression, str):
            raise errors.UsageError(f"the expression must be a text, got {expression!r}")
        started = time.monotonic()
        asked = bind(parse_query(expression), params or {})
        query = Query(at(asked, time.time_ns()), taxonomy=self.taxonomy)
        for line in self._tables.unknown_names(query):
            warnings.warn(line, VastlabWarning, stacklevel=2)
        found = tables_of(part.to_pyarrow() for part in self._tables.matching(query))
        outcome = dataclasses.replace(
            self._outcome,
            expression=joined(self.expression, asked),
            elapsed=time.monotonic() - started,
            chosen_from=self._outcome.chosen_from or self.num_rows,
            left_out=None if self._outcome.left_out else self._outcome.left_out,
            earlier=self._trail(),
        )
        return Result(found, outcome, zone=self._zone, source=self._source)

    def pivot(
        self,
        field: str,
        within: str | timedelta | None = None,
        *,
        limit: int = 0,
    ) -> Result:
        """Ask for the events of any schema that hold one of the values of a field.

        Events count that hold it in a field of the same kind: any address; a ``uid``,
        ``community_id`` or ``flow_id``; a domain, host name or file digest by VAST's concepts;
        else a field of the same name. Lists are looked into.

        Parameters
        ----------
        field
            Named as in an expression: by the end of its path, with its schema or without.
        within
            How far the event may be in time from one here that names its value, such as
            ``"5m"``; any distance if not given.
        limit
            The largest number of events; 0 for all.

        Returns
        -------
        Result
            The events of this result among them.
        """
        if self._source is None:
            raise errors.UsageError(
                "this result does not know its connection", hint="ask through connect()"
            )
        span = None if within is None else pivot.span(within)
        if not self.num_rows:
            warnings.warn(
                "no events to pivot from: this result is empty", VastlabWarning, stacklevel=2
            )
            return Result({}, zone=self._zone, source=self._source)
        question = pivot.plan(
            field, self._tables, self._source.schemas(), self._source.taxonomy, span
        )
        for line in question.remarks():
            warnings.warn(line, VastlabWarning, stacklevel=2)
        if not question.expression:
            return Result({}, zone=self._zone, source=self._source)
        found = self._source.follow(question, limit=limit)
        found._outcome = dataclasses.replace(found._outcome, earlier=self._trail())
        return found

    def sql(self, statement: str, *, params: Mapping[str, object] | None = None) -> pd.DataFrame:
        """Ask these events in SQL, with each schema as a table.

        Parameters
        ----------
        statement
            One statement that reads, as in `vastlab.VAST.sql`.
        params
            Values for the ``$names`` of the statement.

        Examples
        --------
        >>> ports = pa.table({"port": pa.array([80, 443, 80], pa.uint64())})
        >>> hits = Result({"my.ports": [ports]})
        >>> found = hits.sql("select count(*) as n from my.ports group by port order by n")
        >>> found["n"].tolist()
        [1, 2]
        """
        return self._tables.sql(statement, params or {})

    def explore(self, expression: str = "") -> QueryBox:
        """Explore the events of this result, without asking the node again.

        Parameters
        ----------
        expression
            What to look for among them; all by default.

        Returns
        -------
        vastlab.notebook.QueryBox
            A widget.

        Examples
        --------
        >>> ports = pa.table({"port": pa.array([80, 443, 80], pa.uint64())})
        >>> box = Result({"my.ports": [ports]}).explore("port == 80")
        >>> box.result.num_rows
        2
        >>> box.close()
        """
        from vastlab.notebook import QueryBox  # above this layer: only here, and when it is used

        box = QueryBox(self, expression=expression, limit=0)
        box.run()
        return box

    # --- conversions ------------------------------------------------------------------------

    def one(self) -> pd.DataFrame:
        """Return the only frame.

        Raises
        ------
        UsageError
            Where there is not exactly one schema.
        """
        if len(self) != 1:
            raise errors.UsageError(
                f"one() wants exactly one schema, this result has {len(self)}"
                + (f": {listed(self._tables)}" if self else ""),
                hint="restrict the query, as in '#type == \"zeek.conn\" && ...'",
            )
        return self[next(iter(self))]

    def to_arrow(self) -> dict[str, list[pa.Table]]:
        """Return the tables as they arrived: several where a name has several layouts."""
        return {name: list(parts) for name, parts in self._tables.items()}

    def dask(self) -> dict[str, dd.DataFrame]:
        """Return a Dask DataFrame for each schema (the extra ``cluster``).

        Those of a query with ``to`` are read from its files by whoever computes them: by the
        workers, where a `distributed.Client` is the default one or in use by ``as_current()``.
        Others are made of the frames.

        Returns
        -------
        dict of str to dask.dataframe.DataFrame
            The columns are those of the frames, but addresses, networks and labels are text.

        Examples
        --------
        >>> hits = Result({"my.ports": [pa.table({"port": [80, 443, 80]})]})
        >>> int(hits.dask()["my.ports"]["port"].max().compute())
        443
        """
        return self._tables.dask(self)

    def to_dicts(self) -> dict[str, list[dict[str, Any]]]:
        """Return one nested dictionary for each event, of values that JSON can hold."""
        return files.dictionaries(self._tables)

    def to_polars(self) -> dict[str, pl.DataFrame]:
        """Return one polars frame for each schema (the extra ``polars``).

        Columns are flat; addresses, networks and enumerations are text; times carry UTC. Several
        layouts of one schema are joined as in frames.
        """
        return files.polars_frames(self._tables)

    def to_parquet(self, folder: str | Path, *, portable: bool = False) -> None:
        """Write a vastlab database, which is an endpoint itself: share it.

        Parameters
        ----------
        folder
            A folder that does not exist yet, or an empty one.
        portable
            Write one plain file for each schema instead, ``zeek.conn.parquet``, which pandas,
            Polars and DuckDB read without vastlab: columns are flat, addresses, networks and
            labels are text, times carry UTC, in event-time order. A second file
            ``zeek.conn~2.parquet`` holds events of another layout. vastlab reads the same events
            from these files, by their metadata: the folder is an endpoint, too.

        Examples
        --------
        >>> import tempfile
        >>> hits = Result({"my.ports": [pa.table({"port": [80, 443]})]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hits.to_parquet(folder + "/ports", portable=True)
        ...     pd.read_parquet(folder + "/ports/my.ports.parquet")["port"].tolist()
        [80, 443]
        """
        write = files.write_portable if portable else files.write_parquet
        write(self._tables, folder)

    def to_csv(self, folder: str | Path, *, safe: bool = False, defang: bool = False) -> None:
        """Write one CSV file for each schema, with flat columns, in event-time order.

        Parameters
        ----------
        folder
            A folder that does not exist yet, or an empty one.
        safe
            Quote text that a spreadsheet would run as a formula.
        defang
            Break links, host names and addresses: ``hxxp://evil[.]example``, ``10.0.0[.]1``.
        """
        files.write_csv(self._tables, folder, safe=safe, defang=defang)

    # --- inside -----------------------------------------------------------------------------

    def _trail(self) -> tuple[str, ...]:
        return (*self._outcome.earlier, self.expression)


def _moment(nanoseconds: int | None) -> pd.Timestamp | None:
    return None if nanoseconds is None else pd.Timestamp(nanoseconds, tz="UTC")
