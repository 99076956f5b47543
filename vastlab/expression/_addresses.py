"""Addresses and networks."""

from __future__ import annotations

import ipaddress
import re

from vastlab.expression._scan import Fault
from vastlab.expression.literals import IP, Subnet

MAPPED = bytes(10) + b"\xff\xff"

_QUAD = re.compile(r"([0-9]{1,3}+)\.([0-9]{1,3}+)\.([0-9]{1,3}+)\.([0-9]{1,3}+)")
_SIX = re.compile(r"(?=[0-9A-Fa-f]{0,4}+:)[0-9A-Fa-f:]++(?:\.[0-9.]*+)?+")
_PREFIX = re.compile(r"/([0-9]{1,20})")
_LONGEST = len("0000:0000:0000:0000:0000:ffff:255.255.255.255") + 8


def address(text: str, at: int) -> tuple[IP | Subnet | Fault, int] | None:
    """Find an address, or a network where a prefix length follows."""
    found = _address(text, at)
    if not found:
        return None
    packed, bits, end = found
    prefix = _PREFIX.match(text, end)
    if not prefix:
        written_long = bits == 128 and packed.startswith(MAPPED)
        return IP(packed, written_long), end
    length = int(prefix[1]) % 256  # VAST accumulates the digits in eight bits
    if length > bits:
        return Fault("the prefix is too long", f"a length between 0 and {bits}"), prefix.end()
    return network(packed, length + 128 - bits), prefix.end()


def network(packed: bytes, length: int) -> Subnet:
    """Make a network, with the host bits cleared; the length counts in 128 bits."""
    mask = ((1 << length) - 1) << (128 - length)
    return Subnet((int.from_bytes(packed) & mask).to_bytes(16), length)


def _address(text: str, at: int) -> tuple[bytes, int, int] | None:
    if found := _QUAD.match(text, at):
        octets = _octets(found)
        return (MAPPED + octets, 32, found.end()) if octets else None
    if found := _SIX.match(text, at):
        packed = _six(found[0])
        return (packed, 128, found.end()) if packed else None
    return None


def _octets(found: re.Match[str]) -> bytes | None:
    numbers = [int(digits) for digits in found.groups()]
    return bytes(numbers) if max(numbers) < 256 else None


def _six(text: str) -> bytes | None:
    if len(text) > _LONGEST:
        return None
    head, _, tail = text.rpartition(":")
    if "." in tail:
        # The library refuses leading zeros, which VAST accepts.
        found = _QUAD.fullmatch(tail)
        octets = _octets(found) if found else None
        if not octets:
            return None
        text = f"{head}:{octets[:2].hex()}:{octets[2:].hex()}"
    try:
        return ipaddress.IPv6Address(text).packed
    except ipaddress.AddressValueError:
        return None
