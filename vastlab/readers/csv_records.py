"""Finding the header and the records of a text table."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vastlab.readers.problems import Problems, wrong_width
from vastlab.readers.source import MAX_LINE_SIZE, Block
from vastlab.readers.text_types import Scalar, classify

OWN_COLUMN = "#type"  # the first column of what vastlab writes
OWN_HEAD = re.compile(rb"#type[,\r\n]")
VAST_COLUMN = "type"  # the first column of what VAST writes
DELIMITERS = ",\t;|"
MAX_COLUMNS = 20_000
MAX_HEADER_LINES = 100  # quoted names may contain newlines
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SEPARATORS = frozenset("\t !#$%&'()*+,-./:;<=>?@[]^_`{|}~")  # pyarrow takes one byte
_WORD = re.compile(r'"?[^\W\d][\w.\-/@]{0,39}"?')
_SCHEMA = re.compile(r"[a-z]\w*(\.[\w-]+)+")


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a table."""

    header: str
    delimiter: str
    end: int  # number of lines up to the end of the header
    comments: bool = False  # whether each line with ``#`` is a comment

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return split_line(self.header, self.delimiter)


def find_header(lines: Sequence[str]) -> Start | None:
    """Find the header among the first lines of a file."""
    comments: list[tuple[int, str]] = []
    separator = ""
    for number, raw in enumerate(lines):
        line = raw.removesuffix("\r")
        if not line.strip():
            continue
        if found := _SEP.fullmatch(line):
            separator = found.group(1) if found.group(1) in _SEPARATORS else ""
        elif line.startswith(("#", "//")) and not _is_vastlab_header(line):
            comments.append((number, line))
        else:
            start = _start(lines, number, separator, bool(comments))
            return _in_comment(comments, start, number) or start
    return _commented(comments[-1], separator, []) if comments else None


def _is_vastlab_header(line: str) -> bool:
    return line == OWN_COLUMN or line.startswith(f"{OWN_COLUMN},")


def _start(lines: Sequence[str], number: int, separator: str, comments: bool) -> Start:
    end = number + 1
    while end < len(lines) and "".join(lines[number:end]).count('"') % 2:
        if end - number == MAX_HEADER_LINES:
            end = number + 1
            break
        end += 1
    header = "\n".join(lines[number:end]).removesuffix("\r")
    follows = next((line for line in lines[end:] if line.strip()), "")
    return Start(header, separator or delimiter_of(header, follows), end, comments)


def delimiter_of(header: str, follows: str = "") -> str:
    """Return the most frequent delimiter of a header; prefer one as frequent in the next line."""
    bare, below = (re.sub(r'"[^"]*"', "", text) for text in (header, follows))
    return max(
        DELIMITERS,
        key=lambda d: (d in bare, bare.count(d) == below.count(d), bare.count(d)),
    )


def has_cr_line_ends(header: str) -> bool:
    """Return whether lines end with a carriage return only, so that the file is one line."""
    return "\r" in re.sub(r'"[^"]*"', "", header).removesuffix("\r")


def holds_values(names: Sequence[str]) -> bool:
    """Return whether a header looks like an event, so that the file may have no header."""
    found = [classify(name.strip(), numbers=True) for name in names if name.strip()]
    addresses = any(kind in (Scalar.IP, Scalar.SUBNET) for kind in found)
    return addresses or (len(found) > 0 and Scalar.TEXT not in found)


def _in_comment(comments: Sequence[tuple[int, str]], first: Start, number: int) -> Start | None:
    """Find the header in the last comment, if the first other line contains values."""
    with_text = [comment for comment in comments if comment[1].strip("#/ \t\r-=*")]
    if not with_text:
        return None
    values = first.names
    typed = any(classify(value, numbers=True) is not Scalar.TEXT for value in values)
    start = _commented(with_text[-1], first.delimiter, values)
    if start is None or not (typed or all(map(_WORD.fullmatch, start.names))):
        return None
    return Start(start.header, start.delimiter, number, comments=True)


def _commented(comment: tuple[int, str], separator: str, values: Sequence[str]) -> Start | None:
    number, line = comment
    header = line.lstrip("#/ ").rstrip("\r")
    delimiter = separator or delimiter_of(header)
    start = Start(header, delimiter, number + 1, comments=True)
    width = len(start.names)
    return start if width > 1 and (width == len(values) or not values) else None


