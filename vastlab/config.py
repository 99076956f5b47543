"""Settings, and what an endpoint names.

vastlab reads VAST's own ``vast.yaml``: ``vast.endpoint`` means what it means there, and
vastlab's keys stand beside it under ``vastlab:``. There is no other file and no other
environment variable than ``VAST_ENDPOINT``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import url2pathname

import yaml

from vastlab.errors import ConfigError, UsageError

__all__ = [
    "DEFAULT_ENDPOINT",
    "ClusterEndpoint",
    "DemoEndpoint",
    "Endpoint",
    "NodeEndpoint",
    "ObjectStoreEndpoint",
    "PathEndpoint",
    "Settings",
    "cache_folder",
    "parse_endpoint",
    "resolve_endpoint",
    "state_folder",
]

DEFAULT_ENDPOINT = "127.0.0.1:5158"
DEFAULT_SOURCE = "the default"
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 5158
_LAST_PORT = 65535
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_NODE = re.compile(r"(?P<host>[A-Za-z0-9._-]*):(?P<port>[0-9]+)(?:/(?P<protocol>[a-z]*))?")
_IPV6_NODE = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]+)?(/[a-z]*)?")
_SUPPORTED = (
    'use "demo:", a folder, a file: URL or host:port, or dask://scheduler:port/ before a folder'
)


# --- endpoints ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DemoEndpoint:
    """``demo:``: the demo database in the user's cache folder."""

    def __str__(self) -> str:
        return "demo:"


@dataclass(frozen=True, slots=True)
class PathEndpoint:
    """A folder, or a ``file:`` URL of one.

    Parameters
    ----------
    path
        The folder; ``~`` is the home folder.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """``host:port``: a VAST or Tenzir node.

    Parameters
    ----------
    host, port
        Where the node listens.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ObjectStoreEndpoint:
    """``s3://bucket/path``: a folder on object storage.

    Parameters
    ----------
    url
        The whole URL.
    """

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class ClusterEndpoint:
    """``dask://scheduler:port/folder``: a folder that the workers of a cluster see.

    Parameters
    ----------
    scheduler
        ``host:port`` of the Dask scheduler.
    data
        What the workers read.
    """

    scheduler: str
    data: PathEndpoint | ObjectStoreEndpoint

    def __str__(self) -> str:
        return f"dask://{self.scheduler}/{self.data}"


Endpoint = DemoEndpoint | PathEndpoint | NodeEndpoint | ObjectStoreEndpoint | ClusterEndpoint


def parse_endpoint(text: str | os.PathLike[str]) -> Endpoint:
    """Find out what an endpoint names, without looking at disk or network.

    Parameters
    ----------
    text
        A known URL scheme; else ``[host]:port``, optionally with ``/tcp``, is a node; else
        it is a path. A path object is always a path.

    Returns
    -------
    Endpoint
        One of its five kinds.

    Raises
    ------
    UsageError
        No text, an empty text, an unknown scheme, a port or protocol that does not exist.

    Examples
    --------
    >>> parse_endpoint(":5158"), parse_endpoint("logs")
    (NodeEndpoint(host='127.0.0.1', port=5158), PathEndpoint(path=PosixPath('logs')))
    """
    if isinstance(text, os.PathLike):
        return PathEndpoint(_path(text))
    if not isinstance(text, str):
        raise UsageError(f"the endpoint is no text: {text!r}", hint=_SUPPORTED)
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
    if _IPV6_NODE.fullmatch(text):
        raise UsageError(
            f"an endpoint cannot hold an IPv6 address: {text!r}", hint="use a host name"
        )
    return PathEndpoint(_path(text))


def _node(text: str, match: re.Match[str]) -> NodeEndpoint:
    if match["protocol"] not in {None, "tcp"}:
        raise UsageError(f"unknown protocol in the endpoint {text!r}", hint="only tcp exists")
    port = int(match["port"])
    if not 0 < port <= _LAST_PORT:
        raise UsageError(
            f"no such port in the endpoint {text!r}", hint=f"ports are 1 to {_LAST_PORT}"
        )
    return NodeEndpoint(match["host"] or _DEFAULT_HOST, port)


