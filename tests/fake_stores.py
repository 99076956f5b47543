"""Small servers that speak as Google Cloud Storage and Azure Blob Storage do, for tests.

They hold objects in memory, and know no more than what a database asks for. They show that the
client of each store is made as it should be, and that conditional puts, listings, ranges, copies
and uploads in parts get through; not how the stores of Google and Microsoft themselves behave.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class FakeStore(ThreadingHTTPServer):
    """A server of one bucket, at a path such as ``/bucket`` or ``/account/container``."""

    daemon_threads = True

    def __init__(self, handler: type[_Handler], root: str) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.root = root
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.parts: dict[tuple[str, str], bytes] = {}
        self.clock = time.time() - 1000.0
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, key: str, data: bytes, *, is_new: bool) -> bool:
        """Keep an object, if its name is free or need not be."""
        with self.lock:
            if is_new and key in self.objects:
                return False
            self.clock += 1
            self.objects[key] = data, self.clock
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: FakeStore

    def log_message(self, *args) -> None:
        """Write nothing."""

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        path = unquote(parts.path)
        if not f"{path}/".startswith(f"{self.server.root}/"):
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            return
        key = path[len(self.server.root) :].strip("/")
        of_bucket = "batch" if self.command == "POST" else "list"
        answer = getattr(self, self.command.lower() if key else of_bucket)
        answer(key, query, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def get(self, key: str, query: dict[str, str], body: bytes) -> None:
        """Answer with an object or a part of it."""
        if key not in self.server.objects:
            self._answer(404, b"<Error><Code>BlobNotFound</Code></Error>")
            return
        data, modified = self.server.objects[key]
        headers = {"Last-Modified": formatdate(modified, usegmt=True), "ETag": _tag(data, modified)}
        wanted = self.headers.get("x-ms-range") or self.headers.get("Range")
        if wanted is None:
            self._answer(200, data, headers)
            return
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups()
        part = data[int(first) : int(last) + 1]
        end = int(first) + len(part) - 1
        headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
        self._answer(206, part, headers)

    head = get

    def delete(self, key: str, query: dict[str, str], body: bytes) -> None:
        """Delete an object."""
        found = self.server.objects.pop(key, None)
        self._answer(404 if found is None else 202)

    def keep(self, key: str, data: bytes, *, is_new: bool = False, refused: int = 412) -> None:
        """Put an object, and say whether its name was free."""
        if self.server.put(key, data, is_new=is_new):
            self._answer(201, headers={"ETag": _tag(*self.server.objects[key])})
        else:
            self._answer(refused, b"<Error><Code>Exists</Code></Error>")

    def found(self, query: dict[str, str]) -> tuple[list[str], list[str]]:
        """Return the keys of a listing, and the folders."""
        prefix, is_flat = query.get("prefix", ""), not query.get("delimiter")
        keys = [key for key in sorted(self.server.objects) if key.startswith(prefix)]
        folders = {prefix + key[len(prefix) :].partition("/")[0] for key in keys}
        return (
            [key for key in keys if is_flat or "/" not in key[len(prefix) :]],
            [] if is_flat else sorted(f"{each}/" for each in folders if each not in keys),
        )

    def _answer(
        self, status: int, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class GoogleHandler(_Handler):
    """The XML API of Google Cloud Storage."""

    def put(self, key: str, query: dict[str, str], body: bytes) -> None:
        """Put an object, a copy of one, or a part of one."""
        source = self.headers.get("x-goog-copy-source")
        if "uploadId" in query:
            self.server.parts[key, query["partNumber"].zfill(9)] = body
            self._answer(200, headers={"ETag": _tag(body, 0)})
        elif source:
            name = unquote(source).removeprefix(self.server.root.strip("/")).strip("/")
            self.keep(key, self.server.objects[name][0])
        else:
            self.keep(key, body, is_new=self.headers.get("x-goog-if-generation-match") == "0")

    def post(self, key: str, query: dict[str, str], body: bytes) -> None:
        """Begin or end an upload in parts."""
        if "uploads" in query:
            text = "<InitiateMultipartUploadResult><UploadId>1</UploadId>"
            self._answer(200, f"{text}</InitiateMultipartUploadResult>".encode())
            return
        parts = sorted(pair for pair in self.server.parts if pair[0] == key)
        data = b"".join(self.server.parts.pop(pair) for pair in parts)
        self.server.put(key, data, is_new=False)
        text = f"<CompleteMultipartUploadResult><ETag>{_tag(data, 0)}</ETag>"
        self._answer(200, f"{text}</CompleteMultipartUploadResult>".encode())

    def list(self, key: str, query: dict[str, str], body: bytes) -> None:
        """List objects."""
        keys, folders = self.found(query)
        text = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
            f"<LastModified>{_iso(modified)}</LastModified><ETag>{_tag(data, modified)}</ETag>"
            "</Contents>"
            for key, (data, modified) in ((key, self.server.objects[key]) for key in keys)
        ) + "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders
        )
        self._answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())


class AzureHandler(_Handler):
    """The REST API of Azure Blob Storage."""

    def put(self, key: str, query: dict[str, str], body: bytes) -> None:
        """Put an object, a copy of one, or a part of one."""
        source = self.headers.get("x-ms-copy-source")
        match query.get("comp"):
            case "block":
                self.server.parts[key, query["blockid"]] = body
                self._answer(201)
            case "blocklist":
                names = re.findall(r"<Uncommitted>(.*?)</Uncommitted>", body.decode())
                self.keep(key, b"".join(self.server.parts.pop((key, name)) for name in names))
            case _ if source:
                path = unquote(urlsplit(source).path)
                name = path.removeprefix(self.server.root).strip("/")
                self.keep(key, self.server.objects[name][0])
            case _:
                is_new = self.headers.get("If-None-Match") == "*"
                self.keep(key, body, is_new=is_new, refused=409)

    def batch(self, key: str, query: dict[str, str], body: bytes) -> None:
        """Delete several objects."""
        answers = []
        for number, path in re.findall(
            r"Content-ID: (\d+).*?\r\n\r\nDELETE (\S+) HTTP", body.decode(), re.DOTALL
        ):
            name = unquote(urlsplit(path).path).partition(self.server.root.rpartition("/")[2])[2]
            found = self.server.objects.pop(name.strip("/"), None)
            status = "404 Not Found\r\nx-ms-error-code: BlobNotFound" if found is None else "202 OK"
            answers.append(
                f"--x\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status}\r\n\r\n"
            )
        text = "".join(answers) + "--x--\r\n"
        self._answer(202, text.encode(), {"Content-Type": "multipart/mixed; boundary=x"})

    def list(self, key: str, query: dict[str, str], body: bytes) -> None:
        """List objects."""
        keys, folders = self.found(query)
        text = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties>"
            f"<Last-Modified>{formatdate(modified, usegmt=True)}</Last-Modified>"
            f"<Content-Length>{len(data)}</Content-Length><Etag>{_tag(data, modified)}</Etag>"
            "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            for key, (data, modified) in ((key, self.server.objects[key]) for key in keys)
        ) + "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in folders)
        self._answer(
            200, f"<EnumerationResults><Blobs>{text}</Blobs></EnumerationResults>".encode()
        )


def _tag(data: bytes, modified: float) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}{modified:.0f}"'


def _iso(modified: float) -> str:
    return datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@contextmanager
def serving(handler: type[_Handler], root: str):
    """Start a server for a while."""
    store = FakeStore(handler, root)
    thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()
        thread.join()
