"""Parsing of field names and values, and the syntax errors with their hints."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from vastlab import _text
from vastlab.errors import ExpressionSyntaxError
from vastlab.expression import literals
from vastlab.expression.literals import Bool, ListLiteral, Literal, MapLiteral, Null, RecordLiteral
from vastlab.expression.long_lists import long_list
from vastlab.expression.scanner import (
    InvalidLiteral,
    address,
    continues_name,
    duration,
    exponent_number,
    increase_depth,
    number,
    pattern,
    plus_literal,
    skip_blanks,
    skip_space,
    string,
    syntax_error,
    time,
)

_FIELD_OPERANDS = ("a field", "a :type", "#type", "#import_time")
_ANY_OPERAND = (*_FIELD_OPERANDS, "a value")
_CONNECTIVES = ('"&&"', '"||"')
_OPERATOR = "an operator"
_QUOTES_HINT = 'put a string in double quotes: "text"'
_PATTERN_HINT = "use == /regex/ to match the whole string, in /regex/ to match a part of it"
_LIST_HINT = "write a list in square brackets: [80, 443]"
_HINTS_AFTER_OPERAND = {
    "=": "did you mean '=='?",
    "~": _PATTERN_HINT,
    "!~": "use != /regex/ for the whole string, !in /regex/ for a part of it",
    "&": "did you mean '&&'?",
    "|": "pipelines are not supported; did you mean '||'?",
    "/*": "the comment is not closed",
    "*/": "comments cannot be nested",
    "'": _QUOTES_HINT,
    "[": "a list has no index; to test for an element, use: field ni value",
    ".": "a field name cannot have empty parts or wildcards",
    "/": "only an IP address can have a prefix length",
}
_IPV6_HINT = "an IPv6 address has eight groups of hex digits; :: replaces groups of zeros"
_OPERAND_HINTS = {
    "(": _LIST_HINT,
    "=": _HINTS_AFTER_OPERAND["="],
    "'": _QUOTES_HINT,
    "$": "a parameter is $ followed by a name, such as $host",
    "-": "put a name that starts with - in backticks: `-name`",
    "~": _HINTS_AFTER_OPERAND["~"],
    "::": _IPV6_HINT,
    ":": "a type is a colon followed by a name, such as :ip",
    "#": "the metadata names are #type and #import_time",
    "/*": "the comment is not closed",
}
_TWO_WORDS_HINT = (
    'put a string in double quotes: "two words"; put a name with spaces in backticks: `a name`'
)
_TOKEN = re.compile(r"\w{1,60}|[=!<>~&|+*/-]{1,3}|.", re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9_]")
_NAME_LIKE = re.compile(r"[\w.:@%\\#?$/-]+")
_SPECIAL_CHARACTER = re.compile(r"[@%\\?$/]|[^\x00-\x7f]")
_LETTER = re.compile(r"[^\W\d_]")
_NAME_SEPARATOR = re.compile(r"[^\w.:@%\\?$/ -]|\b(?:and|or|not) ")
_PREFIX = re.compile(r"/[0-9]+\Z")
_MAX_NAME_LENGTH = 60
_SIMPLE_TEXT = re.compile(r'"([^"\x00-\x1f\x7f]+)"')
_SIMPLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*[A-Za-z0-9_]|[A-Za-z]")
_AFTER_OPERATOR = re.compile(r"(?:[=<>+\]-]|\b(?:in|ni))\s*\Z")
# Keywords of other languages, in lower case.
_OTHER_SYNTAX = {
    "and": "did you mean 'and'?",
    "or": "did you mean 'or'?",
    "between": "use field >= 1 && field <= 2",
    "is": "use == null or != null",
    "eq": "did you mean '=='?",
    "ne": "did you mean '!='?",
    "startswith": "use == /text.*/ to match the start of a string",
    "endswith": "use == /.*text/ to match the end of a string",
    **dict.fromkeys(("contains", "has", "includes"), 'use field ni "text"'),
    **dict.fromkeys(("like", "ilike", "match", "matches", "regex", "regexp"), _PATTERN_HINT),
}
_WHERE = re.compile(r"where\b")
_WORD_LETTERS = re.compile(r"[A-Za-z]+")
_NOT_BEFORE = re.compile(r"\b(?:NOT|Not)\s*\Z")
_CONSTANT_NAMES = {"T": "true", "F": "false", "True": "true", "False": "false", "nil": "null"}
_CONSTANT_NAMES |= {"None": "null", "NULL": "null"}
_INVALID_VALUES = (
    (r"[+-]?[0-9]+", "a number has at most 20 digits and must fit in 64 bits"),
    (r"[0-9]{4}-[0-9-]+.*", "a date is YYYY-MM-DD, between 1900-01-01 and 2262-04-11"),
    (r"[0-9]+(\.[0-9]+)+", "an IPv4 address has four numbers up to 255"),
    (r"[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,}", _IPV6_HINT),
    (r"[0-9.]+:[0-9]+", "an IP address cannot include a port; compare the port separately"),
    (
        r"[0-9.]+[A-Za-z]+.*",
        "units: ns us ms s m h d w y; factors: k M G T P E Ki Mi Gi Ti Pi Ei",
    ),
)


def unexpected_text(
    text: str, at: int, *, bare: bool, opened: bool = False
) -> ExpressionSyntaxError:
    """Return the error for text after a complete expression."""
    expected = (*((_OPERATOR,) if bare else ()), *_CONNECTIVES)
    end = '")"' if opened else "the end"
    if at == len(text):
        return syntax_error("missing ')'", text, at, *expected, end)
    if text.startswith(")", at):
        return syntax_error("unmatched ')'", text, at, *expected, end)
    hint = _backtick_hint(text, at) if bare else None
    hint = hint or _prefix_hint(_HINTS_AFTER_OPERAND, text, at)
    if text.startswith("`", at - 1):
        hint = "the name ended at the backtick; put '.' before the next part of a path"
    if _WHERE.match(text, skip_space(text, 0)):
        hint = "leave out 'where' at the start"
    elif hint is None:
        hint = _other_syntax_hint(text, at)
    if hint is None and bare and _WORD.match(text, at):
        hint = _TWO_WORDS_HINT
    return syntax_error(_unexpected(text, at), text, at, *expected, end, hint=hint)


def missing_operand(text: str, at: int) -> ExpressionSyntaxError:
    """Return the error for a place where a field or value is expected."""
    hint = "did you mean '!='?" if text.startswith(" <>", at - 2) else None
    hint = hint or _backtick_hint(text, at) or _prefix_hint(_OPERAND_HINTS, text, at)
    return syntax_error(_unexpected(text, at), text, at, *_ANY_OPERAND, hint=hint)


def missing_operator(text: str, start: int, end: int) -> ExpressionSyntaxError:
    """Return the error for ``#type`` without a comparison."""
    if continues_name(text, end):
        return missing_operand(text, start)
    end = skip_space(text, end)
    return syntax_error(
        "the operator is missing",
        text,
        end,
        _OPERATOR,
        hint=_prefix_hint(_HINTS_AFTER_OPERAND, text, end),
    )