def _from_url(text: str) -> Endpoint:
    parts = _split(text)
    match parts.scheme:
        case "s3":
            if not parts.netloc:
                raise UsageError(f"the endpoint {text!r} names no bucket", hint="s3://bucket/path")
            return ObjectStoreEndpoint(text)
        case "dask":
            return _cluster(text, parts.netloc, parts.path)
        case scheme:
            raise UsageError(f"unknown scheme {scheme!r} in the endpoint {text!r}", hint=_SUPPORTED)


def _cluster(text: str, scheduler: str, rest: str) -> ClusterEndpoint:
    # dask://host:port/relative, dask://host:port//absolute, dask://host:port/s3://bucket/path
    inner = text[text.index(scheduler) + len(scheduler) + 1 :] if rest else ""
    data = parse_endpoint(inner) if inner else None
    if not scheduler or not isinstance(data, PathEndpoint | ObjectStoreEndpoint):
        raise UsageError(
            f"the endpoint {text!r} does not name a scheduler and a folder",
            hint="dask://scheduler:port/ and then a folder or URL that the workers see",
        )
    return ClusterEndpoint(scheduler, data)


def _path(text: str | os.PathLike[str]) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"no such user in the endpoint {os.fspath(text)!r}") from None
    except ValueError:  # a null character behind a tilde
        raise UsageError(f"no path can be {os.fspath(text)!r}", hint=_SUPPORTED) from None


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise UsageError(f"a malformed URL as endpoint: {text!r}", hint=str(error)) from None


def _path_of_url(text: str) -> Path:
    parts = _split(text)
    if parts.netloc not in {"", "localhost"}:
        raise UsageError(f"a file: URL of another machine: {text!r}", hint="mount it, use its path")
    if not parts.path:
        raise UsageError(f"the endpoint {text!r} names no folder", hint="file:///folder")
    return Path(url2pathname(parts.path) if os.name == "nt" else unquote(parts.path))


# --- settings -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment and the settings files say.

    Parameters
    ----------
    endpoint
        The endpoint to use where none is given.
    source
        Where it came from: ``VAST_ENDPOINT``, the path of a file, or ``the default``.
    client
        The program that reaches a ``host:port`` endpoint, ``None`` to find out.
    profiles
        Endpoints by name.
    user_folder
        The folder of the user's ``vast.yaml``, where other files of the user's are too;
        ``None`` if there is none.

    Examples
    --------
    >>> environ = {"VAST_ENDPOINT": "demo:", "HOME": "/no/such/folder"}
    >>> settings = Settings.load(folder=Path("no-such-folder"), environ=environ)
    >>> settings.endpoint, settings.source
    ('demo:', 'VAST_ENDPOINT')
    """

    endpoint: str = DEFAULT_ENDPOINT
    source: str = DEFAULT_SOURCE
    client: str | None = None
    profiles: Mapping[str, str] = field(default_factory=dict)
    user_folder: Path | None = None

    @classmethod
    def load(cls, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment, ``./vast.yaml`` and the user's ``vast.yaml``, in this order.

        Parameters
        ----------
        folder
            Where ``./vast.yaml`` is looked for; the working folder by default.
        environ
            The environment; that of the process by default.

        Returns
        -------
        Settings
            For each setting, what the first of the three says.

        Raises
        ------
        ConfigError
            A file that cannot be read, or a key under ``vastlab:`` that does not exist.
        """
        environ = os.environ if environ is None else environ
        here = Path() if folder is None else folder
        user = _user_folder(environ)
        found = [_read(path) for path in (_file_in(here), _file_in(user)) if path]
        endpoints = [(file.endpoint, file.source) for file in found if file.endpoint]
        if variable := environ.get("VAST_ENDPOINT"):
            endpoints.insert(0, (variable, "VAST_ENDPOINT"))
        endpoint, source = next(iter(endpoints), (DEFAULT_ENDPOINT, DEFAULT_SOURCE))
        client = next((file.client for file in found if file.client), None)
        profiles = {name: text for file in reversed(found) for name, text in file.profiles.items()}
        return cls(endpoint, source, client, profiles, user if user.is_dir() else None)

    def profile(self, name: str) -> str:
        """Return the endpoint of a profile.

        Parameters
        ----------
        name
            A name under ``vastlab.profiles``.

        Returns
        -------
        str
            The endpoint as it is written there.

        Raises
        ------
        ConfigError
            There is no such profile.
        """
        try:
            return self.profiles[name]
        except KeyError:
            raise ConfigError(
                f"no such profile: {name!r}", hint=_suggest(name, self.profiles)
            ) from None


