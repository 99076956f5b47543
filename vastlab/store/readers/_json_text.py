"""Lines of JSON into objects, strictly: every line is an object, or a reason why not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from vastlab.store.readers._problems import Problems

DEEPEST = 100
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_BLANK = " \t\r\n"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return members


# Decimals keep every digit of a time.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal)


def decode(line: bytes) -> list[dict[str, Any]]:
    """Read the objects of one line: one, as a rule.

    Raises
    ------
    ValueError
        With the reason, in words that fit behind a line number.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("the text is no UTF-8") from None
    objects, position = [], _skip_blanks(text, 0)
    while position < len(text):
        value, position = _decode_one(text, position)
        if not isinstance(value, dict):
            raise ValueError("the line is no JSON object")
        objects.append(value)
        position = _skip_blanks(text, position)
    return objects


def _decode_one(text: str, position: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    except ArithmeticError:
        raise ValueError("a number is out of range") from None


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def decode_lines(
    lines: Sequence[bytes], numbers: Sequence[int], path: str, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read many lines; those that cannot be read are reported and left out."""
    for number, line in zip(numbers, lines, strict=True):
        try:
            if is_deep(line):
                raise ValueError("the JSON is nested too deeply")
            objects = decode(line)
        except ValueError as error:
            problems.add(path, number, str(error))
        else:
            for value in objects:
                yield number, value


def is_deep(line: bytes) -> bool:
    """Tell whether a line nests so deeply that a recursive parser might overflow its stack."""
    if len(line) <= DEEPEST or line.count(b"{") + line.count(b"[") <= DEEPEST:
        return False
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(line.translate(None, _NO_STRUCTURE).split(b'"')[::2])
    for depth in range(DEEPEST):
        inner = outside_strings.replace(b"{}", b"").replace(b"[]", b"")
        if inner == outside_strings:
            # What has no partner cannot be trusted to be shallow.
            return depth + inner.count(b"{") + inner.count(b"[") > DEEPEST
        outside_strings = inner
    return True
