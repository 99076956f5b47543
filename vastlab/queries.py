"""Saved queries: expressions with a name, and with parameters of a type.

They are in ``queries.yaml``, next to the notebook and in the folder of the user's
``vast.yaml``; the notebook's query takes precedence over one of the same name::

    - name: beacons
      description: Connections of one host to one place
      expression: 'id.orig_h == $host && id.resp_p in $ports'
      params:
        host: {type: ip}
        ports: {type: list<int>, default: [443, 8443]}
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from vastlab import _text, _yaml, errors
from vastlab.config import Settings
from vastlab.expression import parse_query
from vastlab.expression.literals import Duration, Time
from vastlab.expression.parameters import names, to_literal
from vastlab.expression.parser import parse_literal
from vastlab.result import Result

__all__ = ["Parameter", "Queries", "SavedQuery", "load", "save"]

FILE = "queries.yaml"


def _literal(kind: type[Time | Duration]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        literal = parse_literal(text)
        if not isinstance(literal, kind):
            raise ValueError(text)
        return literal

    return read


_READERS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "int": int,
    "double": float,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "ip": ipaddress.ip_address,
    "subnet": ipaddress.ip_network,
    "time": _literal(Time),
    "duration": _literal(Duration),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a saved query.

    Parameters
    ----------
    name
        The name after the ``$``.
    type
        ``string int double bool ip subnet time duration``, or ``list<...>`` of one of these.
    default
        Its value where none is given; only with `optional`.
    optional
        Whether there is a default.

    Examples
    --------
    >>> Parameter("hosts", "list<ip>").read("10.0.0.1,10.0.0.2")
    [IPv4Address('10.0.0.1'), IPv4Address('10.0.0.2')]
    """

    name: str
    type: str = "string"
    default: Any = None
    optional: bool = False

    def read(self, value: object) -> Any:
        """Turn text into a value of the parameter's type; other values stay as they are."""
        if self.type.startswith("list<"):
            if isinstance(value, str):
                value = [item.strip() for item in value.split(",") if item.strip()]
            items = value if isinstance(value, list | tuple) else None
            return value if items is None else [self._read(item) for item in items]
        return self._read(value)

    def _read(self, value: object) -> Any:
        base = self.type.removeprefix("list<").removesuffix(">")
        if not isinstance(value, str):
            return value
        try:
            return _READERS[base](value)
        except (ValueError, KeyError, errors.VastlabError):
            raise errors.ParameterError(
                f"the parameter ${self.name} takes a value of type {base}, not {value!r}"
            ) from None


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """A query with a name.

    Parameters
    ----------
    name
        How it is called.
    expression
        What it asks.
    description
        What it is for.
    parameters
        The ``$names`` of the expression.
    source
        The file that it comes from.

    Examples
    --------
    >>> query = SavedQuery("web", "resp_p == $port", parameters=(Parameter("port", "int"),))
    >>> query.values({"port": "80"})
    {'port': 80}
    """

    name: str
    expression: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    source: str = field(default="", compare=False)

    def values(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return a value for each parameter.

        Parameters
        ----------
        given
            Values, or text that is read as the parameter's type.

        Raises
        ------
        ParameterError
            A value is missing, does not fit, or belongs to no parameter.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise errors.ParameterError(
                    f"the query {self.name!r} has no parameter ${name}",
                    hint=_text.did_you_mean(name, known),
                )
        for parameter in self.parameters:
            if parameter.name not in given and not parameter.optional:
                raise errors.ParameterError(
                    f"the query {self.name!r} needs ${parameter.name}, of type {parameter.type}"
                )
        return {
            name: parameter.read(given.get(name, parameter.default))
            for name, parameter in known.items()
        }


def load(folder: Path | None = None, settings: Settings | None = None) -> dict[str, SavedQuery]:
    """Read the saved queries of a folder and of the user, by name."""
    settings = Settings.load() if settings is None else settings
    folders = [settings.user_folder, Path() if folder is None else folder]
    files = [place / FILE for place in folders if place is not None]
    return {query.name: query for path in files if path.is_file() for query in _read(path)}


def save(name: str, expression: str, folder: Path | None = None) -> Path:
    """Add a query to the file of a folder, which keeps what is in it.

    Parameters
    ----------
    name
        A word that no other query of the file has.
    expression
        What it asks; each of its ``$names`` is a parameter of type string.
    folder
        The working folder if not given.

    Returns
    -------
    Path
        The file.
    """
    path = (Path() if folder is None else folder) / FILE
    if not _is_name(name):
        raise errors.UsageError(
            f"a query cannot be called {name!r}" if name else "the query needs a name",
            hint="a plain word, such as beacons",
        )
    parse_query(expression)
    known = {query.name for query in _read(path)} if path.is_file() else set()
    if name in known:
        raise errors.UsageError(f"{path} has a query called {name!r}", hint="choose another name")
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    entry = yaml.safe_dump(
        [{"name": name, "expression": expression}],
        sort_keys=False,
        allow_unicode="\x85" not in expression,  # which YAML folds where it is not escaped
        width=1000,
    )
    parted = "" if not before or before.endswith("\n") else "\n"
    temporary = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        temporary.write_text(f"{before}{parted}{entry}", encoding="utf-8")
        found = {query.name: query.expression for query in _read(temporary)}
        if found.keys() != {*known, name} or found[name] != expression:
            raise errors.UsageError(f"cannot add to {path}", hint="write it there by hand")
        temporary.replace(path)
    except OSError as error:
        raise errors.UsageError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


class Queries:
    """The saved queries of a connection: each is a method that asks it.

    Parameters
    ----------
    ask
        Asks an expression with parameters.

    Examples
    --------
    >>> Queries(print)
    <no saved queries: put some in queries.yaml>
    """

    def __init__(self, ask: Callable[..., Result]) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Result]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except errors.UsageError as error:
            raise UnknownQueryError(error.message, hint=error.hint) from None

    def __getitem__(self, name: str) -> Callable[..., Result]:
        query = find(name, load())

        def ask(**given: object) -> Result:
            own = {parameter.name for parameter in query.parameters}
            how = {key: given.pop(key) for key in list(given) if key in _HOW and key not in own}
            return self._ask(query.expression, params=query.values(given), **how)

        ask.__name__ = query.name
        ask.__doc__ = _text.plain_lines(query.description)
        return ask

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *load()]

    def __repr__(self) -> str:
        lines = list(map(describe, load().values()))
        return "\n".join(lines) or f"<no saved queries: put some in {FILE}>"


