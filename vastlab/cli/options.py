"""Arguments and options that several commands share: types, help, checks, completion."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter, Token, convert

from vastlab.errors import UsageError

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext


def _number(type_: Any, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, got {text!r}") from None
    if number < 0:
        raise ValueError(f"{text} is negative; 0 means all")
    return number


def _any_case(type_: Any, tokens: Sequence[Token]) -> Any:
    return convert(type_, [tokens[0].value.lower()])


def _assignments(what: str) -> Any:
    """Return a check that each text is ``NAME=`` followed by something."""

    def check(type_: Any, texts: Sequence[str]) -> None:
        for text in texts:
            name, equals, _ = text.removeprefix("$").partition("=")
            if not equals or not name.isidentifier():
                raise ValueError(f"{text!r} is not NAME={what}")

    return check


def _places(context: CompletionContext) -> Iterator[tuple[str, str]]:
    """Complete an endpoint: the demo, and folders, each with a slash at its end."""
    yield "demo:", "the demo database"
    folders = _folders(context.incomplete)
    if len(folders) == 1:  # with two candidates or more the shell does not end the word
        folders += _folders(folders[0])
    yield from ((folder, "a folder") for folder in folders)


def no_words(context: CompletionContext) -> tuple[str, ...]:
    """Complete nothing: without a completer, zsh rejects all that cyclopts writes for a command."""
    return ()


def _folders(start: str) -> list[str]:
    above, slash, name = start.rpartition("/")
    try:
        found = [path.name for path in Path(above + slash).expanduser().iterdir() if path.is_dir()]
    except OSError:
        return []
    hidden = name.startswith(".")
    return sorted(
        f"{above}{slash}{folder}/"
        for folder in found
        if folder.startswith(name) and folder.startswith(".") == hidden
    )


EVERYWHERE = Group("Options of every command", sort_key=8)

Number = Annotated[int, Parameter(converter=_number, metavar="N")]

Endpoint = Annotated[
    str | None,
    Parameter(
        name=("--endpoint", "-e"),
        metavar="ENDPOINT",
        group=EVERYWHERE,
        completer=_places,
        help="What to work on: demo:, a database or a folder of logs, s3://bucket/path, or "
        "host:port of a node. "
        "Default: VAST_ENDPOINT, then vast.endpoint in ./vast.yaml and in your own vast.yaml.",
    ),
]

Expression = Annotated[
    str,
    Parameter(
        show_default=False,
        completer=no_words,
        help="Which events, in single quotes; all by default.",
    ),
]

Mode = Annotated[
    Literal["historical", "continuous", "unified"],
    Parameter(
        name=("--mode", "-m"),
        metavar="MODE",
        converter=_any_case,
        help="What is stored, what arrives from now on, or first one and then the other.",
    ),
]

_FORMAT = Parameter(name=("--format", "-f"), metavar="FORMAT")
_AUTOMATIC = Parameter.combine(
    _FORMAT, Parameter(help="How to print it; by default table on a terminal, else json.")
)
EventFormat = Annotated[Literal["table", "json", "csv", "arrow", "parquet"] | None, _AUTOMATIC]
CountFormat = Annotated[Literal["table", "json", "csv"] | None, _AUTOMATIC]
StatusFormat = Annotated[Literal["table", "json"] | None, _AUTOMATIC]

LogFormat = Annotated[
    Literal["arrow", "csv", "json", "parquet", "suricata", "zeek", "zeek-json"] | None,
    Parameter.combine(_FORMAT, Parameter(help="The format of the files; detected by default.")),
]


def format_or_default(format_: str | None) -> str:
    """Return the format that was named, or the one for where the answer goes."""
    return format_ or ("table" if sys.stdout.isatty() else "json")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What narrows an expression: options of every command that takes one."""

    since: Annotated[
        str | None,
        Parameter(
            metavar="TIME",
            help="First event time: ISO 8601 in UTC, or a span back from now such as 2h.",
        ),
    ] = None
    until: Annotated[
        str | None,
        Parameter(metavar="TIME", help="End of the event time, exclusive; written like --since."),
    ] = None
    param: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--param", "-p"),
            metavar="NAME=VALUE",
            validator=_assignments("VALUE"),
            help="What $NAME stands for: a value as in an expression, anything else is text. "
            "May be repeated.",
        ),
    ] = ()
    params_from: Annotated[
        tuple[str, ...],
        Parameter(
            name="--params-from",
            metavar="NAME=FILE",
            validator=_assignments("FILE"),
            help="A list for $NAME: a value on each line of a file, or a column as in "
            "FILE.csv:COLUMN. May be repeated.",
        ),
    ] = ()

    def of(self, expression: str) -> dict[str, Any]:
        """Return the arguments of a client's call for an expression."""
        params = _parameters(expression, self.param, self.params_from)
        return {"since": self.since, "until": self.until, "params": params}


NO_BOUNDS = Bounds()


def _parameters(expression: str, values: Sequence[str], lists: Sequence[str]) -> dict[str, object]:
    """Return the values of an expression's parameters."""
    if not values and not lists:
        return {}
    # Not at the top: help and completion do not need the expression language.
    from vastlab.expression import parse_query
    from vastlab.expression.parameters import indicators, names
    from vastlab.expression.parser import parse_literal

    params: dict[str, object] = {}
    for name, text in map(_split, values):
        literal = parse_literal(text)
        params[name] = text if literal is None else literal
    for name, file in map(_split, lists):
        if name in params:
            raise UsageError(f"${name} has two values", hint="give each --params-from its own name")
        params[name] = indicators(file)
    asked = names(parse_query(expression))
    for name in params:
        if name not in asked:
            # A shell replaces $names in double quotes, and often by nothing.
            raise UsageError(
                f"the expression has no ${name}", hint="put the expression in single quotes"
            )
    return params


def _split(assignment: str) -> tuple[str, str]:
    name, _, value = assignment.removeprefix("$").partition("=")
    return name, value
