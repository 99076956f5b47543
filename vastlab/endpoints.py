"""What an endpoint names: a database, a folder of logs, a node, or the demo."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from vastlab import _text
from vastlab.errors import UsageError

__all__ = [
    "ClusterEndpoint",
    "DemoEndpoint",
    "Endpoint",
    "NodeEndpoint",
    "ObjectStoreEndpoint",
    "PathEndpoint",
    "as_path",
    "is_bare_host",
    "parse_endpoint",
    "without_secrets",
]

_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 5158
_LAST_PORT = 65535
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_NODE = re.compile(r"(?P<host>[A-Za-z0-9._-]*):(?P<port>[0-9]+)(?:/(?P<protocol>[a-z]*))?")
_IPV6_NODE = re.compile(
    r"\[(?P<host>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]+))?(?:/(?P<protocol>[a-z]*))?"
)
_SUPPORTED = (
    'use "demo:", a folder, a file: URL, host:port, localhost or an address, s3://bucket/path '
    "(or gs://, az://), or dask://scheduler:port/ before a folder or such an URL"
)
_STORES = frozenset({"s3", "gs", "az"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Other characters mean something in URLs, or are not the same for all stores.
_PREFIX = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff%?#\\]*")
_SECRET = re.compile(r"(?<=//).*@|[?#].*", re.DOTALL)  # passwords may hold slashes


@dataclass(frozen=True, slots=True)
class DemoEndpoint:
    """``demo:``: the demo database in the user's cache folder."""

    def __str__(self) -> str:
        return "demo:"


@dataclass(frozen=True, slots=True)
class PathEndpoint:
    """A folder, or a ``file:`` URL of one."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """``host:port``: a VAST or Tenzir node; an IPv6 address is written in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ObjectStoreEndpoint:
    """``s3://bucket/path``, ``gs://`` or ``az://``: a database on object storage."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        """Which kind of store: ``s3``, ``gs`` or ``az``."""
        return self.url.partition("://")[0]

    @property
    def bucket(self) -> str:
        """The name of the bucket or container."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def prefix(self) -> str:
        """What the names of all objects begin with, without a slash at its end; may be empty."""
        return self.url.partition("://")[2].partition("/")[2]


@dataclass(frozen=True, slots=True)
class ClusterEndpoint:
    """``dask://scheduler:port/`` and a folder or bucket that the workers of a cluster see."""

    scheduler: str
    data: PathEndpoint | ObjectStoreEndpoint

    def __str__(self) -> str:
        return f"dask://{self.scheduler}/{self.data}"


Endpoint = DemoEndpoint | PathEndpoint | NodeEndpoint | ObjectStoreEndpoint | ClusterEndpoint


def parse_endpoint(text: str | os.PathLike[str]) -> Endpoint:
    """Parse an endpoint; a path object is always a path.

    Text is a known URL scheme; else ``[host]:port``, optionally with ``/tcp``, is a node; so are
    ``localhost`` and a bare address, at port 5158, if no file or folder has that name. All other
    text is a path.
    """
    if isinstance(text, os.PathLike):
        return PathEndpoint(as_path(text))
    if not isinstance(text, str):
        raise UsageError(f"the endpoint must be a text, got {text!r}", hint=_SUPPORTED)
    if not text.strip():
        raise UsageError("the endpoint is empty", hint=_SUPPORTED)
    if text == "demo:":
        return DemoEndpoint()
    if text.startswith("file:"):
        return PathEndpoint(_path_of_url(text))
    if _SCHEME.match(text):
        return _from_url(text)
    if match := _NODE.fullmatch(text):
        return _node(text, match)
    if is_bare_host(text):
        # As for VAST itself; a path of that name is meant where there is one.
        if os.path.lexists(text):
            return PathEndpoint(Path(text))
        return NodeEndpoint(text.removeprefix("[").removesuffix("]"), _DEFAULT_PORT)
    if (match := _IPV6_NODE.fullmatch(text)) and is_bare_host(match["host"]):
        return _node(text, match)
    return PathEndpoint(as_path(text))


def is_bare_host(text: str) -> bool:
    """Whether a text is ``localhost`` or an address: a node's host without its port."""
    if text == "localhost":
        return True
    in_brackets = text.startswith("[") and text.endswith("]")
    try:
        address = ipaddress.ip_address(text[1:-1] if in_brackets else text)
    except ValueError:
        return False
    # A zone, as in fe80::1%eth0, is nothing that a client takes.
    return "%" not in text and (address.version == 6 or not in_brackets)


