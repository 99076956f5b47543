"""VAST: the asynchronous API.

A `VAST` opens nothing before it is used, and every call may be made from any event loop.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vastlab._arguments import (
    OLDEST,
    Moment,
    as_limit,
    as_mode,
    as_query,
    as_seconds,
)
from vastlab._session import Session, hint, warn
from vastlab._summaries import Summaries
from vastlab.endpoints import Endpoint, NodeEndpoint
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes.base import Explanation, ExportMode, Query, Report
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

if TYPE_CHECKING:
    from vastlab.store.compact import CompactReport
    from vastlab.store.ingest import IngestProgress, IngestReport

__all__ = ["VAST", "ExportMode"]


class VAST(Summaries):
    """An endpoint, and what can be asked of it.

    Parameters
    ----------
    endpoint
        ``"demo:"``, a folder, ``"s3://bucket/path"``, ``"host:port"``, or ``"localhost"`` or an
        address alone, at port 5158. Without one: ``VAST_ENDPOINT``, then ``vast.endpoint`` in
        ``./vast.yaml`` and in the user's ``vast.yaml``, then ``127.0.0.1:5158``.
    taxonomy
        Concepts and models in addition to those that come with vastlab and those in the folder
        ``taxonomy`` next to the user's ``vast.yaml``: a `Taxonomy`, or a file or folder.
    client
        The program that reaches a node: ``vast``, ``tenzir``, or ``auto`` to find out, which
        is what happens unless ``vastlab.client`` in ``vast.yaml`` says otherwise.
    cluster
        A `distributed.Client`, whose workers read the database: they must see its folder at the
        same place, or have credentials for its bucket in their own environment. It is not closed.
        ``dask://scheduler:port/`` before a folder or an URL of a bucket connects to a scheduler.
    infer
        Whether text of logs without a declared type may become addresses, times, numbers and
        so on; true unless ``vastlab.infer`` in ``vast.yaml`` says otherwise.
    encoding
        The encoding of logs, such as ``cp1252``; ``vastlab.encoding`` in ``vast.yaml`` by
        default, else UTF-8, or what a byte order mark says.
    verify
        Whether what is read of a database is compared with its checksums, so that damage is an
        error and never an answer; by default it is, unless ``vastlab.verify`` in the user's own
        ``vast.yaml`` is ``false``.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> import pyarrow as pa
    >>> async def main(folder):
    ...     async with VAST(folder + "/my.db") as vast:
    ...         await vast.ingest(pa.table({"port": [80, 443]}), schema="my.ports")
    ...         async for events in vast.export("port < 100"):
    ...             print(events.name, events.num_rows)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    my.ports 1
    """

    def __init__(
        self,
        endpoint: str | os.PathLike[str] | None = None,
        *,
        taxonomy: Taxonomy | str | os.PathLike[str] | None = None,
        client: str | None = None,
        cluster: Any = None,
        infer: bool | None = None,
        encoding: str | None = None,
        verify: bool | None = None,
    ) -> None:
        self._session = Session(
            endpoint,
            taxonomy=taxonomy,
            client=client,
            cluster=cluster,
            infer=infer,
            encoding=encoding,
            verify=verify,
        )

    @property
    def endpoint(self) -> Endpoint:
        """What this client speaks with."""
        return self._session.endpoint

    @property
    def source(self) -> str:
        """Where the endpoint came from: ``the argument``, a variable, a file, ``the default``."""
        return self._session.source

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts and models that expressions may name."""
        return self._session.taxonomy

    def __repr__(self) -> str:
        return f"VAST({str(self.endpoint)!r})"

    async def __aenter__(self) -> VAST:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what runs and release threads and files; the client can be used again."""
        await self._session.close()

    # --- queries ----------------------------------------------------------------------------

    def export(
        self,
        expression: str = "",
        mode: ExportMode | str = ExportMode.HISTORICAL,
        limit: int = 100,
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        order: str = OLDEST,
        per_schema: bool = False,
        timeout: float | None = None,
        report: Report | None = None,
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that match, batch by batch.

        Parameters
        ----------
        expression
            What to look for; everything by default.
        mode
            What is stored, what arrives after this call, or first one, then the other.
        limit
            The largest number of events; 0 for all.
        since, until
            Bounds of the event time, the second one exclusive: ISO text, a date or datetime
            (UTC if it has no zone), or a span back from now such as ``"2h"``.
        params
            Values for the ``$names`` in the expression.
        order
            ``"oldest"``, or ``"newest"`` for the newest events of each schema first; those
            without a time come last, and those of the same time in no particular order. A
            database reads only what it needs for the limit; of an archive, or from a node,
            everything that matches is read, and put in order here.
        per_schema
            Whether the limit is one for each schema; else schemas that come later by name may
            be left out.
        timeout
            Seconds that the whole export may take.
        report
            Called with the progress and the warnings of this call, from any thread. By default,
            warnings are issued as Python warnings.

        Returns
        -------
        AsyncGenerator of TableSlice
            Schema by schema in the order of their names, and by event time within one.

        Raises
        ------
        UsageError
            A bad mode, limit, bound, order or timeout, or an order or a limit for each schema
            of events that are yet to arrive.
        ExpressionError
            An expression that cannot be run.
        NodeTimeoutError
            While iterating: the export took longer than `timeout`.
        """
        query = self.prepare(
            expression,
            mode,
            limit,
            since=since,
            until=until,
            params=params,
            order=order,
            per_schema=per_schema,
        )
        return self.run(query, timeout=timeout, report=report)

    def prepare(
        self,
        expression: str = "",
        mode: ExportMode | str = ExportMode.HISTORICAL,
        limit: int = 0,
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        order: str = OLDEST,
        per_schema: bool = False,
    ) -> Query:
        """Parse an expression once, for `run`; the arguments are those of `export`."""
        return as_query(
            expression,
            as_mode(mode),
            as_limit(limit),
            since=since,
            until=until,
            params=params,
            taxonomy=self.taxonomy,
            order=order,
            per_schema=per_schema,
        )

    def run(
        self, query: Query, *, timeout: float | None = None, report: Report | None = None
    ) -> AsyncGenerator[TableSlice, None]:
        """Return the events that a query asks for, as `export` does."""
        return self._session.export(query, as_seconds(timeout), report or warn)

    async def write(
        self,
        query: Query | str,
        to: str | os.PathLike[str],
        *,
        timeout: float | None = None,
        report: Report | None = None,
    ) -> dict[str, int]:
        """Write what a query finds to a new database, in one step.

        The workers of a cluster write it themselves, where the query has no limit and the folder
        is one that they see; else the events pass through this process, which keeps few of them.
        An error or a cancellation leaves nothing behind, or an empty database in an object store,
        which the same call fills.

        Parameters
        ----------
        query
            Of `prepare`, or an expression, of which all events are written.
        to
            A folder that does not exist yet or is empty, or ``s3://bucket/path`` (also ``gs://``
            and ``az://``) below which there is nothing: an answer is not mixed with other events.
        timeout, report
            As in `export`.

        Returns
        -------
        dict of str to int
            The number of events by schema. Their import time is that of this call.

        Raises
        ------
        UsageError
            There is something at that place, or the query waits for new events.

        Examples
        --------
        >>> import asyncio, tempfile
        >>> async def main(folder):
        ...     async with VAST("demo:") as vast:
        ...         return await vast.write("zeek.dns.rcode == 3", folder + "/hits.db")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(main(folder))
        {'zeek.dns': 2628}
        """
        from vastlab.nodes import writing  # here, since most calls only read

        asked = self.prepare(query) if isinstance(query, str) else query
        place, report = writing.place_of(to), report or warn
        return await self._session.ask(
            asked, lambda node: writing.write(node, asked, place, report), timeout, report
        )

    async def left_out(
        self, query: Query, seen: Iterable[str], seconds: float | None = None
    ) -> dict[str, int] | None:
        """Count what a query finds in schemas of which its limit let no event through.

        Parameters
        ----------
        query
            Of `prepare`.
        seen
            The schemas of which there are events.
        seconds
            How long it may take.

        Returns
        -------
        dict of str to int
            The number of events by schema; None where it was not counted, since that would take
            longer, or because a node would have to be asked.

        Examples
        --------
        >>> import asyncio
        >>> async def main():
        ...     async with VAST("demo:") as vast:
        ...         query = vast.prepare('#type == "zeek.conn" || #type == "zeek.dns"', limit=10)
        ...         return await vast.left_out(query, ["zeek.conn"])
        >>> asyncio.run(main())
        {'zeek.dns': 37836}
        """
        if query.is_live or query.per_schema:
            return {}
        return await self._session.left_out(query, seen, seconds)

    async def count(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        estimate: bool = False,
        report: Report | None = None,
    ) -> int:
        """Return how many events match.

        Parameters
        ----------
        expression, since, until, params, timeout, report
            As in `export`.
        estimate
            Accepted for PyVAST, where an estimate is an upper bound; the number is always exact.
        """
        counts = await self.counts(
            expression, since=since, until=until, params=params, timeout=timeout, report=report
        )
        return sum(counts.values())

    async def counts(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        timeout: float | None = None,
        report: Report | None = None,
    ) -> dict[str, int]:
        """Return how many events match, by schema; schemas without any are left out.

        Parameters
        ----------
        expression, since, until, params, timeout, report
            As in `export`.
        """
        query = self.prepare(expression, since=since, until=until, params=params)
        report = report or warn
        counts = await self._session.ask(
            query, lambda node: node.counts(query, report), timeout, report
        )
        if not any(counts.values()):
            hint(query, report)
        return counts

    async def explain(
        self,
        expression: str = "",
        *,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        report: Report | None = None,
    ) -> Explanation:
        """Say what a query means for each schema, and what would be read for it.

        The parameters are those of `export`.
        """
        query = self.prepare(expression, since=since, until=until, params=params)
        report = report or warn
        with self._session.naming():
            await self._session.check(query, report)
            return await (await self._session.node()).explain(query, report)

    async def status(
        self,
        timeout: float | None = None,
        retry_delay: float = 0.5,
        *,
        detailed: bool = True,
        report: Report | None = None,
    ) -> dict[str, Any]:
        """Return the node's state under the keys of ``vast status``.

        Parameters
        ----------
        timeout
            Seconds that the answer may take. A node that does not run yet is asked again until
            then; without a timeout, or with 0, it is asked once.
        retry_delay
            Seconds between two attempts.
        detailed
            Accepted for PyVAST; the answer is always the detailed one.
        report
            As in `export`.
        """
        return await self._session.status(timeout, retry_delay, report or warn)

    async def schemas(self, *, report: Report | None = None) -> dict[str, Schema]:
        """Return what the node holds, by schema name; `report` is that of `export`."""
        with self._session.naming():
            return await (await self._session.node()).schemas(report or warn)

    async def compact(self, *, report: Report | None = None) -> CompactReport:
        """Merge the small files of a database, here or on the workers of a cluster.

        Readers and writers go on meanwhile. What was merged stays where the call is cancelled.

        Parameters
        ----------
        report
            As in `export`.

        Returns
        -------
        CompactReport
            How many files there were and are, and why some were not changed.
        """
        from vastlab.nodes.database import DatabaseNode

        with self._session.naming():
            is_node = isinstance(self.endpoint, NodeEndpoint)  # to reach it takes a program
            node = None if is_node else await self._session.node()
            if not isinstance(node, DatabaseNode):
                raise UsageError(
                    f"the files of {self.endpoint} cannot be merged",
                    hint="that is for databases in a folder or an object store",
                )
            return await node.compact(report or warn)

    async def ingest(
        self,
        source: object,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        force: bool = False,
        infer: bool | None = None,
        encoding: str | None = None,
        atomic: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Add the events of files; a folder that does not exist becomes a database.

        Parameters
        ----------
        source
            A file, a folder, a pattern such as ``logs/*.gz``, an open binary file, an Arrow
            table or a frame, or several of them.
        schema
            The schema's name, for formats that do not tell.
        format
            The format, where it is not to be found out.
        strict
            Whether a malformed line, or a value that does not fit its field, is an error.
        force
            Whether files count that were ingested before.
        infer, encoding
            As for the client, whose settings they replace.
        atomic
            Whether a cluster adds all events in one step, as any database does that this process
            writes itself. Else, unless `strict`, its workers' files are added about every 64 MB:
            what was added stays if the rest fails, and the same call again adds what is missing.
        progress
            Called now and then from another thread.

        Returns
        -------
        IngestReport
            What was added, and what could not be read.
        """
        options: dict[str, Any] = dict(self._session.options_of(schema, format, infer, encoding))
        if atomic and isinstance(self.endpoint, NodeEndpoint):
            raise UsageError("a node takes events as they come", hint="leave out atomic")
        if atomic:
            options["atomic"] = True
        with self._session.naming():
            return await (await self._session.node()).ingest(
                source, strict=strict, force=force, progress=progress, **options
            )
