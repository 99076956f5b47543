"""Blocks of whole lines: the unit that the readers of text work on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vastlab.errors import FormatError
from vastlab.store.readers._problems import Problems
from vastlab.store.readers._source import Source

BLOCK_SIZE = 4 << 20
LONGEST_LINE = 64 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines.

    Parameters
    ----------
    data
        The lines; each ends with a newline, but the last of the file may lack it.
    line
        The number of the first line, counted from 1.
    """

    data: bytes
    line: int


def blocks(
    source: Source,
    problems: Problems,
    *,
    size: int = BLOCK_SIZE,
    longest: int = LONGEST_LINE,
) -> Iterator[Block]:
    """Cut a source into blocks of whole lines of about `size` bytes.

    Raises
    ------
    FormatError
        After the last whole line, when the compressed data is damaged.
    """
    rest, line, skipping = b"", 1, False
    while part := source.read(size):
        if skipping:
            end = part.find(b"\n") + 1
            if not end:
                continue
            part, skipping, line = part[end:], False, line + 1
        last = len(part) < size and not source.damage
        cut = len(part) if last else part.rfind(b"\n") + 1
        if cut:
            data, rest = rest + part[:cut], part[cut:]
            yield Block(data, line)
            line += data.count(b"\n")
        else:
            rest += part
        if len(rest) > longest:
            problems.add(source.name, line, f"the line is longer than {longest:,} bytes")
            rest, skipping = b"", True
    if source.damage:
        cut_off = "; the line that it cuts is left out" if rest else ""
        raise FormatError(f"{source.damage}{cut_off}", path=source.name, line=line)
    if rest:
        yield Block(rest, line)
