"""Sets of values that columns are compared with: vectorised, and typed.

A table of the first bits of fingerprints rejects most values that are not in a set; what it lets
through is compared exactly.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow.address import MAPPED_PREFIX, Mask, Octets, is_v4, octets

_Words = npt.NDArray[np.uint64]
_Value = TypeVar("_Value", bound=Any)
_Sorted = npt.NDArray[Any]

_SLOTS_PER_VALUE = 16  # 6 % of the other values need a second comparison
_LOOKED_UP = 1 << 24  # bytes of values that are looked up at once: Arrow makes a table each time
_INLINE = 12  # bytes of a text that its view holds
_COMPARED = 64  # texts that are compared as fast as their last bytes
_MIN_BITS, _MAX_BITS = 10, 24
_FACTORS = np.array(
    (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63), np.uint64
)
_V4_FIRST, _V4_LAST = MAPPED_PREFIX + bytes(4), MAPPED_PREFIX + b"\xff" * 4

_Slots = tuple[Mask, np.uint64]
Ranges = Sequence[tuple[bytes, bytes]]


class ValueSet(Protocol):
    """A set of values that a column is compared with."""

    def contains(self, values: pa.Array) -> pa.BooleanArray:
        """Return which values of a column are in the set; null is not."""
        ...

    def count(self, chunks: Iterable[pa.Array]) -> int:
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

    def count(self, chunks: Iterable[pa.Array]) -> int:
        """Return how many values of a column are in the set."""
        found = size = 0
        pending: list[pa.Array] = []
        for chunk in chunks:
            pending.append(chunk)
            size += chunk.nbytes
            if size >= _LOOKED_UP:
                found, pending, size = found + self._number(pending), [], 0
        return found + self._number(pending)

    def _number(self, chunks: list[pa.Array]) -> int:
        values = pa.chunked_array(chunks, self._values.type)
        return _number_of(pc.is_in(values, value_set=self._values, skip_nulls=True))


def _outnumber(number: int, known: pa.Array) -> bool:
    """Whether Arrow, which makes a new table of the known values for each call, is faster."""
    return number > 6 * len(known)


class TextSet:
    """A set of strings, not empty.

    Arrow's view of a text holds its length and first four bytes in one number, and in another one
    the eight bytes that follow, or of more than twelve bytes, where they are. Most texts are told
    apart by the first number, and most others by their last eight bytes.
    """

    def __init__(self, texts: Iterable[str] | pa.StringArray) -> None:
        if not isinstance(texts, pa.Array):
            texts = pa.array(list(texts), pa.string())
        self._known: pa.StringArray = texts

    @functools.cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(self._known.to_pylist())

    @functools.cached_property
    def _tables(self) -> tuple[_Slots, _Slots]:
        views = self._known.cast(pa.string_view())
        heads, tails = _heads(views), _tails(views, np.arange(len(views)))
        return _slots(heads * _FACTORS[0]), _slots(_mixed(heads, tails))

    def contains(self, values: pa.StringArray | pa.StringViewArray) -> pa.BooleanArray:
        """Return which values of a column are in the set; null is not."""
        found = np.zeros(len(values), np.bool_)
        found[self._rows(values)] = True
        return pa.array(found)

    def count(self, chunks: Iterable[pa.StringArray | pa.StringViewArray]) -> int:
        """Return how many values of a column are in the set."""
        return PlainSet(self._known).count(self._candidates(chunk)[1] for chunk in chunks)

    def _rows(self, values: pa.StringArray | pa.StringViewArray) -> npt.NDArray[np.intp]:
        rows, texts = self._candidates(values)
        if _outnumber(len(rows), self._known):
            found = pc.is_in(texts, value_set=self._known)
            return np.asarray(rows[found.to_numpy(zero_copy_only=False)])
        found = (text in self._texts for text in texts.to_pylist())
        return rows[np.fromiter(found, np.bool_, len(rows))]

    def _candidates(
        self, values: pa.StringArray | pa.StringViewArray
    ) -> tuple[npt.NDArray[np.intp], pa.StringArray]:
        """Return the rows whose texts may be in the set, and these texts."""
        if not len(values):
            return np.empty(0, np.intp), pa.array([], pa.string())
        views = values.cast(pa.string_view())
        (heads, by_head), (mixed, by_both) = self._tables
        words = _heads(views)
        rows = np.flatnonzero(heads[words * _FACTORS[0] >> by_head])
        if values.null_count:
            rows = rows[values.is_valid().to_numpy(zero_copy_only=False)[rows]]
        if len(rows) > _COMPARED:
            rows = rows[mixed[_mixed(words[rows], _tails(views, rows)) >> by_both]]
        return rows, _chosen(views, rows)


def _heads(views: pa.StringViewArray) -> _Words:
    """Return the length and the first four bytes of each text."""
    return _words(views)[:, 0]


def _tails(views: pa.StringViewArray, rows: npt.NDArray[np.intp]) -> _Words:
    """Return the last eight bytes of chosen texts, or of short ones what their heads leave out."""
    words = _words(views)[rows]
    tails = words[:, 1].copy()
    parts = words.view(np.uint32).reshape(-1, 4)
    lengths, buffers, starts = parts[:, 0], parts[:, 2], parts[:, 3]
    is_long = lengths > _INLINE
    for number, buffer in enumerate(views.buffers()[2:]):
        there = np.flatnonzero(is_long & (buffers == number))
        if len(there):
            bytes_ = np.frombuffer(buffer, np.uint8)
            every = np.ndarray((len(bytes_) - 7,), "<u8", bytes_.data, strides=(1,))
            tails[there] = every[starts[there].astype(np.int64) + lengths[there] - 8]
    return tails


def _words(views: pa.StringViewArray) -> _Words:
    """Return the views as pairs of numbers."""
    every = np.frombuffer(views.buffers()[1], np.uint64)
    return every[2 * views.offset : 2 * (views.offset + len(views))].reshape(-1, 2)


def _chosen(views: pa.StringViewArray, rows: npt.NDArray[np.intp]) -> pa.StringArray:
    """Return some of the texts, none of which is null; Arrow cannot take them of views."""
    _, _, *data = views.buffers()
    chosen = pa.py_buffer(np.ascontiguousarray(_words(views)[rows]))
    found = pa.Array.from_buffers(pa.string_view(), len(rows), [None, chosen, *data])
    return found.cast(pa.string())


def _mixed(heads: _Words, tails: _Words) -> _Words:
    mixed: _Words = heads * _FACTORS[1]
    mixed ^= tails * _FACTORS[3]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _FACTORS[1]
    return mixed


def _slots(fingerprints: _Words) -> _Slots:
    """Return a table of the first bits of fingerprints, and by how much they are shifted."""
    bits = (len(fingerprints) * _SLOTS_PER_VALUE - 1).bit_length()
    shift = np.uint64(64 - min(max(bits, _MIN_BITS), _MAX_BITS))
    slots = np.zeros(1 << (64 - int(shift)), np.bool_)
    slots[fingerprints >> shift] = True
    return slots, shift


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

    def count(self, chunks: Iterable[pa.FixedSizeBinaryArray]) -> int:
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
