"""Splits text into JSON objects, and decodes them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vastlab.errors import FormatError
from vastlab.readers import source
from vastlab.readers.problems import Problems
from vastlab.readers.source import MAX_LINE_SIZE, Block

MAX_DEPTH = 100
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_NO_OPENING = bytes(byte for byte in range(256) if byte not in b"{[\n")
_BLANK = " \t\r\n"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if any("\0" in key for key in members):
        raise ValueError("the name of a field contains a NUL")
    if len(members) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return members


# Decimals keep all digits of a time. msgspec is not used: of two equal keys it keeps the last one.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal)


def decode(line: bytes, encoding: str | None = None) -> list[dict[str, Any]]:
    """Decode the objects of one line, usually one; raises ValueError with the reason."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError(source.encoding_error(encoding)) from None
    objects, position = [], _skip_blanks(text, 0)
    while position < len(text):
        value, position = _decode_one(text, position)
        if not isinstance(value, dict):
            raise ValueError("the line is not a JSON object")
        if "\\u" in text and not _is_utf8(value):
            raise ValueError("the text contains an incomplete surrogate pair")
        objects.append(value)
        position = _skip_blanks(text, position)
    return objects


def _is_utf8(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def value(text: str) -> Any:
    """Decode one value of any kind, such as a cell of a table; raises ValueError."""
    if is_deep(text.encode("utf-8", "replace")):
        raise ValueError("the JSON is nested too deeply")
    found, position = _decode_one(text, 0)
    if _skip_blanks(text, position) < len(text):
        raise ValueError("unexpected text after the JSON value")
    if "\\u" in text and not _is_utf8(found):
        raise ValueError("the text contains an incomplete surrogate pair")
    return found


def _decode_one(text: str, position: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except ArithmeticError:
        raise ValueError("a number is out of range") from None


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


_SPLITS = 8
_SAMPLE = 1 << 14
_MAX_TEXTS = 256
_NEWLINE, _OPEN, _CLOSE = b"\n{}"


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a file, without blanks around them, and their numbers."""

    data: bytes  # joined
    numbers: npt.NDArray[np.int64]
    _newlines: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, texts: Sequence[bytes], numbers: Sequence[int]) -> Lines:
        """Join lines."""
        return cls(b"\n".join(texts), np.array(numbers, np.int64))

    @classmethod
    def of_block(cls, block: Block) -> Lines:
        """Return the lines of a block that are not blank."""
        data = block.data.removesuffix(b"\n")
        octets = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(octets == _NEWLINE)
        clean = data.startswith(b"{") and data.endswith(b"}")
        if clean and (octets[ends - 1] == _CLOSE).all() and (octets[ends + 1] == _OPEN).all():
            return cls(data, np.arange(block.line, block.line + len(ends) + 1), ends)
        texts = [line.strip(_BLANK.encode()) for line in data.split(b"\n")]
        numbers = [number for number, line in enumerate(texts, block.line) if line]
        return cls.of([line for line in texts if line], numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __add__(self, other: Lines) -> Lines:
        return Lines(self.data + b"\n" + other.data, np.concatenate([self.numbers, other.numbers]))

    @property
    def newlines(self) -> npt.NDArray[np.int64]:
        """The positions of the newlines between the lines."""
        if self._newlines is None:
            return np.flatnonzero(np.frombuffer(self.data, np.uint8) == _NEWLINE)
        return self._newlines

    def texts(self) -> list[bytes]:
        """Return the lines."""
        return self.data.split(b"\n") if len(self) else []

    def split(self) -> Iterator[Lines]:
        """Split the lines into a few shorter parts."""
        texts, step = self.texts(), len(self) // _SPLITS + 1
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            yield Lines(b"\n".join(texts[part]), self.numbers[part])

    def grouped(self, codes: npt.NDArray[np.int64]) -> Iterator[Lines]:
        """Yield the lines of each code; the codes are 0, 1, 2 and so on."""
        starts = self.newlines + 1
        offsets = np.concatenate([[0], starts, [len(self.data)]]).astype(np.int32)
        whole = pa.Array.from_buffers(
            pa.binary(), len(self), [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        )
        order = np.argsort(codes, kind="stable")
        for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
            part = whole.take(pa.array(rows))
            size = int((offsets[rows + 1] - offsets[rows]).sum())
            size -= int(rows[-1]) < len(self) - 1  # all lines but the last end with a newline
            yield Lines(part.buffers()[2].slice(0, size).to_pybytes(), self.numbers[rows])

    def texts_after(self, key: bytes) -> tuple[list[bytes], npt.NDArray[np.int64]] | None:
        """Find the text that follows a key in each line, such as ``"proto":``.

        Returns the distinct texts, and for each line which one it has. ``None`` if a line has not
        one such key, or if there are many texts or such as must be decoded.
        """
        octets = np.frombuffer(self.data, np.uint8)
        starts = _find_all(octets, key) + len(key)
        ends = self.newlines
        if len(starts) != len(self) or (starts[:-1] > ends).any() or (starts[1:] < ends).any():
            return None
        found: list[bytes] = []
        codes = np.zeros(len(self), np.int64)
        left = np.arange(len(self))
        while len(left):
            start = int(starts[left[0]])
            text = self.data[start : self.data.find(b'"', start)]
            if not text or b"\\" in text or len(found) == _MAX_TEXTS:
                return None
            rows = _starting(octets, starts, left, text + b'"')
            codes[rows] = len(found)
            found.append(text)
            left = np.setdiff1d(left, rows, assume_unique=True)
        return found, codes


def _find_all(octets: npt.NDArray[np.uint8], text: bytes) -> npt.NDArray[np.int64]:
    """Return where a text occurs; its rarest bytes are compared first."""
    counts = np.bincount(octets[:_SAMPLE], minlength=256)
    first, *others = sorted(range(len(text)), key=lambda i: counts[text[i]])
    at = np.flatnonzero(octets == text[first]) - first
    at = at[(at >= 0) & (at <= len(octets) - len(text))]
    for i in others:
        at = at[octets[at + i] == text[i]]
    return at


def _starting(
    octets: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    text: bytes,
) -> npt.NDArray[np.int64]:
    """Return the rows at whose start there is a text, which does not end like the data."""
    for i, octet in enumerate(text):
        rows = rows[octets[np.minimum(starts[rows] + i, len(octets) - 1)] == octet]
    return rows


def decode_lines(
    lines: Sequence[bytes],
    numbers: Sequence[int],
    path: str,
    problems: Problems,
    encoding: str | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Decode lines; bad ones are reported and left out."""
    for number, line in zip(numbers, lines, strict=True):
        try:
            if is_deep(line):
                raise ValueError("the JSON is nested too deeply")
            objects = decode(line, encoding)
        except ValueError as error:
            problems.add(path, number, str(error))
        else:
            for value in objects:
                yield number, value


def has_deep(lines: bytes) -> bool:
    """Return whether a line is nested too deeply."""
    # The number of opening brackets is a fast upper bound.
    openings = lines.translate(None, _NO_OPENING).split(b"\n")
    if max(map(len, openings)) <= MAX_DEPTH:
        return False
    return any(map(is_deep, lines.split(b"\n")))


def is_deep(line: bytes) -> bool:
    """Return whether a line is nested so deeply that a recursive parser may crash."""
    if len(line) <= MAX_DEPTH or line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return False
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(line.translate(None, _NO_STRUCTURE).split(b'"')[::2])
    for depth in range(MAX_DEPTH):
        inner = outside_strings.replace(b"{}", b"").replace(b"[]", b"")
        if inner == outside_strings:
            # Count unmatched brackets as levels.
            return depth + inner.count(b"{") + inner.count(b"[") > MAX_DEPTH
        outside_strings = inner
    return True


# One object with a list of events ("wrapper"), as CloudTrail, Azure and others write it: the name
# of the list, and the members that may precede it.
_SCALAR = rb'(?:"(?:[^"\\]|\\.)*"|[-+.0-9eE]+|true|false|null)'
_NAME = rb'"(?:[^"\\]|\\.)*"'
_LISTS = rb"(?i:records|values?|events|results?|data|items|logs|entries)"
_WRAPPED = re.compile(
    rb"\s*\{(?:\s*" + _NAME + rb"\s*:\s*" + _SCALAR + rb"\s*,){0,20}\s*"
    rb'"' + _LISTS + rb'"\s*:\s*(?=\[\s*\{)'
)
# Strings do not contain newlines, so that each line can be split into tokens.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_BETWEEN = b" \t\r,"


def spans_lines(head: bytes) -> bool:
    """Return whether objects span lines or are in an array, by the first bytes of a file."""
    lines = [line for line in head.split(b"\n") if line.strip()]
    if not lines or lines[0].lstrip().startswith(b"["):
        return bool(lines)
    if _decodes(lines[0]):
        return False
    first = next(Documents("", Problems()).feed(Block(head, 1)), None)
    return first is not None and b"\n" in head.strip() and _decodes(first[1])


def has_object_per_line(head: bytes) -> bool:
    """Return whether each line is one object, including lines that are added later."""
    if b"\n" not in head.strip():
        return not head.lstrip().startswith(b"[")
    return not spans_lines(head) and any(_decodes(line) for line in head.split(b"\n"))


def _decodes(text: bytes) -> bool:
    try:
        return not is_deep(text) and bool(decode(text))
    except ValueError:
        return False


def wrapper_of(head: bytes) -> int:
    """Return where the list of events of a wrapper, the only object of its file, starts, or 0."""
    found = _WRAPPED.match(head)
    if found is None or b'"#type"' in found.group():
        return 0
    documents = Documents("", Problems()).feed(Block(head, 1))
    first, second = next(documents, None), next(documents, None)
    if second is not None or (first is not None and not _has_events(first[1])):
        return 0
    return found.end()


def _has_events(text: bytes) -> bool:
    """Return whether an object has one list of objects, and otherwise only simple values."""
    try:
        (event,) = [] if is_deep(text) else decode(text)
    except ValueError:
        return False
    parts = [value for value in event.values() if isinstance(value, list | dict)]
    lists = [value for value in parts if isinstance(value, list)]
    return len(parts) == 1 == len(lists) and all(isinstance(one, dict) for one in lists[0])


class Documents:
    """Finds the objects in a text by counting braces, after the first `wrapper` bytes."""

    def __init__(self, path: str, problems: Problems, wrapper: int = 0) -> None:
        self._wrapper = wrapper
        self._wrapped = wrapper > 0
        self._closed = False
        self._path = path
        self._problems = problems
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._line = 0

    def feed(self, block: Block) -> Iterator[tuple[int, bytes]]:
        """Yield the first line and the text of each object that ends in a block."""
        skipped, self._wrapper = block.data[: self._wrapper], 0
        data = block.data[len(skipped) :]
        first = block.line + skipped.count(b"\n")
        for number, line in enumerate(data.split(b"\n"), first):
            yield from self._feed_line(number, line)
            if self._size > MAX_LINE_SIZE:
                reason = f"a JSON object is larger than {MAX_LINE_SIZE:,} bytes"
                raise FormatError(reason, path=self._path, line=self._line)

    def close(self) -> None:
        """Report an incomplete object at the end of the file."""
        if self._depth:
            self._problems.add(self._path, self._line, "a JSON object is incomplete")

    def _feed_line(self, number: int, line: bytes) -> Iterator[tuple[int, bytes]]:
        start = end = 0
        if self._closed:
            self._check_after_list(number, line)
            return
        for match in _TOKEN.finditer(line):
            token = match.group()
            if self._depth == 0:
                self._report_other_text(number, line[end : match.start()])
                start, end = match.start(), match.end()
                if token == b"]" and self._wrapped:
                    self._closed = True
                    self._check_after_list(number, line[end:])
                    return
                if token == b"{":
                    self._depth, self._line = 1, number
                elif token not in (b"[", b"]"):
                    self._report_other_text(number, token)
            elif token in (b"{", b"["):
                self._depth += 1
            elif token in (b"}", b"]"):
                self._depth -= 1
                if self._depth == 0:
                    end = match.end()
                    yield self._line, b" ".join([*self._parts, line[start:end]])
                    self._parts, self._size = [], 0
        if self._depth:
            self._parts.append(line[start:])
            self._size += len(line) - start
        else:
            self._report_other_text(number, line[end:])

    def _check_after_list(self, number: int, text: bytes) -> None:
        """Check that only simple values follow the list of a wrapper."""
        if b"{" in text or b"[" in text:
            shown = text[:60].decode("utf-8", "backslashreplace")
            self._problems.add(self._path, number, f"unexpected {shown!r} after the list of events")

    def _report_other_text(self, number: int, text: bytes) -> None:
        if junk := text.strip(_BETWEEN):
            shown = junk[:60].decode("utf-8", "backslashreplace")
            self._problems.add(self._path, number, f"{shown!r} is not part of a JSON object")


def first_events(head: bytes) -> Iterator[dict[str, Any]]:
    """Yield the readable events in the first bytes of a file."""
    lines: Iterable[bytes] = head.split(b"\n")
    wrapper = wrapper_of(head)
    if wrapper or spans_lines(head):
        lines = (text for _, text in Documents("", Problems(), wrapper).feed(Block(head, 1)))
    for line in lines:
        if not is_deep(line):
            with suppress(ValueError):
                yield from decode(line)
