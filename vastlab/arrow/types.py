"""The extension types of VAST and Tenzir: ip, subnet, enumeration.

vastlab writes the names of VAST and reads both families. Another library may have registered
the same names first: whatever class stands behind a column, `kind_of` looks at the name only,
and `storage_of` gives the plain array.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from vastlab.types import Kind

EXTENSION_NAMES = {
    "vast.address": Kind.IP,
    "tenzir.ip": Kind.IP,
    "vast.subnet": Kind.SUBNET,
    "tenzir.subnet": Kind.SUBNET,
    "vast.enumeration": Kind.ENUM,
    "tenzir.enumeration": Kind.ENUM,
}
_NAME_KEY = b"ARROW:extension:name"


class IPType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """An address: 16 bytes in network order, IPv4 in the v4-mapped form."""

    def __init__(self, name: str = "vast.address") -> None:
        super().__init__(pa.binary(16), name)

    def __arrow_ext_serialize__(self) -> bytes:
        """Write the parameters: the name once more, as VAST does."""
        return str(self.extension_name).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> IPType:
        """Make the type again; what a stranger wrote as parameters does not matter."""
        return cls()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name."""
        return type(self), (self.extension_name,)


class SubnetType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """A network: an address and a length that counts in the 128-bit space."""

    def __init__(self, name: str = "vast.subnet", address: pa.DataType | None = None) -> None:
        inner = IPType() if address is None else address
        super().__init__(pa.struct([("address", inner), ("length", pa.uint8())]), name)

    def __arrow_ext_serialize__(self) -> bytes:
        """Write the parameters: the name once more, as VAST does."""
        return str(self.extension_name).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> SubnetType:
        """Make the type again, over the address type that the storage has."""
        return cls(address=storage_type.field("address").type)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name."""
        return type(self), (self.extension_name,)


class EnumerationType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """One of several labels: a dictionary of all labels in order of definition."""

    def __init__(self, labels: tuple[tuple[str, int], ...], name: str = "vast.enumeration") -> None:
        self.labels = labels
        super().__init__(pa.dictionary(pa.uint8(), pa.string()), name)

    def __arrow_ext_serialize__(self) -> bytes:
        """Write the labels and their keys as JSON."""
        return json.dumps(dict(self.labels)).encode()

    @classmethod
    def __arrow_ext_deserialize__(
        cls, storage_type: pa.DataType, serialized: bytes
    ) -> EnumerationType:
        """Make the type again from its labels."""
        return cls(tuple(json.loads(serialized or b"{}").items()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by labels."""
        return type(self), (self.labels, self.extension_name)


IP = IPType()
SUBNET = SubnetType()


def register() -> None:
    """Register the types under all their names, where nobody has done so before."""
    for name in EXTENSION_NAMES:
        try:
            pa.register_extension_type(_named(name))
        except pa.ArrowKeyError:
            continue


def _named(name: str) -> pa.ExtensionType:
    match EXTENSION_NAMES[name]:
        case Kind.IP:
            return IPType(name)
        case Kind.SUBNET:
            return SubnetType(name)
        case _:
            return EnumerationType((), name)
