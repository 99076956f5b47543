"""What to say where a text stops being an expression, for the mistakes that people make."""

from __future__ import annotations

import re

from vastlab.errors import ExpressionSyntaxError
from vastlab.expression._scan import continues, fault, skip
from vastlab.expression.ast import Extractor, FieldExtractor

_NAMES = ("a field", "a :type", "#type", "#import_time")
_OPERAND = (*_NAMES, "a value")
_CONNECTIVES = ('"&&"', '"||"')
_OPERATOR = "an operator"
_QUOTES = 'texts stand in double quotes: "text"'
_PATTERN = "write == /regex/ for a match of the whole text, in /regex/ for a part of it"
_LIST = "a list stands in square brackets: [80, 443]"
_AFTER = {
    "=": "write == for equality",
    "~": _PATTERN,
    "!~": "write != /regex/, or !in /regex/ for a part of the text",
    "&": "write && or and",
    "|": "pipelines are not expressions; write || or or",
    "/*": "the comment is not closed",
    "*/": "comments do not nest",
    "'": _QUOTES,
    "[": "nothing selects an element of a list; write field ni value",
    ".": "names have no empty parts and no wildcards",
    "/": "only an address takes a prefix length",
}
_SIX = "an IPv6 address has eight groups of four hex digits, or :: for some of them"
_INSTEAD = {
    "(": _LIST,
    "=": _AFTER["="],
    "'": _QUOTES,
    "$": "a parameter is a $ and a name",
    "-": "field names do not begin with -",
    "~": _AFTER["~"],
    "::": _SIX,
    ":": "a type is a colon and its name, as in :ip",
    "#": "the metadata are #type and #import_time",
    "/*": "the comment is not closed",
}
_WORD = re.compile(r"[A-Za-z0-9_]")
# What other languages say, in small letters.
_FOREIGN = {
    "and": "write && or and",
    "or": "write || or or",
    "between": "write field >= 1 && field <= 2",
    "is": "write == null or != null",
    "eq": "write ==",
    "ne": "write !=",
    "startswith": "write == /text.*/ for a text that starts so",
    "endswith": "write == /.*text/ for a text that ends so",
    **dict.fromkeys(("contains", "has", "includes"), 'write field ni "text"'),
    **dict.fromkeys(("like", "ilike", "match", "matches", "regex", "regexp"), _PATTERN),
}
_WHERE = re.compile(r"where\b")
_LETTERS = re.compile(r"[A-Za-z]+")
_NOT = re.compile(r"\b(?:NOT|Not)\s*\Z")
_WORDS = {"T": "true", "F": "false", "True": "true", "False": "false", "nil": "null"}
_WORDS |= {"None": "null", "NULL": "null"}
_SHAPES = (
    (r"[+-]?[0-9]+", "a number has at most 20 digits, and its value fits in 64 bits"),
    (r"[0-9]{4}-[0-9-]+.*", "a date is YYYY-MM-DD, between 1900-01-01 and 2262-04-11"),
    (r"[0-9]+(\.[0-9]+)+", "an IPv4 address has four numbers up to 255"),
    (r"[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,}", _SIX),
    (r"[0-9.]+:[0-9]+", "an address has no port; compare the port on its own"),
    (
        r"[0-9.]+[A-Za-z]+.*",
        "units are ns us ms s m h d w y, factors k M G T P E and Ki Mi Gi Ti Pi Ei",
    ),
)


def left_over(text: str, at: int, *, bare: bool, opened: bool = False) -> ExpressionSyntaxError:
    """Make the error for text behind a complete expression."""
    expected = (*((_OPERATOR,) if bare else ()), *_CONNECTIVES)
    end = '")"' if opened else "the end"
    if at == len(text):
        return fault("a bracket is not closed", text, at, *expected, end)
    if text.startswith(")", at):
        return fault("no bracket is open here", text, at, *expected, end)
    hint = _hint(_AFTER, text, at)
    if _WHERE.match(text, skip(text, 0)):
        hint = "an expression is what stands behind where"
    elif hint is None:
        hint = _foreign(text, at)
    if hint is None and bare and _WORD.match(text, at):
        hint = 'a text stands in double quotes: "two words"'
    return fault("the expression does not go on like this", text, at, *expected, end, hint=hint)


def no_operand(text: str, at: int) -> ExpressionSyntaxError:
    """Make the error for a place where a field or a value has to stand."""
    if at == len(text):
        return fault("the expression ends too early", text, at, *_OPERAND)
    hint = "write != for inequality" if text.startswith(" <>", at - 2) else None
    hint = hint or _hint(_INSTEAD, text, at)
    return fault("an operand is missing", text, at, *_OPERAND, hint=hint)


def no_operator(text: str, start: int, end: int) -> ExpressionSyntaxError:
    """Make the error for ``#type`` alone, which says nothing."""
    if continues(text, end):
        return no_operand(text, start)
    end = skip(text, end)
    return fault("the operator is missing", text, end, _OPERATOR, hint=_hint(_AFTER, text, end))


def no_item(text: str, at: int) -> ExpressionSyntaxError:
    """Make the error for what cannot stand inside a list, map or record."""
    hint = None
    if text.startswith("$", at):
        hint = "a parameter stands for the whole list"
    elif _WORD.match(text, at) or text.startswith("'", at):
        hint = _QUOTES
    return fault("a value is missing", text, at, "a value", hint=hint)


def no_pair(text: str, at: int) -> ExpressionSyntaxError:
    """Make the error for a key of a map without its value."""
    return fault("a map needs a value for each key", text, at, '"->"', hint=_LIST)


def two_values(text: str, at: int) -> ExpressionSyntaxError:
    """Make the error for ``1 == 1``."""
    hint = "a field has no quotes" if text.startswith('"', at) else None
    return fault("two values are compared", text, at, *_NAMES, hint=hint)


def two_names(
    text: str, left: tuple[Extractor, int], right: tuple[Extractor, int]
) -> ExpressionSyntaxError:
    """Make the error for ``a == b``, at the side that rather looks like a value."""
    for node, at in (right, left):
        if isinstance(node, FieldExtractor) and (hint := _meant(node.name)):
            return fault("this is no value", text, at, "a value", hint=hint)
    node, at = right
    hint = f'a text stands in double quotes: "{node}"' if isinstance(node, FieldExtractor) else None
    return fault("two fields are compared", text, at, "a value", hint=hint)


def unreadable(text: str, at: int, name: str) -> ExpressionSyntaxError:
    """Make the error for a name that can only be a value gone wrong."""
    return fault("this is neither a value nor a field", text, at, *_OPERAND, hint=_meant(name))


def _foreign(text: str, at: int) -> str | None:
    """Read a word of another language, or ``NOT`` in front of what it negates."""
    if _NOT.search(text, 0, at):
        return "write ! or not"
    word = _LETTERS.match(text, at)
    return _FOREIGN.get(word[0].lower()) if word else None


def _meant(name: str) -> str | None:
    if name in _WORDS:
        return f"write {_WORDS[name]}"
    return next((hint for shape, hint in _SHAPES if re.fullmatch(shape, name)), None)


def _hint(hints: dict[str, str], text: str, at: int) -> str | None:
    longest_first = sorted(hints, reverse=True)
    return next((hints[sign] for sign in longest_first if text.startswith(sign, at)), None)
