"""Addresses and subnets as arrays of bytes: parsing, formatting and membership."""

from __future__ import annotations

import functools
import ipaddress
import socket

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MAPPED_PREFIX = b"\0" * 10 + b"\xff\xff"
_MAPPED_LENGTH = 96

Octets = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def octets(values: pa.FixedSizeBinaryArray) -> Octets:
    """View addresses or keys as a matrix of bytes, without copying; nulls have any value."""
    width = values.type.byte_width
    data = values.buffers()[1]
    if data is None:
        return np.zeros((len(values), width), np.uint8)
    start, end = values.offset * width, (values.offset + len(values)) * width
    return np.frombuffer(data, np.uint8)[start:end].reshape(-1, width)


def is_v4(matrix: Octets) -> Mask:
    """Return which addresses are IPv4, in the v4-mapped form."""
    words = matrix.view(">u4")
    return np.asarray((words[:, 0] == 0) & (words[:, 1] == 0) & (words[:, 2] == 0xFFFF))


def network_parts(networks: pa.StructArray) -> tuple[pa.Array, pa.Array]:
    """Split networks into addresses and lengths in the 128-bit space.

    For IPv4, VAST stores 10.0.0.0/8 with length 104, PyVAST with 8. A v4-mapped address with a
    length up to 32 must be the latter: the former would have cleared ``ffff``. With 33 to 95 it
    is neither IPv4 nor, because of bits after its length, IPv6: such values print as IPv6.
    """
    addresses, lengths = networks.flatten()
    if isinstance(addresses, pa.ExtensionArray):
        addresses = addresses.storage
    addresses = addresses.cast(pa.binary(16))
    lengths = lengths.cast(pa.uint8())
    short = pc.less_equal(lengths, 32)
    if not pc.any(short).as_py():
        return addresses, lengths
    short = pc.and_(short, pa.array(is_v4(octets(addresses))))
    return addresses, pc.if_else(short, pc.add(lengths, pa.scalar(96, pa.uint8())), lengths)


def address_text(addresses: pa.FixedSizeBinaryArray, v4: Mask | None = None) -> pa.StringArray:
    """Format addresses; `v4` selects those formatted as IPv4, by default all v4-mapped ones."""
    matrix = octets(addresses)
    ipv4 = is_v4(matrix) if v4 is None else v4
    null = addresses.is_null().to_numpy(zero_copy_only=False) if addresses.null_count else None
    text = _ipv4_text(matrix, null)
    ipv6 = ~ipv4 if null is None else ~ipv4 & ~null
    if not ipv6.any():
        return text
    mask = pa.array(ipv6)
    encoded = addresses.filter(mask).dictionary_encode()
    written = pa.array([_ipv6_text(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(text, mask, written.take(encoded.indices))


def network_text(networks: pa.StructArray) -> pa.StringArray:
    """Format networks, ``10.0.0.0/8`` and ``2001:db8::/32``; null if a part is null."""
    addresses, lengths = network_parts(networks)
    return address_and_length_text(addresses, lengths)


def address_and_length_text(
    addresses: pa.FixedSizeBinaryArray, lengths: pa.Array
) -> pa.StringArray:
    """Format networks whose lengths count in the 128-bit space."""
    counts = lengths.fill_null(0).to_numpy(zero_copy_only=False)
    ipv4 = is_v4(octets(addresses)) & (counts >= _MAPPED_LENGTH)
    null = lengths.is_null().to_numpy(zero_copy_only=False)
    shown = pa.array(counts - np.where(ipv4, np.uint8(_MAPPED_LENGTH), np.uint8(0)), mask=null)
    return pc.binary_join_element_wise(
        address_text(addresses, ipv4), shown.cast(pa.string()), pa.scalar("/")
    )


def network_keys(networks: pa.StructArray) -> pa.FixedSizeBinaryArray:
    """Pack each network into 17 bytes that sort by address, then length."""
    addresses, lengths = network_parts(networks)
    matrix = np.empty((len(networks), 17), np.uint8)
    matrix[:, :16] = octets(addresses)
    matrix[:, 16] = lengths.fill_null(0).to_numpy(zero_copy_only=False)
    valid = pc.and_(addresses.is_valid(), lengths.is_valid()).to_numpy(zero_copy_only=False)
    bits = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(17), len(networks), [bits, pa.py_buffer(matrix.tobytes())]
    )


def split_keys(keys: pa.FixedSizeBinaryArray) -> tuple[pa.Array, pa.Array]:
    """Return the addresses and lengths in keys that are not null."""
    matrix = octets(keys)
    packed = pa.py_buffer(np.ascontiguousarray(matrix[:, :16]))
    addresses = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, packed])
    return addresses, pa.array(np.ascontiguousarray(matrix[:, 16]))


