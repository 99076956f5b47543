"""An object store for tests: moto's server on this machine, behind a proxy that can fail."""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import logging
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

SECRET = "a-secret-that-nothing-may-show"  # noqa: S105
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


@dataclass
class Faults:
    """What the proxy does with requests, and those that it saw."""

    refuse: int = 0
    """How many requests get 503; -1 for all."""
    match: str = ""
    """The text that a path must hold for that."""
    method: str = ""
    lose_answers: int = 0
    """How many requests are made, and answered with 503 all the same."""
    deny: bool = False
    """Whether all requests get 403."""
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    before: list = field(default_factory=list)
    """Functions of a method and a path, called before each request."""


class ObjectStore:
    """A bucket of an S3 server of its own.

    `faults` decides on what happens to the requests of `url`.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self.faults = Faults()
        handler = type("Handler", (_Proxy,), {"upstream": (host, port), "store": self})
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._proxy.server_port}"
        self.make_bucket("tele")
        self.environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def make_bucket(self, name: str) -> None:
        """Make another bucket."""
        connection = http.client.HTTPConnection(*self._moto.get_host_and_port())
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()

    def close(self) -> None:
        """End the servers."""
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()

    def url(self) -> str:
        """Return a place in which there is nothing."""
        return f"s3://tele/{uuid.uuid4().hex}/events.db"

    @functools.cached_property
    def direct(self) -> S3Store:
        """The bucket, for what a test does to it."""
        return S3Store(
            "tele",
            endpoint=self.endpoint,
            access_key_id="testing",
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def keys(self, url: str) -> list[str]:
        """Name the objects below a URL."""
        prefix = url.removeprefix("s3://tele/")
        return [each["path"] for page in obstore.list(self.direct, prefix) for each in page]

    def upload(self, folder: Path, url: str) -> None:
        """Copy the files of a folder."""
        for path in (path for path in folder.rglob("*") if path.is_file()):
            key = f"{url}/{path.relative_to(folder).as_posix()}".removeprefix("s3://tele/")
            obstore.put(self.direct, key, path.read_bytes())

    @contextlib.contextmanager
    def failing(self, **faults):
        """Let requests fail for a while; the faults are those of `Faults`."""
        before, self.faults = self.faults, Faults(**faults)
        try:
            yield self.faults
        finally:
            self.faults = before


@functools.cache
def shared_store() -> ObjectStore:
    """Return the object store of this process, which ends with it."""
    store = ObjectStore()
    atexit.register(store.close)
    return store


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    upstream: tuple[str, int]
    store: ObjectStore

    def log_message(self, *args) -> None:
        """Write nothing."""

    def _pass_on(self) -> None:
        faults = self.store.faults
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for hook in faults.before:
            hook(self.command, self.path)
        chosen = faults.match in self.path and faults.method in ("", self.command)
        if chosen and faults.refuse:
            faults.refuse -= faults.refuse > 0
            self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if faults.deny:
            self._answer(403, [], b"<Error><Code>AccessDenied</Code></Error>")
            return
        upstream = http.client.HTTPConnection(*self.upstream)
        kept = {name: text for name, text in self.headers.items() if name.lower() not in _HOP}
        upstream.request(self.command, self.path, body, kept)
        answer = upstream.getresponse()
        data = answer.read()
        headers = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOP]
        upstream.close()
        if chosen and faults.lose_answers:
            faults.lose_answers -= 1
            self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        faults.seen.append((self.command, self.path, len(data)))
        self._answer(answer.status, headers, data, answer.getheader("Content-Length"))

    def _answer(self, status, headers, data, length=None) -> None:
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", (length or "0") if is_head else str(len(data)))
        self.end_headers()
        if not is_head:
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on
