"""What a single value of an extension type is in Python, and in pandas.

This is what ``table.to_pylist()`` and ``scalar.as_py()`` give. It takes one value at a time:
for many, there are `vastlab.arrow.render` and `vastlab.to_frames`.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import pandas as pd
import pyarrow as pa

from vastlab.arrow.address import MAPPED_PREFIX

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_LENGTH = 96
_V4_LENGTH = 32


class IPScalar(pa.ExtensionScalar):  # type: ignore[misc]  # pyarrow carries no type information
    """An address, or null."""

    def as_py(self, **_how: object) -> Address | None:
        """Return the address as Python knows it."""
        packed = _plain(self)
        return None if packed is None else address_of(packed)


class SubnetScalar(pa.ExtensionScalar):  # type: ignore[misc]  # pyarrow carries no type information
    """A network, or null."""

    def as_py(self, **_how: object) -> Network | None:
        """Return the network as Python knows it."""
        if self.value is None:
            return None
        packed, length = _plain(self.value[0]), self.value[1].as_py()
        return None if packed is None or length is None else network_of(packed, length)


class LabelsDtype(pd.CategoricalDtype):
    """Makes a categorical of an enumeration; pyarrow alone would crash on such a column."""

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> pd.Categorical:
        """Convert what the labels are stored as."""
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        storage = pa.chunked_array([part.storage for part in chunks], array.type.storage_type)
        labels: pd.Categorical = storage.to_pandas().array
        return labels


def address_of(packed: bytes) -> Address:
    r"""Return the address that 16 bytes hold.

    Examples
    --------
    >>> address_of(bytes(15) + b"\1")
    IPv6Address('::1')
    """
    if packed.startswith(MAPPED_PREFIX):
        return ipaddress.IPv4Address(packed[-4:])
    return ipaddress.IPv6Address(packed)


def network_of(packed: bytes, length: int) -> Network:
    """Return a network; of lengths, both conventions of `address.network_parts` are known.

    Examples
    --------
    >>> network_of(MAPPED_PREFIX + bytes([10, 0, 0, 0]), 104)
    IPv4Network('10.0.0.0/8')
    """
    if packed.startswith(MAPPED_PREFIX) and not _V4_LENGTH < length < _MAPPED_LENGTH:
        length -= _MAPPED_LENGTH if length >= _MAPPED_LENGTH else 0
        return ipaddress.IPv4Network((packed[-4:], length), strict=False)
    return ipaddress.IPv6Network((packed, length), strict=False)


def _plain(scalar: pa.Scalar) -> Any:
    # Whichever class was registered for the address inside of a network.
    inner = scalar.value if isinstance(scalar, pa.ExtensionScalar) else scalar
    return None if inner is None else inner.as_py()
