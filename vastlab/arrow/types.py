"""The extension types of VAST and Tenzir: ip, subnet, enumeration.

vastlab writes the names of VAST and reads both families. Another library may have registered
the same names first: whatever class stands behind a column, `vastlab.arrow.schema.kind_of`
looks at the name only, and `vastlab.arrow.schema.storage_of` gives the plain array.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pyarrow as pa

from vastlab.arrow.scalars import IPScalar, LabelsDtype, SubnetScalar
from vastlab.errors import FormatError
from vastlab.types import Kind

EXTENSION_NAMES = {
    "vast.address": Kind.IP,
    "tenzir.ip": Kind.IP,
    "vast.subnet": Kind.SUBNET,
    "tenzir.subnet": Kind.SUBNET,
    "vast.enumeration": Kind.ENUM,
    "tenzir.enumeration": Kind.ENUM,
}

# pyarrow drops a type's Python object when nobody holds it and makes it again from what was
# serialised, which does not tell the name. So the name is the class's: one class per name.


class IPType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """An address: 16 bytes in network order, IPv4 in the v4-mapped form."""

    NAME: ClassVar[str] = "vast.address"

    def __init__(self) -> None:
        super().__init__(pa.binary(16), self.NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        """Write the parameters: the name once more, as VAST does."""
        return self.NAME.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> IPType:
        """Make the type again; what a stranger wrote as parameters does not matter."""
        _require(storage_type == pa.binary(16), "ip", storage_type)
        return cls()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by class."""
        return type(self), ()

    def __arrow_ext_scalar_class__(self) -> type[IPScalar]:
        """Make a value an address of `ipaddress`."""
        return IPScalar


class TenzirIPType(IPType):
    """The same under Tenzir's name."""

    NAME = "tenzir.ip"


class SubnetType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """A network: an address and a length that counts in the 128-bit space."""

    NAME: ClassVar[str] = "vast.subnet"

    def __init__(self, address: pa.DataType | None = None) -> None:
        inner = IPType() if address is None else address
        super().__init__(pa.struct([("address", inner), ("length", pa.uint8())]), self.NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        """Write the parameters: the name once more, as VAST does."""
        return self.NAME.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> SubnetType:
        """Make the type again, over the address type that the storage has."""
        fits = is_subnet_storage(storage_type) and storage_type.field(1).type == pa.uint8()
        _require(fits, "subnet", storage_type)
        return cls(storage_type.field(0).type)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by address type."""
        return type(self), (self.storage_type.field(0).type,)

    def __arrow_ext_scalar_class__(self) -> type[SubnetScalar]:
        """Make a value a network of `ipaddress`."""
        return SubnetScalar


class TenzirSubnetType(SubnetType):
    """The same under Tenzir's name."""

    NAME = "tenzir.subnet"


class EnumerationType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """One of several labels: a dictionary of all labels in order of definition."""

    NAME: ClassVar[str] = "vast.enumeration"

    def __init__(self, labels: tuple[tuple[str, int], ...]) -> None:
        self.labels = labels
        super().__init__(pa.dictionary(pa.uint8(), pa.string()), self.NAME)

    def __eq__(self, other: object) -> bool:
        # Without this, pyarrow calls any two enumerations equal, and labels get swapped.
        return bool(super().__eq__(other)) and self.labels == getattr(other, "labels", None)

    def __hash__(self) -> int:
        return hash((self.NAME, self.labels))

    def __arrow_ext_serialize__(self) -> bytes:
        """Write the labels and their keys as JSON."""
        return json.dumps(dict(self.labels)).encode()

    @classmethod
    def __arrow_ext_deserialize__(
        cls, storage_type: pa.DataType, serialized: bytes
    ) -> EnumerationType:
        """Make the type again from its labels."""
        _require(storage_type == pa.dictionary(pa.uint8(), pa.string()), "enum", storage_type)
        return cls(parse_labels(serialized))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by labels."""
        return type(self), (self.labels,)

    def to_pandas_dtype(self) -> LabelsDtype:
        """Make a column a categorical."""
        return LabelsDtype([label for label, _ in self.labels])


class TenzirEnumerationType(EnumerationType):
    """The same under Tenzir's name."""

    NAME = "tenzir.enumeration"


IP = IPType()
SUBNET = SubnetType()


def parse_labels(serialized: bytes) -> tuple[tuple[str, int], ...]:
    """Read the labels of an enumeration, ``(label, key)``, from its serialised form."""
    try:
        pairs = json.loads(serialized or b"{}").items()
    except (AttributeError, RecursionError, ValueError) as error:
        raise FormatError(f"the labels of an enumeration are no JSON object: {error}") from error
    if not all(isinstance(key, int) for _, key in pairs):
        raise FormatError("the keys of an enumeration are no integers")
    return tuple(pairs)


def is_subnet_storage(type_: pa.DataType) -> bool:
    """Tell whether a plain type is an address beside a length."""
    return bool(
        pa.types.is_struct(type_)
        and type_.num_fields == 2
        and pa.types.is_integer(type_.field(1).type)
    )


def register() -> None:
    """Register the types under all their names, where nobody has done so before."""
    for type_ in (
        IP,
        SUBNET,
        EnumerationType(()),
        TenzirIPType(),
        TenzirSubnetType(TenzirIPType()),
        TenzirEnumerationType(()),
    ):
        try:
            pa.register_extension_type(type_)
        except pa.ArrowKeyError:
            continue


def _require(fits: bool, kind: str, storage: pa.DataType) -> None:
    # Arrow would read the values with the layout of our type, past the end of their memory.
    if not fits:
        raise FormatError(f"a column of type {kind} is stored as {storage}")