def _ipv4_text(matrix: Octets, null: Mask | None) -> pa.StringArray:
    # Joining two halves from a table is faster than joining four numbers.
    halves = matrix.view(">u2")
    left, right = (pa.array(halves[:, i].astype(np.int32), mask=null) for i in (6, 7))
    table = _octet_pairs()
    return pc.binary_join_element_wise(table.take(left), table.take(right), pa.scalar("."))


@functools.cache
def _octet_pairs() -> pa.StringArray:
    return pa.array([f"{i >> 8}.{i & 255}" for i in range(65536)], pa.string())


def _ipv6_text(packed: bytes) -> str:
    text = socket.inet_ntop(socket.AF_INET6, packed)
    if "." not in text:
        return text
    # In ::/96 and ::ffff:0:0/96, the C library prints dotted decimals; ipaddress does not.
    high, low = int.from_bytes(packed[12:14], "big"), int.from_bytes(packed[14:], "big")
    return f"{'::ffff' if packed.startswith(MAPPED_PREFIX) else ':'}:{high:x}:{low:x}"


def parse(texts: pa.StringArray) -> tuple[Octets, npt.NDArray[np.int16]]:
    """Parse text to addresses and prefix lengths in the 128-bit space; -1 if it is not valid."""
    matrix, ipv4 = parse_ipv4(texts)
    lengths = np.where(ipv4, np.int16(128), np.int16(-1))
    others = np.flatnonzero(~ipv4)
    for row, text in zip(others.tolist(), texts.take(others).to_pylist(), strict=True):
        network = None if text is None else parse_network(text)
        if network is not None:
            packed, lengths[row] = network
            matrix[row] = np.frombuffer(packed, np.uint8)
    return matrix, lengths


def parse_ipv4(texts: pa.StringArray) -> tuple[Octets, Mask]:
    """Parse the IPv4 addresses among texts; the mask selects them, other rows are zero."""
    dotted = pc.match_substring_regex(texts, DOTTED).fill_null(False)
    ipv4 = dotted.to_numpy(zero_copy_only=False)
    matrix = np.zeros((len(texts), 16), np.uint8)
    parts = pc.list_flatten(pc.split_pattern(texts.filter(dotted), ".")).cast(pa.uint8())
    matrix[ipv4, 10:12] = 0xFF
    matrix[ipv4, 12:] = parts.to_numpy(zero_copy_only=False).reshape(-1, 4)
    return matrix, ipv4


_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
DOTTED = rf"^{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}$"


def parse_network(text: str) -> tuple[bytes, int] | None:
    """Parse one address or network and keep the host bits; None if not valid."""
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        return None
    length = interface.network.prefixlen
    if isinstance(interface, ipaddress.IPv4Interface):
        return MAPPED_PREFIX + interface.packed, _MAPPED_LENGTH + length
    return interface.packed, length


def within(matrix: Octets, lengths: npt.NDArray[np.int16], network: tuple[bytes, int]) -> Mask:
    """Return which addresses and networks lie in one network; a length of -1 never does."""
    packed, length = network
    mask = (((1 << length) - 1) << (128 - length)).to_bytes(16, "big")
    bits = np.frombuffer(mask, np.uint8).view(np.uint64)
    wanted = np.frombuffer(packed, np.uint8).view(np.uint64) & bits
    words = matrix.view(np.uint64)
    same = (words[:, 0] & bits[0] == wanted[0]) & (words[:, 1] & bits[1] == wanted[1])
    return np.asarray(same & (lengths >= length))