def _node(text: str, match: re.Match[str]) -> NodeEndpoint:
    if match["protocol"] not in {None, "tcp"}:
        raise UsageError(f"unknown protocol in the endpoint {text!r}", hint="only tcp exists")
    port = int(match["port"] or _DEFAULT_PORT)
    if not 0 < port <= _LAST_PORT:
        raise UsageError(
            f"no such port in the endpoint {text!r}", hint=f"ports are 1 to {_LAST_PORT}"
        )
    return NodeEndpoint(match["host"] or _DEFAULT_HOST, port)


def without_secrets(text: str) -> str:
    """Return an endpoint as messages may show it: without what may be a password or a token."""
    return _SECRET.sub("", text) if _SCHEME.match(text) else text


def _from_url(text: str) -> Endpoint:
    if text.partition("://")[0].lower() in _STORES:
        return _object_store(text)
    parts = _split(text)
    match parts.scheme:
        case "dask":
            return _cluster(text, parts.netloc, parts.path)
        case scheme:
            shown = without_secrets(text)
            raise UsageError(
                f"unknown scheme {scheme!r} in the endpoint {shown!r}", hint=_SUPPORTED
            )


def _object_store(text: str) -> ObjectStoreEndpoint:
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    example, shown = f"{scheme.lower()}://bucket/path", without_secrets(text)
    if shown != text or ":" in bucket:
        raise UsageError(
            f"an endpoint of {scheme}:// was given with a user name, a password or a token",
            hint="credentials come from the environment, such as AWS_ACCESS_KEY_ID, or from the "
            "configuration of the machine",
        )
    if not bucket:
        raise UsageError(f"the endpoint {shown!r} names no bucket", hint=example)
    prefix = prefix.removesuffix("/")
    parts = prefix.split("/") if prefix else []
    if (
        not _BUCKET.fullmatch(bucket)
        or not _PREFIX.fullmatch(prefix)
        or any(part in {"", ".", ".."} for part in parts)
    ):
        raise UsageError(
            f"the endpoint {shown!r} has a name that object stores or URLs do not take",
            hint=f"{example}, without an escape such as %20",
        )
    return ObjectStoreEndpoint("/".join([f"{scheme.lower()}://{bucket}", *parts]))


def _cluster(text: str, scheduler: str, rest: str) -> ClusterEndpoint:
    # dask://host:port/relative, dask://host:port//absolute, dask://host:port/s3://bucket/path
    if "@" in scheduler:
        raise UsageError(
            "an endpoint of dask:// was given with a user name or a password",
            hint="a scheduler takes certificates: pass a distributed.Client with them as cluster",
        )
    inner = text[text.index(scheduler) + len(scheduler) + 1 :] if rest else ""
    data = parse_endpoint(inner) if inner else None
    if not scheduler or not isinstance(data, PathEndpoint | ObjectStoreEndpoint):
        raise UsageError(
            f"the endpoint {without_secrets(text)!r} does not name a scheduler and a folder",
            hint="dask://scheduler:port/ and then a folder or URL that the workers see",
        )
    return ClusterEndpoint(scheduler, data)


def as_path(value: object, what: str = "the endpoint") -> Path:
    """Return a path, if it is one; ``~`` is the user's folder.

    Parameters
    ----------
    value
        A text, or an object that names a path as text.
    what
        What it is, for an error.

    Raises
    ------
    UsageError
        It is something else, or no path can be so.

    Examples
    --------
    >>> as_path(3, "the file")
    Traceback (most recent call last):
        ...
    vastlab.errors.UsageError: the file must be a path, got 3 (a text or a pathlib.Path)
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise UsageError(
            f"{what} must be a path, got {_text.cut(repr(value), 80)}",
            hint="a text or a pathlib.Path",
        )
    if "\0" in path:
        raise UsageError(f"a path cannot hold a null character: {path!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"no such user in {what} {path!r}") from None


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        shown = without_secrets(text)
        raise UsageError(f"a malformed URL as endpoint: {shown!r}", hint=str(error)) from None


def _path_of_url(text: str) -> Path:
    parts = _split(text)
    if parts.netloc not in {"", "localhost"}:
        raise UsageError(f"a file: URL of another machine: {text!r}", hint="mount it, use its path")
    if not parts.path:
        raise UsageError(f"the endpoint {text!r} names no folder", hint="file:///folder")
    from urllib.request import url2pathname  # here: it imports HTTP and e-mail

    return as_path(url2pathname(parts.path) if os.name == "nt" else unquote(parts.path))
