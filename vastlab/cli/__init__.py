"""``vastlab`` on the shell: demo, query, count, status, import, check, node, lab.

Answers go to stdout; progress, warnings and errors go to stderr. The exit code is 0 for an
answer, 1 where some files turned out to be damaged or no node runs, 2 for an error, and 130 for
Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from vastlab._text import plain
from vastlab.cli._arguments import parser
from vastlab.cli._commands import COMMANDS
from vastlab.cli._terminal import complain, warnings_as_lines
from vastlab.errors import QueryInterrupted, UsageError, VastlabError

__all__ = ["main", "run"]

_ERROR = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def main() -> NoReturn:
    """Run the command line of this process, and end it."""
    try:
        code = run(sys.argv[1:])
        # From here on a Ctrl-C ends the process at once: there is nothing left to tidy up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        code = _INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # The engine's threads may abort an interpreter that takes itself apart; this one does not.
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        What stands behind ``vastlab`` on the command line.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> run(["query", "--limit", "-1"])  # and one line on stderr
    2
    """
    try:
        with warnings_as_lines():
            return _run(argv)
    except SystemExit as done:  # argparse, after it printed the help
        return int(done.code or 0)
    except (KeyboardInterrupt, QueryInterrupted):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one could only disturb the end
        complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more. What is still buffered must not fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except VastlabError as error:
        complain(str(error))
    except OSError as error:
        complain(plain(str(error)))
    except Exception as error:  # noqa: BLE001 - a person gets a line, whatever happened
        _unexpected(error, argv)
    return _ERROR


def _run(argv: Sequence[str]) -> int:
    arguments = parser()
    args = arguments.parse_args(argv)
    if args.version:
        sys.stdout.write(f"vastlab {_version()}\n")
        return 0
    if args.command is None:
        raise UsageError("no command", hint=f"one of {', '.join(COMMANDS)}; --help says more")
    code = COMMANDS[args.command](args)
    sys.stdout.flush()
    return code


def _version() -> str:
    try:
        return metadata.version("vastlab")
    except metadata.PackageNotFoundError:  # run from its source, as the tests may do
        return "(not installed)"


def _unexpected(error: Exception, argv: Sequence[str]) -> None:
    if "--traceback" in argv:
        complain(plain("".join(traceback.format_exception(error))).replace("\\x0a", "\n"))
        return
    reason = " ".join(str(error).split())
    complain(
        plain(f"{type(error).__name__}: {reason} (a fault of vastlab; --traceback shows where)")
    )