def missing_item(text: str, at: int) -> ExpressionSyntaxError:
    """Return the error for an invalid item of a list, map or record."""
    hint = None
    if text.startswith("$", at):
        hint = "a parameter replaces the whole list: field in $values"
    elif _WORD.match(text, at) or text.startswith("'", at):
        hint = _QUOTES_HINT
    return syntax_error(_unexpected(text, at), text, at, "a value", hint=hint)


def missing_map_value(text: str, at: int) -> ExpressionSyntaxError:
    """Return the error for a key of a map without a value."""
    return syntax_error("the map has a key without a value", text, at, '"->"', hint=_LIST_HINT)


def values_compared(text: str, at: int) -> ExpressionSyntaxError:
    """Return the error for ``1 == 1``."""
    hint = None
    if found := _SIMPLE_TEXT.match(text, at):
        name = found[1] if _SIMPLE_NAME.fullmatch(found[1]) else _in_backticks(found[1])
        hint = f"write a field name without double quotes: {name}"
    elif text.startswith('"', at):
        hint = "write a field name without double quotes"
    return syntax_error(
        "a value cannot be compared with another value", text, at, *_FIELD_OPERANDS, hint=hint
    )


class NamedOperand(NamedTuple):
    """An operand that is not a value: the name of the field, if it is one, and its position."""

    name: str | None
    start: int
    end: int


