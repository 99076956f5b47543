"""Connection: the blocking API, for scripts and notebooks."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from datetime import tzinfo
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pandas as pd

from vastlab import _loop, _text, errors
from vastlab._arguments import OLDEST, Moment, as_limit, as_mode, as_zone, moment_text
from vastlab._call import (
    Arrived,
    Call,
    Display,
    Others,
    asked_for,
    ingest_interrupted,
    ingest_step,
    interruptible,
    looks_ahead,
    query_interrupted,
)
from vastlab._stored import Stored
from vastlab._waited_summaries import WaitedSummaries
from vastlab._waiting import Waiting
from vastlab.client import VAST, ExportMode
from vastlab.display.preview import Outcome
from vastlab.expression import bind, parse_query
from vastlab.expression.taxonomy import Taxonomy
from vastlab.group_frames import Counts, concept_frame, model_frame
from vastlab.nodes.base import Explanation, Step
from vastlab.pivot import Pivot
from vastlab.queries import Queries
from vastlab.result import Result
from vastlab.store.compact import CompactReport
from vastlab.store.ingest import IngestProgress, IngestReport
from vastlab.table_slice import TableSlice
from vastlab.types import Schema

if TYPE_CHECKING:
    from vastlab.notebook import QueryBox

__all__ = ["Connection", "connect"]

T = TypeVar("T")
_WITH_PARTIAL = (errors.NodeError, errors.DatabaseError, errors.QueryInterrupted)


def connect(
    endpoint: str | None = None,
    *,
    cluster: Any = None,
    tz: str | tzinfo | None = None,
    infer: bool | None = None,
    encoding: str | None = None,
    verify: bool | None = None,
) -> Connection:
    """Connect to a database, a folder of logs or a node.

    Parameters
    ----------
    endpoint
        ``demo:``, a folder, a ``file:`` URL, ``s3://bucket/path`` (also ``gs://`` and ``az://``),
        ``host:port``, or ``localhost`` or an address alone, at port 5158; if not given, the one of
        ``%vast_use`` in this notebook, or from the environment variable ``VAST_ENDPOINT`` or from
        ``vast.yaml``. ``%vast`` asks the newest of these connections.
    cluster
        A `distributed.Client`, whose workers read the database; `vastlab.local_cluster` starts
        some on this machine.
    tz
        The time zone of displays, such as ``Europe/Berlin``; data stay in UTC.
    infer, encoding, verify
        As in `VAST`: how logs are read, and whether damage of a database is an error.

    Returns
    -------
    Connection
        A context manager.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> with tempfile.TemporaryDirectory() as folder, connect(f"{folder}/my.db") as vast:
    ...     report = vast.ingest(pa.table({"port": [80, 443]}), schema="my.ports")
    ...     hits = vast.query("port < 100")
    >>> hits["my.ports"]["port"].tolist()
    [80]
    """
    endpoint = Connection.in_use() if endpoint is None else endpoint
    opened = Connection(
        endpoint, cluster=cluster, tz=tz, infer=infer, encoding=encoding, verify=verify
    )
    Connection.newest = weakref.ref(opened)
    return opened


class Connection(WaitedSummaries):
    """Blocking calls to one endpoint; safe in scripts, notebooks and threads.

    Parameters
    ----------
    endpoint, cluster, tz, infer, encoding, verify
        As in `connect`.

    Examples
    --------
    >>> vast = Connection("logs")
    >>> vast
    Connection('...logs')
    >>> vast.close()
    """

    progress: ClassVar[Display | None] = None
    """Makes a progress display for each call; the notebook extension puts one here."""
    in_use: ClassVar[Callable[[], str | None]] = staticmethod(lambda: None)
    """Names the endpoint of `connect` where none is given; the notebook extension says which."""
    newest: ClassVar[Callable[[], Connection | None]] = staticmethod(lambda: None)
    """The newest connection that `connect` opened, which ``%vast`` asks."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        cluster: Any = None,
        tz: str | tzinfo | None = None,
        infer: bool | None = None,
        encoding: str | None = None,
        verify: bool | None = None,
    ) -> None:
        self._zone = as_zone(tz)
        self._vast = VAST(endpoint, cluster=cluster, infer=infer, encoding=encoding, verify=verify)
        self._waiting = Waiting(self._vast, lambda: type(self).progress)
        self.last: Result | None = None
        """The newest result, also of a query that was interrupted or failed."""

    # --- queries ----------------------------------------------------------------------------

    def query(
        self,
        expression: str = "",
        *,
        limit: int | None = None,
        mode: str | ExportMode = "historical",
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        order: str = OLDEST,
        per_schema: bool = False,
        to: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        quiet: bool = False,
    ) -> Result:
        """Ask for events and wait for all of them.

        Parameters
        ----------
        expression
            A VAST expression; empty for all events.
        limit
            The largest number of events; 0 for all. By default 100, or all with `to`.
        mode
            ``historical``, ``continuous`` or ``unified``; the last two wait for new events
            until the limit, the end of the node or an interrupt.
        since, until
            Bounds of the event time, the second one exclusive: ISO text, a date or datetime, or a
            span back from now such as ``"2h"``.
        params
            Values for the ``$names`` of the expression.
        order
            ``"oldest"`` or ``"newest"``: which events of each schema come first, and are kept
            by the limit.
        per_schema
            Whether the limit is one for each schema; else it may leave schemas out, and the
            result says which.
        to
            A new folder, or ``s3://bucket/path``, that becomes a database of the events; see
            `VAST.write`. They are not collected: the result reads them when they are asked for.
        timeout
            Seconds that the query may take.
        quiet
            Whether to leave out the progress line that notebooks show.

        Returns
        -------
        Result
            One DataFrame for each schema.

        Raises
        ------
        QueryInterrupted
            On Ctrl-C or the kernel's interrupt; what had arrived is in ``.partial`` and
            in `last`.
        """
        limit = (100 if to is None else 0) if limit is None else as_limit(limit)
        kind = as_mode(mode)
        look = to is None and looks_ahead(self._vast.endpoint, kind, limit)
        question = self._vast.prepare(
            expression,
            kind,
            limit + int(look),
            since=since,
            until=until,
            params=params,
            order=order,
            per_schema=per_schema,
        )
        call = Call()
        if to is not None:
            write = functools.partial(self._vast.write, question, to, timeout=timeout, report=call)
            return self._written(write, asked_for(question, limit), call, to, quiet=quiet)
        ask = functools.partial(self._vast.run, question, timeout=timeout, report=call)
        others = functools.partial(self._vast.left_out, question)
        return self._answer(
            ask, asked_for(question, limit), call, look=look, others=others, quiet=quiet
        )

    def follow(self, question: Pivot, *, limit: int = 0) -> Result:
        """Ask what `Result.pivot` wants to know.

        Parameters
        ----------
        question
            What to look for, and what of it to keep.
        limit
            The largest number of events; 0 for all.
        """
        limit = as_limit(limit)
        look = bool(question.near) or looks_ahead(self._vast.endpoint, ExportMode.HISTORICAL, limit)
        call = Call()
        export = functools.partial(self._vast.export, report=call)
        ask = functools.partial(question.ask, export, 0 if question.near else limit + int(look))
        whole = self._vast.prepare(question.expression, params=question.params)
        outcome = Outcome(whole.text, limit=limit)
        return self._answer(ask, outcome, call, keep=question.keep, look=look)

    def _answer(
        self,
        ask: Callable[[], AsyncGenerator[TableSlice]],
        outcome: Outcome,
        call: Call,
        *,
        keep: Callable[[TableSlice], TableSlice | None] | None = None,
        look: bool,
        others: Others | None = None,
        quiet: bool = False,
    ) -> Result:
        """Wait for all of an answer; whatever ends it, what has arrived is kept."""
        self._waiting.check()
        arrived = Arrived(outcome.limit, keep, per_schema=outcome.per_schema)
        partial = dataclasses.replace(outcome, partial=True)
        try:
            with interruptible(lambda: query_interrupted(arrived.events)):
                taking = arrived.take(ask, look=look, others=others)
                self._waiting.run(taking, call, arrived.step, quiet=quiet)
        except KeyboardInterrupt:
            self.last = self._result(arrived, partial)
            raise
        except errors.VastlabError as error:
            if arrived.events or isinstance(error, errors.NodeError | errors.QueryInterrupted):
                self.last = self._result(arrived, partial)
                if isinstance(error, _WITH_PARTIAL):
                    error.partial = self.last
            raise
        self.last = self._result(arrived, outcome)
        return self.last

    def _written(
        self,
        write: Callable[[], Coroutine[Any, Any, dict[str, int]]],
        outcome: Outcome,
        call: Call,
        to: str | os.PathLike[str],
        *,
        quiet: bool,
    ) -> Result:
        """Wait until the events are written."""
        arrived = Arrived(outcome.limit, per_schema=outcome.per_schema)
        with interruptible(lambda: errors.QueryInterrupted(f"interrupted; {to} was not written")):
            counts = self._waiting.run(write(), call, lambda: Step("writing"), quiet=quiet)
        most = max if outcome.per_schema else sum
        arrived.limited = 0 < outcome.limit <= most((0, *counts.values()))
        if arrived.limited and not outcome.per_schema:
            arrived.left_out = None  # other schemas were not looked at
        final = self._final(arrived, outcome)
        self.last = Result(Stored(to, counts), final, zone=self._zone, source=self)
        return self.last

    def export(
        self,
        expression: str = "",
        *,
        limit: int = 100,
        mode: str | ExportMode = "historical",
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
        order: str = OLDEST,
        per_schema: bool = False,
        timeout: float | None = None,
    ) -> Iterator[TableSlice]:
        """Ask for events and take them batch by batch, also more than memory holds.

        The arguments are those of `query`. The node works only as fast as its batches are
        taken, and stops when the iteration does.

        Returns
        -------
        Iterator[TableSlice]
            Its ``close()`` ends it. It raises a `UsageError` where the connection was closed
            before the last batch.
        """
        call = Call()
        ask = functools.partial(
            self._vast.export,
            expression,
            mode,
            limit,
            since=since,
            until=until,
            params=params,
            order=order,
            per_schema=per_schema,
            timeout=timeout,
            report=call,
        )
        return self._waiting.batches(ask, call)

    def start(self, work: Callable[[VAST], Coroutine[Any, Any, T]]) -> _loop.Job[T]:
        """Start work with the asynchronous client, on vastlab's own loop, and return at once.

        `work` makes the coroutine, which runs in the loop's thread; `close` cancels it.
        """
        return self._waiting.start(work)

    def count(self, expression: str = "", **bounds: Any) -> int:
        """Count the events that match.

        Parameters
        ----------
        expression
            As in `query`.
        bounds
            ``since``, ``until`` and ``params`` as in `query`.
        """
        return self._waiting.answer("counting", self._vast.count, expression, **bounds)

    def counts(self, expression: str = "", **bounds: Any) -> pd.Series[int]:
        """Count the events that match for each schema, most first.

        Parameters
        ----------
        expression, bounds
            As in `count`.
        """
        counts = self._waiting.answer("counting", self._vast.counts, expression, **bounds)
        return Counts.of(counts)

    def explain(self, expression: str = "", **bounds: Any) -> Explanation:
        """Say how a query would be answered, without asking it.

        Parameters
        ----------
        expression, bounds
            As in `count`.
        """
        return self._waiting.answer("planning", self._vast.explain, expression, **bounds)

    def explore(
        self,
        expression: str = "",
        *,
        limit: int = 100,
        since: Moment = None,
        until: Moment = None,
        params: Mapping[str, object] | None = None,
    ) -> QueryBox:
        """Explore the events that match: over time, in tables that page, and by clicks on values.

        Parameters
        ----------
        expression, since, until, params
            As in `query`.
        limit
            The largest number of events of the widget's ``result``; its tables have all.

        Returns
        -------
        vastlab.notebook.QueryBox
            A widget; its ``query`` is the line that asks what it shows.

        Examples
        --------
        >>> with connect("demo:") as vast:
        ...     box = vast.explore("zeek.dns.rcode_name == $code", params={"code": "NXDOMAIN"})
        ...     print(box.query, box.panel.schema)
        ...     box.close()
        %vast -e demo: zeek.dns.rcode_name == "NXDOMAIN" zeek.dns
        """
        from vastlab.notebook import QueryBox  # above this layer: only here, and when it is used

        box = QueryBox(
            self,
            expression=str(bind(parse_query(expression), params)) if params else expression,
            limit=as_limit(limit),
            since=moment_text("since", since),
            until=moment_text("until", until),
        )
        box.run()
        return box

    # --- what is there ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the node's state under the keys of VAST."""
        return self._waiting.answer("asking for the status", self._vast.status)

    def schemas(self) -> dict[str, Schema]:
        """Return what the node holds: for each name the union over its layouts."""
        return self._waiting.answer("asking for the schemas", self._vast.schemas)

    def concepts(self) -> pd.DataFrame:
        """Return the concepts that expressions can name, with the fields they stand for."""
        return concept_frame(self.taxonomy)

    def models(self) -> pd.DataFrame:
        """Return the models that expressions can name, with the concepts they consist of."""
        return model_frame(self.taxonomy)

    def ingest(
        self,
        source: Any,
        *,
        schema: str | None = None,
        format: str | None = None,
        strict: bool = False,
        infer: bool | None = None,
        encoding: str | None = None,
        atomic: bool = False,
    ) -> IngestReport:
        """Add the events of files to the database behind the endpoint.

        Parameters
        ----------
        source, schema, format, strict, infer, encoding, atomic
            As in `VAST.ingest`.
        """
        seen: deque[IngestProgress] = deque(maxlen=1)
        ingest = self._vast.ingest(
            source,
            schema=schema,
            format=format,
            strict=strict,
            infer=infer,
            encoding=encoding,
            atomic=atomic,
            progress=seen.append,
        )

        with interruptible(lambda: ingest_interrupted(seen)):
            return self._waiting.run(ingest, Call(), lambda: ingest_step(seen))

    def compact(self) -> CompactReport:
        """Merge the small files of a database; see `VAST.compact`."""
        return self._waiting.answer("compacting", self._vast.compact)

    # --- life -------------------------------------------------------------------------------

    @property
    def queries(self) -> Queries:
        """The saved queries, each a method: ``vast.queries.beacons(host="10.1.4.17")``.

        They come from ``queries.yaml`` in the working folder and in that of the user's
        ``vast.yaml``. Besides its parameters each takes `query`'s arguments.
        """
        return Queries(self.query)

    @property
    def taxonomy(self) -> Taxonomy:
        """The concepts and models that expressions may name."""
        return self._vast.taxonomy

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._waiting.closed

    @property
    def zone(self) -> tzinfo | None:
        """Where displays show times; None for UTC."""
        return self._zone

    @property
    def endpoint(self) -> str:
        """What is connected to, without user names and passwords."""
        return re.sub(r"//[^/@]*@", "//", str(self._vast.endpoint))

    @property
    def origin(self) -> str:
        """The endpoint, where a file beside the notebook chose it: it may be a stranger's."""
        file = Path(self._vast.source)
        if file.name not in ("vast.yaml", "vast.yml") or file.parent.resolve() != Path.cwd():
            return ""
        return f"endpoint {self.endpoint} from {file}"

    def check(self) -> None:
        """Raise an error where the connection is closed, or belongs to another process."""
        self._waiting.check()

    def close(self) -> None:
        """End the running exports and release all resources; a second call has no effect."""
        self._waiting.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Connection({_text.plain(repr(self.endpoint))})"

    # --- inside -----------------------------------------------------------------------------

    def _result(self, arrived: Arrived, outcome: Outcome) -> Result:
        tables = self._waiting.finish(arrived.tables())
        return Result(tables, self._final(arrived, outcome), zone=self._zone, source=self)

    def _final(self, arrived: Arrived, outcome: Outcome) -> Outcome:
        ended = arrived.ended(outcome)
        return dataclasses.replace(ended, origin=self.origin, endpoint=self.endpoint)
