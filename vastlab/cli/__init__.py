"""``vastlab`` on the shell.

``-f json`` writes one object a line with its schema under ``#type``; ``csv`` repeats its header
where the schema changes; ``arrow`` is one stream after the other; ``parquet`` is for events of
one schema. ``vastlab import`` reads all of them back as the same events. JSON and CSV cannot tell
labels and bytes from text, maps from records, int64 from uint64, nor the type of a column without
values; JSON has no NaN. Durations are whole numbers with a unit (``163820us``, ``41m``), which
Tenzir, VAST and pandas read exactly; in CSV, null is nothing and an empty text is ``""``.

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
from typing import NoReturn

from cyclopts import (
    CycloptsError,
    UnknownCommandError,
    UnusedCliTokensError,
    ValidationError,
)

from vastlab._text import did_you_mean, plain
from vastlab.cli import databases, programs, queries, summaries
from vastlab.cli.app import ALONE, app
from vastlab.cli.messages import complain, warnings_as_lines
from vastlab.errors import QueryInterrupted, UsageError, VastlabError

__all__ = ["main", "run"]

COMMANDS = (queries, summaries, databases, programs)
"""The modules that define commands, when they are imported."""

_ERROR = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def main() -> NoReturn:
    """Run the command line of this process, and end it."""
    try:
        _open_standard_streams()
        code = run(sys.argv[1:], alone=True)
        # From here on a Ctrl-C ends the process at once: nothing is left to clean up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        code = _INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # The engine's threads may abort an interpreter that takes itself apart; this one does not.
    os._exit(code)


def _open_standard_streams() -> None:
    """Open what the caller closed: else the next file that is opened would stand for it."""
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open until the process ends
    if "stdout" in closed:
        complain("standard output is closed: there is nowhere to write the answer")
        os._exit(_ERROR)


def run(argv: Sequence[str], *, alone: bool = False) -> int:
    """Run one command and return its exit code; `alone` where the process ends with it."""
    ALONE.set(alone)
    try:
        with warnings_as_lines():
            code = app.meta(argv) or 0  # nothing is returned after help and the version
            sys.stdout.flush()
            return code
    except CycloptsError as error:
        complain(str(_usage_error(error)))
    except SystemExit as done:  # the installation of completion, after it printed an error
        return _ERROR if done.code else 0
    except (KeyboardInterrupt, QueryInterrupted):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one could only disturb the end
        complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe; flushing the buffer at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except VastlabError as error:
        complain(str(error))
    except OSError as error:
        reason = str(error) if error.filename else f"cannot write: {error.strerror or error}"
        complain(plain(reason))
    except Exception as error:  # noqa: BLE001 - a person gets a line, whatever happened
        _unexpected(error, argv)
    return _ERROR


def _usage_error(error: CycloptsError) -> UsageError:
    """Describe wrong arguments in one line, with a hint."""
    hint = f"{' '.join(('vastlab', *(error.command_chain or ())))} --help says more"
    match error:
        case UnusedCliTokensError(unused_tokens=[*tokens]):
            message = f"unexpected arguments: {' '.join(tokens)}"
            hint = "an expression with blanks in it wants quotes"
        case UnknownCommandError(unused_tokens=[name, *_]):
            message = f"unknown command {name!r}"
            hint = did_you_mean(name, [command for command in app if command[0] != "-"])
        case ValidationError(exception_message=message):
            pass
        case _:
            error.verbose = False
            message = " ".join(str(error).split()).removesuffix(".")
            message = message[:1].lower() + message[1:]
    return UsageError(message, hint=hint)


def _unexpected(error: Exception, argv: Sequence[str]) -> None:
    if "--traceback" in argv:
        complain(plain("".join(traceback.format_exception(error))).replace("\\x0a", "\n"))
        return
    reason = " ".join(str(error).split())
    complain(
        plain(f"{type(error).__name__}: {reason} (a fault of vastlab; --traceback shows where)")
    )