_HOW = frozenset({"limit", "mode", "since", "until", "order", "per_schema", "timeout", "quiet"})


def find(name: str, queries: Mapping[str, SavedQuery]) -> SavedQuery:
    """Return a saved query."""
    if name in queries:
        return queries[name]
    hint = (
        _text.did_you_mean(name, queries) if queries else f"put some in {FILE} beside the notebook"
    )
    raise errors.UsageError(f"no such saved query: {name!r}", hint=hint)


def describe(query: SavedQuery) -> str:
    """Describe a saved query in one line.

    >>> describe(SavedQuery("web", "resp_p == $port", "the web", (Parameter("port", "int"),)))
    'web(port: int): the web'
    """
    wanted = ", ".join(
        f"{p.name}: {p.type}" + (f" = {p.default}" if p.optional else "") for p in query.parameters
    )
    about = f": {' '.join(query.description.split())}" if query.description else ""
    return _text.plain(f"{query.name}({wanted}){about}")


class UnknownQueryError(errors.UsageError, AttributeError):
    """The error of a missing attribute, in the words of vastlab."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a query."""

    name: str
    expression: str
    description: str | None = None
    params: dict[str, Any] | None = None


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a parameter."""

    type: str = "string"
    default: Any = msgspec.UNSET
    description: str | None = None


def _read(path: Path) -> Iterable[SavedQuery]:
    content = _yaml.load(path, "the queries") or []
    found: dict[str, SavedQuery] = {}
    entries = _yaml.convert(content, list[Any], path, hint="each query begins with '- name:'")
    for number, entry in enumerate(entries, start=1):
        query = _query(_yaml.convert(entry, _Entry, path, f"query {number}"), path)
        if query.name in found:
            raise errors.ConfigError(f"{path}: two queries are called {query.name!r}")
        found[query.name] = query
    return found.values()


def _query(entry: _Entry, path: Path) -> SavedQuery:
    name, params = entry.name, entry.params or {}
    if not _is_name(name):
        raise errors.ConfigError(f"{path}: a query cannot be called {name!r}", hint="a plain word")
    where = f"{path}: the query {name!r}"
    try:
        wanted = names(parse_query(entry.expression))
    except errors.ExpressionError as error:
        raise errors.ConfigError(f"{where}: {error}") from None
    for parameter in params:
        if parameter not in wanted:
            raise errors.ConfigError(
                f"{where} does not use its parameter {parameter!r}",
                hint=_text.did_you_mean(parameter, wanted),
            )
    parameters = tuple(_parameter(key, params.get(key), where) for key in wanted)
    return SavedQuery(name, entry.expression, entry.description or "", parameters, str(path))


def _is_name(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _parameter(name: str, entry: object, where: str) -> Parameter:
    declared = _yaml.convert({} if entry is None else entry, _Declared, where, f"params.{name}")
    base = declared.type.removeprefix("list<").removesuffix(">")
    if base not in _READERS or declared.type not in (base, f"list<{base}>"):
        raise errors.ConfigError(
            f"{where}: the parameter {name!r} has the unknown type {declared.type!r}",
            hint=_text.did_you_mean(base, _READERS),
        )
    if declared.default is msgspec.UNSET:
        return Parameter(name, declared.type)
    parameter = Parameter(name, declared.type, declared.default, optional=True)
    try:
        to_literal(parameter.read(declared.default))
    except errors.ParameterError as error:
        raise errors.ConfigError(f"{where}: the default of {name!r}: {error}") from None
    return parameter