def split_line(line: str, delimiter: str) -> list[str]:
    """Split a line into fields."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def is_vast_csv(names: Sequence[str], row: Sequence[str]) -> bool:
    """Return whether the first column contains schema names, as VAST writes them."""
    return names[:1] == [VAST_COLUMN] and bool(row) and _SCHEMA.fullmatch(row[0]) is not None


def unique(names: Sequence[str], *, exact: bool = False) -> Iterator[str]:
    """Yield unique names for columns; if `exact`, spaces are part of names, which may be empty."""
    taken: set[str] = set()
    for i, raw in enumerate(names, 1):
        name = raw if exact else raw.strip() or f"column_{i}"
        while name in taken:
            name += f"_{i}"
        taken.add(name)
        yield name


MAX_RECORD_SIZE = 16 << 20
_NEWLINES = b"\n\r"

# This limit of Python's csv module applies to the whole process.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_SIZE))


def complete_records(
    blocks: Iterable[Block], delimiter: bytes, path: str, problems: Problems
) -> Iterator[Block]:
    """Move an incomplete last record to the next block; a quote left open costs only its line."""
    rest = b""
    line = 1
    for block in blocks:
        line = line if rest else block.line
        data = rest + block.data
        while (start := open_record(data, delimiter)) is not None:
            if len(data) - start <= MAX_RECORD_SIZE:
                break
            yield Block(data[:start], line)
            data, line = _without_line(data, start, line, path, problems)
        cut = len(data) if start is None else start
        if cut:
            yield Block(data[:cut], line)
        rest = data[cut:]
        if cut and rest:
            line += data.count(b"\n", 0, cut)
    while rest:
        start = open_record(rest, delimiter)
        if start is None:
            yield Block(rest, line)
            return
        yield Block(rest[:start], line)
        rest, line = _without_line(rest, start, line, path, problems)


def _without_line(
    data: bytes, start: int, line: int, path: str, problems: Problems
) -> tuple[bytes, int]:
    line += data.count(b"\n", 0, start)
    problems.add(path, line, "a quote is not closed")
    end = data.find(b"\n", start) + 1 or len(data)
    return data[end:], line + 1


def open_record(data: bytes, delimiter: bytes) -> int | None:
    """Find the record with a quoted field that is still open at the end of the data."""
    if b'"' not in data or data.count(b'"') % 2 == 0:  # the former is much faster
        return None
    stops = delimiter + _NEWLINES
    start = position = 0
    while (quote := data.find(b'"', position)) >= 0:
        newline = data.rfind(b"\n", position, quote)
        start = newline + 1 if newline >= 0 else start
        position = quote + 1
        if quote == 0 or data[quote - 1] in stops:
            closing = _closing(data, position)
            if closing < 0:
                return start
            position = closing + 1
    return None


def _closing(data: bytes, position: int) -> int:
    while (quote := data.find(b'"', position)) >= 0 and data.startswith(b'"', quote + 1):
        position = quote + 2
    return quote


def has_misplaced_quotes(data: bytes, delimiter: bytes) -> bool:
    """Return whether a quote is inside of a field, which Arrow's parser misreads."""
    if b'"' not in data:
        return False
    letters = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    at = np.flatnonzero(letters == ord('"'))
    edge = np.zeros(256, bool)
    edge[list(delimiter + _NEWLINES + b'"')] = True
    return not bool((edge[letters[at - 1]] | edge[letters[at + 1]]).all())


def valid_records(
    block: Block,
    delimiter: str,
    width: int,
    encoding_error: str,
    report: Callable[[int, str], None],
) -> Block:
    """Report records that are not text or not of `width` fields; they become empty lines."""

    def check(fields: list[str], last: bytes) -> str | bytes:
        if any(not text.isascii() and not _is_text(text) for text in fields):
            return encoding_error
        surplus = len(fields) - width
        if surplus > 0 and not any(fields[width:]):
            cut = last.rstrip(b"\r")
            if cut.endswith(delimiter.encode() * surplus):
                return cut[: -surplus * len(delimiter.encode())]
        return last if surplus == 0 else wrong_width(len(fields), width)

    lines = block.data.split(b"\n")
    first = 0
    while first < len(lines):
        first = _check_records(lines, first, delimiter, block.line, check, report)
    return Block(b"\n".join(lines), block.line)


def _check_records(
    lines: list[bytes],
    first: int,
    delimiter: str,
    number: int,
    check: Callable[[list[str], bytes], str | bytes],
    report: Callable[[int, str], None],
) -> int:
    """Check records from line `first` on, and return the next line to check."""
    texts = (lines[i].decode("utf-8", "surrogateescape") for i in range(first, len(lines)))
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    begin = first
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return len(lines)
        except csv.Error as error:
            # Only a quote of this line may be wrong: continue with the next line.
            report(number + begin, f"not CSV: {error}")
            lines[begin] = b""
            return begin + 1
        end = first + reader.line_num
        found = check(fields, lines[end - 1]) if fields else b""
        if isinstance(found, str):
            report(number + begin, found)
            lines[begin:end] = [b""] * (end - begin)
        else:
            lines[end - 1] = found
        begin = end


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def record_lines(block: Block, delimiter: str) -> list[int]:
    """Return the number of the first line of each record."""
    lines = block.data.split(b"\n")
    if b'"' not in block.data:
        return [n for n, line in enumerate(lines, block.line) if line.rstrip(b"\r")]
    texts = (line.decode("utf-8", "replace") for line in lines)
    reader = csv.reader(texts, delimiter=delimiter)
    found, last = [], 0
    for fields in reader:
        if fields:
            found.append(block.line + last)
        last = reader.line_num
    return found


def records_with(data: bytes, prefix: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of the lines that begin a record with a prefix."""
    if prefix[:1] not in data:  # much faster than to find nothing
        return
    counted = quotes = 0
    at = 0 if data.startswith(prefix) else data.find(b"\n" + prefix) + 1
    found = data.startswith(prefix) or at > 0
    while found:
        quotes += data.count(b'"', counted, at)
        counted = at
        if quotes % 2 == 0:
            yield at, _end_of_record(data, at)
        at = data.find(b"\n" + prefix, at) + 1
        found = at > 0


def _end_of_record(data: bytes, start: int) -> int:
    first = end = data.find(b"\n", start)
    quotes = 0
    for _ in range(MAX_HEADER_LINES):
        if end < 0:
            break
        quotes += data.count(b'"', start, end)
        if quotes % 2 == 0:
            return end
        start, end = end, data.find(b"\n", end + 1)
    return first if first >= 0 else len(data)


def blank_lines(data: bytes, prefix: bytes, drop: Callable[[bytes], bool]) -> bytes:
    """Replace lines with a prefix by empty ones if `drop` returns True."""
    parts, done = [], 0
    for at, end in records_with(data, prefix):
        if drop(data[at:end].rstrip(b"\r")):
            parts.append(data[done:at])
            done = end
    return b"".join([*parts, data[done:]]) if parts else data
