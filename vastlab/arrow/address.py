"""Addresses and subnets as arrays of bytes: parsing, formatting and membership."""

from __future__ import annotations

import functools
import ipaddress
import secrets
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

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


_Words = npt.NDArray[np.uint64]
_Value = TypeVar("_Value", bound=Any)
_Sorted = npt.NDArray[Any]

_SLOTS_PER_VALUE = 32  # 3 % of the other values need a second comparison
_MIN_BITS, _MAX_BITS = 10, 24
_FACTORS = np.array(
    (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63), np.uint64
)
_V4_FIRST, _V4_LAST = MAPPED_PREFIX + bytes(4), MAPPED_PREFIX + b"\xff" * 4

Ranges = Sequence[tuple[bytes, bytes]]


class ValueSet(Protocol):
    """A set of values that a column is compared with."""

    def contains(self, values: pa.Array) -> pa.BooleanArray:
        """Return which values of a column are in the set; null is not."""
        ...

    def count(self, chunks: list[pa.Array]) -> int:
        """Return how many values of a column are in the set."""
        ...


def _number_of(found: pa.Array | pa.ChunkedArray) -> int:
    return pc.sum(found).as_py() or 0


class PlainSet:
    """Values of any type that Arrow can look up."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def contains(self, values: pa.Array) -> pa.BooleanArray:
        """Return which values of a column are in the set; null is not."""
        return pc.is_in(values, value_set=self._values, skip_nulls=True)

    def count(self, chunks: list[pa.Array]) -> int:
        """Return how many values of a column are in the set."""
        values = pa.chunked_array(chunks, self._values.type)
        return _number_of(pc.is_in(values, value_set=self._values, skip_nulls=True))


def _outnumber(number: int, known: pa.Array) -> bool:
    """Whether Arrow, which makes a new table of the known values for each call, is faster."""
    return number > 6 * len(known)


class TextSet:
    """A set of strings, not empty; a table of fingerprints rejects most other strings quickly."""

    def __init__(self, texts: Iterable[str] | pa.StringArray) -> None:
        if not isinstance(texts, pa.Array):
            texts = pa.array(list(texts), pa.string())
        self._known: pa.StringArray = texts

    @functools.cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(self._known.to_pylist())

    @functools.cached_property
    def _table(self) -> tuple[Mask, np.uint64]:
        return _slots(_fingerprints(self._known))

    def contains(self, values: pa.StringArray) -> pa.BooleanArray:
        """Return which values of a column are in the set; null is not."""
        if not len(values):
            return pa.array([], pa.bool_())
        if _outnumber(len(values), self._known):
            return pc.is_in(values, value_set=self._known)
        slots, shift = self._table
        found = slots[(_fingerprints(values) >> shift).view(np.int64)]
        candidates = np.flatnonzero(found)
        found[candidates] = [text in self._texts for text in values.take(candidates).to_pylist()]
        return pa.array(found)

    def count(self, chunks: list[pa.StringArray]) -> int:
        """Return how many values of a column are in the set."""
        if _outnumber(sum(map(len, chunks)), self._known):
            values = pa.chunked_array(chunks, pa.string())
            return _number_of(pc.is_in(values, value_set=self._known))
        return sum(_number_of(self.contains(chunk)) for chunk in chunks)


def _slots(fingerprints: _Words) -> tuple[Mask, np.uint64]:
    """Return a table of the first bits of fingerprints, and by how much they are shifted."""
    bits = (len(fingerprints) * _SLOTS_PER_VALUE - 1).bit_length()
    shift = np.uint64(64 - min(max(bits, _MIN_BITS), _MAX_BITS))
    slots = np.zeros(1 << (64 - int(shift)), np.bool_)
    slots[fingerprints >> shift] = True
    return slots, shift


def _fingerprints(texts: pa.StringArray) -> _Words:
    """Mix the length of each text with its first and last eight bytes, and others if it is long."""
    data = texts.buffers()[2] or bytes(1)  # if all strings are empty
    starts = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)
    first, last = int(starts[0]), int(starts[-1])
    padded = np.zeros(last - first + 16, np.uint8)
    padded[8:-8] = np.frombuffer(data, np.uint8)[first:last]
    words = np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))
    begin, lengths = starts[:-1] - first + 8, np.diff(starts)
    head, tail = words[begin], words[begin + np.maximum(lengths - 8, 0)]
    if len(lengths) and lengths.min() < 8:
        kept = _KEPT_BYTES[np.minimum(lengths, 8)]
        head &= kept
        tail &= kept
    mixed: _Words = lengths.astype(np.uint64) * _FACTORS[0]
    mixed ^= head * _FACTORS[1]
    mixed ^= tail * _FACTORS[3]
    longer = np.flatnonzero(lengths > _ENDS)
    if len(longer):
        middle = begin[longer] + lengths[longer] // 2 - 4
        mixed[longer] ^= words[middle] * _FACTORS[2]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _FACTORS[1]
    return mixed


_ENDS = 24  # bytes of a text, nearly all of which are among its first and last eight
_KEPT_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


class AddressSet:
    """Addresses of 16 bytes, and networks given by first and last address, which may overlap."""

    def __init__(
        self,
        addresses: Iterable[bytes] | pa.FixedSizeBinaryArray,
        networks: Iterable[tuple[bytes, bytes]],
    ) -> None:
        if not isinstance(addresses, pa.Array):
            addresses = pa.array(list(addresses), pa.binary(16))
        self._known = addresses
        self._arrange()
        self._slots, self._shift = _slots(self._fingerprints)
        joined = disjoint(networks)
        ipv4 = [
            (max(low, _V4_FIRST), min(high, _V4_LAST))
            for low, high in joined
            if low <= _V4_LAST and high >= _V4_FIRST
        ]
        self._ipv4_numbers = tuple(_ipv4_numbers(ends) for ends in _range_ends(ipv4))
        self._networks = tuple(_packed(ends) for ends in _range_ends(joined))

    def contains(self, values: pa.FixedSizeBinaryArray) -> pa.BooleanArray:
        """Return which values of a column are in the set; null is not."""
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        matrix = octets(values)
        found = np.zeros(len(values), np.bool_)
        found[self._single(values, matrix)] = True
        if len(self._networks[0]):
            ipv4 = is_v4(matrix)
            found[ipv4] |= _in_ranges(_ipv4_numbers(matrix[ipv4]), *self._ipv4_numbers)
            if not ipv4.all():  # comparing 16 bytes is much slower than four
                found[~ipv4] |= _in_ranges(_packed(matrix[~ipv4]), *self._networks)
        if values.null_count:
            found &= values.is_valid().to_numpy(zero_copy_only=False)
        return pa.array(found)

    def count(self, chunks: list[pa.FixedSizeBinaryArray]) -> int:
        """Return how many values of a column are in the set."""
        return sum(_number_of(self.contains(chunk)) for chunk in chunks)

    def _arrange(self) -> None:
        """Sort the addresses by fingerprints, of which different addresses must have others."""
        words = octets(self._known).view(np.uint64)
        is_ambiguous = True
        while is_ambiguous:
            self._factor = np.uint64(secrets.randbits(64) | 1)
            fingerprints = self._mixed(words)
            order = np.argsort(fingerprints)
            self._fingerprints, self._words = fingerprints[order], words[order]
            twins = np.flatnonzero(self._fingerprints[1:] == self._fingerprints[:-1])
            is_ambiguous = bool((self._words[twins] != self._words[twins + 1]).any())

    def _mixed(self, words: _Words) -> _Words:
        """Return fingerprints of the two halves of addresses."""
        mixed: _Words = words[:, 0] * self._factor
        mixed ^= words[:, 1]
        mixed *= _FACTORS[0]
        return mixed

    def _single(self, values: pa.FixedSizeBinaryArray, matrix: Octets) -> npt.NDArray[np.intp]:
        """Return the rows that are one of the addresses."""
        words = matrix.view(np.uint64)
        mixed = self._mixed(words)
        rows = np.flatnonzero(self._slots[(mixed >> self._shift).view(np.int64)])
        if _outnumber(len(rows), self._known):
            found = pc.is_in(values.take(pa.array(rows)), value_set=self._known)
            return np.asarray(rows[found.to_numpy(zero_copy_only=False)])
        if not len(rows):
            return rows
        at = np.searchsorted(self._fingerprints[:-1], mixed[rows])
        same = self._words[at] == words[rows]
        return np.asarray(rows[same[:, 0] & same[:, 1]])


def _ipv4_numbers(matrix: Octets) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(matrix[:, 12:]).view(">u4").ravel().astype(np.uint32)


def _packed(matrix: Octets) -> npt.NDArray[np.bytes_]:
    # numpy ignores trailing zeros, which does not change the order of equal lengths.
    return np.ascontiguousarray(matrix).view("S16").ravel()


def _range_ends(ranges: Ranges) -> tuple[Octets, Octets]:
    """Return the first and the last addresses, each as a matrix of bytes."""
    lows, highs = (
        np.frombuffer(b"".join(pair[side] for pair in ranges), np.uint8).reshape(-1, 16)
        for side in (0, 1)
    )
    return lows, highs


def _in_ranges(values: _Sorted, lows: _Sorted, highs: _Sorted) -> Mask:
    """Return which values lie in one of several sorted, disjoint ranges."""
    if not len(lows):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(lows, values, "right") - 1
    return np.asarray((at >= 0) & (values <= highs[np.maximum(at, 0)]))


def disjoint(ranges: Iterable[tuple[_Value, _Value]]) -> list[tuple[_Value, _Value]]:
    """Sort ranges of values, and merge those that overlap."""
    joined: list[tuple[_Value, _Value]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined
