"""The command line: its arguments and options."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import NoReturn

from vastlab.errors import UsageError
from vastlab.expression import parse_query
from vastlab.expression.literals import Literal
from vastlab.expression.parameters import indicators, names
from vastlab.expression.parser import parse_literal
from vastlab.nodes.base import ExportMode

FORMATS = ("table", "json", "csv", "arrow", "parquet")
NODE_ACTIONS = ("start", "stop", "status")
MODES = tuple(mode.value for mode in ExportMode)

_EPILOG = """\
An ENDPOINT is demo:, a database or a folder of logs, or host:port of a node. Without -e:
VAST_ENDPOINT, then vast.endpoint in ./vast.yaml and in your own vast.yaml. Quote expressions
for the shell: vastlab query -e logs 'resp_p == 443 && orig_bytes > 1Mi'
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are errors of vastlab."""

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help says more"
        words = message.removeprefix("unrecognized arguments: ")
        if words != message and not words.startswith("-"):
            hint = "an expression with blanks in it wants quotes"
        raise UsageError(message, hint=hint)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = _Parser(
        prog="vastlab",
        description="Explore security telemetry in a folder of logs, a database or a node.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="store_true", help="print the version and exit")
    _endpoint(root)
    commands = root.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_Parser
    )
    for add in (_demo, _query, _count, _status, _import, _check, _compact, _node, _lab):
        _endpoint(add(commands))
    return root


_Commands = argparse._SubParsersAction


def _endpoint(target: argparse.ArgumentParser) -> None:
    # Suppressed, so that one before the command is not overwritten by the command's default.
    target.add_argument(
        "-e", "--endpoint", metavar="ENDPOINT", default=argparse.SUPPRESS,
        help="what to work on: demo:, a folder, or host:port",
    )  # fmt: skip
    target.add_argument(
        "--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def _command(commands: _Commands[_Parser], name: str, text: str) -> _Parser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def _demo(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "demo", "make the demo database, and show what is in it")
    command.add_argument(
        "--events", metavar="N", type=_number,
        help="how many events, where -e names a new folder (default: 200000)",
    )  # fmt: skip
    return command


def _query(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "query", "print the events that match an expression")
    _expression(command)
    _bounds(command)
    command.add_argument(
        "-n", "--limit", metavar="N", type=_number, default=100,
        help="at most N events; 0 for all (default: 100)",
    )  # fmt: skip
    command.add_argument(
        "-m", "--mode", metavar="MODE", type=_mode, default=MODES[0],
        help=f"{', '.join(MODES)}: what is stored, what arrives, or both (default: {MODES[0]})",
    )  # fmt: skip
    _format(command, FORMATS)
    return command


def _count(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "count", "print how many events match an expression")
    _expression(command)
    _bounds(command)
    command.add_argument("-s", "--schemas", action="store_true", help="a number for each schema")
    _format(command, FORMATS[:3])
    return command


def _status(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "status", "print the state of a node or a database")
    _format(command, FORMATS[:2])
    return command


def _import(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "import", "add the events of log files to a database")
    command.add_argument(
        "files", metavar="FILE", nargs="+", help="files, folders or patterns; - for standard input"
    )
    command.add_argument("--schema", help="the schema's name, where the format does not tell")
    command.add_argument("-f", "--format", help="the format, where it is not to be found out")
    command.add_argument(
        "--strict",
        action="store_true",
        help="stop at a malformed line or value, and add nothing",
    )
    command.add_argument(
        "--raw",
        action="store_true",
        help="leave text as it is: no addresses, times or numbers are read out of it",
    )
    command.add_argument(
        "--encoding", metavar="NAME", help="the encoding of text, such as cp1252; UTF-8 by default"
    )
    command.add_argument(
        "--force", action="store_true", help="also add files that were added before"
    )
    return command


def _check(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "check", "read every byte of a database, and name what is damaged")
    command.add_argument(
        "--repair", action="store_true",
        help="keep what is whole, move the rest to a folder inside the database, tell the losses",
    )  # fmt: skip
    return command


def _compact(commands: _Commands[_Parser]) -> _Parser:
    return _command(commands, "compact", "merge the small files of a database into few")


def _node(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "node", "start or stop a Tenzir node of your own")
    command.add_argument(
        "action", metavar="ACTION", choices=NODE_ACTIONS, help=" | ".join(NODE_ACTIONS)
    )
    command.add_argument("folder", metavar="FOLDER", help="where the node keeps its events")
    return command


def _lab(commands: _Commands[_Parser]) -> _Parser:
    command = _command(commands, "lab", "open the notebooks in JupyterLab")
    command.add_argument("arguments", metavar="ARGUMENT", nargs="*", help="for JupyterLab")
    return command


def _expression(command: _Parser) -> None:
    command.add_argument(
        "expression", metavar="EXPRESSION", nargs="?", default="", help="default: everything"
    )
    command.add_argument(
        "-p", "--param", metavar="NAME=VALUE", type=_parameter, action="append", default=[],
        help="what $NAME stands for: a value as in an expression, anything else is text",
    )  # fmt: skip
    command.add_argument(
        "--params-from", metavar="NAME=FILE", type=partial(_assigned, what="FILE"),
        action="append", default=[],
        help="a list for $NAME: a value on each line of a file, or a column as in FILE.csv:COLUMN",
    )  # fmt: skip


def _bounds(command: _Parser) -> None:
    for name, side in (("--since", "first"), ("--until", "end of the")):
        command.add_argument(
            name, metavar="TIME",
            help=f"{side} event time: ISO 8601 in UTC, or a span back from now such as 2h",
        )  # fmt: skip


def _format(command: _Parser, formats: tuple[str, ...]) -> None:
    command.add_argument(
        "-f", "--format", metavar="FORMAT", choices=formats,
        help=f"{', '.join(formats)} (default: table on a terminal, else json)",
    )  # fmt: skip


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative; 0 means all")
    return number


def _assigned(text: str, what: str = "VALUE") -> tuple[str, str]:
    name, equals, value = text.removeprefix("$").partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME={what}")
    return name, value


def _parameter(text: str) -> tuple[str, Literal | str]:
    name, value = _assigned(text)
    literal = parse_literal(value)
    return name, value if literal is None else literal


def _mode(text: str) -> str:
    if text.lower() not in MODES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(MODES)}")
    return text.lower()


# --- arguments ------------------------------------------------------------------------------


def endpoint_of(args: argparse.Namespace) -> str | None:
    """Return the endpoint that was named."""
    return getattr(args, "endpoint", None)


def format_of(args: argparse.Namespace) -> str:
    """Return the format that was named, or the one for where the answer goes."""
    return args.format or ("table" if sys.stdout.isatty() else "json")


def params_of(args: argparse.Namespace) -> dict[str, object]:
    """Return the values of the expression's parameters."""
    params: dict[str, object] = dict(args.param)
    for name, file in args.params_from:
        if name in params:
            raise UsageError(f"${name} has two values", hint="give each --params-from its own name")
        params[name] = indicators(file)
    asked = names(parse_query(args.expression)) if params else ()
    for name in params:
        if name not in asked:
            # A shell replaces $names in double quotes, and often by nothing.
            raise UsageError(
                f"the expression has no ${name}", hint="put the expression in single quotes"
            )
    return params
