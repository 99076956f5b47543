"""Arrow streams that a child sends over a private unix socket, one connection per schema."""

from __future__ import annotations

import contextlib
import queue
import shutil
import socket
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.arrow.check import check
from vastlab.arrow.schema import name_of
from vastlab.errors import FormatError, NodeError

_BACKLOG = 1024  # a query over many layouts opens as many connections at once
_BUFFER = 1 << 20
_QUEUED = 16
_FIRST_LULL, _LULL = 0.02, 0.2  # seconds


class StreamServer:
    """A socket in a folder that only this user can enter, and what arrives at it.

    `batches` runs in one thread; `finish`, `discard` and `close` may be called from others.

    Parameters
    ----------
    urgent
        The name of the schema of which nobody waits for more events.
    """

    def __init__(self, urgent: str | None = None) -> None:
        self._urgent = urgent
        self.folder = Path(tempfile.mkdtemp(prefix="vastlab-"))  # mode 0700
        # Runs at interpreter exit too, whoever still holds the server.
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / "s"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen(_BACKLOG)
        self._items: queue.Queue[Any] = queue.Queue(_QUEUED)
        self._discarded = threading.Event()
        self._connections: set[socket.socket] = set()
        self._readers: list[threading.Thread] = []
        self._last = str(self.folder / "last")
        self._stopping = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name="vastlab-streams", daemon=True)
        self._acceptor.start()

    def batches(self) -> Iterator[pa.RecordBatch | None]:
        """Iterate over what arrives, until `finish` or `discard`; None stands for a lull.

        Raises
        ------
        NodeError
            A stream that ends within a message.
        """
        lull: float | None = None
        patience = _FIRST_LULL  # the first events are waited for most
        while True:
            try:
                item = self._items.get(timeout=lull)
            except queue.Empty:
                lull, patience = None, _LULL
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            if not self.is_urgent(item):
                lull = patience
            yield item

    def is_urgent(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch is to be handed on at once."""
        return self._urgent is not None and name_of(batch.schema) == self._urgent

    def finish(self) -> None:
        """Say that nobody connects any more: `batches` ends when all streams have."""
        self._stop_accepting()
        for reader in self._readers:
            reader.join()
        self._put(None)

    def discard(self) -> None:
        """Drop what has arrived and what still does, and end `batches`.

        A child whose events are still taken off its hands ends at the first request.
        """
        self._discarded.set()
        while True:
            with contextlib.suppress(queue.Empty, queue.Full):
                while not self._items.empty():
                    self._items.get_nowait()
                self._items.put_nowait(None)
                return

    def close(self) -> None:
        """Let go of everything, whatever may still arrive."""
        self.discard()
        self._stop_accepting()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes its reading thread up
        for reader in self._readers:
            reader.join()
        self._remove()

    def _stop_accepting(self) -> None:
        with self._stopping:
            if self._acceptor.is_alive():
                # A last connection, by its name: all that came before it are accepted first.
                with socket.socket(socket.AF_UNIX) as last:
                    last.bind(self._last)
                    last.connect(str(self.path))
                    self._acceptor.join()
            self._socket.close()

    def _accept(self) -> None:
        while True:
            connection, name = self._socket.accept()
            if name == self._last:
                connection.close()
                return
            self._connections.add(connection)
            reader = threading.Thread(
                target=self._read, args=(connection,), name="vastlab-streams", daemon=True
            )
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb", buffering=_BUFFER) as stream:
            try:
                # Nothing came of some connections, and nothing is missing then.
                if stream.peek(1):  # type: ignore[attr-defined]  # buffered
                    with pa.ipc.open_stream(stream) as reader:
                        for batch in reader:
                            self._put(check(batch))
            except (pa.ArrowException, OSError, UnicodeDecodeError, FormatError) as error:
                self._put(NodeError(f"the node's answer was cut short: {error}"))
        self._connections.discard(connection)

    def _put(self, item: Any) -> None:
        while not self._discarded.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return