def fields_compared(text: str, left: NamedOperand, right: NamedOperand) -> ExpressionSyntaxError:
    """Return the error for ``a == b``, at the side that looks more like a value."""
    for operand in (right, left):
        if hint := _invalid_value_hint(text[operand.start : operand.end]):
            return syntax_error("invalid value", text, operand.start, "a value", hint=hint)
    hint = None
    if right.name is not None and literals.is_quotable(right.name):
        hint = f"put a string in double quotes: {literals.string(right.name)}"
    return syntax_error(
        "a field cannot be compared with another field", text, right.start, "a value", hint=hint
    )


def invalid_operand(text: str, at: int, end: int) -> ExpressionSyntaxError:
    """Return the error for a name that can only be an invalid value."""
    hint = _invalid_value_hint(text[at:end])
    return syntax_error("invalid value", text, at, *_ANY_OPERAND, hint=hint)


def _unexpected(text: str, at: int) -> str:
    found = _TOKEN.match(text, at)
    return f"unexpected {found[0]!r}" if found else "unexpected end of the expression"


def _backtick_hint(text: str, at: int) -> str | None:
    """Find the name around a position that needs backticks; it precedes its operator."""
    start = at
    while start and _NAME_LIKE.match(text, start - 1):
        start -= 1
    found = _NAME_LIKE.match(text, start)
    name = found[0] if found else ""
    if not (_SPECIAL_CHARACTER.search(name) and _LETTER.search(name)) or name.startswith(
        ("#", "$", "/")
    ):
        return None
    if start + len(name) <= at or _AFTER_OPERATOR.search(text, 0, start) or _PREFIX.search(name):
        return None
    words_before = _NAME_SEPARATOR.split(text[max(0, start - _MAX_NAME_LENGTH) : start])[-1]
    name = words_before.lstrip() + name
    if len(name) > _MAX_NAME_LENGTH:
        return None
    return f"put a name with special characters in backticks: {_in_backticks(name)}"


def _in_backticks(name: str) -> str:
    escaped = name.replace("\\", r"\\").replace("`", r"\`")
    return f"`{escaped}`"


def _other_syntax_hint(text: str, at: int) -> str | None:
    """Translate a keyword of other query languages, or a capitalised NOT before an operand."""
    if _NOT_BEFORE.search(text, 0, at):
        return "did you mean 'not'?"
    word = _WORD_LETTERS.match(text, at)
    return _OTHER_SYNTAX.get(word[0].lower()) if word else None


def _invalid_value_hint(name: str) -> str | None:
    if name in _CONSTANT_NAMES:
        return f"did you mean {_CONSTANT_NAMES[name]}?"
    return next((hint for shape, hint in _INVALID_VALUES if re.fullmatch(shape, name)), None)


def _prefix_hint(hints: dict[str, str], text: str, at: int) -> str | None:
    longest_first = sorted(hints, reverse=True)
    return next((hints[sign] for sign in longest_first if text.startswith(sign, at)), None)


_Item = TypeVar("_Item")
_Found = tuple[Literal | InvalidLiteral, int] | None

_SCALAR_START = re.compile(r"[0-9@.:+_A-Fa-fNnIit-]")
_NAME = re.compile(r"([A-Za-z0-9_.]++):")
_BOOLS = (("true", Bool(True)), ("false", Bool(False)))
_NULLS = ("null", "_")