def resolve_endpoint(
    argument: str | os.PathLike[str] | None = None, settings: Settings | None = None
) -> Endpoint:
    """Find the endpoint that counts: the argument, or what the settings say.

    Parameters
    ----------
    argument
        What the caller asked for; ``None`` for nothing.
    settings
        The settings; those of the process by default.

    Returns
    -------
    Endpoint
        What it names.

    Examples
    --------
    >>> resolve_endpoint(settings=Settings("localhost:42000", "VAST_ENDPOINT"))
    NodeEndpoint(host='localhost', port=42000)
    """
    if argument is not None:
        return parse_endpoint(argument)
    settings = Settings.load() if settings is None else settings
    try:
        return parse_endpoint(settings.endpoint)
    except UsageError as error:
        raise UsageError(f"{error.message}, from {settings.source}", hint=error.hint) from None


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the user's cache folder for vastlab; what is in it can be made again.

    Parameters
    ----------
    environ
        The environment; that of the process by default.

    Returns
    -------
    Path
        It need not exist.

    Examples
    --------
    >>> str(cache_folder({"XDG_CACHE_HOME": "/var/cache/ann"}))
    '/var/cache/ann/vastlab'
    """
    return _vastlabs("XDG_CACHE_HOME", ".cache", environ)


def state_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the user's folder for what vastlab remembers, such as what was asked.

    Parameters
    ----------
    environ
        The environment; that of the process by default.

    Returns
    -------
    Path
        It need not exist.

    Examples
    --------
    >>> str(state_folder({"HOME": "/home/ann"}))
    '/home/ann/.local/state/vastlab'
    """
    return _vastlabs("XDG_STATE_HOME", ".local/state", environ)


def _vastlabs(variable: str, usual: str, environ: Mapping[str, str] | None) -> Path:
    environ = os.environ if environ is None else environ
    chosen = environ.get(variable)
    return (Path(chosen) if chosen else _home(environ) / usual) / "vastlab"


@dataclass(frozen=True, slots=True)
class _File:
    source: str
    endpoint: str | None
    client: str | None
    profiles: Mapping[str, str]


def _user_folder(environ: Mapping[str, str]) -> Path:
    config = environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else _home(environ) / ".config") / "vast"


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    return Path(home) if home else Path.home()


def _file_in(folder: Path) -> Path | None:
    found = [path for path in (folder / "vast.yaml", folder / "vast.yml") if path.is_file()]
    if len(found) > 1:
        raise ConfigError(f"both {found[0]} and {found[1]} exist", hint="remove one of them")
    return found[0] if found else None


def _read(path: Path) -> _File:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"cannot read the settings in {path}: {reason}") from error
    top = _mapping({} if content is None else content, path, "the file")
    vast = _mapping(top.get("vast") or {}, path, "vast")
    own = _known(_mapping(top.get("vastlab") or {}, path, "vastlab"), _KEYS, path, "vastlab")
    return _File(
        str(path),
        _text(vast.get("endpoint"), path, "vast.endpoint"),
        _text(own.get("client"), path, "vastlab.client"),
        _profiles(own.get("profiles") or {}, path),
    )


_KEYS = ("client", "profiles")
_PROFILE_KEYS = ("endpoint",)


def _profiles(value: object, path: Path) -> dict[str, str]:
    profiles = {}
    for name, entry in _mapping(value, path, "vastlab.profiles").items():
        where = f"vastlab.profiles.{name}"
        keys = _known(_mapping(entry or {}, path, where), _PROFILE_KEYS, path, where)
        endpoint = _text(keys.get("endpoint"), path, f"{where}.endpoint")
        if endpoint is None:
            raise ConfigError(f"{path}: {where} has no endpoint")
        profiles[name] = endpoint
    return profiles


def _mapping(value: object, path: Path, where: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{path}: {where} is no mapping of names to values")
    return value


def _known(
    mapping: dict[str, object], keys: tuple[str, ...], path: Path, where: str
) -> dict[str, object]:
    for key in mapping:
        if key not in keys:
            raise ConfigError(f"{path}: unknown key {where}.{key}", hint=_suggest(key, keys))
    return mapping


_Value = TypeVar("_Value")


def _suggest(name: str, known: Mapping[str, _Value] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(sorted(known))}" if known else "there are none"


def _text(value: object, path: Path, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigError(f"{path}: {where} is no text")
