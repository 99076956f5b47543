"""Strings and patterns: what stands in quotes or slashes."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from vastlab.errors import ExpressionSyntaxError
from vastlab.expression._scan import fault
from vastlab.expression.literals import Pattern, String

_BODY = {
    quote: re.compile(rf"{quote}((?>\\\\|\\{quote}|[^{quote}\x00-\x1f\x7f])*+)") for quote in '"/'
}
_ESCAPE = {quote: re.compile(rf"\\\\|\\{quote}") for quote in '"/'}
_EMPTY = pa.scalar("")


def string(text: str, at: int) -> tuple[String, int] | None:
    r"""``"text"``; ``\"`` is a quote, every other backslash stands for itself."""
    if not text.startswith('"', at):
        return None
    body, end = _body(text, at, "string")
    return String(_unescaped(body, '"')), end


def pattern(text: str, at: int) -> tuple[Pattern, int] | None:
    r"""``/regex/`` or ``/regex/i``; ``\/`` is a slash."""
    if not text.startswith("/", at):
        return None
    body, end = _body(text, at, "pattern")
    ignore_case = text.startswith("i", end)
    regex = _unescaped(body, "/")
    problem = fault_in(regex, ignore_case=ignore_case)
    if problem:
        reason, offset = problem
        place = at + 1 + _source_offset(body, offset)
        raise ExpressionSyntaxError(
            f"the pattern is not valid: {reason}", text, place, ("a regular expression",)
        )
    return Pattern(regex, ignore_case), end + ignore_case


def fault_in(regex: str, *, ignore_case: bool = False) -> tuple[str, int] | None:
    """Compile a pattern as RE2: what is wrong with it, and from which offset on."""
    try:
        pc.match_substring_regex(_EMPTY, regex, ignore_case=ignore_case)
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        reason, _, part = reason.partition(": ")
        # RE2 names the part that it stumbled on; what is missing is missing at the end.
        found = -1 if reason.startswith("missing") else regex.find(part or "\\")
        return reason, len(regex) if found < 0 else found
    return None


def _body(text: str, at: int, kind: str) -> tuple[str, int]:
    quote = text[at]
    found = _BODY[quote].match(text, at)
    end = found.end() if found else at
    if text.startswith(quote, end):
        return text[at + 1 : end], end + 1
    closing = f"a closing {quote}"
    if end == len(text):
        raise fault(f"the {kind} is not closed", text, end, closing)
    hint = r"write a pattern with \t, \n or \x.. for it"
    raise fault(f"the {kind} holds a control character", text, end, closing, hint=hint)


def _unescaped(body: str, quote: str) -> str:
    # Two backslashes stay two, so that no quote after them counts as escaped.
    return _ESCAPE[quote].sub(lambda m: quote if m[0][1] == quote else m[0], body)


def _source_offset(body: str, offset: int) -> int:
    """Find where a character of the unescaped regex stands in the text."""
    at = 0
    for found in _ESCAPE["/"].finditer(body):
        if found.start() - at >= offset:
            break
        if found[0] == r"\/":
            at += 1
    return min(offset + at, len(body))
