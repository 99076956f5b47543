"""Long lists of strings or addresses in a text, read as one array instead of item by item."""

from __future__ import annotations

import re
import socket

import numpy as np
import pyarrow as pa

from vastlab.arrow.address import Octets, parse_ipv4
from vastlab.expression.literals import IP, LONG_LIST_LENGTH, MAPPED, String, Values
from vastlab.expression.scanner import BLANKS, QUOTED, unescaped

# A group with a d after digits reads as a duration. An address that ends as IPv4 is read by itself.
_ADDRESS = (
    r"(?:[0-9]{1,3}+(?:\.[0-9]{1,3}+){3}"
    r"|(?![0-9]++(?:[eE][0-9]++)?+d)(?=[0-9A-Fa-f]{0,4}+:)[0-9A-Fa-f:]++)"
)
_ITEM = {item: re.compile(item) for item in (QUOTED, _ADDRESS)}
# Items up to the bracket that closes the list, with a comma after each but the last, if any.
_LIST = {
    item: re.compile(rf"(?:{BLANKS}{item}{BLANKS},)*+{BLANKS}(?:{item}{BLANKS})?+\]")
    for item in _ITEM
}


def long_list(text: str, at: int) -> tuple[Values, int] | None:
    """Return the items after an opening bracket, and where the list ends.

    None for a short list, an invalid one, and one with other items than strings alone or addresses
    alone: those are read item by item.
    """
    for item, make in ((QUOTED, _strings), (_ADDRESS, _addresses)):
        if whole := _LIST[item].match(text, at):
            found = _ITEM[item].findall(text, at, whole.end())
            values = make(found) if len(found) > LONG_LIST_LENGTH else None
            return (values, whole.end()) if values is not None else None
    return None


def _strings(quoted: list[str]) -> Values:
    return Values(String, pa.array([unescaped(each[1:-1]) for each in quoted], pa.string()))


def _addresses(found: list[str]) -> Values | None:
    """Return None if one is invalid, or an IPv4 address in its long form, which is kept apart."""
    texts = pa.array(found, pa.string())
    matrix, ipv4 = parse_ipv4(texts)
    try:
        six = [socket.inet_pton(socket.AF_INET6, found[row]) for row in np.flatnonzero(~ipv4)]
    except OSError:
        return None
    if any(packed.startswith(MAPPED) for packed in six):
        return None
    matrix[~ipv4] = np.frombuffer(b"".join(six), np.uint8).reshape(-1, 16)
    return addresses(matrix)


def addresses(matrix: Octets) -> Values:
    """Return the addresses in the rows of a matrix."""
    buffers = [None, pa.py_buffer(matrix.tobytes())]
    return Values(IP, pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(matrix), buffers))