def operand_literal(text: str, at: int, depth: int) -> _Found:
    """Parse a literal that is not the start of a field name.

    VAST's reading comes first; ``+4.2``, ``+5s`` and ``-1e5`` are additions of vastlab.
    """
    for read in (literal, _vastlab_literal):
        found = read(text, at, depth)
        if found and not continues_name(text, found[1]):
            return found
        if found and text[at] in '"/':
            kind = "string" if text[at] == '"' else "pattern"
            raise syntax_error(
                f"unexpected text after the {kind}", text, found[1], "an operator", "the end"
            )
    return None


def literal(text: str, at: int, depth: int) -> _Found:
    """Parse a literal as VAST does: the first kind that matches."""
    if _SCALAR_START.match(text, at):
        for read in _SCALARS:
            if found := read(text, at):
                return found
        return None
    for quote_name in (string, pattern):
        if found := quote_name(text, at):
            return found
    opens = _CONTAINERS.get(text[at : at + 1])
    return opens(text, at + 1, increase_depth(depth, text, at)) if opens else None


def _vastlab_literal(text: str, at: int, depth: int) -> _Found:
    return plus_literal(text, at) or (
        exponent_number(text, at) if text[at : at + 1] in ("+", "-") else None
    )


def _bool_or_null(text: str, at: int) -> _Found:
    for word, value in _BOOLS:
        if text.startswith(word, at):
            return value, at + len(word)
    for word in _NULLS:
        if text.startswith(word, at):
            return Null(), at + len(word)
    return None


_SCALARS: tuple[Callable[[str, int], _Found], ...] = (
    time,
    duration,
    address,
    number,
    _bool_or_null,
)


# --- containers -----------------------------------------------------------------------------


def _list(text: str, at: int, depth: int) -> tuple[ListLiteral, int]:
    items, end = long_list(text, at) or _items(
        text, at, "]", "list", lambda where: _item(text, where, depth)
    )
    return ListLiteral(items), end


def _map(text: str, at: int, depth: int) -> tuple[MapLiteral, int]:
    def pair(where: int) -> tuple[tuple[Literal, Literal], int]:
        key, end = _item(text, where, depth)
        end = skip_blanks(text, end)
        if not text.startswith("->", end):
            raise missing_map_value(text, end)
        value, end = _item(text, skip_blanks(text, end + 2), depth)
        return (key, value), end

    items, end = _items(text, at, "}", "map", pair)
    return MapLiteral(items), end


def _record(text: str, at: int, depth: int) -> tuple[RecordLiteral, int]:
    def named(where: int) -> tuple[tuple[str, Literal], int]:
        name = _NAME.match(text, where)
        if not name:
            raise syntax_error(
                "the record mixes named and unnamed fields", text, where, 'a name and ":"'
            )
        value, end = _item(text, skip_blanks(text, name.end()), depth)
        return (name[1], value), end

    def unnamed(where: int) -> tuple[tuple[str, Literal], int]:
        value, end = _item(text, where, depth)
        return ("", value), end

    if not _NAME.match(text, skip_blanks(text, at)):
        fields, end = _items(text, at, ">", "record", unnamed)
        return RecordLiteral(fields), end
    try:
        fields, end = _items(text, at, ">", "record", named)
    except ExpressionSyntaxError as first:
        try:  # The name may be the start of an address: <2001:db8::1>.
            fields, end = _items(text, at, ">", "record", unnamed)
        except ExpressionSyntaxError as second:
            raise max(first, second, key=lambda error: error.position) from None
    return RecordLiteral(fields), end


_CONTAINERS: dict[str, Callable[[str, int, int], tuple[Literal, int]]] = {
    "[": _list,
    "{": _map,
    "<": _record,
}


