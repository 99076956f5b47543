"""What all parts of the parser share: blanks, the end of a word, positions of faults.

The grammar is a PEG without tokens, so each part is a function of the text and an offset. It
returns what it found and where that ends, ``None`` where something else may still fit, and
raises where nothing can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vastlab.errors import ExpressionSyntaxError

MAX_DEPTH = 100

_BLANKS = re.compile(r"[ \t\n\v\f\r]*+")  # C's isspace
_SKIP = re.compile(r"(?:[ \t\n\v\f\r]++|/\*.*?\*/)*+", re.DOTALL)
_CONTINUES = re.compile(r"[A-Za-z0-9_:.-]")
_WORDS = {word: re.compile(rf"{word}(?![A-Za-z0-9_:.-])") for word in ("and", "or", "not")}


@dataclass(frozen=True, slots=True)
class Fault:
    """A literal that is well-formed but has no value, such as a number that is too large.

    It is an error only when the text that follows does not turn it into a field name.
    """

    message: str
    expected: str


def blanks(text: str, at: int) -> int:
    """Skip blanks; literals have no comments inside."""
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def skip(text: str, at: int) -> int:
    """Skip blanks and comments between tokens."""
    found = _SKIP.match(text, at)
    return found.end() if found else at


def continues(text: str, at: int) -> bool:
    """Whether what ends here is only the beginning of a field name."""
    return _CONTINUES.match(text, at) is not None


def lone_word(name: str, text: str, at: int) -> int | None:
    """Find the end of ``and``, ``or`` or ``not`` where it stands alone."""
    found = _WORDS[name].match(text, at)
    return found.end() if found else None


def fault(
    message: str, text: str, at: int, *expected: str, hint: str | None = None
) -> ExpressionSyntaxError:
    """Make the error for a place where nothing fits."""
    return ExpressionSyntaxError(message, text, at, expected, hint=hint)


def deeper(depth: int, text: str, at: int) -> int:
    """Count one more level of nesting."""
    if depth >= MAX_DEPTH:
        message = f"the expression is nested more than {MAX_DEPTH} levels deep"
        raise fault(message, text, at, "fewer brackets")
    return depth + 1
