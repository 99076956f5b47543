"""Settings: VAST's own ``vast.yaml``, and the folders of vastlab.

A ``./vast.yaml`` may come with the folder of another person: it may name a node, ``demo:`` or a
folder below its own, and nothing else; results name it. Keys below ``vastlab:`` are ``profiles``,
``infer``, ``encoding``, and in the user's own file also ``client`` and ``verify``.

``vast.endpoint`` has the meaning that VAST gives it; vastlab's own keys are under ``vastlab:``.
No other file and no environment variable other than ``VAST_ENDPOINT`` is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import platformdirs

from vastlab import _yaml
from vastlab._text import did_you_mean
from vastlab.endpoints import (
    DemoEndpoint,
    Endpoint,
    NodeEndpoint,
    PathEndpoint,
    parse_endpoint,
    without_secrets,
)
from vastlab.errors import ConfigError, UsageError

__all__ = [
    "DEFAULT_ENDPOINT",
    "Settings",
    "cache_folder",
    "resolve_endpoint",
    "state_folder",
]

DEFAULT_ENDPOINT = "127.0.0.1:5158"
DEFAULT_SOURCE = "the default"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment and the settings files say.

    Parameters
    ----------
    source
        Where the endpoint comes from: ``VAST_ENDPOINT``, the path of a file, or ``the default``.
    client
        The program that reaches a ``host:port`` endpoint; ``None`` to detect it.
    refused
        Why an endpoint of ``./vast.yaml`` cannot be used, by the name of its profile; ``""``
        means ``vast.endpoint``.
    infer
        Whether text of logs without a declared type may become addresses, times and so on.
    encoding
        The encoding of logs; ``None`` where UTF-8 or their content decides.
    verify
        Whether a database is compared with its checksums; only the user's own ``vast.yaml`` can
        turn this off.
    user_folder
        The folder of the user's ``vast.yaml``; ``None`` if there is none.
    """

    endpoint: str = DEFAULT_ENDPOINT
    source: str = DEFAULT_SOURCE
    client: str | None = None
    profiles: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    infer: bool = True
    encoding: str | None = None
    user_folder: Path | None = None
    verify: bool = True

    @classmethod
    def load(cls, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment, ``./vast.yaml`` and the user's ``vast.yaml``; the first value wins.

        ``./vast.yaml`` may belong to a folder of a stranger: it may only choose a node at
        host:port, ``demo:``, or a folder below its own.
        """
        environ = os.environ if environ is None else environ
        here = Path() if folder is None else folder
        user = _user_folder(environ)
        local, personal = _file_in(here), _file_in(user)
        found = [_read(path) for path in (local, personal) if path]
        endpoints = [(file.endpoint, file.source) for file in found if file.endpoint]
        if variable := environ.get("VAST_ENDPOINT"):
            endpoints.insert(0, (variable, "VAST_ENDPOINT"))
        endpoint, source = next(iter(endpoints), (DEFAULT_ENDPOINT, DEFAULT_SOURCE))
        owns = [file.own for file in found]
        profiles = {name: text for file in reversed(found) for name, text in file.profiles.items()}
        foreign = found[0] if local and not (personal and local.samefile(personal)) else None
        return cls(
            endpoint=endpoint,
            source=source,
            client=next((own.client for own in owns if own.client), None),
            profiles=profiles,
            refused=_refused(foreign, here) if foreign else {},
            infer=next((own.infer for own in owns if own.infer is not None), True),
            encoding=next((own.encoding for own in owns if own.encoding), None),
            verify=next((own.verify for own in owns if own.verify is not None), True),
            user_folder=user if user.is_dir() else None,
        )

    def profile(self, name: str) -> str:
        """Return the endpoint of a profile."""
        if name in self.refused:
            raise ConfigError(self.refused[name], hint=_OWN_FILE)
        try:
            return self.profiles[name]
        except KeyError:
            raise ConfigError(
                f"no such profile: {name!r}", hint=did_you_mean(name, self.profiles)
            ) from None


def resolve_endpoint(
    argument: str | os.PathLike[str] | None = None, settings: Settings | None = None
) -> Endpoint:
    """Return the endpoint of the argument, or of the settings without one."""
    if argument is not None:
        return parse_endpoint(argument)
    settings = Settings.load() if settings is None else settings
    if "" in settings.refused and settings.source != "VAST_ENDPOINT":
        raise ConfigError(settings.refused[""], hint=_OWN_FILE)
    try:
        return parse_endpoint(settings.endpoint)
    except UsageError as error:
        raise UsageError(f"{error.message}, from {settings.source}", hint=error.hint) from None


def cache_folder() -> Path:
    """Return the user's cache folder for vastlab, which need not exist; it can be made again."""
    return platformdirs.user_cache_path("vastlab", appauthor=False)


def state_folder() -> Path:
    """Return the user's folder for what vastlab remembers, such as the history of queries."""
    return platformdirs.user_state_path("vastlab", appauthor=False)


_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Vast(msgspec.Struct, frozen=True):
    """The keys under ``vast:``, which VAST reads too, and has more of."""

    endpoint: _Text | None = None


class _Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys under ``vastlab:``."""

    client: _Text | None = None
    encoding: _Text | None = None
    infer: bool | None = None
    profiles: dict[str, Any] | None = None
    verify: bool | None = None


class _Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of each profile."""

    endpoint: _Text


class _Content(msgspec.Struct, frozen=True):
    """The top of a file."""

    vast: _Vast | None = None
    vastlab: _Own | None = None


@dataclass(frozen=True, slots=True)
class _File:
    source: str
    endpoint: str | None
    own: _Own
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
    content = _yaml.load(path, "the settings")
    top = _yaml.convert({} if content is None else content, _Content, path)
    vast, own = top.vast or _Vast(), top.vastlab or _Own()
    profiles = {
        name: _yaml.convert(entry, _Profile, path, f"vastlab.profiles.{name}").endpoint
        for name, entry in (own.profiles or {}).items()
    }
    return _File(str(path), vast.endpoint, own, profiles)


def _refused(file: _File, folder: Path) -> dict[str, str]:
    """Return why endpoints of an untrusted file cannot be used."""
    # A file that came with the logs must not choose a program, nor let damage pass.
    for key, value in (("client", file.own.client), ("verify", file.own.verify)):
        if value is not None:
            raise ConfigError(
                f"{file.source}: vastlab.{key} may stand in your own vast.yaml only", hint=_OWN_FILE
            )
    endpoints = {"": file.endpoint or "demo:", **file.profiles}
    return {
        name: f"{file.source} names {without_secrets(text)!r}, which is not below its folder"
        for name, text in endpoints.items()
        if not _is_harmless(text, folder)
    }


def _is_harmless(text: str, folder: Path) -> bool:
    """Allow nodes, the demo, and folders below the one that the file is in."""
    try:
        match parse_endpoint(text):
            case DemoEndpoint() | NodeEndpoint():
                return True
            case PathEndpoint(path):
                return (folder / path).resolve().is_relative_to(folder.resolve())
            case _:
                return False
    except (UsageError, OSError, ValueError):
        return True  # its use raises the error


_OWN_FILE = "move it to your own vast.yaml (~/.config/vast/), or pass the endpoint yourself"
