"""What `Connection` computes of events, without collecting them: groups, timelines, SQL."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta, tzinfo
from typing import Any

import pandas as pd

from vastlab._waiting import Waiting
from vastlab.client import VAST


class WaitedSummaries:
    """The calls of a connection that group events; it has a client, and a zone for buckets."""

    _vast: VAST
    _waiting: Waiting
    _zone: tzinfo | None

    def summarize(
        self,
        expression: str = "",
        *,
        by: str | Iterable[str] = (),
        every: str | timedelta | None = None,
        limit: int = 0,
        **options: Any,
    ) -> pd.DataFrame:
        """Group the events that match, and compute aggregates of each group.

        Parameters
        ----------
        expression
            As in `query`.
        by
            One or several fields; a concept such as ``net.src.ip`` joins schemas.
        every
            The length of buckets of the event time, such as ``"1h"``, in the connection's time
            zone.
        limit
            The largest number of groups; 0 for all.
        options
            Aggregates by the name of their column, such as ``bytes="sum(orig_bytes)"``, or all
            of them as ``aggregates={...}``; without any, ``events="count()"``. Also ``since``,
            ``until`` and ``params`` as in `query`.

        Returns
        -------
        pandas.DataFrame
            Sorted by time, then by the first aggregate, descending.
        """
        return self._waiting.answer(
            "summarizing",
            self._vast.summarize,
            expression,
            by=by,
            every=every,
            limit=limit,
            tz=self._zone,
            **options,
        )

    def top(
        self, field: str, expression: str = "", n: int = 20, by: str = "events", **bounds: Any
    ) -> pd.DataFrame:
        """Return the most frequent values of a field, without collecting the events.

        Parameters
        ----------
        field
            Named as in an expression; a concept such as ``net.src.ip`` joins schemas.
        expression, bounds
            As in `count`.
        n
            The largest number of values; 0 for all.
        by
            What to rank by: ``"events"``, or an aggregate such as ``"sum(orig_bytes)"``.
        """
        ask = self._vast.top
        return self._waiting.answer("counting", ask, field, expression, n=n, by=by, **bounds)

    def timeline(
        self,
        expression: str = "",
        every: str | timedelta | None = None,
        by: str = "#type",
        **bounds: Any,
    ) -> pd.DataFrame:
        """Return how many events there are in each bucket of time, for each schema.

        Parameters
        ----------
        expression, bounds
            As in `count`.
        every
            The length of the buckets, such as ``"1h"``, in the connection's time zone; by
            default, so that there are at most 60.
        by
            A field whose values are counted each on their own, instead of the schemas.
        """
        ask, zone = self._vast.timeline, self._zone
        return self._waiting.answer(
            "counting", ask, expression, every=every, by=by, tz=zone, **bounds
        )

    def sql(self, statement: str, expression: str = "", **bounds: Any) -> pd.DataFrame:
        """Ask in SQL, with each schema as a table.

        Parameters
        ----------
        statement
            One statement that reads, such as ``select id.orig_h, sum(orig_bytes) from zeek.conn
            where in_subnet(id.orig_h, '10.0.0.0/8') group by 1``; see `VAST.sql`.
        expression, bounds
            As in `count`: which events the tables hold. ``params`` are also for the ``$names`` of
            the statement.
        """
        ask = self._vast.sql
        return self._waiting.answer("running a statement", ask, statement, expression, **bounds)
