"""Every error that vastlab raises on purpose.

::

    VastlabError
    ├── UsageError (also a ValueError)     a wrong argument, option or flag
    │   └── UnknownSchemaError             a result has no events of it; also a KeyError
    ├── ConfigError                        settings that cannot be used
    ├── ExpressionError
    │   ├── ExpressionSyntaxError          with the position and what was expected
    │   └── ParameterError                 a `$name` without a value that fits
    ├── NodeError                          a node failed; `.partial` holds what arrived
    │   ├── NodeConnectionError            nothing answers
    │   ├── NodeTimeoutError               an answer took too long
    │   └── ClientNotFoundError            no program to reach the node with
    ├── FormatError                        input that is not what its format says
    ├── DatabaseError                  `.partial` holds what arrived
    │   ├── CorruptFileError               a file of the database is damaged or gone
    │   └── LockedError                    another process holds what is needed
    └── QueryInterrupted                   stopped by the user; `.partial` holds what arrived

Each renders itself as one line, with a hint on what to do next where there is one.
`VastlabWarning` is not part of the tree: it is a `UserWarning`.
"""

from __future__ import annotations

from typing import Any

from vastlab import _text

__all__ = [
    "ClientNotFoundError",
    "ConfigError",
    "CorruptFileError",
    "DatabaseError",
    "ExpressionError",
    "ExpressionSyntaxError",
    "FormatError",
    "LockedError",
    "NodeConnectionError",
    "NodeError",
    "NodeTimeoutError",
    "ParameterError",
    "QueryInterrupted",
    "UnknownSchemaError",
    "UsageError",
    "VastlabError",
    "VastlabWarning",
]

_RED, _BOLD, _RESET = "\x1b[31m", "\x1b[1m", "\x1b[0m"


class VastlabError(Exception):
    """The root of all errors of vastlab.

    Parameters
    ----------
    message
        What happened, and to what.
    hint
        What to do next.

    Examples
    --------
    >>> str(VastlabError("no such folder: 'logs'", hint="check the spelling"))
    "no such folder: 'logs' (check the spelling)"
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return _text.plain_lines(f"{self.message} ({self.hint})" if self.hint else self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with the message alone, which not all of them take.
        return _unpickle, (type(self), self.args, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """Show one red line in IPython instead of a traceback; the cell fails all the same."""
        first, *rest = str(self).split("\n")
        return [f"{_RED}{_BOLD}{type(self).__name__}{_RESET}{_RED}: {first}{_RESET}", *rest]


class VastlabWarning(UserWarning):
    """Something that works, but hardly as it was meant.

    Examples
    --------
    >>> issubclass(VastlabWarning, UserWarning)
    True
    """

    def __str__(self) -> str:
        # Python writes it to the terminal as it is.
        return _text.plain_lines(super().__str__())


class UsageError(VastlabError, ValueError):
    """A wrong argument, option or flag."""


class UnknownSchemaError(UsageError, KeyError):
    """A schema of which a result has no events; a mapping raises `KeyError` for that."""


class ConfigError(VastlabError):
    """Settings that cannot be used."""


class ExpressionError(VastlabError):
    """An expression that cannot be run."""


class ExpressionSyntaxError(ExpressionError):
    """A text that is not an expression.

    Parameters
    ----------
    message
        What is wrong.
    text
        The whole expression.
    position
        The offset of the first character that does not fit, counted from 0.
    expected
        What could have stood there.

    Examples
    --------
    >>> print(ExpressionSyntaxError("the operand is missing", "port ==", 7, ("a value",)))
    the operand is missing: expected a value
      port ==
             ^
    """

    def __init__(
        self,
        message: str,
        text: str,
        position: int,
        expected: tuple[str, ...] = (),
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.position = position
        self.expected = expected

    def __str__(self) -> str:
        head = self.message
        if self.expected:
            head += f": expected {' or '.join(self.expected)}"
        if self.hint:
            head += f" ({self.hint})"
        return f"{_text.plain(head)}\n{_caret(self.text, self.position)}"


class ParameterError(ExpressionError):
    """A ``$name`` without a value, or with one that no literal can express."""


class NodeError(VastlabError):
    """A node, or the program that speaks with it, failed.

    Parameters
    ----------
    message, hint
        As in `VastlabError`.
    partial
        What had arrived before, where the caller collects: a `vastlab.Result` or a list of
        slices.
    stderr
        The end of the failed program's error output.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, partial: Any = None, stderr: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.partial = partial
        self.stderr = stderr


class NodeConnectionError(NodeError):
    """Nothing answers at an endpoint."""


class NodeTimeoutError(NodeError):
    """An answer took longer than allowed."""


class ClientNotFoundError(NodeError):
    """No program is installed that could reach the node."""


class FormatError(VastlabError):
    """Input that is not what its format says.

    Parameters
    ----------
    message, hint
        As in `VastlabError`.
    path
        The file, where there is one.
    line
        The line number, counted from 1.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.path = path
        self.line = line


class DatabaseError(VastlabError):
    """A database that cannot be used."""

    partial: Any = None
    """What had arrived before, where the caller collects."""


class CorruptFileError(DatabaseError):
    """A file of a database is damaged or gone."""


class LockedError(DatabaseError):
    """Somebody else holds what is needed."""


class QueryInterrupted(VastlabError):
    """A query was stopped by the user.

    Parameters
    ----------
    message, hint
        As in `VastlabError`.
    partial
        The `vastlab.Result` of what had arrived.
    """

    def __init__(self, message: str, *, hint: str | None = None, partial: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.partial = partial


def _unpickle(
    cls: type[VastlabError], args: tuple[Any, ...], state: dict[str, Any]
) -> VastlabError:
    """Make an error again in another process."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def _caret(text: str, position: int) -> str:
    """Show the line around a position, with a caret below it.

    Long lines are cut on both sides, and the caret stands under the escaped text.
    """
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start:] if end < 0 else text[start:end]
    column = position - start
    left = max(0, column - 60)
    before = _text.plain(line[left:column])
    after = _text.plain(line[column : column + 40])
    lead = "…" if left else ""
    tail = "…" if len(line) > column + 40 else ""
    return f"  {lead}{before}{after}{tail}\n  {' ' * len(lead + before)}^"