def _items(
    text: str, at: int, closing: str, kind: str, read: Callable[[int], tuple[_Item, int]]
) -> tuple[tuple[_Item, ...], int]:
    """Parse items up to the closing bracket; one trailing comma is allowed."""
    items: list[_Item] = []
    end = skip_blanks(text, at)
    if text.startswith(",", end) and text.startswith(closing, skip_blanks(text, end + 1)):
        end = skip_blanks(text, end + 1)
    while not text.startswith(closing, end):
        item, end = read(end)
        items.append(item)
        end = skip_blanks(text, end)
        if text.startswith(",", end):
            end = skip_blanks(text, end + 1)
        elif not text.startswith(closing, end):
            raise syntax_error(f"the {kind} is not closed", text, end, '","', f'"{closing}"')
    return tuple(items), end + 1


def _item(text: str, at: int, depth: int) -> tuple[Literal, int]:
    if text.startswith("/*", at):
        raise syntax_error(
            "comments are not allowed inside a list, map or record", text, at, "a value"
        )
    found = plus_literal(text, at) or exponent_number(text, at) or literal(text, at, depth)
    if not found:
        raise missing_item(text, at)
    value, end = found
    if isinstance(value, InvalidLiteral):
        raise syntax_error(value.message, text, at, value.expected)
    return value, end


_PLAIN_PART = re.compile(r"[A-Za-z0-9_:-]++")
_QUOTED = re.compile(
    r"`((?:[^`\\\x00-\x1f\x7f]|\\(?:[`\\]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}))*+)"
)
_ESCAPE = re.compile(r"\\(?:x(.{2})|u(.{4})|U(.{8})|(.))")
_SPECIAL = re.compile(r"[`\\]")
_MAX_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@functools.lru_cache(maxsize=4096)
def format_path(parts: tuple[str, ...]) -> str:
    """Format a dotted path, with backticks only around parts that need them."""
    written = [part if _PLAIN_PART.fullmatch(part) else quote_name(part) for part in parts]
    text = ".".join(written)
    if text.startswith((":", "-")) or operand_literal(text, 0, 0) is not None:
        written[0] = quote_name(parts[0])
    return ".".join(written)


def quote_name(name: str) -> str:
    """Put a name in backticks; invisible characters are escaped."""
    escaped = _SPECIAL.sub(r"\\\g<0>", name)
    return f"`{_text.plain(escaped)}`"


def path(text: str, at: int) -> tuple[tuple[str, ...], int] | None:
    """Parse a dotted path: its parts, and where it ends."""
    if text.startswith((":", "-"), at):
        return None
    parts: list[str] = []
    end = at
    while part := _path_part(text, at):
        parts.append(part[0])
        end = part[1]
        if not text.startswith(".", end):
            break
        at = end + 1
    return (tuple(parts), end) if parts else None


def _path_part(text: str, at: int) -> tuple[str, int] | None:
    if text.startswith("`", at):
        return _read_backticks(text, at)
    found = _PLAIN_PART.match(text, at)
    return (found[0], found.end()) if found else None


def _read_backticks(text: str, at: int) -> tuple[str, int]:
    found = _QUOTED.match(text, at)
    end = found.end() if found else at
    if found and text.startswith("`", end):
        return _unescaped(text, at + 1, found[1]), end + 1
    if end == len(text):
        raise syntax_error("the name in backticks is not closed", text, end, "a closing `")
    if text[end] == "\\":
        raise syntax_error("unknown escape sequence", text, end, r"\`", r"\\", r"\x2f", r"\u200b")
    hint = r"write it as an escape sequence, such as \x0a for a line feed"
    raise syntax_error("the name contains a control character", text, end, "a closing `", hint=hint)


def _unescaped(text: str, at: int, body: str) -> str:
    def character(found: re.Match[str]) -> str:
        number = found[1] or found[2] or found[3]
        if number is None:
            return found[4]
        code = int(number, 16)
        if code > _MAX_CODE_POINT or code in _SURROGATES:
            raise syntax_error(
                "the escape sequence is not a Unicode character",
                text,
                at + found.start(),
                "valid Unicode",
            )
        return chr(code)

    return _ESCAPE.sub(character, body)
