"""The program `tenzir`: what it is asked, what it answers, and how it fails."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab._text import cut
from vastlab.compile import tql
from vastlab.config import NodeEndpoint
from vastlab.errors import NodeConnectionError, NodeError, NodeTimeoutError
from vastlab.nodes import _upload
from vastlab.nodes._process import (
    Child,
    Completed,
    Slots,
    clean_environment,
    finish,
    pump,
    run,
    start,
)
from vastlab.nodes._streams import StreamServer
from vastlab.nodes.tenzir.align import Coalescer

Pipeline = Callable[[str], str]

CONNECT_SECONDS = 5
IDLE_SECONDS = 2.0
_ANSWER_SECONDS = 60.0
_IDLES_PER_PING = 10
_LATE_ANSWERS = 2
_STALLED_LOOKS = 2
_DIAGNOSTIC = re.compile(r"^error: (.*)$", re.MULTILINE)
_UNREACHABLE = ("failed to connect to node", "failed to get node endpoint")
_AGAIN = "what came before is kept; run the query again"


class TenzirClient:
    """Runs `tenzir` against one node.

    Parameters
    ----------
    endpoint
        Where the node listens.
    program
        The program.
    max_clients
        How many processes may run at once; more wait.
    """

    def __init__(self, endpoint: NodeEndpoint, program: Path, max_clients: int) -> None:
        self._endpoint = endpoint
        self._program = program
        self._slots = Slots(max_clients)

    async def ping(self) -> str:
        """Return the node's version; `NodeConnectionError` if nothing answers."""
        try:
            return await self._ping()
        except NodeTimeoutError as error:
            raise NodeConnectionError(
                f"what listens at {self._endpoint} does not answer as a Tenzir node does",
                hint="check the port; a node that is just being started takes a moment",
                stderr=error.stderr,
            ) from error

    async def _ping(self) -> str:
        # Never waits for a slot: it is asked while an export holds one.
        answer = await self._run('api "/ping" | write_ndjson', CONNECT_SECONDS + 0.5)
        return str(json.loads(answer)["version"])

    async def ask(
        self, pipeline: str, timeout: float | None = _ANSWER_SECONDS
    ) -> list[dict[str, Any]]:
        """Run a pipeline when there is a free slot, and return its rows."""
        async with self._slots.take():
            output = await self._run(f"{pipeline} | write_ndjson", timeout)
        return [json.loads(line) for line in output.splitlines()]

    async def _run(self, pipeline: str, timeout: float | None) -> bytes:
        """Run a pipeline at once, and return what it prints."""
        with tempfile.TemporaryDirectory(prefix="vastlab-") as folder:
            argv = (*self._argv(), *_from_file(pipeline, Path(folder)))
            done = await run(argv, clean_environment(), timeout=timeout)
        if done.returncode:
            raise self._error(done)
        return done.stdout

    async def send(self, batches: Iterator[pa.RecordBatch]) -> None:
        """Import batches of one layout."""
        argv = (*self._argv(), "from_stdin { read_feather } | import")
        async with self._slots.take():
            done = await _upload.feed(argv, clean_environment(), batches)
        if done.returncode:
            raise self._error(done)

    async def stream(
        self, pipeline: Pipeline, rows: int | None = None, urgent: str | None = None
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Run a pipeline when there is a free slot, and return what it sends.

        Parameters
        ----------
        pipeline
            Makes its text of the step that sends events.
        rows
            At most so many rows are waited for, before a batch is handed on.
        urgent
            The name of a schema of which no rows are waited for.
        """
        async with self._slots.take():
            server = StreamServer(urgent)
            try:
                async with aclosing(self._served(pipeline, server, rows)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                await finish(server.close)

    async def _served(
        self, pipeline: Pipeline, server: StreamServer, rows: int | None
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        send = f"to_unix_socket {tql.quote(str(server.path))} {{ write_feather }}"
        argv = (*self._argv(), *_from_file(pipeline(send), server.folder))
        child = await start(argv, clean_environment())
        watcher = threading.Thread(
            target=_finish_with, args=(child, server), name="vastlab-watch", daemon=True
        )

        def close() -> None:
            server.discard()
            child.end()
            server.close()
            watcher.join()

        watcher.start()
        watchdog = _Watchdog(self, child)
        stream = pump(
            lambda: _coalesced(server, rows), close, idle=IDLE_SECONDS, on_idle=watchdog.look
        )
        try:
            async with aclosing(stream) as batches:
                async for batch in batches:
                    watchdog.heard()
                    yield batch
        except NodeError as error:
            error.stderr = error.stderr or child.stderr
            raise
        if child.returncode:
            raise self._error(Completed(child.returncode, b"", child.stderr))

    def _argv(self) -> tuple[str, ...]:
        return (
            str(self._program),
            "--bare-mode",
            f"--endpoint={self._endpoint}",
            f"--connection-timeout={CONNECT_SECONDS}s",
            "--connection-retry-delay=0s",
            "--color=never",
            "--console-verbosity=quiet",
        )

    def _error(self, done: Completed) -> NodeError:
        found = _DIAGNOSTIC.search(done.stderr)
        if found is None:
            return NodeError(
                f"{self._program.name} {_ending(done.returncode)}: the answer is not complete",
                hint=_AGAIN,
                stderr=done.stderr,
            )
        if found[1].startswith(_UNREACHABLE):
            return NodeConnectionError(
                f"nothing answers at {self._endpoint}",
                hint='start the node; the endpoint "demo:" and any folder of logs work without one',
                stderr=done.stderr,
            )
        return NodeError(f"the node at {self._endpoint}: {cut(found[1], 500)}", stderr=done.stderr)

    async def is_there(self, *, thoroughly: bool) -> bool | None:
        """Whether the node answers; None where it takes its time.

        Parameters
        ----------
        thoroughly
            Ask it something, which costs a process; else see whether its port is open.
        """
        try:
            if thoroughly:
                await self._ping()
            else:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, writer = await asyncio.open_connection(
                        self._endpoint.host, self._endpoint.port
                    )
                writer.close()
        except (NodeTimeoutError, TimeoutError):
            return None
        except (NodeError, OSError):
            return False
        return True

    def gone(self, stderr: str) -> NodeError:
        """Return the error that says that the node is gone."""
        return NodeError(
            f"the node at {self._endpoint} is gone: the answer is not complete",
            hint="what came before is kept; start the node and run the query again",
            stderr=stderr,
        )


class _Watchdog:
    """Gives a silent export up whose node is gone or whose program hangs.

    The program never notices that its node was killed, and would wait for ever. Silence alone
    is no reason: events may be rare. But a program that is alive wakes up now and then.
    """

    def __init__(self, client: TenzirClient, child: Child) -> None:
        self._client = client
        self._child = child
        self._idles = 0
        self._unanswered = 0
        self._stalled = 0
        self._run_time: int | None = None

    def heard(self) -> None:
        """Note that something came."""
        self._idles = self._unanswered = self._stalled = 0

    async def look(self) -> None:
        """Raise `NodeError` if there is no hope."""
        await self._look_at_node()
        self._look_at_child()

    async def _look_at_node(self) -> None:
        thoroughly = self._idles % _IDLES_PER_PING == 0 or self._unanswered > 0
        self._idles += 1
        answer = await self._client.is_there(thoroughly=thoroughly)
        # A busy node may be late once.
        self._unanswered = 0 if answer else self._unanswered + 1
        if answer is False or self._unanswered >= _LATE_ANSWERS:
            raise self._client.gone(self._child.stderr)

    def _look_at_child(self) -> None:
        before, self._run_time = self._run_time, self._child.run_time()
        is_stalled = before is not None and before == self._run_time
        self._stalled = self._stalled + 1 if is_stalled else 0
        if self._stalled >= _STALLED_LOOKS and self._child.returncode is None:
            raise NodeError(
                f"the program that speaks with the node hangs (process {self._child.pid})",
                hint=_AGAIN,
                stderr=self._child.stderr,
            )


def _from_file(pipeline: str, folder: Path) -> tuple[str, str]:
    # It may be longer than an argument can be, and it is nobody's business.
    query = folder / "query.tql"
    query.write_text(pipeline, encoding="utf-8")
    return "-f", str(query)


def _finish_with(child: Child, server: StreamServer) -> None:
    child.wait()
    server.finish()


def _coalesced(server: StreamServer, rows: int | None) -> Iterator[pa.RecordBatch]:
    held = Coalescer(rows)
    for batch in server.batches():
        if batch is None:
            yield from held.flush()
        elif server.is_urgent(batch):
            yield batch
        else:
            yield from held.add(batch)
    yield from held.flush()


def _ending(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by signal {-returncode}"
    return f"ended with status {returncode}"
