"""What `VAST` computes of events, without collecting them: groups, timelines, SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta, tzinfo
from typing import Any

from vastlab._arguments import Moment, as_limit, as_query, shorten_repr
from vastlab._lazy import pd
from vastlab._session import Session, warn
from vastlab.compile.groups import Groups
from vastlab.errors import UsageError
from vastlab.expression.aggregates import Aggregate, Name, Summary, check_unnamed
from vastlab.nodes.base import ExportMode, Node, Query, Report


class Summaries:
    """The calls of a client that group events; it has a session."""

    _session: Session

    async def summarize(
        self,
        expression: str = "",
        *,
        by: str | Iterable[str] = (),
        every: str | timedelta | None = None,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        limit: int = 0,
        tz: tzinfo | None = None,
        aggregates: Mapping[str, str] | None = None,
        timeout: float | None = None,
        report: Report | None = None,
        **named: str,
    ) -> pd.DataFrame:
        """Group the events that match, and compute aggregates of each group.

        A database computes them where the events are, and so does a Tenzir node what it
        computes exactly. All other events of a node are grouped here as they arrive.

        Parameters
        ----------
        expression, since, until, params, timeout, report
            As in `export`.
        by
            What the events of a group have in common: one or several fields, named as in an
            expression; a concept such as ``net.src.ip`` joins schemas. A schema without such a
            field is left out.
        every
            The length of buckets of the event time, such as ``"1h"``; weeks begin on Mondays.
        limit
            The largest number of groups; 0 for all.
        tz
            The time zone of the buckets; UTC by default.
        aggregates, named
            What is computed, by the name of its column: ``bytes="sum(orig_bytes)"``. The
            functions are count, sum, min, max, mean, count_distinct, distinct, any and all.
            Without any: ``events="count()"``.

        Returns
        -------
        pandas.DataFrame
            Sorted by time, then by the first aggregate, descending. ``attrs["left_out"]`` names
            the schemas of which events were left out, and the field that they lack.

        Raises
        ------
        UsageError
            An unknown function, an ambiguous field, a field of another type than the function
            takes, or too many groups.
        """
        # Here, as in all methods that return a frame: a count need not load pandas.
        from vastlab.group_frames import engine_bucket, to_frame

        check_unnamed(expression)
        asked = Summary.parse(by, every, aggregates or {})
        if twice := sorted(named.keys() & (aggregates or {}).keys()):
            raise UsageError(f"the aggregate {twice[0]!r} is given twice")
        if named:
            asked = Summary.parse(by, every, {**(aggregates or {}), **named})
        query = self._asked(expression, since, until, params)
        rows, report = as_limit(limit), report or warn
        in_utc = replace(asked, every=engine_bucket(asked.every, tz)) if asked.every else asked
        groups = await self._session.ask(
            query, lambda node: node.summarize(query, in_utc, report), timeout, report, asked
        )
        return await asyncio.to_thread(to_frame, groups, asked, tz, rows)

    async def top(
        self,
        field: str,
        expression: str = "",
        *,
        n: int = 20,
        by: str = "events",
        **options: Any,
    ) -> pd.DataFrame:
        """Return the most frequent values of a field; null is no value, and ties sort by value.

        Parameters
        ----------
        field
            Named as in an expression.
        expression
            As in `export`.
        n
            The largest number of values; 0 for all.
        by
            What to rank by: ``"events"``, or an aggregate such as ``"sum(orig_bytes)"``.
        options
            ``since``, ``until``, ``params``, ``timeout`` and ``report`` as in `export`.
        """
        from vastlab.group_frames import without_null

        name = Name.parse(field, "field").column
        column = "count" if name == by == "events" else by  # a field may be called so
        aggregates = {column: "count()" if by == "events" else by}
        Aggregate.parse("by", aggregates[column])
        rows = as_limit(n, "n")
        found = await self.summarize(
            expression, by=field, aggregates=aggregates, limit=rows and rows + 1, **options
        )
        return without_null(found, name, rows)

    async def timeline(
        self,
        expression: str = "",
        *,
        every: str | timedelta | None = None,
        by: str = "#type",
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        tz: tzinfo | None = None,
        timeout: float | None = None,
        report: Report | None = None,
    ) -> pd.DataFrame:
        """Return how many events there are in each bucket of time, for each schema.

        Parameters
        ----------
        expression
            As in `export`.
        every
            The length of the buckets; by default, so that there are at most 60.
        by
            A field whose values are counted each on their own, instead of the schemas.
        tz
            As in `summarize`.
        since, until, params, timeout, report
            As in `export`.
        """
        from vastlab.group_frames import engine_bucket, in_few_buckets, to_frame

        asked = Summary.parse(by, timedelta(days=1) if every is None else every, {})
        query = self._asked(expression, since, until, params)
        reporter = report or warn

        async def answer(node: Node) -> pd.DataFrame:
            async def group(width: int) -> Groups:
                return await node.summarize(query, replace(asked, every=width), reporter)

            if every is None:
                return await in_few_buckets(group, asked, tz, await node.span(query, reporter))
            groups = await group(engine_bucket(asked.every, tz))
            return await asyncio.to_thread(to_frame, groups, asked, tz, 0)

        return await self._session.ask(query, answer, timeout, reporter, asked)

    async def sql(
        self,
        statement: str,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        report: Report | None = None,
    ) -> pd.DataFrame:
        """Ask in SQL, with each schema as a table, as in ``select id.orig_h from zeek.conn``.

        The statement runs here, in DataFusion, and may only read the events. Those of the schemas
        that it names are streamed to it, of a database only the columns that it names; what a
        node sends is not kept either.

        Parameters
        ----------
        statement
            One statement. Names are case-sensitive; in double quotes stands what is not a plain
            word, such as ``"my-log"`` and ``"a/b"``. ``id.orig_h`` is a field of a record.
            Addresses are made of text by ``ip('192.0.2.1')`` or ``try_ip(text)``, and text of them
            by ``ip_text(a)``; ``in_subnet(a, '10.0.0.0/8')`` asks for a network. Networks and
            labels are text. Sums of whole numbers are exact, whatever their size, as those of
            `summarize` are; what else DataFusion computes of them, such as ``a * b``, wraps around
            beyond 64 bits.
        expression, since, until, timeout, report
            As in `export`: which events the tables hold.
        params
            Values for the ``$names`` of the statement and of the expression.

        Returns
        -------
        pandas.DataFrame
            The rows in the order of the statement; columns as in the frames of a query.

        Raises
        ------
        UsageError
            A wrong statement, one that writes, or one that needs too much memory.

        Examples
        --------
        >>> import asyncio
        >>> from vastlab import VAST
        >>> async def main():
        ...     async with VAST("demo:") as vast:
        ...         return await vast.sql(
        ...             "select id.orig_h, sum(orig_bytes) as bytes from zeek.conn where "
        ...             "in_subnet(id.orig_h, '10.1.0.0/16') group by 1 order by 2 desc limit 2"
        ...         )
        >>> asyncio.run(main())["bytes"].tolist()
        [5051243882, 11985069]
        """
        from vastlab import _sql
        from vastlab.frames import table_frame

        if not isinstance(statement, str):
            raise UsageError(f"the statement must be a text, got {shorten_repr(statement)}")
        query = self._asked(expression, since, until, params)
        report = report or warn
        table = await self._session.ask(
            query,
            lambda node: _sql.answer(node, query, statement, params or {}, report),
            timeout,
            report,
        )
        return await asyncio.to_thread(table_frame, table)

    def _asked(
        self, expression: str, since: Moment, until: Moment, params: Mapping[str, object] | None
    ) -> Query:
        """Return the query for all events that are stored and match."""
        return as_query(
            expression,
            ExportMode.HISTORICAL,
            0,
            since=since,
            until=until,
            params=params,
            taxonomy=self._session.taxonomy,
        )
