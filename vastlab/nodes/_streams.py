"""Arrow streams that a child sends over a private unix socket, one connection per schema."""

from __future__ import annotations

import contextlib
import queue
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from vastlab.errors import NodeError

_BACKLOG = 1024  # a query over many layouts opens as many connections at once
_BUFFER = 1 << 20
_QUEUED = 16
_LULL = 0.02  # seconds


class StreamServer:
    """A socket in a folder that only this user can enter, and what arrives at it.

    `batches` runs in one thread, `finish` and `close` may be called from another one.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vastlab-"))  # mode 0700
        self.path = self.folder / "s"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen(_BACKLOG)
        self._items: queue.Queue[Any] = queue.Queue(_QUEUED)
        self._closed = threading.Event()
        self._readers: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def batches(self) -> Iterator[pa.RecordBatch | None]:
        """Iterate over what arrives, until `finish` or `close`; None stands for a lull.

        Raises
        ------
        NodeError
            A stream that ends within a message.
        """
        lull: float | None = None
        while True:
            try:
                item = self._items.get(timeout=lull)
            except queue.Empty:
                lull = None
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            lull = _LULL
            yield item

    def finish(self) -> None:
        """Say that nobody connects any more: `batches` ends when all streams have."""
        self._stop_accepting()
        for reader in self._readers:
            reader.join()
        self._put(None)

    def close(self) -> None:
        """Let go of everything, whatever may still arrive."""
        self._closed.set()
        self._stop_accepting()
        while any(reader.is_alive() for reader in self._readers):
            self._drain()
            for reader in self._readers:
                reader.join(0.01)
        self._drain()
        self._put(None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stop_accepting(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread up
        self._socket.close()
        self._acceptor.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb", buffering=_BUFFER) as stream:
            try:
                with pa.ipc.open_stream(stream) as reader:
                    for batch in reader:
                        if self._closed.is_set():
                            return
                        self._put(batch)
            except (pa.ArrowInvalid, OSError) as error:
                self._put(NodeError(f"the node's answer was cut short: {error}"))

    def _put(self, item: Any) -> None:
        while not self._closed.is_set() or item is None:
            try:
                self._items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._items.get_nowait()
