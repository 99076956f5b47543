r"""Patterns of RE2, written for the regex engine of DataFusion.

Both engines take nearly the same syntax and run in linear time. This module rewrites what they
read differently: ``\d``, ``\w``, ``\s`` and ``\b`` are ASCII in RE2 and Unicode in Rust, classes
nest in Rust only, and RE2 knows octal escapes, ``\Q...\E`` and literal braces.
"""

from __future__ import annotations

import re

__all__ = ["required", "to_rust"]

_PERL_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_REPEAT = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")
_OCTAL = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}")
_HEX = re.compile(r"x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2})")
_PROPERTY = re.compile(r"([pP])(?:\{(\^?)([^}]*)\}|(.))", re.DOTALL)
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")
_GROUP_NAME = re.compile(r"\(\?P?<[^>]*>")
_FLAGS = re.compile(r"\(\?[a-zA-Z-]*[:)]")
# The parts of a plain pattern: a character that stands for itself, and how often it comes.
_PLAIN = re.compile(r"(?:\\([^\w\s])|([^\\\[\](){}|.^$*+?]))([*?{]|\+\??)?|([.^$])[*+?]*")


def to_rust(regex: str, *, ignore_case: bool = False, full: bool = False) -> str:
    r"""Translate a pattern of RE2 for Rust's ``regex``; `full` matches whole strings only.

    >>> to_rust(r"\d+", full=True)
    '\\A(?:[0-9]+)\\z'
    """
    flags = "i" if ignore_case else ""
    body = f"(?{flags}:{_Translator(regex).run()})"
    return rf"\A{body}\z" if full else body


def required(regex: str) -> str:
    r"""Return the longest text that all matches hold, as far as it is easy to see; or ``""``.

    To look for a text takes a fraction of the time of a pattern.

    >>> required(r"^GET /admin.*\.php$")
    'GET /admin'
    """
    if "|" in regex or "(?" in regex:
        return ""
    runs, position = [""], 0
    while found := _PLAIN.match(regex, position):
        escaped, plain, times, _ = found.groups()
        character = escaped or plain or ""
        if times and times[0] in "*?{":  # it may be absent
            runs.append("")
            if times == "{":
                break
            position = found.end() + (regex[found.end() : found.end() + 1] in ("?", "+"))
            continue
        if character:
            runs[-1] += character
        if not character or times:
            runs.append("")
        position = found.end()
    return max(runs, key=len)


class _Translator:
    """One pass over a pattern; `position` is the next character."""

    def __init__(self, regex: str) -> None:
        self.regex = regex
        self.position = 0

    def run(self) -> str:
        parts = []
        while self.position < len(self.regex):
            parts.append(self._next())
        return "".join(parts)

    def _next(self) -> str:
        match self.regex[self.position]:
            case "\\":
                return self._quoted() or self._escape(inside=False)
            case "[":
                return self._class()
            case "(":
                return self._group()
            case "{":
                return self._take(_REPEAT) or self._literal()
            case "}" | "]":
                return self._literal()
            case _:
                return self._character()

    def _take(self, token: re.Pattern[str]) -> str:
        found = token.match(self.regex, self.position)
        if found is None:
            return ""
        self.position = found.end()
        return found.group()

    def _character(self) -> str:
        character = self.regex[self.position]
        self.position += 1
        return character

    def _literal(self) -> str:
        return rf"\x{{{ord(self._character()):x}}}"

    def _quoted(self) -> str:
        if not self.regex.startswith(r"\Q", self.position):
            return ""
        end = self.regex.find(r"\E", self.position + 2)
        text = self.regex[self.position + 2 : end if end >= 0 else None]
        self.position = end + 2 if end >= 0 else len(self.regex)
        # An empty group, since a repetition may follow "\Q\E".
        return "".join(rf"\x{{{ord(c):x}}}" for c in text) or "(?:)"

    def _group(self) -> str:
        if self._take(_GROUP_NAME):
            return "("
        return self._take(_FLAGS) or self._character()

    def _class(self) -> str:
        parts = [self._character()]
        if self.regex.startswith("^", self.position):
            parts.append(self._character())
        first = True
        while first or not self.regex.startswith("]", self.position):
            parts.append(self._class_item())
            first = False
        return "".join((*parts, self._character()))

    def _class_item(self) -> str:
        """Translate one member of a class: a range, a class in it or a character."""
        posix = self._take(_POSIX)
        if posix:
            return posix
        low = self._class_character()
        rest = self.regex[self.position : self.position + 2]
        if low.startswith(r"\x{") and len(rest) == 2 and rest[0] == "-" and rest[1] != "]":
            self.position += 1
            return f"{low}-{self._class_character()}"
        return low

    def _class_character(self) -> str:
        if self.regex[self.position] == "\\":
            return self._escape(inside=True)
        return self._literal()

    def _escape(self, *, inside: bool) -> str:
        self.position += 1
        octal = self._take(_OCTAL)
        if octal:
            return rf"\x{{{int(octal, 8):x}}}"
        hexadecimal = self._take(_HEX)
        if hexadecimal:
            return rf"\x{{{int(hexadecimal[1:].strip('{}'), 16):x}}}"
        found = _PROPERTY.match(self.regex, self.position)
        if found is not None:
            self.position = found.end()
            return _property(found)
        return _letter(self._character(), inside=inside)


def _property(found: re.Match[str]) -> str:
    sign, caret, long, short = found.groups()
    if caret:
        sign = sign.swapcase()
    return rf"\{sign}{{{long if short is None else short}}}"


def _letter(letter: str, *, inside: bool) -> str:
    if letter.lower() in _PERL_CLASSES:
        members = _PERL_CLASSES[letter.lower()]
        if letter.isupper():
            return f"[^{members}]"
        return members if inside else f"[{members}]"
    if letter in "bB":
        return rf"(?-u:\{letter})"
    if letter in "Az":
        return rf"\{letter}"
    control = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}.get(letter, ord(letter))
    return rf"\x{{{control:x}}}"
