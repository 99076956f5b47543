"""The Arrow types of VAST: addresses, subnets, enumerations and patterns, and their scalars."""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.arrow.address import MAPPED_PREFIX
from vastlab.errors import FormatError
from vastlab.types import Kind

if TYPE_CHECKING:
    from vastlab.arrow.labels import LabelsDtype


def storage_of(array: pa.Array) -> pa.Array:
    """Return the plain array behind an extension array, and other arrays as they are."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def storage_type_of(type_: pa.DataType) -> pa.DataType:
    """Return the plain type behind an extension type, and other types as they are."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def record_batch(arrays: list[pa.Array], schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    """Create a batch that keeps its length even without columns."""
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    rows = empty_records(num_rows, pa.struct([]))
    return pa.RecordBatch.from_struct_array(rows).replace_schema_metadata(schema.metadata)


def list_parts(lists: pa.Array) -> tuple[pa.Array, tuple[pa.Array, ...]]:
    """Return the offsets of lists or maps, starting at 0, and only the values they refer to.

    Otherwise each slice of a long column would include all values, and `from_arrays` refuses a mask
    with sliced offsets. Other list layouts are converted here too: a cast loses the dictionaries of
    enumerations inside, which crashes later, and `flatten` cannot create empty extension arrays.
    """
    type_ = lists.type
    if pa.types.is_fixed_size_list(type_):
        size = type_.list_size
        values = lists.values.slice(lists.offset * size, len(lists) * size)
        return pa.array(np.arange(len(lists) + 1, dtype=np.int32) * np.int32(size)), (values,)
    inner = (lists.keys, lists.items) if pa.types.is_map(type_) else (lists.values,)
    if len(lists) == 0:
        return pa.array([0], pa.int32()), tuple(values.slice(0, 0) for values in inner)
    offsets = lists.offsets
    first, last = offsets[0].as_py(), offsets[len(offsets) - 1].as_py()
    if first or offsets.offset:
        offsets = pc.subtract(offsets, pa.scalar(first, offsets.type))
    return offsets.cast(pa.int32()), tuple(values.slice(first, last - first) for values in inner)


def null_mask(array: pa.Array) -> pa.Array | None:
    """Return the mask for `from_arrays`; creating one is slower than passing None."""
    return array.is_null() if array.null_count else None


def empty_records(num_rows: int, type_: pa.StructType) -> pa.Array:
    """Create records without fields."""
    return pa.Array.from_buffers(type_, num_rows, [None])


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_LENGTH = 96
_V4_LENGTH = 32


class IPScalar(pa.ExtensionScalar):  # type: ignore[misc]  # pyarrow carries no type information
    """An address, or null."""

    def as_py(self, **_how: object) -> Address | None:
        """Return the address of `ipaddress`."""
        packed = _plain(self)
        return None if packed is None else address_of(packed)


class SubnetScalar(pa.ExtensionScalar):  # type: ignore[misc]  # pyarrow carries no type information
    """A network, or null."""

    def as_py(self, **_how: object) -> Network | None:
        """Return the network of `ipaddress`."""
        if self.value is None:
            return None
        packed, length = _plain(self.value[0]), self.value[1].as_py()
        return None if packed is None or length is None else network_of(packed, length)


def address_of(packed: bytes) -> Address:
    """Convert 16 bytes to an address."""
    if packed.startswith(MAPPED_PREFIX):
        return ipaddress.IPv4Address(packed[-4:])
    return ipaddress.IPv6Address(packed)


def network_of(packed: bytes, length: int) -> Network:
    """Create a network; `length` may follow both conventions of `address.network_parts`."""
    if packed.startswith(MAPPED_PREFIX) and not _V4_LENGTH < length < _MAPPED_LENGTH:
        length -= _MAPPED_LENGTH if length >= _MAPPED_LENGTH else 0
        return ipaddress.IPv4Network((packed[-4:], length), strict=False)
    return ipaddress.IPv6Network((packed, length), strict=False)


def _plain(scalar: pa.Scalar) -> Any:
    # Another library may have registered its own class for the address in a network.
    inner = scalar.value if isinstance(scalar, pa.ExtensionScalar) else scalar
    return None if inner is None else inner.as_py()


EXTENSION_NAMES = {
    "vast.address": Kind.IP,
    "tenzir.ip": Kind.IP,
    "vast.subnet": Kind.SUBNET,
    "tenzir.subnet": Kind.SUBNET,
    "vast.enumeration": Kind.ENUM,
    "tenzir.enumeration": Kind.ENUM,
}

MAX_LABELS = 256  # of one enumeration: indices are bytes

# pyarrow recreates a type from its serialised form, which does not contain the name: so there is
# one class per name.


class IPType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """An address: 16 bytes in network order, IPv4 in the v4-mapped form."""

    NAME: ClassVar[str] = "vast.address"

    def __init__(self) -> None:
        super().__init__(pa.binary(16), self.NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        """Serialize the name, as VAST does."""
        return self.NAME.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> IPType:
        """Recreate the type; serialized parameters are ignored."""
        _require(storage_type == pa.binary(16), "ip", storage_type)
        return cls()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by class."""
        return type(self), ()

    def __arrow_ext_scalar_class__(self) -> type[IPScalar]:
        """Convert values to addresses of `ipaddress`."""
        return IPScalar


