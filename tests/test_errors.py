"""The error tree: one root, one line each, and nothing hostile on the terminal."""

from __future__ import annotations

import builtins
import pickle
import warnings

import pytest
from hypothesis import given

from tests import arrow_strategies as arrow_st
from vastlab import _text, errors
from vastlab.errors import ExpressionSyntaxError, FormatError, NodeError, VastlabError

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "VastlabWarning"]


def parents(name: str) -> set[str]:
    return {cls.__name__ for cls in getattr(errors, name).__mro__} - {name}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_all_errors_have_one_root(cls):
    """One `except` catches everything that vastlab raises, and no name hides a builtin."""
    assert issubclass(cls, VastlabError)
    assert not hasattr(builtins, cls.__name__)


@pytest.mark.parametrize(
    "name, parent",
    [
        ("UsageError", "ValueError"),
        ("ExpressionSyntaxError", "ExpressionError"),
        ("ParameterError", "ExpressionError"),
        ("NodeConnectionError", "NodeError"),
        ("NodeTimeoutError", "NodeError"),
        ("ClientNotFoundError", "NodeError"),
        ("CorruptFileError", "DatabaseError"),
        ("LockedError", "DatabaseError"),
    ],
)
def test_the_tree_is_as_drawn(name, parent):
    """Each error stands below the one that the drawing shows."""
    assert parent in parents(name)


def test_the_drawing_is_complete():
    """The module's docstring names every class."""
    assert all(name in (errors.__doc__ or "") for name in errors.__all__)


@given(arrow_st.texts(), arrow_st.texts())
def test_messages_are_neutralised(message, hint):
    """Hostile text in a message or hint shows as escapes, in `str` and in a notebook."""
    error = VastlabError(message, hint=hint)
    lines = error._render_traceback_()
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    body = lines[0].removeprefix("\x1b[31m\x1b[1mVastlabError\x1b[0m\x1b[31m: ")
    assert "\x1b" not in body.removesuffix("\x1b[0m")
    assert error.message == message


@given(arrow_st.texts())
def test_warnings_are_neutralised(message):
    """Python writes a warning to the terminal: hostile text in it shows as escapes, too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(message, errors.VastlabWarning, stacklevel=1)
    written = warnings.formatwarning(caught[0].message, errors.VastlabWarning, "here", 1, "")
    assert written == f"here:1: VastlabWarning: {_text.plain_lines(message)}\n"
    assert "\x1b" not in written


def test_hints_follow_in_brackets():
    """The hint stands behind the message, in one line."""
    assert str(FormatError("no log", hint="try --format")) == "no log (try --format)"
    assert str(FormatError("no log")) == "no log"


@pytest.mark.parametrize(
    "path, line, expected",
    [("x.log", 3, "x.log:3: bad"), ("x.log", None, "x.log: bad"), (None, None, "bad")],
)
def test_format_errors_name_the_place(path, line, expected):
    """File and line stand before the message, as compilers write them."""
    error = FormatError("bad", path=path, line=line)
    assert (str(error), error.path, error.line) == (expected, path, line)


def test_node_errors_keep_what_came():
    """What had arrived, and the last words of the client, are on the error."""
    error = NodeError("gone", partial=[1], stderr="remote_link_unreachable")
    assert (error.partial, error.stderr) == ([1], "remote_link_unreachable")
    assert errors.QueryInterrupted("stopped", partial=2).partial == 2


@pytest.mark.parametrize(
    "text, position, column",
    [("port ==", 7, 7), ("a\nbc d", 5, 3), ("x\x1b y", 3, 6)],
)
def test_carets_stand_under_the_fault(text, position, column):
    """The caret marks the position within its line, controls in front counted as shown."""
    error = ExpressionSyntaxError("wrong", text, position, ("a value", "a field"))
    head, line, caret = str(error).split("\n")
    assert head == "wrong: expected a value or a field"
    assert caret.index("^") == column + 2
    assert line.startswith("  ")
    assert "\x1b" not in line


def test_long_lines_are_cut_around_the_caret():
    """Of a long expression, the part around the fault is shown, and the cuts are marked."""
    error = ExpressionSyntaxError("wrong", "a" * 500, 250, hint="shorten it")
    head, line, caret = str(error).split("\n")
    assert head == "wrong (shorten it)"
    assert len(line) < 120
    assert line.startswith("  …")
    assert line.endswith("…")
    assert line[caret.index("^")] == "a"


def test_notebooks_show_one_red_line():
    """IPython shows the error's own lines: the first in red, then the caret."""
    error = ExpressionSyntaxError("wrong", "x ==", 4)
    first, *rest = error._render_traceback_()
    assert first.startswith("\x1b[31m\x1b[1mExpressionSyntaxError")
    assert rest == ["  x ==", "      ^"]


@pytest.mark.parametrize(
    "error",
    [
        VastlabError("m", hint="h"),
        FormatError("m", path="p", line=2),
        ExpressionSyntaxError("m", "x", 1, ("y",), hint="h"),
        NodeError("m", stderr="s"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_processes(error):
    """An error raised in a worker arrives with its message and attributes."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