class TenzirIPType(IPType):
    """The same type with Tenzir's name."""

    NAME = "tenzir.ip"


class SubnetType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """A network: an address and a length that counts in the 128-bit space."""

    NAME: ClassVar[str] = "vast.subnet"

    def __init__(self, address: pa.DataType | None = None) -> None:
        inner = IPType() if address is None else address
        super().__init__(pa.struct([("address", inner), ("length", pa.uint8())]), self.NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        """Serialize the name, as VAST does."""
        return self.NAME.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> SubnetType:
        """Recreate the type with the address type of the storage."""
        fits = is_subnet_storage(storage_type) and storage_type.field(1).type == pa.uint8()
        _require(fits, "subnet", storage_type)
        return cls(storage_type.field(0).type)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by address type."""
        return type(self), (self.storage_type.field(0).type,)

    def __arrow_ext_scalar_class__(self) -> type[SubnetScalar]:
        """Convert values to networks of `ipaddress`."""
        return SubnetScalar


class TenzirSubnetType(SubnetType):
    """The same type with Tenzir's name."""

    NAME = "tenzir.subnet"


class EnumerationType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow carries no type information
    """One of several labels: a dictionary of all labels in order of definition."""

    NAME: ClassVar[str] = "vast.enumeration"

    def __init__(self, labels: tuple[tuple[str, int], ...]) -> None:
        self.labels = labels
        super().__init__(pa.dictionary(pa.uint8(), pa.string()), self.NAME)

    def __eq__(self, other: object) -> bool:
        # Otherwise pyarrow treats all enumerations as equal and confuses labels.
        if not isinstance(other, EnumerationType):
            return False
        return bool(super().__eq__(other)) and self.labels == other.labels

    def __hash__(self) -> int:
        return hash((self.NAME, self.labels))

    def __arrow_ext_serialize__(self) -> bytes:
        """Serialize the labels and their keys as JSON."""
        return json.dumps(dict(self.labels)).encode()

    @classmethod
    def __arrow_ext_deserialize__(
        cls, storage_type: pa.DataType, serialized: bytes
    ) -> EnumerationType:
        """Recreate the type from its labels."""
        _require(storage_type == pa.dictionary(pa.uint8(), pa.string()), "enum", storage_type)
        return cls(parse_labels(serialized))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by labels."""
        return type(self), (self.labels,)

    def to_pandas_dtype(self) -> LabelsDtype:
        """Convert columns to categoricals."""
        from vastlab.arrow.labels import LabelsDtype  # here, since it is a class of pandas

        return LabelsDtype([label for label, _ in self.labels])


class TenzirEnumerationType(EnumerationType):
    """The same type with Tenzir's name."""

    NAME = "tenzir.enumeration"


IP = IPType()
SUBNET = SubnetType()


def parse_labels(serialized: bytes) -> tuple[tuple[str, int], ...]:
    """Read the labels of an enumeration, ``(label, key)``, from its serialised form."""
    try:
        labels = msgspec.json.decode(serialized or b"{}", type=dict[str, int])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"the labels of an enumeration must be a JSON object of integers: {error}"
        raise FormatError(msg) from error
    return tuple(labels.items())


def is_subnet_storage(type_: pa.DataType) -> bool:
    """Whether a plain type is an address and a length."""
    return bool(
        pa.types.is_struct(type_)
        and type_.num_fields == 2
        and pa.types.is_integer(type_.field(1).type)
    )


def register() -> None:
    """Register the types under all their names, unless they already are."""
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
    # Otherwise Arrow reads past the end of the memory.
    if not fits:
        raise FormatError(f"a column of type {kind} is stored as {storage}")
